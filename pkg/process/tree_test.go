package process

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/redact"
)

// log makes events of a tree's test, with times and numbers that grow.
type log struct {
	tb   testing.TB
	tree *Tree
	seq  uint64
}

func newLog(tb testing.TB, limit int) *log { return &log{tb: tb, tree: NewTree(limit)} }

func (l *log) apply(ev event.Event) *Node {
	l.seq++
	ev.Seq, ev.Time = l.seq, int64(l.seq)*1e6
	return l.tree.Apply(&ev)
}

func actor(pid, image uint32) event.Actor {
	return event.Actor{PID: pid, Start: int64(pid)*1000 + 1, Image: image}
}

func (l *log) fork(pid uint32, parent event.Actor) *Node {
	return l.apply(event.Event{Kind: event.Fork, Actor: actor(pid, 0), Parent: parent})
}

// exec takes arguments parted by blanks, and variables as NAME=VALUE.
func (l *log) exec(a event.Actor, exe, argv string, env ...string) *Node {
	ev := event.Event{Kind: event.Exec, Actor: a, Exe: text(l.tb, exe), Argv: texts(l.tb, strings.Fields(argv)...)}
	for _, v := range env {
		name, value, _ := strings.Cut(v, "=")
		ev.Env = append(ev.Env, event.Var{Name: text(l.tb, name), Value: text(l.tb, value)})
	}
	return l.apply(ev)
}

func (l *log) exit(a event.Actor) *Node { return l.apply(event.Event{Kind: event.Exit, Actor: a}) }

func lineage(n *Node) string {
	var names []string
	for t := range n.Lineage() {
		names = append(names, t.String())
	}
	return strings.Join(names, " ")
}

// checkTree fails where the tree's own links contradict each other.
func checkTree(tb testing.TB, t *Tree) {
	tb.Helper()
	n := 0
	for m := range t.Walk() {
		n++
		if n > t.n {
			tb.Fatalf("a walk passes more than the %d images that there are", t.n)
		}
		if t.Get(m.Actor) != m {
			tb.Fatalf("%v cannot be found", m.Actor)
		}
		for c := range t.Children(m) {
			if c.Parent != m {
				tb.Fatalf("%v is a child of %v, which is not its parent", c.Actor, m.Actor)
			}
		}
	}
	if n != t.n || n > t.limit {
		tb.Fatalf("a walk passes %d of %d images, limit %d", n, t.n, t.limit)
	}
}

func TestATreeTellsAnInstallScript(t *testing.T) {
	l := newLog(t, 1000)
	l.apply(event.Event{Kind: event.Start, Actor: actor(10, 0), Argv: texts(t, "npm", "ci")})
	l.apply(event.Event{Kind: event.Existing, Actor: actor(9, 0), Exe: text(t, "/usr/bin/bash")})
	l.apply(event.Event{Kind: event.Existing, Actor: actor(10, 0), Parent: actor(9, 0), Exe: text(t, "/usr/bin/edamame-posture")})
	l.fork(11, actor(10, 0))
	l.exec(actor(11, 1), "/usr/bin/env", "env node /usr/bin/npm ci")
	l.tree.Get(actor(11, 1)).Filename = text(t, "/usr/bin/npm")
	npm := l.exec(actor(11, 2), "/usr/bin/node", "node /usr/bin/npm ci")
	l.fork(12, actor(11, 2))
	sh := l.apply(event.Event{Kind: event.Exec, Actor: actor(12, 1), Exe: text(t, "/usr/bin/dash"), Cwd: text(t, "/w/node_modules/@evil/pkg"),
		Argv: texts(t, "sh", "-c", "node setup.js"),
		Env:  []event.Var{{Name: text(t, "npm_lifecycle_event"), Value: text(t, "postinstall")}, {Name: text(t, "npm_package_name"), Value: text(t, "liar")}}})
	l.fork(13, actor(12, 1))
	l.exec(actor(13, 1), "/usr/bin/node", "node setup.js")
	// A double fork with a clean environment.
	l.fork(14, actor(13, 1))
	l.fork(15, actor(14, 0))
	l.exit(actor(14, 0))
	curl := l.exec(actor(15, 1), "/usr/bin/curl", "curl -d @x")
	fork := l.fork(16, actor(15, 1))

	if got, want := lineage(curl), "setup.js sh npm env edamame-posture bash"; got != want {
		t.Errorf("lineage is %q, want %q", got, want)
	}
	if got, want := fork.Name()+" "+lineage(fork), "curl setup.js sh npm env edamame-posture bash"; got != want {
		t.Errorf("a fork of it: %q, want %q", got, want)
	}
	s, ok := curl.Lifecycle()
	if !ok || !s.Manager.Is("npm") || !s.Package.Is("@evil/pkg") || !s.Event.Is("postinstall") || s.Node != sh {
		t.Errorf("lifecycle: %+v, %v", s, ok)
	}
	if _, ok := npm.Lifecycle(); ok {
		t.Error("npm itself is taken for a script of a package")
	}
	var roots []uint32
	for r := range l.tree.Roots() {
		roots = append(roots, r.Actor.PID)
	}
	if !slices.Equal(roots, []uint32{9}) {
		t.Errorf("roots are %v", roots)
	}
	checkTree(t, l.tree)
}

