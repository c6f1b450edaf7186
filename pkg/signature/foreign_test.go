package signature

import (
	"os"
	"strings"
	"testing"
)

// Rules as others write them can be used, or it is said why not.
func TestRulesInTheStyleOfForeignOnes(t *testing.T) {
	list, err := Check(os.DirFS("testdata/foreign"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("testdata/foreign/refused.yml")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{} // by id, of those that are refused
	for _, doc := range strings.Split(string(text), "\n---\n") {
		_, id, _ := strings.Cut(doc, "\nid: ")
		_, expect, _ := strings.Cut(doc, "\nexpect: ")
		id, _, _ = strings.Cut(id, "\n")
		expect, _, _ = strings.Cut(expect, "\n")
		want[id] = strings.Trim(expect, "'")
	}
	usable := 0
	for i := range list {
		c := &list[i]
		expect, refused := want[c.ID]
		delete(want, c.ID)
		if c.Usable() && !refused {
			usable++
			continue
		}
		told := c.Supported == (expect != "elsewhere") && len(c.Errors) > 0 && (expect == "elsewhere" || strings.Contains(c.Errors[0].Message, expect))
		if !refused || c.Usable() || !told {
			t.Errorf("%s:%d %s: usable %v, supported %v, %v; want %q", c.File, c.Line, c.ID, c.Usable(), c.Supported, c.Errors, expect)
		}
	}
	if usable < 15 || len(want) > 0 {
		t.Errorf("%d can be used; not found: %v", usable, want)
	}
}
