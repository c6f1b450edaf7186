package intent

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/fact"
	"github.com/org/edamame-posture/pkg/process"
	"github.com/org/edamame-posture/pkg/redact"
)

// text makes a redacted text as reading a log does.
func text(s string) redact.Text {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	var t redact.Text
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

// connect makes the fact of a connection: "who… host addr:port proto".
func connect(who, host, addr string, proto event.Proto) *fact.Fact {
	return &fact.Fact{Verb: fact.Connect, Who: texts(strings.Fields(who)...), Host: text(host),
		Addr: netip.MustParseAddrPort(addr), Proto: proto, Object: text(host + addr)}
}

func resolve(t testing.TB, policy, job string) *Resolved {
	t.Helper()
	p, err := Parse("posture.yml", []byte(policy))
	if err != nil {
		t.Fatalf("Parse: %v\n%s", err, policy)
	}
	r, err := p.Resolve(job)
	if err != nil {
		t.Fatalf("Resolve: %v", err)
	}
	return r
}

const example = `version: 1
use: [github-runner]
jobs:
  build:
    use: [node]
    egress:
      - "*.example.com:443"
      - {to: "uploads.example.com:443", by: [gh], step: release}
      - "10.1.0.0/16:5432"
      - "[fd00::/8]:443"
      - "203.0.113.7:53/udp"
    exec: [npm, node, /opt/tools/**, {to: gen, sha256: ["0202020202020202020202020202020202020202020202020202020202020202", "0101010101010101010101010101010101010101010101010101010101010101"], by: [npm]}]
    listen: ["127.0.0.1:*"]
    credentials:
      - {class: git, by: [npm], to: ["*.example.com:443", "10.1.0.0/16:443"], step: install}
deny:
  egress: ["*.ngrok.app"]
fail-on: {severity: medium, coverage: partial}
`

func TestTheMostSpecificGrantExplainsAConnection(t *testing.T) {
	r := resolve(t, example, "build")
	release := connect("gh sh", "uploads.example.com", "192.0.2.1:443", event.ProtoTCP)
	release.Step = text("release")
	for _, tt := range []struct {
		name string
		f    *fact.Fact
		want string // text of the grant
		spec int
	}{
		{"a name below a wildcard", connect("curl", "api.example.com", "192.0.2.1:443", event.ProtoTCP), "*.example.com:443", 500},
		{"two labels below a wildcard", connect("curl", "a.b.example.com", "192.0.2.1:443", event.ProtoTCP), "*.example.com:443", 500},
		{"the exact host for the named program in its step", release, `{to: "uploads.example.com:443", by: [gh], step: release}`, 1000},
		{"the same host by another program falls back to the wildcard", connect("curl", "uploads.example.com", "192.0.2.1:443", event.ProtoTCP), "*.example.com:443", 500},
		{"a host of a preset", connect("git", "github.com", "192.0.2.2:443", event.ProtoTCP), "github.com:443", 400},
		{"a wildcard of a preset", connect("npm", "packages.npmjs.org", "192.0.2.2:443", event.ProtoTCP), "*.npmjs.org:443", 400},
		{"a wildcard inside a label", connect("node", "productionresultssa17.blob.core.windows.net", "192.0.2.2:443", event.ProtoTCP), "productionresultssa*.blob.core.windows.net:443", 400},
		{"a network", connect("psql", "", "10.1.2.3:5432", event.ProtoTCP), "10.1.0.0/16:5432", 500},
		{"an IPv4 address mapped into IPv6", connect("psql", "", "[::ffff:10.1.2.3]:5432", event.ProtoTCP), "10.1.0.0/16:5432", 500},
		{"an IPv6 network", connect("curl", "", "[fd12::1]:443", event.ProtoTCP), "[fd00::/8]:443", 500},
		{"UDP to an address", connect("dig", "", "203.0.113.7:53", event.ProtoUDP), "203.0.113.7:53/udp", 800},
		{"a name on a network", connect("psql", "db.internal", "10.1.2.3:5432", event.ProtoTCP), "10.1.0.0/16:5432", 500},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := r.Explain(tt.f)
			if g == nil {
				t.Fatal("not explained")
			}
			if g.Text != tt.want || g.Specificity != tt.spec {
				t.Fatalf("got %s (%d), want %s (%d)", g.Text, g.Specificity, tt.want, tt.spec)
			}
			if g.Origin.Line == 0 || g.Origin.Column == 0 || g.Origin.File == "" {
				t.Fatalf("grant has no origin: %+v", g.Origin)
			}
		})
	}
}

func TestWhatNoGrantCoversIsNotExplained(t *testing.T) {
	r := resolve(t, example, "build")
	for name, f := range map[string]*fact.Fact{
		"the domain of a wildcard itself":                        connect("curl", "example.com", "192.0.2.1:443", event.ProtoTCP),
		"a name that only ends in the same letters":              connect("curl", "evilexample.com", "192.0.2.1:443", event.ProtoTCP),
		"a name that continues after the domain":                 connect("curl", "api.example.com.evil.test", "192.0.2.1:443", event.ProtoTCP),
		"another port":                                           connect("curl", "api.example.com", "192.0.2.1:8443", event.ProtoTCP),
		"another protocol":                                       connect("curl", "api.example.com", "192.0.2.1:443", event.ProtoUDP),
		"a literal address, which has no name":                   connect("curl", "", "192.0.2.1:443", event.ProtoTCP),
		"loopback, which is a destination like any other":        connect("curl", "", "127.0.0.1:8080", event.ProtoTCP),
		"an address beside the network":                          connect("psql", "", "10.2.0.1:5432", event.ProtoTCP),
		"a dot inside the label that has the star":               connect("node", "productionresultssa1.evil.blob.core.windows.net", "192.0.2.2:443", event.ProtoTCP),
		"a name out in the world whose first address is granted": connect("dig", "evil.test", "203.0.113.7:53", event.ProtoUDP),
		"a connection that has neither a name nor an address":    {Verb: fact.Connect, Proto: event.ProtoTCP},
		"a chain":      {Verb: fact.Chain, Class: text("x")},
		"a zero fact":  {},
		"a later verb": {Verb: 200},
	} {
		t.Run(name, func(t *testing.T) {
			if g := r.Explain(f); g != nil {
				t.Fatalf("explained by %s", g.Text)
			}
		})
	}
}

