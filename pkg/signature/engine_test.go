package signature

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/process"
	"github.com/org/edamame-posture/pkg/redact"
)

// text makes a redacted text as reading a log does.
func text(s string) redact.Text {
	var t redact.Text
	b := []byte(fmt.Sprintf("%q", s))
	if err := t.UnmarshalJSON(b); err != nil {
		panic(err)
	}
	return t
}

func texts(s ...string) []redact.Text {
	var list []redact.Text
	for _, s := range s {
		list = append(list, text(s))
	}
	return list
}

// ruleText is a rule of one category with a detection, whose lines are
// indented by four.
func ruleText(category, detection string) string {
	return "title: t\nid: 00000000-0000-4000-8000-000000000001\nlevel: high\nlogsource:\n  product: linux\n  category: " +
		category + "\ndetection:\n" + detection
}

func load(t testing.TB, files ...string) *Pack {
	t.Helper()
	fsys := fstest.MapFS{}
	for i, f := range files {
		fsys[fmt.Sprintf("r%03d.yml", i)] = &fstest.MapFile{Data: []byte(f)}
	}
	p, err := Load(fsys)
	if err != nil {
		t.Fatalf("Load: %v", err)
	}
	return p
}

// ran is the exec of a command line by a child of make.
func ran(argv ...string) *Input {
	tree := process.NewTree(100)
	tree.Apply(&event.Event{Kind: event.Exec, Actor: event.Actor{PID: 2, Start: 2, Image: 1}, Exe: text("/usr/bin/make"), Argv: texts("make", "all"), UID: 1000})
	tree.Apply(&event.Event{Kind: event.Fork, Actor: event.Actor{PID: 3, Start: 3}, Parent: event.Actor{PID: 2, Start: 2, Image: 1}})
	e := &event.Event{Kind: event.Exec, Actor: event.Actor{PID: 3, Start: 3, Image: 1}, Exe: text(argv[0]), Argv: texts(argv...), Cwd: text("/w"), UID: 1000}
	return &Input{Event: e, Node: tree.Apply(e)}
}

func TestASelectionComparesAsSigmaSays(t *testing.T) {
	curl := ran("/usr/bin/curl", "-s", "-X", "POST", "https://Evil.test/a", "100%")
	for _, tt := range []struct {
		detection string
		want      bool
	}{
		{"Image: /usr/bin/curl", true},
		{"Image: /USR/bin/CURL", true}, // without case
		{"Image|cased: /USR/bin/CURL", false},
		{"Image: curl", false},
		{"Image: '*/curl'", true},
		{"Image: '/usr/*/c?rl'", true},
		{"Image: '/usr/*/c?l'", false},
		{"Image|endswith: /curl", true},
		{"Image|endswith: [/wget, /curl]", true},
		{"Image|startswith: /usr/", true},
		{"Image|contains: BIN", true},
		{"ParentImage|endswith: /make", true},
		{"ParentCommandLine: make all", true},
		{"Lineage: make", true},
		{"Lineage: curl", false}, // its own program is not an ancestor
		{"CommandLine|contains: ' -X POST '", true},
		{"CommandLine|contains|all: [post, evil.TEST]", true},
		{"CommandLine|contains|all: [post, other]", false},
		{"CommandLine|contains: ['other', 'post']", true},
		{"CommandLine|contains|cased: evil", false},
		{"CommandLine|re: 'https?://[A-Z]'", true},
		{"CommandLine|re: 'https?://[a-d]'", false},
		{"CommandLine|re|i: 'HTTPS?://e'", true},
		{`CommandLine|contains: 'PO\*T'`, false},
		{"CommandLine|contains: 'PO*T'", true},
		{"CommandLine|contains: '100%'", true},
		{"CommandLine|endswith: '100?'", true},
		{"CommandLine|contains|windash: '-s '", true},
		{"CommandLine|contains|windash: '/s '", true}, // each dash for each other
		{"CommandLine|contains|windash: '/q '", false},
		{"CommandLine|contains|windash: 'bin-curl'", false}, // no option
		{"CurrentDirectory: /w", true},
		{"User: '1000'", true},
		{"User: 1000", true},
		{"User: root", false},
		{"Step: null", true},
		{"Step|exists: false", true},
		{"Image|exists: true", true},
		{"Image: null", false},
		{"Image: [null, '/usr/bin/curl']", true},
		{"Step: ''", true},
		{"Image|endswith: /curl\n      User: 1000", true},
		{"Image|endswith: /curl\n      User: 0", false},
	} {
		m := load(t, ruleText("process_creation", "    s:\n      "+tt.detection+"\n    condition: s\n")).Matcher()
		if got := len(m.Apply(curl)) == 1; got != tt.want {
			t.Errorf("%s: hit %v, want %v", tt.detection, got, tt.want)
		}
	}
}

