package attest

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestJSONThatTwoReadersReadInTwoWaysIsRefused(t *testing.T) {
	deep := func(n int) string { return strings.Repeat(`[`, n) + strings.Repeat(`]`, n) }
	for text, says := range map[string]string{
		`{"a":1,"b":{"a":[{"a":2}]},"c":[]}`:  "",
		`[{"a":1},{"a":1}]`:                   "",
		`"text"`:                              "",
		deep(maxDepth):                        "",
		deep(maxDepth + 1):                    "levels deep",
		deep(200_000):                         "levels deep",
		`{"verdict":"fail","verdict":"pass"}`: "twice in one object",
		`{"verdict":"fail","Verdict":"pass"}`: "twice in one object",
		`{"reasons":[],"reaſonſ":[1]}`:        "twice in one object",
		`{"a":{"b":1,"b":2}}`:                 "twice in one object",
		`{"a":1} {"b":2}`:                     "after its end",
		`{"a":1}x`:                            "after its end",
		`{"a":`:                               "EOF",
		``:                                    "EOF",
		"{\"a\":\"\xff\"}":                    "not UTF-8",
		`{"a" 1}`:                             "invalid character",
	} {
		err := checkJSON([]byte(text))
		if says == "" && err != nil || says != "" && (err == nil || !strings.Contains(err.Error(), says)) {
			t.Errorf("%.60s: %v, want %q", text, err, says)
		}
	}
}

func FuzzCheckJSON(f *testing.F) {
	for _, s := range []string{`{}`, `[1,{"a":null}]`, `{"a":1,"A":2}`, `"x"`, `{"a":[{"b":{}}]}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if checkJSON(b) == nil && !json.Valid(b) {
			t.Errorf("%q is no JSON and was taken", b)
		}
	})
}

func FuzzReadClaims(f *testing.F) {
	f.Add(unsignedToken)
	f.Add("a.b.c")
	f.Fuzz(func(t *testing.T, s string) {
		if c, err := ReadClaims(s); (c == nil) == (err == nil) {
			t.Errorf("%q gave %v, %v", s, c, err)
		}
	})
}
