package ebpf

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

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

// untilRead does something until what it writes inside TLS is read: files are
// attached to beside the way of records, at their first use.
func untilRead(t *testing.T, s *Sensor, rec *recorder, begins string, do func()) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		do()
		drain(t, s)
		if len(rec.find(func(r *sensor.Record) bool {
			return r.Kind == event.HTTP && r.TLS != 0 && bytes.HasPrefix(r.Payload, []byte(begins))
		})) > 0 {
			return
		}
	}
	t.Fatalf("%q is never read", begins)
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
			ask := func(url string) {
				argv := append([]string{}, c.argv...)
				for i := range argv {
					argv[i] = strings.ReplaceAll(argv[i], "URL", url)
				}
				cmd := exec.Command(argv[0], argv[1:]...)
				cmd.Stderr = os.Stderr
				if err := cmd.Run(); err != nil {
					t.Fatal(err)
				}
				drain(t, s)
			}
			first := secure(t) // another port
			untilRead(t, s, rec, "GET /first/one?q=1 ", func() { ask(first.URL + "/first") })
			ask(srv.URL)
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

// A function of Go begins anew where its stack has to grow first: what it writes
// then it writes once.
func TestAWriteThatGrowsItsStackIsToldOnce(t *testing.T) {
	s, rec := arm(t, Options{}, nil)
	srv := secure(t)
	dst := netip.MustParseAddrPort(strings.TrimPrefix(srv.URL, "https://"))
	const n = 300
	first := secure(t)
	untilRead(t, s, rec, "GET /0 ", func() { perform(t, "grow", strings.TrimPrefix(first.URL, "https://"), "1") })
	before := 0
	for _, r := range rec.find(func(r *sensor.Record) bool { return r.Kind == event.HTTP && r.TLS != 0 }) {
		if bytes.HasPrefix(r.Payload, []byte("GET /0 ")) {
			before++
		}
	}
	perform(t, "grow", dst.String(), strconv.Itoa(n))
	drain(t, s)
	told := map[string]int{}
	for _, r := range rec.find(func(r *sensor.Record) bool { return r.Kind == event.HTTP && r.TLS != 0 }) {
		if line, _, ok := bytes.Cut(r.Payload, []byte(" HTTP/1.1\r\n")); ok && bytes.HasPrefix(line, []byte("GET /")) {
			told[string(line)]++
		}
	}
	told["GET /0"] -= before
	for i := range n {
		if line := fmt.Sprintf("GET /%d", i); told[line] != 1 {
			t.Errorf("%s is told %d times", line, told[line])
		}
	}
	flow := rec.only(t, "flow", func(r *sensor.Record) bool { return r.Kind == event.Flow && r.OK && r.Dst == dst })
	if flow.Writes != n {
		t.Errorf("the connection was given %d writes, want %d", flow.Writes, n)
	}
}

// A probe holds the file: what a job removes would take room on the disk for as
// long as the monitor runs.
func TestALibraryThatWasRemovedIsLetGoWhenNobodyMapsIt(t *testing.T) {
	want(t, "curl")
	libraries, err := filepath.Glob("/usr/lib/*-linux-gnu/libssl.so.3")
	if err != nil || len(libraries) == 0 {
		t.Skip("no libssl.so.3")
	}
	library, err := os.ReadFile(libraries[0])
	if err != nil {
		t.Fatal(err)
	}
	s, _ := arm(t, Options{}, nil)
	srv := secure(t)
	dir := t.TempDir()
	copied := filepath.Join(dir, "libssl.so.3")
	if err := os.WriteFile(copied, library, 0o755); err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Stat(copied, &st); err != nil {
		t.Fatal(err)
	}
	probed := func() bool {
		s.tls.mu.Lock()
		defer s.tls.mu.Unlock()
		for id, f := range s.tls.files {
			if id.inode == st.Ino && len(f.links) > 0 {
				return true
			}
		}
		return false
	}
	idle := func() { // as if it had not been used for long
		s.tls.mu.Lock()
		defer s.tls.mu.Unlock()
		for _, f := range s.tls.files {
			f.used = 0
		}
	}
	curl := exec.Command("curl", "-sk", srv.URL+"/kept")
	curl.Env = append(os.Environ(), "LD_LIBRARY_PATH="+dir)
	if err := curl.Run(); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); !probed(); time.Sleep(5 * time.Millisecond) {
		if drain(t, s); time.Now().After(end) {
			t.Fatal("the copy is not probed")
		}
	}
	idle()
	s.tls.sweep("/proc")
	if !probed() {
		t.Fatal("it was let go while it is there")
	}
	// A process that stays maps it, under whatever name.
	proc := t.TempDir()
	if err := os.MkdirAll(filepath.Join(proc, "7"), 0o755); err != nil {
		t.Fatal(err)
	}
	line := fmt.Sprintf("7f00-7f10 r-xp 00000000 fe:00 %d    %s (deleted)\n", st.Ino, copied)
	if err := os.WriteFile(filepath.Join(proc, "7", "maps"), []byte(line), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(copied); err != nil {
		t.Fatal(err)
	}
	idle()
	s.tls.sweep(proc)
	if !probed() {
		t.Fatal("it was let go while a process maps it")
	}
	var links []kernelObject
	s.tls.mu.Lock()
	for id, f := range s.tls.files {
		if id.inode == st.Ino {
			links = append(links, f.ids...)
		}
	}
	s.tls.mu.Unlock()
	idle()
	s.tls.sweep("/proc")
	if probed() {
		t.Fatal("it is still held")
	}
	s.tls.sweep("/proc")
	for _, l := range links {
		if s.reader.dec.own.has(l) {
			t.Errorf("%v is still remembered", l)
		}
	}
	if len(links) == 0 {
		t.Error("it had no links")
	}
}
