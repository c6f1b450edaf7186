package main

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/org/edamame-posture/pkg/signature"
)

func cases(t *testing.T) (attacks, benign []*scenario) {
	t.Helper()
	attacks, err := load("../attacks", attackFile)
	if err != nil {
		t.Fatal(err)
	}
	if benign, err = load("../benign", benignFile); err != nil {
		t.Fatal(err)
	}
	return attacks, benign
}

func TestTheCorporaAreAsLargeAsTheyAreSaidToBe(t *testing.T) {
	attacks, benign := cases(t)
	if len(attacks) < 40 || len(benign) < 60 {
		t.Fatalf("%d attacks and %d benign jobs, want 40 and 60", len(attacks), len(benign))
	}
}

// A rule that is named wrongly would be missed only when the corpus is run.
func TestEachExpectedFindingIsARuleOfThePackWithThatLevel(t *testing.T) {
	pack, err := signature.Default()
	if err != nil {
		t.Fatal(err)
	}
	level := map[string]string{}
	for _, r := range pack.Rules() {
		level[r.ID] = r.Level
	}
	attacks, _ := cases(t)
	expected := map[string]bool{}
	for _, c := range attacks {
		grave := false
		for rule, severity := range c.Findings {
			if level[rule] != severity {
				t.Errorf("%s expects %s at %s; the pack has it at %q", c.ID, rule, severity, level[rule])
			}
			expected[rule] = true
			grave = grave || family(rule) && severe[severity] >= severe["high"]
		}
		if !grave {
			t.Errorf("%s expects no finding of high or above of a family", c.ID)
		}
	}
	// Each family that the pack has is shown by an attack.
	number := regexp.MustCompile(`^d\d+`)
	shown := map[string]bool{}
	for rule := range expected {
		shown[number.FindString(rule)] = true
	}
	for rule := range level {
		if f := number.FindString(rule); f != "" && !shown[f] {
			t.Errorf("no attack shows family %s, of rule %s", f, rule)
		}
	}
}

// Rules of families are silent where an incident's rule joins them; then they
// would not work without it.
func TestNoRuleOfAnIncidentTakesOneOfAFamily(t *testing.T) {
	files, err := filepath.Glob("../../policies/signatures/*.yml")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for doc := range strings.SplitSeq(string(text), "\n---\n") {
			if regexp.MustCompile(`(?m)^name: incident-`).MatchString(doc) && strings.Contains(doc, "\ncorrelation:") {
				t.Errorf("%s: a rule of an incident correlates; name its base rules incident- too, and look for them here", f)
			}
		}
	}
}

// Hosts and addresses of incidents are indicators. A rule that has one finds
// what was, not what comes.
func TestNoRuleOfAFamilyNamesAHostOfAnIncident(t *testing.T) {
	attacks, _ := cases(t)
	known := regexp.MustCompile(`(github|githubusercontent|google|microsoft|npmjs|pypi|codecov|sigstore|amazonaws|pastebin|telegram|ipinfo|webhook|freegeoip|solana|bun\.sh|codecov\.io|169\.254|registry\.test)`)
	var hosts []string
	for _, c := range attacks {
		for h, a := range c.Addresses {
			hosts = append(hosts, h, a)
		}
		for _, e := range c.Effect {
			if e.Received != "" && !known.MatchString(e.Received) {
				hosts = append(hosts, e.Received)
			}
		}
	}
	if len(hosts) < 20 {
		t.Fatalf("only %d hosts of incidents are found", len(hosts))
	}
	files, _ := filepath.Glob("../../policies/signatures/*.yml")
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range hosts {
			if bytes.Contains(text, []byte(h)) {
				t.Errorf("%s names %s", f, h)
			}
		}
	}
}

func TestACanaryIsFoundBehindItsEncodings(t *testing.T) {
	secret := []byte("token=" + secrets["NPM_TOKEN"])
	b64 := func(b []byte) []byte { return []byte(base64.StdEncoding.EncodeToString(b)) }
	zip := func(b []byte) []byte {
		var z bytes.Buffer
		w := gzip.NewWriter(&z)
		_, _ = w.Write(b)
		w.Close()
		return z.Bytes()
	}
	back := slices.Clone(secret)
	slices.Reverse(back)
	for name, data := range map[string][]byte{
		"in clear":                       secret,
		"base64":                         b64(secret),
		"base64 twice":                   b64(b64(secret)),
		"base64 three times":             b64(b64(b64(secret))),
		"base64 of a URL":                []byte(base64.RawURLEncoding.EncodeToString(secret)),
		"base64 behind letters":          append([]byte("UTF8"), append([]byte("x"), b64(secret)...)...),
		"base64 on lines":                []byte(strings.Join([]string{string(b64(secret))[:20], string(b64(secret))[20:]}, "\n")),
		"hex":                            []byte(hex.EncodeToString(secret)),
		"reversed":                       back,
		"gzip":                           zip(secret),
		"gzip within base64":             b64(zip(secret)),
		"gzip within hex, in two pieces": []byte(hex.EncodeToString(zip(secret))[:30] + "\n" + hex.EncodeToString(zip(secret))[30:]),
	} {
		if !holdsCanary(data) {
			t.Errorf("%s: not found", name)
		}
	}
	for _, data := range []string{"", "token=none", string(b64([]byte("an ordinary text of some length"))), strings.Repeat("A", 5000)} {
		if holdsCanary([]byte(data)) {
			t.Errorf("found in %q", data)
		}
	}
}

func TestIntervalsAreWilsons(t *testing.T) {
	// Reference: Newcombe, Statistics in Medicine 17 (1998), method 3.
	for _, c := range []struct {
		k, n      int
		low, high float64
	}{{81, 263, 0.2553, 0.3662}, {15, 148, 0.0624, 0.1605}, {0, 20, 0, 0.1611}, {1, 29, 0.0061, 0.1718}} {
		low, high := wilson(c.k, c.n)
		if math.Abs(low-c.low) > 5e-4 || math.Abs(high-c.high) > 5e-4 {
			t.Errorf("%d of %d: %.4f to %.4f, want %.4f to %.4f", c.k, c.n, low, high, c.low, c.high)
		}
	}
}

func TestACaseThatIsWrittenWronglyIsRefused(t *testing.T) {
	for name, text := range map[string]string{
		"no title":             "steps: [{run: true}]",
		"no steps":             "title: x",
		"an unknown key":       "title: x\nsteps: [{run: 'true'}]\nfinding: {}",
		"an unknown secret":    "title: x\nsteps: [{run: 'true', secrets: [NONE]}]",
		"an unknown stand-in":  "title: x\nsteps: [{run: 'true'}]\ntools: [none]",
		"findings of a job":    "title: x\nsteps: [{run: 'true'}]\nfindings: {a: high}",
		"an effect of nothing": "title: x\nsteps: [{run: 'true'}]\neffect: [{canary: true}]",
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.MkdirAll(filepath.Join(dir, "a"), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "a", benignFile), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			if all, err := load(dir, benignFile); err == nil {
				t.Errorf("taken: %s", fmt.Sprint(*all[0]))
			}
		})
	}
}
