package evidence

import (
	"crypto/sha256"
	"fmt"
	"os"
	"strings"
	"testing"
)

// vectors returns the indented block of the format's page that follows a line.
func vectors(t *testing.T, after string) []string {
	t.Helper()
	page, err := os.ReadFile("../../docs/evidence-format.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(page), after+"\n\n")
	if !ok {
		t.Fatalf("no line %q", after)
	}
	var block []string
	for _, line := range strings.Split(rest, "\n") {
		line, ok := strings.CutPrefix(line, "    ")
		if !ok {
			break
		}
		block = append(block, line)
	}
	return block
}

func TestTheTreesOfTheFormatsPageAreThoseOfItsLines(t *testing.T) {
	lines, err := os.ReadFile("../event/testdata/vectors.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	var tr tree
	roots := []string{fmt.Sprint(0, " ", tr.root())}
	for line := range strings.Lines(string(lines)) {
		tr.append(sha256.Sum256([]byte("\x00" + strings.TrimSuffix(line, "\n"))))
		roots = append(roots, fmt.Sprint(tr.size, " ", tr.root()))
	}
	block := vectors(t, "The tree over the first lines of `vectors.jsonl`, size and root:")
	if len(block) < 5 || block[len(block)-1] != roots[len(roots)-1] {
		t.Errorf("the page should end with %s", roots[len(roots)-1])
	}
	for _, line := range block {
		var size int
		if _, err := fmt.Sscan(line, &size); err != nil || size >= len(roots) || roots[size] != line {
			t.Errorf("the page says %s, and it is %s", line, roots[min(size, len(roots)-1)])
		}
	}
	c := Checkpoint{Origin: originPrefix + "run@1", Size: tr.size, Root: tr.root(), Boottime: 81046000138, Lost: 18446744073709551615}
	note := strings.Join(vectors(t, "The checkpoint over all of it, as text:"), "\n") + "\n"
	if got := string(c.appendText(nil)); got != note {
		t.Errorf("the page says\n%s\nand it is\n%s", note, got)
	}
}