func TestBase64IsFoundInsideACommandLine(t *testing.T) {
	in := ran("/bin/sh", "-c", "echo "+base64.StdEncoding.EncodeToString([]byte("curl evil.test"))+"|base64 -d")
	p := load(t, ruleText("process_creation", "    s:\n      CommandLine|base64|contains: curl evil.test\n    condition: s\n"))
	if len(p.Matcher().Apply(in)) != 1 {
		t.Fatal("no hit")
	}
}

func TestConditionsJoinSelections(t *testing.T) {
	in := ran("/usr/bin/curl", "x")
	selections := "    yes_1: {Image|endswith: /curl}\n    yes_2: {CommandLine|contains: x}\n    no_1: {Image: /a}\n    no_2: {Image: /b}\n    _hidden: {Image: /c}\n"
	for condition, want := range map[string]bool{
		"yes_1 or no_1 or yes_2 or no_2 or _hidden":                           true,
		"yes_1 and yes_2 and not no_1 and not (no_2 or _hidden)":              true,
		"no_1 and no_2 or yes_1 and yes_2 or _hidden":                         true,  // and before or
		"no_1 and (no_2 or yes_1 or yes_2 or _hidden)":                        false, // parentheses
		"not no_1 and yes_1 and not no_2 and not _hidden and yes_2":           true,  // not before and
		"not (not yes_1 or not yes_2 or no_1 or no_2 or _hidden)":             true,
		"1 of yes_* and not 1 of no_* and not _hidden":                        true,
		"all of yes_* and not all of no_* and not _hidden":                    true,
		"all of them or _hidden":                                              false,
		"any of them or _hidden":                                              true,
		"1 of no_* or _hidden or not yes_1 or not yes_2":                      false,
		"1 of * and not _hidden":                                              true,
		"NOT no_1 AND yes_1 AND yes_2 AND NOT no_2 AND NOT _hidden":           true,
		"not not yes_1 and yes_2 and not no_1 and not no_2\n and not _hidden": true,
	} {
		m := load(t, ruleText("process_creation", selections+"    condition: "+fmt.Sprintf("%q", condition)+"\n")).Matcher()
		if got := len(m.Apply(in)) == 1; got != want {
			t.Errorf("%s: hit %v, want %v", condition, got, want)
		}
	}
}

func TestAListOfMappingsIsAChoice(t *testing.T) {
	p := load(t, ruleText("process_creation", "    s:\n      - Image: /a\n      - Image|endswith: /curl\n        CommandLine|contains: x\n    condition: s\n"))
	if len(p.Matcher().Apply(ran("/usr/bin/curl", "x"))) != 1 || len(p.Matcher().Apply(ran("/usr/bin/curl", "y"))) != 0 {
		t.Fatal("wrong answer")
	}
}

