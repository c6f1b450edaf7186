package judge_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/fact/facttest"
	"github.com/org/edamame-posture/pkg/judge"
)

const limited = `version: 1
egress:
  - {to: "203.0.113.9:80", by: [curl], http: ["GET /v1/**", "POST /v1/releases"]}
`

const api = "203.0.113.9:80"

// asking tells a job in which curl makes requests, each on a connection of its
// own.
func asking(requests ...string) *facttest.Log {
	l := facttest.New("make")
	curl := l.Run(l.Root, "/usr/bin/curl", "curl")
	for _, r := range requests {
		method, path, _ := strings.Cut(r, " ")
		l.Ask(curl, api, method, "203.0.113.9", path)
	}
	return l
}

func TestARequestThatNoGrantAllowsIsUndeclared(t *testing.T) {
	l := asking("GET /v1/a?x=1", "POST /v1/releases")
	l.End(0)
	if v := run(t, limited, l); v.Verdict != judge.Pass || v.Score != 0 {
		t.Errorf("what is allowed: %s, score %d, %v %+v", v.Verdict, v.Score, v.Reasons, v.Undeclared)
	}
	l = asking("GET /v1/a?x=1", "POST /v1/a?secret=1", "DELETE /v1/a")
	l.End(0)
	v := run(t, limited, l)
	if v.Verdict != judge.Fail || v.Score != 40 || len(v.Undeclared) != 2 {
		t.Fatalf("%s, score %d: %+v", v.Verdict, v.Score, v.Undeclared)
	}
	u := v.Undeclared[1]
	if u.Verb != "request" || u.Object != "POST 203.0.113.9:80/v1/a" || u.Grant != `- {to: "203.0.113.9:80", by: [curl], http: ["POST /v1/a"]}` || u.Severity != judge.High {
		t.Errorf("%+v", u)
	}
	j := judge.New(resolved(t, limited), nil)
	for i := range l.Events {
		j.Apply(&l.Events[i])
	}
	_, causes, _ := j.Explain()
	if len(causes) != 1 || causes[0].Near == nil || causes[0].Near.Origin.Line != 3 || causes[0].Misses != "it allows GET /v1/** and POST /v1/releases only" || causes[0].Key != "egress" {
		t.Fatalf("%+v", causes)
	}
	// Its line allows all of them.
	if v := run(t, limited+"  "+causes[0].Line+"\n", l); v.Verdict != judge.Pass {
		t.Errorf("with %s: %s, %+v", causes[0].Line, v.Verdict, v.Undeclared)
	}
}

func TestRequestsThatWereNotReadAreNoPass(t *testing.T) {
	hidden := func(tell func(l *facttest.Log, curl event.Actor)) *facttest.Log {
		l := facttest.New("make")
		tell(l, l.Run(l.Root, "/usr/bin/curl", "curl"))
		l.End(0)
		return l
	}
	for name, tell := range map[string]func(*facttest.Log, event.Actor){
		"the connection was encrypted": func(l *facttest.Log, curl event.Actor) {
			l.Resolve(curl, "unrelated.example", "203.0.113.77") // so that what is only said is not believed
			s := l.Connect(curl, api)
			l.Hello(curl, api, s, "a.example")
			l.Flow(curl, api, s, 900, 10, true)
		},
		"more was sent on a connection": func(l *facttest.Log, curl event.Actor) {
			s := l.Connect(curl, api)
			l.Request(curl, api, s, "GET", "203.0.113.9", "/v1/a", 100)
			l.Flow(curl, api, s, 200, 10, true)
		},
		"HTTP/2": func(l *facttest.Log, curl event.Actor) { l.Send(curl, api, 90); l.Send(curl, api, 90) },
	} {
		l := hidden(tell)
		v := run(t, limited, l)
		gaps := v.Coverage.Gaps
		if v.Verdict != judge.Review || v.Coverage.State != "partial" || len(gaps) != 1 || len(v.Undeclared) != 0 || v.Score != 0 {
			t.Errorf("%s: %s, %+v, undeclared %+v", name, v.Verdict, v.Coverage, v.Undeclared)
			continue
		}
		for _, want := range []string{name, "requests to 203.0.113.9:80", "(posture.yml:3:10)"} {
			if !strings.Contains(gaps[0].What, want) {
				t.Errorf("the gap does not say %q: %s", want, gaps[0].What)
			}
		}
		if name == "HTTP/2" && !strings.Contains(gaps[0].What, "(2 connections)") {
			t.Error(gaps[0].What)
		}
		if gaps[0].From == 0 || gaps[0].To < gaps[0].From || l.Events[gaps[0].Leaf].Kind != event.Connect {
			t.Errorf("%s: %+v", name, gaps[0])
		}
		if v := run(t, limited+"fail-on: {coverage: partial}\n", l); v.Verdict != judge.Fail {
			t.Errorf("%s: %s where partial coverage fails", name, v.Verdict)
		}
		// Where nobody limits requests, nobody misses them.
		for _, policy := range []string{"version: 1\negress: [\"" + api + "\"]\n", limited + "  - \"" + api + "\"\n"} {
			if v := run(t, policy, l); v.Verdict != judge.Pass || len(v.Coverage.Gaps) != 0 {
				t.Errorf("%s, under %s: %s, %+v", name, policy, v.Verdict, v.Coverage.Gaps)
			}
		}
	}
	// What others on the machine do is not the job's.
	l := hidden(func(l *facttest.Log, curl event.Actor) {
		for _, k := range []event.Kind{event.Connect, event.Flow} {
			l.Add(event.Event{Kind: k, Via: event.ViaHost, Actor: curl, Proto: event.ProtoTCP, Dst: netip.MustParseAddrPort(api), Sock: 9, Sent: 90, OK: k == event.Flow})
		}
	})
	if v := run(t, limited, l); len(v.Coverage.Gaps) != 0 {
		t.Errorf("%+v", v.Coverage.Gaps)
	}
}

