package document

import "testing"

func TestStarsStandForAnyCharacters(t *testing.T) {
	for _, tt := range []struct {
		pattern, text string
		want          bool
	}{
		{"", "", true}, {"", "a", false}, {"*", "", true}, {"**", "a/b", true}, {"a*", "a", true}, {"a*c", "abbc", true},
		{"a*c", "abcd", false}, {"*b*", "abc", true}, {"a*b*c", "aXbYbc", true}, {"a", "A", false}, {"a*b", "a", false},
	} {
		if got := MatchStars(tt.pattern, tt.text); got != tt.want {
			t.Errorf("MatchStars(%q, %q) = %v", tt.pattern, tt.text, got)
		}
	}
}
