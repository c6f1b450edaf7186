package signature

import (
	"encoding/base64"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

// expression says what a pattern means in the words of another engine.
func expression(list []piece) *regexp.Regexp {
	var b strings.Builder
	b.WriteString(`(?s)\A`)
	for _, p := range list {
		switch p.wild {
		case '*':
			b.WriteString(`.*`)
		case '?':
			b.WriteString(`.`)
		case '-':
			b.WriteString(`[-/–—―]`)
		default:
			b.WriteString(regexp.QuoteMeta(p.text))
		}
	}
	b.WriteString(`\z`)
	return regexp.MustCompile(b.String())
}

func FuzzPattern(f *testing.F) {
	for _, s := range [][2]string{{"a*b?c", "axxbyc"}, {`*\**`, "a*b"}, {"*ab*ab*", "abab"}, {"na?ve", "naïve"}, {"?", "é"}, {"**", ""}, {`\\*`, `\x`}, {" -e*", " /evil"}, {"*a?", "aab"}} {
		f.Add(s[0], s[1], true)
		f.Add(s[0], s[1], false)
	}
	f.Fuzz(func(t *testing.T, pattern, s string, dashes bool) {
		if len(pattern) > 100 || len(s) > 1000 || !utf8.ValidString(pattern) || !utf8.ValidString(s) {
			return
		}
		list := pieces(pattern)
		if dashes {
			list = withDashes(list)
		}
		if got, want := textTest(list)(s), expression(list).MatchString(s); got != want {
			t.Fatalf("pattern %q, text %q: %v, want %v", pattern, s, got, want)
		}
	})
}

func FuzzBase64Offset(f *testing.F) {
	f.Add("abc", "/bin/bash", "x")
	f.Add("", "http", "")
	f.Fuzz(func(t *testing.T, before, value, after string) {
		forms := base64Offsets(value)
		if len(forms) < 3 {
			if len(value) > 2 {
				t.Fatalf("%q has only the forms %q", value, forms)
			}
			return
		}
		text := base64.StdEncoding.EncodeToString([]byte(before + value + after))
		if !strings.Contains(text, forms[len(before)%3]) {
			t.Fatalf("%q is not in the base64 of %q", forms, before+value+after)
		}
	})
}

func TestARegularExpressionGivesTheTextsThatItNeeds(t *testing.T) {
	for expr, want := range map[string]string{
		`base64 +(-d|--decode) .*stage77`: "stage77", `(curl|wget)`: "curl wget", `(?i)MINER[0-9]`: "miner", `(?i)kits`: "it", `a+b+`: "a", `[a-z]+`: "",
		`^/tmp/[a-z]{8}$`: "/tmp/", `x?y*`: "", `(abc){2,}`: "abc", `(abc){0,}`: "", `(a|)`: "", `EviL`: "evil", `a.{3}longer`: "longer", `\.exfil\.test$`: ".exfil.test",
	} {
		atoms := regexpAtoms(commandLine, expr)
		var texts []string
		for _, a := range atoms {
			texts = append(texts, a.text)
		}
		got := strings.Join(texts, " ")
		if len(want) < gram {
			want = "" // too short to look up
		}
		if got != want {
			t.Errorf("%s: %q, want %q", expr, got, want)
		}
	}
}
