package signature

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/process"
)

// execRule is a rule for one program, n being its number.
func execRule(n int, image string) string {
	return fmt.Sprintf("title: t\nid: 00000000-0000-4000-8000-%012d\nname: r%d\nlogsource: {category: process_creation}\ndetection: {s: {Image: %s}, condition: s}\n", n, n, image)
}

func TestLenientLeavesOutWhatIsWrongAndWhatNeedsIt(t *testing.T) {
	joined := func(name string, rules string) string {
		return fmt.Sprintf("title: c\nname: %s\ncorrelation: {type: temporal, rules: %s, group-by: [User], timespan: 1m}\n", name, rules)
	}
	fsys := fstest.MapFS{
		"a.yml":    {Data: []byte(execRule(1, "/a") + "---\n" + strings.Replace(execRule(2, "/b"), "Image", "Imgae", 1) + "---\n" + execRule(3, "/c"))},
		"b.yml":    {Data: []byte("title: [")},
		"c.yml":    {Data: []byte(joined("good", "[r1, r3]") + "---\n" + joined("bad", "[r1, r2]") + "---\n" + joined("worse", "[bad, r3]"))},
		"d.yml":    {Data: []byte(execRule(1, "/same"))},
		"huge.yml": {Data: []byte(strings.Repeat(execRule(9, "/x")+"---\n", 10<<20/100))},
	}
	if _, err := Load(fsys); err == nil {
		t.Fatal("strict loading took wrong rules")
	}
	p, err := LoadWith(fsys, Options{Lenient: true})
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, r := range p.Rules() {
		ids = append(ids, r.ID)
	}
	if fmt.Sprint(ids) != "[good]" || len(p.rules) != 2 {
		t.Fatalf("rules %v and %d parts", ids, len(p.rules))
	}
	told := p.Skipped().Error()
	for _, want := range []string{
		`a.yml:11:17: the field is not known: "Imgae"`, "b.yml:1:", `c.yml:7:43: the rule that is named is wrong itself: "r2"`,
		`the rule that is named is wrong itself: "bad"`, "d.yml:2:5: the same stands in a.yml:1", "huge.yml:1:1: the file is longer than 1048576 bytes",
	} {
		if !strings.Contains(told, want) {
			t.Errorf("%s\nis not told in\n%s", want, told)
		}
	}
	again, err := ReadPack(p.Canonical())
	if err != nil || again.SHA256() != p.SHA256() || len(again.Rules()) != 1 {
		t.Fatalf("the pack does not survive: %v", err)
	}
	m, tree := again.Matcher(), process.NewTree(100)
	execAt(m, tree, 1, 5, "/a")
	if len(execAt(m, tree, 2, 6, "/c")) != 1 {
		t.Fatal("what is left does not match")
	}
}

func TestPlaceholdersAreAPartOfThePack(t *testing.T) {
	fsys := fstest.MapFS{"a.yml": {Data: []byte(ruleText("process_creation", "    s: {Image|expand: '/bin/%Name%'}\n    condition: s\n"))}}
	p, err := LoadWith(fsys, Options{Placeholders: map[string][]string{"Name": {"one", "two"}}})
	if err != nil {
		t.Fatal(err)
	}
	again, err := ReadPack(p.Canonical())
	if err != nil || again.SHA256() != p.SHA256() {
		t.Fatalf("%v", err)
	}
	if len(again.Matcher().Apply(ran("/bin/two"))) != 1 || len(again.Matcher().Apply(ran("/bin/three"))) != 0 {
		t.Fatal("wrong answer")
	}
	many := map[string][]string{"Name": make([]string, 200)}
	for i := range many["Name"] {
		many["Name"][i] = fmt.Sprint(i)
	}
	fsys["a.yml"].Data = []byte(ruleText("process_creation", "    s: {Image|expand: '%Name%%Name%%Name%'}\n    condition: s\n"))
	if _, err := LoadWith(fsys, Options{Placeholders: many}); err == nil || !strings.Contains(err.Error(), "the placeholders stand for more than") {
		t.Fatalf("%v", err)
	}
}

func TestTenMegabytesOfRulesAreReadOrRefusedWithTheirPlace(t *testing.T) {
	fsys := fstest.MapFS{}
	n := 0
	for i := range 45 {
		var b strings.Builder
		for range 220 {
			n++
			fmt.Fprintf(&b, "%s# %s\n---\n", execRule(n, fmt.Sprintf("/prog%d", n)), strings.Repeat("x", 900))
		}
		fsys[fmt.Sprintf("f%02d.yml", i)] = &fstest.MapFile{Data: []byte(strings.TrimSuffix(b.String(), "---\n"))}
	}
	p, err := Load(fsys)
	if err != nil {
		t.Fatal(err)
	}
	m := p.Matcher()
	if h := m.Apply(ran("/prog9000")); len(h) != 1 || h[0].Rule.ID != "r9000" || len(m.Apply(ran("/prog9"))) != 1 || len(m.Apply(ran("/prog"))) != 0 {
		t.Fatal("wrong answer")
	}
	for i := range 80 {
		fsys[fmt.Sprintf("z%02d.yml", i)] = &fstest.MapFile{Data: []byte(strings.Repeat("#", 1<<20))}
	}
	if _, err := Load(fsys); err == nil || !strings.Contains(err.Error(), ".yml:1: too much: a pack has at most") {
		t.Fatalf("%v", err)
	}
}

