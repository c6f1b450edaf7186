package posture

import (
	"bytes"
	"net/netip"
	"strings"
)

// maxNames bounds what is taken of one file of addresses.
const maxNames = 256

// parseResolvConf returns the resolvers of resolv.conf(5), and lines that name
// one in a way that cannot be read.
func parseResolvConf(data []byte) (servers []netip.Addr, bad []int) {
	number := 0
	for line := range bytes.Lines(data) {
		number++
		f := bytes.Fields(line)
		if len(f) < 2 || string(f[0]) != "nameserver" || len(servers)+len(bad) >= maxNames {
			continue
		}
		addr, err := netip.ParseAddr(string(f[1]))
		if err != nil {
			bad = append(bad, number)
			continue
		}
		servers = append(servers, addr)
	}
	return servers, bad
}

// host is one line of hosts(5).
type host struct {
	addr  netip.Addr
	names []string
	line  int
}

// parseHosts reads hosts(5). Lines without an address are left out.
func parseHosts(data []byte) []host {
	var out []host
	number := 0
	for line := range bytes.Lines(data) {
		number++
		text, _, _ := bytes.Cut(line, []byte("#"))
		f := strings.Fields(string(text))
		if len(f) < 2 || len(out) >= maxNames {
			continue
		}
		if addr, err := netip.ParseAddr(f[0]); err == nil {
			out = append(out, host{addr, f[1:min(len(f), 17)], number})
		}
	}
	return out
}
