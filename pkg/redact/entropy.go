package redact

// minRandom is the length below which no string is called random, in bytes.
const minRandom = 20

// log2Milli[n] is round(1000*log2(n)), so that the measure needs no floating
// point and is the same on every machine.
var log2Milli = func() (t [257]int32) {
	for n := 2; n < len(t); n++ {
		t[n] = milliLog2(n)
	}
	return
}()

// milliLog2 computes 1000*log2(n), rounded to nearest, by squaring in 32.32
// fixed point.
func milliLog2(n int) int32 {
	e := 0
	for n>>(e+1) > 0 {
		e++
	}
	x := uint64(n) << 31 >> e // 1 <= x/2^31 < 2
	frac := uint64(0)
	for range 24 {
		x = x * x >> 31
		frac <<= 1
		if x >= 1<<32 {
			x >>= 1
			frac |= 1
		}
	}
	return int32(e*1000) + int32((frac*1000+1<<23)>>24)
}

// entropyMilli returns the Shannon entropy of s in thousandths of a bit per
// byte. Only the first 256 bytes count.
func entropyMilli(s []byte) int32 {
	if len(s) > 256 {
		s = s[:256]
	}
	if len(s) == 0 {
		return 0
	}
	var count [256]uint16
	for _, c := range s {
		count[c]++
	}
	var sum int64
	for _, c := range s {
		sum += int64(log2Milli[count[c]])
	}
	return log2Milli[len(s)] - int32(sum/int64(len(s)))
}

// highEntropy reports whether s looks as if a generator had made it: long, of
// many characters, and changing between kinds of characters as words do not.
func highEntropy(s []byte) bool {
	if len(s) < minRandom {
		return false
	}
	if len(s) > 256 {
		s = s[:256]
	}
	changes, digits, letters := 0, 0, 0
	last := kindOf(s[0])
	for _, c := range s {
		k := kindOf(c)
		if k != last && k != kindOther && last != kindOther {
			changes++
		}
		last = k
		switch k {
		case kindDigit:
			digits++
		case kindLower, kindUpper:
			letters++
		}
	}
	if letters+digits < len(s)*7/10 || letters == 0 {
		return false
	}
	return changes*6 >= len(s) && entropyMilli(s) >= 3000
}

type charKind uint8

const (
	kindOther charKind = iota
	kindDigit
	kindLower
	kindUpper
)

func kindOf(c byte) charKind {
	switch {
	case c >= '0' && c <= '9':
		return kindDigit
	case c >= 'a' && c <= 'z':
		return kindLower
	case c >= 'A' && c <= 'Z':
		return kindUpper
	}
	return kindOther
}
