package netlink

import (
	"bytes"
	"testing"

	"github.com/org/edamame-posture/pkg/event"
)

const statTail = " S 10 12 13 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 4 0 123456 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 17 1 0 0 0 0 0 100 200 300 7000 7050 7051 8000 0\n"

func TestParseStat(t *testing.T) {
	for name, c := range map[string]struct {
		line string
		comm string
	}{
		"an ordinary name":                  {"12 (sh)" + statTail, "sh"},
		"a name with a space":               {"12 (my prog)" + statTail, "my prog"},
		"a name that looks like the end":    {"12 (x) R 1 1 1 (y)" + statTail, "x) R 1 1 1 (y"},
		"a name that is empty":              {"12 ()" + statTail, ""},
		"a name with a line break":          {"12 (a\nb)" + statTail, "a\nb"},
		"a name of nothing but parentheses": {"12 ()))((()" + statTail, ")))((("},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := parseStat([]byte(c.line))
			if err != nil {
				t.Fatal(err)
			}
			if s.pid != 12 || string(s.comm) != c.comm || s.state != 'S' || s.ppid != 10 || s.session != 13 ||
				s.threads != 4 || s.start != 123456 || s.argStart != 7000 || s.argEnd != 7050 || s.kernel {
				t.Errorf("%+v, name %q", s, s.comm)
			}
		})
	}
	for name, line := range map[string]string{
		"nothing":                "",
		"no name":                "12 S 1",
		"an end before the name": "12 )(",
		"a pid that is none":     "x (a)" + statTail,
		"a pid that is too big":  "4294967296 (a)" + statTail,
		"cut before the start":   "12 (sh) S 10 12 13 0",
	} {
		t.Run(name+" is refused", func(t *testing.T) {
			if s, err := parseStat([]byte(line)); err == nil {
				t.Errorf("%+v", s)
			}
		})
	}
}

func FuzzStat(f *testing.F) {
	f.Add([]byte("12 (sh)" + statTail))
	f.Add([]byte("12 (x) R 1 1 1 (y)" + statTail))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := parseStat(b)
		if err == nil && (s.start < 0 || s.threads < 0 || !bytes.Contains(b, s.comm)) {
			t.Fatalf("%+v", s)
		}
	})
}

func TestParseIDs(t *testing.T) {
	uid, gid, ok := parseIDs([]byte("Name:\tsh\nUid:\t1000\t0\t1000\t1000\nGid:\t5\t6\t7\t8\n"))
	if uid != 0 || gid != 6 || !ok {
		t.Errorf("uid %d, gid %d, %v: the effective ones are second", uid, gid, ok)
	}
	if _, _, ok := parseIDs([]byte("Uid:\t1000\nGid:\t5\t6\n")); ok {
		t.Error("a line without an effective id was taken")
	}
}

func TestParseCgroup(t *testing.T) {
	for name, c := range map[string][2]string{
		"version 2 alone":     {"0::/user.slice/a\n", "/user.slice/a"},
		"beside version 1":    {"9:pids:/x\n1:cpu:/y\n0::/z\n", "/z"},
		"one that is gone":    {"0::/a (deleted)\n", "/a"},
		"only version 1":      {"9:pids:/x\n", ""},
		"a path with a colon": {"0::/a:b\n", "/a:b"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := parseCgroup([]byte(c[0])); string(got) != c[1] {
				t.Errorf("%q", got)
			}
		})
	}
}

