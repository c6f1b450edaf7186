package monitor

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/org/edamame-posture/pkg/redact"
)

// A home that is not there is known at once: nobody waits for it until the time
// for the whole look is over, and the rest is still looked at.
func TestAHomeThatIsNotThereHoldsUpNothing(t *testing.T) {
	r := &recording{home: filepath.Join(t.TempDir(), "gone"), red: redact.New([32]byte{}, redact.Options{})}
	s := <-r.look(true)
	if len(s.State) == 0 {
		t.Errorf("nothing was looked at: %v", s.Unread)
	}
	for _, u := range s.Unread {
		if strings.Contains(u.Why, "time") {
			t.Errorf("%s was given up: %s", u.Path, u.Why)
		}
	}
}
