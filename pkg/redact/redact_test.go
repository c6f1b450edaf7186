package redact

import (
	"strings"
	"testing"
)

func key(b byte) (k [32]byte) {
	for i := range k {
		k[i] = b
	}
	return
}

var plain = New(key(1), Options{})

func argv(r *Redactor, args ...string) ([]string, []Found) {
	texts, found := r.Argv([]byte(strings.Join(args, "\x00")+"\x00"), nil, nil)
	out := make([]string, len(texts))
	for i, t := range texts {
		out[i] = t.String()
	}
	return out, found
}

func TestSmoke(t *testing.T) {
	out, found := argv(plain, "curl", "-u", "me:hunter2", "-H", "Authorization: Bearer abc", "https://a:b@c.example/x?token=q", "ghp_"+strings.Repeat("aB3", 12))
	t.Log(out, found)
}
func BenchmarkArgv(b *testing.B) {
	raw := []byte("/usr/lib/gcc/x86_64-linux-gnu/12/cc1\x00-quiet\x00-I\x00/usr/include/x86_64-linux-gnu\x00-O2\x00-DNDEBUG=1\x00src/lib/file.c\x00-o\x00/tmp/ccX1.s\x00")
	b.ReportAllocs()
	var dst []Text
	var f []Found
	b.SetBytes(int64(len(raw)))
	for b.Loop() {
		dst, f = plain.Argv(raw, dst[:0], f[:0])
	}
}
