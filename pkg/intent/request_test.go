package intent

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/fact"
	"github.com/org/edamame-posture/pkg/fact/facttest"
)

// requestFact is a request to api.example.com:80 by gh.
func requestFact(method, path string) *fact.Fact {
	f := connectFact("api.example.com", "203.0.113.9:80", "gh")
	f.Verb, f.To, f.Method, f.Path = fact.Request, f.Object, facttest.Text(method), facttest.Text(path)
	f.Object = facttest.Text(method + " api.example.com:80" + path)
	return f
}

func connectFact(host, addr, by string) *fact.Fact {
	return &fact.Fact{
		Verb: fact.Connect, Host: facttest.Text(host), Addr: netip.MustParseAddrPort(addr), Proto: 6,
		Object: facttest.Text(host + ":80"), Who: facttest.Texts(by),
	}
}

func TestARequestIsCoveredByItsMethodAndAPatternOfItsPath(t *testing.T) {
	for _, tt := range []struct {
		pattern, request string
		covers           bool
	}{
		{"GET /v1/a", "GET /v1/a", true},
		{"GET /v1/a", "POST /v1/a", false},
		{"GET /v1/a", "get /v1/a", false},
		{"GET /v1/a", "GET /v1/a/", false},
		{"GET /v1/a", "GET /v1/ab", false},
		{"GET /v1/a/", "GET /v1/a/", true},
		{"GET /", "GET /", true},
		{"GET /", "GET /a", false},
		{"GET /*", "GET /", false},
		{"GET /*", "GET /a", true},
		{"GET /*", "GET /a/", false},
		{"GET /v1/*/z", "GET /v1/a/z", true},
		{"GET /v1/*/z", "GET /v1//z", false},
		{"GET /v1/**", "GET /v1", true},
		{"GET /v1/**", "GET /v1/", true},
		{"GET /v1/**", "GET /v1/a/b/c", true},
		{"GET /v1/**", "GET /v2/a", false},
		{"GET /**/z", "GET /z", true},
		{"GET /**/z", "GET /a/b/z", true},
		{"GET /**/z", "GET /a/z/y", false},
		{"GET", "GET /anything", true},
		{"GET", "HEAD /anything", false},
		{"*", "BREW /pot", true},
		{"* /v1/a", "BREW /v1/a", true},
		{"M-SEARCH", "M-SEARCH *", true},
		{"OPTIONS /*", "OPTIONS *", false},
		{"CONNECT", "CONNECT ", true},

		// Escapes that stand for what needs none.
		{"GET /@scope/name", "GET /@scope%2fname", true},
		{"GET /@scope%2Fname", "GET /@scope/name", true},
		{"GET /*", "GET /@scope%2fname", false},
		{"GET /a%7Eb", "GET /a~b", true},
		{"GET /a%20b", "GET /a%20b", true},
		{"GET /*", "GET /%41", true},
		{"GET /A", "GET /%41", true},
		{"GET /bücher", "GET /b%c3%bccher", true},
		{"GET /a%2Ab", "GET /axb", false},
		{"GET /a%2Ab", "GET /a%2ab", true},

		// What one server reads in another way than the next.
		{"GET /v1/**", "GET /v1/../admin", false},
		{"GET /v1/**", "GET /v1/%2e%2e/admin", false},
		{"GET /v1/**", "GET /v1/.%2e/admin", false},
		{"GET /v1/**", "GET /v1/..%2fadmin", false},
		{"GET /v1/**", "GET /v1/%252e%252e/admin", false},
		{"GET /v1/**", "GET /v1/..;/admin", false},
		{"GET /v1/**", "GET /v1/..;a=b/admin", false},
		{"GET /v1/**", "GET /v1/./a", false},
		{"GET /v1/**", "GET /v1//a", false},
		{"GET /v1/**", `GET /v1/..\admin`, false},
		{"GET /v1/**", "GET /v1/..%5cadmin", false},
		{"GET /v1/**", "GET /v1/%00", false},
		{"GET /v1/**", "GET /v1/%zz", false},
		{"GET /v1/**", "GET /v1/a%", false},
		{"GET /v1/**", "GET /v1/..", false},
		{"GET /v1/**", "GET /v1/...", true},
		{"GET /v1/**", "GET /v1/.hidden", true},
		{"GET /v1/**", "GET /v1/[redacted github-token 40]", false},
		{"GET /v1/**", "GET v1/a", false},
		{"GET", "GET /v1/../admin", true},
		{"GET /**", "GET /v1/[redacted github-token 40]", true},
		{"GET /a/**", "GET /**", false},
		{"GET /a/*", "GET /a/**", false},
	} {
		q, err := parseRequest(tt.pattern)
		if err != nil {
			t.Errorf("%q: %v", tt.pattern, err)
			continue
		}
		method, p, _ := strings.Cut(tt.request, " ")
		if got := q.covers(requestFact(method, p)); got != tt.covers {
			t.Errorf("%q covers %q: %v", tt.pattern, tt.request, got)
		}
	}
	f := requestFact("GET", "/v1/a")
	f.Elsewhere = true
	if q, _ := parseRequest("*"); q.covers(f) {
		t.Error("a request for another host is covered")
	}
}

