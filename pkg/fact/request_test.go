package fact_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/fact"
	"github.com/org/edamame-posture/pkg/fact/facttest"
)

// asked folds a log where every destination's requests are limited.
func asked(l *facttest.Log) *machine {
	m := newMachine(0)
	m.folder.Requests = func(f *fact.Fact) bool { return f.Verb == fact.Connect }
	for i := range l.Events {
		m.apply(&l.Events[i])
	}
	return m
}

// requests are the Request facts as lines, unread the reasons of destinations.
func requests(m *machine) (list []string, unread map[string]string) {
	unread = map[string]string{}
	for _, f := range m.folder.Facts() {
		switch {
		case f.Verb == fact.Request:
			s := fmt.Sprintf("%s x%d", f.Object, f.Count)
			if f.Elsewhere {
				s += " elsewhere"
			}
			list = append(list, s)
		case f.Unread.Conns > 0:
			unread[f.Object.String()] = fmt.Sprintf("%s x%d", f.Unread.Why, f.Unread.Conns)
		}
	}
	return list, unread
}

const dst = "203.0.113.9:80"

func TestRequestsAreFoldedByMethodAndPathAndNeverByTheQuery(t *testing.T) {
	l := facttest.New("make")
	curl := l.Run(l.Root, "/usr/bin/curl", "curl")
	l.Resolve(curl, "api.example.com", "203.0.113.9")
	for _, path := range []string{"/v1/a", "/v1/a?token=1", "/v1/a?token=2", "/v1/a#b?c", "/v1/a/"} {
		l.Ask(curl, dst, "GET", "api.example.com", path)
	}
	l.Ask(curl, dst, "POST", "API.example.com.:80", "/v1/a")
	got, unread := requests(asked(l))
	want := []string{"GET api.example.com:80/v1/a x4", "GET api.example.com:80/v1/a/ x1", "POST api.example.com:80/v1/a x1"}
	if !slices.Equal(got, want) || len(unread) > 0 {
		t.Errorf("%q, unread %q", got, unread)
	}
	// Without a policy that limits them there are none, and nothing else differs.
	m := newMachine(0)
	for i := range l.Events {
		m.apply(&l.Events[i])
	}
	if got, unread := requests(m); len(got)+len(unread) > 0 {
		t.Errorf("without a limit: %q, %q", got, unread)
	}
}

func TestWhatAConnectionSentBeyondItsRequestsIsUnread(t *testing.T) {
	for _, tt := range []struct {
		name string
		tell func(l *facttest.Log)
		want string
	}{
		{"one request", func(l *facttest.Log) { l.Ask(l.Root, dst, "GET", "203.0.113.9", "/") }, ""},
		{"nothing", func(l *facttest.Log) { l.Send(l.Root, dst, 0) }, ""},
		{"a request that was given up", func(l *facttest.Log) {
			s := l.Connect(l.Root, dst)
			l.Request(l.Root, dst, s, "PUT", "203.0.113.9", "/", 1000)
			l.Flow(l.Root, dst, s, 600, 0, true)
		}, ""},
		{"two requests", func(l *facttest.Log) {
			s := l.Connect(l.Root, dst)
			l.Request(l.Root, dst, s, "GET", "203.0.113.9", "/", 100)
			l.Request(l.Root, dst, s, "GET", "203.0.113.9", "/", 60)
			l.Flow(l.Root, dst, s, 160, 0, true)
		}, ""},
		{"a second one that was not seen", func(l *facttest.Log) {
			s := l.Connect(l.Root, dst)
			l.Request(l.Root, dst, s, "GET", "203.0.113.9", "/", 100)
			l.Flow(l.Root, dst, s, 101, 0, true)
		}, "more was sent on a connection than the requests that were seen x1"},
		{"the same, while it is open", func(l *facttest.Log) {
			s := l.Connect(l.Root, dst)
			l.Request(l.Root, dst, s, "GET", "203.0.113.9", "/", 100)
			l.Flow(l.Root, dst, s, 101, 0, false)
		}, "more was sent on a connection than the requests that were seen x1"},
		{"a chunked body", func(l *facttest.Log) { // 0: its end is not known
			s := l.Connect(l.Root, dst)
			l.Request(l.Root, dst, s, "POST", "203.0.113.9", "/", 0)
			l.Flow(l.Root, dst, s, 100, 0, true)
		}, "where a request ends is not known, so there may be others behind it x1"},
		{"sizes that do not add up", func(l *facttest.Log) {
			s := l.Connect(l.Root, dst)
			l.Request(l.Root, dst, s, "POST", "203.0.113.9", "/", 1<<63)
			l.Request(l.Root, dst, s, "POST", "203.0.113.9", "/", 1<<63)
			l.Flow(l.Root, dst, s, 1000, 0, true)
		}, "where a request ends is not known, so there may be others behind it x1"},
		{"TLS", func(l *facttest.Log) {
			s := l.Connect(l.Root, dst)
			l.Hello(l.Root, dst, s, "a.example")
			l.Flow(l.Root, dst, s, 1000, 0, true)
		}, "the connection was encrypted x1"},
		{"no HTTP/1, twice", func(l *facttest.Log) { l.Send(l.Root, dst, 24); l.Send(l.Root, dst, 24) }, "no request was seen in what was sent: HTTP/2, TLS without a name, or no HTTP x2"},
		{"a request line without an end", func(l *facttest.Log) {
			s := l.Connect(l.Root, dst)
			l.Request(l.Root, dst, s, "GET", "203.0.113.9", "/"+strings.Repeat("a", 8000), 0)
			l.Events[len(l.Events)-1].Detail = event.NotWhole
			l.Flow(l.Root, dst, s, 9000, 0, true)
		}, "a request line was longer than what is read of it x1"},
		{"UDP", func(l *facttest.Log) {
			l.Add(event.Event{Kind: event.Send, Actor: l.Root, Proto: event.ProtoUDP, Dst: addrPort(dst), Sock: 7, Count: 1, Sent: 9})
		}, "requests are read over TCP only x1"},
		{"packets made by hand", func(l *facttest.Log) {
			l.Add(event.Event{Kind: event.Packet, Actor: l.Root, Proto: event.ProtoPacket, Count: 1, Sent: 9})
		}, "requests are read over TCP only x1"},
	} {
		l := facttest.New("make")
		tt.tell(l)
		m := asked(l)
		for range 2 { // to look changes nothing
			_, unread := requests(m)
			got := ""
			for _, why := range unread {
				got = why
			}
			if got != tt.want || len(unread) > 1 {
				t.Errorf("%s: %q, want %q", tt.name, unread, tt.want)
			}
		}
	}
}

