package monitor

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/org/edamame-posture/pkg/event"
)

// overTLS is a server that answers everything, with HTTP/2 for who asks for it.
func overTLS(t testing.TB) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
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
			if want := []string{"GET " + host + "/one", "GET " + host + "/two?token=[token:21]"}; !slices.EqualFunc(got, want, func(a, b string) bool {
				return a == b || strings.HasPrefix(b, a[:len(a)-1]) || strings.Contains(a, "token=[")
			}) {
				t.Errorf("%q; want %q", got, want)
			}
			if read < len(conns) {
				t.Errorf("%d of %d connections were read whole", read, len(conns))
			}
		})
	}
}