func TestWhatTheEngineDoesNotKnowIsAnErrorWithItsPlace(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{ruleText("process_creation", "    s:\n      Imgae: x\n    condition: s"), `r000.yml:9:7: the field is not known: "Imgae" (did you mean "Image"?)`},
		{ruleText("process_creation", "    s:\n      Image|endwith: x\n    condition: s"), `r000.yml:9:7: the modifier "endwith" is not known: "Image|endwith" (did you mean "endswith"?)`},
		{ruleText("process_creation", "    s:\n      CommandLine|base64offset|contains: x\n    condition: s"), `too short: in one of the three places`},
		{ruleText("process_creation", "    s:\n      CommandLine|utf16|contains: x\n    condition: s"), `utf16, utf16le, utf16be and wide need base64`},
		{ruleText("process_creation", "    s:\n      DestinationIp: 1.2.3.4\n    condition: s"), `r000.yml:9:7: the field has no value in process_creation, so the rule would never match`},
		{ruleText("process_creation", "    s:\n      CommandLine|re: '(?<=x)y'\n    condition: s"), `not a regular expression of Go (RE2)`},
		{ruleText("process_creation", "    s:\n      CommandLine|gt: 5\n    condition: s"), `gt, gte, lt and lte are for numbers, and CommandLine is none`},
		{ruleText("network_connection", "    s:\n      DestinationIp|cidr: 1.2.3\n    condition: s"), `not a network such as 10.0.0.0/8`},
		{ruleText("network_connection", "    s:\n      DestinationPort: https\n    condition: s"), `want a number`},
		{ruleText("network_connection", "    s:\n      Image|cidr: 1.2.3.0/24\n    condition: s"), `cidr is for addresses, and Image is none`},
		{ruleText("process_creation", "    s:\n      Image|exists: yes please\n    condition: s"), `exists takes true or false`},
		{ruleText("process_creation", "    s:\n      Image|contains|endswith: x\n    condition: s"), `only one of contains`},
		{ruleText("process_creation", "    s:\n      Image|contains|all: x\n    condition: s"), `all is for a list`},
		{ruleText("process_creation", "    s:\n      Image|contains: ''\n    condition: s"), `an empty text is in every text`},
		{ruleText("process_creation", "    s:\n      Image: []\n    condition: s"), `an empty list matches nothing`},
		{ruleText("process_creation", "    s: {Image: x}\n    condition: s and t"), `r000.yml:9:22: there is no selection "t"`},
		{ruleText("process_creation", "    s: {Image: x}\n    t: {Image: y}\n    condition: s"), `r000.yml:9:5: the condition never names this selection: "t"`},
		{ruleText("process_creation", "    s: {Image: x}\n    condition: s | count() > 5"), `aggregations after | are not supported; write a correlation`},
		{ruleText("process_creation", "    s: {Image: x}\n    condition: 2 of s*"), `not supported: Sigma has "1 of" and "all of" only`},
		{ruleText("process_creation", "    s: {Image: x}\n    condition: 1 of t*"), `no selection is called "t*"`},
		{ruleText("process_creation", "    s: {Image: x}\n    condition: (s"), `want ")" here`},
		{ruleText("process_creation", "    s: {Image: x}\n    condition: s s"), `want "and" or "or" here`},
		{ruleText("process_creation", "    s: {Image: x}\n    condition: s and"), `the condition ends where the name of a selection should stand`},
		{ruleText("process_creation", "    s: {Image: x}\n    condition: "+strings.Repeat("(", 100)+"s"), `nests deeper`},
		{ruleText("process_creation", "    s: {Image: x}"), `"condition" is missing`},
		{ruleText("process_creation", "    s: {Image: x}\n    timeframe: 5m\n    condition: s"), `timeframe is not supported`},
		{ruleText("process_creatoin", "    s: {Image: x}\n    condition: s"), `(did you mean "process_creation"?)`},
		{strings.Replace(ruleText("file_event", "    s: {Image: x}\n    condition: s"), "product: linux", "product: windows", 1), `rules for linux are read`},
		{strings.Replace(ruleText("file_event", "    s: {Image: x}\n    condition: s"), "level: high", "level: hihg", 1), `(did you mean "high"?)`},
		{strings.Replace(ruleText("file_event", "    s: {Image: x}\n    condition: s"), "title: t", "titel: t", 1), `(did you mean "title"?)`},
		{strings.Replace(ruleText("file_event", "    s: {Image: x}\n    condition: s"), "id: 0", "id: x", 1), `want a UUID`},
		{ruleText("file_event", "    s: {Image: x}\n    condition: s") + "\n---\n" + ruleText("file_event", "    s: {Image: x}\n    condition: s"), `the same stands in r000.yml:1`},
		{"title: t\nid: 00000000-0000-4000-8000-000000000001\nlevel: low\n", `a rule has a logsource and a detection, or a correlation`},
		{"title: [", "not YAML"},
		{"# nothing", "the file holds no rule"},
	} {
		_, err := Load(fstest.MapFS{"r000.yml": {Data: []byte(tt.text)}})
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s\n got %v\nwant %s", tt.text, err, tt.want)
			continue
		}
		var list Errors
		if !errors.As(err, &list) || list[0].Line < 1 || list[0].File != "r000.yml" {
			t.Errorf("no place in %#v", err)
		}
	}
}

