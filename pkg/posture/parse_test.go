package posture

import (
	"encoding/base64"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestSudoersGrantsWhatSudoGrants(t *testing.T) {
	u := &User{Name: "runner", UID: 4242, Groups: []uint32{4242, 27}}
	member := map[string]bool{"sudo": true}
	for _, c := range []struct {
		text  string
		free  bool // some command without a password
		every bool // all of them
	}{
		{"runner ALL=(ALL) NOPASSWD: ALL", true, true},
		{"runner\tALL = (ALL : ALL) NOPASSWD:SETENV: ALL", true, true},
		{"root, runner ALL=NOPASSWD:ALL", true, true},
		{"root ,runner ALL=NOPASSWD:ALL", true, true},
		{"%sudo ALL=(ALL:ALL) NOPASSWD: ALL", true, true},
		{"%#27 ALL=(ALL:ALL) NOPASSWD: ALL", true, true},
		{"#4242 ALL=NOPASSWD: ALL", true, true},
		{"ALL ALL=NOPASSWD: ALL", true, true},
		{"User_Alias CI = a, runner\nCI ALL=NOPASSWD: ALL", true, true},
		{"User_Alias A = B : B = A, runner\nA ALL=NOPASSWD: ALL", true, true},
		{"User_Alias A = B : B = A\nA ALL=NOPASSWD: ALL", false, false},
		{"Cmnd_Alias X = ALL\nrunner ALL=NOPASSWD: X", true, true},
		{"User_Alias A = " + strings.Repeat("A, B, ", 100) + "x : B = " + strings.Repeat("A, B, ", 100) + "x\nA ALL=NOPASSWD: ALL", false, false},
		{strings.Repeat("a\\\n", 200_000), false, false},
		{"runner ALL=\\\n (ALL) \\\nNOPASSWD: ALL", true, true},
		{"runner ALL=PASSWD: /bin/a, NOPASSWD: /bin/b, PASSWD: ALL", true, false},
		{"runner ALL=NOPASSWD: /bin/a, !/bin/b", true, false},
		{"runner ALL=(ALL) ALL", false, false},
		{"ALL, !runner ALL=NOPASSWD: ALL", false, false},
		{"admin ALL=NOPASSWD: ALL", false, false},
		{"# runner ALL=NOPASSWD: ALL", false, false},
		{"admin ALL=ALL # runner ALL=NOPASSWD: ALL", false, false},
		{"Host_Alias H = a\nDefaults:runner !authenticate_not", false, false},
		{"runner ALL", false, false},
	} {
		s := parseSudoers([]byte(c.text))
		free, every := false, false
		for _, r := range s.rules {
			if s.covers(r.who, &person{User: u, member: member}) {
				free, every = free || len(r.free) > 0, every || r.every
			}
		}
		if free != c.free || every != c.every {
			t.Errorf("%.200q: free %t, every %t; rules %+v", c.text, free, every, s.rules)
		}
	}
}

func TestSudoersSaysWhereARuleStands(t *testing.T) {
	s := parseSudoers([]byte("# a\n\nDefaults:x !authenticate\nx ALL=\\\n NOPASSWD: ALL\ny ALL=NOPASSWD: /b\n#include /etc/s\n@includedir \"/etc/d\"\n#includes\n"))
	if len(s.rules) != 2 || s.rules[0].line != 4 || s.rules[1].line != 6 || !slices.Equal(s.open, []int{3}) || !slices.Equal(s.includes, []include{{7, "/etc/s"}, {8, "/etc/d"}}) {
		t.Errorf("%+v", s)
	}
}

func TestGitConfigIsReadAsGitReadsIt(t *testing.T) {
	got := parseGitConfig([]byte("orphan = 1\n[Core]\n\tHooksPath = \"/a b\" # c\n[http \"https://X/\"] extraHeader = A: \\\"b\\\n c ; d\n[alias]\nx\n\tst = !f() { :; }\n[broken\n\ty = 1\n[url \"a]b\"]\ninsteadOf=z\n"))
	want := []setting{
		{"core.hookspath", "/a b", 3}, {"http.https://X/.extraheader", `A: "b c`, 4},
		{"alias.x", "", 7}, {"alias.st", "!f() { :", 8}, {"url.a]b.insteadof", "z", 12},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestSettingsOfNpmAndPipAreRead(t *testing.T) {
	got := parseINI([]byte("; c\n//r.example:8080/:_authToken = 'x=y'\nca[]=\"z\"\nflag\n[Global]\n# c\nextra-index-url =\n  https://a/\n\thttps://b/\nindex-url: https://c/\n"))
	want := []setting{
		{"//r.example:8080/:_authtoken", "x=y", 2}, {"ca", "z", 3}, {"flag", "", 4},
		{"global.extra-index-url", "", 7}, {"global.extra-index-url", "https://a/", 8}, {"global.extra-index-url", "https://b/", 9}, {"global.index-url", "https://c/", 10},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestKeysAreKnownByTheirFingerprint(t *testing.T) {
	got := parseAuthorizedKeys([]byte("no key\nssh-rsa !!!\n" + publicKey + " a b\nfrom=\"a b\",command=\"x y\" " + publicKey + "\n"))
	if len(got) != 2 || got[0].line != 3 || got[0].forced || !got[1].forced || got[0].fingerprint != got[1].fingerprint || got[0].kind != "ssh-ed25519" {
		t.Fatalf("%+v", got)
	}
	// ssh-keygen -lf says so.
	if want := "SHA256:"; !strings.HasPrefix(got[0].fingerprint, want) || len(got[0].fingerprint) != len(want)+43 {
		t.Errorf("%s", got[0].fingerprint)
	}
}

// Whatever a file holds, a parser ends, keeps its bounds, and says where what it
// found stands.
func checkLines(t *testing.T, data []byte, lines ...int) {
	t.Helper()
	last := strings.Count(string(data), "\n") + 1
	for _, n := range lines {
		if n < 1 || n > last {
			t.Fatalf("line %d of %d in %q", n, last, data)
		}
	}
}

func FuzzSudoers(f *testing.F) {
	for _, s := range []string{"runner ALL=(ALL) NOPASSWD: ALL\n", "User_Alias A = B : B = A\nA ALL=NOPASSWD:ALL", "\\", "a=\\\n", "#include x", "%#1 x=(", "Defaults !authenticate,"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s := parseSudoers(data)
		for _, r := range s.rules {
			checkLines(t, data, r.line)
			s.covers(r.who, &person{User: &jobs})
			if r.every && len(r.free) == 0 {
				t.Fatalf("every command, and none is free: %+v", r)
			}
		}
		checkLines(t, data, s.open...)
	})
}

func FuzzGitConfig(f *testing.F) {
	for _, s := range []string{"[a \"b\"]\nc = d\\\n e\n", "[a", "[a]b\\", "[\"]\"]", "[a]\n\"\\"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, s := range parseGitConfig(data) {
			checkLines(t, data, s.line)
			if !strings.Contains(s.key, ".") {
				t.Fatalf("a setting without a section: %+v", s)
			}
			gitDanger(s)
		}
	})
}

func FuzzINI(f *testing.F) {
	for _, s := range []string{"//h/:_authToken=x\n", "[g]\na=\n  b\n", "[", "=", "[]\n :"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, s := range parseINI(data) {
			checkLines(t, data, s.line)
			if d := npmDanger(s) + pipDanger(s); d != "" && s.key == "" {
				t.Fatalf("%s without a name: %+v", d, s)
			}
		}
	})
}

func FuzzAddresses(f *testing.F) {
	for _, s := range []string{"nameserver 192.0.2.1\nnameserver x\n", "::1 a b # c\n", "127.0.0.1", "fe80::1%eth0 a"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		servers, bad := parseResolvConf(data)
		checkLines(t, data, bad...)
		for _, s := range servers {
			if !s.IsValid() {
				t.Fatal("a resolver without an address")
			}
		}
		for _, h := range parseHosts(data) {
			checkLines(t, data, h.line)
			if !h.addr.IsValid() || len(h.names) == 0 {
				t.Fatalf("%+v", h)
			}
		}
	})
}

func FuzzKeys(f *testing.F) {
	for _, s := range []string{publicKey, plainKey, lockedKey, `command="x` + publicKey, "ssh- AAAA", "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAABG5vbmU=\n-----END OPENSSH PRIVATE KEY-----\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, k := range parseAuthorizedKeys(data) {
			checkLines(t, data, k.line)
			if !keyType(k.kind) {
				t.Fatalf("%+v", k)
			}
		}
		openKey(data)
	})
}

func FuzzRunner(f *testing.F) {
	for _, s := range []string{`{"ephemeral":true}`, "jobs: {b: {steps: [{uses: a@b}]}}", "permissions: write-all\njobs: [", "a: &a [*a]"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if s, err := parseRunner(data); err == nil && s.work == "" {
			t.Fatal("a runner without a folder")
		}
		w := parseWorkflow("ci.yml", data)
		for _, u := range w.unpinned {
			if u.line < 1 {
				t.Fatalf("%+v", u)
			}
		}
	})
}

func TestAnOpenSSHKeyIsToldByItsCipher(t *testing.T) {
	key := func(cipher string) []byte {
		body := "openssh-key-v1\x00" + string([]byte{0, 0, 0, byte(len(cipher))}) + cipher
		return []byte(fmt.Sprintf("-----BEGIN OPENSSH PRIVATE KEY-----\n%s\n-----END OPENSSH PRIVATE KEY-----\n", encode(body)))
	}
	if !openKey(key("none")) || openKey(key("aes256-ctr")) || openKey([]byte("none")) {
		t.Error("the cipher does not tell")
	}
}

func encode(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
