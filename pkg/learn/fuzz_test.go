package learn

import (
	"slices"
	"strings"
	"testing"

	"github.com/org/edamame-posture/pkg/intent"
)

// What a name is cut into is the name, and its parts come back together.
func FuzzCut(f *testing.F) {
	for _, s := range []string{"1.2.3", "v1.2", "tool-1.2.3-linux-x64", "build.tmp-Ab3xY9", "part-1.txt", "2026-11-25.log", "go-build*", "", "template-header"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		p := cut(name)
		if p.text() != name {
			t.Errorf("%q was cut into %q, %q and %q", name, p.before, p.value, p.after)
		}
		if (p.value == "") != (p.least == 0) {
			t.Errorf("%q has the value %q, and counts from %d", name, p.value, p.least)
		}
		if p.least > 0 {
			v := values{p.value: {0: true}, p.value + "9": {1: true}}
			star := starFor(p, v)
			if !strings.HasPrefix(star, p.before) || !strings.HasSuffix(star, "*"+p.after) {
				t.Errorf("%q became %q", name, star)
			}
		}
	})
}

// A host that is generalised is covered by what it becomes, and its domain stays.
func FuzzNumberedHost(f *testing.F) {
	for _, s := range []string{"host12.example.com", "app1.herokuapp.com", "1.example.com", "shop1.com", "a.b", "x9..y", "host1.", "\x00a1.b.c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, host string) {
		before, number, after, ok := numberedHost(host)
		if !ok {
			return
		}
		if before+number+after != host || before == "" || strings.Trim(number, "0123456789") != "" || !strings.HasPrefix(after, ".") {
			t.Errorf("%q was cut into %q, %q and %q", host, before, number, after)
		}
		if strings.Count(strings.Trim(host, "."), ".") < 2 {
			t.Errorf("%q is a name that somebody registers", host)
		}
		exact := intent.Declared{Key: "egress", Object: host + ":443"}
		if exact.Check() != nil {
			return // no fact has such a name
		}
		pattern := intent.Declared{Key: "egress", Object: before + "*" + after + ":443"}
		if err := pattern.Check(); err != nil {
			t.Errorf("%q became %q, which is no destination: %v", host, pattern.Object, err)
		}
	})
}

// However the runs are, what is strong stays so with any few of them gone.
func FuzzStrong(f *testing.F) {
	f.Add([]byte{0x10, 0x21, 0x32}, uint8(1), uint8(2))
	f.Fuzz(func(t *testing.T, seen []byte, few, least uint8) {
		few, least = few%3, least%5
		if len(seen) > 64 {
			return
		}
		v := values{}
		for _, b := range seen {
			v.add(string('a'+rune(b>>4)), runSet{int(b & 7): true})
		}
		if !v.strong(int(few), int(least)) {
			return
		}
		for gone := range 1 << 8 {
			var without []int
			for r := range 8 {
				if gone&(1<<r) != 0 {
					without = append(without, r)
				}
			}
			if len(without) > int(few) {
				continue
			}
			left := 0
			for _, runs := range v {
				for r := range runs {
					if !slices.Contains(without, r) {
						left++
						break
					}
				}
			}
			if left < int(least) {
				t.Errorf("without the runs %v only %d values are left, and %d are wanted of %v", without, left, least, v)
			}
		}
	})
}
