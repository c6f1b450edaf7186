package indicator

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"testing"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/policies"
)

const list = `version: 1
description: for tests
indicators:
  - incident: first
    source: a report
    date: 2026-01-02
    hosts: [Evil.example, "deep.other.example."]
    addresses: [203.0.113.7, 198.51.100.0/24, "2001:db8::1"]
    packages: ["pkg:npm/axios@1.14.1", "pkg:npm/%40scope/name@2.0.0", "pkg:pypi/Some_Thing"]
    sha256: [aa00000000000000000000000000000000000000000000000000000000000000]
  - {incident: second, severity: high, hosts: [evil.example, later.example]}
`

func read(t testing.TB, text string) *Set {
	t.Helper()
	s := New()
	if err := s.Add("list.yml", []byte(text)); err != nil {
		t.Fatal(err)
	}
	return s
}

func host(s *Set, h string) *Entry { e, _ := s.Host(h); return e }
func addr(s *Set, a string) *Entry { e, _ := s.Addr(netip.MustParseAddr(a)); return e }

func name(e *Entry) string {
	if e == nil {
		return ""
	}
	return e.Incident + " " + e.Severity
}

func TestWhatIsListedIsFoundAndNothingElse(t *testing.T) {
	given := read(t, list)
	again, err := Read(given.Canonical())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []*Set{given, again} {
		for h, want := range map[string]string{
			"evil.example": "first critical", "a.b.evil.example": "first critical", "evil.example.": "first critical",
			"notevil.example": "", "later.example": "second high", "example": "", "other.example": "", "x.deep.other.example": "first critical", "": "",
		} {
			if got := name(host(s, h)); got != want {
				t.Errorf("host %q: %q, want %q", h, got, want)
			}
		}
		for a, want := range map[string]string{
			"203.0.113.7": "first critical", "::ffff:203.0.113.7": "first critical", "203.0.113.8": "", "198.51.100.200": "first critical",
			"2001:db8::1": "first critical", "2001:db8::2": "",
		} {
			if got := name(addr(s, a)); got != want {
				t.Errorf("address %s: %q, want %q", a, got, want)
			}
		}
		for _, c := range []struct{ kind, name, version, want string }{
			{"npm", "axios", "1.14.1", "first critical"}, {"npm", "axios", "1.14.2", ""}, {"pypi", "axios", "1.14.1", ""},
			{"npm", "@scope/name", "2.0.0", "first critical"}, {"pypi", "some-thing", "9", "first critical"}, {"pypi", "some.thing", "", "first critical"},
		} {
			if got := name(s.Package(c.kind, c.name, c.version)); got != c.want {
				t.Errorf("package %v: %q", c, got)
			}
		}
	}
}

func TestAFileIsFoundByItsDigest(t *testing.T) {
	s := read(t, list)
	if got := name(s.File(event.SHA256{0xaa})); got != "first critical" || !s.Files() {
		t.Errorf("%q, %v", got, s.Files())
	}
	var none *Set
	if s.File(event.SHA256{0xab}) != nil || s.File(event.SHA256{}) != nil || New().Files() || none.Files() {
		t.Error("what is not listed is found")
	}
}

func TestABadListSaysWhere(t *testing.T) {
	for text, want := range map[string]string{
		"":                           "list.yml:1: the list is empty",
		"version: 2\nindicators: []": "version is \"2\"",
		"version: 1\nindicator: []":  "list.yml:2:1: \"indicator\" is no key",
		"version: 1\nindicators: {}": "no sequence",
		"version: 1\nindicators:\n  - {incident: x}":                                               "list.yml:3:5: the entry of \"x\" has no hosts",
		"version: 1\nindicators:\n  - {incident: \"x\\e[2J\", hosts: [a.example]}":                 "does not print",
		"version: 1\nindicators:\n  - {hosts: [a.example]}":                                        "of which incident",
		"version: 1\nindicators:\n  - {incident: x, hosts: [\"*.a.example\"]}":                     "which stands for all below it",
		"version: 1\nindicators:\n  - {incident: x, hosts: [192.0.2.1]}":                           "put it into addresses",
		"version: 1\nindicators:\n  - {incident: x, addresses: [0.0.0.0/0]}":                       "half the network",
		"version: 1\nindicators:\n  - {incident: x, addresses: [a.example]}":                       "want 203.0.113.7",
		"version: 1\nindicators:\n  - {incident: x, sha256: [abc]}":                                "list.yml:3:5: sha256 \"abc\": has 3 hexadecimal digits",
		"version: 1\nindicators:\n  - {incident: x, sha256: [ABC]}":                                "lower case",
		"version: 1\nindicators:\n  - {incident: x, md5: [abc]}":                                   "packages, sha256",
		"version: 1\nindicators:\n  - {incident: x, packages: [axios]}":                            "package URL",
		"version: 1\nindicators:\n  - {incident: x, severity: bad, hosts: [a.example]}":            "want one of critical",
		"version: 1\nindicators:\n  - {incident: x, hosts: [a.example], hosts: [b.example]}":       "stands twice",
		"version: 1\nindicators:\n  - &a {incident: x, hosts: [a.example]}\n  - *a":                "list.yml:4:5: an entry is a mapping",
		"{\"version\": 1,\n \"indicators\": [{\"incident\": \"x\",\n \"host\": [\"a.example\"]}]}": "list.yml:3",
		"{\"version\": 1, \"indicators\": [{\"incident\": \"x\"}]}":                                "list.yml: entry 1",
		"version: 1\n\tindicators: []":                                                             "list.yml",
		strings.Repeat(" ", maxYAML+1):                                                             "write a longer one in JSON",
		"{" + strings.Repeat(" ", MaxBytes):                                                        "at most",
	} {
		err := New().Add("list.yml", []byte(text))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.80q: %v, want %q", text, err, want)
		}
	}
}