func TestDestinationsThatWereNotReadAreBounded(t *testing.T) {
	const many = 150
	policy := strings.Replace(limited, "203.0.113.9:80", "198.51.0.0/16:80", 1)
	l := facttest.New("make")
	curl := l.Run(l.Root, "/usr/bin/curl", "curl")
	for i := range many {
		l.Send(curl, fmt.Sprintf("198.51.100.%d:80", i), 90)
	}
	l.End(0)
	v := run(t, policy, l)
	gaps := v.Coverage.Gaps
	if len(gaps) != 100 || !strings.HasSuffix(gaps[99].What, fmt.Sprintf("; and at %d more destinations", many-100)) {
		t.Errorf("%d gaps, the last: %+v", len(gaps), gaps[len(gaps)-1])
	}
}

// One more grant never raises the score, whatever it limits, and one more
// request never lowers it.
func TestRequestsKeepTheScoreMonotone(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	methods, paths := []string{"GET", "POST"}, []string{"/v1/a", "/v1/b", "/x", "/v1/../x"}
	grants := []string{
		`{to: "` + api + `", http: ["GET /v1/a"]}`, `{to: "` + api + `", http: [POST], upload: 1B}`, `{to: "` + api + `", by: [curl], http: ["* /v1/*"]}`,
		`{to: "` + api + `", by: [curl], upload: 90B}`, `{to: "*:80", http: ["GET /x"]}`, `"` + api + `"`,
	}
	for range 60 {
		var requests []string
		for range 1 + r.IntN(5) {
			requests = append(requests, methods[r.IntN(2)]+" "+paths[r.IntN(len(paths))])
		}
		policy := "version: 1\negress:\n  - \"unused.example:1\"\n"
		l := asking(requests...)
		l.End(0)
		before := run(t, policy, l).Score
		for _, i := range r.Perm(len(grants)) {
			policy += "  - " + grants[i] + "\n"
			after := run(t, policy, l).Score
			if after > before {
				t.Fatalf("%q: %d before, %d with %s:\n%s", requests, before, after, grants[i], policy)
			}
			before = after
			more := asking(append(requests, "PUT /new")...)
			more.End(0)
			if s := run(t, policy, more).Score; s < after {
				t.Fatalf("%q: %d, and %d with one more:\n%s", requests, after, s, policy)
			}
		}
		if before != 0 {
			t.Fatalf("%q: score %d with all grants", requests, before)
		}
	}
}

// The requests that are allowed take no room from one that is not.
func TestNoiseOfRequestsHidesNothing(t *testing.T) {
	tell := func(noise int) *judge.Verdict {
		l := facttest.New("make")
		curl := l.Run(l.Root, "/usr/bin/curl", "curl")
		for i := range noise {
			l.Ask(curl, api, "GET", "203.0.113.9", fmt.Sprintf("/v1/%d", i))
		}
		l.Ask(curl, api, "POST", "203.0.113.9", "/v1/a")
		l.End(0)
		return run(t, limited, l)
	}
	for _, noise := range []int{0, 10, 5000} {
		if v := tell(noise); v.Score != 40 || len(v.Undeclared) != 1 || v.Undeclared[0].Object != "POST 203.0.113.9:80/v1/a" || v.Facts.Explained < uint64(noise) {
			t.Errorf("among %d: score %d, %+v, %+v", noise, v.Score, v.Undeclared, v.Facts)
		}
	}
}
