package event

import "slices"

// Clone returns a copy that shares no memory with e that Decode or Reset may
// use again.
func (e *Event) Clone() *Event {
	c := *e
	c.Argv = slices.Clone(e.Argv)
	c.Env = slices.Clone(e.Env)
	c.Answers = slices.Clone(e.Answers)
	c.Counts = slices.Clone(e.Counts)
	c.Survivors = slices.Clone(e.Survivors)
	c.Secrets = slices.Clone(e.Secrets)
	c.Extra = slices.Clone(e.Extra)
	return &c
}
