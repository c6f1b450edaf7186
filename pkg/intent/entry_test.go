package intent

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/fact"
	"github.com/org/edamame-posture/pkg/fact/facttest"
	"github.com/org/edamame-posture/pkg/names"
	"github.com/org/edamame-posture/pkg/process"
)

func pick[T any](r *rand.Rand, list ...T) T { return list[r.IntN(len(list))] }

// anyEntry makes an entry of a small world, in which many include each other.
func anyEntry(r *rand.Rand) entry {
	e := entry{Verb: pick(r, "connect", "connect", "listen", "credential", "chain", "exec", "write", "power"), Kind: kindPolicy}
	port := pick(r, ":443", ":*", ":80", ":443/udp", ":443/*", ":*/*")
	switch e.Verb {
	case "connect", "chain":
		e.To = pick(r, "a.x.example", "x.example", "*.x.example", "**.x.example", "*.a.x.example", "**.a.x.example", "a*.x.example", "ab*.x.example",
			"*", "10.0.0.0/8", "10.1.0.0/16", "10.1.2.3", "[fd00::/8]", "*.example", "**.example") + port
	case "listen":
		e.To = pick(r, "127.0.0.1", "127.0.0.0/8", "*", "10.1.2.3") + pick(r, ":80", ":*")
	case "credential":
		e.To = pick(r, "npm", "aws")
	case "exec":
		e.To = pick(r, "npm", "np*", "*", "/usr/bin/npm", "/usr/**", "tools/*", "**", "tools/gen")
		e.SHA256 = pick(r, nil, nil, digests(1), digests(2), digests(1, 2), digests(3))
	case "write":
		e.To = pick(r, "dist/a", "dist/*", "dist/**", "dist/", "**", "*/a", "**/a", "/etc/x", "/etc/**", "/**", "dist/*/a")
	case "power":
		e.To = pick(r, "sudo", "apt-get")
	}
	if e.Verb == "chain" {
		e.Class = pick(r, "npm", "aws")
	}
	if e.Verb != "power" {
		e.By = pick(r, nil, nil, []string{"npm"}, []string{"gh"}, []string{"gh", "npm"})
		e.Step = pick(r, "", "", "", "s", "t")
	}
	return e
}

// digests are those of contents that numbers stand for.
func digests(contents ...byte) (list []string) {
	for _, c := range contents {
		list = append(list, facttest.Digest(c).String())
	}
	return list
}

// ran is the fact of a program that was executed with each of some contents, 0
// for one that is not known; without any nothing was digested.
func ran(contents ...byte) *fact.Fact {
	l := facttest.New("sh")
	for _, c := range contents {
		l.Holds(l.Run(l.Root, "/usr/bin/npm", "npm"), c)
	}
	if len(contents) == 0 {
		l.Run(l.Root, "/usr/bin/npm", "npm")
	}
	tree := process.NewTree(100)
	f := fact.NewFolder(tree, names.New(100), fact.Folders{Root: facttest.Root, Home: facttest.Home}, 0)
	for i := range l.Events {
		f.Apply(&l.Events[i], tree.Apply(&l.Events[i]))
	}
	for _, found := range f.Facts() {
		if found.Verb == fact.Exec && found.Object.Is("/usr/bin/npm") {
			return found
		}
	}
	panic("no fact of the exec")
}

var ranFacts = []*fact.Fact{ran(), ran(1), ran(2), ran(1, 2), ran(1, 3), ran(0), ran(1, 0)}

