package document

// MatchStars reports whether a text is what a pattern says, where * stands for
// any number of any characters and all else for itself. It goes back no further
// than to the last star, so its time is bounded by the product of the lengths.
func MatchStars(pattern, text string) bool {
	p, n, star, mark := 0, 0, -1, 0
	for n < len(text) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, n
			p++
		case p < len(pattern) && pattern[p] == text[n]:
			p++
			n++
		case star >= 0:
			mark++
			p, n = star+1, mark
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}
