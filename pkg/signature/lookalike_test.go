package signature

import (
	"strings"
	"testing"

	"golang.org/x/net/publicsuffix"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/policies"
)

func shippedLookalikes(t testing.TB) *lookalikes {
	t.Helper()
	b, err := readBrands("brands.yml", string(policies.Brands()))
	if err != nil {
		t.Fatal(err)
	}
	return newLookalikes(b)
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
	} {
		if got := shippedLookalikes(t).host(host); got != want {
			t.Errorf("%s: %+v, want %+v", host, got, want)
		}
	}
}

// The list of public suffixes is asked here alone: it reaches net/http, which
// the monitor must not.
func TestWhatIsRegisteredIsThatOfThePublicSuffixList(t *testing.T) {
	check := func(host string) {
		want, err := publicsuffix.EffectiveTLDPlusOne(host)
		if _, got, ok := registered(host); err != nil || !ok || got != want {
			t.Errorf("%s: %q %v, the list says %q %v", host, got, ok, want, err)
		}
	}
	for _, host := range []string{"scan.aquasecurtiy.org", "checkmarx.zone", "a.models.litellm.cloud", "x.npm-cache.co.uk", "a.b.npm-cache.com.au", "github-cdn.io"} {
		check(host)
	}
	for _, b := range shippedLookalikes(t).brands.Brands {
		for _, d := range b.Domains {
			if suffix, _ := publicsuffix.PublicSuffix(d); suffix != d { // a company's own suffix, github.io
				check(d)
			}
		}
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
	f.Fuzz(func(t *testing.T, text, host string) {
		b, err := readBrands("b.yml", text)
		if err != nil {
			return
		}
		if l := newLookalikes(b); l.look(host) != newLookalikes(b).look(host) {
			t.Error("the same host is looked at in two ways")
		}
	})
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
