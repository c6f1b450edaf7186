package report

import (
	"strconv"
	"time"
)

// bytesOf shows a number of bytes in decimal units, two digits at least. It
// counts in integers, so that it is the same on every machine.
func bytesOf(n uint64) string {
	if n < 1000 {
		return strconv.FormatUint(n, 10) + " B"
	}
	units := []string{"kB", "MB", "GB", "TB", "PB", "EB"}
	unit := uint64(1000)
	for i, name := range units {
		last := i == len(units)-1
		// Rounding may carry into the next unit: 999,950 B is 1.0 MB.
		tenths := n/(unit/10) + (n%(unit/10)+unit/20)/(unit/10)
		if tenths < 100 {
			return strconv.FormatUint(tenths/10, 10) + "." + strconv.FormatUint(tenths%10, 10) + " " + name
		}
		if whole := n/unit + (n%unit+unit/2)/unit; whole < 1000 || last {
			return strconv.FormatUint(whole, 10) + " " + name
		}
		unit *= 1000
	}
	return ""
}

// span shows nanoseconds as a person would say them.
func span(ns int64) string {
	d := time.Duration(max(ns, 0))
	switch {
	case d < time.Millisecond:
		return "<1 ms"
	case d < time.Second:
		return strconv.FormatInt(d.Milliseconds(), 10) + " ms"
	case d < time.Minute:
		t := d.Milliseconds() / 100
		return strconv.FormatInt(t/10, 10) + "." + strconv.FormatInt(t%10, 10) + " s"
	case d < time.Hour:
		s := int64(d / time.Second)
		return strconv.FormatInt(s/60, 10) + " min " + strconv.FormatInt(s%60, 10) + " s"
	}
	m := int64(d / time.Minute)
	return strconv.FormatInt(m/60, 10) + " h " + strconv.FormatInt(m%60, 10) + " min"
}

// number shows n with a comma between thousands.
func number(n uint64) string {
	s := strconv.FormatUint(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// count shows how many there are of a thing.
func count(n uint64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return number(n) + " " + many
}
