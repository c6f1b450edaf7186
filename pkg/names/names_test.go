package names

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/process"
	"github.com/org/edamame-posture/pkg/redact"
)

// text makes a text as reading a log does.
func text(s string) redact.Text {
	var t redact.Text
	if err := t.UnmarshalJSON(fmt.Appendf(nil, "%q", s)); err != nil {
		panic(err)
	}
	return t
}

func actor(pid uint32) event.Actor { return event.Actor{PID: pid, Start: int64(pid) + 1, Image: 1} }

// script applies lines such as
//
//	fork 11 10
//	dns 10 q.example = q.example/cname/edge.example edge.example/a/192.0.2.1
//	dns@192.0.2.53 10 q.example = ...   (by that resolver)
//	dns@127.0.0.53:5300 10 q.example = ...
//	unasked 10 q.example = ...          (an answer without a question)
//	wait 10 61                          (seconds pass)
//	sni 10 7 192.0.2.1 q.example        (on socket 7)
//	http 10 7 192.0.2.1 q.example:8080
type script struct {
	table *Table
	tree  *process.Tree
	seq   uint64
	now   int64
}

func newScript(limit int) *script {
	s := &script{table: New(limit), tree: process.NewTree(100)}
	s.table.SetTree(s.tree)
	return s
}

func (s *script) run(lines string) {
	for line := range strings.Lines(lines) {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		s.seq++
		ev := event.Event{Seq: s.seq, Time: s.now}
		num := func(i int) uint32 {
			var n uint32
			if _, err := fmt.Sscan(f[i], &n); err != nil {
				panic(err)
			}
			return n
		}
		ev.Actor = actor(num(1))
		verb, resolver, _ := strings.Cut(f[0], "@")
		if resolver == "" {
			resolver = "127.0.0.53"
		}
		switch verb {
		case "wait":
			s.now += int64(num(2)) * 1e9
			continue
		case "fork":
			ev.Kind = event.Fork
			ev.Actor.Image = 0
			ev.Parent = actor(num(2))
		case "dns", "refused", "unasked":
			ev.Kind, ev.OK, ev.Name = event.DNS, true, text(f[2])
			if verb == "refused" {
				ev.RCode = 5
			}
			if verb == "unasked" {
				ev.Detail = text("unasked")
			}
			if !strings.Contains(resolver, ":") {
				resolver += ":53"
			}
			ev.Dst = netip.MustParseAddrPort(resolver)
			for _, a := range f[4:] {
				p := strings.Split(a, "/")
				r := event.Answer{Name: text(p[0])}
				switch p[1] {
				case "a", "aaaa", "https":
					r.Type = map[string]uint16{"a": 1, "aaaa": 28, "https": 65}[p[1]]
					r.Addr = netip.MustParseAddr(p[2])
				case "cname":
					r.Type, r.Target = 5, text(p[2])
				case "service": // an HTTPS record without hints
					r.Type, r.Target = 65, text(p[2])
				}
				ev.Answers = append(ev.Answers, r)
			}
		case "sni", "http":
			ev.Kind = map[string]event.Kind{"sni": event.TLS, "http": event.HTTP}[verb]
			ev.Sock = uint64(num(2))
			ev.Dst = netip.AddrPortFrom(netip.MustParseAddr(f[3]), 443)
			ev.Name = text(f[4])
		}
		s.tree.Apply(&ev)
		s.table.Apply(&ev)
	}
}

func (n Name) line() string {
	out := n.How.String()
	if !n.Name.IsZero() {
		out += " " + n.Name.String()
	}
	if n.Backed {
		out += " backed"
	}
	if !n.Other.IsZero() {
		out += " not " + n.Other.String()
	}
	return out
}

