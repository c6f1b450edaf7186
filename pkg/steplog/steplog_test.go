package steplog

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

const token = "ghx_Zk93LmQ2vT8yRw4NcA7s" // no real one

func hits(t testing.TB, text string, pieces int, opt Options, secrets ...Secret) (got []string) {
	t.Helper()
	s := New(secrets, opt, func(h Hit) { got = append(got, fmt.Sprintf("%s %s %d", h.Name, h.Form, h.Line)) })
	for c := range slices.Chunk([]byte(text), pieces) {
		if n, err := s.Write(c); n != len(c) || err != nil {
			t.Fatal(n, err)
		}
	}
	s.Close()
	return got
}

func in64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

func zipped(s string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write([]byte(s))
	_ = w.Close()
	return in64(b.String())
}

// wrapped is s as base64(1) writes it.
func wrapped(s string) string {
	var lines []string
	for c := range slices.Chunk([]byte(s), 76) {
		lines = append(lines, string(c))
	}
	return strings.Join(lines, "\n")
}

func spaced(s, sep string) string { return strings.Join(strings.Split(s, ""), sep) }

func backwards(s string) string {
	b := []byte(s)
	slices.Reverse(b)
	return string(b)
}

func TestASecretIsFoundInEachFormHoweverItIsCut(t *testing.T) {
	noise := strings.Repeat("ordinary output of a build, with 1234 numbers\n", 20)
	json := `{"DEPLOY_TOKEN":{"value":"` + token + `","isSecret":true},"n":1}`
	for name, c := range map[string]struct {
		text string
		want []string
	}{
		"plain":               {"token=" + token + "\n", []string{"T plain 21"}},
		"split by spaces":     {spaced(token, " "), []string{"T split 21"}},
		"one a line":          {spaced(token, "\n"), []string{fmt.Sprint("T split ", 20+len(token))}},
		"split by dashes":     {spaced(token, "--"), []string{"T split 21"}},
		"reversed":            {backwards(token), []string{"T reversed 21"}},
		"hex":                 {hex.EncodeToString([]byte("x=" + token)), []string{"T hex 21"}},
		"hex in capitals":     {strings.ToUpper(hex.EncodeToString([]byte(token))), []string{"T hex 21"}},
		"xxd":                 {spaced(hex.EncodeToString([]byte(token)), " "), []string{"T hex 21"}},
		"base64":              {in64("a" + token + "b"), []string{"T base64 21"}},
		"base64, wrapped":     {wrapped(in64(noise + token + noise)), []string{"T base64 37"}},
		"base64 twice":        {wrapped(in64(wrapped(in64(noise+token+noise)) + "\n")), []string{"T base64 twice 43"}},
		"base64 -w0 twice":    {in64(in64("k=" + token + ";")), []string{"T base64 twice 21"}},
		"gzip":                {zipped(noise + token), []string{"T gzip in base64 21"}},
		"gzip, wrapped":       {wrapped(zipped(noise+token+fmt.Sprint(rand.Perm(500)))) + "\n\nend", nil},
		"the runner's memory": {in64(in64(json)), []string{"T base64 twice 21", RunnerMemory + " base64 twice 21"}},
		"nothing":             {"a token that is no secret: " + token[:len(token)-1], nil},
	} {
		t.Run(name, func(t *testing.T) {
			for _, n := range []int{1, 7, 1 << 20} {
				got := hits(t, noise+c.text, n, Options{}, Secret{"T", token})
				switch name {
				case "gzip, wrapped":
					if len(got) != 1 || !strings.HasPrefix(got[0], "T gzip in base64") {
						t.Errorf("in pieces of %d: %q", n, got)
					}
					continue
				}
				if !slices.Equal(got, c.want) {
					t.Errorf("in pieces of %d: %q, want %q", n, got, c.want)
				}
			}
		})
	}
}

func TestBase64OfBase64OfItIsFoundAtEveryPlace(t *testing.T) {
	for before := range 9 {
		text := in64(in64(strings.Repeat("x", before) + token + "yz"))
		if got := hits(t, text, 5, Options{}, Secret{"T", token}); len(got) != 1 {
			t.Errorf("behind %d bytes: %q", before, got)
		}
	}
}

