package gate

import "testing"

// Deciding on one small recording.
func BenchmarkDecide(b *testing.B) {
	by, public := newKey(b)
	dir := recorded(b, nil)
	sign(b, dir, by, statement(b, dir))
	policy := keyPolicy(b, public, "")
	for b.Loop() {
		passes(b, decide(b, policy, nil, dir), E1)
	}
}
