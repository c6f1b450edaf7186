package intent

import (
	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/fact"
)

// NeedsGrant reports whether a fact may need a grant under some intent. What
// does not: temporary files and caches, what others did to the job, and requests,
// which a policy limits by its own choice where it grants the connection.
func NeedsGrant(f *fact.Fact) bool {
	return f.Verb != fact.Request && f.Verb != fact.Key && !f.Scratch() && f.Via != event.ViaHost && f.Via != event.ViaOutside
}

// Closest returns the grant that covers a fact and least else, and false where
// no grant can cover it. Its origin is left empty.
func Closest(f *fact.Fact) (Declared, bool) {
	e, ok := suggest(f)
	if !ok {
		return Declared{}, false
	}
	d := Declared{Key: e.key(), Object: e.To, By: e.By}
	if e.Verb == "chain" {
		d.Object, d.To = e.Class, []string{e.To}
	}
	return d, true
}

// FoldPaths makes a list of paths shorter for a person, as [Suggest] does.
func FoldPaths(list []string) []string { return foldPaths(list) }

// Cover is one line of a policy alone, to be held against facts.
type Cover struct {
	grants []grant
}

// Compile makes a line of a policy something to hold facts against. The error
// says why it cannot stand in a policy.
func (d *Declared) Compile() (*Cover, error) {
	var s section
	if err := s.declare(d); err != nil {
		return nil, err
	}
	c := &Cover{}
	for _, e := range s.entries {
		g, err := compile(e)
		if err != nil {
			return nil, err
		}
		c.grants = append(c.grants, g)
	}
	return c, nil
}

// Covers reports whether the line alone explains the fact.
func (c *Cover) Covers(f *fact.Fact) bool {
	v := explainedBy(f.Verb)
	for i := range c.grants {
		if c.grants[i].Verb == v && c.grants[i].covers(f) {
			return true
		}
	}
	return false
}

// Size returns how many grants the line is, which are many for a preset.
func (c *Cover) Size() int { return len(c.grants) }

// Used returns how many of the line's grants cover any of the facts.
func (c *Cover) Used(facts []*fact.Fact) int {
	n := 0
	for i := range c.grants {
		g := &c.grants[i]
		for _, f := range facts {
			if g.Verb == explainedBy(f.Verb) && g.covers(f) {
				n++
				break
			}
		}
	}
	return n
}