func TestLookup(t *testing.T) {
	tests := []struct {
		name, said string
		pid        uint32
		addr       string
		sock       uint64
		want       string
	}{
		{"an address that nobody named", ``, 10, "192.0.2.1", 0, "literal"},
		{"an answer", `dns 10 a.example = a.example/a/192.0.2.1`, 10, "192.0.2.1", 0, "dns a.example backed"},
		{"case and the final dot do not matter", `dns 10 A.Example. = a.EXAMPLE/a/192.0.2.1`, 10, "192.0.2.1", 0, "dns a.example backed"},
		{"an answer with IPv6", `dns 10 a.example = a.example/aaaa/2001:db8::1`, 10, "2001:db8::1", 0, "dns a.example backed"},
		{"a mapped address is the address", `dns 10 a.example = a.example/a/192.0.2.1`, 10, "::ffff:192.0.2.1", 0, "dns a.example backed"},
		{"aliases lead back to the question", `dns 10 a.example = a.example/cname/b.example b.example/cname/c.example c.example/a/192.0.2.1`, 10, "192.0.2.1", 0, "dns a.example backed"},
		{"the hint of an HTTPS record", `dns 10 a.example = a.example/https/192.0.2.1`, 10, "192.0.2.1", 0, "dns a.example backed"},
		{"the hint of an HTTPS record behind an alias", `dns 10 a.example = a.example/cname/b.example b.example/https/2001:db8::1`, 10, "2001:db8::1", 0, "dns a.example backed"},
		{"the hint of another name's HTTPS record", `dns 10 evil.example = good.example/https/192.0.2.1`, 10, "192.0.2.1", 0, "literal"},
		{"aliases in another order", `dns 10 a.example = c.example/a/192.0.2.1 b.example/cname/c.example a.example/cname/b.example`, 10, "192.0.2.1", 0, "dns a.example backed"},
		{"aliases in a circle", `dns 10 a.example = a.example/cname/b.example b.example/cname/a.example b.example/a/192.0.2.1`, 10, "192.0.2.1", 0, "dns a.example backed"},
		{"a record about another name is not believed", `dns 10 evil.example = good.example/a/192.0.2.1 evil.example/a/192.0.2.2`, 10, "192.0.2.1", 0, "literal"},
		{"an answer that is an error", `refused 10 a.example = a.example/a/192.0.2.1`, 10, "192.0.2.1", 0, "literal"},
		{"the latest of two names", "dns 10 a.example = a.example/a/192.0.2.1\ndns 10 b.example = b.example/a/192.0.2.1", 10, "192.0.2.1", 0, "dns b.example backed"},
		{"a repeated answer is the latest again", "dns 10 a.example = a.example/a/192.0.2.1\ndns 10 b.example = b.example/a/192.0.2.1\ndns 10 a.example = a.example/a/192.0.2.1", 10, "192.0.2.1", 0, "dns a.example backed"},
		{"one's own answer before a stranger's", "dns 10 a.example = a.example/a/192.0.2.1\ndns 99 b.example = b.example/a/192.0.2.1", 10, "192.0.2.1", 0, "dns a.example backed"},
		{"a stranger's answer before none", `dns 99 b.example = b.example/a/192.0.2.1`, 10, "192.0.2.1", 0, "dns b.example backed"},
		{"the parent's answer before a stranger's", "fork 11 10\ndns 10 a.example = a.example/a/192.0.2.1\ndns 99 b.example = b.example/a/192.0.2.1", 11, "192.0.2.1", 0, "dns a.example backed"},
		{"a child's answer before a stranger's", "fork 11 10\ndns 11 a.example = a.example/a/192.0.2.1\ndns 99 b.example = b.example/a/192.0.2.1", 10, "192.0.2.1", 0, "dns a.example backed"},
		{"the server name of the socket", "dns 10 a.example = a.example/a/192.0.2.1\nsni 10 7 192.0.2.1 a.example", 10, "192.0.2.1", 7, "sni a.example backed"},
		{"a server name that the resolver does not know", "dns 10 evil.example = evil.example/a/192.0.2.1\nsni 10 7 192.0.2.1 good.example", 10, "192.0.2.1", 7, "sni good.example not evil.example"},
		{"a server name for a literal address", `sni 10 7 192.0.2.1 good.example`, 10, "192.0.2.1", 7, "sni good.example"},
		{"a server name that another process resolved", "dns 99 a.example = a.example/a/192.0.2.1\nsni 10 7 192.0.2.1 a.example", 10, "192.0.2.1", 7, "sni a.example backed"},
		{"another socket's server name", `sni 10 7 192.0.2.1 a.example`, 10, "192.0.2.1", 8, "literal"},
		{"a socket's number that is used again", "sni 10 7 192.0.2.1 a.example", 10, "192.0.2.2", 7, "literal"},
		{"a request inside TLS tells more than its server name", "sni 10 7 192.0.2.1 front.example\nhttp 10 7 192.0.2.1 behind.example", 10, "192.0.2.1", 7, "http behind.example"},
		{"a server name after a request changes nothing", "http 10 7 192.0.2.1 behind.example\nsni 10 7 192.0.2.1 front.example", 10, "192.0.2.1", 7, "http behind.example"},
		{"the port of a request's host", `http 10 7 192.0.2.1 a.example:8080`, 10, "192.0.2.1", 7, "http a.example"},
		{"a request's host that is an address", `http 10 7 192.0.2.1 192.0.2.1:8080`, 10, "192.0.2.1", 7, "literal"},
		{"a request's host that is an IPv6 address", `http 10 7 2001:db8::1 [2001:db8::1]:80`, 10, "2001:db8::1", 7, "literal"},
		{"sockets not known", `sni 10 0 192.0.2.1 a.example`, 10, "192.0.2.1", 0, "sni a.example"},
		{"sockets not known, another process", `sni 10 0 192.0.2.1 a.example`, 11, "192.0.2.1", 0, "literal"},
		{"loopback has no name", "dns 10 a.example = a.example/a/127.0.0.1\nsni 10 7 127.0.0.1 a.example", 10, "127.0.0.1", 7, "loopback"},
		{"loopback in disguise", ``, 10, "::ffff:127.0.0.2", 0, "loopback"},
		{"the unspecified address is this machine", ``, 10, "0.0.0.0", 0, "loopback"},
		{"no address at all", ``, 10, "", 0, "literal"},
		{"hosts", ``, 10, "198.51.100.1", 0, "hosts registry.internal backed"},
		{"hosts, by its second name", `sni 10 7 198.51.100.1 mirror.internal`, 10, "198.51.100.1", 7, "sni mirror.internal backed not registry.internal"},
		{"hosts before a stranger's answer", `dns 99 b.example = b.example/a/198.51.100.1`, 10, "198.51.100.1", 0, "hosts registry.internal backed"},
		{"one's own answer before hosts", `dns 10 b.example = b.example/a/198.51.100.1`, 10, "198.51.100.1", 0, "dns b.example backed"},
		{"a resolver of the job's own", `dns@192.0.2.53 10 good.example = good.example/a/192.0.2.1`, 10, "192.0.2.1", 0, "claimed-dns good.example"},
		{"a configured resolver before it", "dns 99 evil.example = evil.example/a/192.0.2.1\ndns@192.0.2.53 10 good.example = good.example/a/192.0.2.1", 10, "192.0.2.1", 0, "dns evil.example backed"},
		{"the resolver's address with another port", `dns@127.0.0.53:5300 10 good.example = good.example/a/192.0.2.1`, 10, "192.0.2.1", 0, "claimed-dns good.example"},
		{"an answer that nobody asked for", `unasked 10 good.example = good.example/a/192.0.2.1`, 10, "192.0.2.1", 0, "claimed-dns good.example"},
		{"a true answer before it", "dns 10 evil.example = evil.example/a/192.0.2.1\nunasked 10 good.example = good.example/a/192.0.2.1", 10, "192.0.2.1", 0, "dns evil.example backed"},
		{"it backs nothing either", "unasked 10 good.example = good.example/a/192.0.2.1\nsni 10 7 192.0.2.1 good.example", 10, "192.0.2.1", 7, "sni good.example"},
		{"an alias that the next answer ends", "dns 10 a.example = a.example/cname/b.example\ndns 10 b.example = b.example/a/192.0.2.1", 10, "192.0.2.1", 0, "dns a.example backed"},
		{"the target of that alias is a name of the address too", "dns 10 a.example = a.example/cname/b.example\ndns 10 b.example = b.example/a/192.0.2.1\nsni 10 7 192.0.2.1 b.example", 10, "192.0.2.1", 7, "sni b.example backed not a.example"},
		{"aliases over three answers", "dns 10 a.example = a.example/cname/b.example b.example/cname/c.example\ndns 10 c.example = c.example/cname/d.example\ndns 10 d.example = d.example/cname/e.example e.example/aaaa/2001:db8::1", 10, "2001:db8::1", 0, "dns a.example backed"},
		{"two names with one alias, the server name tells which", "dns 10 a.example = a.example/cname/b.example\ndns 10 c.example = c.example/cname/b.example\ndns 10 b.example = b.example/a/192.0.2.1\nsni 10 7 192.0.2.1 a.example", 10, "192.0.2.1", 7, "sni a.example backed not c.example"},
		{"an alias that the child asks on for", "fork 11 10\ndns 10 a.example = a.example/cname/b.example\ndns 11 b.example = b.example/a/192.0.2.1", 11, "192.0.2.1", 0, "dns a.example backed"},
		{"an alias that a stranger was told", "dns 99 a.example = a.example/cname/b.example\ndns 10 b.example = b.example/a/192.0.2.1", 10, "192.0.2.1", 0, "dns b.example backed"},
		{"an alias within its minute", "dns 10 a.example = a.example/cname/b.example\nwait 10 60\ndns 10 b.example = b.example/a/192.0.2.1", 10, "192.0.2.1", 0, "dns a.example backed"},
		{"an alias of long ago", "dns 10 a.example = a.example/cname/b.example\nwait 10 61\ndns 10 b.example = b.example/a/192.0.2.1", 10, "192.0.2.1", 0, "dns b.example backed"},
		{"a target asked for before its alias was told", "dns 10 b.example = b.example/a/192.0.2.1\ndns 10 a.example = a.example/cname/b.example", 10, "192.0.2.1", 0, "dns b.example backed"},
		{"an alias claimed, an address believed", "dns@192.0.2.53 10 good.example = good.example/cname/evil.example\ndns 10 evil.example = evil.example/a/192.0.2.1", 10, "192.0.2.1", 0, "dns evil.example backed"},
		{"a claimed alias backs no server name", "dns@192.0.2.53 10 good.example = good.example/cname/evil.example\ndns 10 evil.example = evil.example/a/192.0.2.1\nsni 10 7 192.0.2.1 good.example", 10, "192.0.2.1", 7, "sni good.example not evil.example"},
		{"a claim in the middle of a chain", "dns 10 a.example = a.example/cname/b.example\nunasked 10 b.example = b.example/cname/c.example\ndns 10 c.example = c.example/a/192.0.2.1\nsni 10 7 192.0.2.1 a.example", 10, "192.0.2.1", 7, "sni a.example not c.example"},
		{"an alias believed, an address claimed", "dns 10 good.example = good.example/cname/b.example\nunasked 10 b.example = b.example/a/192.0.2.1", 10, "192.0.2.1", 0, "claimed-dns good.example"},
		{"another name's alias in an answer is not believed", "dns 10 evil.example = good.example/cname/b.example\ndns 10 b.example = b.example/a/192.0.2.1", 10, "192.0.2.1", 0, "dns b.example backed"},
		{"aliases in a circle over two answers", "dns 10 a.example = a.example/cname/b.example\ndns 10 b.example = b.example/cname/a.example\ndns 10 a.example = a.example/a/192.0.2.1", 10, "192.0.2.1", 0, "dns b.example backed"},
		{"an alias that is its own target", "dns 10 a.example = a.example/cname/a.example\ndns 10 a.example = a.example/a/192.0.2.1", 10, "192.0.2.1", 0, "dns a.example backed"},
		{"an HTTPS record that names another host", "dns 10 a.example = a.example/service/edge.example\ndns 10 edge.example = edge.example/a/192.0.2.1", 10, "192.0.2.1", 0, "dns a.example backed"},
		{"an HTTPS record that names its own host", "dns 10 a.example = a.example/service/.\ndns 10 a.example = a.example/a/192.0.2.1", 10, "192.0.2.1", 0, "dns a.example backed"},
		{"it backs nothing", "dns@192.0.2.53 10 good.example = good.example/a/192.0.2.1\nsni 10 7 192.0.2.1 good.example", 10, "192.0.2.1", 7, "sni good.example"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newScript(100)
			s.table.AddResolver(netip.MustParseAddr("127.0.0.53"))
			s.table.AddHosts(netip.MustParseAddr("198.51.100.1"), text("Registry.internal"))
			s.table.AddHosts(netip.MustParseAddr("198.51.100.1"), text("mirror.internal"))
			s.run(tt.said)
			var addr netip.Addr
			if tt.addr != "" {
				addr = netip.MustParseAddr(tt.addr)
			}
			s.tree.Apply(&event.Event{Kind: event.Connect, Actor: actor(tt.pid)})
			if got := s.table.Lookup(actor(tt.pid), addr, tt.sock).line(); got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
			verify(t, s.table)
		})
	}
}

