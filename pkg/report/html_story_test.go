package report

import (
	"fmt"
	"slices"
	"testing"
)

// build is a story of n compilers below 20 shells, each with an assembler, and
// one chain that is as deep as deep.
func build(n, deep int) *story {
	s := new(story)
	s.init(0)
	add := func(parent int32, program string, over bool) int32 {
		s.rows = append(s.rows, image{parent: parent, program: s.words.of(program), over: over, began: 1, ended: 3, sent: 1})
		return int32(len(s.rows) - 1)
	}
	root := add(-1, "make", true)
	for i := range n {
		if i%(n/20) == 0 {
			root = add(0, fmt.Sprint("sh", i), true)
		}
		add(add(root, "gcc", true), "as", true)
	}
	for range deep {
		root = add(root, "sh", true)
	}
	return s
}

func TestProcessesAreFoldedAndCutAndAllAreCounted(t *testing.T) {
	for _, tt := range []struct {
		name                string
		n, deep, limit      int
		wantMin, wantMax    int
		folded, leftOutSome bool
	}{
		{"few stay as they are", 40, 5, 1000, 106, 106, false, false},
		{"many that are alike are one line", 4000, 5, 1000, 60, 100, true, false},
		{"what is too deep is counted above", 4000, 3000, 1000, 1000, 1000, true, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var before []line
			for range 2 {
				s := build(tt.n, tt.deep)
				last := int32(len(s.rows) - 1)
				named := int32(12) // a compiler among many
				list, at := s.lines(tt.limit, map[int32]bool{named: true, last: true})
				if len(list) < tt.wantMin || len(list) > tt.wantMax {
					t.Errorf("%d lines, want %d to %d", len(list), tt.wantMin, tt.wantMax)
				}
				var sum, hidden, folded, sent uint64
				for i, l := range list {
					sum += uint64(l.repeats)
					hidden += uint64(l.hidden)
					sent += l.sent
					folded = max(folded, uint64(l.repeats))
					if l.parent >= int32(i) {
						t.Fatalf("line %d stands before its parent %d", i, l.parent)
					}
				}
				if sum+hidden+s.left != uint64(len(s.rows)) {
					t.Errorf("%d shown, %d hidden and %d left of %d", sum, hidden, s.left, len(s.rows))
				}
				if hidden == 0 && sent != uint64(len(s.rows)) {
					t.Errorf("%d bytes of %d", sent, len(s.rows))
				}
				if (folded > 1) != tt.folded || (hidden > 0) != tt.leftOutSome {
					t.Errorf("most repeats %d, hidden %d", folded, hidden)
				}
				if l := list[at[named]]; l.repeats != 1 || s.words.list[l.program] != "gcc" {
					t.Errorf("the one that is named is in a line of %d %s", l.repeats, s.words.list[l.program])
				}
				for i := range list {
					list[i].image = nil
				}
				if before != nil && !slices.Equal(before, list) {
					t.Error("the second time it is another list")
				}
				before = list
			}
		})
	}
}

func TestTheMomentsWidenAndLoseNothing(t *testing.T) {
	s := new(story)
	s.init(0)
	l := &lane{}
	s.order = append(s.order, l)
	for i := range l.moments {
		l.moments[i] = moment{1, 2, 3, 4}
	}
	for range 12 {
		s.widen()
	}
	if want := (moment{maxMoments, 2 * maxMoments, 3 * maxMoments, 4 * maxMoments}); l.moments[0] != want || s.slot != shortestSlot<<12 {
		t.Errorf("%+v of %d ns, want %+v", l.moments[0], s.slot, want)
	}
}
