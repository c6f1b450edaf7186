package document

import (
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

func TestNearestTakesSlipsAndLeavesOtherWords(t *testing.T) {
	words := []string{"egress", "exec", "write", "listen", "credentials"}
	for word, want := range map[string]string{
		"egres": "egress", "egerss": "egress", "Egress": "egress", "wirte": "write", "credential": "credentials",
		"zzz": "", "": "", "unrelated": "", strings.Repeat("x", 100): "",
	} {
		if got := Nearest(word, words); got != want {
			t.Errorf("Nearest(%q) = %q, want %q", word, got, want)
		}
	}
}

func TestAQuotedTextReadsBackAsItWas(t *testing.T) {
	for _, s := range []string{"", "plain", `q"\`, "a\nb\tc\r\x00\x1b\x7f", "ünï\u0085\u2028\ufeff", "😀", "*x", "{a: b}", "- a", "# c", "yes"} {
		q := Quote(s)
		var got string
		if err := yaml.Unmarshal([]byte(q), &got); err != nil || got != s {
			t.Errorf("Quote(%q) = %s, read back %q, %v", s, q, got, err)
		}
		for _, c := range []byte(q) {
			if c < 0x20 || c > 0x7e {
				t.Errorf("Quote(%q) holds the byte %#x", s, c)
			}
		}
	}
}

func TestAliasesStandForWhatTheyName(t *testing.T) {
	s, docs := Parse("f", []byte("a: &x [1, 2]\nb: *x\n"))
	if err := s.Err(); err != nil || len(docs) != 1 {
		t.Fatal(err)
	}
	pairs := s.Mapping(docs[0], "a", "b")
	if len(pairs) != 2 || len(s.List(pairs[1].Value)) != 2 {
		t.Fatalf("pairs %+v", pairs)
	}
}

func TestDeepAndLongFilesAreRefused(t *testing.T) {
	for name, text := range map[string]string{
		"flow lists":  strings.Repeat("[", 5000),
		"block lists": strings.Repeat("- ", 200) + "a",
		"mappings":    strings.Repeat("{a: ", 100) + "b" + strings.Repeat("}", 100),
		"size":        strings.Repeat("a", MaxBytes+1),
	} {
		if s, docs := Parse("f", []byte(text)); s.Err() == nil || len(docs) != 0 {
			t.Errorf("%s: taken", name)
		}
	}
}

func TestManyErrorsAreCutWithANote(t *testing.T) {
	s, docs := Parse("f", []byte(strings.Repeat("- x: 1\n", 200)))
	for _, n := range docs[0].Content {
		s.Mapping(n, "a")
	}
	err := s.Err().Error()
	if n := strings.Count(err, "\n"); n != maxErrors || !strings.Contains(err, "and more") {
		t.Fatalf("%d lines:\n%s", n+1, err)
	}
}

func TestASlipIsOneEditOrTwoInALongWord(t *testing.T) {
	keys := []string{"level", "title", "detection", "falsepositives"}
	for word, want := range map[string]string{
		"levle": "level", "titel": "title", "Level": "level", "detecton": "detection", "falsepositivs": "falsepositives", "falsepositiv": "falsepositives",
		"labels": "", "lvl": "", "simulation": "", "tile": "title", "": "",
	} {
		if got := Slip(word, keys); got != want {
			t.Errorf("Slip(%q) = %q, want %q", word, got, want)
		}
	}
}
