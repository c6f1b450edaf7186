package fact

import (
	"net/netip"
	"strings"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/names"
	"github.com/org/edamame-posture/pkg/redact"
)

// Requests are facts where a policy limits them: one for each method and path
// that a lineage asked a destination for. The query is no part of it, and
// neither is the fragment; all else of the path is, as it was sent. A policy
// that limits none has no such facts, and no other verdict by them.
//
// What can be requested is more than what was seen of it. The log has the
// requests at the beginning of a connection, in the clear, and says of each how
// many bytes it took. So what a connection sent beyond them is known to be
// something else, and the connection to be unread: HTTP/2 in the clear, another
// protocol, or a second request on the same connection. Of TLS that is read
// where the program gives it to its library, the log says itself whether all of
// a connection was.

// maxRequestPath bounds the path of a Request fact in bytes. A longer one is
// cut, and stands for every path that begins so.
const maxRequestPath = 1024

// Unread tells of connections whose requests could not be read.
type Unread struct {
	Why         redact.Text // of the first connection
	Conns       uint64      // how many connections
	First, Last int64       // boot time in nanoseconds
	Leaf        uint64      // Seq of the first event of the first of them
}

// Why a connection is unread.
var (
	whyTLS   = redact.Const("the connection was encrypted")
	whyPart  = redact.Const("not all that was sent inside TLS could be read")
	whyNone  = redact.Const("no request was seen in what was sent: HTTP/2, TLS without a name, or no HTTP")
	whyMore  = redact.Const("more was sent on a connection than the requests that were seen")
	whyNoKey = redact.Const("the key that the policy names had no value when the recording began, so it is not known whether another was used")
	whyNoEnd = redact.Const("where a request ends is not known, so there may be others behind it")
	whyCut   = redact.Const("a request line was longer than what is read of it")
	whyNoTCP = redact.Const("requests are read over TCP only")
)

// maxRenamed bounds the destinations of one connection that wait for its end:
// each is another name that was said on it.
const maxRenamed = 64

// asking is what is known of the requests of a connection.
type asking struct {
	seen    uint64 // bytes of the requests that the log tells
	tls     bool
	inside  bool // of what was sent inside TLS some was read
	read    bool // all that the connection has sent inside TLS was read, by its last totals
	any     bool
	noKey   bool // a key was used where the policy names one whose value is not known
	endless bool // where one of them ends is not known
	cut     bool
	// before are the facts that the connection belonged to before another name
	// was said on it.
	before []*Fact
}

// hear takes in what was said on the connection.
func (a *asking) hear(ev *event.Event) {
	switch {
	case ev.Kind == event.TLS:
		a.tls = true
		return
	case ev.TLS:
		a.tls, a.inside = true, true
		a.cut = a.cut || ev.Detail == event.NotWhole
		return
	case ev.Size == 0:
		a.endless = true
	case a.seen+ev.Size < a.seen:
		a.endless = true // more than can be counted
	default:
		a.seen += ev.Size
	}
	a.any = true
	a.cut = a.cut || ev.Detail == event.NotWhole
}

// why says why what the connection sent is not known to be requests that were
// seen, or is empty.
func (c *conn) why() redact.Text {
	switch {
	case c.idle || c.inbound:
		return redact.Text{}
	case c.proto != event.ProtoTCP && c.proto != event.ProtoNone:
		return whyNoTCP
	case c.asked.noKey:
		return whyNoKey
	case c.asked.tls && !c.asked.inside:
		return whyTLS
	case c.asked.cut:
		return whyCut
	case c.asked.tls && !c.asked.read:
		return whyPart
	case c.asked.tls:
		return redact.Text{}
	case c.asked.endless:
		return whyNoEnd
	case c.sent > 0 && !c.asked.any:
		return whyNone
	case c.sent > c.asked.seen:
		return whyMore
	}
	return redact.Text{}
}