func TestAGrantBoundToAProgramLooksThroughTheWholeLineage(t *testing.T) {
	r := resolve(t, `{version: 1, egress: [{to: "a.example:443", by: npm}]}`, "")
	f := connect("node sh", "a.example", "192.0.2.1:443", event.ProtoTCP)
	if g := r.Explain(f); g != nil {
		t.Fatalf("explained by %s without npm in the lineage", g.Text)
	}
	n := &process.Node{Exe: text("/usr/bin/npm")}
	for range 20 {
		n = &process.Node{Exe: text("/bin/sh"), Parent: n}
	}
	f.Node = n
	if r.Explain(f) == nil {
		t.Fatal("not explained by npm 20 images up")
	}
}

func TestADenyNeedsNoPortAndHoldsForAnyProtocol(t *testing.T) {
	r := resolve(t, example, "")
	for _, f := range []*fact.Fact{
		connect("x", "a.ngrok.app", "192.0.2.1:443", event.ProtoTCP),
		connect("x", "a.ngrok.app", "192.0.2.1:9999", event.ProtoUDP),
	} {
		if g := r.Denied(f); g == nil || g.Text != "*.ngrok.app:*/*" || g.Origin.Line != 17 {
			t.Fatalf("Denied = %+v", g)
		}
	}
	if g := r.Denied(connect("x", "ngrok.app", "192.0.2.1:443", event.ProtoTCP)); g != nil {
		t.Fatalf("denied by %s", g.Text)
	}
}

func TestOnlyTheTopHoldsWithoutAJob(t *testing.T) {
	f := connect("curl", "api.example.com", "192.0.2.1:443", event.ProtoTCP)
	if g := resolve(t, example, "").Explain(f); g != nil {
		t.Errorf("explained by %s of a job", g.Text)
	}
	if r := resolve(t, "{version: 1, exec: [sh]}", "lint"); !r.Limits(fact.Exec) || r.Job() != "" {
		t.Error("the top of a policy without jobs does not hold for every job")
	}
}

func TestAJobThatThePolicyDoesNotHaveIsAnError(t *testing.T) {
	p, _ := Parse("x", []byte(example))
	for job, want := range map[string]string{
		"lint":  `x: the policy has no job "lint"; it has "build"`,
		"biuld": `x: the policy has no job "biuld" (did you mean "build"?); it has "build"`,
		"a\x1b": `x: the policy has no job "a\x1b"; it has "build"`,
	} {
		if _, err := p.Resolve(job); err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", job, err, want)
		}
	}
	if got := p.Jobs(); len(got) != 1 || got[0] != "build" {
		t.Errorf("Jobs() = %q", got)
	}
}

func TestAnIntentLimitsEgressAndCredentialsAlwaysTheRestWhereListed(t *testing.T) {
	for _, tt := range []struct {
		policy, job string
		want        string
	}{
		{"{version: 1}", "", "connect resolve credential power chain request key"},
		{"{version: 1, exec: [sh]}", "", "exec connect resolve credential power chain request key"},
		{"{version: 1, jobs: {a: {write: [dist/**]}}}", "a", "connect resolve write delete credential power chain request key"},
		{"{version: 1, jobs: {a: {write: [dist/**]}}}", "", "connect resolve credential power chain request key"},
		{`{version: 1, listen: []}`, "", "connect resolve credential listen power chain request key"},
	} {
		r := resolve(t, tt.policy, tt.job)
		var got []string
		for v := fact.Verb(0); v < 255; v++ {
			if r.Limits(v) {
				got = append(got, v.String())
			}
		}
		if s := strings.Join(got, " "); s != tt.want {
			t.Errorf("%s job %q limits %s, want %s", tt.policy, tt.job, s, tt.want)
		}
	}
	if r := None(); r.Present() || r.Limits(fact.Connect) || r.FailOn() != (FailOn{Severity: "critical"}) {
		t.Errorf("None() = %+v", r)
	}
}

func TestFailOnKeepsTheDefaultOfAKeyThatIsLeftOut(t *testing.T) {
	for policy, want := range map[string]FailOn{
		"{version: 1}": {Severity: "high", Score: 40},
		"{version: 1, fail-on: {coverage: partial}}":         {Severity: "high", Score: 40, Coverage: true},
		"{version: 1, fail-on: {severity: critical}}":        {Severity: "critical", Score: 40},
		"{version: 1, fail-on: {severity: never, score: 5}}": {Score: 5},
		"{version: 1, fail-on: never}":                       {Never: true},
	} {
		if got := resolve(t, policy, "").FailOn(); got != want {
			t.Errorf("%s: %+v, want %+v", policy, got, want)
		}
	}
}