func TestScriptsOfPackages(t *testing.T) {
	tests := []struct {
		name  string
		chain []string // "exe | argv | cwd | variables"
		want  string
	}{
		{"pip builds by setup.py", []string{"/usr/bin/python3 | python3 -m pip install x", "/usr/bin/python3 | python3 setup.py bdist_wheel | /tmp/pip-install-a/numpy_0123456789abcdef0123456789abcdef"}, "pip numpy bdist_wheel"},
		{"pip builds by PEP 517", []string{"/usr/bin/python3 | python3 /usr/bin/pip install x", "/usr/bin/python3 | python3 /x/pip/_vendor/pyproject_hooks/_in_process/_in_process.py build_wheel /tmp/t | /src/evil", "/usr/bin/curl | curl x"}, "pip evil build_wheel"},
		{"setup.py by hand", []string{"/bin/bash | bash", "/usr/bin/python3 | python3 setup.py install | /src/evil"}, "python evil install"},
		{"cargo", []string{"/root/.cargo/bin/cargo | cargo build", "/w/target/debug/build/openssl-sys-0a1b2c/build-script-build | x", "/usr/bin/cc | cc x.c"}, "cargo openssl-sys build"},
		{"a program that is named like cargo's", []string{"/bin/bash | bash", "/tmp/build-script-build | x"}, ""},
		{"node-gyp under npm", []string{"/usr/bin/node | node /usr/bin/npm ci", "/bin/sh | sh -c node-gyp_rebuild | /w/node_modules/bcrypt | npm_lifecycle_event=install", "/usr/bin/node | node /x/node-gyp/bin/node-gyp.js rebuild", "/usr/bin/make | make"}, "npm bcrypt install"},
		{"node-gyp by hand", []string{"/bin/bash | bash", "/usr/bin/node | node /x/node-gyp/bin/node-gyp.js rebuild", "/usr/bin/make | make"}, "node-gyp  build"},
		{"yarn has its own shell", []string{"/usr/bin/node | node /w/.yarn/releases/yarn-4.1.0.cjs", "/usr/bin/node | node x.js | /w/node_modules/evil | npm_lifecycle_event=postinstall"}, "yarn evil postinstall"},
		{"composer", []string{"/usr/bin/php8.2 | php composer.phar install", "/bin/sh | sh -c x"}, "composer  script"},
		{"a gem's extension", []string{"/usr/bin/ruby | ruby /usr/bin/gem install nokogiri", "/usr/bin/ruby | ruby -I. extconf.rb | /var/lib/gems/3.1/gems/nokogiri-1.16.0/ext/nokogiri"}, "gem nokogiri extconf.rb"},
		{"a maintainer script of dpkg", []string{"/usr/bin/dpkg | dpkg -i", "/bin/sh | /bin/sh /var/lib/dpkg/info/evil.postinst configure"}, "dpkg evil postinst"},
		{"a shell of make is none", []string{"/usr/bin/make | make", "/bin/sh | sh -c x | /w/node_modules/evil"}, ""},
		{"the environment alone says nothing", []string{"/bin/bash | bash", "/bin/sh | sh -c x | /w | npm_lifecycle_event=postinstall"}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := newLog(t, 100)
			var n *Node
			for i, c := range tt.chain {
				parts := append(strings.Split(c, " | "), "", "", "")
				l.fork(uint32(10+i), actor(uint32(9+i), 1))
				ev := event.Event{Kind: event.Exec, Actor: actor(uint32(10+i), 1), Exe: text(t, parts[0]), Argv: texts(t, strings.Fields(parts[1])...), Cwd: text(t, parts[2])}
				for v := range strings.FieldsSeq(parts[3]) {
					name, value, _ := strings.Cut(v, "=")
					ev.Env = append(ev.Env, event.Var{Name: text(t, name), Value: text(t, value)})
				}
				n = l.apply(ev)
			}
			got := ""
			if s, ok := n.Lifecycle(); ok {
				got = fmt.Sprintf("%s %s %s", s.Manager, s.Package, s.Event)
			}
			if got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
			// Found from the nearest on, and from the farthest on.
			for _, from := range []int{0, len(tt.chain) - 1} {
				scripts := NewScripts()
				for i := range tt.chain {
					a := actor(uint32(10+max(from, i)-min(from, i)), 1)
					m := l.tree.Get(a)
					want, _ := m.Lifecycle()
					for range 2 {
						if got := scripts.Of(m); got != want {
							t.Errorf("%s: %+v, want %+v", m.Name(), got, want)
						}
					}
				}
			}
		})
	}
}

