package fact

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/org/edamame-posture/pkg/redact"
)

// text makes a text as a log would hold it.
func text(s string) redact.Text {
	var t redact.Text
	b, err := json.Marshal(s)
	if err == nil {
		err = json.Unmarshal(b, &t)
	}
	if err != nil {
		panic(err)
	}
	return t
}

var runner = Folders{Root: "/home/runner/work/app/app", Home: "/home/runner", Temp: "/home/runner/work/_temp"}

func TestPathsAreFoldedToWhatIsTheSameInTheNextRun(t *testing.T) {
	tests := []struct {
		name, path, doer string
		ws               Folders
		want             string
		place            Place
	}{
		{"a file of the workspace is relative to it", "/home/runner/work/app/app/dist/main.js", "tsc", runner, "dist/main.js", Workspace},
		{"the workspace itself is a dot", "/home/runner/work/app/app", "sh", runner, ".", Workspace},
		{"a folder beside the workspace is not in it", "/home/runner/work/app/application/x", "sh", runner, "/home/runner/work/app/application/x", Home},
		{"a package manager's folder is one object", "/home/runner/work/app/app/node_modules/left-pad/index.js", "npm", runner, "node_modules/**", Workspace},
		{"another program's write names the package", "/home/runner/work/app/app/node_modules/left-pad/lib/index.js", "node", runner, "node_modules/left-pad/**", Workspace},
		{"a scoped package has two names", "/home/runner/work/app/app/node_modules/@babel/core/lib/a.js", "node", runner, "node_modules/@babel/core/**", Workspace},
		{"the folder of a package is the package", "/home/runner/work/app/app/node_modules/left-pad", "node", runner, "node_modules/left-pad/**", Workspace},
		{"a scope that ends the path", "/home/runner/work/app/app/node_modules/@babel", "node", runner, "node_modules/@babel/**", Workspace},
		{"python packages too", "/home/runner/work/app/app/.venv/lib/python3.12/site-packages/requests/api.py", "python3", runner, ".venv/lib/python3.12/site-packages/requests/**", Workspace},
		{"a cache is one object", "/home/runner/.npm/_cacache/content-v2/sha512/ab/cd/ef", "npm", runner, "/home/runner/.npm/_cacache/**", Cache},
		{"go's build cache is one object", "/home/runner/.cache/go-build/3f/3f2a-d", "go", runner, "/home/runner/.cache/go-build/**", Cache},
		{"go's module cache is one object", "/home/runner/go/pkg/mod/golang.org/x/sys@v0.1.0/unix/a.go", "go", runner, "/home/runner/go/pkg/mod/**", Cache},
		{"go's temporary folder", "/tmp/go-build3141592653/b001/_pkg_.a", "compile", runner, "/tmp/go-build*/**", Temp},
		{"mktemp's name", "/tmp/tmp.Xa9bC2dE1f", "sh", runner, "/tmp/tmp.*", Temp},
		{"mktemp's folder", "/tmp/tmp.Xa9bC2dE1f/a/b", "sh", runner, "/tmp/tmp.*/**", Temp},
		{"python's temporary folder", "/tmp/tmpab12cd_9/x.py", "python3", runner, "/tmp/tmp*/**", Temp},
		{"gcc's temporary file", "/tmp/ccRNJGyw.s", "as", runner, "/tmp/cc*.s", Temp},
		{"a suffix of chance", "/tmp/xyz.AbC123", "sh", runner, "/tmp/xyz.*", Temp},
		{"a temporary file with a name of its own stays", "/tmp/results.xml", "sh", runner, "/tmp/results.xml", Temp},
		{"the runner's temporary folder", "/home/runner/work/_temp/3c1e7a52-0d3f-4f6e-9a54-8d1f6f0f5f10.sh", "sh", runner, "/home/runner/work/_temp/*.sh", Temp},
		{"a content hash in a name", "/home/runner/work/app/app/dist/main.3f2a1b9c.js", "webpack", runner, "dist/main.*.js", Workspace},
		{"a cargo hash", "/home/runner/work/app/app/target/debug/deps/serde-0123456789abcdef.d", "rustc", runner, "target/debug/deps/serde-*.d", Workspace},
		{"a word that could be hex stays", "/home/runner/work/app/app/deadbeef.txt", "sh", runner, "deadbeef.txt", Workspace},
		{"a year stays", "/home/runner/work/app/app/report-2026.md", "sh", runner, "report-2026.md", Workspace},
		{"git objects are one object", "/home/runner/work/app/app/.git/objects/ab/cdef", "git", runner, ".git/objects/**", Workspace},
		{"git hooks are told one by one", "/home/runner/work/app/app/.git/hooks/pre-commit", "sh", runner, ".git/hooks/pre-commit", Workspace},
		{"an atomic write beside the file", "/home/runner/work/app/app/package.json.tmp-812-9f3c", "npm", runner, "package.json.tmp-*-9f3c", Workspace},
		{"a key of the home", "/home/runner/.ssh/authorized_keys", "sh", runner, "/home/runner/.ssh/authorized_keys", Home},
		{"a system file", "/etc/sudoers.d/x", "sh", runner, "/etc/sudoers.d/x", System},
		{"another process in procfs", "/proc/812/oom_score_adj", "sh", runner, "/proc/*/oom_score_adj", System},
		{"a removed file has the name it had", "/usr/bin/x (deleted)", "sh", runner, "/usr/bin/x", System},
		{"work in the home folder does not own its settings", "/root/.bashrc", "sh", Folders{Root: "/root", Home: "/root"}, "/root/.bashrc", Home},
		{"work in the home folder owns the rest", "/root/app/x", "sh", Folders{Root: "/root", Home: "/root"}, "app/x", Workspace},
		{"work in the root folder owns nothing", "/etc/passwd", "sh", Folders{Root: "/", Home: "/root"}, "/etc/passwd", System},
		{"a path that the kernel would not give stands for itself", "/tmp/../etc/passwd", "sh", runner, "/tmp/../etc/passwd", Elsewhere},
		{"no workspace is known", "/srv2/x", "sh", Folders{}, "/srv2/x", Elsewhere},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var p path
			p.fold(text(test.path), &test.ws, test.doer, false)
			if got := p.text().String(); got != test.want || p.place != test.place {
				t.Errorf("%s: got %q in place %d, want %q in %d", test.path, got, p.place, test.want, test.place)
			}
		})
	}
}

