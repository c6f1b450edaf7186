// Package names keeps which name an address had, and how we know.
//
// Events tell addresses; people and policies speak of hosts. A [Table] takes
// in what was said about names in the log (DNS answers, the server name of a
// TLS handshake, the Host of an HTTP request) and answers what an address was
// called when a process sent to it. It is made from the log alone: no clock,
// no resolver.
//
// No name is proof of who was reached. A server name is what the client chose
// to say; [Name.Backed] tells whether a resolver agrees.
package names

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/process"
	"github.com/org/edamame-posture/pkg/redact"
)

// How says how a name is known.
type How uint8

// Ways to know a name.
const (
	Literal    How = iota // no name: the address was used as it is
	Loopback              // no name: the address is this machine's own
	Hosts                 // an entry of /etc/hosts
	DNS                   // an answer of a configured resolver
	ClaimedDNS            // an answer of some other resolver, which may be the job's own, or one that nobody asked for
	SNI                   // the client's TLS server name on this very socket
	HTTP                  // the host of a request on this very socket

	howCount
)

var howWords = [howCount]redact.Text{
	redact.Const("literal"), redact.Const("loopback"), redact.Const("hosts"), redact.Const("dns"),
	redact.Const("claimed-dns"), redact.Const("sni"), redact.Const("http"),
}

// Text returns the word that stands in facts.
func (h How) Text() redact.Text {
	if h < howCount {
		return howWords[h]
	}
	return howWords[Literal]
}

// String is Text as a string.
func (h How) String() string { return h.Text().String() }

// Name is what an address was called.
type Name struct {
	// Name is the host in its canonical form, empty for Literal and Loopback.
	Name redact.Text
	How  How
	// Backed says that an answer of a configured resolver, or /etc/hosts, gave
	// this name to the address. An SNI or HTTP name that is not backed may
	// have been chosen to look like another host.
	Backed bool
	// Other is the name that the resolver gave, where SNI or HTTP say another.
	Other redact.Text
	// Leaf is the Seq of the event that told the name.
	Leaf uint64
}

// Canonical returns a host in the form in which names are compared: lower
// case, no final dot.
func Canonical(host redact.Text) redact.Text {
	for host.HasSuffix(".") {
		host = host.TrimSuffix(".")
	}
	return host.Lower()
}

// claim is one name that was given to one address, or one socket.
type claim struct {
	addr  netip.Addr
	sock  uint64 // for claims on a socket
	name  redact.Text
	asker event.Actor
	leaf  uint64
	how   How
	// newer and older are the places of the address's other claims, plus 1.
	newer, older int32
	used         bool
}

// maxPerAddr bounds how many claims on one address a look-up reads.
const maxPerAddr = 256

// Table knows the names of addresses. It is bounded; when it is full the
// oldest claim is forgotten and counted.
type Table struct {
	ring      []claim
	next      int
	limit     int
	addrs     map[netip.Addr]int32 // the latest claim, plus 1
	socks     map[uint64]int32
	hosts     map[netip.Addr][]redact.Text
	entries   int
	resolvers map[netip.Addr]bool
	tree      *process.Tree
	evicted   uint64
	chain     []redact.Text
	aliases   aliases
	first     []alias
}

// New returns an empty table that remembers at most limit claims, at least 16.
func New(limit int) *Table {
	limit = min(max(limit, 16), 1<<30)
	return &Table{limit: limit, addrs: make(map[netip.Addr]int32), socks: make(map[uint64]int32)}
}

// SetTree lets look-ups prefer an answer that an ancestor or a descendant of
// the asker got. Without it only the process's own answers are preferred.
func (t *Table) SetTree(tree *process.Tree) { t.tree = tree }

// AddResolver names a configured resolver. Once one is named, an answer from
// any other address is [ClaimedDNS]; before, every answer is [DNS]. One of
// another port than 53 is a claim in any case.
func (t *Table) AddResolver(addr netip.Addr) {
	if t.resolvers == nil {
		t.resolvers = make(map[netip.Addr]bool)
	}
	t.resolvers[plain(addr)] = true
}

// DropResolver takes back what AddResolver said: answers from there are
// claims from now on.
func (t *Table) DropResolver(addr netip.Addr) {
	if t.resolvers != nil {
		delete(t.resolvers, plain(addr))
	}
}

// AddHosts takes in an entry of /etc/hosts. Of several names of one
// address the first is the one that it is called.
func (t *Table) AddHosts(addr netip.Addr, name redact.Text) {
	if t.hosts == nil {
		t.hosts = make(map[netip.Addr][]redact.Text)
	}
	addr, name = plain(addr), Canonical(name)
	if !addr.IsValid() || name.IsZero() || slices.Contains(t.hosts[addr], name) {
		return
	}
	if t.entries >= t.limit || len(t.hosts[addr]) >= maxRepeat {
		t.evicted++
		return
	}
	t.entries++
	t.hosts[addr] = append(t.hosts[addr], name)
}

