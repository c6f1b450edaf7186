package posture

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/org/edamame-posture/pkg/judge"
	"github.com/org/edamame-posture/pkg/redact"
)

// jobs is the user of jobs in these tests. It owns nothing of the trees, so
// that what it may do is what their permission bits give to everybody.
var jobs = User{Name: "runner", UID: 4242, Groups: []uint32{4242}, Home: "/home/runner"}

// tree makes a machine's files. A name that ends in @ is a link, in / a folder;
// a mode may stand before the content as "0666:".
func tree(t testing.TB, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	put(t, root, files)
	return root
}

func put(t testing.TB, root string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		p := filepath.Join(root, strings.TrimRight(name, "@/"))
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		mode := os.FileMode(0o644)
		if len(content) >= 5 && content[4] == ':' && content[0] == '0' {
			var m uint32
			if _, err := fmt.Sscanf(content[:4], "%o", &m); err == nil {
				mode, content = os.FileMode(m), content[5:]
			}
		}
		var err error
		switch {
		case strings.HasSuffix(name, "@"):
			_ = os.Remove(p)
			err = os.Symlink(content, p)
		case strings.HasSuffix(name, "/"):
			err = os.MkdirAll(p, 0o755)
			if content != "" {
				mode = 0o777
			}
			err = errorsFirst(err, os.Chmod(p, mode|0o755))
		default:
			err = os.WriteFile(p, []byte(content), mode)
			err = errorsFirst(err, os.Chmod(p, mode))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func errorsFirst(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

func take(t testing.TB, root string, change ...func(*Options)) *Snapshot {
	t.Helper()
	opt := Options{Root: root, User: jobs, Workspace: "/work/app", Redactor: redact.New([32]byte{1}, redact.Options{})}
	for _, c := range change {
		c(&opt)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	return Take(ctx, opt)
}

func getenv(vars map[string]string) func(*Options) {
	return func(o *Options) { o.Getenv = func(name string) string { return vars[name] } }
}

const (
	// An Ed25519 key of RFC 8410, section 10.3: public text, and no key of ours.
	plainKey  = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n"
	lockedKey = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END ENCRYPTED PRIVATE KEY-----\n"
	publicKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBmwr0hoPcB6ozhNRvqAxSRWUYcwACL7nqCPXCLeEHgC"
	token     = "npm_abcdefghijklmnopqrstuvwxyz0123456789"
)

// Each case is a machine with one weakness, and a like one without it.
var weaknesses = []struct {
	check    string
	severity judge.Severity
	weak     map[string]string
	fine     map[string]string
	weakEnv  map[string]string
	fineEnv  map[string]string
	user     func(*User)
	found    string // a part of what is told
}{
	{check: "runs-as-root", severity: judge.High, user: func(u *User) { u.UID = 0 }},
	{check: "sudo-nopasswd", severity: judge.High, found: "that is the user of jobs",
		weak: map[string]string{"/etc/sudoers": "@includedir /etc/sudoers.d\n", "/etc/sudoers.d/runner": "runner ALL=(ALL:ALL) NOPASSWD: ALL\n"},
		fine: map[string]string{"/etc/sudoers": "@includedir /etc/sudoers.d\nroot ALL=(ALL) NOPASSWD: ALL\nrunner ALL=(ALL) ALL\n", "/etc/sudoers.d/a.bak": "runner ALL=NOPASSWD: ALL\n"}},
	{check: "sudo-nopasswd", severity: judge.High, found: "that is the user of jobs", // the refusal stands before what allows
		weak: map[string]string{"/etc/sudoers": "@includedir /etc/sudoers.d\nrunner ALL=NOPASSWD: ALL\n", "/etc/sudoers.d/~drop": "#4242 ALL=(ALL:ALL) !ALL\n"}},
	{check: "sudo-nopasswd", severity: judge.Low, found: "every command", // all that was allowed is refused behind it
		weak: map[string]string{"/etc/sudoers": "runner ALL=NOPASSWD: ALL\n@includedir /etc/sudoers.d\n", "/etc/sudoers.d/a": "%ci ALL=NOPASSWD: ALL\n", "/etc/sudoers.d/~drop": "#4242 ALL=(ALL:ALL) !ALL\n"}},
	{check: "sudo-nopasswd", severity: judge.Medium, found: "1 commands",
		weak: map[string]string{"/etc/sudoers": "%ci ALL=(root) NOPASSWD: /usr/bin/apt-get update\n", "/etc/group": "ci:x:77:runner\n"}},
	{check: "sudo-nopasswd", severity: judge.Low,
		weak: map[string]string{"/etc/sudoers": "admin ALL=(ALL) NOPASSWD: ALL\n"}},
	{check: "sudo-no-authentication", severity: judge.High,
		weak: map[string]string{"/etc/sudoers": "Defaults env_reset, !authenticate\n"}, fine: map[string]string{"/etc/sudoers": "Defaults authenticate\n#Defaults !authenticate\n"}},
	{check: "root-file-writable", severity: judge.Critical,
		weak: map[string]string{"/etc/sudoers": "0666:root ALL=(ALL) ALL\n"}, fine: map[string]string{"/etc/sudoers": "0640:root ALL=(ALL) ALL\n"}},
	{check: "root-file-writable", severity: judge.Critical, weak: map[string]string{"/etc/cron.d/x": "0666:\n#\n"}},
	{check: "docker-group", severity: judge.High,
		weak: map[string]string{"/etc/group": "docker:x:998:other,runner\n"}, fine: map[string]string{"/etc/group": "docker:x:998:other\nrunner:x:4242:\n"}},
	{check: "docker-socket", severity: judge.High,
		weak: map[string]string{"/run/docker.sock": "0666:"}, fine: map[string]string{"/run/docker.sock": "0660:"}},
	{check: "preload", severity: judge.High, found: "/tmp/x.so",
		weak: map[string]string{"/etc/ld.so.preload": "/tmp/x.so\n"}, fine: map[string]string{"/etc/ld.so.preload": "\n"}},
	{check: "hosts-override", severity: judge.Medium, found: "downloads.example.com",
		weak: map[string]string{"/etc/hosts": "127.0.0.1 localhost\n203.0.113.9 downloads.example.com\n"},
		fine: map[string]string{"/etc/hosts": "127.0.0.1 localhost\n::1 ip6-localhost # downloads.example.com\n10.0.0.1 vm.internal build\n"}},
	{check: "resolver", severity: judge.Low,
		weak: map[string]string{"/etc/resolv.conf": "nameserver 8.8.8\n"}, fine: map[string]string{"/run/r": "nameserver 192.0.2.1\n", "/etc/resolv.conf@": "/run/r"}},
	{check: "local-ca", severity: judge.Medium, weak: map[string]string{"/usr/local/share/ca-certificates/own.crt": "x"}},
	{check: "user-cron", severity: judge.Medium, weak: map[string]string{"/var/spool/cron/crontabs/runner": "* * * * * /tmp/x\n"}, fine: map[string]string{"/var/spool/cron/crontabs/.keep": ""}},
	{check: "user-unit", severity: judge.Medium, weak: map[string]string{"/home/runner/.config/systemd/user/x.service": "[Service]\nExecStart=/tmp/x\n"}},
	{check: "linger", severity: judge.Medium, weak: map[string]string{"/var/lib/systemd/linger/runner": ""}},
	{check: "shell-injects", severity: judge.Medium, found: "sets LD_PRELOAD",
		weak: map[string]string{"/home/runner/.bashrc": "# x\nexport LD_PRELOAD=/tmp/x.so\n"}, fine: map[string]string{"/home/runner/.bashrc": "echo LD_PRELOAD=1\nLD_PRELOADED=1\n"}},
	{check: "authorized-keys", severity: judge.Medium, found: "SHA256:",
		weak: map[string]string{"/home/runner/.ssh/authorized_keys": "# us\n" + publicKey + " me@there\n"}, fine: map[string]string{"/home/runner/.ssh/authorized_keys": "# " + publicKey + "\n"}},
	{check: "root-authorized-keys", severity: judge.Medium, found: "for one command",
		weak: map[string]string{"/root/.ssh/authorized_keys": `command="/bin/x \" y",no-pty ` + publicKey + "\n"}},
	{check: "ssh-private-key", severity: judge.High,
		weak: map[string]string{"/home/runner/.ssh/id_x": plainKey}, fine: map[string]string{"/home/runner/.ssh/id_x": lockedKey, "/home/runner/.ssh/id_x.pub": publicKey}},
	{check: "git-credential", severity: judge.High,
		weak: map[string]string{"/work/app/.git/config": "[http \"https://github.com/\"]\n\textraheader = AUTHORIZATION: basic eC1hY2Nlc3MtdG9rZW46Z2hzXzAxMjM0NTY3ODk=\n"},
		fine: map[string]string{"/work/app/.git/config": "[core]\n\tbare = false\n[remote \"origin\"]\n\turl = https://github.com/a/b\n"}},
	{check: "git-credential", severity: judge.High, weak: map[string]string{"/home/runner/.git-credentials": "https://me:pw@github.com\n"}},
	{check: "git-runs", severity: judge.Low, found: "core.hookspath = /tmp/h",
		weak: map[string]string{"/home/runner/.gitconfig": "[Core]\n\thooksPath = /tmp/h\n"}, fine: map[string]string{"/home/runner/.gitconfig": "[user]\n\temail = a@b\n[filter \"lfs\"]\n\tclean = git-lfs clean -- %f\n"}},
	{check: "git-redirect", severity: judge.Medium,
		weak: map[string]string{"/etc/gitconfig": "[url \"https://evil.example/\"]\n\tinsteadOf = https://github.com/\n"}},
	{check: "git-insecure", severity: judge.Medium,
		weak: map[string]string{"/etc/gitconfig": "[http]\nsslVerify = false\n"}, fine: map[string]string{"/etc/gitconfig": "[http]\nsslVerify = true\n"}},
	{check: "git-hook", severity: judge.Medium,
		weak: map[string]string{"/work/app/.git/hooks/post-checkout": "0755:#!/bin/sh\n"},
		fine: map[string]string{"/work/app/.git/hooks/post-checkout.sample": "0755:#!/bin/sh\n", "/work/app/.git/hooks/pre-push": "no program"}},
	{check: "npm-token", severity: judge.High,
		weak: map[string]string{"/home/runner/.npmrc": "//registry.example/:_authToken=" + token + "\n"}, fine: map[string]string{"/home/runner/.npmrc": "//registry.example/:_authToken=${NPM_TOKEN}\n"}},
	{check: "registry", severity: judge.Low,
		weak: map[string]string{"/work/app/.npmrc": "@us:registry=https://npm.example/\n"}, fine: map[string]string{"/work/app/.npmrc": "save-exact=true\n"}},
	{check: "npm-runs", severity: judge.Medium, weak: map[string]string{"/home/runner/.npmrc": "script-shell = /tmp/sh\n"}},
	{check: "tls-off", severity: judge.High, weak: map[string]string{"/home/runner/.npmrc": "strict-ssl=false\n"}, fine: map[string]string{"/home/runner/.npmrc": "strict-ssl=true\n"}},
	{check: "tls-off", severity: judge.High, weak: map[string]string{"/home/runner/.config/pip/pip.conf": "[global]\ntrusted-host = pypi.example\n"}},
	{check: "extra-index", severity: judge.Medium, weak: map[string]string{"/etc/pip.conf": "[install]\nextra-index-url: https://pypi.example/simple\n"}, fine: map[string]string{"/etc/pip.conf": "[global]\ntimeout = 60\n"}},
	{check: "url-credential", severity: judge.High, weak: map[string]string{"/home/runner/.pip/pip.conf": "[global]\nindex-url = https://me:s3cr3tpassw0rd@pypi.example/simple\n"}},
	{check: "path-writable", severity: judge.Medium, weak: map[string]string{"/opt/tools/": "w", "/usr/bin/": ""}, fine: map[string]string{"/opt/tools/": "", "/usr/bin/": ""},
		weakEnv: map[string]string{"PATH": "/opt/tools:/usr/bin"}, fineEnv: map[string]string{"PATH": "/opt/tools:/usr/bin"}},
	{check: "path-writable", severity: judge.Low, weak: map[string]string{"/opt/tools/": "w"}, weakEnv: map[string]string{"PATH": "/usr/bin:/opt/tools"}},
	{check: "path-relative", severity: judge.High, weakEnv: map[string]string{"PATH": "node_modules/.bin:/usr/bin"}, fineEnv: map[string]string{"PATH": "/usr/bin"}},
	{check: "runner-kept", severity: judge.Medium,
		weak: map[string]string{"/actions-runner/.runner": "\xef\xbb\xbf{\"agentName\":\"x\",\"workFolder\":\"_work\"}"},
		fine: map[string]string{"/actions-runner/.runner": `{"ephemeral":"True"}`}},
	{check: "runner-version", severity: judge.Info, found: "2.336.0",
		weak: map[string]string{"/actions-runner/.runner": "{}", "/actions-runner/bin/Runner.Listener.deps.json": `{"targets":{"x":{"Runner.Listener/2.336.0":{}}}}`}},
	{check: "runner-shared", severity: judge.Medium, found: "a, b",
		weak: map[string]string{"/srv/r/.runner": "{}", "/srv/r/_work/a/a/": "", "/srv/r/_work/b/b/": "", "/srv/r/_work/_temp/": ""}, weakEnv: map[string]string{"RUNNER_TEMP": "/srv/r/_work/_temp"},
		fine: map[string]string{"/srv/r/.runner": "{}", "/srv/r/_work/a/a/": "", "/srv/r/_work/_tool/": ""}, fineEnv: map[string]string{"RUNNER_TEMP": "/srv/r/_work/_temp"}},
	{check: "runner-credentials", severity: judge.High,
		weak: map[string]string{"/actions-runner/.runner": "{}", "/actions-runner/.credentials_rsaparams": "{}"}, fine: map[string]string{"/actions-runner/.runner": "{}", "/actions-runner/.credentials_rsaparams": "0600:{}"}},
	{check: "runner-credentials", severity: judge.Low, weak: map[string]string{"/actions-runner/.runner": `{"ephemeral":true}`, "/actions-runner/.credentials": "{}"}},
	{check: "runner-settings", severity: judge.High,
		weak: map[string]string{"/actions-runner/.runner": "{}", "/actions-runner/.env": "0666:LANG=C\n"}, fine: map[string]string{"/actions-runner/.runner": "{}", "/actions-runner/.env": "LANG=C\n"}},
	{check: "runner-hook", severity: judge.High,
		weak: map[string]string{"/actions-runner/.runner": "{}", "/actions-runner/.env": "ACTIONS_RUNNER_HOOK_JOB_STARTED=/opt/h.sh\n", "/opt/h.sh": "0777:#!/bin/sh\n"}},
	{check: "unpinned-action", severity: judge.Medium, found: "evil/action@v1",
		weak: map[string]string{"/work/app/.github/workflows/ci.yml": "on: push\njobs:\n  b:\n    steps:\n      - run: |\n          uses: not/this@v1\n      - uses: evil/action@v1\n"},
		fine: map[string]string{"/work/app/.github/workflows/ci.yml": "on: push\njobs:\n  b:\n    steps:\n      - uses: a/b@0123456789abcdef0123456789abcdef01234567 # v1\n      - uses: ./local\n      - uses: docker://alpine@sha256:00\n"}},
	{check: "unpinned-action", severity: judge.Low, weak: map[string]string{"/work/app/.github/workflows/ci.yaml": "jobs: {b: {uses: actions/x/.github/workflows/y.yml@main}}\n"}},
	{check: "token-permissions", severity: judge.High, weak: map[string]string{"/work/app/.github/workflows/ci.yml": "permissions: write-all\njobs: {b: {steps: []}}\n"},
		fine: map[string]string{"/work/app/.github/workflows/ci.yml": "permissions: {contents: read}\njobs: {b: {steps: []}}\n"}},
	{check: "token-permissions", severity: judge.Low, weak: map[string]string{"/work/app/.github/workflows/ci.yml": "jobs: {b: {steps: []}}\n"}},
	{check: "token-permissions", severity: judge.Info, weakEnv: map[string]string{"ACTIONS_ID_TOKEN_REQUEST_URL": "https://x"}},
	{check: "core-pattern", severity: judge.High, weak: map[string]string{"/proc/sys/kernel/core_pattern": "|/tmp/x %p\n"}, fine: map[string]string{"/proc/sys/kernel/core_pattern": "core\n"}},
	{check: "core-pattern", severity: judge.Critical, weak: map[string]string{"/proc/sys/kernel/core_pattern": "|/opt/dump %p\n", "/opt/dump": "0777:x"}},
	{check: "ptrace", severity: judge.Medium, weak: map[string]string{"/proc/sys/kernel/yama/ptrace_scope": "0\n"}, fine: map[string]string{"/proc/sys/kernel/yama/ptrace_scope": "1\n"}},
	{check: "kernel", severity: judge.Medium, weak: map[string]string{"/proc/sys/kernel/unprivileged_bpf_disabled": "0\n"}, fine: map[string]string{"/proc/sys/kernel/unprivileged_bpf_disabled": "2\n"}},
	{check: "aslr", severity: judge.Medium, weak: map[string]string{"/proc/sys/kernel/randomize_va_space": "1\n"}, fine: map[string]string{"/proc/sys/kernel/randomize_va_space": "2\n"}},
	{check: "suid-dump", severity: judge.Medium, weak: map[string]string{"/proc/sys/fs/suid_dumpable": "1\n"}, fine: map[string]string{"/proc/sys/fs/suid_dumpable": "2\n"}},
}

func TestEachWeaknessIsTold(t *testing.T) {
	told := map[string]bool{}
	for i, w := range weaknesses {
		t.Run(fmt.Sprintf("%d %s", i, w.check), func(t *testing.T) {
			s := take(t, tree(t, w.weak), getenv(w.weakEnv), func(o *Options) {
				if w.user != nil {
					w.user(&o.User)
				}
			})
			i := slices.IndexFunc(s.Items, func(it Item) bool {
				return it.Check == w.check && it.Severity == w.severity && strings.Contains(it.Found.String(), w.found)
			})
			if i < 0 {
				t.Fatalf("not told as %s: %s", w.severity, show(s))
			}
			if it := s.Items[i]; it.Title == "" || it.Why == "" || it.Do == "" {
				t.Errorf("it lacks words: %+v", it)
			}
			if w.fine == nil {
				return
			}
			if s := take(t, tree(t, w.fine), getenv(w.fineEnv)); slices.ContainsFunc(s.Items, func(it Item) bool { return it.Check == w.check }) {
				t.Errorf("told where there is nothing: %s", show(s))
			}
		})
		told[w.check] = true
	}
	for name := range checks {
		if !told[name] || !CheckText(name).Is(name) {
			t.Errorf("no machine here has %s, or it has no word for events", name)
		}
	}
}

func show(s *Snapshot) string {
	b, _ := json.MarshalIndent(s, "", " ")
	return string(b)
}

func TestItemsStandGravestFirst(t *testing.T) {
	all := map[string]string{}
	for _, w := range weaknesses {
		maps.Copy(all, w.weak)
	}
	s := take(t, tree(t, all))
	if len(s.Items) < 20 {
		t.Fatalf("only %d items", len(s.Items))
	}
	for i := 1; i < len(s.Items); i++ {
		if judge.Rank(s.Items[i-1].Severity) < judge.Rank(s.Items[i].Severity) {
			t.Fatalf("%s stands before %s", s.Items[i-1].Severity, s.Items[i].Severity)
		}
	}
	if s.Worst() != judge.Critical {
		t.Errorf("the worst is %s", s.Worst())
	}
}

func TestNoSecretStandsInASnapshot(t *testing.T) {
	secrets := []string{token, "eC1hY2Nlc3MtdG9rZW46Z2hzXzAxMjM0NTY3ODk=", "s3cr3tpassw0rd", "MC4CAQAwBQYDK2Vw", "hunter2hunter2"}
	s := take(t, tree(t, map[string]string{
		"/home/runner/.npmrc":               "//r.example/:_authToken=" + token + "\n_auth=" + token + "\nhttps-proxy=https://u:hunter2hunter2@proxy.example\n",
		"/home/runner/.gitconfig":           "[http]\nextraheader = AUTHORIZATION: basic " + secrets[1] + "\n[url \"https://u:hunter2hunter2@h.example/\"]\ninsteadOf = https://github.com/\n",
		"/home/runner/.config/pip/pip.conf": "[global]\nindex-url = https://me:s3cr3tpassw0rd@pypi.example/\n",
		"/home/runner/.ssh/id_ed25519":      plainKey,
		"/home/runner/.git-credentials":     "https://u:hunter2hunter2@github.com\n",
		"/actions-runner/.runner":           "{}",
		"/actions-runner/.env":              "ACTIONS_RUNNER_HOOK_JOB_STARTED=/x?token=" + token + "\n",
	}))
	b := show(s)
	if len(s.Items) < 7 {
		t.Fatalf("only %d items: %s", len(s.Items), b)
	}
	for _, secret := range secrets {
		if strings.Contains(b, secret) {
			t.Errorf("%q stands in it: %s", secret, b)
		}
	}
}

func TestWhatCannotBeReadHangsNothingAndIsTold(t *testing.T) {
	root := tree(t, map[string]string{
		"/home/runner/.npmrc@": "loop", "/home/runner/loop@": ".npmrc",
		"/home/runner/.bashrc":               strings.Repeat("x", maxFile+1),
		"/home/runner/.profile@":             "../../etc/shadow",
		"/etc/shadow":                        "0600:root:*:\n",
		"/home/runner/.ssh/authorized_keys/": "",
		"/etc/resolv.conf@":                  "/../../../../../../etc/hosts", // stays below the root folder
		"/etc/hosts":                         "127.0.0.1 inside\n",
	})
	for i := range maxEntries + 8 {
		put(t, root, map[string]string{fmt.Sprintf("/etc/cron.d/job%d", i): ""})
	}
	if err := unix.Mkfifo(filepath.Join(root, "etc/ld.so.preload"), 0o644); err != nil {
		t.Fatal(err)
	}
	s := take(t, root)
	for path, why := range map[string]string{
		"/home/runner/.npmrc": "too many levels", "/home/runner/.bashrc": "larger than", "/home/runner/.profile": "the user may not read it",
		"/home/runner/.ssh/authorized_keys": "not a regular file", "/etc/cron.d": "more than", "/etc/ld.so.preload": "not a regular file",
	} {
		if !slices.ContainsFunc(s.Unread, func(u Unread) bool { return u.Path.Is(path) && strings.Contains(u.Why, why) }) {
			t.Errorf("%s is not told as %q: %+v", path, why, s.Unread)
		}
	}
	st := index(s)
	hosts := digest([]byte("127.0.0.1 inside\n"))
	for path := range st {
		if path.Is("/etc/resolv.conf") && st[path].SHA256 != hosts {
			t.Errorf("a link led out of the root folder: %+v", st[path])
		}
		if path.Is("/home/runner/.profile") {
			t.Errorf("another's file was read for the user: %+v", st[path])
		}
	}
	for _, u := range s.Unread {
		if strings.Contains(u.Why, "time was up") {
			t.Error("something held it up")
		}
	}
}

func TestASnapshotEndsWhenItsTimeIsUp(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s := Take(ctx, Options{Root: t.TempDir(), User: jobs, Redactor: redact.New([32]byte{}, redact.Options{})})
	if len(s.Unread) == 0 || !strings.Contains(s.Unread[len(s.Unread)-1].Why, "time was up") {
		t.Errorf("nothing says that it is not whole: %+v", s.Unread)
	}
	// What it lacks did not go away.
	whole := take(t, tree(t, map[string]string{"/etc/hosts": "127.0.0.1 x\n"}))
	if c := Compare(whole, s); len(c) != 0 {
		t.Errorf("a snapshot that was cut short counts as whole: %+v", c)
	}
	if c := Compare(s, whole); len(c) != 0 {
		t.Errorf("a snapshot that was cut short counts as whole: %+v", c)
	}
}

func TestWhatChangedIsTold(t *testing.T) {
	before := map[string]string{
		"/etc/passwd": "root:x:0:0::/root:/bin/sh\n", "/etc/sudoers": "@includedir /etc/sudoers.d\n", "/etc/sudoers.d/README": "#\n",
		"/etc/hosts": "127.0.0.1 localhost\n", "/etc/resolv.conf": "nameserver 192.0.2.1\n", "/run/docker.sock": "0660:",
		"/home/runner/.gitconfig": "[user]\n\tname = a\n", "/home/runner/.npmrc": "save-exact=true\n", "/home/runner/.bashrc": "umask 022\n",
		"/work/app/.git/config": "[core]\n", "/proc/sys/kernel/core_pattern": "core\n", "/etc/cron.d/old": "#\n", "/etc/systemd/system/own.service": "[Service]\n",
	}
	for _, c := range []struct {
		name   string
		change map[string]string
		remove string
		path   string
		kind   Kind
		what   string
		sev    judge.Severity
	}{
		{name: "a line of sudoers", change: map[string]string{"/etc/sudoers.d/x": "runner ALL=NOPASSWD: ALL\n"}, path: "/etc/sudoers.d/x", kind: "sudoers", what: "added", sev: judge.High},
		{name: "a key", change: map[string]string{"/home/runner/.ssh/authorized_keys": publicKey}, path: "/home/runner/.ssh/authorized_keys", kind: "authorized-keys", what: "added", sev: judge.High},
		{name: "a key of root", change: map[string]string{"/root/.ssh/authorized_keys": publicKey}, path: "/root/.ssh/authorized_keys", kind: "authorized-keys", what: "added", sev: judge.High},
		{name: "a library", change: map[string]string{"/etc/ld.so.preload": "/tmp/x.so"}, path: "/etc/ld.so.preload", kind: "ld-preload", what: "added", sev: judge.Critical},
		{name: "an authority", change: map[string]string{"/usr/local/share/ca-certificates/x.crt": "x"}, path: "/usr/local/share/ca-certificates/x.crt", kind: "ca-store", what: "added", sev: judge.High},
		{name: "a name", change: map[string]string{"/etc/hosts": "127.0.0.1 localhost\n203.0.113.9 downloads.example.com\n"}, path: "/etc/hosts", kind: "hosts", what: "changed content", sev: judge.Medium},
		{name: "a timed job", change: map[string]string{"/etc/cron.d/x": "* * * * * root /tmp/x\n"}, path: "/etc/cron.d/x", kind: "cron", what: "added", sev: judge.High},
		{name: "a timed job gone", remove: "/etc/cron.d/old", path: "/etc/cron.d/old", kind: "cron", what: "removed", sev: judge.High},
		{name: "a job of at", change: map[string]string{"/var/spool/cron/atjobs/a1": "x"}, path: "/var/spool/cron/atjobs/a1", kind: "at", what: "added", sev: judge.High},
		{name: "a unit", change: map[string]string{"/etc/systemd/system/x.service": "[Service]\n"}, path: "/etc/systemd/system/x.service", kind: "unit", what: "added", sev: judge.High},
		{name: "a unit beside one", change: map[string]string{"/etc/systemd/system/ssh.service.d/o.conf": "[Service]\n"}, path: "/etc/systemd/system/ssh.service.d/o.conf", kind: "unit", what: "added", sev: judge.High},
		{name: "a package's unit switched on", change: map[string]string{"/etc/systemd/system/multi-user.target.wants/nginx.service@": "/usr/lib/systemd/system/nginx.service"}, path: "/etc/systemd/system/multi-user.target.wants/nginx.service", kind: "unit-link", what: "added", sev: judge.Low},
		{name: "a unit of the user", change: map[string]string{"/home/runner/.config/systemd/user/x.service": "[Service]\n"}, path: "/home/runner/.config/systemd/user/x.service", kind: "user-unit", what: "added", sev: judge.High},
		{name: "the socket opened", change: map[string]string{"/run/docker.sock": "0666:"}, path: "/run/docker.sock", kind: "docker-socket", what: "changed mode", sev: judge.High},
		{name: "a hook", change: map[string]string{"/work/app/.git/hooks/post-checkout": "0755:#!/bin/sh\n"}, path: "/work/app/.git/hooks/post-checkout", kind: "git-hook", what: "added", sev: judge.High},
		{name: "a name for commits", change: map[string]string{"/home/runner/.gitconfig": "[user]\n\tname = b\n"}, path: "/home/runner/.gitconfig", kind: "git-config", what: "changed content", sev: judge.Low},
		{name: "a program of git's", change: map[string]string{"/home/runner/.gitconfig": "[user]\n\tname = a\n[core]\n\tfsmonitor = /tmp/x\n"}, path: "/home/runner/.gitconfig", kind: "git-config-danger", what: "changed content", sev: judge.High},
		{name: "a new way for git", change: map[string]string{"/etc/gitconfig": "[url \"https://e.example/\"]\ninsteadOf = https://github.com/\n"}, path: "/etc/gitconfig", kind: "git-config-danger", what: "added", sev: judge.High},
		{name: "a taste of npm's", change: map[string]string{"/home/runner/.npmrc": "save-exact=false\n"}, path: "/home/runner/.npmrc", kind: "npm-config", what: "changed content", sev: judge.Low},
		{name: "a registry", change: map[string]string{"/home/runner/.npmrc": "registry=https://e.example/\n"}, path: "/home/runner/.npmrc", kind: "npm-config-danger", what: "changed content", sev: judge.High},
		{name: "a resolver", change: map[string]string{"/etc/resolv.conf": "nameserver 192.0.2.2\n"}, path: "/etc/resolv.conf", kind: "resolver", what: "changed content", sev: judge.Low},
		{name: "an account", change: map[string]string{"/etc/passwd": "root:x:0:0::/root:/bin/sh\nx:x:0:0::/:/bin/sh\n"}, path: "/etc/passwd", kind: "accounts", what: "changed content", sev: judge.Low},
		{name: "a crash's program", change: map[string]string{"/proc/sys/kernel/core_pattern": "|/tmp/x\n"}, path: "/proc/sys/kernel/core_pattern", kind: "kernel", what: "changed content", sev: judge.Medium},
		{name: "a link in place of a file", change: map[string]string{"/etc/resolv.conf@": "/etc/hosts"}, path: "/etc/resolv.conf", kind: "resolver", what: "changed content, link", sev: judge.Low},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := tree(t, before)
			only := func(o *Options) { o.StateOnly = true }
			a := take(t, root, only)
			if len(a.Items) != 0 {
				t.Errorf("items in a snapshot of the state: %+v", a.Items)
			}
			if same := Compare(a, take(t, root, only)); len(same) != 0 {
				t.Fatalf("nothing was done, and it says %+v", same)
			}
			put(t, root, c.change)
			if c.remove != "" {
				if err := os.Remove(filepath.Join(root, c.remove)); err != nil {
					t.Fatal(err)
				}
			}
			got := Compare(a, take(t, root, only))
			if len(got) != 1 || !got[0].Path.Is(c.path) || got[0].Kind != c.kind || !got[0].What.Is(c.what) || got[0].Severity != c.sev || got[0].Do == "" || got[0].Title == "" || !got[0].Kind.Text().Is(string(c.kind)) {
				t.Errorf("want %s %s %s %s, got %+v", c.path, c.kind, c.what, c.sev, got)
			}
		})
	}
}

func TestACheckoutThatIsMadeInBetweenIsNoChange(t *testing.T) {
	root := tree(t, map[string]string{"/etc/hosts": ""})
	before := take(t, root)
	put(t, root, map[string]string{"/work/app/.git/config": "[core]\nhooksPath = x\n", "/work/app/.git/hooks/pre-commit": "0755:#!/bin/sh\n"})
	if c := Compare(before, take(t, root)); len(c) != 0 {
		t.Errorf("%+v", c)
	}
}

func TestTheUserIsKnownByTheAccounts(t *testing.T) {
	s := take(t, tree(t, map[string]string{"/etc/passwd": "root:x:0:0::/root:/bin/sh\nci:x:4242:88:::\n", "/etc/group": "lxd:x:88:\n", "/etc/sudoers": "ci ALL=NOPASSWD: ALL\n"}),
		func(o *Options) { o.User = User{UID: 4242} })
	for _, check := range []string{"docker-group", "sudo-nopasswd"} {
		if !slices.ContainsFunc(s.Items, func(it Item) bool { return it.Check == check && it.Severity == judge.High }) {
			t.Errorf("%s is not told of user 4242: %s", check, show(s))
		}
	}
}

func TestAStoredSnapshotIsComparedAsTheOneThatWasTaken(t *testing.T) {
	root := tree(t, map[string]string{"/etc/hosts": "127.0.0.1 x\n", "/etc/sudoers": "#\n"})
	b, err := json.Marshal(take(t, root))
	if err != nil {
		t.Fatal(err)
	}
	var stored Snapshot
	if err := json.Unmarshal(b, &stored); err != nil {
		t.Fatal(err)
	}
	if err := stored.Check(); err != nil {
		t.Fatal(err)
	}
	if c := Compare(&stored, take(t, root)); len(c) != 0 {
		t.Errorf("it differs from itself: %+v", c)
	}
	stored.Version++
	if stored.Check() == nil {
		t.Error("a snapshot of another version passes")
	}
}

// BenchmarkState measures what a recording pays for one snapshot of this machine.
func BenchmarkState(b *testing.B) {
	opt := Options{User: User{Home: "/root"}, Redactor: redact.New([32]byte{}, redact.Options{}), StateOnly: true}
	for b.Loop() {
		if s := Take(b.Context(), opt); len(s.State) == 0 {
			b.Fatal("nothing was read")
		}
	}
}
