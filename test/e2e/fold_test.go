package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/org/edamame-posture/pkg/event"
)

// refusing runs a loop as a user who may not go through a folder, with the
// folder as $0.
func refusing(t *testing.T, script string) (w *watched, closed string) {
	t.Helper()
	need(t, "setpriv", "bash")
	closed = filepath.Join(t.TempDir(), "closed")
	if err := os.Mkdir(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	w = run(t, options{flags: []string{"--quiet", "--sensor", "ebpf"}}, "setpriv", "--reuid=65534", "--clear-groups", "--", "bash", "-c", script, closed)
	w.must(w.verdict != nil, "there is no verdict")
	return w, closed
}

func TestACredentialThatIsRefusedAgainAndAgainIsCounted(t *testing.T) {
	w, closed := refusing(t, `for ((i = 0; i < 5000; i++)); do : < "$0/.npmrc"; done 2>/dev/null`)
	events, count := 0, uint64(0)
	for _, e := range w.events {
		if e.Kind == event.Open && e.Path.String() == filepath.Join(closed, ".npmrc") {
			events, count = events+1, count+max(e.Count, 1)
			w.must(e.Err == int(unix.EACCES) && e.Class.Is("npm"), "%+v", e)
		}
	}
	w.must(count == 5000 && events < 50, "%d refused opens in %d events, want 5000 in few", count, events)
	w.complete()
}

func TestMoreRefusedNamesThanAreToldAreAGap(t *testing.T) {
	w, closed := refusing(t, `for ((i = 0; i < 30000; i++)); do : < "$0/.env.$i"; done 2>/dev/null`)
	told, untold := uint64(0), uint64(0)
	for _, e := range w.events {
		switch {
		case e.Kind == event.Open && strings.HasPrefix(e.Path.String(), closed):
			told += max(e.Count, 1)
		case e.Kind == event.SensorGap && strings.Contains(e.Detail.String(), "not told apart"):
			untold += e.Lost
		}
	}
	w.must(told > 0 && untold > 0 && told+untold == 30000, "%d are told and %d counted, want 30000 in all", told, untold)
	w.must(w.verdict.Coverage.State == "partial", "coverage is %+v", w.verdict.Coverage)
}
