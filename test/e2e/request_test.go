package e2e

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A policy that limits the requests to a server on loopback: what it allows
// passes, what it does not fails and is explained with its line, and what cannot
// be read is no pass.
func TestRequestsOfCurlAreHeldAgainstThePolicy(t *testing.T) {
	need(t, "curl", "python3")
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serve(t, l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "hello") }))
	secret := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(secret.Close)
	addr := l.Addr().String()
	_, port, _ := net.SplitHostPort(addr)
	policy := filepath.Join(t.TempDir(), "posture.yml")
	text := "version: 1\negress:\n  - {to: \"" + addr + "\", by: [curl], http: [\"GET /v1/**\", \"POST /v1/releases\"]}\n" +
		"  - {to: \"" + secret.Listener.Addr().String() + "\", by: [curl], http: [\"GET /v1/**\"]}\n"
	if err := os.WriteFile(policy, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	job := func(script string) *watched {
		t.Helper()
		w := run(t, options{flags: []string{"--intent", policy}}, "/bin/sh", "-c", script)
		if out, err := exec.Command(binary, "replay", w.dir).CombinedOutput(); err != nil {
			t.Errorf("replay: %v\n%s", err, out)
		}
		return w
	}
	url := "http://" + addr

	w := job("curl -sf '" + url + "/v1/a?token=1' && curl -sf -d name=1 " + url + "/v1/releases && curl -sf http://localhost:" + port + "/v1/b --ipv4")
	w.complete()
	w.must(w.code == 0 && w.verdict.Verdict == "pass", "%s, undeclared %+v, coverage %+v", w.verdict.Verdict, w.verdict.Undeclared, w.verdict.Coverage)

	w = job("curl -sf " + url + "/v1/a && curl -sf -d 'key=1' '" + url + "/v2/steal?more=1'")
	w.complete()
	u := w.verdict.Undeclared
	w.must(w.code == 3 && w.verdict.Verdict == "fail" && len(u) == 1 && u[0].Verb == "request" && u[0].Object == "POST "+addr+"/v2/steal", "%s, %+v", w.verdict.Verdict, u)
	out, err := exec.Command(binary, "explain", w.dir).CombinedOutput()
	for _, want := range []string{"undeclared request POST " + addr + "/v2/steal by curl", "posture.yml:3:10", "it allows GET /v1/** and POST /v1/releases only", `http: ["POST /v2/steal"]}`} {
		if err != nil || !strings.Contains(string(out), want) {
			t.Errorf("explain: %v, without %q\n%s", err, want, out)
		}
	}

	for name, c := range map[string]struct{ script, why string }{
		"two requests on a connection": {"curl -sf " + url + "/v1/a " + url + "/v2/b", "more was sent on a connection"},
		"HTTP/2":                       {"curl -s --http2-prior-knowledge " + url + "/v2/b || true", "no request was seen"},
		"a chunked body":               {"curl -sf -H 'Transfer-Encoding: chunked' -d x " + url + "/v1/releases", "where a request ends is not known"},
	} {
		w := job(c.script)
		w.must(w.verdict.Verdict == "review" && w.verdict.Coverage.State == "partial" && w.code == 0, "%s: %s, undeclared %+v", name, w.verdict.Verdict, w.verdict.Undeclared)
		told := false
		for _, g := range w.verdict.Coverage.Gaps {
			told = told || strings.Contains(g.What, c.why) && strings.Contains(g.What, "posture.yml:")
		}
		w.must(told, "%s: the gaps are %+v", name, w.verdict.Coverage.Gaps)
	}

	inTLS := "curl -sk https://localhost:" + secret.URL[strings.LastIndexByte(secret.URL, ':')+1:] + "/v2/b --ipv4"
	w = job(inTLS)
	w.complete()
	u = w.verdict.Undeclared
	w.must(w.code == 3 && len(u) == 1 && u[0].Verb == "request" && u[0].Object == "GET "+secret.Listener.Addr().String()+"/v2/b", "TLS: %s, %+v", w.verdict.Verdict, u)
	w = run(t, options{flags: []string{"--intent", policy, "--no-tls"}}, "/bin/sh", "-c", inTLS)
	told := false
	for _, g := range w.verdict.Coverage.Gaps {
		told = told || strings.Contains(g.What, "encrypted") && strings.Contains(g.What, "posture.yml:")
	}
	w.must(w.verdict.Verdict == "review" && told && w.code == 0, "TLS that is not read: %s, the gaps are %+v", w.verdict.Verdict, w.verdict.Coverage.Gaps)

	// Behind one that is allowed, in the same write.
	pipelined := `import socket
s = socket.create_connection(("127.0.0.1", ` + port + `))
s.sendall(b"GET /v1/a HTTP/1.1\r\nHost: localhost\r\n\r\nPOST /v2/steal HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
while s.recv(4096): pass
`
	script := filepath.Join(t.TempDir(), "curl")
	if err := os.WriteFile(script, []byte("#!/usr/bin/python3\n"+pipelined), 0o755); err != nil {
		t.Fatal(err)
	}
	w = job(script)
	w.complete()
	u = w.verdict.Undeclared
	w.must(w.verdict.Verdict == "fail" && len(u) == 1 && u[0].Object == "POST "+addr+"/v2/steal", "%s, %+v", w.verdict.Verdict, u)
}
