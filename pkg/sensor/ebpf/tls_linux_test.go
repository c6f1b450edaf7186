package ebpf

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/sensor"
)

// secure is a server for TLS on loopback that answers everything.
func secure(t testing.TB) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte("fine\n"))
	}))
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

// want is a program that must be here, or the test is skipped.
func want(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not installed", name)
	}
	return path
}

func TestARequestInsideTLSIsReadWithItsConnection(t *testing.T) {
	for _, c := range []struct {
		name string
		argv []string
	}{
		{"curl, HTTP/1.1", []string{"curl", "-sk", "--http1.1", "-H", "x-api-key: canary", "URL/one?q=1"}},
		{"node, https", []string{"node", "-e", `require("https").get("URL/one?q=1", {rejectUnauthorized: false, headers: {"x-api-key": "canary"}}, r => r.resume())`}},
		{"python, http.client", []string{"python3", "-c", `import ssl,urllib.request as u; u.urlopen(u.Request("URL/one?q=1",headers={"x-api-key":"canary"}),context=ssl._create_unverified_context()).read()`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			want(t, c.argv[0])
			s, rec := arm(t, Options{}, nil)
			srv := secure(t)
			dst := netip.MustParseAddrPort(strings.TrimPrefix(srv.URL, "https://"))
			argv := append([]string{}, c.argv...)
			for i := range argv {
				argv[i] = strings.ReplaceAll(argv[i], "URL", srv.URL)
			}
			cmd := exec.Command(argv[0], argv[1:]...)
			cmd.Stderr = os.Stderr
			if err := cmd.Run(); err != nil {
				t.Fatal(err)
			}
			drain(t, s)
			plain := rec.only(t, "request", func(r *sensor.Record) bool {
				return r.Kind == event.HTTP && r.TLS != 0 && bytes.HasPrefix(r.Payload, []byte("GET /one?q=1 HTTP/1.1\r\n"))
			})
			if plain.Dst != dst && plain.Dst.IsValid() || plain.Plain != 0 || plain.PayloadLen != len(plain.Payload) {
				t.Errorf("request %+v", plain)
			}
			flow := rec.only(t, "flow", func(r *sensor.Record) bool { return r.Kind == event.Flow && r.OK && r.Dst == dst })
			if flow.Plain != uint64(plain.PayloadLen) || flow.Writes != 1 {
				t.Errorf("the connection was given %d bytes in %d writes; want %d in 1", flow.Plain, flow.Writes, plain.PayloadLen)
			}
			if plain.Sock != flow.Sock {
				rec.only(t, "which connection", func(r *sensor.Record) bool {
					return r.Kind == event.HTTP && r.TLS == plain.TLS && r.Sock == flow.Sock && len(r.Payload) == 0
				})
			}
		})
	}
}
