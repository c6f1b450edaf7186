package signature

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/fact"
	"github.com/org/edamame-posture/pkg/process"
	"github.com/org/edamame-posture/pkg/redact"
)

// twoHundredRules are 180 rules over single events, of the kinds and in about
// the proportions that SigmaHQ has for Linux and this project has of its own,
// and 20 correlations over 40 of them.
func twoHundredRules() []string {
	n := 0
	rule := func(category, name, detection string) string {
		n++
		return fmt.Sprintf("title: t\nid: 00000000-0000-4000-8000-%012d\nname: %s\nlevel: low\nlogsource: {product: linux, category: %s}\ndetection:\n%s", n, name, category, detection)
	}
	var files []string
	for i := range 100 {
		var d string
		switch i % 10 {
		case 0: // a command line of any program
			d = fmt.Sprintf("    s: {CommandLine|contains|all: ['evil%d', ' --upload']}\n    condition: s\n", i)
		case 1: // a common program with options
			d = fmt.Sprintf("    s:\n      Image|endswith: [/bash, /sh, /dash]\n      CommandLine|contains: ['nohup x%d', '/dev/tcp/%d']\n    condition: s\n", i, i)
		case 2: // a chain of programs
			d = fmt.Sprintf("    s: {Image|endswith: [/curl, /wget], ParentImage|endswith: [/node, /python3], CommandLine|contains: 'host%d.test'}\n    f: {Lineage: [npm, pip]}\n    condition: s and not f\n", i)
		case 3: // a regular expression
			d = fmt.Sprintf("    s: {CommandLine|re: 'base64 +(-d|--decode) .*stage%d'}\n    condition: s\n", i)
		case 4: // a program that was written in the job
			d = fmt.Sprintf("    s: {ImageOrigin: fresh, Lifecycle: [npm, yarn, pnpm], CommandLine|contains: 'miner%d'}\n    condition: s\n", i)
		case 5:
			d = fmt.Sprintf("    s: {Image|startswith: ['/tmp/.x%d', '/dev/shm/.x%d', '/var/tmp/.x%d']}\n    condition: s\n", i, i, i)
		default: // a program of its own
			d = fmt.Sprintf("    s:\n      Image|endswith: [/prog%d, /tool%d]\n      CommandLine|contains: [' -%d', evil%d]\n    f: {ParentImage|endswith: /x%d}\n    condition: s and not 1 of f*\n", i, i, i, i, i)
		}
		files = append(files, rule("process_creation", fmt.Sprintf("exec-%d", i), d))
	}
	for i := range 30 {
		d := fmt.Sprintf("    s: {TargetFilename|endswith: ['/.config/app%d/autostart', '/.profile%d'], Image|endswith: [/node, /python3]}\n    f: {ParentImage|endswith: /git}\n    condition: s and not f\n", i, i)
		if i%3 == 0 {
			d = fmt.Sprintf("    s: {TargetFilename|contains: ['/.github/workflows/w%d', '/etc/cron.d/c%d']}\n    condition: s\n", i, i)
		}
		files = append(files, rule("file_event", fmt.Sprintf("write-%d", i), d))
	}
	for i := range 15 {
		files = append(files, rule("file_access", fmt.Sprintf("read-%d", i), fmt.Sprintf("    s: {CredentialClass: [class%d, aws%d], Image|endswith: [/node, /python3.12, /bash]}\n    condition: s\n", i, i)))
	}
	for i := range 20 {
		d := fmt.Sprintf("    s: {DestinationHostname|endswith: ['.evil%d.test', '.drop%d.test'], Image|endswith: [/node, /curl]}\n    condition: s\n", i, i)
		if i%4 == 0 {
			d = fmt.Sprintf("    s: {DestinationPort: [%d, %d]}\n    f: {DestinationIp|cidr: [10.0.0.0/8, 127.0.0.0/8]}\n    condition: s and not f\n", 3300+i, 14400+i)
		}
		files = append(files, rule("network_connection", fmt.Sprintf("net-%d", i), d))
	}
	for i := range 10 {
		files = append(files, rule("dns_query", fmt.Sprintf("dns-%d", i), fmt.Sprintf("    s: {QueryName|re: '^[0-9a-f]{40,}\\.[a-z0-9.-]*exfil%d\\.test$'}\n    condition: s\n", i)))
	}
	for i := range 5 {
		files = append(files, rule("file_delete", fmt.Sprintf("delete-%d", i), fmt.Sprintf("    s: {TargetFilename|endswith: '/history%d', Image|endswith: /rm}\n    condition: s\n", i)))
	}
	for i := range 20 {
		n++
		c := fmt.Sprintf("{type: event_count, rules: [exec-%d, exec-%d], group-by: [Lineage], timespan: 60s, condition: {gte: 3}}", 2*i, 2*i+1)
		switch i % 4 {
		case 1:
			c = fmt.Sprintf("{type: value_count, rules: [read-%d, read-%d], group-by: [Subtree], timespan: 60s, condition: {gte: 3, field: CredentialClass}}", i%14, i%14+1)
		case 2:
			c = fmt.Sprintf("{type: temporal, rules: [exec-%d, write-%d], group-by: [Step], timespan: 120s}", 3*i, i)
		case 3:
			c = fmt.Sprintf("{type: temporal_ordered, rules: [read-%d, net-%d], group-by: [Lineage], timespan: 120s}", i%14, i)
		}
		files = append(files, fmt.Sprintf("title: c\nid: 00000000-0000-4000-8000-%012d\nlevel: high\ncorrelation: %s\n", n, c))
	}
	return files
}