func TestWhatIsWrongIsToldWithItsPlace(t *testing.T) {
	for _, tt := range []struct{ policy, want string }{
		{"version: 1\negres: []", `p.yml:2:1: unknown key: "egres" (did you mean "egress"?)`},
		{"version: 1\negress:\n  - \"a.example\"", `p.yml:3:6: the port is missing; write "a.example:443", or "a.example:*" for any port: "a.example"`},
		{"version: 1\negress:\n  - \"a.example:99999\"", `p.yml:3:16: not a port; want 1 to 65535 or *: "a.example:99999"`},
		{"version: 1\negress:\n  - *.example.com:443", `p.yml:3:5: a value that begins with * must stand in quotes: "*.example.com:443"`},
		{"version: 1\negress: [\"a.com:443\", *.example.com:443]", `p.yml:2:23: a value that begins with * must stand in quotes: "*.example.com:443]"`},
		{"version: 1\negress:\n  - [::1]:443", "not YAML"},
		{"version: 1\negress:\n  - [\"::1\"]", `p.yml:3:5: want a text or a mapping, have a list; an IPv6 address stands in quotes: "[::1]:443"`},
		{"version: 1\negress: [\"::1:443\"]", `p.yml:2:11: write an IPv6 address in brackets: "[::1]:443"`},
		{"version: 1\negress: [https://a.example/x]", `p.yml:2:10: want "host:port", not a URL; leave out "https://" and the path`},
		{"version: 1\negress: [\"bücher.example:443\"]", "ASCII form (xn--"},
		{"version: 1\negress: [\"a.*.example:443\"]", "a * stands at the end of the first label only"},
		{"version: 1\negress: [\"300.1.1.1:443\"]", "not an IPv4 address"},
		{"version: 1\negress: [{to: \"a:1\", key: [\"sk-1\"]}]", `p.yml:2:31: want the name of an environment variable that holds the key, not the key itself`},
		{"version: 1\negress: [{to: \"a:1\", key: []}]", `names no key; leave key out for any`},
		{"version: 1\negress: [{to: \"a:1/udp\", key: [T]}]", `requests are read over TCP only`},
		{"version: 1\negress: [{to: \"a:1\", http: [GET, /v1]}]", `p.yml:2:34: the method is missing; write "GET /v1", or "* /v1" for any: "/v1"`},
		{"version: 1\negress: [{to: \"a:1\", http: [get /v1]}]", `p.yml:2:29: not a method; want one such as GET in capitals`},
		{"version: 1\negress: [{to: \"a:1\", http: GET v1}]", `p.yml:2:32: want a path that begins with "/"`},
		{"version: 1\negress: [{to: \"a:1\", http: [\"GET /v1?x=1\"]}]", `p.yml:2:37: write the path without its query`},
		{"version: 1\negress: [{to: \"a:1\", http: [\"GET http://a/v1\"]}]", `p.yml:2:34: want the path alone: the host stands in to`},
		{"version: 1\negress: [{to: \"a:1\", http: [\"GET /v1/../x\"]}]", `p.yml:2:34: write the path plain`},
		{"version: 1\negress: [{to: \"a:1\", http: [\"GET /v1/a**\"]}]", `p.yml:2:34: ** stands alone between slashes`},
		{"version: 1\negress: [{to: \"a:1\", http: [\"GET /**/a/**/b/**/c/**/d/**\"]}]", `p.yml:2:34: more than four **`},
		{"version: 1\negress: [{to: \"a:1\", http: []}]", `p.yml:2:28: allows no request; leave http out for any`},
		{"version: 1\negress: [{to: \"a:1/udp\", http: [GET]}]", `p.yml:2:16: requests are read over TCP only`},
		{"version: 1\nlisten: [{to: \"127.0.0.1:1\", http: [GET]}]", `p.yml:2:30: unknown key: "http"`},
		{"version: 1\nexec: [{to: x, sha256: abc}]", `p.yml:2:24: has 3 hexadecimal digits, a SHA-256 has 64; write what sha256sum(1) prints: "abc"`},
		{"version: 1\nexec: [{to: x, sha256: [DIGEST, DIGEST0]}]", `p.yml:2:91: has 65 hexadecimal digits`},
		{"version: 1\nexec: [{to: x, sha256: \"0fDIGEST\"}]", `p.yml:2:25: has 66 hexadecimal digits`},
		{"version: 1\nexec: [{to: x, sha256: 0F0fDIGEST}]", `p.yml:2:25: a digest is written in lower case, as sha256sum(1) prints it`},
		{"version: 1\nexec: [{to: x, sha256: \"sha256:DIGEST\"}]", `p.yml:2:25: not a hexadecimal digit; want the 64 that sha256sum(1) prints`},
		{"version: 1\nexec: [{to: x, sha256: []}]", `p.yml:2:24: names no digest; leave sha256 out for any file of that name`},
		{"version: 1\nexec: [{to: x, sha256: }]", `p.yml:2:24: nothing stands here`},
		{"version: 1\nexec: [{sha256: DIGEST}]", `p.yml:2:8: "to" is missing`},
		{"version: 1\nwrite: [{to: x, sha256: DIGEST}]", `p.yml:2:17: unknown key: "sha256"`},
		{"version: 1\negress: [{to: \"a:1\", upload: 5MX}]", `p.yml:2:31: not a unit; want B, KB`},
		{"version: 1\negress: [{to: \"a:1\", upload: -5}]", `not an amount of bytes`},
		{"version: 1\negress: [{to: \"a:1\", upload: 0}]", `nothing may be sent at all`},
		{"version: 1\negress: [{to: \"a:1\", upload: 99999999999GiB}]", `more bytes than can be counted`},
		{"version: 1\nlisten: [{to: \"127.0.0.1:1\", upload: 5MB}]", `unknown key`},
		{"version: 1\nsuppress: [{rule: x, reason: y, owner: z}]", `"until" is missing`},
		{"version: 1\nsuppress: [{rule: x, reason: y, owner: z, until: 2027-02-30}]", `p.yml:2:50: "until" is no day`},
		{"version: 1\nsuppress: [{rule: x, owner: z, until: 2027-03-01}]", `p.yml:2:12: "reason" is missing`},
		{"version: 1\nsuppress: [{rule: x, reason: y, until: 2027-03-01}]", `"owner" is missing`},
		{"version: 1\nsuppress: [{rule: x, reason: y, owner: z, until: 2027-03-01, by: [/bin/x]}]", `without its folder`},
		{"version: 1\njobs: {a: {suppress: []}}", `stands at the top of the file`},
		{"version: 1\negress: [{by: [x]}]", `"to" is missing`},
		{"version: 1\negress: [{to: \"a:1\", by: [/usr/bin/gh]}]", `p.yml:2:27: want the base name of a program, without its folder: "/usr/bin/gh"`},
		{"version: 1\negress: [{to: \"a:1\", by: []}]", "names no program"},
		{"version: 1\negress: [{to: \"a:1\", step: Build and test}]", "give the step an id"},
		{"version: 1\ncredentials: [{class: npm, to: []}]", "names no destination"},
		{"version: 1\ncredentials: [{class: npm, to: [a.example]}]", `p.yml:2:33: the port is missing`},
		{"version: 1\ncredentials: [{class: nmp, to: [a.example]}]", `(did you mean "npm"?)`},
		{"version: 1\nexec: [{class: npm}]", `unknown key: "class"`},
		{"version: 1\nagents: {claude: {}}", `p.yml:2:10: no agent that is known`},
		{"version: 1\njobs: {a: {agents: {codex: {root: [sudo]}}}}", `unknown key`},
		{"version: 1\nagents: {codex: {tools: [\"\"]}}", `want the name of a tool`},
		{"version: 1\njobs: {a: {fail-on: never}}", `p.yml:2:12: stands at the top of the file, not in a job`},
		{"version: 2", `p.yml:1:10: this program reads version 1: "2"`},
		{"egress: []", `p.yml:1:1: "version: 1" is missing`},
		{"version: 1\nversion: 1", `p.yml:2:1: the key stands already in line 1: "version"`},
		{"version: 1\nuse: [nod]", `p.yml:2:7: no such preset; there are`},
		{"version: 1\nuse: [nod]", `(did you mean "node"?)`},
		{"version: 1\nfail-on: {score: 0}", `p.yml:2:18: want a score from 1 to 100, or never: "0"`},
		{"version: 1\nfail-on: {severity: hihg}", `(did you mean "high"?)`},
		{"version: 1\nfail-on: nevr", `(did you mean "never"?)`},
		{"version: 1\nwrite: [../x]", "write the path plain"},
		{"version: 1\nwrite: [\"~/x\"]", "~ is not read"},
		{"version: 1\nlisten: [\"localhost:80\"]", "want an address of this machine"},
		{"version: 1\negress: a:1", `want a list`},
		{"version: 1\negress: [null]", `nothing stands here`},
		{"version: 1\n---\nversion: 1", `a policy is one document`},
		{"- a", "want a mapping (key: value), have a list"},
		{"", "the file is empty"},
		{"a: &a [*a]\nversion: 1", "nested deeper"},
		{"version: 1\n\tegress: []", "a tab does not indent: use spaces"},
		{"version: 1\nuse:\n\t- node", "p.yml:3:2: not YAML: "},
		{"  \n# nothing but a comment\n", "the file is empty"},
		{"version: 1\negress:", "want a list ([a, b] or lines that begin with -), have nothing"},
		{"version: 1\nexec:\n", "have nothing"},
		{"version: 1\njobs:", "have nothing"},
		{"version: 1\ndeny:", "have nothing"},
		{"version: 1\negress: [\"a:1\"]\negress: [\"b:1\"]", `p.yml:3:1: the key stands already in line 2: "egress"`},
		{"version: 1\negress: [{to: \"a:1\", to: \"b:1\"}]", `p.yml:2:22: the key stands already in line 2: "to"`},
		{"version: 1\njobs: {a: {}, a: {}}", `the key stands already in line 2: "a"`},
		{"version: 1\n<<: {egress: [\"*:*\"]}", "merge keys are not read"},
		{"version: 1\nuse: &a [*a]", "nested deeper"},
		{"version: 1\nuse: [[node]]", "want a text, have a list"},
		{"version: 1\nwrite: [\"a//b\"]", "write the path plain"},
		{"version: 1\nwrite: [\"a**b\"]", "p.yml:2:11: ** stands alone between slashes"},
		{"version: 1\nexec: [\"/opt/**x/y\"]", "** stands alone between slashes"},
		{"version: 1\nwrite: [\"**/a/**/b/**/c/**/d/**\"]", "more than four ** in one pattern"},
		{"version: 1\nwrite: [\"a\\0b\"]", "a path has no NUL byte"},
		{"\xff", "not UTF-8"},
	} {
		tt.policy = strings.ReplaceAll(tt.policy, "DIGEST", strings.Repeat("0f", 32))
		p, err := Parse("p.yml", []byte(tt.policy))
		if p != nil {
			t.Errorf("%q gives a policy", tt.policy)
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q:\n got %v\nwant %s", tt.policy, err, tt.want)
			continue
		}
		var list Errors
		if !errors.As(err, &list) || list[0].File != "p.yml" || list[0].Line < 1 || list[0].Column < 1 {
			t.Errorf("%q: no place in %#v", tt.policy, err)
		}
	}
}

