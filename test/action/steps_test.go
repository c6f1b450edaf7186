package action

import (
	"archive/zip"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/org/edamame-posture/pkg/evidence"
	"github.com/org/edamame-posture/pkg/judge"
	"github.com/org/edamame-posture/pkg/report"
	"github.com/org/edamame-posture/pkg/witness"
	"github.com/org/edamame-posture/test/rig"
	"github.com/org/edamame-posture/test/sigstore"
)

// runner stands for GitHub's: this process starts each step as its own child,
// as the user that steps have, with the runner's environment and files.
type runner struct {
	t         testing.TB
	release   string
	workspace string
	temp      string
	user      *user.User // nil for root
	env       map[string]string
	node      string
	state     map[string]string
	summary   string
	outputs   string
}

// person is an ordinary user, who may use sudo without a password or not at all.
func person(t *testing.T, sudo bool) *user.User {
	t.Helper()
	for _, tool := range []string{"sudo", "useradd"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(err)
		}
	}
	const name = "posture-tester"
	u, err := user.Lookup(name)
	if err != nil {
		if out, err := exec.Command("useradd", "-m", "-s", "/bin/bash", name).CombinedOutput(); err != nil {
			t.Skipf("a user for the test cannot be made: %v %s", err, out)
		}
		t.Cleanup(func() {
			if out, err := exec.Command("userdel", "-r", name).CombinedOutput(); err != nil {
				t.Logf("userdel %s: %v %s", name, err, out)
			}
		})
		if u, err = user.Lookup(name); err != nil {
			t.Fatal(err)
		}
	}
	if sudo {
		rig.Sudo(t, name, "action", "ALL")
	}
	return u
}

func newRunner(t testing.TB, u *user.User) *runner {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("watching from the kernel needs root")
	}
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip(err)
	}
	r := &runner{t: t, release: install(t), workspace: t.TempDir(), temp: t.TempDir(), user: u, node: node, env: map[string]string{}}
	if u != nil {
		uid, _ := strconv.Atoi(u.Uid)
		for _, dir := range []string{r.workspace, r.temp} {
			if err := os.Chown(dir, uid, -1); err != nil {
				t.Fatal(err)
			}
		}
		// The folder of a test is its own user's alone.
		if err := os.Chmod(filepath.Dir(r.temp), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for k, v := range map[string]string{
		"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/root", "USER": "root", "CI": "true",
		"GITHUB_ACTIONS": "true", "GITHUB_WORKSPACE": r.workspace, "RUNNER_TEMP": r.temp, "GITHUB_JOB": "build",
		"GITHUB_REPOSITORY": "octo/app", "GITHUB_SHA": sha, "GITHUB_WORKFLOW_SHA": sha, "GITHUB_EVENT_NAME": "push",
		"GITHUB_WORKFLOW_REF": "octo/app/.github/workflows/ci.yml@refs/heads/main", "GITHUB_API_URL": "http://127.0.0.1:1",
		"GITHUB_SERVER_URL": "https://github.com", "RUNNER_TRACKING_ID": "github_test", "INPUT_JOB": "build", "INPUT_MATRIX-INDEX": "0",
	} {
		r.env[k] = v
	}
	if u != nil {
		r.env["HOME"], r.env["USER"] = u.HomeDir, u.Username
	}
	return r
}

const sha = "1111111111111111111111111111111111111111"

// start runs a process as a step has it, and returns what it printed.
func (r *runner) start(argv []string, more map[string]string) (out string, code int) {
	r.t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir = r.workspace
	for _, env := range []map[string]string{r.env, more} {
		for k, v := range env {
			cmd.Env = append(cmd.Env, k+"="+v)
		}
	}
	if r.user != nil {
		uid, _ := strconv.Atoi(r.user.Uid)
		gid, _ := strconv.Atoi(r.user.Gid)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	}
	var b bytes.Buffer
	cmd.Stdout, cmd.Stderr = &b, &b
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		r.t.Fatal(err)
	}
	return b.String(), cmd.ProcessState.ExitCode()
}

