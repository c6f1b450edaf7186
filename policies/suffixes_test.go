package policies

import (
	"encoding/binary"
	"flag"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/net/publicsuffix"
)

var update = flag.Bool("update", false, "write suffixes.txt anew, of the list in golang.org/x/net")

// suffixesHead is what stands above the list. VERSION is what the library says
// of its source.
const suffixesHead = `# Suffixes below which anybody can register a name: the part of the Public Suffix List that ICANN and the registries of
# countries are responsible for (Mozilla Public License 2.0). A line holds what stands directly before a suffix: "uk: ac co"
# is ac.uk and co.uk; * is any name, !name is none. Below a top-level domain that is not here names are registered directly.
# Source: VERSION, by golang.org/x/net/publicsuffix, which itself draws in an HTTP client.
# To renew it: go test ./policies -run Suffixes -update
`

// The list is that of golang.org/x/net, whose tables are read as its list.go
// describes them. When that module is renewed, so is the list.
func TestSuffixesAreThoseOfTheLibrary(t *testing.T) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "golang.org/x/net").Output()
	if err != nil {
		t.Fatalf("go list -m golang.org/x/net: %v", err)
	}
	read := func(name string) []byte {
		b, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(out)), "publicsuffix", name))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	table := string(read("table.go"))
	constant := func(name string) int {
		m := regexp.MustCompile(`\b` + name + `\s*=\s*(\d+)`).FindStringSubmatch(table)
		if m == nil {
			t.Fatalf("table.go has no %s: its layout is another, and this test is to follow it", name)
		}
		n, _ := strconv.Atoi(m[1])
		return n
	}
	for name, want := range map[string]int{
		"nodesBits": 40, "nodesBitsChildren": 10, "nodesBitsICANN": 1, "nodesBitsTextOffset": 16, "nodesBitsTextLength": 6,
		"childrenBitsWildcard": 1, "childrenBitsNodeType": 2, "childrenBitsHi": 14, "childrenBitsLo": 14, "nodeTypeException": 1, "nodeTypeParentOnly": 2,
	} {
		if got := constant(name); got != want {
			t.Fatalf("table.go: %s is %d, not %d: its layout is another, and this test is to follow it", name, got, want)
		}
	}
	version := regexp.MustCompile(`const version = "(.*)"`).FindStringSubmatch(table)
	if version == nil {
		t.Fatal("table.go does not say of which list it is")
	}
	text, nodes, children := read("data/text"), read("data/nodes"), read("data/children")
	before := map[string][]string{} // by what stands behind the dot
	rules := 0
	var walk func(lo, hi uint32, below string)
	walk = func(lo, hi uint32, below string) {
		for i := lo; i < hi; i++ {
			x := binary.BigEndian.Uint64(append(make([]byte, 3, 8), nodes[i*5:i*5+5]...))
			at, n := x>>6&(1<<16-1), x&(1<<6-1)
			label := string(text[at : at+n])
			name := label
			if below != "" {
				name += "." + below
			}
			c := binary.BigEndian.Uint32(children[x>>23&(1<<10-1)*4:])
			kind, wildcard := c>>28&3, c>>30&1 != 0
			if icann := x>>22&1 != 0; icann {
				switch {
				case kind == 1:
					before[below] = append(before[below], "!"+label)
				case kind == 0 && below != "":
					before[below] = append(before[below], label)
					if s, icann := publicsuffix.PublicSuffix("x." + name); !icann || s != name && s != "x."+name {
						t.Fatalf("x.%s: the library says %q, %v: the tables are read wrongly", name, s, icann)
					}
				}
				if wildcard {
					before[name] = append(before[name], "*")
				}
				rules++
			}
			walk(c&(1<<14-1), c>>14&(1<<14-1), name)
		}
	}
	walk(0, uint32(constant("numTLD")), "")
	if rules < 5000 {
		t.Fatalf("only %d suffixes", rules)
	}
	var b strings.Builder
	b.WriteString(strings.Replace(suffixesHead, "VERSION", version[1], 1))
	for _, name := range slices.Sorted(maps.Keys(before)) {
		list := before[name]
		slices.Sort(list)
		b.WriteString(name + ": " + strings.Join(list, " ") + "\n")
	}
	if *update {
		if err := os.WriteFile("suffixes.txt", []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if string(Suffixes()) != b.String() {
		t.Error("suffixes.txt is not the library's list: go test ./policies -run Suffixes -update")
	}
}
