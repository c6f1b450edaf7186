package redact

import (
	"bytes"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// seeds are texts of every kind that the tests know, so that the fuzzer begins
// where the scanner branches.
func seeds(f *testing.F) {
	for _, s := range []string{
		"curl -u me:hunter2 https://a:b@c.example/x?token=q#f", "bash\x00-c\x00TOKEN=abc; mysql -psecret db | cat", `{"password":"a\"b","x":[1]}`, "Authorization: Bearer abc\r\nCookie: a=b",
		"--secret id=x,src=y --password=[redacted github-token 40]zz", "a%20b%2Fc%3Dd%zz+", "\xff\xfe\u202e\x1b[0m", "key=Linux-node-" + rnd(64, hexa, 1), "https://[::1]:80/@", "PuTTY-User-Key-File-3: x\ny",
		"-----BEGIN " + "RSA PRIVATE KEY-----\nabc\n-----END " + "RSA PRIVATE KEY-----", b64(b64("password=hunter2hunter2")), "pass:x %TOKEN% ${{ secrets.X }} $(x) `y`", "'unclosed \"quote\\",
		"[redacted password 3 x2]", "a=\\\"b\\\" token: \\\"c\\\"", "::=:=:=@@://://", strings.Repeat("token=", 50), "AccountKey=a+/==;x",
	} {
		f.Add([]byte(s))
	}
	for _, s := range tokens() {
		f.Add([]byte(s))
	}
}

const fuzzMasked = "Zq9!-masked value"

func FuzzText(f *testing.F) {
	seeds(f)
	token := tokens()["github classic"]
	r := New(testKey(1), Options{Masked: []string{fuzzMasked}, Max: 2000})
	free := New(testKey(1), Options{Max: 1 << 20})
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 4096 || bytes.Contains(b, []byte(token[8:24])) {
			return
		}
		for in, make := range map[where]func([]byte) Text{inScript: r.Text, inPath: r.Path, inURL: r.URL} {
			checkText(t, b, make(b).String(), 2000)
			half := len(b) / 2
			planted := bytes.Join([][]byte{b[:half], []byte(fuzzMasked), b[half:], []byte(" " + token + " ")}, nil)
			got := make(planted).String()
			checkText(t, planted, got, 2000)
			if strings.Contains(got, fuzzMasked) || strings.Contains(got, token[8:24]) {
				t.Errorf("%q\n= %q", planted, got)
			}
			// What the quick look lets through, the thorough one must too.
			if free.clean(b, in) {
				s := free.take()
				budget := 1 << 30
				s.budget = &budget
				s.detect(b, in, 0)
				if len(s.hits) > 0 {
					t.Errorf("clean lets pass %q: %s at %d to %d", b, s.hits[0].pattern, s.hits[0].from, s.hits[0].to)
				}
				free.give(s)
			}
		}
		once := free.Text(b)
		if again := free.String(once.String()); again != once {
			t.Errorf("not idempotent: %q\n%q\n%q", b, once, again)
		}
		host := r.Host(b).String()
		checkText(t, b, host, 2000)
	})
}

func FuzzArgv(f *testing.F) {
	seeds(f)
	token := tokens()["npm"]
	r := New(testKey(1), Options{Masked: []string{fuzzMasked}, Max: 500, MaxArgv: 3000})
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 4096 || bytes.Contains(b, []byte(token[8:24])) {
			return
		}
		raw := bytes.Join([][]byte{b, []byte(fuzzMasked), []byte(token), nil}, []byte{0})
		texts, found := r.Argv(raw, nil, nil)
		total := 0
		for _, x := range texts {
			checkText(t, b, x.String(), 3000)
			total += x.Len()
			if strings.Contains(x.String(), fuzzMasked) || strings.Contains(x.String(), token[8:24]) {
				t.Errorf("%q: %q", raw, x)
			}
		}
		if want := bytes.Count(raw, []byte{0}); len(texts) != want && !texts[len(texts)-1].HasPrefix("[cut ") {
			t.Errorf("%q: %d arguments became %d", raw, want, len(texts))
		}
		if total > 3000+64 {
			t.Errorf("%d bytes", total)
		}
		for _, x := range found {
			if x.Index < 0 || x.Index >= len(texts) || x.Length <= 0 || x.Hash.Len() != 32 || !patterns[x.Pattern.String()] {
				t.Errorf("%q: %+v", raw, x)
			}
		}
	})
}

func checkText(t *testing.T, in []byte, got string, limit int) {
	t.Helper()
	if !utf8.ValidString(got) || len(got) > limit {
		t.Errorf("%q: %d bytes: %q", in, len(got), got)
	}
	for _, c := range got {
		if !unicode.IsPrint(c) {
			t.Errorf("%q: %U in %q", in, c, got)
		}
	}
}
