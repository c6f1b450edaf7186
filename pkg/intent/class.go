package intent

import (
	"github.com/org/edamame-posture/pkg/credential"
	"github.com/org/edamame-posture/pkg/fact"
)

// classes returns the credential classes that a policy can name, sorted.
func classes() []string { return credential.Names() }

func knownClass(name string) bool {
	_, ok := credential.Lookup(name)
	return ok
}

// owned reports whether what the fact is about, a read of the class or what was
// sent after one, was done by a program whose business the class is.
func owned(f *fact.Fact, class string) bool {
	if len(f.Who) == 0 {
		return false
	}
	c, ok := credential.Lookup(class)
	return ok && c.OwnedBy(f.Who[0].String())
}
