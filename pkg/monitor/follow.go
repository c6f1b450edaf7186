package monitor

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/org/edamame-posture/pkg/judge"
)

// feed keeps the findings of a recording for those who follow it. There are as
// many as the judge keeps.
type feed struct {
	mu    sync.Mutex
	found []Found
	more  chan struct{} // closed at the next one
}

// add is called by the judge. It must not wait for anybody.
func (f *feed) add(finding *judge.Finding) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.found = append(f.found, Found{
		Rule: finding.Rule, Severity: string(finding.Severity), Title: finding.Title, Object: finding.Object,
		Program: finding.Actor.Exe, Time: finding.Last,
	})
	if f.more != nil {
		close(f.more)
		f.more = nil
	}
}

// from returns the findings from the nth on, and what is closed at the next.
func (f *feed) from(n int) ([]Found, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.more == nil {
		f.more = make(chan struct{})
	}
	return f.found[n:], f.more
}

// follow gives a connection each finding as it is made, until the recording
// has ended.
func (s *server) follow(k *conn, id uint64) error {
	if err := k.write(Response{ID: id}); err != nil {
		return err
	}
	for n := 0; ; {
		found, more := s.feed.from(n)
		for i := range found {
			// Who does not read must not hold the monitor up.
			if err := k.c.SetWriteDeadline(time.Now().Add(5 * time.Second)); err != nil {
				return err
			}
			if err := k.write(Response{Found: &found[i]}); err != nil {
				return err
			}
		}
		n += len(found)
		select {
		case <-more:
		case <-s.over:
			if found, _ := s.feed.from(n); len(found) == 0 {
				return nil
			}
		}
	}
}

// Follow calls f with each finding of the recording as it is made, until stop
// is called or the recording ends; stop returns when f is called no more. It is
// to be called before [Client.Open], which lets nobody else in.
func (c *Client) Follow(f func(Found)) (stop func(), err error) {
	uc, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: c.socket, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("following the findings: %w", err)
	}
	if err := newConn(uc).write(Request{Op: "follow", ID: 1}); err != nil {
		uc.Close()
		return nil, fmt.Errorf("following the findings: %w", err)
	}
	lines := bufio.NewScanner(uc)
	lines.Buffer(nil, maxMessage)
	var a Response
	if !lines.Scan() || json.Unmarshal(lines.Bytes(), &a) != nil || a.ID != 1 || a.Error != "" {
		uc.Close()
		return nil, fmt.Errorf("following the findings: the monitor says %q", a.Error)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for lines.Scan() {
			var a Response
			if json.Unmarshal(lines.Bytes(), &a) == nil && a.Found != nil {
				f(*a.Found)
			}
		}
	}()
	return func() {
		// What is on its way is taken; the monitor ends it when the recording has.
		_ = uc.SetReadDeadline(time.Now().Add(time.Second))
		<-done
		uc.Close()
	}, nil
}