func TestARequestNeedsAGrantWhereEveryGrantOfTheConnectionLimitsThem(t *testing.T) {
	const limited = `{to: "api.example.com:80", http: ["GET /v1/**"]}`
	get, post := requestFact("GET", "/v1/a"), requestFact("POST", "/v1/a")
	connect := connectFact("api.example.com", "203.0.113.9:80", "gh")
	for _, tt := range []struct {
		name, egress   string
		limits         bool
		getOK, postOK  bool
		connectGranted bool
	}{
		{"one that limits", limited, true, true, false, true},
		{"two that limit", limited + `, {to: "*.example.com:80", http: POST}`, true, true, true, true},
		{"one that does not, too", limited + `, "*.example.com:80"`, false, true, true, true},
		{"for another program", `{to: "api.example.com:80", by: [curl], http: GET}`, false, false, false, false},
		{"for this and another program", limited + `, {to: "api.example.com:80", by: [curl]}`, true, true, false, true},
		{"in another step", `{to: "api.example.com:80", step: release, http: GET}`, false, false, false, false},
		{"none", `"other.example:80"`, false, false, false, false},
	} {
		r := resolve(t, "version: 1\negress: ["+tt.egress+"]", "")
		if got := r.LimitsRequests(connect); got != tt.limits {
			t.Errorf("%s: limits requests: %v", tt.name, got)
		}
		for f, want := range map[*fact.Fact]bool{get: tt.getOK, post: tt.postOK, connect: tt.connectGranted} {
			if got := r.Explain(f) != nil; got != want {
				t.Errorf("%s: %s %s explained: %v", tt.name, f.Verb, f.Object, got)
			}
		}
	}
	r := resolve(t, "version: 1\negress: ["+limited+"]", "")
	if g, why := r.Near(post); g == nil || why != "it allows GET /v1/** only" {
		t.Errorf("near: %v, %s", g, why)
	}
	if g, why := r.Near(requestFact("GET", "/v1/../x")); g == nil || !strings.Contains(why, "not every server reads") {
		t.Errorf("near: %v, %s", g, why)
	}
	// A resolver is asked by no request.
	dns := connectFact("api.example.com", "203.0.113.9:80", "gh")
	dns.Verb = fact.Resolve
	if r.Explain(dns) != nil {
		t.Error("a grant of requests explains a question to a resolver")
	}
}

func TestTheLineThatIsToldAllowsTheRequest(t *testing.T) {
	for _, request := range []string{
		"GET /v1/a", "GET /", "POST /@scope%2fname", "GET /a*b", "GET /a**b/**", "get /v1", "GET /v1/../admin", "GET /[redacted x 4]", "OPTIONS *", "CONNECT ",
	} {
		method, p, _ := strings.Cut(request, " ")
		f := requestFact(method, p)
		line := Line(f)
		if line == "" {
			t.Errorf("%q: no line", request)
			continue
		}
		if r := resolve(t, "version: 1\negress:\n  "+line, ""); r.Explain(f) == nil || len(r.grants[fact.Connect][0].requests) != 1 {
			t.Errorf("%q: %s does not allow it, or any request", request, line)
		}
	}
	f := requestFact("GET", "/a")
	f.Elsewhere = true
	if line := Line(f); strings.Contains(line, "http") || resolve(t, "version: 1\negress:\n  "+line, "").Explain(f) == nil {
		t.Errorf("a request for another host: %s", line)
	}
	both := []*fact.Fact{requestFact("GET", "/b"), requestFact("GET", "/a")}
	if got, want := LineOfRequests(both), `- {to: "api.example.com:80", by: [gh], http: ["GET /a", "GET /b"]}`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestRequestsSurviveTheCanonicalForm(t *testing.T) {
	r := resolve(t, `{version: 1, egress: [{to: "a.example:80", http: [POST /b, GET, "GET /a%2fb", GET /**]}]}`, "")
	again, err := ReadResolved(r.Canonical())
	if err != nil {
		t.Fatal(err)
	}
	want := `{to: "a.example:80", http: ["GET /**", "GET /a/b", "POST /b"]}`
	for _, r := range []*Resolved{r, again} {
		if e := r.Entries(); len(e) != 1 || e[0].Text != want || !r.Requests() {
			t.Errorf("%+v", e)
		}
	}
	if string(again.Canonical()) != string(r.Canonical()) {
		t.Error("the canonical form is not its own")
	}
	plain := resolve(t, `{version: 1, egress: ["a.example:80"]}`, "")
	if strings.Contains(string(plain.Canonical()), "http") || plain.Requests() {
		t.Errorf("a policy without requests: %s", plain.Canonical())
	}
}

func TestAnEntryIncludesAnotherWithFewerRequests(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want bool
	}{
		{``, `, http: GET`, true},
		{`, http: GET`, ``, false},
		{`, http: "*"`, ``, false}, // requests for other hosts are not among them
		{`, http: GET`, `, http: ["GET /a", "GET /b/*"]`, true},
		{`, http: GET`, `, http: ["GET /a", "POST /a"]`, false},
		{`, http: "* /a/**"`, `, http: ["GET /a/*/c"]`, true},
		{`, http: "* /a/*"`, `, http: ["GET /a/**"]`, false},
		{`, http: "GET /a"`, `, http: "* /a"`, false},
	} {
		r := resolve(t, `{version: 1, egress: [{to: "x:1"`+tt.a+`}, {to: "x:1"`+tt.b+`}]}`, "")
		e := r.Entries()
		if got := e[0].Includes(&e[1]); got != tt.want {
			t.Errorf("%s includes %s: %v", e[0].Text, e[1].Text, got)
		}
	}
}

