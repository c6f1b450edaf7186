package probe

import (
	"encoding/binary"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// ReadClock reads the clocks of this machine. The offsets are good to about a
// microsecond: each is the best of three readings between two of the boot clock.
func ReadClock() (Clock, error) {
	wall, err := offset(unix.CLOCK_REALTIME)
	if err != nil {
		return Clock{}, err
	}
	mono, err := offset(unix.CLOCK_MONOTONIC)
	if err != nil {
		return Clock{}, err
	}
	auxv, err := os.ReadFile("/proc/self/auxv")
	if err != nil {
		return Clock{}, fmt.Errorf("reading USER_HZ: %w", err)
	}
	return Clock{Wall: wall, Monotonic: -mono, UserHZ: userHZ(auxv)}, nil
}

// offset returns how far a clock is ahead of CLOCK_BOOTTIME.
func offset(clock int32) (int64, error) {
	var best, width int64
	for i := range 3 {
		var before, there, after unix.Timespec
		for _, r := range []struct {
			id int32
			ts *unix.Timespec
		}{{unix.CLOCK_BOOTTIME, &before}, {clock, &there}, {unix.CLOCK_BOOTTIME, &after}} {
			if err := unix.ClockGettime(r.id, r.ts); err != nil {
				return 0, fmt.Errorf("clock_gettime(%d): %w", r.id, err)
			}
		}
		w := after.Nano() - before.Nano()
		if i == 0 || w < width {
			best, width = there.Nano()-before.Nano()-w/2, w
		}
	}
	return best, nil
}

// userHZ finds AT_CLKTCK in an auxiliary vector, getauxval(3).
func userHZ(auxv []byte) int64 {
	const atNull, atClockTick, word = 0, 17, 8
	for ; len(auxv) >= 2*word; auxv = auxv[2*word:] {
		switch binary.NativeEndian.Uint64(auxv) {
		case atNull:
			return 100
		case atClockTick:
			if hz := binary.NativeEndian.Uint64(auxv[word:]); hz > 0 && hz <= 1e9 {
				return int64(hz)
			}
		}
	}
	return 100
}