func TestScriptsAreFoundAnewWhenALateEventTellsAnotherLineage(t *testing.T) {
	l := newLog(t, 100)
	scripts := NewScripts()
	apply := func(ev event.Event) *Node {
		n := l.apply(ev)
		scripts.Moved(&ev, n)
		return n
	}
	child := apply(event.Event{Kind: event.Exec, Actor: actor(30, 1), Exe: text(t, "/usr/bin/curl"), Argv: texts(t, "curl")})
	if s := scripts.Of(child); s.Node != nil {
		t.Fatalf("%+v", s)
	}
	l.fork(20, actor(9, 0))
	l.exec(actor(20, 1), "/usr/bin/dpkg", "dpkg -i")
	l.fork(21, actor(20, 1))
	apply(event.Event{Kind: event.Fork, Actor: actor(30, 0), Parent: actor(21, 1)})
	if s := scripts.Of(child); s.Node != nil {
		t.Fatalf("%+v", s)
	}
	apply(event.Event{Kind: event.Exec, Actor: actor(21, 1), Exe: text(t, "/bin/sh"), Argv: texts(t, "/bin/sh", "/var/lib/dpkg/info/x.postinst")})
	if s := scripts.Of(child); !s.Manager.Is("dpkg") {
		t.Fatalf("%+v", s)
	}
	for i := range uint32(2 * maxScripts) {
		scripts.Of(&Node{Actor: event.Actor{PID: i, Start: 1, Image: 1}})
	}
	if len(scripts.of) > maxScripts {
		t.Fatalf("%d images are remembered", len(scripts.of))
	}
}

