package signature

import (
	"errors"
	"io/fs"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/net/idna"
	"golang.org/x/net/publicsuffix"
	"golang.org/x/text/unicode/norm"

	"github.com/org/edamame-posture/pkg/credential"
	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/policies"
)

func shippedLookalikes(t testing.TB) *lookalikes {
	t.Helper()
	b, err := readBrands("brands.yml", string(policies.Brands()))
	if err != nil {
		t.Fatal(err)
	}
	return newLookalikes(b, shippedSuffixes())
}

func TestLookalikesOfKnownAttacksAreTold(t *testing.T) {
	for host, want := range map[string]likeness{
		"scan.aquasecurtiy.org":         {"aquasec.com", "typo"},
		"checkmarx.zone":                {"checkmarx.com", "top-level"},
		"models.litellm.cloud":          {"litellm.ai", "top-level"},
		"git-tanstack.com":              {"tanstack.com", "affix"},
		"npm-cache.com":                 {"npmjs.com", "affix"},
		"sh.azurestaticprovider.net":    {"azure.com", "affix"},
		"a.t.opentensor-cdn.com":        {"opentensor.ai", "affix"},
		"finney.opentensor-metrics.com": {"opentensor.ai", "affix"},
		"githbu.com":                    {"github.com", "typo"},
		"files.pythonhostde.org":        {"pythonhosted.org", "typo"},
		"github1.com":                   {"github.com", "affix"},
		"pypi-mirror2.org":              {"pypi.org", "affix"},
		"raw.xn--gthub-n4a.com":         {"github.com", "typo"}, // gıthub
		"xn--gthub-n2e.com":             {"github.com", "typo"}, // gіthub, a Cyrillic letter
		"xn--githb-bva.com":             {"github.com", "typo"}, // githúb, a mark
		"gіthub.com":                    {"github.com", "typo"}, // as it should not be sent, and can be
		"xn--gthb-2ra92a.com":           {"github.com", "typo"}, // two letters
		"xn--gthubcdn-thh.com":          {"github.com", "affix"},
		"g1thub.com":                    {"github.com", "typo"},
		"pyp1.org":                      {"pypi.org", "typo"},
		"nprnjs.com":                    {"npmjs.com", "typo"},
		"git1ab.com":                    {"gitlab.com", "typo"},
		"github.gov.uk":                 {"github.com", "top-level"},
		"github.city.kawasaki.jp":       {}, // the city's
	} {
		if got := shippedLookalikes(t).host(host); got != want {
			t.Errorf("%s: %+v, want %+v", host, got, want)
		}
	}
}

// What is registered is what the library says of the same list; it reaches
// net/http, which the monitor must not.
func TestWhatIsRegisteredIsThatOfThePublicSuffixList(t *testing.T) {
	s := shippedSuffixes()
	seen := 0
	check := func(host string) {
		seen++
		want, err := icannPlusOne(host)
		label, got, ok := s.registered(host)
		if ok != (err == nil) || got != want || ok && label != want[:strings.IndexByte(want, '.')] {
			t.Errorf("%s: %q, %q, %v, the list says %q, %v", host, label, got, ok, want, err)
		}
	}
	for _, line := range s.lines {
		below, list, _ := strings.Cut(line, ": ")
		if strings.HasSuffix(below, "arpa") {
			continue // nobody registers there
		}
		for _, name := range strings.Fields(list) {
			suffix := strings.TrimLeft(strings.Replace(name, "*", "any", 1), "!") + "." + below
			for _, host := range []string{below, suffix, "a." + suffix, "b.a." + suffix, "c.b.a." + suffix} {
				check(host)
			}
		}
	}
	for _, host := range []string{"scan.aquasecurtiy.org", "checkmarx.zone", "a.models.litellm.cloud", "x.npm-cache.co.uk", "com", "a.com", "x.githubusercontent.com", "a.b.c.d.e.f.g.h.no"} {
		check(host)
	}
	if seen < 20_000 {
		t.Fatalf("only %d names", seen)
	}
	for _, host := range []string{"", ".", "..", ".com", "a..com", "..com", "10.1.2.3", "fd00::1", "localhost", "a.test", "ac gov.uk", "x.!www.ck"} {
		if label, domain, ok := s.registered(host); ok && (label == "" || !strings.HasSuffix(host, domain)) {
			t.Errorf("%q: %q of %q", host, label, domain)
		}
	}
	if _, got, ok := s.registered("WWW.example.com."); !ok || got != "example.com" {
		t.Errorf("with a dot at the end: %q", got)
	}
}

