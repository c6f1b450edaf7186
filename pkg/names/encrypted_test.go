package names

import (
	"net/netip"
	"testing"

	"github.com/org/edamame-posture/pkg/event"
)

func TestResolversThatHideTheQuestionAreRecognised(t *testing.T) {
	for _, c := range []struct {
		host, dst string
		proto     event.Proto
		want      string
	}{
		{"", "192.0.2.1:853", event.ProtoTCP, "dot"},
		{"", "192.0.2.1:853", event.ProtoUDP, "doq"},
		{"", "1.1.1.1:443", event.ProtoTCP, "doh"},
		{"", "[::ffff:8.8.8.8]:443", event.ProtoTCP, "doh"},
		{"", "[2620:fe::fe]:443", event.ProtoUDP, "doh"},
		{"dns.google", "192.0.2.1:443", event.ProtoTCP, "doh"},
		{"dns64.dns.google", "192.0.2.1:443", event.ProtoTCP, "doh"},
		{"family.adguard-dns.com", "192.0.2.1:443", event.ProtoTCP, "doh"},
		{"", "76.76.2.22:443", event.ProtoTCP, "doh"},
		{"umbrella.com", "192.0.2.1:443", event.ProtoTCP, ""},
		{"mozilla.cloudflare-dns.com", "192.0.2.1:443", event.ProtoTCP, "doh"},
		{"abc123.dns.nextdns.io", "192.0.2.1:443", event.ProtoTCP, "doh"},
		{"notcloudflare-dns.com", "192.0.2.1:443", event.ProtoTCP, ""},
		{"dns.google.example.com", "192.0.2.1:443", event.ProtoTCP, ""},
		{"google", "192.0.2.1:443", event.ProtoTCP, ""},
		{"dns.google", "192.0.2.1:80", event.ProtoTCP, ""},
		{"", "8.8.8.8:53", event.ProtoUDP, ""},
		{"", "8.8.8.8:443", event.ProtoICMP, ""},
		{"", "192.0.2.1:443", event.ProtoTCP, ""},
	} {
		if got := EncryptedDNS(text(c.host), netip.MustParseAddrPort(c.dst), c.proto).String(); got != c.want {
			t.Errorf("%s %s %v: %q, want %q", c.host, c.dst, c.proto, got, c.want)
		}
	}
	host, dst := text("a.b.c.example.com"), netip.MustParseAddrPort("192.0.2.1:443")
	if n := testing.AllocsPerRun(100, func() { EncryptedDNS(host, dst, event.ProtoTCP) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
