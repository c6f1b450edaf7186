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

// dohHosts are the hosts of public resolvers; what is below one counts too.
// Each stands in at least one of these, as read in 2026:
//
//	chromium   net/dns/public/doh_provider_entry.cc of Chromium, what it upgrades to
//	adguard    docs/general/dns-providers.md of AdguardTeam/KnowledgeBaseDNS
//	curl       curl's wiki, DNS-over-HTTPS, and wranders/doh-list, made from it
//	operator   a page of who runs it, named beside it
//
// Lists are never whole: whoever wants to hide names runs a resolver of his own.
var dohHosts = set(
	// chromium
	"dns.google", "dns.google.com", "8888.google",
	"cloudflare-dns.com", "one.one.one.one",
	"dns.quad9.net", "dns9.quad9.net", "dns10.quad9.net", "dns11.quad9.net",
	"doh.opendns.com", "doh.familyshield.opendns.com",
	"doh.cleanbrowsing.org", "dns.nextdns.io", "doh.dns.sb", "odvr.nic.cz",
	"protective.joindns4.eu", "public.dns.iij.jp",
	// adguard
	"adguard-dns.com", "dns.alidns.com", "dns.cloudflare.com", "freedns.controld.com",
	"doh.sandbox.opendns.com", "doh.libredns.gr",
	// curl
	"doh.umbrella.com", "dns0.eu", "doh.applied-privacy.net", "doh.360.cn", "doh.mullvad.net",
	// operator: developers.cloudflare.com/cloudflare-one, DNS over HTTPS; docs.controld.com,
	// Control D IP Ranges; mullvad/encrypted-dns-profiles
	"cloudflare-gateway.com", "dns.controld.com", "dns.mullvad.net",
	// None of these, but many lists, flo-wer/doh-list among them: Quad9's with ECS,
	// AdGuard's name of before, Tencent's DNSPod.
	"dns12.quad9.net", "dns.adguard.com", "doh.pub",
)

// dohAddrs are the addresses that answer DNS over HTTPS by themselves.
var dohAddrs = addrs(
	// chromium
	"8.8.8.8", "8.8.4.4", "2001:4860:4860::8888", "2001:4860:4860::8844",
	"1.1.1.1", "1.0.0.1", "2606:4700:4700::1111", "2606:4700:4700::1001",
	"1.1.1.2", "1.0.0.2", "2606:4700:4700::1112", "2606:4700:4700::1002",
	"1.1.1.3", "1.0.0.3", "2606:4700:4700::1113", "2606:4700:4700::1003",
	"9.9.9.9", "149.112.112.112", "2620:fe::fe", "2620:fe::9",
	"9.9.9.10", "149.112.112.10", "2620:fe::10", "2620:fe::fe:10",
	"9.9.9.11", "149.112.112.11", "2620:fe::11", "2620:fe::fe:11",
	"208.67.222.222", "208.67.220.220", "2620:119:35::35", "2620:119:53::53",
	"86.54.11.1", "86.54.11.201", "2a13:1001::86:54:11:1", "2a13:1001::86:54:11:201",
	// adguard
	"94.140.14.14", "94.140.15.15", "2a10:50c0::ad1:ff", "2a10:50c0::ad2:ff",
	// operator: docs.controld.com, Control D IP Ranges
	"76.76.2.11", "76.76.10.11", "2606:1a40::11", "2606:1a40:1::11",
	"76.76.2.22", "76.76.10.22", "2606:1a40::22", "2606:1a40:1::22",
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
