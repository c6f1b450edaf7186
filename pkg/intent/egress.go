package intent

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/fact"
)

// form is how a destination names its hosts.
type form uint8

const (
	formAny    form = iota // *
	formExact              // name
	formSuffix             // *.name: any name below, not name itself
	formTree               // **.name: name and any name below
	formLabel              // prefix*.name: one label that begins with prefix
	formNet                // an address or a network
)

// destination is one entry of an egress or listen list.
type destination struct {
	form    form
	name    string // formExact: the name; formSuffix, formTree and formLabel: ".name"
	prefix  string // formLabel
	net     netip.Prefix
	port    uint16
	anyPort bool
	proto   event.Proto
	any     bool // any protocol
}

// Protocols that a destination can name after the slash. A number stands for
// itself, as in the IP header.
var protocols = []struct {
	name  string
	proto event.Proto
}{
	{"tcp", event.ProtoTCP}, {"udp", event.ProtoUDP}, {"icmp", event.ProtoICMP},
	{"icmp6", event.ProtoICMPv6}, {"raw", event.ProtoRaw}, {"packet", event.ProtoPacket},
}

// syntaxError tells what is wrong at which byte of a text.
type syntaxError struct {
	offset  int
	message string
}

func (e *syntaxError) Error() string { return e.message }

func badAt(offset int, format string, args ...any) error {
	return &syntaxError{offset, fmt.Sprintf(format, args...)}
}

// parseDestination reads HOST:PORT, with /PROTO where it is not TCP. In a deny
// the port may be left out, for any; and no protocol means any.
func parseDestination(s string, deny bool) (destination, error) {
	var d destination
	if s == "" {
		return d, badAt(0, `empty; want "host:port"`)
	}
	if len(s) > 300 {
		return d, badAt(0, "longer than 300 bytes")
	}
	if i := strings.Index(s, "://"); i >= 0 {
		return d, badAt(0, `want "host:port", not a URL; leave out %q and the path`, s[:i+3])
	}
	host, rest := s, ""
	if strings.HasPrefix(s, "[") {
		end := strings.IndexByte(s, ']')
		if end < 0 {
			return d, badAt(0, `the "[" of an IPv6 address is not closed`)
		}
		host, rest = s[1:end], s[end+1:]
		if rest != "" && rest[0] == '/' && strings.Contains(rest, ":") {
			return d, badAt(end+1, `write the length of an IPv6 network inside the brackets: "[fd00::/8]:443"`)
		}
		if rest != "" && rest[0] != ':' && rest[0] != '/' {
			return d, badAt(end+1, `want ":port" after the "]"`)
		}
		p, err := parsePrefix(host)
		if err != nil || !p.Addr().Is6() {
			return d, badAt(1, "not an IPv6 address or network")
		}
		d.form, d.net = formNet, p
		if p.Addr().Is4In6() {
			return d, badAt(1, "write an IPv4 address as such: %s", p.Addr().Unmap())
		}
	} else {
		if strings.Count(s, ":") > 1 {
			return d, badAt(0, `write an IPv6 address in brackets: "[::1]:443"`)
		}
		if i := strings.IndexByte(s, ':'); i >= 0 {
			host, rest = s[:i], s[i:]
		} else if i := strings.IndexByte(s, '/'); i >= 0 && deny {
			// "10.0.0.0/8" is a network, "host/udp" a host and its protocol.
			if _, err := netip.ParsePrefix(s); err != nil {
				host, rest = s[:i], s[i:]
				if j := strings.IndexByte(rest[1:], '/'); j >= 0 {
					host, rest = s[:i+1+j], s[i+1+j:]
				}
			}
		}
		if err := d.parseHost(host); err != nil {
			return d, err
		}
	}
	at := len(s) - len(rest)
	port, proto, hasProto := rest, "", false
	if i := strings.IndexByte(rest, '/'); i >= 0 {
		port, proto, hasProto = rest[:i], rest[i+1:], true
	}
	switch {
	case port == "" && deny:
		d.anyPort = true
	case port == "" || port == ":":
		return d, badAt(0, `the port is missing; write "%s:443", or "%s:*" for any port`, s[:at], s[:at])
	case port == ":*":
		d.anyPort = true
	default:
		n, err := strconv.ParseUint(port[1:], 10, 16)
		if err != nil || n == 0 || port[1] == '0' || port[1] == '+' {
			return d, badAt(at+1, "not a port; want 1 to 65535 or *")
		}
		d.port = uint16(n)
	}
	switch {
	case !hasProto && deny:
		d.any = true
	case !hasProto:
		d.proto = event.ProtoTCP
	case proto == "*":
		d.any = true
	default:
		p, ok := parseProto(proto)
		if !ok {
			return d, badAt(len(s)-len(proto), `not a protocol; want tcp, udp, icmp, icmp6, raw, packet, a number or *`)
		}
		d.proto = p
	}
	return d, nil
}

func parseProto(s string) (event.Proto, bool) {
	for _, p := range protocols {
		if p.name == s {
			return p.proto, true
		}
	}
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || s[0] == '0' && s != "0" || s[0] == '+' {
		return 0, false
	}
	return event.Proto(n), true
}

func protoName(p event.Proto) string {
	for _, k := range protocols {
		if k.proto == p {
			return k.name
		}
	}
	return strconv.Itoa(int(p))
}

func parsePrefix(s string) (netip.Prefix, error) {
	if !strings.Contains(s, "/") {
		a, err := netip.ParseAddr(s)
		if err != nil {
			return netip.Prefix{}, err
		}
		if a.Zone() != "" {
			return netip.Prefix{}, errors.New("zone")
		}
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return p, err
	}
	return p.Masked(), nil
}