func TestWithoutConfiguredResolversEveryAnswerCounts(t *testing.T) {
	s := newScript(100)
	s.run(`dns@192.0.2.53 10 a.example = a.example/a/192.0.2.1`)
	if got := s.table.Lookup(actor(10), netip.MustParseAddr("192.0.2.1"), 0); got.How != DNS || got.Leaf != 1 {
		t.Errorf("%+v", got)
	}
}

// verify fails where the table's links contradict each other.
func verify(tb testing.TB, t *Table) {
	tb.Helper()
	used := 0
	for i := range t.ring {
		if t.ring[i].used {
			used++
		}
	}
	seen := 0
	for addr, at := range t.addrs {
		newer := int32(0)
		for i := at; i != 0; i = t.ring[i-1].older {
			c := &t.ring[i-1]
			if seen++; seen > used || !c.used || c.addr != addr || c.newer != newer {
				tb.Fatalf("%v: a wrong claim %+v", addr, c)
			}
			newer = i
		}
	}
	if seen != used || used > t.limit {
		tb.Fatalf("%d claims are linked, %d used, limit %d", seen, used, t.limit)
	}
	for sock, at := range t.socks {
		if c := &t.ring[at-1]; !c.used || c.sock != sock {
			tb.Fatalf("socket %d: a wrong claim %+v", sock, c)
		}
	}
}