// FuzzRequestPattern holds patterns against what Go's server makes of paths: a
// pattern never covers what the server reads as lying elsewhere.
func FuzzRequestPattern(f *testing.F) {
	for _, s := range []string{"/v1/a", "/v1/../b", "/v1/%2e%2e/b", "/v1/a%2f..%2fb", "/v1/a;b", "/v1//", "/v1/..%5cx", "/v1/%", "/v1/*", "/v1/**", "/v1/ü"} {
		f.Add("GET /v1/**", "GET", s)
		f.Add("* "+s, "GET", s)
	}
	f.Add("* /"+strings.Repeat("\x9b", 2000), "GET", "/")
	under, _ := parseRequest("GET /v1/**")
	f.Fuzz(func(t *testing.T, pattern, method, p string) {
		request := requestFact(method, p)
		if q, err := parseRequest(pattern); err == nil {
			again, err := parseRequest(q.String())
			if err != nil || again.String() != q.String() || !again.includes(&q) || !q.includes(&again) {
				t.Fatalf("%q becomes %q, which becomes %q: %v", pattern, q.String(), again.String(), err)
			}
			if all, _ := parseRequest("*"); q.covers(request) && !all.covers(request) {
				t.Errorf("%q covers %q %q, and * does not", pattern, method, p)
			}
		}
		if e := requestOf(request); len(e) != 1 {
			t.Fatalf("%q %q: %q", method, p, e)
		} else if q, err := parseRequest(e[0]); err == nil && !q.covers(request) {
			t.Errorf("%q %q: %q does not allow it", method, p, e)
		}
		if request.Method = facttest.Text("GET"); !under.covers(request) {
			return
		}
		r := httptest.NewRequest(http.MethodGet, "http://x/", nil)
		u, err := r.URL.Parse(p)
		if err != nil {
			return
		}
		for _, read := range []string{u.Path, path.Clean(u.Path), path.Clean(strings.ReplaceAll(u.Path, `\`, "/"))} {
			if read != "/v1" && !strings.HasPrefix(read, "/v1/") {
				t.Errorf("/v1/** covers %q, which is read as %q", p, read)
			}
		}
	})
}

func TestKeysAreThoseOfEveryGrantThatCoversTheConnection(t *testing.T) {
	for _, c := range []struct {
		egress string
		want   []string
	}{
		{`[{to: "api.example.com:443", key: [B, A]}]`, []string{"A", "B"}},
		{`[{to: "api.example.com:443", key: A}, {to: "*.example.com:443", key: [B]}]`, []string{"A", "B"}},
		{`[{to: "api.example.com:443", key: [A]}, "*.example.com:443"]`, nil},
		{`[{to: "api.example.com:443", key: [A]}, {to: "*.example.com:443", http: [GET]}]`, nil},
		{`[{to: "other.example.com:443", key: [A]}, "api.example.com:443"]`, nil},
	} {
		r := resolve(t, "version: 1\negress: "+c.egress, "")
		to := &fact.Fact{Verb: fact.Connect, Host: facttest.Text("api.example.com"), Addr: netip.MustParseAddrPort("192.0.2.1:443"), Proto: event.ProtoTCP}
		if got := r.KeysFor(to); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q; want %q", c.egress, got, c.want)
		}
		key := *to
		key.Verb = fact.Key
		if got := r.Explain(&key) != nil; got != (c.want == nil) {
			t.Errorf("%s: another key is explained: %t", c.egress, got)
		}
		if r.LimitsRequests(to) && c.want == nil && !strings.Contains(c.egress, "http") {
			t.Errorf("%s limits what is requested", c.egress)
		}
	}
}