// renamed notes that the connection belongs to another fact from now on.
func (f *Folder) renamed(c *conn) {
	switch {
	case f.Requests == nil || c.fact == nil:
	case len(c.asked.before) < maxRenamed:
		c.asked.before = append(c.asked.before, c.fact)
	default:
		c.fact.unread(f, c, whyMore)
	}
}

// unread tells each fact that the connection belongs to what of it could not be
// read. kept returns the fact to tell it to, nil for none.
func (f *Folder) unread(c *conn, kept func(*Fact) *Fact) {
	if f.Requests == nil || c.fact == nil {
		return
	}
	why := c.why()
	if why.IsZero() {
		return
	}
	for _, to := range c.asked.before {
		kept(to).unread(f, c, why)
	}
	kept(c.fact).unread(f, c, why)
}

func itself(f *Fact) *Fact { return f }

// unread notes a connection of the fact, where a policy limits its requests.
func (fact *Fact) unread(f *Folder, c *conn, why redact.Text) {
	if fact == nil || fact.Verb != Connect || !f.Requests(fact) {
		return
	}
	u := &fact.Unread
	if u.Conns == 0 {
		*u = Unread{Why: why, First: c.first, Leaf: c.leaf}
	}
	u.Conns++
	u.First, u.Last = min(u.First, c.first), max(u.Last, c.last)
}

// request makes the fact of a request on a connection that is decided.
func (f *Folder) request(ev *event.Event, c *conn) {
	to := c.fact
	// A path of which the end is missing is no path; the connection is unread.
	if f.Requests == nil || to == nil || to.Verb != Connect || ev.Detail == event.NotWhole || !f.Requests(to) {
		return
	}
	path := ev.Path
	if i := strings.IndexAny(path.String(), "?#"); i >= 0 {
		path = path.Slice(0, i)
	}
	var end redact.Text
	if path.Len() > maxRequestPath {
		path, end = path.Slice(0, maxRequestPath), cutMark
	}
	elsewhere := ev.Detail == event.TwoHosts || !to.serves(ev.Name)
	f.begin(Request, c.lin)
	f.key = append(append(append(f.key, ev.Method.String()...), ' '), to.Object.String()...)
	f.key = append(append(f.key, path.String()...), end.String()...)
	if elsewhere {
		f.key = append(append(f.key, " for "...), ev.Name.String()...)
	}
	if fact := f.grow(ev); fact != nil {
		return
	}
	fact := made(Request, ev, c.node, c.lin)
	fact.To, fact.Host, fact.How, fact.Addr, fact.Proto = to.Object, to.Host, to.How, to.Addr, to.Proto
	fact.Method, fact.Path, fact.Elsewhere = ev.Method, redact.Concat(path, end), elsewhere
	fact.Object = redact.Concat(ev.Method, redact.Const(" "), to.Object, fact.Path)
	if elsewhere {
		fact.Object = redact.Concat(fact.Object, redact.Const(" for "), ev.Name)
	}
	f.keep(fact)
}

// cutMark ends a path that is longer than what is kept. The bracket stands in no
// path (RFC 3986 §3.3), so no pattern of single names holds it.
var cutMark = redact.Const("[cut]")

// serves reports whether a host that a request names is the destination of a
// Connect fact. On this machine that is localhost and every address of it.
func (fact *Fact) serves(name redact.Text) bool {
	if host := names.Host(name); !host.IsZero() {
		s := host.String()
		return host == fact.Host || fact.Host.IsZero() && fact.Loopback() && (s == "localhost" || strings.HasSuffix(s, ".localhost"))
	}
	host := name.String()
	if port := strings.LastIndexByte(host, ':'); port > 0 && (host[port-1] == ']' || strings.IndexByte(host, ':') == port) {
		host = host[:port]
	}
	addr, err := netip.ParseAddr(strings.Trim(host, "[]"))
	addr = addr.Unmap()
	return err == nil && fact.Host.IsZero() && (addr == fact.Addr.Addr().Unmap() || addr.IsLoopback() && fact.Loopback())
}
