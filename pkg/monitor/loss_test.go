package monitor

import (
	"strings"
	"testing"
	"time"

	"github.com/org/edamame-posture/pkg/sensor"
)

func TestEachWayToLoseRecordsIsItsOwnGap(t *testing.T) {
	before := sensor.Stats{Lost: 5, Stolen: 5, Missed: 5, Untold: 5, Undecoded: 5}
	seen := map[string]bool{}
	for i, grown := range []sensor.Stats{
		{Lost: 6, Stolen: 5, Missed: 5, Untold: 5, Undecoded: 5},
		{Lost: 5, Stolen: 7, Missed: 5, Untold: 5, Undecoded: 5},
		{Lost: 5, Stolen: 5, Missed: 8, Untold: 5, Undecoded: 5},
		{Lost: 5, Stolen: 5, Missed: 5, Untold: 9, Undecoded: 5},
		{Lost: 5, Stolen: 5, Missed: 5, Untold: 5, Undecoded: 10},
	} {
		n, told := lossesOf(grown).since(lossesOf(before)), 0
		for j := range n {
			if n[j] == 0 {
				continue
			}
			told++
			if n[j] != uint64(i+1) {
				t.Errorf("%q: %d, want %d", losses[j].what, n[j], i+1)
			}
			seen[losses[j].what] = true
		}
		if told != 1 {
			t.Errorf("loss %d is told %d times", i, told)
		}
	}
	if len(seen) != len(losses) {
		t.Errorf("%d losses have %d names", len(losses), len(seen))
	}
}

func TestALateRoundSaysWhy(t *testing.T) {
	s := int64(time.Second)
	for _, c := range []struct {
		name           string
		boottime, mono int64 // how far each clock went
		want           []string
	}{
		{"in time", s, s, nil},
		{"a little late", 2 * s, 2 * s, nil},
		{"stopped", 6 * s, 6 * s, []string{"did not run for 5s"}},
		{"suspended", 3601 * s, s, []string{"suspended for 1h0m0s"}},
		{"suspended and stopped", 110 * s, 10 * s, []string{"suspended for 1m40s", "did not run for 9s"}},
	} {
		ps := pauseOf(s, s+c.boottime, c.mono)
		if len(ps) != len(c.want) {
			t.Errorf("%s: %+v", c.name, ps)
			continue
		}
		for i, p := range ps {
			if !strings.Contains(p.what, c.want[i]) || p.from != s || p.to != s+c.boottime {
				t.Errorf("%s: %+v, want %q", c.name, p, c.want[i])
			}
		}
	}
}