// brief is an event without what the benchmark does not need, since a million
// whole ones are a gigabyte.
type brief struct {
	kind   event.Kind
	node   *process.Node
	fact   *fact.Fact
	path   redact.Text
	dst    netip.AddrPort
	access event.Access
	qtype  uint16
	time   int64
}

func (b *brief) fill(in *Input, e *event.Event, seq uint64) {
	*in = Input{Event: e, Node: b.node, Fact: b.fact}
	*e = event.Event{Seq: seq, Time: b.time, Kind: b.kind, Actor: b.node.Actor, Dst: b.dst, Access: b.access, QType: b.qtype, Sock: seq}
	switch b.kind {
	case event.Fork:
		e.Actor, e.Parent = event.Actor{PID: 1 << 21, Start: int64(seq)}, e.Actor
	case event.Exec:
		e.Exe, e.Argv, e.Cwd, e.UID = b.node.Exe, b.node.Argv, b.node.Cwd, b.node.UID
	case event.DNS:
		e.Name = b.path
	case event.Connect, event.Flow, event.TLS:
		e.Proto = event.ProtoTCP
		in.Host = b.path.String()
	default:
		e.Path = b.path
	}
}

// mixedEvents are n events as a build has them: a hundred kinds of command
// with arguments of their own, most events files, and of ten thousand events
// one that a rule is for.
func mixedEvents(n int) []brief {
	r := rand.New(rand.NewPCG(1, 2))
	programs := []struct{ exe, args string }{
		{"/usr/bin/bash", "bash -e /home/runner/work/_temp/%08x.sh"}, {"/usr/bin/dash", "sh -c node scripts/build-%08x.js"},
		{"/usr/local/bin/node", "node /home/runner/work/app/app/node_modules/.bin/tsc --project packages/p%08x/tsconfig.json --outDir dist/%[1]x --pretty false"},
		{"/usr/lib/gcc/x86_64-linux-gnu/13/cc1plus", "cc1plus -quiet -imultiarch x86_64-linux-gnu -D_GNU_SOURCE /home/runner/work/app/app/src/file%08x.cc -O2 -Wall -Wextra -fPIC -std=c++20 -o /tmp/cc%[1]x.s"},
		{"/usr/bin/x86_64-linux-gnu-as", "as --64 -o CMakeFiles/app.dir/src/file%08x.cc.o /tmp/cc%[1]x.s"}, {"/usr/bin/git", "git -c protocol.version=2 fetch origin refs/heads/feature-%08x"},
		{"/usr/bin/python3.12", "python3 -m pip install --no-deps package-%08x"}, {"/usr/bin/sed", "sed -i s/a/%08x/ Makefile"},
		{"/usr/bin/curl", "curl -sSfL https://mirror%08x.example.test/a.tgz -o a.tgz"}, {"/usr/bin/rm", "rm -rf build/%08x"},
		{"/opt/hostedtoolcache/go/1.26.0/x64/pkg/tool/linux_amd64/compile", "compile -o $WORK/b%08x/_pkg_.a -trimpath $WORK/b%[1]x=> -p example.test/app/pkg%[1]x -lang=go1.26 -complete -buildid x -goversion go1.26.0 -c=2 -shared -nolocalimports -importcfg $WORK/importcfg -pack ./a.go ./b.go"},
	}
	tree := process.NewTree(1 << 20)
	runner := event.Actor{PID: 1, Start: 1, Image: 1}
	tree.Apply(&event.Event{Kind: event.Exec, Actor: runner, Exe: text("/home/runner/bin/Runner.Worker"), Argv: texts("Runner.Worker")})
	nodes := []*process.Node{tree.Get(runner)}
	dirs := []string{"src/components", "node_modules/lodash/fp", "dist/assets", ".git/objects/ab", "target/release/deps", "packages/core/test"}
	list := make([]brief, 0, n)
	at := int64(0)
	pid := uint32(100)
	for len(list) < n {
		at += 1e6
		b := brief{node: nodes[r.IntN(len(nodes))], time: at}
		id := r.Uint32()
		switch k := r.IntN(100); {
		case k < 8:
			pid++
			p := programs[r.IntN(len(programs))]
			args := strings.Fields(fmt.Sprintf(p.args, id))
			if r.IntN(1000) == 0 {
				args = append(args, fmt.Sprintf("evil%d0", r.IntN(10)), "--upload")
			}
			a := event.Actor{PID: pid, Start: int64(pid)}
			tree.Apply(&event.Event{Kind: event.Fork, Time: at, Actor: a, Parent: b.node.Actor})
			a.Image = 1
			b.kind = event.Exec
			b.node = tree.Apply(&event.Event{Kind: event.Exec, Time: at, Actor: a, Exe: text(p.exe), Argv: texts(args...), Cwd: text("/home/runner/work/app/app"), UID: 1001})
			if len(nodes) < 2000 {
				nodes = append(nodes, b.node)
			} else {
				nodes[1+r.IntN(len(nodes)-1)] = b.node
			}
		case k < 16:
			b.kind = event.Fork
		case k < 24:
			b.kind = event.Exit
		case k < 34:
			b.kind, b.access = event.Open, event.Read
			b.path = text(fmt.Sprintf("/home/runner/work/app/app/%s/file-%08x.ts", dirs[r.IntN(len(dirs))], id))
		case k < 70:
			b.kind, b.access = event.Open, event.Write|event.Create
			b.path = text(fmt.Sprintf("/home/runner/work/app/app/%s/file-%08x.o", dirs[r.IntN(len(dirs))], id))
			if r.IntN(3000) == 0 {
				b.path = text(fmt.Sprintf("/home/runner/.config/app%d/autostart", r.IntN(30)))
			}
		case k < 80:
			b.kind = event.Unlink
			b.path = text(fmt.Sprintf("/tmp/cc%08x.s", id))
		case k < 93:
			b.kind = []event.Kind{event.Connect, event.TLS, event.Flow}[r.IntN(3)]
			b.dst = netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, byte(id >> 8), byte(id)}), 443)
			b.path = text(fmt.Sprintf("cdn%04x.packages%02x.test", id&0xffff, id>>24))
			if b.kind == event.Flow {
				b.fact = &fact.Fact{Verb: fact.Connect, Host: b.path, How: text("dns"), Addr: b.dst, Proto: event.ProtoTCP}
			}
		default:
			b.kind, b.qtype = event.DNS, 1
			b.path = text(fmt.Sprintf("cdn%04x.packages%02x.test", id&0xffff, id>>24))
		}
		list = append(list, b)
	}
	return list
}

