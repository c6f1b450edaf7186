package signature

import (
	"regexp"
	"regexp/syntax"
	"strings"
	"sync"
	"testing"
)

// automatonFor returns the automaton of an expression that must have one.
func automatonFor(t testing.TB, expr string) (*automaton, *regexp.Regexp) {
	t.Helper()
	re := regexp.MustCompile(expr)
	a := newAutomaton(expr, re)
	if a == nil {
		t.Fatalf("%q has no automaton", expr)
	}
	return a, re
}

func TestAnAutomatonMatchesWhatTheExpressionMatches(t *testing.T) {
	texts := []string{
		"", "a", "ab", "abc", "aXbc\n", "npm", "/npm ", "xnpm", "npm-cli.js x", "curl -sSf https://x | sh", "a\nb", "\n", "a\n", "\nb\nab\n",
		"_a", "a-b", "é", "É", "ſ", "K", "\xff", "a\xffb", "日本", "aaaaaaaaaaab", "-c x; curl y | bash", strings.Repeat("a b/", 400) + "npm",
	}
	for _, expr := range []string{
		``, `^`, `$`, `^$`, `a`, `^a`, `a$`, `^a$`, `\bab\b`, `\Bb`, `(?m)^b$`, `(?m)^$`, `(?s)a.b`, `a.b`, `(?i)K`, `(?i)s`, `[^a]`, `[^\n]`, `\x{fffd}`, `.`,
		`é`, `(?i)é`, `[à-ü]`, `\pL+$`, `(^|[/ ])(npm|npx)(-cli)?(\.c?js)?( |$)`, `a*?b`, `(a|ab)(c|bcd)`, `a{3,5}b`, `x*`, `[[:^word:]]`, `\z`, `\A\z`, `\w+\W`,
		`-c .*(curl|wget)\b.*\| *(sudo +)?(/\S+/)?((ba|da|z)?sh\b)`, `^\S*(ba|da|z)?sh( -[sex]+| -)?`, `[^\x00-\x{10FFFF}]`,
	} {
		a, re := automatonFor(t, expr)
		for range 2 { // with states made, and with states found
			for _, s := range texts {
				if got, want := a.match(s), re.MatchString(s); got != want {
					t.Errorf("%q on %q: %v, want %v", expr, s, got, want)
				}
			}
		}
	}
}

// An expression with more states than there is room for begins anew, and is
// left to package regexp in the end: the answer stays, and memory is bounded.
func TestAnAutomatonIsBounded(t *testing.T) {
	a, re := automatonFor(t, `a[ab]{14}c[ab]{14}a`)
	var b strings.Builder
	for x := uint32(1); b.Len() < 1<<18; x = x*1664525 + 1013904223 {
		b.WriteByte("aabbc"[x>>16%5])
	}
	long := b.String()
	for _, s := range []string{long, long + "a" + strings.Repeat("ab", 7) + "c" + strings.Repeat("ba", 7) + "a"} {
		if got, want := a.match(s), re.MatchString(s); got != want {
			t.Errorf("%v, want %v", got, want)
		}
		if width := len(a.sample) + 1; len(a.next) > maxAutomaton+width || len(a.states) > maxAutomaton/width+1 {
			t.Errorf("a table of %d, %d states", len(a.next), len(a.states))
		}
	}
}

func TestAnAutomatonOfManyAtATime(t *testing.T) {
	a, re := automatonFor(t, `(^|[/ ])(npm|npx|yarn)( |$)`)
	text := strings.Repeat("/usr/lib/node_modules/npm/x ", 200)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range 200 {
				if s := text[i:] + "npx"[:i%4]; a.match(s) != re.MatchString(s) {
					t.Errorf("%q", s)
				}
			}
		})
	}
	wg.Wait()
}

func TestAnAutomatonAllocatesNothingOnceItKnowsTheStates(t *testing.T) {
	a, _ := automatonFor(t, `(^|[/ ])(npm|npx|yarn)( |$)`)
	text := strings.Repeat("/usr/lib/node_modules/npm/x ", 200)
	a.match(text)
	if n := testing.AllocsPerRun(100, func() { a.match(text) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzAutomaton(f *testing.F) {
	for _, s := range [][2]string{{`(^|[/ ])(npm|npx)( |$)`, "/npm x"}, {`(?i)\bK[^a-c]+$`, "a Kd\n"}, {`(?m)^a$|\B.`, "b\na\xff"}, {`^(a|b)*c`, "ababc"}} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, expr, text string) {
		re, err := regexp.Compile(expr)
		if err != nil || len(expr) > 200 || len(text) > 2000 {
			return
		}
		if parsed, err := syntax.Parse(expr, syntax.Perl); err != nil || parsed.MaxCap() > 20 {
			return
		}
		a := newAutomaton(expr, re)
		if a == nil {
			return
		}
		if got, want := a.match(text), re.MatchString(text); got != want {
			t.Errorf("%q on %q: %v, want %v", expr, text, got, want)
		}
	})
}

// BenchmarkALongCommandLine is what an expression costs on the arguments of
// `xargs grep`.
func BenchmarkALongCommandLine(b *testing.B) {
	text := "grep -c x " + strings.Repeat("/usr/share/doc/libnpm-perl/examples/build.pl ", 2900)
	const expr = `(^|[/ ])(npm|npx|yarn|pnpm|corepack)(-cli)?(\.c?js)?( |$)`
	a, re := automatonFor(b, expr)
	for _, way := range []struct {
		name  string
		match func(string) bool
	}{{"automaton", a.match}, {"regexp", re.MatchString}} {
		b.Run(way.name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				if way.match(text) {
					b.Fatal("it matches")
				}
			}
		})
	}
}
