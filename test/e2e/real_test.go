package e2e

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/fact"
)

// An npm package whose install script runs a program that it brings. What npm
// is known to do: sh -c "node install.js" below npm, files below node_modules,
// TLS to the configured registry and to nothing else.
func TestNpmInstallOfAPackageWithAnInstallScript(t *testing.T) {
	need(t, "npm", "node")
	registry, err := exec.Command("npm", "config", "get", "registry").Output()
	if err != nil {
		t.Fatalf("npm config get registry: %v", err)
	}
	in := t.TempDir()
	if err := os.WriteFile(filepath.Join(in, "package.json"), []byte(`{"name":"watched","version":"1.0.0"}`), 0o644); err != nil {
		t.Fatal(err)
	}
	w := run(t, options{in: in, env: []string{"npm_config_cache=" + t.TempDir()}}, "npm", "install", "--foreground-scripts", "--no-audit", "--no-fund", "esbuild@0.25.0")
	if w.code != 0 {
		t.Fatalf("npm install failed:\n%s\n%s", w.stdout, w.stderr)
	}
	w.complete()
	w.must(anyContains(w.execs(), "install.js"), "the install script is not among the execs: %q", w.execs())
	names := w.lineage(func(e *event.Event) bool {
		return len(e.Argv) > 1 && strings.HasSuffix(e.Argv[1].String(), "install.js")
	})
	w.must(len(names) >= 3 && names[0] == "node" && (slices.Contains(names, "sh") || slices.Contains(names, "dash")), "the install script's lineage is %q", names)
	host := strings.Split(strings.TrimPrefix(strings.TrimPrefix(strings.TrimSpace(string(registry)), "https://"), "http://"), "/")[0]
	host = strings.Split(host, ":")[0]
	connects := w.facts(fact.Connect)
	w.must(len(connects) > 0, "no destination was seen")
	proxied := os.Getenv("HTTPS_PROXY") + os.Getenv("https_proxy") + os.Getenv("npm_config_proxy") + os.Getenv("npm_config_https_proxy")
	for _, c := range connects {
		name := c[:max(strings.LastIndexByte(c, ':'), 0)]
		if !strings.HasPrefix(c, host+":") && !(proxied != "" && strings.Contains(proxied, name)) && !strings.HasPrefix(c, "127.") {
			t.Errorf("npm went to %s, and its registry is another host", c)
		}
	}
	w.must(anyContains(w.facts(fact.Write), "node_modules/esbuild"), "no write below node_modules/esbuild: %q", w.facts(fact.Write))
	w.must(len(w.verdict.Findings) == 0, "an ordinary install has findings: %+v", w.verdict.Findings)
	w.must(len(w.observed) < 300, "an ordinary install comes to %d facts", len(w.observed))
}

func TestGoBuildOfAModuleWithDependencies(t *testing.T) {
	in := t.TempDir()
	files := map[string]string{
		"go.mod":  "module example.com/watched\n\ngo 1.26\n\nrequire golang.org/x/text v0.43.0\n",
		"main.go": "package main\n\nimport (\n\t\"fmt\"\n\n\t\"golang.org/x/text/language\"\n)\n\nfunc main() { fmt.Println(language.English) }\n",
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(in, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	w := run(t, options{in: in, env: []string{"GOCACHE=" + t.TempDir(), "GOFLAGS=-mod=mod", "CGO_ENABLED=0"}}, "go", "build", "-o", "watched", ".")
	if w.code != 0 {
		t.Fatalf("go build failed:\n%s", w.stderr)
	}
	w.complete()
	compiles := 0
	for _, e := range w.events {
		if e.Kind == event.Exec && filepath.Base(e.Exe.String()) == "compile" {
			compiles++
		}
	}
	w.must(compiles > 20, "%d compiles were seen of an empty cache", compiles)
	names := w.lineage(func(e *event.Event) bool { return filepath.Base(e.Exe.String()) == "link" })
	w.must(len(names) >= 2 && names[0] == "link" && names[1] == "go", "the linker's lineage is %q", names)
	w.must(len(w.verdict.Findings) == 0, "an ordinary build has findings: %+v", w.verdict.Findings)
	w.must(len(w.observed) < 300, "an ordinary build comes to %d facts", len(w.observed))
	written := false
	for _, e := range w.events {
		if e.Kind == event.Open && e.Access&event.Write != 0 && strings.HasPrefix(e.Path.String(), in+"/") ||
			e.Kind == event.Rename && e.NewPath.String() == filepath.Join(in, "watched") {
			written = true
		}
	}
	w.must(written, "the program that was built is not among the files written")
}

func TestGitCloneFromALocalServerOverHTTP(t *testing.T) {
	need(t, "git", "ip")
	root := t.TempDir()
	repo := filepath.Join(root, "repo")
	for _, args := range [][]string{
		{"init", "-q", repo}, {"-C", repo, "config", "user.email", "t@example.com"}, {"-C", repo, "config", "user.name", "t"},
		{"-C", repo, "commit", "-q", "--allow-empty", "-m", "first"}, {"-C", repo, "update-server-info"},
	} {
		if out, err := exec.Command("git", args...).CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	ns, listen := netns(t)
	serve(t, listen("tcp4", "198.51.100.7:8080"), http.FileServer(http.Dir(root)))
	w := run(t, options{}, "ip", "netns", "exec", ns, "git", "clone", "-q", "http://198.51.100.7:8080/repo/.git", "clone")
	if w.code != 0 {
		t.Fatalf("git clone failed:\n%s", w.stderr)
	}
	w.complete()
	w.must(anyContains(w.facts(fact.Connect), "198.51.100.7:8080"), "the server is not among the destinations: %q", w.facts(fact.Connect))
	var flow, request bool
	for _, e := range w.events {
		flow = flow || e.Kind == event.Flow && e.OK && e.Dst.String() == "198.51.100.7:8080" && e.Sent > 50 && e.Received > 100
		request = request || e.Kind == event.HTTP && e.Method.String() == "GET" && strings.HasPrefix(e.Path.String(), "/repo/.git/")
	}
	w.must(flow, "no closed connection with its bytes")
	w.must(request, "no HTTP request line")
	names := w.lineage(func(e *event.Event) bool { return strings.Contains(e.Exe.String(), "git-remote-http") })
	w.must(len(names) > 1 && slices.Contains(names, "git"), "the transport's lineage is %q", names)
	w.must(anyContains(w.facts(fact.Write), "clone"), "no write of the clone: %q", w.facts(fact.Write))
}