// correlated is a correlation over the execs of /a and /b.
func correlated(correlation string) string {
	base := func(n int, name, image string) string {
		return fmt.Sprintf("title: t\nid: 00000000-0000-4000-8000-00000000000%d\nname: %s\nlevel: low\nlogsource: {category: process_creation}\ndetection: {s: {Image: %s}, condition: s}\n---\n", n, name, image)
	}
	return base(1, "a", "/a") + base(2, "b", "/b") + base(4, "c", "/c") +
		"title: c\nid: 00000000-0000-4000-8000-000000000003\nname: joined\nlevel: high\ncorrelation: " + correlation + "\n"
}

// step applies the exec of a program at a second, by process pid.
func execAt(m *Matcher, tree *process.Tree, second int64, pid uint32, exe string) []Hit {
	e := &event.Event{Seq: uint64(second), Time: second * 1e9, Kind: event.Exec, Actor: event.Actor{PID: pid, Start: int64(pid), Image: uint32(second)}, Exe: text(exe), Argv: texts(exe)}
	return m.Apply(&Input{Event: e, Node: tree.Apply(e)})
}

func TestTemporalOrderedNeedsTheOrderTheTimeAndTheSameProcess(t *testing.T) {
	p := load(t, correlated("{type: temporal_ordered, rules: [a, b], group-by: [Actor], timespan: 10s}"))
	for _, tt := range []struct {
		name string
		do   func(m *Matcher, tree *process.Tree) []Hit
		want int
	}{
		{"in order", func(m *Matcher, tree *process.Tree) []Hit {
			execAt(m, tree, 1, 5, "/a")
			return execAt(m, tree, 2, 5, "/b")
		}, 1},
		{"after other events", func(m *Matcher, tree *process.Tree) []Hit {
			execAt(m, tree, 1, 5, "/a")
			execAt(m, tree, 2, 5, "/x")
			return execAt(m, tree, 11, 5, "/b")
		}, 1},
		{"the other way round", func(m *Matcher, tree *process.Tree) []Hit {
			execAt(m, tree, 1, 5, "/b")
			return execAt(m, tree, 2, 5, "/a")
		}, 0},
		{"too late", func(m *Matcher, tree *process.Tree) []Hit {
			execAt(m, tree, 1, 5, "/a")
			return execAt(m, tree, 12, 5, "/b")
		}, 0},
		{"a second beginning counts anew", func(m *Matcher, tree *process.Tree) []Hit {
			execAt(m, tree, 1, 5, "/a")
			execAt(m, tree, 9, 5, "/a")
			return execAt(m, tree, 15, 5, "/b")
		}, 1},
		{"another process", func(m *Matcher, tree *process.Tree) []Hit {
			execAt(m, tree, 1, 5, "/a")
			return execAt(m, tree, 2, 6, "/b")
		}, 0},
	} {
		hits := tt.do(p.Matcher(), process.NewTree(100))
		if len(hits) != tt.want {
			t.Errorf("%s: %d hits, want %d", tt.name, len(hits), tt.want)
			continue
		}
		if tt.want == 1 && (hits[0].Rule.ID != "joined" || len(hits[0].Leaves) != 2 || hits[0].First >= hits[0].Last || hits[0].Object.String() != "/b") {
			t.Errorf("%s: %+v", tt.name, hits[0])
		}
	}
}

func TestALineageGroupFollowsDescendants(t *testing.T) {
	p := load(t, correlated("{type: temporal_ordered, rules: [a, b], group-by: [Lineage], timespan: 10s}"))
	tree := process.NewTree(100)
	m := p.Matcher()
	execAt(m, tree, 1, 5, "/a")
	tree.Apply(&event.Event{Kind: event.Fork, Time: 1, Actor: event.Actor{PID: 6, Start: 6}, Parent: event.Actor{PID: 5, Start: 5, Image: 1}})
	tree.Apply(&event.Event{Kind: event.Fork, Time: 1, Actor: event.Actor{PID: 7, Start: 7}, Parent: event.Actor{PID: 6, Start: 6}})
	if n := len(execAt(m, tree, 2, 7, "/b")); n != 1 {
		t.Errorf("%d hits for a grandchild, want 1", n)
	}
	if n := len(execAt(m, tree, 3, 9, "/b")); n != 0 {
		t.Errorf("%d hits for a stranger, want 0", n)
	}
}

