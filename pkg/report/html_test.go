package report

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

func pageOf(t *testing.T, d *Data) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := HTML(&b, d); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// The document itself, before its script: only our elements, nothing that loads
// or runs but the script of the policy, and data that cannot end its element.
func TestThePageHoldsOnlyOurElements(t *testing.T) {
	ours := map[string]bool{}
	for _, e := range strings.Fields("!DOCTYPE html head meta title style body div main h1 h2 p ul li code script") {
		ours[e] = true
	}
	tag := regexp.MustCompile(`<(/?)([^\s>]*)`)
	attribute := regexp.MustCompile(`\s(on\w+|src|href|action|formaction|data|poster|srcdoc|style)\s*=`)
	inTag := regexp.MustCompile(`<[^>]*>`)
	for _, name := range hostileNames {
		page := string(pageOf(t, hostile(name)))
		head, rest, _ := strings.Cut(page, `<script type="application/json" id="data">`)
		data, rest, _ := strings.Cut(rest, "</script>")
		script, rest, _ := strings.Cut(strings.TrimPrefix(rest, "\n<script>"), "</script>")
		head = strings.Replace(head, pageStyle(), "", 1)
		noControl(t, "html", name, head)
		if script != pageScript() || strings.TrimSpace(rest) != "</body>\n</html>" {
			t.Fatalf("%q: the script is not ours, or something follows it", name)
		}
		if !json.Valid([]byte(data)) || strings.ContainsAny(data, "<>&") {
			t.Errorf("%q: the data is no JSON that may stand in an element", name)
		}
		for _, m := range tag.FindAllStringSubmatch(head, -1) {
			if !ours[m[2]] {
				t.Errorf("%q: the page has an element <%s%s", name, m[1], m[2])
			}
		}
		for _, m := range inTag.FindAllString(head, -1) {
			if attribute.MatchString(m) {
				t.Errorf("%q: the page has %s", name, m)
			}
		}
		for _, want := range []string{`default-src &#39;none&#39;`, `base-uri &#39;none&#39;`, `form-action &#39;none&#39;`, "sha256-"} {
			if !strings.Contains(head, want) {
				t.Errorf("the policy lacks %s", want)
			}
		}
		if strings.Contains(head, "unsafe-inline") {
			t.Error("the policy lets anything run")
		}
	}
}

// What is committed is what the modules give.
func TestTheScriptIsUpToDate(t *testing.T) {
	out := filepath.Join(t.TempDir(), "report.js")
	if b, err := exec.Command("go", "run", "./page/bundle", "-out", out, "page").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, b)
	}
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	style, err := os.ReadFile("page/report.css")
	if err != nil {
		t.Fatal(err)
	}
	if string(b) != pageScript() || string(style) != pageStyle() {
		t.Error("page/report.js is not what its modules give: go generate ./pkg/report")
	}
	if regexp.MustCompile(`(?i)\bfetch\(|XMLHttpRequest|WebSocket|innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|\.href\s*=|\bimport\(`).MatchString(pageScript()) {
		t.Error("the script does what it has no need to")
	}
}

// chromium runs the page in the browser, with a proxy of ours as its only way
// to the network, and returns the document that it came to and what was asked
// of the hosts that our pages name, all of them under example.com. What the
// browser asks for itself ends at the proxy too and does not count.
func chromium(t *testing.T, page []byte) (dom string, requests []string) {
	t.Helper()
	bin := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if p, err := exec.LookPath(name); err == nil {
			bin = p
			break
		}
	}
	if bin == "" {
		t.Skip("Chromium is not installed: apt-get install chromium")
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "report.html")
	if err := os.WriteFile(file, page, 0o644); err != nil {
		t.Fatal(err)
	}
	// Every request but the file's own goes to this proxy, which counts it and
	// hangs up.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var mu sync.Mutex
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			buf := make([]byte, 200)
			n, _ := c.Read(buf)
			c.Close()
			if bytes.Contains(buf[:n], []byte("example.com")) {
				mu.Lock()
				requests = append(requests, string(buf[:n]))
				mu.Unlock()
			}
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, bin,
		"--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
		"--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--disable-default-apps", "--disable-extensions",
		"--user-data-dir="+filepath.Join(dir, "profile"), "--proxy-server=http://"+l.Addr().String(), "--proxy-bypass-list=<-loopback>",
		"--dump-dom", "file://"+file)
	cmd.WaitDelay = 5 * time.Second
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, stderr.String())
	}
	mu.Lock()
	defer mu.Unlock()
	return string(out), requests
}

// A page without our policy does reach the counter, and its script does run:
// else the tests below would show nothing.
func TestTheBrowserWouldTellOfARequestAndAScript(t *testing.T) {
	dom, requests := chromium(t, []byte(`<!DOCTYPE html><title>a</title><img src="http://example.com/i.png"><script>document.title = "ran"</script>`))
	if len(requests) == 0 {
		t.Error("no request was counted")
	}
	if !strings.Contains(dom, "<title>ran</title>") {
		t.Error("no script ran")
	}
}

// Even where the escaping had a hole, the policy of the page holds.
func TestThePolicyOfThePageStopsWhatItDoesNotHold(t *testing.T) {
	page := string(pageOf(t, install(t)))
	page = strings.Replace(page, "<main class=\"plain\">", `<main class="plain"><img src="http://example.com/i.png"><script>document.title = "ran"</script><img src=x onerror="document.title = 'ran'">`, 1)
	dom, requests := chromium(t, []byte(page))
	if len(requests) > 0 {
		t.Errorf("a request was made: %s", requests[0])
	}
	if strings.Contains(dom, "<title>ran</title>") {
		t.Error("a script ran")
	}
}

func TestALargeTreeIsBoundedAndTheRestCounted(t *testing.T) {
	top := &Process{}
	for i := range 500 {
		p := &Process{Program: fmt.Sprint("p", i), Repeats: 1}
		for k := range 20 {
			p.Children = append(p.Children, &Process{Program: fmt.Sprint("c", k), Repeats: 3})
		}
		top.Children = append(top.Children, p)
	}
	// One process deep down that a finding names.
	deep := top.Children[499]
	for i := range 300 {
		c := &Process{Program: fmt.Sprint("d", i), Repeats: 1, Depth: i + 2}
		deep.Children = append(deep.Children, c)
		deep = c
	}
	deep.Findings = []string{"d01"}
	bound(top, maxProcesses)
	kept := all(top)[1:]
	if len(kept) != maxProcesses {
		t.Errorf("%d processes are kept", len(kept))
	}
	var hidden uint64
	found := false
	for _, p := range all(top) {
		hidden += p.Hidden
		found = found || len(p.Findings) > 0
	}
	// 500 + 300 single ones and 500 * 20 that stand for 3.
	var shown uint64
	for _, p := range kept {
		shown += p.Repeats
	}
	if shown+hidden != 500+300+500*20*3 {
		t.Errorf("%d shown and %d counted", shown, hidden)
	}
	if !found {
		t.Error("the process that a finding names is gone")
	}
}