func TestEverythingThatIsWrongIsToldAtOnceInTheOrderOfLines(t *testing.T) {
	_, err := Parse("p", []byte("egress: [a, b]\nfoo: 1\nwrite: [\"\"]"))
	if got := strings.Count(err.Error(), "\n") + 1; got != 5 {
		t.Fatalf("%d lines, want 5:\n%v", got, err)
	}
	var list Errors
	errors.As(err, &list)
	for i := 1; i < len(list); i++ {
		if list[i].Line < list[i-1].Line {
			t.Fatalf("out of order:\n%v", err)
		}
	}
}

// A preset names hosts and classes, never another preset: there is no circle to
// go around in.
func TestAPresetUsesNoPreset(t *testing.T) {
	_, err := readPreset("x", []byte("name: x\ndescription: d\nsource: s\nuse: [x]\n"))
	if err == nil || !strings.Contains(err.Error(), `unknown key: "use"`) {
		t.Errorf("err = %v", err)
	}
}

func TestManyAliasesDoNotGrowWithoutBound(t *testing.T) {
	var b strings.Builder
	b.WriteString("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n")
	for i := 1; i < 12; i++ {
		fmt.Fprintf(&b, "a%d: &a%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d, ", i-1), 10), ", "))
	}
	_, err := Parse("p", []byte(b.String()))
	if err == nil || !strings.Contains(err.Error(), "more than 100000 values") {
		t.Fatalf("err = %v", err)
	}
}

func TestWhoIsOwnedByAnyoneHasNoTightness(t *testing.T) {
	for _, to := range []string{"*:*", "*:443", "*.com:443", "0.0.0.0/0:*", "0.0.0.0/1:443", "[::/0]:*", "[2000::/3]:443", "**.io:443", "a*.com:443"} {
		r := resolve(t, fmt.Sprintf("version: 1\negress: [%q]", to), "")
		if s := r.grants[fact.Connect][0].Specificity; s != 0 {
			t.Errorf("%s has specificity %d, want 0", to, s)
		}
	}
}