func TestEventCountCountsWithinTheTimespan(t *testing.T) {
	p := load(t, correlated("{type: event_count, rules: [a, b], group-by: [Actor], timespan: 10s, condition: {gte: 3}}"))
	m, tree := p.Matcher(), process.NewTree(100)
	var got []int
	for i, s := range []int64{1, 2, 20, 21, 22, 23, 24, 25} {
		got = append(got, len(execAt(m, tree, s, 5, []string{"/a", "/b"}[i%2])))
	}
	if fmt.Sprint(got) != "[0 0 0 0 1 0 0 1]" {
		t.Fatalf("hits %v", got)
	}
}

func TestValueCountCountsDistinctValues(t *testing.T) {
	p := load(t, correlated("{type: value_count, rules: [a, b, c], group-by: [Actor], timespan: 100s, condition: {gt: 2, field: Image}}"))
	m, tree := p.Matcher(), process.NewTree(100)
	var got []int
	for i, exe := range []string{"/a", "/a", "/b", "/a", "/b", "/c"} {
		got = append(got, len(execAt(m, tree, int64(i+1), 5, exe)))
	}
	if fmt.Sprint(got) != "[0 0 0 0 0 1]" {
		t.Fatalf("hits %v", got)
	}
}

func TestTheStateOfACorrelationIsBoundedAndWhatItCostIsCounted(t *testing.T) {
	p := load(t, correlated("{type: temporal_ordered, rules: [a, b], group-by: [Actor], timespan: 10s}"))
	m, tree := p.Matcher(), process.NewTree(100)
	for pid := uint32(1); pid <= maxGroups+10; pid++ {
		execAt(m, tree, 1, pid, "/a")
	}
	if n := len(m.states[0].groups); n != maxGroups || m.Evicted() != 10 {
		t.Fatalf("%d groups, %d evicted", n, m.Evicted())
	}
	if len(execAt(m, tree, 2, 10, "/b")) != 0 || len(execAt(m, tree, 2, 11, "/b")) != 1 {
		t.Fatal("not the oldest were pushed out")
	}
}

func TestARuleOfACorrelationTellsNothingItselfUnlessAsked(t *testing.T) {
	for generate, want := range map[string]int{"": 0, ", generate: true": 1} {
		p := load(t, correlated("{type: temporal_ordered, rules: [a, b], group-by: [Actor], timespan: 10s"+generate+"}"))
		if n := len(execAt(p.Matcher(), process.NewTree(100), 1, 5, "/a")); n != want {
			t.Errorf("generate %q: %d hits, want %d", generate, n, want)
		}
	}
}

func TestCorrelationsThatAreWrongAreErrors(t *testing.T) {
	for correlation, want := range map[string]string{
		"{type: value_avg, rules: [a, b], group-by: [Actor], timespan: 10s}":                                      "the type is not supported",
		"{type: temporal_ordered, rules: [a, x], group-by: [Actor], timespan: 10s}":                               "no rule has this name or id",
		"{type: temporal_ordered, rules: [a, b], group-by: [Usr], timespan: 10s}":                                 `(did you mean "User"?)`,
		"{type: temporal_ordered, rules: [a, b], timespan: 10s}":                                                  `"group-by" is missing`,
		"{type: temporal_ordered, rules: [a], group-by: [Actor], timespan: 10s}":                                  "takes 2 to 16 rules",
		"{type: temporal_ordered, rules: [a, b], group-by: [Actor], timespan: soon}":                              "such as 120s",
		"{type: event_count, rules: [a], group-by: [Actor], timespan: 1h}":                                        `"condition" is missing`,
		"{type: event_count, rules: [a], group-by: [Actor], timespan: 1h, condition: {lt: 1}}":                    "no count of events that were seen is below 1",
		"{type: event_count, rules: [a], group-by: [Actor], timespan: 1h, condition: {gte: 100000}}":              "want a number up to",
		"{type: value_count, rules: [a], group-by: [Actor], timespan: 1h, condition: {gte: 3}}":                   `"field" is missing`,
		"{type: value_count, rules: [a], group-by: [Actor], timespan: 1h, condition: {gte: 3, field: QueryName}}": "has no value in process_creation",
		"{type: value_count, rules: [a], group-by: [Actor], timespan: 1h, condition: {gte: 3, field: Lineage}}":   "not a field whose values can be counted",
	} {
		_, err := Load(fstest.MapFS{"r000.yml": {Data: []byte(correlated(correlation))}})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\n got %v\nwant %s", correlation, err, want)
		}
	}
}

