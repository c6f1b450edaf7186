package ebpf

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	bpf "github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/org/edamame-posture/pkg/sensor"
)

// recorder keeps copies of what a sensor gave.
type recorder struct {
	mu   sync.Mutex
	recs []sensor.Record
	keep func(*sensor.Record) bool // nil for all
}

func (r *recorder) sink(rec *sensor.Record) {
	if r.keep != nil && !r.keep(rec) {
		return
	}
	c := *rec
	for _, p := range []*[]byte{&c.Exe, &c.Filename, &c.Interp, &c.Cwd, &c.Argv, &c.Env, &c.Payload, &c.Path, &c.NewPath} {
		*p = slices.Clone(*p)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.recs = append(r.recs, c)
}

// find returns the records that match.
func (r *recorder) find(match func(*sensor.Record) bool) []sensor.Record {
	r.mu.Lock()
	defer r.mu.Unlock()
	var found []sensor.Record
	for i := range r.recs {
		if match(&r.recs[i]) {
			found = append(found, r.recs[i])
		}
	}
	return found
}

// only fails the test unless exactly one record matches.
func (r *recorder) only(t *testing.T, what string, match func(*sensor.Record) bool) sensor.Record {
	t.Helper()
	found := r.find(match)
	if len(found) != 1 {
		t.Fatalf("%s: %d records, want 1: %+v", what, len(found), found)
	}
	return found[0]
}

// arm starts a sensor, or skips the test where this kernel or user cannot.
func arm(t testing.TB, opt Options, keep func(*sensor.Record) bool) (*Sensor, *recorder) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("loading programs needs root")
	}
	s, rec := New(opt), &recorder{keep: keep}
	if err := s.Start(t.Context(), rec.sink); err != nil {
		var refused *bpf.VerifierError
		if errors.As(err, &refused) {
			t.Fatalf("%+v", refused)
		}
		if errors.Is(err, bpf.ErrNotSupported) || errors.Is(err, unix.EPERM) {
			t.Skipf("this kernel does not take the programs: %v", err)
		}
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s, rec
}

func drain(t testing.TB, s *Sensor) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := s.Drain(ctx); err != nil {
		t.Fatal(err)
	}
}

func writeTemp(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// The leader's end may then be told by netlink as that of a thread: how often is
// counted, or two witnesses would disagree for nothing.
func TestExecsByAnotherThreadThanTheLeaderAreCounted(t *testing.T) {
	s, _ := arm(t, Options{}, nil)
	before := s.Stats()
	const n = 5
	for range n {
		perform(t, "usurp")
	}
	after := s.Stats()
	if got := after.ThreadExecs - before.ThreadExecs; got < n || got > after.Execs-before.Execs {
		t.Errorf("%d of %d execs were by another thread, want at least %d", got, after.Execs-before.Execs, n)
	}
}