// icannPlusOne is publicsuffix.EffectiveTLDPlusOne without the suffixes of
// companies.
func icannPlusOne(host string) (string, error) {
	suffix, icann := publicsuffix.PublicSuffix(host)
	for !icann && strings.Contains(suffix, ".") {
		suffix, icann = publicsuffix.PublicSuffix(suffix[strings.IndexByte(suffix, '.')+1:])
	}
	rest, ok := strings.CutSuffix(host, "."+suffix)
	if !ok || rest == "" {
		return "", errors.New("a suffix")
	}
	return rest[strings.LastIndexByte(rest, '.')+1:] + "." + suffix, nil
}

func TestAListOfSuffixesThatIsWrongIsRefused(t *testing.T) {
	for text, want := range map[string]string{
		"# x\nuk ac co":                "s.txt:2: want a suffix",
		": ac":                         "s.txt:1: want a suffix",
		"uk: ac\nau: com":              `s.txt:2: "au" is not behind "uk"`,
		strings.Repeat("#\n", 200_000): "at most",
	} {
		if _, err := readSuffixes("s.txt", text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.20q: error %v, want one that says %q", text, err, want)
		}
	}
}

func TestPunycodeIsDecodedAsTheLibraryDoesIt(t *testing.T) {
	for _, label := range []string{"xn--gthub-n4a", "xn--bcher-kva", "xn--ls8h", "xn--fiqs8s", "xn--a-ecp", "xn--", "xn--a", "xn---", "xn--99999999", "xn--\xff", "github"} {
		checkPunycode(t, label)
	}
	if got, ok := decodePunycode("xn--bcher-kva"); !ok || got != "bücher" {
		t.Errorf("%q, %v", got, ok)
	}
}

// checkPunycode holds the decoder against the library's, for labels that are
// not written in another way than encoders do it.
func checkPunycode(t *testing.T, label string) {
	t.Helper()
	if strings.ContainsAny(label, ".") || len(label) > maxLabel || strings.HasPrefix(label, "xn---") || !isASCII(label) {
		return
	}
	want, err := idna.Punycode.ToUnicode(label)
	if got, ok := decodePunycode(label); ok && !isASCII(got) && (err != nil || got != want) || !ok && err == nil && want != label && want != "" && !strings.ContainsRune(want, '\ufffd') {
		t.Errorf("%q: %q, %v, the library says %q, %v", label, got, ok, want, err)
	}
}

func FuzzPunycode(f *testing.F) {
	for _, s := range []string{"gthub-n4a", "bcher-kva", "a-", "-", "zzzzzzzzzzzz", "ls8h"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) { checkPunycode(t, "xn--"+s) })
}

// A letter that has a letter of ASCII as its base is read as that one.
func TestLettersAreReadAsTheirBase(t *testing.T) {
	marks := 0
	for r, c := range confusables {
		if d := norm.NFKD.String(string(r)); d[0] < 0x80 && d[0] != c {
			t.Errorf("%c is read as %c, its base is %c", r, c, d[0])
		} else if d[0] < 0x80 {
			marks++
		}
	}
	if marks < 150 {
		t.Fatalf("only %d letters with marks", marks)
	}
}