func TestReadingAPackGivesTheSamePack(t *testing.T) {
	p, err := Default()
	if err != nil {
		t.Fatal(err)
	}
	again, err := ReadPack(p.Canonical())
	if err != nil {
		t.Fatal(err)
	}
	if again.SHA256() != p.SHA256() || again.Name() != "default" || again.Version() == "" || len(again.Rules()) != len(p.Rules()) {
		t.Fatalf("%s %s, want %s %s", again.Name(), again.SHA256(), p.Name(), p.SHA256())
	}
	for _, bad := range []string{"", "{}", `{"version":2}`, `{"version":1,"x":1}`, string(p.Canonical()) + "{}", `{"version":1,"files":[{"name":"a","text":"x"}]}`} {
		if _, err := ReadPack([]byte(bad)); err == nil {
			t.Errorf("accepted %.40q", bad)
		}
	}
}

// manyRules are 200 rules of the kinds that SigmaHQ has for linux: nine of ten
// name a program, the others look into the command line of any.
func manyRules() []string {
	var files []string
	for i := range 200 {
		s := fmt.Sprintf("    s:\n      Image|endswith: [/prog%d, /tool%d]\n      CommandLine|contains: [' -%d', evil%d]\n    f: {ParentImage|endswith: /x%d}\n    condition: s and not f\n", i, i, i, i, i)
		if i%10 == 0 {
			s = fmt.Sprintf("    s:\n      CommandLine|contains|all: [evil%d, ' --do']\n    condition: s\n", i)
		}
		files = append(files, strings.Replace(ruleText("process_creation", s), "000000000001", fmt.Sprintf("%012d", i+1), 1))
	}
	return files
}