func (d *destination) parseHost(host string) error {
	if host == "*" {
		d.form = formAny
		return nil
	}
	if host == "" {
		return badAt(0, `the host is missing; "*" stands for any`)
	}
	if looksNumeric(host) {
		p, err := parsePrefix(host)
		if err != nil {
			return badAt(0, "not an IPv4 address or network")
		}
		d.form, d.net = formNet, p
		return nil
	}
	name := strings.TrimSuffix(strings.ToLower(host), ".")
	d.form, d.name = formExact, name
	switch i := strings.IndexByte(name, '*'); {
	case i < 0:
	case strings.HasPrefix(name, "**."):
		d.form, d.name, name = formTree, name[2:], name[3:]
	case strings.HasPrefix(name, "*."):
		d.form, d.name, name = formSuffix, name[1:], name[2:]
	case i+1 < len(name) && name[i+1] == '.' && !strings.Contains(name[:i], "."):
		d.form, d.prefix, d.name = formLabel, name[:i], name[i+1:]
		if err := validName(name[:i] + "x" + name[i+1:]); err != nil {
			return err
		}
		name = name[i+2:]
	default:
		return badAt(i, `a * stands at the end of the first label only: "*.example.com", "build*.example.com"`)
	}
	return validName(name)
}

// looksNumeric reports whether a host is meant to be an IPv4 address.
func looksNumeric(host string) bool {
	for i := 0; i < len(host); i++ {
		if c := host[i]; (c < '0' || c > '9') && c != '.' && c != '/' {
			return false
		}
	}
	return true
}

// validName accepts host names (RFC 1123, with the underscore that DNS uses
// for services), in lower case.
func validName(name string) error {
	if len(name) > 253 {
		return badAt(0, "longer than a host name can be")
	}
	label := 0
	for i := 0; i <= len(name); i++ {
		if i == len(name) || name[i] == '.' {
			if i == label {
				return badAt(0, "not a host name: it has an empty label")
			}
			if i-label > 63 {
				return badAt(0, "not a host name: a label is longer than 63 bytes")
			}
			label = i + 1
			continue
		}
		switch c := name[i]; {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '-', c == '_':
		case c == '*':
			return badAt(0, `a * stands at the end of the first label only: "*.example.com", "build*.example.com"`)
		case c >= 0x80:
			return badAt(0, "write the name in its ASCII form (xn--…)")
		default:
			return badAt(0, "not a host name: it has the character %q", string(rune(c)))
		}
	}
	return nil
}

// specificity says how much the destination leaves open, without its lineage.
func (d *destination) specificity() int {
	switch d.form {
	case formExact:
		return exactHost
	case formNet:
		// Half the Internet, written as a network, is no statement about a host.
		switch bits := d.net.Bits(); {
		case d.net.IsSingleIP():
			return exactHost
		case d.net.Addr().Is4() && bits < 8, d.net.Addr().Is6() && bits < 16 && !d.net.Addr().IsPrivate():
			return anything
		}
		return suffix
	case formSuffix, formTree, formLabel:
		// ".com" has one dot: a whole top-level domain.
		if strings.Count(d.name, ".") < 2 {
			return anything
		}
		return suffix
	}
	return anything
}

// matches reports whether the destination covers where a fact went.
func (d *destination) matches(f *fact.Fact) bool {
	if !d.any && d.proto != f.Proto {
		return false
	}
	if !d.anyPort && d.port != f.Addr.Port() {
		return false
	}
	if d.form == formAny {
		return true
	}
	if d.form == formNet {
		a := f.Addr.Addr().Unmap().WithZone("")
		return a.IsValid() && d.net.Contains(a) && (f.Host.IsZero() || near(a))
	}
	return d.matchesName(f.Host.String())
}

// near reports whether an address is on this machine or its network. A fact of
// a name stands for all addresses that the name had, of which it holds the
// first. Whoever owns the name chooses them; so an address out in the world
// speaks for a literal connection only.
func near(a netip.Addr) bool {
	return a.IsLoopback() || a.IsPrivate() || a.IsLinkLocalUnicast()
}

func (d *destination) matchesName(host string) bool {
	if host == "" {
		return false
	}
	switch d.form {
	case formExact:
		return host == d.name
	case formSuffix:
		return len(host) > len(d.name) && strings.HasSuffix(host, d.name)
	case formTree:
		return strings.HasSuffix(host, d.name) && len(host) > len(d.name) || host == d.name[1:]
	case formLabel:
		return len(host) >= len(d.prefix)+len(d.name) && strings.HasPrefix(host, d.prefix) &&
			strings.HasSuffix(host, d.name) && strings.IndexByte(host, '.') == len(host)-len(d.name)
	}
	return false
}

// String returns the canonical form, which parses to the same destination.
func (d *destination) String() string {
	var b strings.Builder
	switch d.form {
	case formAny:
		b.WriteByte('*')
	case formExact:
		b.WriteString(d.name)
	case formSuffix:
		b.WriteString("*" + d.name)
	case formTree:
		b.WriteString("**" + d.name)
	case formLabel:
		b.WriteString(d.prefix + "*" + d.name)
	case formNet:
		t := d.net.String()
		if d.net.IsSingleIP() {
			t = d.net.Addr().String()
		}
		if d.net.Addr().Is6() {
			t = "[" + t + "]"
		}
		b.WriteString(t)
	}
	if d.anyPort {
		b.WriteString(":*")
	} else {
		fmt.Fprintf(&b, ":%d", d.port)
	}
	switch {
	case d.any:
		b.WriteString("/*")
	case d.proto != event.ProtoTCP:
		b.WriteString("/" + protoName(d.proto))
	}
	return b.String()
}