var multiline = regexp.MustCompile(`(?m)^([A-Za-z-]+)<<(.+)\n((?s:.*?))\n(.+)$`)

// step runs a step of the action.
func (r *runner) step(name string) (out string, code int) {
	r.t.Helper()
	files := map[string]string{}
	for _, f := range []string{"GITHUB_STATE", "GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY"} {
		file, err := os.CreateTemp(r.temp, f)
		if err != nil {
			r.t.Fatal(err)
		}
		if err := file.Chmod(0o666); err != nil {
			r.t.Fatal(err)
		}
		file.Close()
		files[f] = file.Name()
	}
	more := map[string]string{}
	for k, v := range files {
		more[k] = v
	}
	for k, v := range r.state {
		more["STATE_"+k] = v
	}
	out, code = r.start([]string{r.node, filepath.Join(r.release, "action", name+".js")}, more)
	state := r.read(files["GITHUB_STATE"])
	if r.state == nil {
		r.state = map[string]string{}
	}
	for _, m := range multiline.FindAllStringSubmatch(state, -1) {
		r.state[m[1]] = m[3]
	}
	r.outputs, r.summary = r.read(files["GITHUB_OUTPUT"]), r.read(files["GITHUB_STEP_SUMMARY"])
	return out, code
}

func (r *runner) read(file string) string {
	b, err := os.ReadFile(file)
	if err != nil {
		r.t.Fatal(err)
	}
	return string(b)
}

// output returns an output of the last step.
func (r *runner) output(name string) string {
	for _, m := range multiline.FindAllStringSubmatch(r.outputs, -1) {
		if m[1] == name {
			return m[3]
		}
	}
	r.t.Errorf("there is no output %s in\n%s", name, r.outputs)
	return ""
}

// begun runs the first step, which must have begun to watch.
func (r *runner) begun() {
	r.t.Helper()
	out, code := r.step("pre")
	if code != 0 || !strings.Contains(out, "edamame-posture watches this job") {
		r.t.Fatalf("pre: %d\n%s", code, out)
	}
	r.t.Cleanup(func() { r.step("post") }) // whatever becomes of the test
	if out, code := r.step("main"); code != 0 || out != "" {
		r.t.Fatalf("main: %d\n%s", code, out)
	}
}

// run is a step of the workflow.
func (r *runner) run(script string) string {
	r.t.Helper()
	out, _ := r.start([]string{"/usr/bin/bash", "-e", "-c", script}, nil)
	return out
}

// contents stands for GitHub's API, with one file.
func contents(t *testing.T, file, text string) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path != "/repos/octo/app/contents/"+file || req.URL.Query().Get("ref") != sha || req.Header.Get("Authorization") != "Bearer t0ken" {
			http.Error(w, `{"message":"Not Found"}`, http.StatusNotFound)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]string{"type": "file", "encoding": "base64", "content": base64.StdEncoding.EncodeToString([]byte(text))})
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// artifacts stands for the runner's store; it returns what is made there.
func artifacts(t *testing.T) (url string, made func() []string) {
	t.Helper()
	var mu sync.Mutex
	var names []string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		var ask struct{ Name string }
		_ = json.Unmarshal(body, &ask)
		switch {
		case strings.HasSuffix(req.URL.Path, "/CreateArtifact"):
			_ = json.NewEncoder(w).Encode(map[string]any{"ok": true, "signed_upload_url": "http://" + req.Host + "/blob?sig=x"})
		case strings.HasSuffix(req.URL.Path, "/FinalizeArtifact"):
			mu.Lock()
			names = append(names, ask.Name)
			mu.Unlock()
			_ = json.NewEncoder(w).Encode(map[string]any{"ok": true})
		default:
			w.WriteHeader(http.StatusCreated)
		}
	}))
	t.Cleanup(s.Close)
	return s.URL, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return names
	}
}