func TestALineOfALongSecretIsFoundAlone(t *testing.T) {
	key := "-----BEGIN KEY-----\nMIIabcDEF0123456789ghiJKL\nMNOpqrSTU9876543210vwxYZ0\n-----END KEY-----\n"
	if got := hits(t, "MNOpqrSTU9876543210vwxYZ0", 100, Options{}, Secret{"K", key}); len(got) != 1 {
		t.Errorf("a line of the key: %q", got)
	}
	if got := hits(t, "-----BEGIN KEY-----", 100, Options{}, Secret{"K", key}); got != nil {
		t.Errorf("the head of the key: %q", got)
	}
	long := strings.Repeat("abcDEF0123", 1000)
	if got := hits(t, "x"+long, 100, Options{}, Secret{"L", long}); len(got) != 1 {
		t.Errorf("a secret of 10,000 bytes: %q", got)
	}
}

func TestARunnersPageAndItsCommands(t *testing.T) {
	stamped := "2026-01-02T03:04:05.1234567Z " + token[:10] + "\n2026-01-02T03:04:05.1234568Z " + token[10:] + "\n"
	if got := hits(t, stamped, 3, Options{Page: true}, Secret{"T", token}); len(got) != 1 {
		t.Errorf("over two lines of a page: %q", got)
	}
	mask := "::add-mask::" + token + "\n"
	if got := hits(t, mask+"next "+token[1:]+"\n", 1, Options{Runner: true}, Secret{"T", token}); got != nil {
		t.Errorf("the runner takes the command away: %q", got)
	}
	if got := hits(t, mask, 1, Options{}, Secret{"T", token}); len(got) != 1 {
		t.Errorf("nobody takes it away: %q", got)
	}
	if got := hits(t, "x "+mask, 1, Options{Runner: true}, Secret{"T", token}); len(got) != 1 {
		t.Errorf("it is no command in the middle of a line: %q", got)
	}
}

func TestOnlyValuesThatNoTextHoldsAreLookedFor(t *testing.T) {
	got := FromEnvironment([]string{
		"GITHUB_TOKEN=" + token, "DB_PASSWORD=postgres", "API_KEY=true", "TOKEN_FILE=/run/secrets/x", "NPM_TOKEN=", "SECRET=/etc/long/path/Of9",
		"HOME=/root", "AWS_SECRET_ACCESS_KEY=aB3dE6gH9jK2mN5p", "DB_PASS_WORD", "MY_PASSWORD=Tr0ub4dor&3",
	})
	var names []string
	for _, s := range got {
		names = append(names, s.Name)
	}
	if want := []string{"GITHUB_TOKEN", "AWS_SECRET_ACCESS_KEY", "MY_PASSWORD"}; !slices.Equal(names, want) {
		t.Errorf("%q, want %q", names, want)
	}
}

func TestAGzipThatUnpacksWithoutEndIsBounded(t *testing.T) {
	bomb := zipped(strings.Repeat("0", 40<<20))
	if got := hits(t, bomb, 1<<16, Options{}, Secret{"T", token}); got != nil {
		t.Errorf("%q", got)
	}
	half := zipped(token + strings.Repeat("0", 100))
	if got := hits(t, half[:len(half)-12], 10, Options{}, Secret{"T", token}); len(got) != 1 {
		t.Errorf("of a gzip that is cut at its end: %q", got)
	}
}

func TestReadingOutputAllocatesNothing(t *testing.T) {
	s := New([]Secret{{"T", token}}, Options{Runner: true}, func(Hit) {})
	line := []byte(strings.Repeat("ordinary output, and some base64: aGVsbG8gd29ybGQ=\n", 100))
	if n := testing.AllocsPerRun(100, func() { _, _ = s.Write(line) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkOutput(b *testing.B) {
	var secrets []Secret
	for i := range 50 {
		secrets = append(secrets, Secret{fmt.Sprint("S", i), fmt.Sprintf("%s%04d", token, i)})
	}
	s := New(secrets, Options{}, func(Hit) {})
	line := []byte(strings.Repeat("ordinary output of a build, with 1234 numbers: aGVsbG8gd29ybGQ=\n", 1000))
	b.SetBytes(int64(len(line)))
	for b.Loop() {
		_, _ = s.Write(line)
	}
}

func FuzzScanner(f *testing.F) {
	f.Add([]byte(in64(in64(token))), 3)
	f.Add([]byte(zipped(token)+"\n::add-mask::"), 1)
	f.Add([]byte("2026-01-02T03:04:05.1234567Z H4sI"), 5)
	f.Fuzz(func(t *testing.T, b []byte, n int) {
		n = max(1, min(n, len(b)))
		for _, opt := range []Options{{}, {Page: true, Runner: true}} {
			whole := hits(t, string(b), len(b)+1, opt, Secret{"T", token})
			cut := hits(t, string(b), n, opt, Secret{"T", token})
			if !slices.Equal(whole, cut) {
				t.Errorf("whole %q, in pieces of %d %q", whole, n, cut)
			}
		}
	})
}
