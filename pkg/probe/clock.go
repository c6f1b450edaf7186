package probe

// Clock relates the clocks of this machine at one moment. The wall clock can
// be set and the machine can sleep, so it is worth reading again.
type Clock struct {
	// Wall is what to add to CLOCK_BOOTTIME to get Unix time, in nanoseconds.
	Wall int64
	// Monotonic is what to add to CLOCK_MONOTONIC to get CLOCK_BOOTTIME, in
	// nanoseconds: how long the machine has slept.
	Monotonic int64
	// UserHZ is the unit of times in /proc/PID/stat: ticks a second. It is 100
	// on every architecture that matters, and read all the same.
	UserHZ int64
}

// Ticks turns a time of /proc/PID/stat into nanoseconds.
func (c Clock) Ticks(t int64) int64 {
	hz := c.UserHZ
	if hz <= 0 {
		hz = 100
	}
	return t/hz*1e9 + t%hz*1e9/hz
}

// Tick rounds a boot time in nanoseconds down to what /proc/PID/stat would show.
func (c Clock) Tick(ns int64) int64 {
	hz := c.UserHZ
	if hz <= 0 {
		hz = 100
	}
	return ns - ns%(1e9/hz)
}
