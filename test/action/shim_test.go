package action

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

// found asks the shim for the program of an action that lies in root, and
// returns what it says.
func found(t *testing.T, root, release, before string, env ...string) string {
	t.Helper()
	shim, err := filepath.Abs("../../action/shim.js")
	if err != nil {
		t.Fatal(err)
	}
	script := before + `;require("` + shim + `").program("` + root + `", ` + release + `).then((f) => console.log("FOUND " + f), (e) => console.log("ERROR " + e.message))`
	cmd := exec.Command(mustResolve(t, "node"), "-e", script)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v %s", err, out)
	}
	return strings.TrimSpace(string(out))
}

func TestTheShimTakesNothingButWhatWasReleased(t *testing.T) {
	const program = "#!/bin/sh\necho released\n"
	sum := sha256.Sum256([]byte(program))
	want := hex.EncodeToString(sum[:])
	var asked atomic.Int32
	var fail atomic.Int32 // how many requests more are answered by 503
	body := program
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		asked.Add(1)
		if fail.Add(-1) >= 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		if req.URL.Path != "/releases/download/v1.2.3/edamame-posture-linux-amd64" {
			http.NotFound(w, req)
			return
		}
		_, _ = w.Write([]byte(body))
	}))
	defer s.Close()
	release := `{version: "1.2.3", sha256: {amd64: "` + want + `"}, source: "` + s.URL + `"}`
	root, cache := t.TempDir(), t.TempDir()
	x64 := `Object.defineProperty(process, "arch", {value: "x64"})`
	file := filepath.Join(cache, "edamame-posture", "1.2.3", "amd64", "edamame-posture")
	get := func() string { return found(t, root, release, x64, "RUNNER_TOOL_CACHE="+cache) }

	fail.Store(2)
	if got := get(); got != "FOUND "+file || asked.Load() != 3 {
		t.Fatalf("after two answers of 503: %s, %d requests", got, asked.Load())
	}
	if st, err := os.Stat(file); err != nil || st.Mode().Perm()&0o111 == 0 {
		t.Fatalf("it cannot be run: %v", err)
	}
	asked.Store(0)
	if got := get(); got != "FOUND "+file || asked.Load() != 0 {
		t.Errorf("from the cache: %s, %d requests", got, asked.Load())
	}
	// Who can write the cache chooses no other program.
	if err := os.WriteFile(file, []byte("#!/bin/sh\necho other\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if got := get(); got != "FOUND "+file || asked.Load() != 1 {
		t.Errorf("from a changed cache: %s, %d requests", got, asked.Load())
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != program {
		t.Errorf("the cache holds %q, %v", b, err)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	body = program + "# changed\n"
	if got := get(); !strings.Contains(got, "ERROR") || !strings.Contains(got, want+" was released") {
		t.Errorf("another program: %s", got)
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("another program was kept")
	}
	// What lies beside the action comes first.
	beside := filepath.Join(root, "bin", "linux-amd64", "edamame-posture")
	if err := os.MkdirAll(filepath.Dir(beside), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(beside, []byte(program), 0o755); err != nil {
		t.Fatal(err)
	}
	if got := get(); got != "FOUND "+beside {
		t.Errorf("beside: %s", got)
	}
}

func TestTheShimSaysWhereThereIsNoMonitor(t *testing.T) {
	for _, c := range []struct{ platform, arch, want string }{
		{"darwin", "arm64", "no monitor for darwin on arm64"},
		{"win32", "x64", "no monitor for win32 on x64"},
		{"linux", "arm", "no monitor for linux on arm"},
	} {
		before := `Object.defineProperty(process, "platform", {value: "` + c.platform + `"});Object.defineProperty(process, "arch", {value: "` + c.arch + `"})`
		if got := found(t, t.TempDir(), `{version: "", sha256: {}}`, before); !strings.HasPrefix(got, "ERROR ") || !strings.Contains(got, c.want) {
			t.Errorf("%s on %s: %s", c.platform, c.arch, got)
		}
	}
	if got := found(t, t.TempDir(), `{version: "", sha256: {}}`, "", "PATH=/nowhere"); !strings.Contains(got, "there is no Go to build it") {
		t.Errorf("without release and Go: %s", got)
	}
}

// A commit that was not released is built, as Go builds it.
func TestTheShimBuildsWhatWasNotReleased(t *testing.T) {
	root, temp := t.TempDir(), t.TempDir()
	for name, text := range map[string]string{
		"go.mod":                      "module example.com/x\n\ngo 1.26\n",
		"cmd/edamame-posture/main.go": "package main\n\nfunc main() { println(\"built\") }\n",
	} {
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got := found(t, root, `{version: "", sha256: {}}`, "", "RUNNER_TEMP="+temp)
	if !strings.HasPrefix(got, "::notice title=edamame-posture::this commit was not released") || !strings.HasSuffix(got, "FOUND "+temp+"/posture-bin/edamame-posture") {
		t.Fatal(got)
	}
	if out, err := exec.Command(temp + "/posture-bin/edamame-posture").CombinedOutput(); err != nil || string(out) != "built\n" {
		t.Errorf("%v %s", err, out)
	}
}