func TestAFullTableForgetsTheOldestAndCountsIt(t *testing.T) {
	s := newScript(16)
	for i := range 40 {
		s.run(fmt.Sprintf("dns 10 n%d.example = n%d.example/a/192.0.2.%d", i, i, i))
		s.run(fmt.Sprintf("sni 10 %d 192.0.2.%d n%d.example", i+1, i, i))
	}
	verify(t, s.table)
	if s.table.Evicted() != 80-16 {
		t.Errorf("%d were forgotten", s.table.Evicted())
	}
	if got := s.table.Lookup(actor(10), netip.MustParseAddr("192.0.2.1"), 2).How; got != Literal {
		t.Errorf("the oldest is %v", got)
	}
	if got := s.table.Lookup(actor(10), netip.MustParseAddr("192.0.2.39"), 40).line(); got != "sni n39.example backed" {
		t.Errorf("the latest is %v", got)
	}
}

func TestAskingTheSameAgainPushesNothingOut(t *testing.T) {
	s := newScript(16)
	s.run(`dns 10 a.example = a.example/a/192.0.2.1`)
	for range 8 {
		s.run(`dns 10 b.example = b.example/a/192.0.2.2`)
	}
	if s.table.Evicted() != 0 {
		t.Errorf("%d were forgotten", s.table.Evicted())
	}
	verify(t, s.table)
}

