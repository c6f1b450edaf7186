package redact

import (
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"strings"
	"testing"
)

// encodings are the ways in which a secret is tried to be carried out.
var encodings = map[string]func(string) string{
	"as it is":               func(s string) string { return s },
	"base64":                 func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) },
	"base64url":              func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) },
	"base64 twice":           func(s string) string { return b64(b64(s)) },
	"base64 in JSON":         func(s string) string { return b64(`{"value":"` + s + `","isSecret":true}`) },
	"base64 of JSON, twice":  func(s string) string { return b64(b64(`{"A":{"value":"` + s + `","isSecret":true}}`)) },
	"base64, one byte off":   func(s string) string { return b64(":" + s) },
	"base64, two bytes off":  func(s string) string { return b64("x:" + s + ",") },
	"hex":                    func(s string) string { return hex.EncodeToString([]byte(s)) },
	"hex in capitals":        func(s string) string { return strings.ToUpper(hex.EncodeToString([]byte(s))) },
	"percent":                url.QueryEscape,
	"every byte percent":     percentAll,
	"base64 in percent":      func(s string) string { return url.QueryEscape(b64(s)) },
	"JSON":                   func(s string) string { b, _ := json.Marshal(s); return string(b) },
	"base64 of base64 of it": func(s string) string { return b64(b64(b64(s))) },
}

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

func percentAll(s string) string {
	var b strings.Builder
	for i := range len(s) {
		b.WriteString("%" + strings.ToUpper(hex.EncodeToString([]byte{s[i]})))
	}
	return b.String()
}

// hidden reports whether text, or what it decodes to, shows the secret.
func hidden(text, secret string) bool {
	if leaks(text, secret) {
		return false
	}
	for _, enc := range encodings {
		e := enc(secret)
		// The beginning of an encoding tells nothing; its middle does.
		if len(e) > 24 && strings.Contains(text, e[4:20]) {
			return false
		}
	}
	return true
}

func TestTokensAreFoundThroughEncodings(t *testing.T) {
	for name, token := range tokens() {
		secret := core(token)
		for enc, encode := range encodings {
			for _, place := range []string{"%s", "echo %s", "--data=%s", "https://h.example/%s", "https://h.example/p?x=%s", "/tmp/%s", "a/b/%s/c"} {
				in := strings.Replace(place, "%s", encode(token), 1)
				got, found := argv(plain, "tool", in)
				if !hidden(strings.Join(got, " "), secret) || strings.Contains(strings.Join(got, " "), encode(token)) {
					t.Fatalf("%s, %s: %q\n= %q", name, enc, in, got)
				}
				if len(found) == 0 {
					t.Fatalf("%s, %s: nothing told", name, enc)
				}
			}
		}
	}
}

func TestLayersAreCounted(t *testing.T) {
	token := tokens()["github classic"]
	for enc, want := range map[string]int{"as it is": 0, "base64": 1, "base64 twice": 2, "hex": 1, "every byte percent": 1, "base64 of base64 of it": 3} {
		_, found := argv(plain, encodings[enc](token))
		if len(found) != 1 || found[0].Layers != want || found[0].Length != len(token) || found[0].Hash != plain.Hash([]byte(token)) || !found[0].Pattern.Is("github-token") {
			t.Errorf("%s: %+v", enc, found)
		}
	}
}

func TestMaskedValuesAreFoundInEveryForm(t *testing.T) {
	more := map[string]func(string) string{
		"reversed": reversed,
		"base32":   func(s string) string { return base32.StdEncoding.EncodeToString([]byte(s)) },
		"base32, DNS": func(s string) string {
			return strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString([]byte(s)))
		},
	}
	for _, value := range []string{"correct horse battery staple", "hunter2hunter2", "p@ss/w0rd+&=\"quote\"", "ünïcödé-pass", "0123456789ab"} {
		r := New(testKey(1), Options{Masked: []string{"other-value", value, "x"}})
		for enc, encode := range encodings {
			if enc == "base64 of base64 of it" {
				continue // three layers are looked at for shapes only
			}
			checkMasked(t, r, enc, value, encode(value))
		}
		for enc, encode := range more {
			checkMasked(t, r, enc, value, encode(value))
		}
	}
}

func checkMasked(t *testing.T, r *Redactor, enc, value, encoded string) {
	t.Helper()
	for _, place := range []string{"%s", "x%s", "xy%sz", "/tmp/%s/x", "a=%s", "curl https://h.example/?q=%s"} {
		in := strings.Replace(place, "%s", encoded, 1)
		got, found := argv(r, "tool", in)
		if !hidden(got[1], value) || strings.Contains(got[1], encoded) {
			t.Errorf("%s of %q: %q\n= %q", enc, value, in, got[1])
			return
		}
		if len(found) == 0 || !found[0].Pattern.Is("masked-value") || found[0].Hash != r.Hash([]byte(value)) {
			t.Errorf("%s of %q: %+v", enc, value, found)
			return
		}
		for what, text := range map[string]Text{"Path": r.Path([]byte(in)), "RequestPath": r.RequestPath([]byte(in)), "Text": r.String(in)} {
			if !hidden(text.String(), value) {
				t.Errorf("%s %s of %q: %q", what, enc, value, text)
			}
		}
	}
}

func TestEveryLineOfAMaskedValueIsMasked(t *testing.T) {
	r := New(testKey(1), Options{Masked: []string{"first-line-of-it\nsecond-line-of-it\n"}})
	if got := r.String("x second-line-of-it y").String(); got != "x [redacted masked-value 17] y" {
		t.Errorf("%q", got)
	}
}

func TestShortMaskedValuesDoNotBlindTheLog(t *testing.T) {
	r := New(testKey(1), Options{Masked: []string{"", "a", "1", "usr", " "}})
	if got := r.String("/usr/bin/a 1"); !got.Is("/usr/bin/a 1") {
		t.Errorf("%q", got)
	}
}

func TestMaskedValuesAreFoundInHostsWhateverTheirCase(t *testing.T) {
	value := "HunterTwoHunterTwo"
	r := New(testKey(1), Options{Masked: []string{value}})
	for _, s := range []string{value, strings.ToLower(value), hex.EncodeToString([]byte(value)), strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString([]byte(value)))} {
		if got := r.Host([]byte(s + ".evil.example")).String(); strings.Contains(got, strings.ToLower(s)) || !strings.HasSuffix(got, ".evil.example") {
			t.Errorf("Host(%q) = %q", s, got)
		}
	}
}

func TestASecretAtTheEndOfALongEncodingIsFound(t *testing.T) {
	token := tokens()["github classic"]
	in := b64(strings.Repeat("some words of no importance, ", 3000) + token)
	got, found := argv(plain, "tool", "--data="+in)
	if len(found) != 1 || strings.Contains(got[1], in[len(in)-40:]) || !found[0].Pattern.Is("github-token") {
		t.Errorf("%d bytes: %+v", len(in), found)
	}
}