func anyFact(r *rand.Rand) *fact.Fact {
	f := &fact.Fact{Verb: pick(r, fact.Connect, fact.Connect, fact.Resolve, fact.Listen, fact.Credential, fact.Chain, fact.Exec, fact.Write, fact.Delete, fact.Power)}
	if f.Verb == fact.Exec {
		*f = *pick(r, ranFacts...)
	}
	f.Who, f.Proto = facttest.Texts(pick(r, "npm", "gh", "curl", "sudo")), pick(r, event.ProtoTCP, event.ProtoUDP)
	f.Class, f.Taint = facttest.Text(pick(r, "npm", "aws")), facttest.Text(pick(r, "npm", "aws"))
	if r.IntN(2) == 0 {
		f.Who = append(f.Who, facttest.Text(pick(r, "npm", "apt-get", "sh")))
	}
	if s := pick(r, "", "s", "t"); s != "" {
		f.Step = facttest.Text(s)
	}
	addr := pick(r, "10.1.2.3", "10.9.9.9", "127.0.0.1", "203.0.113.9", "fd00::1")
	f.Addr = netip.AddrPortFrom(netip.MustParseAddr(addr), pick(r, uint16(443), 80, 0))
	switch f.Verb {
	case fact.Connect, fact.Chain:
		if h := pick(r, "", "x.example", "a.x.example", "ab.x.example", "b.a.x.example", "example", "y.example"); h != "" {
			f.Host = facttest.Text(h)
		}
	case fact.Exec, fact.Write, fact.Delete:
		p := pick(r, "dist/a", "dist/b", "dist/b/a", "dist/**", "dist/*", "a", "dist", "/etc/x", "/etc/y/z", "/usr/bin/npm", "/opt/npm", "tools/gen", "tools/npm", "/usr/lib/**")
		f.Object, f.Path, f.Place = facttest.Text(p), facttest.Text(p), fact.Workspace
		if p[0] == '/' {
			f.Place = fact.System
		}
	}
	return f
}

// Includes may say no of what it does not see through, but never yes of two
// where a fact tells them apart: check would call a grant needless, and diff
// would keep silent about one.
func TestAnEntryIncludesOnlyWhatItCoversAll(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	var entries []Entry
	for range 700 {
		g, err := compile(anyEntry(r))
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, g.lay())
	}
	var facts []*fact.Fact
	for range 3000 {
		facts = append(facts, anyFact(r))
	}
	covered := make([][]bool, len(entries))
	for i := range entries {
		covered[i] = make([]bool, len(facts))
		for j, f := range facts {
			covered[i][j] = entries[i].Covers(f)
		}
	}
	includes, proper := 0, 0
	for i := range entries {
		if !entries[i].Includes(&entries[i]) {
			t.Errorf("%s does not include itself", entries[i].Text)
		}
		for k := range entries {
			if !entries[i].Includes(&entries[k]) {
				continue
			}
			includes++
			if !entries[k].Includes(&entries[i]) {
				proper++
			}
			for j := range facts {
				if covered[k][j] && !covered[i][j] {
					f := facts[j]
					t.Fatalf("%s is said to include %s, which alone covers %s %s%s %s by %v step %s", entries[i].Text, entries[k].Text, f.Verb, f.Host, f.Object, f.Addr, f.Who, f.Step)
				}
			}
		}
	}
	if includes < 5000 || proper < 2000 {
		t.Errorf("%d pairs include each other, %d of them properly: too few to show anything", includes, proper)
	}
}

func TestTheGrantThatComesClosestIsNamedWithWhatItMisses(t *testing.T) {
	p, err := Parse("p", []byte(`version: 1
egress:
  - "x.example:80"
  - {to: "x.example:443", by: [gh]}
  - {to: "y.example:443", step: release}
  - "z.example:80"
credentials: [npm]
exec: [{to: npm, by: [make]}]
write: [dist/a]
`))
	if err != nil {
		t.Fatal(err)
	}
	in, err := p.Resolve("")
	if err != nil {
		t.Fatal(err)
	}
	tcp := func(host string) *fact.Fact {
		return &fact.Fact{Verb: fact.Connect, Host: facttest.Text(host), Addr: netip.MustParseAddrPort("203.0.113.9:443"), Proto: event.ProtoTCP, Who: facttest.Texts("curl")}
	}
	npm := &fact.Fact{Verb: fact.Credential, Class: facttest.Text("npm"), Who: facttest.Texts("cat")}
	run := &fact.Fact{Verb: fact.Exec, Object: facttest.Text("/usr/bin/npm"), Place: fact.System, Who: facttest.Texts("sh")}
	del := &fact.Fact{Verb: fact.Delete, Object: facttest.Text("dist/b"), Place: fact.Workspace}
	for _, c := range []struct {
		f    *fact.Fact
		line int
		why  string
	}{
		{tcp("x.example"), 4, "it is for gh only"},
		{tcp("y.example"), 5, "it is for the step release only"},
		{tcp("z.example"), 6, "it is for another port or protocol"},
		{tcp("other.example"), 0, ""},
		{npm, 7, "it is for the programs that own npm credentials only"},
		{run, 8, "it is for make only"},
		{del, 0, ""},
		{&fact.Fact{Verb: fact.Power, Who: facttest.Texts("sudo")}, 0, ""},
	} {
		if in.Explain(c.f) != nil {
			t.Fatalf("%s is explained", c.f.Verb)
		}
		g, why := in.Near(c.f)
		line := 0
		if g != nil {
			line = g.Origin.Line
		}
		if line != c.line || why != c.why {
			t.Errorf("%s %s: line %d, %q; want %d, %q", c.f.Verb, c.f.Host, line, why, c.line, c.why)
		}
	}
}

