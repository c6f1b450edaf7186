package wire

import (
	"context"
	"crypto/tls"
	"net"
	"slices"
	"testing"
	"time"

	"golang.org/x/net/quic"
)

// initials are the datagrams that a real client sends first, to a server that
// never answers.
func initials(t testing.TB, name string, curves ...tls.CurveID) [][]byte {
	t.Helper()
	server, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	client, err := quic.Listen("udp4", "127.0.0.1:0", nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer cancel()
	defer client.Close(ctx)
	go func() {
		_, _ = client.Dial(ctx, "udp4", server.LocalAddr().String(), &quic.Config{TLSConfig: &tls.Config{
			ServerName: name, NextProtos: []string{"h3"}, MinVersion: tls.VersionTLS13, CurvePreferences: curves,
		}})
	}()
	var all [][]byte
	b := make([]byte, 4096)
	_ = server.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
	for {
		n, _, err := server.ReadFrom(b)
		if err != nil {
			return all
		}
		all = append(all, slices.Clone(b[:n]))
	}
}

func TestTheNameOfAQUICConnectionIsReadFromARealClient(t *testing.T) {
	for _, c := range []struct {
		name   string
		curves []tls.CurveID
	}{
		{"one datagram", []tls.CurveID{tls.X25519}},
		{"a hello of two datagrams", []tls.CurveID{tls.X25519MLKEM768, tls.X25519}},
	} {
		t.Run(c.name, func(t *testing.T) {
			all := initials(t, "quic.example.com", c.curves...)
			if len(all) == 0 {
				t.Fatal("the client sent nothing")
			}
			var q QUIC
			for i, d := range all {
				h, err := q.Add(slices.Clone(d))
				if err == ErrIncomplete && i+1 < len(all) {
					continue
				}
				if err != nil || string(h.ServerName) != "quic.example.com" || len(h.ALPN) != 1 || string(h.ALPN[0]) != "h3" {
					t.Fatalf("%+v %v after %d of %d datagrams", h, err, i+1, len(all))
				}
				return
			}
			t.Fatal("never whole")
		})
	}
}

func TestWhatIsNoInitialPacketIsNotRead(t *testing.T) {
	good := initials(t, "quic.example.com", tls.X25519)[0]
	for name, change := range map[string]func([]byte) []byte{
		"nothing":            func([]byte) []byte { return nil },
		"another version":    func(b []byte) []byte { b[4] = 2; return b },
		"a short header":     func(b []byte) []byte { b[0] &= 0x7f; return b },
		"a changed id":       func(b []byte) []byte { b[6] ^= 1; return b },
		"a changed byte":     func(b []byte) []byte { b[60] ^= 1; return b },
		"a part of a packet": func(b []byte) []byte { return b[:100] },
		"an id too long":     func(b []byte) []byte { b[5] = 21; return b },
		"a length too big":   func(b []byte) []byte { return b[:30] },
	} {
		var q QUIC
		if h, err := q.Add(change(slices.Clone(good))); err != ErrNotQUIC {
			t.Errorf("%s: %+v %v", name, h, err)
		}
	}
}

func FuzzQUIC(f *testing.F) {
	for _, d := range initials(f, "quic.example.com", tls.X25519MLKEM768) {
		f.Add(d, d)
	}
	f.Fuzz(func(t *testing.T, a, b []byte) {
		var q QUIC
		for _, d := range [][]byte{a, b} {
			if _, err := q.Add(d); err != nil {
				continue
			}
		}
		if len(q.have) > maxQUICHello || len(q.hello) > maxQUICHello+recordHead {
			t.Fatalf("%d bytes are kept", len(q.hello))
		}
		// Without the protection: what a packet may hold.
		_ = new(QUIC).frames(a)
	})
}