// Who says another name on the connection, to which more is granted, leaves the
// first one unread all the same.
func TestAnotherNameOnTheConnectionDoesNotHideWhatWasNotRead(t *testing.T) {
	l := facttest.New("make")
	l.Resolve(l.Root, "limited.example", "203.0.113.9")
	l.Resolve(l.Root, "free.example", "203.0.113.9")
	s := l.Connect(l.Root, dst)
	l.Request(l.Root, dst, s, "GET", "limited.example", "/", 100)
	l.Request(l.Root, dst, s, "GET", "free.example", "/", 100)
	l.Flow(l.Root, dst, s, 500, 0, true)
	m := newMachine(0)
	m.folder.Requests = func(f *fact.Fact) bool { return f.Verb == fact.Connect && f.Host.Is("limited.example") }
	for i := range l.Events {
		m.apply(&l.Events[i])
	}
	got, unread := requests(m)
	if !slices.Equal(got, []string{"GET limited.example:80/ x1"}) || unread["limited.example:80"] == "" || len(unread) != 1 {
		t.Errorf("%q, unread %q", got, unread)
	}
}

func TestARequestForAnotherHostSaysSo(t *testing.T) {
	for _, tt := range []struct {
		resolved, dst, host string
		elsewhere           bool
	}{
		{"api.example.com", dst, "api.example.com", false},
		{"api.example.com", dst, "api.example.com:80", false},
		{"api.example.com", dst, "other.example", true},
		{"api.example.com", dst, "203.0.113.9", true},
		{"api.example.com", dst, "", true},
		{"", dst, "203.0.113.9:80", false},
		{"", dst, "203.0.113.8", true},
		{"", "[2001:db8::1]:80", "[2001:db8::1]", false},
		{"", "[2001:db8::1]:80", "[2001:db8::1]:80", false},
		{"", "[2001:db8::1]:80", "[2001:db8::2]:80", true},
		{"", "127.0.0.1:80", "localhost:80", false},
		{"", "127.0.0.1:80", "bucket.localhost", false},
		{"", "127.0.0.1:80", "[::1]", false},
		{"", "127.0.0.1:80", "127.0.0.2:80", false},
		{"", "127.0.0.1:80", "notlocalhost", true},
		{"", "127.0.0.1:80", "proxied.example", true},
		{"", dst, "localhost", true},
	} {
		l := facttest.New("make")
		// An answer was seen, so that a name that is only said is not believed.
		l.Resolve(l.Root, "unrelated.example", "203.0.113.77")
		if tt.resolved != "" {
			l.Resolve(l.Root, tt.resolved, "203.0.113.9")
		}
		l.Ask(l.Root, tt.dst, "GET", tt.host, "/")
		got, _ := requests(asked(l))
		if len(got) != 1 || strings.HasSuffix(got[0], " elsewhere") != tt.elsewhere {
			t.Errorf("%q at %s (%s): %q", tt.host, tt.dst, tt.resolved, got)
		}
	}
	l := facttest.New("make")
	l.Ask(l.Root, dst, "GET", "203.0.113.9", "/")
	for i := range l.Events {
		if l.Events[i].Kind == event.HTTP {
			l.Events[i].Detail = event.TwoHosts
		}
	}
	if got, _ := requests(asked(l)); len(got) != 1 || !strings.HasSuffix(got[0], " elsewhere") {
		t.Errorf("two hosts: %q", got)
	}
}

func TestRequestsAreBoundedAndWhatIsLeftOutIsCounted(t *testing.T) {
	l := facttest.New("make")
	s := l.Connect(l.Root, dst)
	const limit, all = 50, 200
	for i := range all {
		l.Request(l.Root, dst, s, "GET", "203.0.113.9", fmt.Sprintf("/%d/%s", i, strings.Repeat("x", 5000)), 100)
	}
	m := newMachine(limit)
	m.folder.Requests = func(f *fact.Fact) bool { return f.Verb == fact.Connect }
	for i := range l.Events {
		m.apply(&l.Events[i])
	}
	got, _ := requests(m)
	left := m.folder.LeftOut()
	if len(got) != limit || len(left) != 1 || left[0].Verb != fact.Request || left[0].Count != all-limit {
		t.Errorf("%d requests, left out %+v", len(got), left)
	}
	for _, r := range got {
		if len(r) > 1100 || !strings.Contains(r, "[cut]") {
			t.Fatalf("%d bytes: %.60q", len(r), r)
		}
	}
}

func TestAKnownRequestCostsNoMemory(t *testing.T) {
	l := facttest.New("make")
	s := l.Connect(l.Root, dst)
	l.Request(l.Root, dst, s, "GET", "203.0.113.9", "/v1/a?b", 100)
	m := asked(l)
	ev := l.Events[len(l.Events)-1]
	if n := testing.AllocsPerRun(100, func() { m.apply(&ev) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