func TestAProgramKeepsItsNameWhereItsFoldersAreFolded(t *testing.T) {
	tests := []struct{ path, want string }{
		{"/tmp/go-build3141592653/b001/exe/server", "/tmp/go-build*/**/server"},
		{"/home/runner/.npm/_npx/0123456789abcdef/node_modules/.bin/cowsay", "/home/runner/.npm/_npx/**/cowsay"},
		{"/home/runner/work/app/app/node_modules/esbuild/bin/esbuild", "node_modules/esbuild/**/esbuild"},
		{"/usr/bin/gcc-12", "/usr/bin/gcc-12"},
		{"/memfd:payload (deleted)", "memfd:*"},
	}
	for _, test := range tests {
		var p path
		p.fold(text(test.path), &runner, "", true)
		if got := p.text().String(); got != test.want {
			t.Errorf("%s: got %q, want %q", test.path, got, test.want)
		}
	}
}

func TestWritesThatLeaveNothingAreNoFacts(t *testing.T) {
	for _, p := range []string{"/dev/null", "/dev/tty", "/dev/pts/3", "/dev/fd/1", "pipe:[123]", "/memfd:x", "/proc/self/oom_score_adj", "/proc/77/comm", ""} {
		if !noFile(p, 77) {
			t.Errorf("a write to %q should leave nothing", p)
		}
	}
	for _, p := range []string{"/dev/shm/x", "/dev/sda", "/proc/78/mem", "/proc/sys/kernel/core_pattern", "/tmp/null"} {
		if noFile(p, 77) {
			t.Errorf("a write to %q leaves something", p)
		}
	}
}

// FuzzFold holds what must be true of any path: folding ends, is the same
// twice, keeps the place that the path has, and a folded path folds to itself.
func FuzzFold(f *testing.F) {
	for _, s := range []string{
		"/", "/a", "//", "/home/runner/work/app/app/node_modules/@", "/home/runner/work/app/app/node_modules/", "/tmp/a-b.c_d1234567",
		"/home/runner/work/app/app/.git/objects", "/proc/1/task/2/comm", "/home/runner/.npm", "/home/runner/.npm/x", "/tmp/\xff\xfe/ü123456",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		in := text(s)
		for _, keep := range []bool{false, true} {
			var p, q path
			p.fold(in, &runner, "npm", keep)
			one, place := p.text(), p.place
			q.fold(in, &runner, "npm", keep)
			if one != q.text() || string(p.appendTo(nil)) != one.String() {
				t.Fatalf("%q folds to %q and to %q", s, one, q.text())
			}
			if place == Temp && !strings.HasPrefix(one.String(), "/") {
				t.Fatalf("%q is in a temporary folder and became %q", s, one)
			}
			if n := p.top([]byte(one.String())); n < 0 || n > one.Len() && one.Len() > 0 {
				t.Fatalf("%q: the top of %q ends at %d", s, one, n)
			}
		}
	})
}