// chain has pid 10 told one alias an answer, from n0.example on.
func chain(s *script, links int) {
	for i := range links {
		s.run(fmt.Sprintf("dns 10 n%d.example = n%d.example/cname/n%d.example", i, i, i+1))
	}
	s.run(fmt.Sprintf("dns 10 n%d.example = n%d.example/a/192.0.2.1", links, links))
}

func TestAChainOfAliasesOverAnswersIsFollowedUpToItsBound(t *testing.T) {
	for links := 1; links < 3*maxChain; links++ {
		s := newScript(1000)
		chain(s, links)
		got := s.table.Lookup(actor(10), netip.MustParseAddr("192.0.2.1"), 0)
		if first := "n0.example"; (got.Name.String() == first) != (links < maxChain) || got.How != DNS {
			t.Errorf("%d links: %s", links, got.line())
		}
		verify(t, s.table)
	}
}

func TestAliasesThatWaitAreBoundedAndTheLatestStand(t *testing.T) {
	s := newScript(1000)
	for i := range 3 * maxAliases {
		s.run(fmt.Sprintf("dns 10 a%d.example = a%d.example/cname/b%d.example", i, i, i))
		if i%3 == 0 { // many names of one target
			s.run(fmt.Sprintf("dns 10 c%d.example = c%d.example/cname/b.example", i, i))
		}
	}
	counted := 0
	for _, n := range s.table.aliases.count {
		counted += n
	}
	if len(s.table.aliases.ring) != maxAliases || counted != maxAliases || len(s.table.aliases.count) > maxAliases {
		t.Errorf("%d aliases wait, %d are counted for %d targets", len(s.table.aliases.ring), counted, len(s.table.aliases.count))
	}
	last := 3*maxAliases - 1
	s.run(fmt.Sprintf("dns 10 b%d.example = b%d.example/a/192.0.2.1\ndns 10 b0.example = b0.example/a/192.0.2.2\ndns 10 b.example = b.example/a/192.0.2.3", last, last))
	for addr, want := range map[string]string{
		"192.0.2.1": fmt.Sprintf("dns a%d.example backed", last),
		"192.0.2.2": "dns b0.example backed",
		"192.0.2.3": fmt.Sprintf("dns c%d.example backed", last/3*3),
	} {
		if got := s.table.Lookup(actor(10), netip.MustParseAddr(addr), 0).line(); got != want {
			t.Errorf("%s: %s, want %s", addr, got, want)
		}
	}
}