func TestLabels(t *testing.T) {
	l := newLog(t, 100)
	l.fork(10, actor(9, 0))
	step := l.exec(actor(10, 1), "/usr/bin/node", "node /home/r/_actions/actions/checkout/v4/dist/index.js", "GITHUB_JOB=build", "GITHUB_ACTION=co", "GITHUB_ACTION_REPOSITORY=actions/checkout")
	l.fork(11, actor(10, 1))
	clean := l.exec(actor(11, 1), "/usr/bin/git", "git fetch")
	for _, n := range []*Node{step, clean} {
		if !n.Job.Is("build") || !n.Step.Is("co") || !n.Action.Is("actions/checkout@v4") {
			t.Errorf("%s: job %q, step %q, action %q", n.Name(), n.Job, n.Step, n.Action)
		}
	}
	l.fork(12, actor(10, 1))
	run := l.exec(actor(12, 1), "/bin/bash", "bash x.sh", "GITHUB_JOB=build", "GITHUB_ACTION=__run_2")
	if !run.Step.Is("__run_2") || !run.Action.IsZero() {
		t.Errorf("the next step: step %q, action %q", run.Step, run.Action)
	}
	ref := l.exec(actor(12, 2), "/bin/bash", "bash x.sh", "GITHUB_ACTION=x", "GITHUB_ACTION_REPOSITORY=o/r", "GITHUB_ACTION_REF=main")
	if !ref.Action.Is("o/r@main") {
		t.Errorf("action %q", ref.Action)
	}
	l.fork(13, actor(10, 1))
	if first := l.exec(actor(13, 1), "/bin/bash", "bash x.sh", "GITHUB_ACTION=0"); !first.Step.Is("0") {
		t.Errorf("act's first step: step %q", first.Step)
	}
}

// A forger sets what the runner sets, in each way in which a process can.
func TestAStepThatWasToldIsNotChangedByAnyEnvironment(t *testing.T) {
	l := newLog(t, 100)
	forged := []string{"GITHUB_JOB=other", "GITHUB_ACTION=release", "GITHUB_ACTION_REPOSITORY=good/one"}
	tell := func(a event.Actor, id, action string) *Node {
		return l.tree.Apply(&event.Event{Kind: event.Step, Actor: a, Via: event.ViaMonitor, Job: text(t, "build"), StepID: text(t, id), StepAction: text(t, action)})
	}
	l.fork(10, actor(9, 1))
	root := l.exec(actor(10, 1), "/bin/bash", "bash -e x.sh", "GITHUB_JOB=build", "GITHUB_ACTION=__run")
	l.fork(11, actor(10, 1)) // before the step is told
	early := l.exec(actor(11, 1), "/usr/bin/node", "node /w/_actions/good/one/v1/x.js", forged...)
	tell(actor(10, 1), "__run", "")
	l.fork(12, actor(11, 1))
	late := l.exec(actor(12, 1), "/usr/bin/node", "node /w/_actions/good/one/v1/x.js", forged...)
	again := l.exec(actor(10, 2), "/bin/bash", "bash y.sh", forged...)
	tell(actor(12, 1), "release", "good/one@v1") // no worker starts what is in a step
	for _, n := range []*Node{root, early, late, again} {
		if !n.Job.Is("build") || !n.Step.Is("__run") || !n.Action.IsZero() {
			t.Errorf("%v: job %q, step %q, action %q", n.Actor, n.Job, n.Step, n.Action)
		}
	}
	l.fork(20, actor(9, 1))
	l.exec(actor(20, 1), "/usr/bin/node", "node")
	if n := tell(actor(20, 1), "co", "actions/checkout@v6"); !n.Step.Is("co") || !n.Action.Is("actions/checkout@v6") {
		t.Errorf("the next step: step %q, action %q", n.Step, n.Action)
	}
	l.tree.Apply(&event.Event{Kind: event.Step, Actor: actor(20, 1), StepName: text(t, "release")})
	if n := l.tree.Get(actor(20, 1)); !n.Step.Is("co") {
		t.Errorf("a name made it step %q", n.Step)
	}
	l.fork(30, actor(2, 1))
	if n := l.exec(actor(30, 1), "/usr/bin/systemd-run", "systemd-run", forged...); !n.Step.IsZero() || !n.Job.IsZero() {
		t.Errorf("who is in no step: job %q, step %q", n.Job, n.Step)
	}
}