func TestWhatACorrelationRemembersIsBoundedForEveryKind(t *testing.T) {
	for _, c := range []string{
		"{type: temporal_ordered, rules: [a, b], group-by: [ProcessId], timespan: 1h}",
		"{type: temporal, rules: [a, b], group-by: [ProcessId], timespan: 1h}",
		"{type: event_count, rules: [a, b], group-by: [ProcessId], timespan: 1h, condition: {gte: 2}}",
		"{type: value_count, rules: [a], group-by: [ProcessId], timespan: 1h, condition: {gte: 2, field: Image}}",
		"{type: event_count, rules: [a, b], group-by: [ProcessId], timespan: 1h, condition: {lt: 2}}",
	} {
		m, tree := load(t, correlated(c)).Matcher(), process.NewTree(100)
		for pid := uint32(1); pid <= maxGroups+10; pid++ {
			execAt(m, tree, 1, pid, "/a")
		}
		if n := len(m.states[0].groups); n != maxGroups || m.Evicted() != 10 {
			t.Errorf("%s: %d groups, %d evicted", c, n, m.Evicted())
		}
	}
}

func TestEventsOfAllGroupsTogetherAreBounded(t *testing.T) {
	m, tree := load(t, correlated("{type: event_count, rules: [a], group-by: [ProcessId], timespan: 1h, condition: {gte: 1000}}")).Matcher(), process.NewTree(100)
	for i := range int64(200) {
		for pid := range uint32(400) {
			execAt(m, tree, 1+i, 1+pid, "/a")
		}
	}
	kept := 0
	for _, g := range m.states[0].groups {
		kept += len(g.events)
	}
	if kept > maxKept || kept != m.states[0].kept || m.Evicted() == 0 {
		t.Fatalf("%d events, counted %d; %d evicted", kept, m.states[0].kept, m.Evicted())
	}
}

func TestAGroupWhoseTimespanIsOverIsForgottenForNothing(t *testing.T) {
	m, tree := load(t, correlated("{type: temporal, rules: [a, b], group-by: [ProcessId], timespan: 10s}")).Matcher(), process.NewTree(100)
	for i := range int64(3 * maxGroups) {
		execAt(m, tree, 1+i, uint32(1+i), "/a")
	}
	if n := len(m.states[0].groups); n > 12 || m.Evicted() != 0 {
		t.Fatalf("%d groups, %d evicted", n, m.Evicted())
	}
}

func TestLongValuesAreToldApart(t *testing.T) {
	m, tree := load(t, correlated("{type: value_count, rules: [a], group-by: [User], timespan: 1h, condition: {gte: 3, field: CommandLine}}")).Matcher(), process.NewTree(100)
	long := strings.Repeat("x", 1000)
	var got []int
	for i, arg := range []string{long + "1", long + "1", long + "2", long + "3"} {
		e := &event.Event{Seq: uint64(i), Time: int64(i) * 1e9, Kind: event.Exec, Actor: event.Actor{PID: 5, Start: 5, Image: uint32(i)}, Exe: text("/a"), Argv: texts("/a", arg)}
		got = append(got, len(m.Apply(&Input{Event: e, Node: tree.Apply(e)})))
	}
	if fmt.Sprint(got) != "[0 0 0 1]" {
		t.Fatalf("hits %v", got)
	}
	for _, g := range m.states[0].groups {
		for _, s := range g.events {
			if len(s.value) > maxValue+1 {
				t.Errorf("a value of %d bytes is kept", len(s.value))
			}
		}
	}
}

func TestAnEventThatACorrelationWaitsForAllocatesNothingUntilItComes(t *testing.T) {
	p := load(t, correlated("{type: temporal_ordered, rules: [a, b], group-by: [Lineage], timespan: 1h}"))
	m, tree := p.Matcher(), process.NewTree(100)
	execAt(m, tree, 1, 5, "/a")
	other := ran("/usr/bin/make", "all")
	m.Apply(other)
	if n := testing.AllocsPerRun(200, func() { m.Apply(other) }); n != 0 {
		t.Fatalf("%v allocations", n)
	}
	if len(execAt(m, tree, 2, 5, "/b")) != 1 {
		t.Fatal("no hit")
	}
}

