package report

import "testing"

func TestQuantitiesReadAsAPersonWouldSayThem(t *testing.T) {
	for n, want := range map[uint64]string{
		0: "0 B", 999: "999 B", 1000: "1.0 kB", 12_345: "12 kB", 999_499: "999 kB", 999_949: "1.0 MB", 999_950: "1.0 MB",
		1_000_000: "1.0 MB", 9_949_999: "9.9 MB", 9_950_000: "10 MB", 1<<64 - 1: "18 EB",
	} {
		if got := bytesOf(n); got != want {
			t.Errorf("bytesOf(%d) is %q, want %q", n, got, want)
		}
	}
	for n, want := range map[int64]string{
		-1: "<1 ms", 0: "<1 ms", 12e6: "12 ms", 4_100e6: "4.1 s", 59_999e6: "59.9 s", 184e9: "3 min 4 s", 7_260e9: "2 h 1 min",
	} {
		if got := span(n); got != want {
			t.Errorf("span(%d) is %q, want %q", n, got, want)
		}
	}
	for n, want := range map[uint64]string{0: "0", 999: "999", 1000: "1,000", 1_234_567: "1,234,567"} {
		if got := number(n); got != want {
			t.Errorf("number(%d) is %q, want %q", n, got, want)
		}
	}
}