func TestAgentsAreKnownByTheMarkerThatIsNew(t *testing.T) {
	l := newLog(t, 100)
	steps := []struct {
		exe, argv string
		env       []string
		want      string
	}{
		{"/bin/bash", "bash", []string{"CODEX_HOME=/x", "COPILOT_MODEL=m"}, ""}, // a person's settings
		{"/usr/bin/claude", "claude", nil, "claude-code"},
		{"/bin/bash", "bash -c x", []string{"CLAUDECODE=1"}, "claude-code"},
		{"/usr/bin/curl", "curl", nil, "claude-code"}, // env -i
		{"/usr/bin/codex", "codex", []string{"CLAUDECODE=1"}, "codex"},
		{"/bin/bash", "bash -c x", []string{"CLAUDECODE=1", "CODEX_THREAD_ID=t"}, "codex"},
		{"/bin/bash", "bash -c x", []string{"CLAUDECODE=1", "CODEX_THREAD_ID=t"}, "codex"},
		{"/bin/bash", "bash", []string{"CLAUDECODE=1", "CODEX_THREAD_ID=t", "GEMINI_CLI=1"}, "gemini-cli"},
		{"/bin/bash", "bash", []string{"GEMINI_CLI=1", "AI_AGENT=novel_1-0"}, "novel"},
		{"/bin/bash", "bash", []string{"AI_AGENT=claude-code_2-1-330_agent"}, "claude-code"},
		{"/bin/bash", "bash", []string{"OPENCLAW_SHELL=exec"}, "openclaw"},
		{"/bin/bash", "bash", []string{"COPILOT_CLI=1"}, "copilot"},
		{"/bin/bash", "bash", []string{"CURSOR_AGENT=1"}, "cursor"},
	}
	for i, s := range steps {
		pid := uint32(10 + i)
		l.fork(pid, actor(pid-1, 1))
		if n := l.exec(actor(pid, 1), s.exe, s.argv, s.env...); !n.Agent.Is(s.want) {
			t.Errorf("%d, %s %v: agent %q, want %q", i, s.exe, s.env, n.Agent, s.want)
		}
	}
}

func TestEventsOutOfOrderGiveTheSameTree(t *testing.T) {
	evs := func() []event.Event {
		return []event.Event{
			{Kind: event.Fork, Actor: actor(10, 0), Parent: actor(9, 0)},
			{Kind: event.Exec, Actor: actor(10, 1), Exe: text(t, "/bin/a")},
			{Kind: event.Exec, Actor: actor(10, 2), Exe: text(t, "/bin/b")},
			{Kind: event.Fork, Actor: actor(11, 0), Parent: actor(10, 2)},
			{Kind: event.Exec, Actor: actor(11, 1), Exe: text(t, "/bin/c")},
			{Kind: event.Exit, Actor: actor(10, 2)},
		}
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		es := evs()
		rng.Shuffle(len(es), func(i, j int) { es[i], es[j] = es[j], es[i] })
		l := newLog(t, 100)
		for _, e := range es {
			l.apply(e)
		}
		checkTree(t, l.tree)
		if got := lineage(l.tree.Get(actor(11, 1))); got != "b a" {
			t.Fatalf("%v gives lineage %q", es, got)
		}
		for _, n := range []*Node{l.tree.Get(actor(10, 0)), l.tree.Get(actor(10, 1))} {
			if n.Ended == 0 {
				t.Fatalf("%v was followed by another image and has not ended", n.Actor)
			}
		}
	}
}