// A grant by digest covers what ran when each file of it is known, and is one
// of those that are named; else the file that was seen is told.
func TestAGrantByDigestCoversWhatIsKnownToBeThatFile(t *testing.T) {
	one, two, three := digests(1)[0], digests(2)[0], digests(3)[0]
	p, err := Parse("p", []byte("version: 1\nexec: [{to: npm, sha256: ["+one+", "+two+"]}]"))
	if err != nil {
		t.Fatal(err)
	}
	in, err := p.Resolve("")
	if err != nil {
		t.Fatal(err)
	}
	if !in.Digests() {
		t.Error("nobody would digest anything")
	}
	if e := in.Entries()[0]; e.Specificity != exactHost || e.Text != `{to: npm, sha256: ["`+one+`", "`+two+`"]}` {
		t.Errorf("%+v", e)
	}
	for _, c := range []struct {
		contents []byte
		why      string // empty where it is covered
	}{
		{[]byte{1}, ""}, {[]byte{2}, ""}, {[]byte{1, 2, 1}, ""},
		{[]byte{3}, "the file had SHA-256 " + three + "; it wants SHA-256 " + one + " or " + two},
		{[]byte{1, 3}, "the file had SHA-256 " + three + "; it wants"},
		{[]byte{0}, "the digest of the file is not known: the file could not be read; it wants SHA-256 " + one},
		{[]byte{1, 0}, "not known: the file could not be read"},
		{nil, "not known: executed files were not digested"},
	} {
		f := ran(c.contents...)
		g := in.Explain(f)
		near, why := in.Near(f)
		if (g != nil) != (c.why == "") || c.why != "" && (near == nil || !strings.Contains(why, c.why)) {
			t.Errorf("%v: covered %v, near %q; want %q", c.contents, g != nil, why, c.why)
		}
		// What would cover it names the file, where that is known; what is learnt
		// from a run does not.
		line := "- npm"
		if !slices.Contains(c.contents, 0) && len(c.contents) > 0 {
			seen := slices.Compact(slices.Sorted(slices.Values(c.contents)))
			d := digests(seen...)
			line = `- {to: npm, sha256: ["` + strings.Join(d, `", "`) + `"]}`
			if len(d) == 1 {
				line = `- {to: npm, sha256: "` + d[0] + `"}`
			}
		}
		if got := in.Line(f); got != line {
			t.Errorf("%v: what would cover it is %q, want %q", c.contents, got, line)
		}
		covers, err := Parse("p", []byte("version: 1\nexec:\n  "+in.Line(f)))
		if err != nil {
			t.Fatal(err)
		}
		if r, err := covers.Resolve(""); err != nil || r.Explain(f) == nil {
			t.Errorf("%v: %s does not cover it: %v", c.contents, in.Line(f), err)
		}
		if got := Line(f); got != "- npm" {
			t.Errorf("%v: learnt is %q", c.contents, got)
		}
	}
}

func TestATighterLineKeepsTheDigest(t *testing.T) {
	g, err := compile(entry{Verb: "exec", To: "np*", SHA256: digests(1, 2), Kind: kindPolicy})
	if err != nil {
		t.Fatal(err)
	}
	e := g.lay()
	if got := e.Tighter([]*fact.Fact{ran(1)}, 3); len(got) != 1 || got[0] != `- {to: npm, sha256: ["`+strings.Join(digests(1, 2), `", "`)+`"]}` {
		t.Errorf("%q", got)
	}
}