// An operation is a million events, so ns/op are those of all of them.
func BenchmarkAMillionEventsAgainst200Rules(b *testing.B) {
	pack := load(b, twoHundredRules()...)
	list := mixedEvents(1_000_000)
	var in Input
	var e event.Event
	b.ReportAllocs()
	hits := 0
	for b.Loop() {
		m := pack.Matcher()
		hits = 0
		for i := range list {
			list[i].fill(&in, &e, uint64(i))
			hits += len(m.Apply(&in))
		}
	}
	b.ReportMetric(float64(hits), "hits")
	if hits == 0 {
		b.Fatal("no rule was hit; the events are not those that the rules are for")
	}
}

func TestMixedEventsThatNoRuleMatchesAllocateNothing(t *testing.T) {
	m := load(t, twoHundredRules()...).Matcher()
	list := mixedEvents(20_000)
	var in Input
	var e event.Event
	var misses []int
	for i := range list {
		list[i].fill(&in, &e, uint64(i))
		m.matched = m.matched[:0]
		if len(m.Apply(&in)) == 0 && len(m.matched) == 0 {
			misses = append(misses, i)
		}
	}
	if len(misses) < 19_000 || len(misses) == len(list) {
		t.Fatalf("%d of %d events match nothing; the events are not those that the rules are for", len(misses), len(list))
	}
	all := func() {
		for _, i := range misses {
			list[i].fill(&in, &e, uint64(i))
			m.Apply(&in)
		}
	}
	if n := testing.AllocsPerRun(3, all); n != 0 {
		t.Fatalf("%v allocations in %d events", n, len(misses))
	}
}