func TestAMissAllocatesNothing(t *testing.T) {
	many, err := Default()
	if err != nil {
		t.Fatal(err)
	}
	for name, p := range map[string]*Pack{"200 rules": load(t, manyRules()...), "the default rules": many} {
		m := p.Matcher()
		inputs := []*Input{
			ran("/usr/bin/CC1plus", "-O2", "-c", strings.Repeat("Source ", 100)),
			{Event: &event.Event{Kind: event.Fork}},
			connects(ran("/usr/bin/git", "fetch"), "github.com", "192.0.2.1:443"),
			connects(ran("/usr/bin/git", "fetch"), "host.test", "198.51.100.1:443"),
			opens(ran("/bin/ps", "aux"), nil, "/proc/1/stat"),
		}
		secret := ran("/usr/bin/curl", "-d", "k=[redacted]")
		secret.Event.Secrets = []event.Secret{{Field: text("argv"), Index: 2, Pattern: text("masked")}}
		m.Apply(secret) // so that a correlation waits for a connection
		for _, in := range inputs {
			in.Event.Actor.PID++ // of another process
			m.Apply(in)          // buffers grow once
		}
		if n := testing.AllocsPerRun(200, func() {
			for _, in := range inputs {
				if len(m.Apply(in)) != 0 {
					panic("hit")
				}
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func BenchmarkApplyMiss200Rules(b *testing.B) {
	m := load(b, manyRules()...).Matcher()
	in := ran("/usr/lib/gcc/cc1plus", "-O2", "-Wall", "-c", "/home/runner/work/project/project/src/very/long/name.cc", "-o", "/tmp/ccXYZ.s")
	b.ReportAllocs()
	for b.Loop() {
		m.Apply(in)
	}
}

func BenchmarkApplyMissNetwork(b *testing.B) {
	p, err := Default()
	if err != nil {
		b.Fatal(err)
	}
	m := p.Matcher()
	in := connects(ran("/usr/bin/git", "fetch"), "github.com", "192.0.2.1:443")
	b.ReportAllocs()
	for b.Loop() {
		m.Apply(in)
	}
}

// The index must never hide a hit: with it and without, the hits are the same.
func TestTheIndexHidesNothing(t *testing.T) {
	var files []string
	for i, s := range []string{
		"Image: '*curl'", "Image: '*/cu?l'", "Image|endswith: curl", "Image|endswith: /bin/curl", "Image|contains: curl",
		"Image|startswith: /usr/bin/curl", "Image|cased: /usr/bin/curl", "Image: [/a, /usr/bin/curl]", "Image|endswith: [/wget, rl]",
		"Image|contains|all: [usr, curl]", "ParentImage|endswith: /make", "ParentImage: null", `Image: '\*curl'`, "Image: '/usr/bin/CURL'",
		"Image|re: curl$", "Image|re|i: 'CURL$'", "Image|re: '(curl|wget)'", "Image|re: 'c(ur)+l'", "Image|re: 'c.*l'", "Image|re: '(?i)[a-z]*CU(R)L'",
		"CommandLine|re|i: 'kit'", "CommandLine|contains: zip", "CommandLine|contains: zi", "CommandLine|contains|windash: ' -zip'",
		"CommandLine|base64|contains: zipzip", "CommandLine|base64offset|contains: zipzip", "CommandLine|contains: [zip, zz]", "CommandLine|startswith: '/usr'",
		"CommandLine: '*z?p*'", "User: 1000", "Image|neq: /a", "Image|fieldref|contains: ParentImage", "ImageOrigin: fresh", "Lineage: make",
	} {
		for j, c := range []string{"s", "not s", "s or o", "s and o", "not (s and o)"} {
			d := "    s: {" + strings.ReplaceAll(s, "{", "") + "}\n    condition: " + c + "\n"
			if strings.Contains(c, "o)") || strings.HasSuffix(c, " o") {
				d = "    o: {CommandLine|contains: zip}\n" + d
			}
			files = append(files, strings.Replace(ruleText("process_creation", d), "000000000001", fmt.Sprintf("%012d", i*10+j+1), 1))
		}
	}
	indexed := load(t, files...)
	plain := load(t, files...)
	plain.unindexed()
	hits := 0
	for _, argv := range [][]string{{"/usr/bin/curl", "zip"}, {"/usr/bin/curl"}, {"/curl"}, {"curl"}, {"/usr/bin/xcurl", "zip"}, {"/usr/bin/CURL"}, {"/a", "zip"}, {"/usr/bin/curl/"}, {"/b"}, {`/x/*curl`},
		{"/x", "a\u212ait"}, {"/x", "KIT"}, {"/x", "/zip"}, {"/x", "emlwemlw"}, {"/x", "IHppcHppcA"}, {"/x", "zz"}, {"/usr", "/usr"}, {"/x", "zi"}} {
		in := ran(argv...)
		a, b := indexed.Matcher().Apply(in), plain.Matcher().Apply(in)
		var ids, want []string
		for _, h := range a {
			ids = append(ids, h.Rule.ID)
		}
		for _, h := range b {
			want = append(want, h.Rule.ID)
		}
		if fmt.Sprint(ids) != fmt.Sprint(want) {
			t.Errorf("%q: with index %v, without %v", argv, ids, want)
		}
		hits += len(want)
	}
	if hits < 100 {
		t.Fatalf("only %d hits; the test says little", hits)
	}
}

func FuzzLoad(f *testing.F) {
	f.Add(ruleText("process_creation", "    s:\n      Image|endswith: x\n    condition: s\n"))
	f.Add(ruleText("network_connection", "    s:\n      DestinationIp|cidr: [10.0.0.0/8]\n    f1: {Image|re|i: a+}\n    condition: s and not 1 of f*\n"))
	f.Add(correlated("{type: value_count, rules: [a], group-by: [Lineage], timespan: 1h, condition: {gte: 3, field: Image}}"))
	in := ran("/usr/bin/curl", "-s", "x")
	f.Fuzz(func(t *testing.T, data string) {
		p, err := Load(fstest.MapFS{"r.yml": {Data: []byte(data)}})
		if err != nil {
			var list Errors
			if !errors.As(err, &list) || len(list) == 0 {
				t.Fatalf("error %v has no place", err)
			}
			return
		}
		p.Matcher().Apply(in)
		if again, err := ReadPack(p.Canonical()); err != nil || again.SHA256() != p.SHA256() {
			t.Fatalf("does not survive: %v", err)
		}
	})
}

func FuzzCondition(f *testing.F) {
	f.Add("a and not (b or 1 of c*)")
	f.Add("all of them")
	f.Fuzz(func(t *testing.T, s string) {
		sel := map[string]expr{"a": never{}, "b": never{}, "c1": never{}}
		e, _, err := parseCondition(s, sel, []string{"a", "b", "c1"})
		var ce *conditionError
		if err != nil && (!errors.As(err, &ce) || ce.offset < 0 || ce.offset > len(s)) {
			t.Fatalf("error %v", err)
		}
		if err == nil {
			e.compile()(&view{})
		}
	})
}