func TestAScriptIsToldFromItsInterpreterCalledByHand(t *testing.T) {
	for name, c := range map[string]struct{ comm, exe, argv, filename, interp string }{
		"a script":                                {"build.sh", "/usr/bin/dash", "/bin/sh\x00./build.sh\x00x\x00", "./build.sh", "/bin/sh"},
		"a script with an argument in its line":   {"run", "/usr/bin/python3.11", "/usr/bin/env\x00-S\x00/x/run\x00", "/x/run", "/usr/bin/env"},
		"a script with a name cut by the kernel":  {"a-very-long-nam", "/bin/bash", "/bin/bash\x00/a-very-long-name.sh\x00", "/a-very-long-name.sh", "/bin/bash"},
		"an interpreter called by hand":           {"bash", "/usr/bin/bash", "bash\x00build.sh\x00", "", ""},
		"an interpreter under another name":       {"sh", "/usr/bin/dash", "sh\x00-c\x00build.sh\x00", "", ""},
		"an interpreter given its own name":       {"sh", "/usr/bin/dash", "/bin/sh\x00/bin/sh\x00", "", ""},
		"a program whose argument is its name":    {"true", "/bin/true", "/bin/true\x00true\x00", "", ""},
		"a name that the process gave itself":     {"worker", "/usr/bin/node", "node\x00index.js\x00", "", ""},
		"a process without arguments":             {"x", "/bin/y", "", "", ""},
		"a process whose path could not be read":  {"x", "", "/bin/sh\x00x\x00", "", ""},
		"arguments whose last NUL is overwritten": {"b", "/bin/sh", "/bin/sh\x00b", "b", "/bin/sh"},
	} {
		t.Run(name, func(t *testing.T) {
			f, i, ok := script([]byte(c.comm), []byte(c.exe), []byte(c.argv))
			if string(f) != c.filename || string(i) != c.interp || ok != (c.filename != "") {
				t.Errorf("file %q, interpreter %q, %v", f, i, ok)
			}
		})
	}
}

func TestWhatIsOddAboutAnImage(t *testing.T) {
	here := event.FileID{Dev: 1, Inode: 2}
	for name, c := range map[string]struct {
		im   image
		exe  string
		want event.Image
	}{
		"a file":                        {image{exe: []byte("/bin/x"), file: here, links: 1}, "/bin/x", 0},
		"a deleted file":                {image{exe: []byte("/tmp/x (deleted)"), file: here}, "/tmp/x", event.Deleted},
		"a file named as if deleted":    {image{exe: []byte("/tmp/x (deleted)"), file: here, links: 1}, "/tmp/x (deleted)", 0},
		"an anonymous file":             {image{exe: []byte("/memfd:evil (deleted)"), file: here}, "/memfd:evil", event.Memfd | event.Deleted},
		"a folder that looks like one":  {image{exe: []byte("/memfd:x/y"), file: here, links: 1}, "/memfd:x/y", 0},
		"a file that could not be seen": {image{exe: []byte("/tmp/x (deleted)")}, "/tmp/x", event.Deleted},
	} {
		t.Run(name, func(t *testing.T) {
			if exe, odd := c.im.classify(); string(exe) != c.exe || odd != c.want {
				t.Errorf("%q, %b", exe, odd)
			}
		})
	}
}

func TestOnlyAllowedVariablesAreKept(t *testing.T) {
	environ := []byte("CI=true\x00GITHUB_TOKEN=ghs_x\x00GITHUB_JOB=build\x00=x\x00CI\x00GITHUB_RUN_ID=1")
	got, rest := filterEnv([]byte("kept\x00"), environ)
	if want := "kept\x00CI=true\x00GITHUB_JOB=build\x00"; string(got) != want || rest != len("GITHUB_RUN_ID=1") {
		t.Errorf("%q, %d left, want %q", got, rest, want)
	}
	long := append([]byte("GITHUB_JOB="), bytes.Repeat([]byte{'x'}, envValueMax)...)
	if got, _ := filterEnv(nil, append(long, 0)); len(got) != 0 {
		t.Errorf("a variable of %d bytes was kept", len(got))
	}
}

func FuzzImage(f *testing.F) {
	f.Add([]byte("run"), []byte("/bin/sh"), []byte("/bin/sh\x00run\x00"))
	f.Fuzz(func(t *testing.T, comm, exe, argv []byte) {
		file, interp, ok := script(comm, exe, argv)
		if ok && (len(interp) == 0 || !bytes.Contains(argv, file)) {
			t.Fatalf("%q by %q", file, interp)
		}
		im := image{exe: exe}
		if p, _ := im.classify(); len(p) > len(exe) {
			t.Fatalf("%q", p)
		}
		kept, rest := filterEnv(nil, argv)
		if len(kept) > len(argv) || rest > len(argv) {
			t.Fatalf("%q", kept)
		}
	})
}