func TestWritesAreCoveredBelowTheWorkspaceAndByAbsolutePatterns(t *testing.T) {
	r := resolve(t, "version: 1\nwrite: [\"dist/**\", \"*.log\", /var/lib/x/*, \"**/*.pyc\", build/, a/*/b]", "")
	for _, tt := range []struct {
		object string
		place  fact.Place
		want   bool
	}{
		{"dist/a", fact.Workspace, true},
		{"dist/a/b", fact.Workspace, true},
		{"dist", fact.Workspace, true}, // the folder itself
		{"dist/**", fact.Workspace, true},
		{"x.log", fact.Workspace, true},
		{"build-*.log", fact.Workspace, true},
		{"sub/x.log", fact.Workspace, false},
		{"sub/dist/a", fact.Workspace, false},
		{"a/b/c.pyc", fact.Workspace, true},
		{"a/**/c.pyc", fact.Workspace, true},
		{"c.pyc", fact.Workspace, true},
		{"build/o", fact.Workspace, true},
		{"distant/a", fact.Workspace, false},
		{"a/x/b", fact.Workspace, true},
		{"a/**/b", fact.Workspace, false}, // more than one star holds
		{"dist/a", fact.Elsewhere, false},
		{"/home/u/other/dist/a", fact.Home, false},
		{"/var/lib/x/y", fact.System, true},
		{"/var/lib/x/**", fact.System, false},
		{"/var/lib/x/y/z", fact.System, false},
		{"var/lib/x/y", fact.Workspace, false},
		{"/x.log", fact.Elsewhere, false},
		{".", fact.Workspace, false},
		{"", fact.Workspace, false},
	} {
		for _, v := range []fact.Verb{fact.Write, fact.Delete} {
			f := &fact.Fact{Verb: v, Place: tt.place, Object: text(tt.object)}
			if got := r.Explain(f) != nil; got != tt.want {
				t.Errorf("%s of %s: explained %v, want %v", v, tt.object, got, tt.want)
			}
		}
	}
}

func TestExecIsCoveredByNameOrPath(t *testing.T) {
	r := resolve(t, "version: 1\nexec: [npm, \"python3*\", /opt/x/**, tools/gen]", "")
	for _, tt := range []struct {
		object string
		place  fact.Place
		want   bool
	}{
		{"/usr/bin/npm", fact.System, true},
		{"node_modules/.bin/npm", fact.Workspace, true},
		{"/usr/bin/python3.12", fact.System, true},
		{"/opt/x/a/b", fact.System, true},
		{"tools/gen", fact.Workspace, true},
		{"/tools/gen", fact.Elsewhere, false},
		{"/usr/bin/npmx", fact.System, false},
		{"/opt/y", fact.System, false},
		{"/usr/bin/python2", fact.System, false},
		{"memfd:*", fact.Elsewhere, false},
	} {
		if got := r.Explain(&fact.Fact{Verb: fact.Exec, Object: text(tt.object), Place: tt.place}) != nil; got != tt.want {
			t.Errorf("%s: explained %v, want %v", tt.object, got, tt.want)
		}
	}
}

func TestPowerIsGrantedToAProgramOfTheLineage(t *testing.T) {
	r := resolve(t, "version: 1\nroot: [apt-get]", "")
	if r.Explain(&fact.Fact{Verb: fact.Power, Who: texts("dpkg", "apt-get", "sudo")}) == nil {
		t.Error("apt-get in the lineage is not granted")
	}
	if r.Explain(&fact.Fact{Verb: fact.Power, Who: texts("python3", "sudo")}) != nil {
		t.Error("another program is granted")
	}
}

// chain makes the fact of a credential that was read and then something sent.
func chain(who, class, host, addr string) *fact.Fact {
	f := connect(who, host, addr, event.ProtoTCP)
	f.Verb, f.Class, f.Taint = fact.Chain, text("credential-egress"), text(class)
	return f
}

func TestWhatMayBeSentOnIsAGrantOfItsOwn(t *testing.T) {
	const host = "api.example.com"
	for _, tt := range []struct {
		name, policy string
		f            *fact.Fact
		spec         int // -1: not explained
	}{
		{"the class, the program, the host", `[{class: aws, by: [deploy], to: ["api.example.com:443"]}]`, chain("deploy", "aws", host, "192.0.2.1:443"), 1000},
		{"what the program started", `[{class: aws, by: [deploy], to: ["api.example.com:443"]}]`, chain("curl deploy", "aws", host, "192.0.2.1:443"), 1000},
		{"one text for one destination", `[{class: aws, by: deploy, to: "api.example.com:443"}]`, chain("deploy", "aws", host, "192.0.2.1:443"), 1000},
		{"a wildcard", `[{class: aws, by: [deploy], to: ["*.example.com:443"]}]`, chain("deploy", "aws", host, "192.0.2.1:443"), 500},
		{"anywhere", `[{class: aws, by: [deploy], to: ["*:*"]}]`, chain("deploy", "aws", host, "192.0.2.1:443"), 0},
		{"a program that owns the class, without by", `[{class: aws, to: ["api.example.com:443"]}]`, chain("terraform", "aws", host, "192.0.2.1:443"), 1000},
		{"another class", `[{class: aws, by: [deploy], to: ["api.example.com:443"]}]`, chain("deploy", "git", host, "192.0.2.1:443"), -1},
		{"another host", `[{class: aws, by: [deploy], to: ["api.example.com:443"]}]`, chain("deploy", "aws", "evil.example", "192.0.2.1:443"), -1},
		{"another port", `[{class: aws, by: [deploy], to: ["api.example.com:443"]}]`, chain("deploy", "aws", host, "192.0.2.1:80"), -1},
		{"another program", `[{class: aws, by: [deploy], to: ["api.example.com:443"]}]`, chain("curl", "aws", host, "192.0.2.1:443"), -1},
		{"a program that does not own the class, without by", `[{class: aws, to: ["api.example.com:443"]}]`, chain("curl", "aws", host, "192.0.2.1:443"), -1},
		{"another step", `[{class: aws, by: [deploy], to: ["api.example.com:443"], step: release}]`, chain("deploy", "aws", host, "192.0.2.1:443"), -1},
		{"a grant to read", `[{class: aws, by: [deploy]}]`, chain("deploy", "aws", host, "192.0.2.1:443"), -1},
	} {
		r := resolve(t, "version: 1\negress: [\"*.example.com:443\"]\ncredentials: "+tt.policy, "")
		spec := -1
		if g := r.Explain(tt.f); g != nil {
			spec = g.Specificity
		}
		if spec != tt.spec {
			t.Errorf("%s: specificity %d, want %d", tt.name, spec, tt.spec)
		}
	}
	r := resolve(t, `{version: 1, credentials: [{class: aws, by: [deploy], to: ["api.example.com:443"]}]}`, "")
	if r.Explain(connect("deploy", host, "192.0.2.1:443", event.ProtoTCP)) != nil {
		t.Error("it grants the connection too")
	}
	if r.Explain(&fact.Fact{Verb: fact.Credential, Class: text("aws"), Who: texts("deploy")}) == nil {
		t.Error("it does not grant the read")
	}
}

