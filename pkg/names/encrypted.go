package names

import (
	"net/netip"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/redact"
)

// What an encrypted resolver speaks.
var (
	doh = redact.Const("doh") // RFC 8484
	dot = redact.Const("dot") // RFC 7858
	doq = redact.Const("doq") // RFC 9250
)

// EncryptedDNS returns "doh", "dot" or "doq" for a place that is there to
// answer names where nobody sees the question, else the empty text. host is
// the name of dst in canonical form, where it has one.
//
// Port 853 is that of DNS over TLS and over QUIC (RFC 7858 §3.1, RFC 9250
// §4.1.1). DNS over HTTPS has a port like any other, so only well-known
// resolvers are recognised. A place that is not recognised may be one too.
func EncryptedDNS(host redact.Text, dst netip.AddrPort, proto event.Proto) redact.Text {
	tcp := proto == event.ProtoTCP || proto == event.ProtoNone
	if !tcp && proto != event.ProtoUDP {
		return redact.Text{}
	}
	switch dst.Port() {
	case 853:
		if tcp {
			return dot
		}
		return doq
	case 443: // over UDP it is HTTP/3
		if dohAddrs[plain(dst.Addr())] || isDoHHost(host.String()) {
			return doh
		}
	}
	return redact.Text{}
}

// isDoHHost reports whether the host, or a domain above it, is a resolver.
func isDoHHost(host string) bool {
	for i := range len(host) {
		if (i == 0 || host[i-1] == '.') && dohHosts[host[i:]] {
			return true
		}
	}
	return dohHosts[host]
}

// dohHosts are the hosts of public resolvers as their operators publish them;
// what is below one counts too.
var dohHosts = set(
	// developers.google.com/speed/public-dns/docs/doh
	"dns.google", "dns64.dns.google",
	// developers.cloudflare.com/1.1.1.1: one.one.one.one, mozilla., chrome., security., family.
	"cloudflare-dns.com", "one.one.one.one", "cloudflare-gateway.com",
	// quad9.net/service/service-addresses-and-features
	"dns.quad9.net", "dns9.quad9.net", "dns10.quad9.net", "dns11.quad9.net", "dns12.quad9.net",
	// support.opendns.com: Using DNS over HTTPS (DoH) with OpenDNS
	"doh.opendns.com", "doh.familyshield.opendns.com", "doh.sandbox.opendns.com", "doh.umbrella.com", "dns.umbrella.com",
	// adguard-dns.io/kb/general/dns-providers, which also lists those below
	"adguard-dns.com", "dns.adguard.com", "dns.nextdns.io", "doh.cleanbrowsing.org",
	"doh.dns.sb", "dns.mullvad.net", "freedns.controld.com", "dns.controld.com", "doh.libredns.gr",
	"dns.alidns.com", "doh.pub", "doh.360.cn", "odvr.nic.cz", "dns0.eu", "doh.applied-privacy.net",
)

// dohAddrs are the addresses that the same pages publish.
var dohAddrs = addrs(
	"8.8.8.8", "8.8.4.4", "2001:4860:4860::8888", "2001:4860:4860::8844",
	"1.1.1.1", "1.0.0.1", "2606:4700:4700::1111", "2606:4700:4700::1001",
	"1.1.1.2", "1.0.0.2", "2606:4700:4700::1112", "2606:4700:4700::1002",
	"1.1.1.3", "1.0.0.3", "2606:4700:4700::1113", "2606:4700:4700::1003",
	"9.9.9.9", "149.112.112.112", "2620:fe::fe", "2620:fe::9",
	"9.9.9.10", "149.112.112.10", "2620:fe::10", "2620:fe::fe:10",
	"9.9.9.11", "149.112.112.11", "2620:fe::11", "2620:fe::fe:11",
	"208.67.222.222", "208.67.220.220", "2620:119:35::35", "2620:119:53::53",
	"94.140.14.14", "94.140.15.15", "2a10:50c0::ad1:ff", "2a10:50c0::ad2:ff",
)

func set(all ...string) map[string]bool {
	m := make(map[string]bool, len(all))
	for _, s := range all {
		m[s] = true
	}
	return m
}

func addrs(all ...string) map[netip.Addr]bool {
	m := make(map[netip.Addr]bool, len(all))
	for _, s := range all {
		m[netip.MustParseAddr(s)] = true
	}
	return m
}
