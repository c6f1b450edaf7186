package service

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// Keep says how long evidence stays.
type Keep struct {
	Days int
	Size int64 // bytes of all closed recordings
}

func (k Keep) age() time.Duration { return time.Duration(k.Days) * 24 * time.Hour }

// verdictName is the file by which a recording is known to be closed.
const verdictName = "verdict.json"

// shelf is the folder of recordings.
type shelf struct {
	dir  string
	keep Keep

	mu    sync.Mutex
	stock stock
}

// stock is what there is of closed recordings.
type stock struct {
	recordings int
	bytes      int64
	oldest     time.Duration // its age
	since      time.Time     // when that one was closed
}

// kept is a recording on the shelf.
type kept struct {
	name   string
	bytes  int64
	closed time.Time
}

// tidy removes what is older than the settings say, and then the oldest until
// the rest is not too much. What runs stays.
func (s *shelf) tidy(running map[string]bool, now time.Time) (removed []string, err error) {
	all, err := s.list(running)
	if err != nil {
		return nil, err
	}
	total := int64(0)
	for _, k := range all {
		total += k.bytes
	}
	var errs []error
	for len(all) > 0 && (now.Sub(all[0].closed) > s.keep.age() || total > s.keep.Size) {
		why := "its age"
		if now.Sub(all[0].closed) <= s.keep.age() {
			why = "the size of all"
		}
		total -= all[0].bytes
		if err := os.RemoveAll(filepath.Join(s.dir, all[0].name)); err != nil {
			errs = append(errs, err)
		} else {
			removed = append(removed, fmt.Sprintf("%s, by %s", all[0].name, why))
		}
		all = all[1:]
	}
	st := stock{recordings: len(all), bytes: total}
	if len(all) > 0 {
		st.since = all[0].closed
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stock = st
	return removed, errors.Join(errs...)
}

// list returns the recordings that are closed, or that nobody writes, the oldest
// first.
func (s *shelf) list(running map[string]bool) ([]kept, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, err
	}
	var all []kept
	for _, e := range entries {
		if !e.IsDir() || running[e.Name()] {
			continue
		}
		k := kept{name: e.Name()}
		dir := filepath.Join(s.dir, e.Name())
		st, err := os.Stat(filepath.Join(dir, verdictName))
		if err != nil {
			continue // it is made, or ends, at this moment
		}
		k.closed = st.ModTime()
		err = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			st, err := e.Info()
			if err == nil {
				k.bytes += st.Size()
			}
			return err
		})
		if err != nil {
			return nil, err
		}
		all = append(all, k)
	}
	slices.SortFunc(all, func(a, b kept) int { return cmp.Or(a.closed.Compare(b.closed), cmp.Compare(a.name, b.name)) })
	return all, nil
}

// seen returns what tidy found last.
func (s *shelf) seen() stock {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.stock
	if st.recordings > 0 {
		st.oldest = max(time.Since(st.since), 0)
	}
	return st
}