func TestDomainsOfTheOwnersAndOfOthersAreNoLookalikes(t *testing.T) {
	l := shippedLookalikes(t)
	for _, host := range []string{
		"raw.githubusercontent.com", "github.githubassets.com", "api.github.com", "app.github.dev", "ghcr.io", "nodejs.org", "www.npmjs.org", "npmjs.com",
		"pypi.org", "files.pythonhosted.org", "gitlab.com", "gitea.com", "npmmirror.com", "google.de", "bitbucket.org", "x.azureedge.net", "a.blob.core.windows.net",
		"aquasecurity.github.io", "npm-cache.vercel.app", "docs.docker.com", "download.docker.com", "registry-1.docker.io", "production.cloudflare.docker.com",
		"localhost", "npm-cache.internal", "registry.test", "com", "co.uk", "..com", "-.com",
		"npmjs.org.corp.internal.cloudapp.net", "python.org", "rust-lang.org", "cdn.playwright.dev", "checkmark.com", "conda.anaconda.org", "repo.maven.apache.org",
	} {
		if got := l.host(host); got != (likeness{}) {
			t.Errorf("%s: %+v, want nothing", host, got)
		}
	}
}

func TestAHostNearOneThatWasReachedBeforeIsTold(t *testing.T) {
	l := shippedLookalikes(t)
	if got := l.host("api.contosoworks.com"); got.of != "" {
		t.Fatalf("the first is like %q", got.of)
	}
	if got := l.host("api.contosowroks.com"); got != (likeness{"contosoworks.com", "reached"}) {
		t.Errorf("an exchange of letters: %+v", got)
	}
	l.host("shardserver1.com")
	if got := l.host("shardserver2.com"); got.of != "" {
		t.Errorf("another number is like %q", got.of)
	}
}

func TestAnActionsOwnerMisspeltIsTold(t *testing.T) {
	l := shippedLookalikes(t)
	if got := l.owner("cdn.reviewdgo.dev", "reviewdog/action-setup@v1"); got != (likeness{"reviewdog", "owner"}) {
		t.Errorf("%+v", got)
	}
	for _, host := range []string{"reviewdog.dev", "github.com", "example.com"} {
		if got := l.owner(host, "reviewdog/action-setup@v1"); got.of != "" {
			t.Errorf("%s is like %q", host, got.of)
		}
	}
}

func TestWhatIsRememberedOfHostsIsBounded(t *testing.T) {
	l := shippedLookalikes(t)
	for i := range 3 * maxLooked {
		l.host(strings.Repeat("q", 1+i%60) + string(rune('a'+i/60%26)) + string(rune('a'+i/1560%26)) + ".com")
	}
	if len(l.looked) > maxLooked || len(l.reached) > maxReached {
		t.Fatalf("%d hosts and %d domains are remembered", len(l.looked), len(l.reached))
	}
}

