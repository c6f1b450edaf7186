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

// ownsClass reports whether the program that read a credential is one whose
// business it is.
func ownsClass(f *fact.Fact) bool {
	if len(f.Who) == 0 {
		return false
	}
	c, ok := credential.Lookup(f.Class.String())
	return ok && c.OwnedBy(f.Who[0].String())
}