// Evicted returns how many claims were forgotten because the table was full.
func (t *Table) Evicted() uint64 { return t.evicted }

func plain(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }

// Apply takes in what an event says about names. Events of other kinds change
// nothing.
func (t *Table) Apply(ev *event.Event) {
	switch ev.Kind {
	case event.DNS:
		if ev.OK && ev.RCode == 0 && !ev.Name.IsZero() {
			t.answer(ev)
		}
	case event.TLS:
		t.said(ev, SNI)
	case event.HTTP:
		t.said(ev, HTTP)
	}
}

// unasked is the detail of an answer that nobody had asked for on its socket:
// anyone may send one in a resolver's name.
var unasked = redact.Const("unasked")

// answer takes in the addresses that the question's name leads to. Records
// about other names are what a hostile resolver would add, and are not read.
// Where the name is the target of an alias that an answer before ended in, the
// addresses are also those of the name that was asked for at first.
func (t *Table) answer(ev *event.Event) {
	how := DNS
	if ev.Detail == unasked || ev.Dst.Port() != 53 || t.resolvers != nil && !t.resolvers[plain(ev.Dst.Addr())] {
		how = ClaimedDNS
	}
	name := Canonical(ev.Name)
	t.chain = append(t.chain[:0], name)
	for i := 0; i < len(t.chain) && len(t.chain) < maxChain; i++ {
		for _, a := range ev.Answers {
			if a.Type == typeCNAME && len(t.chain) < maxChain && Canonical(a.Name) == t.chain[i] && !t.inChain(Canonical(a.Target)) {
				t.chain = append(t.chain, Canonical(a.Target))
			}
		}
	}
	t.first = t.leading(t.first, name, ev.Actor, ev.Time)
	addressed := false
	for _, a := range ev.Answers {
		if (a.Type == typeA || a.Type == typeAAAA || a.Type == typeHTTPS) && a.Addr.IsValid() && t.inChain(Canonical(a.Name)) {
			addressed = true
			c := claim{addr: plain(a.Addr), name: name, asker: ev.Actor, leaf: ev.Seq, how: how}
			t.add(c)
			for _, f := range t.first {
				// It is worth what the least of the answers on the way is.
				c.name, c.how = f.first, max(how, f.how)
				t.add(c)
			}
		}
	}
	if !addressed {
		t.remember(ev, how, name)
	}
}

// remember keeps where an answer without an address leads: who got it asks on
// for the target, in a question of its own. t.chain and t.first are of the
// same answer.
func (t *Table) remember(ev *event.Event, how How, name redact.Text) {
	links, target := len(t.chain)-1, t.chain[len(t.chain)-1]
	for _, a := range ev.Answers {
		if a.Type == typeHTTPS && t.inChain(Canonical(a.Name)) && !Canonical(a.Target).IsZero() && !t.inChain(Canonical(a.Target)) {
			links, target = links+1, Canonical(a.Target)
			break
		}
	}
	if links == 0 || links >= maxChain {
		return
	}
	w := alias{target: target, first: name, asker: ev.Actor, time: ev.Time, links: links, how: how}
	t.aliases.add(w)
	for _, f := range t.first {
		if w.links = f.links + links; w.links >= maxChain || f.first == target {
			continue
		}
		w.first, w.how = f.first, max(how, f.how)
		t.aliases.add(w)
	}
}

// DNS record types of RFC 1035, RFC 3596 and RFC 9460 (whose addresses are
// hints, to which a client may connect without asking further), and how many
// names a chain of aliases may have, over one answer or several.
const (
	typeA     = 1
	typeCNAME = 5
	typeAAAA  = 28
	typeHTTPS = 65
	maxChain  = 16
)

func (t *Table) inChain(name redact.Text) bool {
	for _, c := range t.chain {
		if c == name {
			return true
		}
	}
	return false
}

// said takes in the name that a client gave on its connection.
func (t *Table) said(ev *event.Event, how How) {
	host := Host(ev.Name)
	if host.IsZero() || !ev.Dst.IsValid() {
		return
	}
	t.add(claim{addr: plain(ev.Dst.Addr()), sock: ev.Sock, name: host, asker: ev.Actor, leaf: ev.Seq, how: how})
}

// Host returns the host of a Host header, without its port; empty for an
// address, which is no name.
func Host(name redact.Text) redact.Text {
	s := name.String()
	if s != "" && s[0] == '[' {
		return redact.Text{}
	}
	if strings.Trim(s, "0123456789abcdefABCDEF.:") == "" { // a failed parse costs memory
		if _, err := netip.ParseAddr(s); err == nil {
			return redact.Text{}
		}
		if _, err := netip.ParseAddrPort(s); err == nil {
			return redact.Text{}
		}
	}
	host, _, _ := name.Cut(":")
	return Canonical(host)
}
