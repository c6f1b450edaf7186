package intent

import (
	"slices"

	"github.com/org/edamame-posture/pkg/fact"
)

func classes() []string { return []string{"npm", "aws"} }

func knownClass(name string) bool { return slices.Contains(classes(), name) }

func ownsClass(f *fact.Fact) bool { return false }
