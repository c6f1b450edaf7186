package intent

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// units of an amount of bytes: those of SI (1000) and those of IEC 80000-13
// (1024), the larger first.
var units = []struct {
	name string
	size uint64
}{
	{"GiB", 1 << 30}, {"GB", 1e9}, {"MiB", 1 << 20}, {"MB", 1e6}, {"KiB", 1 << 10}, {"KB", 1e3}, {"B", 1},
}

// ParseBytes reads an amount such as 50MB or 64 KiB. A number alone is bytes.
func ParseBytes(s string) (uint64, error) {
	digits := strings.TrimRight(s, " ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
	unit := strings.TrimSpace(s[len(digits):])
	size := uint64(1)
	if unit != "" {
		size = 0
		for _, u := range units {
			if strings.EqualFold(u.name, unit) {
				size = u.size
			}
		}
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	switch {
	case size == 0:
		return 0, badAt(len(digits), "not a unit; want B, KB, MB, GB, KiB, MiB or GiB")
	case err != nil || digits == "" || digits[0] == '+':
		return 0, badAt(0, "not an amount of bytes; want one such as 50MB")
	case n == 0:
		return 0, badAt(0, "nothing may be sent at all; take the grant out instead")
	case n > math.MaxUint64/2/size:
		return 0, badAt(0, "more bytes than can be counted")
	}
	return n * size, nil
}

// formatBytes writes an amount in the largest unit that it is whole in, as
// ParseBytes reads it.
func formatBytes(n uint64) string {
	for _, u := range units {
		if n%u.size == 0 {
			return fmt.Sprint(n/u.size, u.name)
		}
	}
	return fmt.Sprint(n, "B") // not reached: 1 divides it
}

// roundUp is a budget that a person would write for n bytes: two digits, and a
// unit.
func roundUp(n uint64) uint64 {
	step := uint64(1)
	for n/step >= 100 {
		step *= 10
	}
	return max((n+step-1)/step*step, 1)
}