func TestOSVRecordsBecomeEntries(t *testing.T) {
	record := func(id, ecosystem, pkg, rest string) string {
		return fmt.Sprintf(`{"id":%q,"summary":"Malicious code","published":"2026-03-31T10:00:00Z","affected":[{"package":{"ecosystem":%q,"name":%q}%s}]}`, id, ecosystem, pkg, rest)
	}
	all := `,"ranges":[{"type":"SEMVER","events":[{"introduced":"0"}]}]`
	for text, want := range map[string]string{
		record("MAL-2026-1", "npm", "@scope/x", `,"versions":["1.0.0","1.0.1"]`):                                     "pkg:npm/%40scope/x@1.0.0 pkg:npm/%40scope/x@1.0.1",
		record("MAL-2026-2", "PyPI", "y", all):                                                                       "pkg:pypi/y",
		record("MAL-2026-3", "npm", "z", `,"ranges":[{"events":[{"introduced":"0"},{"fixed":"2"}]}]`):                "",
		record("GHSA-1", "npm", "z", all):                                                                            "",
		record("MAL-2026-4", "Unknown", "z", all):                                                                    "",
		strings.Replace(record("MAL-2026-5", "npm", "z", all), `"id"`, `"withdrawn":"2026-04-01T00:00:00Z","id"`, 1): "",
	} {
		e, ok, err := FromOSV([]byte(text))
		if err != nil || ok != (want != "") || strings.Join(e.Packages, " ") != want {
			t.Errorf("%s: %v %v %v", text, e.Packages, ok, err)
		}
		if !ok {
			continue
		}
		b, _ := json.Marshal(e)
		s := read(t, `{"version":1,"indicators":[`+string(b)+`]}`)
		if s.Len() != 1 || e.Date != "2026-03-31" || !strings.HasPrefix(e.Incident, "MAL-") {
			t.Errorf("%+v", e)
		}
	}
	if _, _, err := FromOSV([]byte("{")); err == nil {
		t.Error("half a record is read")
	}
}

func TestLookingUpAllocatesNothing(t *testing.T) {
	s := read(t, list)
	addr := netip.MustParseAddr("192.0.2.1")
	if n := testing.AllocsPerRun(100, func() { s.Host("a.b.c.example"); s.Addr(addr) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzList(f *testing.F) {
	f.Add([]byte(list))
	f.Add(read(f, list).Canonical())
	f.Fuzz(func(t *testing.T, b []byte) {
		s := New()
		if s.Add("x", b) != nil {
			return
		}
		again, err := Read(s.Canonical())
		if err != nil || !bytes.Equal(again.Canonical(), s.Canonical()) {
			t.Errorf("%v", err)
		}
	})
}

func FuzzOSV(f *testing.F) {
	f.Add([]byte(`{"id":"MAL-2026-1","affected":[{"package":{"ecosystem":"npm","name":"@a/b"},"versions":["1"]}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, ok, err := FromOSV(b)
		if err != nil || !ok {
			return
		}
		if e.check() != nil {
			return // what it says of itself may be too long or empty
		}
		for _, p := range e.Packages {
			if _, _, _, err := parsePURL(p); err != nil {
				t.Errorf("%q: %v", p, err)
			}
		}
	})
}

func TestTheListThatShipsIsRead(t *testing.T) {
	s := New()
	if err := s.Add("policies/indicators.yml", policies.Indicators()); err != nil {
		t.Fatal(err)
	}
	if s.Len() < 40 {
		t.Errorf("%d entries", s.Len())
	}
	for _, e := range s.entries {
		if e.Source == "" || !regexp.MustCompile(`^20\d\d-\d\d-\d\d$`).MatchString(e.Date) {
			t.Errorf("%s: source %q, date %q", e.Incident, e.Source, e.Date)
		}
	}
	if got := name(host(s, "www.sfrclak.com")); got != "axios RAT critical" {
		t.Errorf("%q", got)
	}
}