func TestLookupAllocatesNothing(t *testing.T) {
	s := newScript(100)
	s.run("fork 11 10\ndns 10 a.example = a.example/a/192.0.2.1\nsni 11 7 192.0.2.1 a.example")
	addr := netip.MustParseAddr("192.0.2.1")
	if n := testing.AllocsPerRun(1000, func() {
		if s.table.Lookup(actor(11), addr, 7).How != SNI || s.table.Lookup(actor(11), addr, 8).How != DNS {
			t.Fatal("another name")
		}
	}); n != 0 {
		t.Errorf("a look-up allocates %v times", n)
	}
	ev := event.Event{Kind: event.TLS, Actor: actor(11), Sock: 7, Name: text("a.example"), Dst: netip.AddrPortFrom(addr, 443)}
	if n := testing.AllocsPerRun(1000, func() { s.table.Apply(&ev) }); n != 0 {
		t.Errorf("a repeated name allocates %v times", n)
	}
}

func FuzzTable(f *testing.F) {
	f.Add([]byte(`{"seq":1,"time":1,"kind":"dns","actor":{"pid":1,"start":1},"dst":"192.0.2.53:53","ok":true,"name":"a.example","answers":[{"name":"a.example","type":5,"target":"b.example"},{"name":"b.example","type":1,"addr":"192.0.2.1"}]}
{"seq":2,"time":2,"kind":"tls","actor":{"pid":1,"start":1},"dst":"192.0.2.1:443","sock":7,"name":"A.example."}
{"seq":3,"time":3,"kind":"http","actor":{"pid":1,"start":1},"dst":"192.0.2.1:443","sock":7,"name":"[::1]:80"}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		table := New(0)
		for line := range bytes.Lines(in) {
			var ev event.Event
			if event.Decode(bytes.TrimRight(line, "\n"), &ev) != nil {
				continue
			}
			table.Apply(&ev)
			n := table.Lookup(ev.Actor, ev.Dst.Addr(), ev.Sock)
			if n.Name != Canonical(n.Name) {
				t.Errorf("%q is not canonical", n.Name)
			}
			if n.Name.IsZero() != (n.How == Literal || n.How == Loopback) {
				t.Errorf("%+v", n)
			}
		}
		verify(t, table)
	})
}

func FuzzRing(f *testing.F) {
	f.Add([]byte{1, 2, 3, 4, 5, 6, 7, 8})
	f.Fuzz(func(t *testing.T, in []byte) {
		table := New(16)
		all := []redact.Text{text("a"), text("b"), text("c")}
		for i := 0; i+2 < len(in); i += 3 {
			table.add(claim{addr: netip.AddrFrom4([4]byte{192, 0, 2, in[i] % 4}), name: all[in[i+1]%3], asker: actor(uint32(in[i+1] >> 6)), how: DNS + How(in[i+2]%4), sock: uint64(in[i+2] >> 5)})
			verify(t, table)
		}
	})
}

// dearAnswer is Table.answered as it is meant: every claim is asked whose it
// was, by walks up the tree from both sides.
func dearAnswer(t *Table, actor event.Actor, dst netip.Addr) (best *claim, rank int) {
	cameFrom := func(a, b event.Actor) bool {
		n := t.tree.Get(a)
		for i := 0; n != nil && i < maxClimb; i++ {
			if sameProcess(n.Actor, b) {
				return true
			}
			n = n.Parent
		}
		return false
	}
	for i, n := t.addrs[dst], 0; i != 0 && n < maxPerAddr; n++ {
		c := &t.ring[i-1]
		kin := sameProcess(c.asker, actor) || cameFrom(c.asker, actor) || cameFrom(actor, c.asker)
		r := map[How]map[bool]int{DNS: {true: own, false: others}, ClaimedDNS: {true: ownClaimed, false: othersClaimed}}[c.how][kin]
		if r > rank {
			best, rank = c, r
		}
		i = c.older
	}
	return best, rank
}

// What a look-up spares itself changes no answer, also in a tree too small for
// what it is told.
func TestTheShortWayGivesTheSameAnswerAsTheDearOne(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	kin := 0
	for _, limit := range []int{16, 4096} {
		s := newScript(200)
		s.tree = process.NewTree(limit)
		s.table.SetTree(s.tree)
		s.table.AddResolver(netip.MustParseAddr("127.0.0.53"))
		addr := func() string { return fmt.Sprintf("192.0.2.%d", r.IntN(4)) }
		for i := range 4000 {
			a := uint32(10 + r.IntN(60))
			switch r.IntN(6) {
			case 0, 1:
				s.run(fmt.Sprintf("fork %d %d", a, 10+r.IntN(60)))
			case 2:
				s.tree.Apply(&event.Event{Kind: event.Exec, Time: int64(i), Actor: event.Actor{PID: actor(a).PID, Start: actor(a).Start, Image: uint32(r.IntN(4))}})
			case 3:
				s.tree.Apply(&event.Event{Kind: event.Exit, Time: int64(i), Actor: actor(a)})
			case 4:
				s.run(fmt.Sprintf("dns %d h%d.example = h%[2]d.example/a/%s", a, r.IntN(9), addr()))
			case 5:
				s.run(fmt.Sprintf("dns@198.51.100.1 %d h%d.example = h%[2]d.example/a/%s", a, r.IntN(9), addr()))
			}
			who, dst := actor(uint32(10+r.IntN(60))), netip.MustParseAddr(addr())
			who.Image = uint32(r.IntN(3))
			got, ok := s.table.answered(who, dst)
			want, rank := dearAnswer(s.table, who, dst)
			if ok != (want != nil) || ok && (got.Name != want.name || got.How != want.how || got.Leaf != want.leaf) {
				t.Fatalf("limit %d, step %d: %+v, want %+v", limit, i, got, want)
			}
			if rank == own && !sameProcess(want.asker, who) {
				kin++
			}
		}
	}
	if kin < 500 {
		t.Errorf("only %d answers were another process's", kin)
	}
}
