package event

import (
	"errors"
	"strings"
	"testing"
)

func TestADigestHasOneSpelling(t *testing.T) {
	good := strings.Repeat("0f", 31) + "a0"
	d, err := ParseSHA256(good)
	if err != nil || d.String() != good || d.IsZero() {
		t.Errorf("%v %v", d, err)
	}
	for s, want := range map[string]struct {
		offset  int
		message string
	}{
		"":                             {0, "has 0 hexadecimal digits"},
		good[1:]:                       {0, "has 63"},
		good + "0":                     {0, "has 65"},
		strings.ToUpper(good):          {1, "lower case"},
		good[:10] + "x" + good[11:]:    {10, "not a hexadecimal digit"},
		"sha256:" + good:               {0, "not a hexadecimal digit"},
		strings.Repeat("0", len(good)): {0, "no file"},
	} {
		_, err := ParseSHA256(s)
		var bad *BadSHA256
		if !errors.As(err, &bad) || bad.Offset != want.offset || !strings.Contains(bad.Message, want.message) {
			t.Errorf("%q: %+v, want %+v", s, err, want)
		}
	}
}