func TestAHostThatWasLookedAtAllocatesNothing(t *testing.T) {
	l := shippedLookalikes(t)
	l.host("git-tanstack.com")
	if n := testing.AllocsPerRun(100, func() { l.host("git-tanstack.com") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestABrandListThatIsWrongIsRefused(t *testing.T) {
	for text, want := range map[string]string{
		"version: 2":                                  "version 2",
		"version: 1\nbrand: []":                       "line 2",
		"version: 1\naffixes: ['']":                   "empty word",
		"version: 1\nbrands: [{word: ab}]":            `brand 1, "ab"`,
		"version: 1\n---\nversion: 1":                 "follows",
		"#" + strings.Repeat("x", maxBrandBytes) + "": "at most",
	} {
		if _, err := readBrands("b.yml", text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: error %v, want one that says %q", text, err, want)
		}
	}
}

func FuzzReadBrands(f *testing.F) {
	f.Add(string(policies.Brands()), "scan.aquasecurtiy.org")
	f.Add("version: 1\naffixes: [a]", "aaa.com")
	f.Add(string(policies.Brands()), "xn--gthub-n4a.com")
	f.Fuzz(func(t *testing.T, text, host string) {
		b, err := readBrands("b.yml", text)
		if err != nil {
			return
		}
		s := shippedSuffixes()
		if l := newLookalikes(b, s); l.look(host) != newLookalikes(b, s).look(host) {
			t.Error("the same host is looked at in two ways")
		}
	})
}

func FuzzReadSuffixes(f *testing.F) {
	f.Add(string(policies.Suffixes()), "a.b.co.uk")
	f.Add("ck: * !www\nuk: co", "a.www.ck")
	f.Fuzz(func(t *testing.T, text, host string) {
		s, err := readSuffixes("s.txt", text)
		if err != nil {
			return
		}
		label, domain, ok := s.registered(host)
		if ok && (label == "" || len(label) > maxLabel || !strings.HasPrefix(domain, label+".") || !strings.HasSuffix(strings.TrimSuffix(host, "."), domain)) {
			t.Errorf("%q: %q of %q", host, label, domain)
		}
	})
}

// Every host that a preset, a catalogue or a rule names is what it seems, also
// where the others were reached before.
func TestNoHostOfOurOwnListsLooksLikeAnother(t *testing.T) {
	form := regexp.MustCompile(`[a-z0-9-]+(\.[a-z0-9-]+)*\.[a-z]{2,}`)
	l := shippedLookalikes(t)
	labels := map[string]string{} // of registrable domains
	look := func(text string) {
		for _, h := range form.FindAllString(text, -1) {
			label, domain, ok := l.suffixes.registered(h)
			if !ok || labels[domain] != "" {
				continue
			}
			labels[domain] = label
			l.reached = nil
			if m := l.look(h); m.of != "" {
				t.Errorf("%s looks like %s by %s: whose it is belongs into brands.yml", h, m.of, m.how)
			}
		}
	}
	for _, b := range [][]byte{policies.Actions(), policies.Commands()} {
		look(string(b))
	}
	for _, n := range policies.PresetNames() {
		b, _ := policies.Preset(n)
		look(string(b))
	}
	for _, c := range credential.Classes() {
		look(strings.Join(c.Hosts, "\n"))
	}
	for _, name := range []string{"lifecycle-beacon.yml", "d5-piped-shell.yml", "d3-private-read-egress.yml", "d15-dns-tunnel.yml"} {
		b, err := fs.ReadFile(policies.Signatures(), name)
		if err != nil {
			t.Fatal(err)
		}
		look(string(b))
	}
	if len(labels) < 200 {
		t.Fatalf("only %d domains were looked at", len(labels))
	}
	for a := range labels {
		for b := range labels {
			if a != b && !l.brands.known[a] && near(labels[a], labels[b], 8, 12) {
				t.Errorf("%s looks like %s, which is reached before", a, b)
			}
		}
	}
}

func TestWhatIsSomebodysOrGrantedImitatesNone(t *testing.T) {
	l := shippedLookalikes(t)
	for _, host := range []string{"github.k8s.io", "codecov.aka.ms", "nodejs.bun.sh", "github.hf.co", "www.dockerstatic.com", "api.hashicorp.services", "x.github.net"} {
		if got := l.host(host); got.of != "" {
			t.Errorf("%s: %+v", host, got)
		}
	}
	p, err := Default()
	if err != nil {
		t.Fatal(err)
	}
	asks := func(m *Matcher) int {
		return len(m.Apply(&Input{Event: &event.Event{Kind: event.DNS, Name: text("x.npm-cache.com"), QType: 1, Time: 1}}))
	}
	granting := p.Matcher()
	granting.Grant("NPM-cache.com")
	if plain, granted := asks(p.Matcher()), asks(granting); plain != 1 || granted != 0 {
		t.Errorf("%d hits, and %d where the policy grants it", plain, granted)
	}
}