func TestASuggestedPolicyIsWhatAPersonWouldWrite(t *testing.T) {
	write := func(list ...string) (facts []*fact.Fact) {
		for _, p := range list {
			place := fact.Workspace
			if p[0] == '/' {
				place = fact.Home
			}
			facts = append(facts, &fact.Fact{Verb: fact.Write, Object: text(p), Place: place, Who: texts("git")})
		}
		return facts
	}
	read := func(class, who string) *fact.Fact {
		return &fact.Fact{Verb: fact.Credential, Class: text(class), Who: texts(strings.Fields(who)...)}
	}
	for _, tt := range []struct {
		name  string
		facts []*fact.Fact
		want  string
	}{
		{"words stand beside each other", []*fact.Fact{
			{Verb: fact.Exec, Object: text("/usr/bin/npm")}, {Verb: fact.Exec, Object: text("/bin/sh")}, {Verb: fact.Exec, Object: text("/bin/yes")}, {Verb: fact.Exec, Object: text("/bin/7z")},
		}, "exec: [\"7z\", \"yes\", npm, sh]\n"},
		{"long lists go on in the next line", func() (facts []*fact.Fact) {
			for c := 'a'; c <= 'j'; c++ {
				facts = append(facts, &fact.Fact{Verb: fact.Exec, Object: text("/bin/program-" + string(c))})
			}
			return facts
		}(), "exec: [program-a, program-b, program-c, program-d, program-e, program-f,\n  program-g, program-h, program-i, program-j]\n"},
		{"a tree of a folder keeps its two stars", write("node_modules/**", "package.json"), "write:\n  - \"node_modules/**\"\n  - package.json\n"},
		{"what another line holds is left out", write("dist/**", "dist/a", "dist/b/*", "dist", "distant"), "write:\n  - \"dist/**\"\n  - distant\n"},
		{"many files of a folder are the folder", write("src/a", "src/b", "src/c", "src/d", "src/e", "x"), "write:\n  - \"src/*\"\n  - x\n"},
		{"a few files are told", write("src/a", "src/b", "src/c"), "write:\n  - src/a\n  - src/b\n  - src/c\n"},
		{"many folders of one are a tree", write("clone/.git/HEAD", "clone/.git/objects/**", "clone/.git/refs/**", "clone/a/b", "clone/c/d", "clone/x"), "write:\n  - \"clone/**\"\n"},
		{"settings and hooks are told each", write(".git/a", ".git/b", ".git/c", ".git/d", ".git/e"), "write:\n  - \".git/a\"\n  - \".git/b\"\n  - \".git/c\"\n  - \".git/d\"\n  - \".git/e\"\n"},
		{"outside the workspace each is told", write("/h/a", "/h/b", "/h/c", "/h/d", "/h/e"), "write:\n  - /h/a\n  - /h/b\n  - /h/c\n  - /h/d\n  - /h/e\n"},
		{"temporary files need no grant", []*fact.Fact{{Verb: fact.Write, Place: fact.Temp, Object: text("/tmp/x")}, {Verb: fact.Delete, Place: fact.Cache, Object: text("/h/.npm/**")}}, ""},
		{"what others did to the job is not its doing", []*fact.Fact{{Verb: fact.Credential, Class: text("memory"), Via: event.ViaOutside}}, ""},
		{"credentials of their owners", []*fact.Fact{read("npm", "npm"), read("aws", "terraform")}, "credentials: [aws, npm]\n"},
		{"readers of a class share a line", []*fact.Fact{read("git", "npm"), read("git", "cargo"), read("git", "git")}, "credentials:\n  - git\n  - {class: git, by: [cargo, npm]}\n"},
		{"what was sent stands with the read", []*fact.Fact{
			read("git", "git"), chain("git", "git", "git.example.com", "192.0.2.1:443"), chain("git-remote-https git", "git", "b.example.com", "192.0.2.1:443"),
			read("ssh", "cat"), chain("curl", "ssh", "", "192.0.2.1:80"),
		}, "credentials:\n  - {class: git, to: [\"b.example.com:443\", \"git.example.com:443\"]}\n  - {class: ssh, by: [cat]}\n  - {class: ssh, by: [curl], to: [\"192.0.2.1:80\"]}\n"},
	} {
		if got := string(Suggest(tt.facts)); got != "version: 1\n"+tt.want {
			t.Errorf("%s:\n%s\nwant\n%s", tt.name, got, tt.want)
		}
	}
}

