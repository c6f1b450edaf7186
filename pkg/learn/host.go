package learn

import (
	"strconv"
	"strings"

	"golang.org/x/net/publicsuffix"

	"github.com/org/edamame-posture/pkg/fact"
)

// ephemeral is the lowest port that Linux chooses by itself
// (net/ipv4/inet_connection_sock.c, ip_local_port_range).
const ephemeral = 32768

// numberedHost cuts a host whose first label ends in a number. It refuses one
// whose first label is a name that somebody registers, as below herokuapp.com:
// there another number is another owner.
func numberedHost(host string) (before, number, after string, ok bool) {
	label, _, found := strings.Cut(host, ".")
	if !found {
		return "", "", "", false
	}
	before = strings.TrimRight(label, "0123456789")
	number, after = label[len(before):], host[len(label):]
	if number == "" || !strings.ContainsAny(before, "abcdefghijklmnopqrstuvwxyz") || strings.Contains(host, "*") {
		return "", "", "", false
	}
	owner, err := publicsuffix.EffectiveTLDPlusOne(host)
	return before, number, after, err == nil && owner != host
}

// family is a set of destinations that differ in one thing.
type family struct {
	seen    values
	members []*item
	pattern string
	varies  bool // it must differ from run to run too
	least   int
}

// hosts generalises numbered hosts. moved gets what became of each object.
func (g generaliser) hosts(list []*item, moved map[string]string) {
	g.families(list, moved, func(it *item) (family, string, bool) {
		host := it.facts[0].Host.String()
		before, number, after, ok := numberedHost(host)
		rest, has := strings.CutPrefix(it.object, host+":")
		return family{pattern: before + "*" + after + ":" + rest, least: leastNumbers}, number, ok && has
	})
}

// ports generalises ports on loopback that the kernel chose anew in each run.
func (g generaliser) ports(list []*item, moved map[string]string) {
	g.families(list, moved, func(it *item) (family, string, bool) {
		f := it.facts[0]
		port := strconv.Itoa(int(f.Addr.Port()))
		at := strings.LastIndex(it.object, ":"+port)
		ok := f.Verb != fact.Resolve && f.Loopback() && f.Addr.Port() >= ephemeral && at >= 0
		if !ok {
			return family{}, "", false
		}
		return family{pattern: it.object[:at] + ":*" + it.object[at+1+len(port):], least: leastVersions, varies: true}, port, true
	})
}

func (g generaliser) families(list []*item, moved map[string]string, of func(*item) (family, string, bool)) {
	by := map[string]*family{}
	for _, it := range list {
		f, value, ok := of(it)
		if !ok {
			continue
		}
		have := by[f.pattern]
		if have == nil {
			have = &f
			have.seen = values{}
			by[f.pattern] = have
		}
		have.seen.add(value, it.runs)
		have.members = append(have.members, it)
	}
	for _, f := range by {
		if !f.seen.strong(g.few, f.least) || f.varies && !f.seen.varies(g.few) {
			continue
		}
		for _, it := range f.members {
			before := it.object
			if it.object = f.pattern; !it.covered() {
				it.object = before
				continue
			}
			it.from = append(it.from, before)
			moved[before] = f.pattern
		}
	}
}
