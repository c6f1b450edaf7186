package monitor

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/quic"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/intent"
)

// overTLS is a server that answers everything, with HTTP/2 for who asks for it.
func overTLS(t testing.TB) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// What is answered before the body was read, curl takes for a broken stream.
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = fmt.Fprintln(w, r.Proto)
	}))
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

// goProgram builds a program for the test.
func goProgram(t testing.TB, source string, flags ...string) string {
	t.Helper()
	dir := t.TempDir()
	main := filepath.Join(dir, "main.go")
	if err := os.WriteFile(main, []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	exe := filepath.Join(dir, "client")
	cmd := exec.Command("go", append(append([]string{"build", "-o", exe}, flags...), main)...)
	cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return exe
}

const goClient = `package main

import (
	"crypto/tls"
	"io"
	"net/http"
	"os"
	"time"
)

func main() {
	// A program that was built just now is looked at while it runs.
	time.Sleep(300 * time.Millisecond)
	tr := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: os.Args[2] == "2"}
	for _, path := range os.Args[3:] {
		req, _ := http.NewRequest("GET", os.Args[1]+path, nil)
		req.Header.Set("Authorization", "Bearer canary")
		resp, err := (&http.Client{Transport: tr}).Do(req)
		if err != nil {
			panic(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
}
`

func TestRequestsInsideTLSAreToldForEachKnownLibrary(t *testing.T) {
	m := payloads(t)
	stripped, whole := goProgram(t, goClient, "-ldflags=-s -w"), goProgram(t, goClient)
	const node2 = `const c=require("http2").connect("URL",{rejectUnauthorized:false}); let n=2; for (const p of ["/one","/two?token=canary-9f8e7d6c5b4a"]) { const q=c.request({":path":p,"authorization":"Bearer canary"}); q.resume(); q.on("end",()=>{ if(--n==0) c.close() }); q.end() }`
	const node1 = `const h=require("https"); const a=new h.Agent({keepAlive:true,maxSockets:1}); const get=p=>new Promise(f=>h.get("URL"+p,{agent:a,rejectUnauthorized:false,headers:{authorization:"Bearer canary"}},r=>{r.resume();r.on("end",f)})); (async()=>{await get("/one");await get("/two?token=canary-9f8e7d6c5b4a");a.destroy()})()`
	const fetch = `(async()=>{for(const p of ["/one","/two?token=canary-9f8e7d6c5b4a"]) await (await fetch("URL"+p,{headers:{authorization:"Bearer canary"}})).text()})()`
	const python = `import ssl,http.client as h; c=h.HTTPSConnection("HOST",context=ssl._create_unverified_context()); [(c.request("GET",p,headers={"Authorization":"Bearer canary"}),c.getresponse().read()) for p in ("/one","/two?token=canary-9f8e7d6c5b4a")]`
	for _, c := range []struct {
		name string
		argv []string
	}{
		{"curl with HTTP/1.1", []string{"curl", "-sk", "--http1.1", "-H", "Authorization: Bearer canary", "URL/one", "URL/two?token=canary-9f8e7d6c5b4a"}},
		{"curl with HTTP/2", []string{"curl", "-sk", "--http2", "-H", "Authorization: Bearer canary", "URL/one", "URL/two?token=canary-9f8e7d6c5b4a"}},
		{"node's https", []string{"node", "-e", node1}},
		{"node's fetch", []string{"env", "NODE_TLS_REJECT_UNAUTHORIZED=0", "node", "-e", fetch}},
		{"node's http2", []string{"node", "-e", node2}},
		{"Python's ssl", []string{"python3", "-c", python}},
		{"Go with HTTP/1.1", []string{whole, "URL", "1", "/one", "/two?token=canary-9f8e7d6c5b4a"}},
		{"Go with HTTP/2", []string{whole, "URL", "2", "/one", "/two?token=canary-9f8e7d6c5b4a"}},
		{"Go without symbols", []string{stripped, "URL", "1", "/one", "/two?token=canary-9f8e7d6c5b4a"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := exec.LookPath(c.argv[0]); err != nil {
				t.Skip(err)
			}
			srv := overTLS(t)
			host := strings.TrimPrefix(srv.URL, "https://")
			r := opened(t, m, c.argv[0])
			var argv []string
			for _, a := range c.argv {
				argv = append(argv, strings.NewReplacer("URL", srv.URL, "HOST", host).Replace(a))
			}
			if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			m.finish(r, Closing{}, "")
			var got []string
			read, conns := 0, map[uint64]bool{}
			for _, ev := range events(t, r) {
				switch {
				case ev.Kind == event.HTTP && ev.TLS:
					got = append(got, ev.Method.String()+" "+ev.Name.String()+ev.Path.String())
					conns[ev.Sock] = true
					if ev.Dst.String() != host || ev.Sock == 0 {
						t.Errorf("%s went over %v, socket %d; want %s", ev.Path, ev.Dst, ev.Sock, host)
					}
					if len(ev.Secrets) == 0 || ev.Secrets[len(ev.Secrets)-1].Hash != r.red.Hash([]byte("canary")) {
						t.Errorf("%s has the credentials %v", ev.Path, ev.Secrets)
					}
				case ev.Kind == event.Flow && ev.TLS && ev.OK:
					read++
				}
			}
			slices.Sort(got)
			if want := []string{"GET " + host + "/one", "GET " + host + "/two?token=[redacted url-parameter 19]"}; !slices.Equal(got, want) {
				t.Errorf("%q; want %q", got, want)
			}
			if read < len(conns) {
				t.Errorf("%d of %d connections were read whole", read, len(conns))
			}
		})
	}
}

// underPolicy begins a recording under a policy.
func underPolicy(t *testing.T, m *Monitor, policy string, keys map[string]string) *recording {
	t.Helper()
	p, err := intent.Parse("p.yml", []byte(policy))
	if err != nil {
		t.Fatal(err)
	}
	in, err := p.Resolve("")
	if err != nil {
		t.Fatal(err)
	}
	r, err := m.Open(Opening{Command: []string{"x"}, Cwd: "/", Home: "/root", Intent: in.Canonical(), Keys: keys}, uint32(os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// held are the undeclared facts of a verdict, and what its coverage lacks of TLS.
func held(t *testing.T, m *Monitor, r *recording) (undeclared, unread []string) {
	t.Helper()
	m.finish(r, Closing{}, "")
	v := r.judge.Verdict()
	for _, f := range v.Undeclared {
		undeclared = append(undeclared, f.Verb+" "+f.Object)
	}
	for _, g := range v.Coverage.Gaps {
		if strings.Contains(g.What, "could not be checked") {
			unread = append(unread, g.What)
		}
	}
	return undeclared, unread
}

func TestSomebodyElsesKeyAtAnAllowedHostIsFound(t *testing.T) {
	m := payloads(t)
	const node = `require("https").request("URL/v1/messages",{method:"POST",rejectUnauthorized:false,headers:{"x-api-key":"KEY"}},r=>r.resume()).end("data")`
	for _, c := range []struct {
		name string
		argv []string
	}{
		{"curl", []string{"curl", "-sk", "-H", "x-api-key: KEY", "-d", "data", "URL/v1/messages"}},
		{"curl with HTTP/1.1", []string{"curl", "-sk", "--http1.1", "-H", "Authorization: Bearer KEY", "-d", "data", "URL/v1/messages"}},
		{"curl with a password", []string{"curl", "-sk", "-u", "robot:KEY", "-d", "data", "URL/v1/messages"}},
		{"node", []string{"node", "-e", node}},
	} {
		for _, key := range []struct {
			name, value string
			other       bool
		}{{"the declared key", "sk-canary-ours-0123456789", false}, {"another", "sk-canary-theirs-9876543210", true}} {
			t.Run(c.name+", "+key.name, func(t *testing.T) {
				if _, err := exec.LookPath(c.argv[0]); err != nil {
					t.Skip(err)
				}
				srv := overTLS(t)
				host := strings.TrimPrefix(srv.URL, "https://")
				r := underPolicy(t, m, "version: 1\negress: [{to: \""+host+"\", key: [API_KEY]}]\n", map[string]string{"API_KEY": "sk-canary-ours-0123456789"})
				var argv []string
				for _, a := range c.argv {
					argv = append(argv, strings.NewReplacer("URL", srv.URL, "KEY", key.value).Replace(a))
				}
				if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
					t.Fatalf("%v\n%s", err, out)
				}
				undeclared, unread := held(t, m, r)
				var keys []string
				for _, u := range undeclared {
					if strings.HasPrefix(u, "key ") {
						keys = append(keys, u)
					}
				}
				if key.other != (len(keys) == 1) || len(unread) > 0 {
					t.Errorf("undeclared %q, not read %q", undeclared, unread)
				}
				for _, ev := range events(t, r) {
					if line := string(ev.AppendJSON(nil)); strings.Contains(line, key.value) {
						t.Errorf("the key stands in the log: %s", line)
					}
				}
			})
		}
	}
}

func TestAKeyWhoseValueIsNotKnownIsNoPass(t *testing.T) {
	m := payloads(t)
	srv := overTLS(t)
	host := strings.TrimPrefix(srv.URL, "https://")
	r := underPolicy(t, m, "version: 1\negress: [{to: \""+host+"\", key: [API_KEY]}]\n", nil)
	if out, err := exec.Command("curl", "-sk", "-H", "x-api-key: canary", srv.URL).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if undeclared, unread := held(t, m, r); len(unread) != 1 || slices.ContainsFunc(undeclared, func(s string) bool { return strings.HasPrefix(s, "key ") }) {
		t.Errorf("undeclared %q, not read %q; want one gap and no key", undeclared, unread)
	}
}

func TestGrantsOfRequestsHoldInsideTLS(t *testing.T) {
	m := payloads(t)
	for _, c := range []struct {
		name       string
		argv       []string
		undeclared []string
		unread     bool
	}{
		{"what is granted", []string{"curl", "-sk", "URL/pkg/a", "URL/pkg/b"}, nil, false},
		{"with HTTP/1.1", []string{"curl", "-sk", "--http1.1", "URL/pkg/a", "URL/pkg/b"}, nil, false},
		{"another method", []string{"curl", "-sk", "-X", "DELETE", "URL/pkg/a"}, []string{"request DELETE HOST/pkg/a"}, false},
		{"another path behind one that is granted", []string{"curl", "-sk", "URL/pkg/a", "URL/admin"}, []string{"request GET HOST/admin"}, false},
		{"what no library writes that is known", []string{"openssl", "s_client", "-quiet", "-connect", "HOST"}, nil, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			srv := overTLS(t)
			host := strings.TrimPrefix(srv.URL, "https://")
			r := underPolicy(t, m, "version: 1\negress: [{to: \""+host+"\", http: [\"GET /pkg/**\"]}]\n", nil)
			repl := strings.NewReplacer("URL", srv.URL, "HOST", host)
			var argv []string
			for _, a := range c.argv {
				argv = append(argv, repl.Replace(a))
			}
			cmd := exec.Command(argv[0], argv[1:]...)
			if c.unread {
				// No request: bytes that are none.
				cmd.Stdin = strings.NewReader("\x00\x01 no request\n")
			}
			if out, err := cmd.CombinedOutput(); err != nil && !c.unread {
				t.Fatalf("%v\n%s", err, out)
			}
			undeclared, unread := held(t, m, r)
			var requests []string
			for _, u := range undeclared {
				if strings.HasPrefix(u, "request ") {
					requests = append(requests, u)
				}
			}
			var want []string
			for _, u := range c.undeclared {
				want = append(want, repl.Replace(u))
			}
			if !slices.Equal(requests, want) || c.unread != (len(unread) > 0) {
				t.Errorf("undeclared %q, not read %q; want %q", undeclared, unread, want)
			}
		})
	}
}

func TestGitOverHTTPSIsReadInGnuTLS(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip(err)
	}
	m := payloads(t)
	srv := overTLS(t)
	r := opened(t, m, "git")
	cmd := exec.Command("git", "ls-remote", srv.URL+"/repo.git")
	cmd.Env = append(os.Environ(), "GIT_SSL_NO_VERIFY=1", "GIT_TERMINAL_PROMPT=0")
	out, err := cmd.CombinedOutput() // it fails: what answers is no repository
	m.finish(r, Closing{}, "")
	for _, ev := range events(t, r) {
		if ev.Kind == event.HTTP && ev.TLS && ev.Method.Is("GET") && ev.Path.Is("/repo.git/info/refs?service=git-upload-pack") && ev.Dst.String() == srv.Listener.Addr().String() {
			return
		}
	}
	t.Errorf("its request is not told; git: %v\n%s", err, out)
}

func TestTheNameOfAQUICConnectionIsTold(t *testing.T) {
	m := payloads(t)
	server, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	// A real client's first datagram, which a process of the recording sends: what
	// this process does is not recorded.
	client, err := quic.Listen("udp4", "127.0.0.1:0", nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	defer client.Close(ctx)
	go func() {
		_, _ = client.Dial(ctx, "udp4", server.LocalAddr().String(), &quic.Config{TLSConfig: &tls.Config{
			ServerName: "quic.example.com", NextProtos: []string{"h3"}, MinVersion: tls.VersionTLS13, CurvePreferences: []tls.CurveID{tls.X25519},
		}})
	}()
	b := make([]byte, 4096)
	_ = server.SetReadDeadline(time.Now().Add(10 * time.Second))
	n, _, err := server.ReadFrom(b)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "datagram")
	if err := os.WriteFile(file, b[:n], 0o600); err != nil {
		t.Fatal(err)
	}
	dst := netip.MustParseAddrPort(server.LocalAddr().String())
	r := opened(t, m, "bash")
	if out, err := exec.Command("bash", "-c", fmt.Sprintf("cat %s > /dev/udp/127.0.0.1/%d", file, dst.Port())).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	m.finish(r, Closing{}, "")
	for _, ev := range events(t, r) {
		if ev.Kind == event.TLS && ev.Proto == event.ProtoUDP && ev.Name.Is("quic.example.com") && ev.Dst == dst {
			return
		}
	}
	t.Error("the name is not told")
}

func TestProgramsWhoseTLSIsNotReadAreNamed(t *testing.T) {
	m := payloads(t)
	lib, err := filepath.Glob("/usr/lib/*-linux-gnu/libssl.so.3")
	if err != nil || len(lib) == 0 {
		t.Skip("no libssl.so.3")
	}
	data, err := os.ReadFile(lib[0])
	if err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(t.TempDir(), "harmless.so")
	if err := os.WriteFile(other, data, 0o600); err != nil {
		t.Fatal(err)
	}
	srv := overTLS(t)
	r := opened(t, m, "curl")
	for range 2 {
		cmd := exec.Command("curl", "-sk", srv.URL)
		cmd.Env = append(os.Environ(), "LD_PRELOAD="+other)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	m.finish(r, Closing{}, "")
	for _, ev := range events(t, r) {
		switch {
		case ev.Kind == event.HTTP:
			t.Errorf("a request was read: %s", ev.AppendJSON(nil))
		case ev.Kind == event.Note && ev.Detail == noLibrary && ev.Exe.Base().Is("curl") && ev.Count == 2:
			return
		}
	}
	t.Error("that two connections were not read is not told")
}