func TestATreeOfWhatATableSaysHasTheLineageThatIsTrue(t *testing.T) {
	for seed := range uint64(20) {
		for _, by := range []int{0, 6} {
			w := &world{rng: rand.New(rand.NewPCG(seed, 77)), now: second, step: 1000, pids: 60}
			root := &truth{actor: event.Actor{PID: 5, Start: 1}, alive: true}
			w.living, w.all = []*truth{root}, []*truth{root}
			w.run(2000)
			w.shuffle(by)
			table, tree := NewTable(4000), NewTree(10000)
			for i := range w.recs {
				p := feed(table, &w.recs[i])
				ev := event.Event{Kind: w.recs[i].Kind, Seq: uint64(i), Time: w.recs[i].Time, Actor: p.Actor}
				if ev.Kind == event.Fork {
					ev.Parent = p.Parent.Actor
				}
				if ev.Kind == event.Exec {
					ev.Exe = redact.Const("/bin/x")
				}
				if n := tree.Apply(&ev); n.Actor != p.Actor {
					t.Fatalf("%v gives %v", p.Actor, n.Actor)
				}
			}
			checkTree(t, tree)
			for _, want := range w.living {
				n := tree.Get(want.actor)
				if n == nil {
					if want.actor.Image == 0 && want == root {
						continue
					}
					t.Fatalf("seed %d by %d: %v is not in the tree", seed, by, want.actor)
				}
				for up := want; up != nil; up = up.parent {
					for n != nil && (n.Actor.PID != up.actor.PID || n.Actor.Start != up.actor.Start) {
						t.Fatalf("seed %d by %d: lineage of %v has %v where %v is true", seed, by, want.actor, n.Actor, up.actor)
					}
					for n != nil && n.Actor.PID == up.actor.PID && n.Actor.Start == up.actor.Start {
						n = n.Parent
					}
				}
			}
		}
	}
}

func TestAForkThatComesLateHandsDownItsLabels(t *testing.T) {
	l := newLog(t, 100)
	l.exec(actor(10, 1), "/bin/bash", "bash", "GITHUB_JOB=build", "CLAUDECODE=1")
	l.exec(actor(11, 1), "/usr/bin/curl", "curl") // its fork comes later
	l.fork(12, actor(11, 1))
	l.apply(event.Event{Kind: event.Fork, Actor: actor(11, 1), Parent: actor(10, 1)})
	n := l.tree.Get(actor(12, 0))
	if !n.Job.Is("build") || !n.Agent.Is("claude-code") || lineage(n) != "bash" {
		t.Errorf("job %q, agent %q, lineage %q", n.Job, n.Agent, lineage(n))
	}
	checkTree(t, l.tree)
}

func TestAFullTreeLeavesOutEndedLeavesFirst(t *testing.T) {
	l := newLog(t, 100)
	l.fork(1, event.Actor{})
	kept := l.fork(2, actor(1, 0))
	l.exec(actor(2, 1), "/tmp/x", "x")
	l.tree.Pin(l.tree.Get(actor(2, 1)))
	l.exit(actor(2, 1))
	for pid := uint32(10); pid < 5000; pid++ {
		l.fork(pid, actor(1, 0))
		l.exec(actor(pid, 1), "/bin/true", "true")
		l.exit(actor(pid, 1))
	}
	checkTree(t, l.tree)
	if l.tree.Get(kept.Actor) != kept || l.tree.Get(actor(2, 1)) == nil || l.tree.Get(actor(1, 0)) == nil {
		t.Error("a pinned or living image was left out")
	}
	if l.tree.Left() != 2*4990+3-100 || l.tree.Len() != 100 {
		t.Errorf("left out %d, held %d", l.tree.Left(), l.tree.Len())
	}
	if l.tree.Get(actor(4999, 1)) == nil {
		t.Error("the last image was left out")
	}
}

func TestATreeOfTheLivingCountsWhatDoesNotFit(t *testing.T) {
	l := newLog(t, 50)
	for pid := uint32(1); pid < 500; pid++ {
		n := l.fork(pid, actor(pid-1, 0))
		if n == nil || n.Actor != actor(pid, 0) {
			t.Fatalf("fork %d gives %+v", pid, n)
		}
	}
	checkTree(t, l.tree)
	if l.tree.Left() == 0 {
		t.Error("nothing was counted")
	}
}

func TestAnImageThatExecutesItselfForeverIsBounded(t *testing.T) {
	l := newLog(t, 200)
	l.fork(1, event.Actor{})
	for image := uint32(1); image < 5000; image++ {
		l.exec(actor(1, image), "/tmp/again", "again")
	}
	checkTree(t, l.tree)
	if l.tree.Len() != 200 || l.tree.Left() != 4800 {
		t.Errorf("held %d, left out %d", l.tree.Len(), l.tree.Left())
	}
}