// A job as most are: a user with sudo, the workflow at GitHub, an identity to
// sign with, a store of artifacts.
func TestAJobWithEverythingIsDeclaredSignedToldAndStored(t *testing.T) {
	servers := sigstore.Start(t, sigstore.Options{})
	r := newRunner(t, person(t, true))
	r.env["GITHUB_API_URL"] = contents(t, ".github/workflows/ci.yml", "on: push\njobs:\n  build:\n    runs-on: x\n    steps:\n      - run: echo made > product.txt\n")
	r.env["INPUT_TOKEN"] = "t0ken"
	r.env["ACTIONS_ID_TOKEN_REQUEST_URL"], r.env["ACTIONS_ID_TOKEN_REQUEST_TOKEN"] = servers.TokenURL, servers.RequestToken
	r.env["INPUT_SIGNING-CONFIG"], r.env["INPUT_TRUSTED-ROOT"] = servers.ConfigNoLog, servers.RootNoLog
	for _, f := range []string{servers.ConfigNoLog, servers.RootNoLog} {
		if err := errors.Join(os.Chmod(f, 0o644), os.Chmod(filepath.Dir(filepath.Dir(f)), 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	at, key, _ := rig.Witness(t, servers.Issuer.URL)
	r.env["INPUT_WITNESS"], r.env["INPUT_WITNESS-KEY"] = at, key
	r.env["INPUT_SUBJECT-PATH"] = "product.txt"
	r.env["INPUT_LEARN"] = "true"
	store, made := artifacts(t)
	r.env["ACTIONS_RESULTS_URL"] = store
	r.env["ACTIONS_RUNTIME_TOKEN"] = "e30." + base64.RawURLEncoding.EncodeToString([]byte(`{"scp":"Actions.Results:1:2"}`)) + ".sig"
	r.begun()
	r.run("echo made > product.txt")
	out, code := r.step("post")
	if code != 0 || strings.Contains(out, "::warning title=edamame-posture") || strings.Contains(out, "::error title=edamame-posture") {
		t.Fatalf("post: %d\n%s", code, out)
	}
	dir := r.output("dir")
	if got := r.output("coverage"); got != "complete" {
		t.Errorf("coverage is %s", got)
	}
	for _, f := range []string{r.output("attestation-path"), r.output("report-path"), r.output("evidence-path"), dir + "/learned.yml"} {
		st, err := os.Stat(f)
		if err != nil {
			t.Errorf("%v\n%s", err, out)
		} else if uid := st.Sys().(*syscall.Stat_t).Uid; fmt.Sprint(uid) != r.user.Uid {
			t.Errorf("%s belongs to %d", f, uid)
		}
	}
	if !strings.HasPrefix(r.summary, "### Posture: ") || !strings.Contains(r.summary, "declared by the workflow") {
		t.Errorf("the summary is\n%.2000s", r.summary)
	}
	if got := strings.Join(made(), " "); got != "posture-build-0" {
		t.Errorf("artifacts are %q", got)
	}
	e, err := evidence.Open(dir + "/evidence")
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if err := e.Verify(); err != nil {
		t.Error(err)
	}
	if c := e.Commitment(); c == nil || c.Claims == nil || c.Intent == "none" {
		t.Errorf("the commitment is %+v", c)
	}
	for _, name := range []string{evidence.StartTokenFile, evidence.StartBundleFile, evidence.RecordFile} {
		if _, err := e.Attached(name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	// The witness has the start, and the end.
	client, err := witness.NewClient(at, key)
	if err != nil {
		t.Fatal(err)
	}
	var id witness.ID
	if err := id.UnmarshalText([]byte(e.Commitment().Slot)); err != nil {
		t.Fatal(err)
	}
	if held, _, err := client.Slot(t.Context(), id); err != nil || held.Last().Size != e.Manifest().Tree.Size {
		t.Errorf("the witness holds %+v of a log of %d: %v", held, e.Manifest().Tree.Size, err)
	}
	d, err := report.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range d.Verdict.Findings {
		t.Errorf("finding: %s %s by %s", f.Rule, f.Object, f.Actor.Exe)
	}
	if len(d.Survivors) > 0 {
		t.Errorf("left running: %+v", d.Survivors)
	}
	// Nothing of ours stays.
	var s struct{ Spool, Socket string }
	if err := json.Unmarshal([]byte(r.state["watch"]), &s); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{s.Spool, s.Socket} {
		if _, err := os.Stat(p); p == "" || err == nil {
			t.Errorf("%q is still there", p)
		}
	}
}

func TestAJobThatDoesWhatItsPolicyForbidsFails(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	address := strings.TrimPrefix(server.URL, "http://")
	host, port, _ := strings.Cut(address, ":")
	for _, c := range []struct {
		on   string
		code int
	}{{"", 1}, {"never", 0}} {
		t.Run("fail-on "+c.on, func(t *testing.T) {
			r := newRunner(t, nil)
			r.env["INPUT_POLICY"], r.env["INPUT_FAIL-ON"] = "version: 1\negress: []\n", c.on
			r.env["INPUT_UPLOAD-EVIDENCE"] = "false"
			r.begun()
			// What a step puts there does not count.
			r.env["INPUT_FAIL-ON"] = "never"
			r.run(fmt.Sprintf("exec 3<>/dev/tcp/%s/%s", host, port))
			out, code := r.step("post")
			if code != c.code || r.output("verdict") != string(judge.Fail) {
				t.Errorf("post: %d, want %d\n%s", code, c.code, out)
			}
			if !strings.Contains(out, "::error title=Posture%3A undeclared%3A connect::") || !strings.Contains(r.summary, "undeclared") {
				t.Errorf("it is not told:\n%s\n%s", out, r.summary)
			}
		})
	}
}

func TestASecondUseInAJobJoinsTheFirst(t *testing.T) {
	r := newRunner(t, nil)
	r.begun()
	second := *r
	second.state = nil
	if out, code := second.step("pre"); code != 0 || !strings.Contains(out, "joins that one") {
		t.Fatalf("the second pre: %d\n%s", code, out)
	}
	if out, code := second.step("post"); code != 0 || !strings.Contains(out, "is told by the step that began") || second.summary != "" {
		t.Errorf("the second post: %d\n%s", code, out)
	}
	if out, code := r.step("post"); code != 0 || r.summary == "" {
		t.Errorf("the first post: %d\n%s", code, out)
	}
	if _, err := os.Stat(r.output("evidence-path")); err != nil {
		t.Error(err)
	}
}

// A pull request's job does what the base's did and one thing more, and that
// is what its comment says.
func TestAPullRequestIsToldWhatItNewlyDoes(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	host, port, _ := strings.Cut(strings.TrimPrefix(server.URL, "http://"), ":")
	const ordinary = "/bin/echo ordinary > out.txt"
	var results []byte // of the base's run
	var comments []string
	api := httptest.NewServer(nil)
	defer api.Close()
	api.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		switch {
		case strings.HasSuffix(req.URL.Path, "/workflows/ci.yml/runs") && results != nil:
			fmt.Fprint(w, `{"workflow_runs":[{"id":5,"event":"push","head_repository":{"full_name":"octo/app"},"html_url":"https://github.com/octo/app/actions/runs/5"}]}`)
		case strings.HasSuffix(req.URL.Path, "/workflows/ci.yml/runs"):
			fmt.Fprint(w, `{"workflow_runs":[]}`)
		case strings.HasSuffix(req.URL.Path, "/runs/5/artifacts"):
			fmt.Fprint(w, `{"artifacts":[{"id":9,"name":"posture-build-0"}]}`)
		case strings.HasSuffix(req.URL.Path, "/artifacts/9/zip"):
			http.Redirect(w, req, api.URL+"/blob", http.StatusFound)
		case req.URL.Path == "/blob":
			_, _ = w.Write(results)
		case strings.HasSuffix(req.URL.Path, "/issues/7/comments") && req.Method == http.MethodPost:
			var c struct{ Body string }
			_ = json.NewDecoder(req.Body).Decode(&c)
			comments = append(comments, c.Body)
			w.WriteHeader(http.StatusCreated)
			fmt.Fprint(w, `{"id":1}`)
		case strings.HasSuffix(req.URL.Path, "/issues/7/comments"):
			fmt.Fprint(w, `[]`)
		default:
			http.Error(w, `{"message":"Not Found"}`, http.StatusNotFound)
		}
	})
	job := func(event, script string) string {
		r := newRunner(t, nil)
		file := filepath.Join(r.temp, "event.json")
		if err := os.WriteFile(file, []byte(`{"pull_request":{"number":7,"base":{"ref":"main"}}}`), 0o644); err != nil {
			t.Fatal(err)
		}
		r.env["GITHUB_API_URL"], r.env["INPUT_TOKEN"], r.env["INPUT_COMMENT"], r.env["INPUT_FAIL-ON"] = api.URL, "t0ken", "true", "never"
		r.env["GITHUB_EVENT_NAME"], r.env["GITHUB_EVENT_PATH"], r.env["INPUT_UPLOAD-EVIDENCE"] = event, file, "false"
		r.begun()
		r.run(script)
		// What a step makes of the event does not count.
		if err := os.WriteFile(file, []byte(`{"pull_request":{"number":8,"base":{"ref":"evil"}}}`), 0o644); err != nil {
			t.Fatal(err)
		}
		if out, code := r.step("post"); code != 0 || strings.Contains(out, "the pull request has no comment") {
			t.Fatalf("post: %d\n%s", code, out)
		}
		return r.output("dir")
	}
	base := job("push", ordinary)
	if len(comments) > 0 {
		t.Fatalf("a push has the comments %q", comments)
	}
	job("pull_request", ordinary)
	if len(comments) != 1 || !strings.Contains(comments[0], "is not known") {
		t.Fatalf("without runs of the base: %q", comments)
	}
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	if err := errors.Join(z.AddFS(os.DirFS(base)), z.Close()); err != nil {
		t.Fatal(err)
	}
	results = b.Bytes()
	job("pull_request", ordinary)
	job("pull_request", ordinary+fmt.Sprintf("; exec 3<>/dev/tcp/%s/%s", host, port))
	if len(comments) != 3 || !strings.Contains(comments[1], "did nothing that 1 run of") {
		t.Fatalf("comments are %q", comments)
	}
	if c := comments[2]; !strings.HasPrefix(c, "<!-- edamame-posture ") || !strings.Contains(c, port) || !strings.Contains(c, "| connect |") || !strings.Contains(c, "actions/runs/5") {
		t.Errorf("the comment is\n%s", c)
	}
}

// What keeps the monitor from starting is one notice, and no harm to the job.
func TestAJobThatCannotBeWatchedIsToldOnceAndGoesOn(t *testing.T) {
	for _, c := range []struct {
		name   string
		make   func(*testing.T) *runner
		want   string
		closed bool // where it is not to go on, it does not
	}{
		{"no sudo", func(t *testing.T) *runner {
			return newRunner(t, person(t, false))
		}, "watching needs root, and sudo asks for a password here", true},
		{"a container's job", func(t *testing.T) *runner {
			r := newRunner(t, nil)
			// Where the runner lays its own program for a job's container.
			if err := os.MkdirAll("/__e/posture-test", 0o755); err != nil {
				t.Skip(err)
			}
			t.Cleanup(func() { os.RemoveAll("/__e/posture-test"); os.Remove("/__e") })
			r.node = "/__e/posture-test/node"
			if out, err := exec.Command("cp", "--", mustResolve(t, "node"), r.node).CombinedOutput(); err != nil {
				t.Fatalf("%v %s", err, out)
			}
			return r
		}, "this job runs in a container", true},
		{"a folder that cannot be made", func(t *testing.T) *runner {
			r := newRunner(t, nil)
			r.env["INPUT_OUT"] = "/proc/nowhere"
			return r
		}, "cannot be used", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, open := range []string{"true", "false"} {
				r := c.make(t)
				r.env["INPUT_FAIL-OPEN"] = open
				out, code := r.step("pre")
				notices := strings.Count(out, "title=edamame-posture::")
				if notices != 1 || !strings.Contains(out, "this job is not watched: ") || !strings.Contains(out, c.want) || (code != 0) != (open == "false") {
					t.Errorf("fail-open %s: pre: %d, %d notices\n%s", open, code, notices, out)
				}
				for _, name := range []string{"main", "post"} {
					if out, code := r.step(name); code != 0 || out != "" {
						t.Errorf("fail-open %s: %s: %d\n%s", open, name, code, out)
					}
				}
			}
		})
	}
}

func mustResolve(t *testing.T, name string) string {
	t.Helper()
	p, err := exec.LookPath(name)
	if err != nil {
		t.Skip(err)
	}
	if p, err = filepath.EvalSymlinks(p); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestAMonitorThatAStepKilledIsToldWithWhatItSaw(t *testing.T) {
	r := newRunner(t, person(t, true))
	r.begun()
	r.run("sudo -n pkill -KILL -f '[e]damame-posture monitor.*" + r.temp + "'; sleep 0.2")
	out, code := r.step("post")
	if code != 1 || !strings.Contains(out, "::warning title=edamame-posture::the monitor has gone before its time") {
		t.Fatalf("post: %d\n%s", code, out)
	}
	if got := r.output("coverage"); got != "partial" || r.output("verdict") == "pass" {
		t.Errorf("coverage is %s\n%s", got, out)
	}
}

// How long the job waits for its first and its last step, with nothing to ask
// over the network.
func BenchmarkTheStepsOfTheAction(b *testing.B) {
	r := newRunner(b, nil)
	r.env["INPUT_POLICY"], r.env["INPUT_UPLOAD-EVIDENCE"] = "version: 1\n", "false"
	var pre, post time.Duration
	for b.Loop() {
		r.state = nil
		begin := time.Now()
		if out, code := r.step("pre"); code != 0 {
			b.Fatal(out)
		}
		pre += time.Since(begin)
		r.run("true")
		begin = time.Now()
		if out, code := r.step("post"); code != 0 {
			b.Fatal(out)
		}
		post += time.Since(begin)
	}
	b.ReportMetric(float64(pre.Milliseconds())/float64(b.N), "pre-ms/op")
	b.ReportMetric(float64(post.Milliseconds())/float64(b.N), "post-ms/op")
}

// How long the last step takes after a job of 100,000 events and more, with
// nothing to ask over the network.
func BenchmarkTheEndOfALongJob(b *testing.B) {
	r := newRunner(b, nil)
	r.env["INPUT_POLICY"], r.env["INPUT_UPLOAD-EVIDENCE"] = "version: 1\n", "false"
	var post time.Duration
	events := 0
	for b.Loop() {
		r.state = nil
		if out, code := r.step("pre"); code != 0 {
			b.Fatal(out)
		}
		// A fork, an exec and an exit each.
		r.run("for i in $(seq 34000); do /bin/true $i; done")
		begin := time.Now()
		if out, code := r.step("post"); code != 0 {
			b.Fatal(out)
		}
		post += time.Since(begin)
		e, err := evidence.Open(r.output("evidence-path"))
		if err != nil {
			b.Fatal(err)
		}
		events += int(e.Manifest().Tree.Size)
		e.Close()
	}
	b.ReportMetric(float64(post.Milliseconds())/float64(b.N), "post-ms/op")
	b.ReportMetric(float64(events)/float64(b.N), "events/op")
}
