package report

import (
	"bytes"
	"context"
	"fmt"
	"html"
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

func TestThePageHoldsOnlyOurElements(t *testing.T) {
	ours := map[string]bool{}
	for _, e := range strings.Fields("!DOCTYPE html head meta title style body h1 h2 p table tr th td code pre div ul li span details summary b br") {
		ours[e] = true
	}
	tag := regexp.MustCompile(`<(/?)([^\s>]*)`)
	attribute := regexp.MustCompile(`\s(on\w+|src|href|action|formaction|data|poster|srcdoc|style)\s*=`)
	inTag := regexp.MustCompile(`<[^>]*>`)
	for _, name := range hostileNames {
		page := string(pageOf(t, hostile(name)))
		noControl(t, "html", name, page)
		for _, m := range tag.FindAllStringSubmatch(page, -1) {
			if !ours[m[2]] {
				t.Errorf("%q: the page has an element <%s%s", name, m[1], m[2])
			}
		}
		for _, m := range inTag.FindAllString(page, -1) {
			if attribute.MatchString(m) {
				t.Errorf("%q: the page has %s", name, m)
			}
		}
		if !strings.Contains(page, `default-src 'none'`) {
			t.Error("the policy is missing")
		}
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
	page = strings.Replace(page, "</h1>", `</h1><img src="http://example.com/i.png"><script>document.title = "ran"</script><img src=x onerror="document.title = 'ran'">`, 1)
	dom, requests := chromium(t, []byte(page))
	if len(requests) > 0 {
		t.Errorf("a request was made: %s", requests[0])
	}
	if strings.Contains(dom, "<title>ran</title>") {
		t.Error("a script ran")
	}
}

// What the browser makes of the page: the text of every name is there, and no
// element of it.
func TestHostileNamesAreTextInTheBrowser(t *testing.T) {
	d := hostile("x")
	for _, name := range hostileNames {
		h := hostile(name)
		d.Verdict.Findings = append(d.Verdict.Findings, h.Verdict.Findings...)
		d.Verdict.Undeclared = append(d.Verdict.Undeclared, h.Verdict.Undeclared...)
		d.Destinations = append(d.Destinations, h.Destinations...)
		d.Written = append(d.Written, h.Written...)
		d.Credentials = append(d.Credentials, h.Credentials...)
		d.Processes = append(d.Processes, h.Processes...)
		d.Survivors = append(d.Survivors, h.Survivors...)
		d.Notes = append(d.Notes, name)
		d.Policy += h.Policy
	}
	dom, requests := chromium(t, pageOf(t, d))
	if len(requests) > 0 {
		t.Errorf("the page asked for something: %s", requests[0])
	}
	for _, bad := range []string{"<script", "<img", "<a ", "<iframe", "<svg", "onerror=\"", "href=", "<b>\n"} {
		if strings.Contains(dom, bad) {
			t.Errorf("the document holds %s", bad)
		}
	}
	if !strings.Contains(dom, "<title>Posture: fail</title>") {
		t.Error("the title is not ours")
	}
	if n := strings.Count(dom, "<style>"); n != 1 {
		t.Errorf("%d style sheets", n)
	}
	for _, name := range hostileNames {
		if name == "" || len(name) > 1000 {
			continue
		}
		// Names are shown cut nowhere on the page, as text. A browser writes
		// only these three as entities in text.
		want := strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(visible(name))
		if strings.Count(dom, want) < 5 {
			t.Errorf("%q is not shown as %s", name, want)
		}
	}
	if !strings.Contains(dom, "×412") {
		t.Error("the repeats are not told")
	}
}

func TestTheReportOfAnInstallInTheBrowser(t *testing.T) {
	dom, _ := chromium(t, pageOf(t, install(t)))
	text := html.UnescapeString(regexp.MustCompile(`<[^>]*>`).ReplaceAllString(dom, " "))
	text = strings.Join(strings.Fields(text), " ")
	for _, want := range []string{
		"Posture: review , score 0", "No policy says what it may do.", "npm install esbuild , exit 0",
		"1 destination, 7.2 kB out, 9.6 MB in.", "packages.example.org:443 name from TLS 198.51.100.20 tcp",
		"/home/ci/.npmrc", "48 files: 7 in the workspace, 40 in caches, 1 in temporary folders, 0 elsewhere.",
		"node install.js", "esbuild --version ×2", "Coverage complete", "root", `- {to: "packages.example.org:443", by: [npm]}`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in: %s", want, text)
		}
	}
	if n := strings.Count(dom, "<details"); n != 4 {
		t.Errorf("%d foldable processes, want shell, npm, sh and install.js", n)
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
	d := hostile("x")
	d.Processes = top.Children
	page := string(pageOf(t, d))
	if n := strings.Count(page, "<li>"); n != maxProcesses {
		t.Errorf("%d processes on the page", n)
	}
	if !strings.Contains(page, "depth 301") {
		t.Error("the deepest process does not say how deep it is")
	}
	if len(page) > 4<<20 {
		t.Errorf("the page has %d bytes", len(page))
	}
}
