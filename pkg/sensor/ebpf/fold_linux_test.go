package ebpf

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/sensor"
)

// What is done again and again, to one object or to very many.

// roomy is a file ring for what else the machine does meanwhile, too.
const roomy = 64 << 20

func init() {
	roles["denied-often"] = deniedOften
	roles["write-wide"] = writeWide
}

// deniedOften gives up its user and opens n times what it may not, by names in
// turn that end with a number below args[2].
func deniedOften(args []string) error {
	n, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	wide, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	if err := syscall.Setgid(65534); err != nil {
		return err
	}
	if err := syscall.Setuid(65534); err != nil {
		return err
	}
	for i := range n {
		if _, err := unix.Open(args[0]+strconv.Itoa(i%wide), unix.O_RDONLY, 0); err != unix.EACCES {
			return fmt.Errorf("opening: %v", err)
		}
	}
	return nil
}

// writeWide opens for writing each of n files that are there, twice.
func writeWide(args []string) error {
	n, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	for i := range 2 * n {
		fd, err := unix.Open(filepath.Join(args[0], strconv.Itoa(i/2)), unix.O_WRONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		unix.Close(fd)
	}
	return nil
}

// closedFolder is a folder that only root may go through.
func closedFolder(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "closed")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}

// tally sums what the records count that match.
func tally(rec *recorder, match func(*sensor.Record) bool) (records int, acts uint64) {
	for _, r := range rec.find(match) {
		records++
		acts += max(r.Count, 1)
	}
	return records, acts
}

func TestOpensThatAreRefusedAgainAndAgainAreCounted(t *testing.T) {
	s, rec := arm(t, Options{FileRingBytes: roomy, Watch: sensor.Watch{Names: []string{"credentials0"}}}, nil)
	path := filepath.Join(closedFolder(t), "credentials")
	const n, files = 100000, 2000
	dir := t.TempDir()
	other := as("write-many", dir, strconv.Itoa(files))
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	pid, _ := perform(t, "denied-often", path, strconv.Itoa(n), "1")
	took := time.Since(began)
	if err := other.Wait(); err != nil {
		t.Fatal(err)
	}
	drain(t, s)
	records, acts := tally(rec, func(r *sensor.Record) bool {
		if r.PID != pid || r.Kind != event.Open || r.Err == 0 {
			return false
		}
		if string(r.Path) != path+"0" || r.Err != int(unix.EACCES) || !r.Watched || r.File != (event.FileID{}) || r.TargetStart != 0 {
			t.Errorf("%q %+v", r.Path, r)
		}
		return true
	})
	// One when it began, at most one a second, and as often the rest.
	if acts != n || records > 2+2*int(took/time.Second+1) {
		t.Errorf("%d refused opens in %d records, want %d, in %v", acts, records, n, took)
	}
	_, acts = tally(rec, func(r *sensor.Record) bool {
		return r.Kind == event.Open && r.PID == uint32(other.Process.Pid) && r.Access&event.Write != 0 && r.File.Inode != 0
	})
	if acts != files {
		t.Errorf("%d writes of another process are told, want %d", acts, files)
	}
	if st := s.Stats(); st.Lost+st.Untold+st.Undecoded != 0 {
		t.Errorf("%+v", st)
	}
}

func TestRefusedOpensOfManyNamesAreBoundedAndCountedAsNotTold(t *testing.T) {
	s, rec := arm(t, Options{FileRingBytes: roomy, Watch: sensor.Watch{Prefixes: []string{".env."}}}, nil)
	const n = 100000
	began := time.Now()
	pid, _ := perform(t, "denied-often", filepath.Join(closedFolder(t), ".env."), strconv.Itoa(n), strconv.Itoa(n))
	took := time.Since(began)
	drain(t, s)
	refused := func(r *sensor.Record) bool { return r.PID == pid && r.Kind == event.Open && r.Err != 0 }
	records, acts := tally(rec, refused)
	const each = 1024 // REFUSED_NAMES of bpf/file.h
	if records < each || records > each*int(took/time.Second+2) {
		t.Errorf("%d records in %v", records, took)
	}
	st := s.Stats()
	if acts+st.Untold != n || st.Lost+st.Undecoded != 0 {
		t.Errorf("%d are told, %d counted as not told, want %d: %+v", acts, st.Untold, n, st)
	}
}

func TestRefusedOpensOfNamesThatNobodyWatchesAreLeftOut(t *testing.T) {
	s, rec := arm(t, Options{Watch: sensor.Watch{Names: []string{"credentials"}}}, nil)
	dir := closedFolder(t)
	in := func(names ...string) (paths []string) {
		for _, n := range names {
			paths = append(paths, dir+n)
		}
		return paths
	}
	pid, _ := perform(t, "denied", in("/plain", "/credentials2", "/credentials/x", "/x/credentials", "//credentials/", "/./credentials/.")...)
	drain(t, s)
	var got []string
	for _, r := range rec.find(func(r *sensor.Record) bool { return r.PID == pid && r.Kind == event.Open && r.Err != 0 }) {
		got = append(got, strings.TrimPrefix(string(r.Path), dir))
	}
	if want := "/x/credentials /credentials /credentials"; strings.Join(got, " ") != want {
		t.Errorf("told are %q, want %q", got, want)
	}
}

// More files than the map of what is folded holds: what finds no room there is
// told each time.
func TestMoreFilesThanCanBeFoldedAreAllTold(t *testing.T) {
	const files, room = 5000, 1000
	dir := t.TempDir()
	for i := range files {
		f, err := os.Create(filepath.Join(dir, strconv.Itoa(i)))
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	s, rec := arm(t, Options{FileRingBytes: roomy, folds: room}, nil)
	pid, _ := perform(t, "write-wide", dir, strconv.Itoa(files))
	drain(t, s)
	named := map[string]bool{}
	_, acts := tally(rec, func(r *sensor.Record) bool {
		if r.PID != pid || r.Kind != event.Open || r.Access&event.Write == 0 || r.File.Inode == 0 {
			return false
		}
		if len(r.Path) > 0 {
			named[string(r.Path)] = true
		}
		return true
	})
	st := s.Stats()
	if st.Folded < room/2 || st.Folded > files/2 {
		t.Errorf("%d acts were folded, with room for %d", st.Folded, room)
	}
	if acts != 2*files || len(named) != files || st.Lost+st.Untold+st.Undecoded != 0 {
		t.Errorf("%d opens of %d files, want %d of %d; %+v", acts, len(named), 2*files, files, st)
	}
}

// What has rested goes, so that the map does not fill with what is over.
func TestWhatHasRestedIsForgotten(t *testing.T) {
	s, _ := arm(t, Options{}, nil)
	perform(t, "write-many", t.TempDir(), "2000")
	entries := func() (n int) {
		var key, value []byte
		it := s.l.coll.Maps["folds"].Iterate()
		for it.Next(&key, &value) {
			n++
		}
		if err := it.Err(); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Log(err)
		}
		return n
	}
	if n := entries(); n < 1000 {
		t.Fatalf("%d entries, want 1,000 files", n)
	}
	for deadline := time.Now().Add(20 * time.Second); entries() >= 1000; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d entries remain", entries())
		}
	}
}
