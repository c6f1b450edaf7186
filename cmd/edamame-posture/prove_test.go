package main

import (
	"encoding/json"
	"testing"
	"unicode"
)

func TestALineOfAProofIsShownWithoutWhatATerminalObeys(t *testing.T) {
	const said = "a\x7fb\u009b2Jc\u202ed\U000e0041 \u00e9"
	line := `{"detail":"` + said + `"}`
	shown := escaped(line)
	for _, r := range shown {
		if !unicode.IsPrint(r) {
			t.Errorf("%q holds %q", shown, r)
		}
	}
	var v struct{ Detail string }
	if err := json.Unmarshal([]byte(shown), &v); err != nil || v.Detail != said {
		t.Errorf("%q became %q (%v)", said, v.Detail, err)
	}
	if plain := `{"seq":1}`; escaped(plain) != plain {
		t.Errorf("%s became %s", plain, escaped(plain))
	}
}
