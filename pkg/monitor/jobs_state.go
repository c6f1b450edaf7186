package monitor

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/posture"
	"github.com/org/edamame-posture/pkg/process"
	"github.com/org/edamame-posture/pkg/redact"
)

// state is what the machine was when a job ended, as its user sees it.
type state struct {
	UID      uint32            `json:"uid"`
	Home     string            `json:"home"`
	Job      string            `json:"job"` // the id of its recording
	Ended    time.Time         `json:"ended"`
	Snapshot *posture.Snapshot `json:"snapshot"`
}

// states are those of the users that jobs run as, and the key of the texts in
// them: without it the same secret would be another text in each.
type states struct {
	Key   [32]byte `json:"key"`
	Users []*state `json:"users"`
	// Boot is the boot id, and Left the processes that outlived their jobs in it.
	Boot string     `json:"boot"`
	Left []leftover `json:"left,omitempty"`
}

// leftover is a process that outlived its job.
type leftover struct {
	event.Actor        // without the image
	Job         string `json:"job"` // the id of its recording
}

// is reports whether a process is the leftover: of one that is read from /proc
// the start is known by the tick.
func (l *leftover) is(p *process.Process) bool {
	return p != nil && p.Alive && p.Actor.PID == l.PID && (p.Actor.Start == l.Start || p.Coarse && p.Actor.Start/10e6 == l.Start/10e6)
}

func bootID() string {
	id, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return string(trimNewline(id))
}

const (
	// maxUsers bounds the users whose state is kept: the one that was not seen
	// longest goes first.
	maxUsers = 32
	// maxStates bounds the file, in bytes.
	maxStates = 32 << 20
)

// of returns the state that a user's last job left, nil for none.
func (s *states) of(uid uint32, home string) *state {
	for _, u := range s.Users {
		if u.UID == uid && u.Home == home {
			return u
		}
	}
	return nil
}

// put keeps a user's state in place of an earlier one.
func (s *states) put(now *state) {
	if now.Snapshot == nil {
		return
	}
	kept := s.Users[:0:0]
	for _, u := range s.Users {
		if u.UID != now.UID || u.Home != now.Home {
			kept = append(kept, u)
		}
	}
	if len(kept) == maxUsers {
		kept = kept[1:]
	}
	s.Users = append(kept, now)
}

// readStates reads the file, and begins anew where there is none, or none that
// can be used: the error says why.
func readStates(path string) (*redact.Redactor, states, error) {
	var s states
	_, err := rand.Read(s.Key[:])
	fresh := s
	if path != "" && err == nil {
		var data []byte
		data, err = readBounded(path, maxStates+1)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			err = nil
		case err == nil && len(data) > maxStates:
			err = fmt.Errorf("%s has more than %d bytes", path, maxStates)
		case err == nil:
			err = s.decode(data)
		}
	}
	if err != nil {
		s = fresh
	}
	if boot := bootID(); s.Boot != boot {
		s.Boot, s.Left = boot, nil
	}
	return redact.New(s.Key, redact.Options{}), s, err
}

func (s *states) decode(data []byte) error {
	*s = states{}
	if err := json.Unmarshal(data, s); err != nil {
		return err
	}
	if len(s.Users) > maxUsers {
		return fmt.Errorf("%d users, and %d are kept", len(s.Users), maxUsers)
	}
	if len(s.Left) > maxLeft {
		return fmt.Errorf("%d processes, and %d are kept", len(s.Left), maxLeft)
	}
	for _, u := range s.Users {
		if u == nil || u.Snapshot == nil {
			return errors.New("a user without a snapshot")
		}
		if err := u.Snapshot.Check(); err != nil {
			return err
		}
	}
	return nil
}

// write keeps them in a file that only root can read.
func (s *states) write(path string) error {
	if path == "" {
		return nil
	}
	data, err := json.Marshal(s)
	if err != nil {
		return err
	}
	next := path + ".next"
	if err := os.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := writeNew(next, data); err != nil {
		return err
	}
	return os.Rename(next, path)
}