func TestExplainAllocatesNothing(t *testing.T) {
	r := resolve(t, example, "build")
	hit := connect("node npm sh", "a.b.example.com", "192.0.2.1:443", event.ProtoTCP)
	miss := connect("node npm sh", "evil.test", "192.0.2.1:443", event.ProtoTCP)
	write := &fact.Fact{Verb: fact.Write, Place: fact.Workspace, Object: text("a/b"), Node: &process.Node{Cwd: text("/w")}}
	if n := testing.AllocsPerRun(100, func() {
		if r.Explain(hit) == nil || r.Explain(miss) != nil || r.Denied(miss) != nil {
			panic("wrong answer")
		}
		r.Explain(write)
	}); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

func TestReadingTheCanonicalFormGivesTheSameIntent(t *testing.T) {
	for _, job := range []string{"", "build"} {
		r := resolve(t, example, job)
		b := r.Canonical()
		again, err := ReadResolved(b)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(b, again.Canonical()) {
			t.Fatalf("job %q differs:\n%s\n%s", job, b, again.Canonical())
		}
		f := connect("curl", "api.example.com", "192.0.2.1:443", event.ProtoTCP)
		g, h := r.Explain(f), again.Explain(f)
		if (g == nil) != (h == nil) || g != nil && *g != *h {
			t.Fatalf("explains differently: %+v %+v", g, h)
		}
	}
	b := None().Canonical()
	none, err := ReadResolved(b)
	if err != nil || none.Present() || !bytes.Equal(b, none.Canonical()) {
		t.Fatalf("None does not survive: %v", err)
	}
}

func TestAResolvedIntentThatWasTamperedWithIsRefused(t *testing.T) {
	good := string(resolve(t, example, "build").Canonical())
	for name, edit := range map[string][2]string{
		"limits left out":           {`"connect",`, ``},
		"another version":           {`"version": 1`, `"version": 9`},
		"unknown member":            {`"version": 1`, `"version": 1, "more": 2`},
		"unknown verb":              {`"verb": "connect"`, `"verb": "dance"`},
		"declared, but it says not": {`"present": true`, `"present": false`},
		"a deny among the grants":   {`"deny": true,`, ``},
		"a chain without a class":   {`"class": "git"`, `"class": ""`},
		"a class where none is":     {`"verb": "credential",`, `"verb": "credential", "class": "git",`},
		"a digest that is none":     {`"0101010101`, `"x101010101`},
		"a digest for no exec": {`"verb": "exec",
   "to": "gen"`, `"verb": "write",
   "to": "gen"`},
		"a score over 100": {`"score": 40`, `"score": 101`},
		"cut short":        {"}\n", ""},
	} {
		bad := strings.Replace(good, edit[0], edit[1], 1)
		if bad == good {
			t.Fatalf("%s: %q is not in the file:\n%s", name, edit[0], good)
		}
		if name == "cut short" {
			bad = good[:len(good)-3]
		}
		if _, err := ReadResolved([]byte(bad)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// randomFact makes a fact of any kind, with texts as a job could choose them.
func randomFact(r *rand.Rand) *fact.Fact {
	pick := func(s ...string) string { return s[r.IntN(len(s))] }
	name := func() string {
		return pick("npm", "node", "gh", "a b", `we"ird`, "new\nline", "*", "ünï", "-", "null", "~", "true", "8", "$(x)", "\x7f\u0085", "{", "")
	}
	f := &fact.Fact{Verb: fact.Verb(1 + r.IntN(9)), Proto: event.Proto([]int{6, 17, 1, 58, 255, 256, 0, 253}[r.IntN(8)])}
	for range r.IntN(4) {
		f.Who = append(f.Who, text(name()))
	}
	f.Host = text(pick("", "a.example", "xn--bcher-kva.example", "_srv.x", "bad host", "UPPER", "1.2.3.4", "no", "*.x.y", "a..b", "x:y"))
	if r.IntN(8) > 0 {
		var a netip.Addr
		switch r.IntN(3) {
		case 0:
			a = netip.AddrFrom4([4]byte{192, 0, 2, byte(r.IntN(4))})
		case 1:
			a = netip.MustParseAddr("2001:db8::1")
		case 2:
			a = netip.MustParseAddr("fe80::1%eth0")
		}
		f.Addr = netip.AddrPortFrom(a, uint16(r.IntN(3)*443))
	}
	f.Step = text(pick("", "s"))
	f.Class = text(pick(classes()...))
	if f.Verb == fact.Chain {
		f.Taint, f.Class = f.Class, text("credential-egress")
	}
	f.Via = event.Via([]event.Via{event.ViaLineage, event.ViaLineage, event.ViaLineage, event.ViaOutside}[r.IntN(4)])
	f.Place = fact.Place(r.IntN(6))
	f.Node = &process.Node{Exe: text("/usr/bin/" + name()), Cwd: text(pick("/", "/w", ""))}
	f.Object = text(pick("/w/", "/", "", "./", "/w/a b/", `/w/q"\/`, "/w/**/x*/", "//w//", "/w/../", "d/", "d/**", "a**b", "memfd:*", "d/e/", ".d/", "node_modules/") + name())
	return f
}

func TestASuggestedPolicyParsesAndExplainsAllThatALineCanCover(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	covered := 0
	for range 2000 {
		var facts []*fact.Fact
		for range 1 + r.IntN(60) {
			facts = append(facts, randomFact(r))
		}
		policy := Suggest(facts)
		res := resolve(t, string(policy), "")
		open := 0
		for _, f := range facts {
			if f.Scratch() || f.Via == event.ViaOutside {
				continue // needs no grant
			}
			if Line(f) == "" {
				open++
				continue
			}
			covered++
			if res.Explain(f) == nil {
				t.Fatalf("not explained: %+v\nline %s\n%s", f, Line(f), policy)
			}
			one := resolve(t, fmt.Sprintf("version: 1\n%s:\n  %s\n", Key(f), Line(f)), "")
			if one.Explain(f) == nil {
				t.Fatalf("the line %s alone does not explain %+v", Line(f), f)
			}
			if (f.Verb == fact.Connect || f.Verb == fact.Resolve) && (f.Addr.Addr().IsValid()) && res.Explain(f).Specificity < exactHost && f.Addr.Port() != 0 {
				t.Fatalf("the line %s is wider than the fact %+v", Line(f), f)
			}
		}
		if (open > 0) != bytes.Contains(policy, []byte("# no line of policy covers")) {
			t.Fatalf("%d facts open, but the policy says\n%s", open, policy)
		}
		if !bytes.Equal(policy, Suggest(facts)) {
			t.Fatal("not the same bytes twice")
		}
	}
	if covered < 5000 {
		t.Fatalf("only %d facts were covered; the test says little", covered)
	}
}

func TestMoreAllowNeverTakesAGrantAway(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	lines := []string{`"*.example:443"`, `"a.example:*"`, `{to: "a.example:443", by: [npm]}`, `"*:*/*"`, `"192.0.2.0/24:443"`, `"[2001:db8::/32]:*/*"`, `{to: "*:*", step: s}`, `"**.x:*/udp"`}
	for range 3000 {
		var few []string
		for range r.IntN(4) {
			few = append(few, lines[r.IntN(len(lines))])
		}
		more := append([]string{}, few...)
		for range 1 + r.IntN(3) {
			at := r.IntN(len(more) + 1)
			more = append(more[:at:at], append([]string{lines[r.IntN(len(lines))]}, more[at:]...)...)
		}
		a := resolve(t, "version: 1\negress: ["+strings.Join(few, ", ")+"]", "")
		b := resolve(t, "version: 1\negress: ["+strings.Join(more, ", ")+"]", "")
		f := randomFact(r)
		f.Verb = fact.Connect
		g, h := a.Explain(f), b.Explain(f)
		if g != nil && (h == nil || h.Specificity < g.Specificity) {
			t.Fatalf("%q explain %+v, %q do not as well", few, f, more)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(example))
	f.Add([]byte("version: 1\negress:\n  - *x\n"))
	f.Add([]byte("version: 1\nuse: node\nroot: [a]\nfail-on: never"))
	f.Add([]byte("version: 1\ncredentials: [npm, {class: git, by: x, to: ['a.example:443', '*:*/*']}]"))
	f.Add([]byte("a: &a {b: *a}\n<<: *a"))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := Parse("f", data)
		if err != nil {
			var list Errors
			if !errors.As(err, &list) || len(list) == 0 || strings.ContainsAny(err.Error(), "\x00\x1b\r") {
				t.Fatalf("error %q", err)
			}
			return
		}
		for _, job := range append(p.Jobs(), "") {
			r, err := p.Resolve(job)
			if err != nil {
				continue
			}
			b := r.Canonical()
			again, err := ReadResolved(b)
			if err != nil || !bytes.Equal(b, again.Canonical()) {
				t.Fatalf("canonical form does not survive: %v\n%s", err, b)
			}
		}
	})
}

func FuzzReadResolved(f *testing.F) {
	f.Add(None().Canonical())
	f.Add(resolve(f, example, "build").Canonical())
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := ReadResolved(data)
		if err != nil {
			return
		}
		b := r.Canonical()
		again, err := ReadResolved(b)
		if err != nil || !bytes.Equal(b, again.Canonical()) {
			t.Fatalf("does not survive: %v\n%s", err, b)
		}
	})
}

func TestAmountsOfBytesReadAsTheyAreWritten(t *testing.T) {
	for text, want := range map[string]uint64{"50MB": 50e6, "64 KiB": 64 << 10, "1gib": 1 << 30, "7": 7, "1000": 1000, "1536": 1536} {
		n, err := ParseBytes(text)
		if err != nil || n != want {
			t.Errorf("%s: %d, %v; want %d", text, n, err, want)
		}
		if back, err := ParseBytes(formatBytes(n)); err != nil || back != n {
			t.Errorf("%s: written %s, read %d, %v", text, formatBytes(n), back, err)
		}
	}
	for n, want := range map[uint64]uint64{0: 1, 99: 99, 101: 110, 61_234_567: 62_000_000} {
		if got := roundUp(n); got != want {
			t.Errorf("roundUp(%d) = %d, want %d", n, got, want)
		}
	}
}

func TestASuppressionHoldsToTheEndOfItsDay(t *testing.T) {
	s := Suppression{Rule: "r", Until: "2027-03-01"}
	last := time.Date(2027, 3, 1, 23, 59, 59, 0, time.UTC)
	if !s.Holds(last.UnixNano()) || s.Holds(last.Add(time.Second).UnixNano()) {
		t.Error("it holds to another moment than the end of 2027-03-01, UTC")
	}
}

func TestSuppressionsSurviveTheEvidence(t *testing.T) {
	p, err := Parse("p", []byte("version: 1\nsuppress:\n  - {rule: a-rule, by: [x], reason: why, owner: me, until: 2027-03-01}\n"))
	if err != nil {
		t.Fatal(err)
	}
	r, err := p.Resolve("")
	if err != nil {
		t.Fatal(err)
	}
	back, err := ReadResolved(r.Canonical())
	if err != nil {
		t.Fatal(err)
	}
	list := back.Suppressions()
	if len(list) != 1 || list[0].Owner != "me" || !list[0].Covers("a-rule", []string{"y", "x"}) || list[0].Covers("a-rule", []string{"y"}) || list[0].Covers("b", []string{"x"}) {
		t.Errorf("read back: %+v", list)
	}
	if _, err := ReadResolved(bytes.Replace(r.Canonical(), []byte("2027-03-01"), []byte("one day"), 1)); err == nil {
		t.Error("a suppression without a day was taken")
	}
	far := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano()
	if err := p.CheckSuppressions(far, []string{"a-rules"}); err == nil || !strings.Contains(err.Error(), "p:3:5") || !strings.Contains(err.Error(), "was over on 2027-03-01") || !strings.Contains(err.Error(), "a-rules") {
		t.Errorf("check says: %v", err)
	}
	if err := p.CheckSuppressions(0, []string{"a-rule"}); err != nil {
		t.Errorf("check says: %v", err)
	}
}

// What the runner and our own action start is no reason against a policy that
// lists programs, and naming the preset lists none.
func TestTheRunnersPresetExplainsWhatTheRunnerStarts(t *testing.T) {
	r := resolve(t, "{version: 1, use: [github-runner], exec: [npm]}", "")
	for _, c := range []struct {
		object, who string
		want        bool
	}{
		{"/runner/externals/node24/bin/node", "Runner.Worker", true},
		{"/runner/externals/node24/bin/node", "sh", false},
		{"/actions/bin/linux-amd64/edamame-posture", "node", true},
		{"/actions/bin/linux-amd64/edamame-posture", "sh", false},
		{"/usr/bin/npm", "sh", true},
	} {
		f := &fact.Fact{Verb: fact.Exec, Object: text(c.object), Place: fact.System, Who: texts(c.who)}
		if got := r.Explain(f) != nil; got != c.want {
			t.Errorf("%s by %s: explained %v", c.object, c.who, got)
		}
	}
	if resolve(t, "{version: 1, use: [github-runner]}", "").Limits(fact.Exec) {
		t.Error("a preset limits what may be run")
	}
}