func TestALogThatMakesAProcessItsOwnAncestorIsNotBelieved(t *testing.T) {
	l := newLog(t, 100)
	l.fork(1, actor(2, 0))
	l.fork(2, actor(3, 0))
	l.fork(3, actor(1, 0))
	l.fork(4, actor(4, 0))
	checkTree(t, l.tree)
	if lineage(l.tree.Get(actor(1, 0))) != "" {
		t.Error("there are names")
	}
}

func TestAKnownActorCostsNoMemory(t *testing.T) {
	l := newLog(t, 100)
	l.fork(1, event.Actor{})
	l.exec(actor(1, 1), "/bin/sh", "sh")
	ev := event.Event{Kind: event.Connect, Actor: actor(1, 1)}
	if n := testing.AllocsPerRun(1000, func() { l.tree.Apply(&ev) }); n != 0 {
		t.Errorf("an event of a known actor allocates %v times", n)
	}
	pid := uint32(10)
	if n := testing.AllocsPerRun(2000, func() {
		pid++
		ev := event.Event{Kind: event.Fork, Actor: actor(pid, 0), Parent: actor(1, 1)}
		l.tree.Apply(&ev)
		ev = event.Event{Kind: event.Exit, Actor: actor(pid, 0)}
		l.tree.Apply(&ev)
	}); n > 1 {
		t.Errorf("a fork allocates %v times", n)
	}
}

func FuzzTree(f *testing.F) {
	f.Add([]byte(`{"seq":1,"time":1,"kind":"fork","actor":{"pid":1,"start":1},"parent":{"pid":2,"start":1}}
{"seq":2,"time":2,"kind":"exec","actor":{"pid":1,"start":1,"image":1},"exe":"/bin/sh","argv":["sh","-ec","x"],"env":[{"name":"AI_AGENT","value":"x"}]}
{"seq":3,"time":3,"kind":"fork","actor":{"pid":2,"start":1},"parent":{"pid":1,"start":1,"image":1}}
{"seq":4,"time":4,"kind":"exec","actor":{"pid":1,"start":1,"image":4000000000},"exe":"/usr/bin/node","argv":["node","/w/node_modules/@a/b/cli.js"]}
{"seq":5,"time":5,"kind":"exit","actor":{"pid":1,"start":1,"image":2}}`))
	f.Add([]byte(`{"seq":0,"time":0,"kind":"fork","actor":{"image":1}}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		tree := NewTree(16)
		for line := range bytes.Lines(in) {
			var ev event.Event
			if event.Decode(bytes.TrimRight(line, "\n"), &ev) != nil {
				continue
			}
			n := tree.Apply(&ev)
			if (n == nil) != ev.Actor.IsZero() {
				t.Fatalf("%s gives %+v", line, n)
			}
			if n == nil {
				continue
			}
			for range n.Lineage() {
			}
			n.Lifecycle()
			if ev.Seq%3 == 0 {
				tree.Pin(n)
			}
			checkTree(t, tree)
		}
	})
}

// FuzzTreeShape makes small logs of few actors, which meet more often.
func FuzzTreeShape(f *testing.F) {
	f.Add([]byte{0, 1, 0, 2, 0, 2, 0, 1, 1, 2, 1, 0})
	f.Fuzz(func(t *testing.T, in []byte) {
		tree := NewTree(16)
		kinds := []event.Kind{event.Fork, event.Exec, event.Exit, event.Existing, event.Connect}
		for i := 0; i+5 <= len(in) && i < 1000; i += 5 {
			ev := event.Event{
				Seq: uint64(i), Time: int64(i), Kind: kinds[int(in[i])%len(kinds)],
				Actor:  event.Actor{PID: uint32(in[i+1]%32) + 1, Start: 1, Image: uint32(in[i+2] % 5)},
				Parent: event.Actor{PID: uint32(in[i+3]%32) + 1, Start: 1, Image: uint32(in[i+4] % 5)},
			}
			n := tree.Apply(&ev)
			for range n.Lineage() {
			}
			if in[i]&0x80 != 0 {
				tree.Pin(n)
			}
		}
		checkTree(t, tree)
	})
}