func TestALateForkMovesALineage(t *testing.T) {
	p := load(t, ruleText("network_connection", "    s: {Lifecycle: npm}\n    condition: s\n"))
	m, tree := p.Matcher(), process.NewTree(100)
	do := func(e *event.Event) []Hit {
		in := &Input{Event: e, Node: tree.Apply(e)}
		return m.Apply(in)
	}
	npm, sh, child := event.Actor{PID: 2, Start: 2, Image: 1}, event.Actor{PID: 3, Start: 3, Image: 1}, event.Actor{PID: 4, Start: 4}
	do(&event.Event{Kind: event.Exec, Actor: npm, Exe: text("/usr/bin/node"), Argv: texts("node", "/usr/bin/npm", "ci")})
	do(&event.Event{Kind: event.Fork, Actor: event.Actor{PID: 3, Start: 3}, Parent: npm})
	do(&event.Event{Kind: event.Exec, Actor: sh, Exe: text("/bin/sh"), Argv: texts("sh", "-c", "x")})
	connect := func(n uint64) *event.Event {
		e := connects(ran("/x"), "a.test", "192.0.2.1:443").Event
		e.Actor, e.Sock = child, n
		return e
	}
	if len(do(connect(1))) != 0 {
		t.Fatal("a process of unknown parents is no script's")
	}
	do(&event.Event{Kind: event.Fork, Actor: child, Parent: sh})
	if len(do(connect(2))) != 1 {
		t.Fatal("what was found before the fork came is held on to")
	}
}

func TestCheckSaysOfEachRuleWhatIsNotSupported(t *testing.T) {
	list, err := Check(fstest.MapFS{
		"a.yml": {Data: []byte(execRule(1, "/a") + "---\n" + strings.Replace(execRule(2, "/b"), "Image: /b", "Hashes: x", 1) + "---\n" + execRule(3, "/c"))},
		"b.yml": {Data: []byte("title: w\nlogsource: {product: windows, category: registry_set}\ndetection: {s: {x: y}, condition: s}\n")},
		"c.yml": {Data: []byte("title: [")},
		"d.yml": {Data: []byte("title: c\nname: c\ncorrelation: {type: temporal, rules: [r1, gone], group-by: [User], timespan: 1m}\n")},
	}, Options{})
	if err != nil || len(list) != 6 {
		t.Fatalf("%d rules, %v", len(list), err)
	}
	for i, want := range []struct {
		usable, supported bool
		id, message       string
	}{
		{true, true, "r1", ""}, {false, true, "r2", "the field is not supported: files are not hashed"}, {true, true, "r3", ""},
		{false, false, "b:1", "rules for linux are read"}, {false, false, "", "not YAML: did not find expected node content"}, {false, false, "c", "no rule has this name or id"},
	} {
		c := list[i]
		message := ""
		if len(c.Errors) > 0 {
			message = c.Errors[0].Message
		}
		if c.Usable() != want.usable || c.Supported != want.supported || c.ID != want.id || !strings.HasPrefix(message, want.message) || (message == "") != (want.message == "") {
			t.Errorf("%d: %+v", i, c)
		}
	}
	if !list[5].Correlation() || list[3].Correlation() || list[4].Correlation() {
		t.Error("which one is a correlation is not told")
	}
}

func FuzzLenient(f *testing.F) {
	f.Add(execRule(1, "/a")+"---\n"+execRule(1, "/b"), "x")
	f.Add(correlated("{type: temporal, rules: [a, joined], group-by: [User], timespan: 1m}"), "%a%")
	f.Add(ruleText("dns_query", "    s:\n      - QueryName|re|i: 'k(a|b)+c{3}'\n      - evil\n    condition: not s"), "")
	for _, dir := range []string{"spec", "refused"} {
		files, err := filepath.Glob("testdata/" + dir + "/*.yml")
		if err != nil || len(files) == 0 {
			f.Fatalf("%d files, %v", len(files), err)
		}
		for _, name := range files {
			data, err := os.ReadFile(name)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(string(data), "value")
		}
	}
	inputs := []*Input{ran("/usr/bin/curl", "-s", "x"), connects(ran("/x"), "a.test", "192.0.2.1:443"), opens(ran("/x"), nil, "/etc/passwd")}
	f.Fuzz(func(t *testing.T, data, value string) {
		o := Options{Lenient: true, Placeholders: map[string][]string{"x": {value}}}
		p, err := LoadFile("r.yml", []byte(data), o)
		if err != nil {
			t.Fatalf("lenient loading fails: %v", err)
		}
		for _, e := range p.Skipped() {
			if e.File != "r.yml" || e.Line < 1 {
				t.Fatalf("no place in %+v", e)
			}
		}
		_, strict := LoadFile("r.yml", []byte(data), Options{Placeholders: o.Placeholders})
		var list Errors
		if (strict == nil) != (len(p.Skipped()) == 0) || strict != nil && !errors.As(strict, &list) {
			t.Fatalf("strict says %v, lenient skips %v", strict, p.Skipped())
		}
		// The index hides nothing.
		plain, err := LoadFile("r.yml", []byte(data), o)
		if err != nil {
			t.Fatal(err)
		}
		plain.unindexed()
		a, b := p.Matcher(), plain.Matcher()
		for _, in := range inputs {
			if x, y := len(a.Apply(in)), len(b.Apply(in)); x != y {
				t.Fatalf("%d hits with the index, %d without", x, y)
			}
		}
	})
}

// unindexed makes a pack ask every rule about each event of its category.
func (p *Pack) unindexed() {
	for c := range p.byCategory {
		x := index{}
		for i, r := range p.rules {
			if int(r.category) == c {
				x.always = append(x.always, i)
			}
		}
		p.byCategory[c] = x
	}
}
