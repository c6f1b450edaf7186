// Package action runs the action under act, the real thing but for the runner.
package action

import (
	"archive/zip"
	"bytes"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/evidence"
	"github.com/org/edamame-posture/pkg/fact"
)

const workflow = `on: push
jobs:
  build:
    runs-on: ubuntu-latest
    steps:
      - uses: org/edamame-posture@v1
        id: posture
        with: {out: "%s/posture", policy: "%s"}
      - name: makes a file
        run: echo made > product.txt
      - name: ends badly
        run: %s
`

// act finds the tool that `make tools` has built.
func act(t *testing.T) string {
	t.Helper()
	if p, err := exec.LookPath("act"); err == nil {
		return p
	}
	p, err := filepath.Abs("../../.tools/bin/act")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(p); err != nil {
		t.Skip("act is not there: make tools builds it")
	}
	return p
}

// released is the folder of install, made once.
var released struct {
	sync.Once
	dir string
}

func TestMain(m *testing.M) {
	code := m.Run()
	if released.dir != "" {
		os.RemoveAll(released.dir)
	}
	os.Exit(code)
}

// install lays the action out as a release does: with the binary beside it.
func install(t testing.TB) string {
	t.Helper()
	released.Do(func() { lay(t) })
	if released.dir == "" {
		t.Fatal("there is no release to test")
	}
	return released.dir
}

func lay(t testing.TB) {
	t.Helper()
	dir, err := os.MkdirTemp("", "posture-release-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if released.dir == "" {
			os.RemoveAll(dir)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join(dir, "action"), os.DirFS(filepath.Join(root, "action"))); err != nil {
		t.Fatal(err)
	}
	manifest, err := os.ReadFile(filepath.Join(root, "action.yml"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "action.yml"), manifest, 0o644); err != nil {
		t.Fatal(err)
	}
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", filepath.Join(dir, "bin", "linux-amd64", "edamame-posture"), "./cmd/edamame-posture")
	build.Dir = root
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	git(t, dir, "init", "-q")
	git(t, dir, "add", "-A", "-f")
	git(t, dir, "commit", "-q", "-m", "release")
	released.dir = dir
}

// freePort returns a port of this machine that nobody listens at.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

func git(t testing.TB, dir string, args ...string) {
	t.Helper()
	cmd := exec.Command("git", append([]string{"-c", "user.email=t@example.com", "-c", "user.name=t", "-C", dir}, args...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
}

func TestTheActionWatchesAJobAndTellsWhatItDid(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("watching from the kernel needs root")
	}
	tool, release := act(t), install(t)
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	address := strings.Replace(strings.TrimPrefix(server.URL, "http://"), ":", "/", 1)
	for _, c := range []struct {
		name, last, policy string
		fails              bool
		verdict            string
	}{
		{"a job that goes well", "true", "", false, "review"},
		{"a job whose step fails is still told", "exit 9", "", true, "review"},
		{"a job that does what its policy forbids fails", "exec 3<>/dev/tcp/" + address, `version: 1\negress: []`, true, "fail"},
		{"a job that is cancelled is still told", "kill -INT $(cat %s/act); sleep 60", "", true, "review"},
	} {
		t.Run(c.name, func(t *testing.T) {
			repo, cache, temp := t.TempDir(), t.TempDir(), t.TempDir()
			last := strings.ReplaceAll(c.last, "%s", temp)
			wf := filepath.Join(repo, ".github", "workflows", "ci.yml")
			if err := os.MkdirAll(filepath.Dir(wf), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(wf, fmt.Appendf(nil, workflow, temp, c.policy, last), 0o644); err != nil {
				t.Fatal(err)
			}
			git(t, repo, "init", "-q")
			git(t, repo, "remote", "add", "origin", "https://github.com/octo/app")
			git(t, repo, "add", "-A")
			git(t, repo, "commit", "-q", "-m", "first")
			cmd := exec.Command(tool, "push", "-W", ".github/workflows/ci.yml", "-P", "ubuntu-latest=-self-hosted",
				"--local-repository", "org/edamame-posture@v1="+release, "--json",
				"--container-daemon-socket", "-", "--pull=false", "--action-offline-mode",
				"--artifact-server-path", filepath.Join(temp, "artifacts"), "--artifact-server-addr", "127.0.0.1", "--artifact-server-port", freePort(t))
			cmd.Dir = repo
			cmd.Env = append(os.Environ(), "XDG_CACHE_HOME="+cache, "DO_NOT_TRACK=1", "HOME="+t.TempDir())
			var b bytes.Buffer
			cmd.Stdout, cmd.Stderr = &b, &b
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(temp, "act"), fmt.Append(nil, cmd.Process.Pid), 0o644); err != nil {
				t.Fatal(err)
			}
			err := cmd.Wait()
			out := b.Bytes()
			if (err != nil) != c.fails {
				t.Fatalf("act: %v\n%s", err, out)
			}
			if !strings.Contains(string(out), "::set-output:: verdict="+c.verdict) {
				t.Errorf("the output verdict is not %s\n%s", c.verdict, out)
			}
			if got := strings.Contains(string(out), `"command":"error"`) && strings.Contains(string(out), "undeclared: connect"); got != (c.verdict == "fail") {
				t.Errorf("an annotation of what it did: %v\n%s", got, out)
			}
			// act knows no index of a job in its matrix.
			artifact, err := zip.OpenReader(filepath.Join(temp, "artifacts", "1", "posture-build", "posture-build.zip"))
			if err != nil {
				t.Fatalf("the artifact: %v\n%s", err, out)
			}
			defer artifact.Close()
			if _, err := fs.Stat(artifact, "evidence/manifest.json"); err != nil {
				t.Errorf("the artifact: %v", err)
			}
			e, err := evidence.Open(filepath.Join(temp, "posture", "evidence"))
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			defer e.Close()
			in, err := e.Inputs()
			if err != nil {
				t.Fatal(err)
			}
			j, err := e.Replay(in)
			if err != nil {
				t.Fatal(err)
			}
			if c := j.Verdict().Coverage; c.State != "complete" {
				t.Errorf("coverage is %+v", c)
			}
			var wrote bool
			for _, f := range j.Facts() {
				wrote = wrote || f.Verb == fact.Write && strings.Contains(f.Object.String(), "product.txt")
			}
			if !wrote {
				t.Errorf("the step's file is not among the facts\n%s", out)
			}
			if err := e.Each(func(_ []byte, ev *event.Event) error {
				for i := range ev.Survivors {
					// A step that is cancelled may leave what it waited for.
					if exe := ev.Survivors[i].Exe.String(); !strings.HasSuffix(exe, "/sleep") {
						t.Errorf("%s is told as left running: our own post step is not, and nothing else was", exe)
					}
				}
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(string(out), `"command":"summary"`) || !strings.Contains(string(out), "### ") {
				t.Errorf("there is no job summary:\n%s", out)
			}
		})
	}
}
