package monitor

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/evidence"
	"github.com/org/edamame-posture/pkg/judge"
	"github.com/org/edamame-posture/pkg/redact"
)

// Dated says what a timestamp authority answered about the checkpoint that
// Newest gave. The client carries it, since a monitor speaks to nobody else.
type Dated struct {
	// Answer is a TimeStampResp of RFC 3161, in DER; empty where there was none.
	Answer []byte `json:"answer,omitempty"`
}

// How long a timestamp authority may take, while nothing waits for it, and when
// the end of a recording does.
const (
	DateWithin     = 15 * time.Second
	LastDateWithin = 3 * time.Second
)

// Dating says which timestamp authority is asked about a recording, and how
// often.
type Dating struct {
	URL   string        `json:"url"`
	Every time.Duration `json:"every"`
}

// dater has a detached recording dated as it grows.
type dater struct {
	Dating
	stop     context.CancelFunc
	done     chan struct{}
	answered bool // the last time; read when done is closed
}

// dates begins to have r dated.
func (s *server) dates(r *recording, d Dating) {
	ctx, stop := context.WithCancel(context.Background())
	s.dater = &dater{Dating: d, stop: stop, done: make(chan struct{}), answered: true}
	go func() {
		defer close(s.dater.done)
		defer stop()
		t := time.NewTicker(max(d.Every, time.Second))
		defer t.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-s.over:
				return
			case <-t.C:
			}
			err := s.dateOnce(ctx, r, DateWithin)
			s.dater.answered = err == nil || ctx.Err() != nil
			if !s.dater.answered {
				s.m.opt.Logf("the log was not dated: %v", err)
				_ = s.m.date(r, Dated{}) // it ends otherwise
			}
		}
	}()
}

// dateLast has r dated once more before it ends, unless the authority gave no
// answer the last time.
func (s *server) dateLast(r *recording) {
	if s.dater == nil {
		return
	}
	s.dater.stop()
	<-s.dater.done
	if !s.dater.answered {
		return
	}
	if err := s.dateOnce(context.Background(), r, LastDateWithin); err != nil {
		_ = s.m.date(r, Dated{})
	}
}

// dateOnce has the newest checkpoint dated by a process of the caller's, since
// this one speaks to nobody. The job may be the same user and answer in its
// place: the answer is held against the checkpoint here, and against who may
// give it by whoever checks the log.
func (s *server) dateOnce(ctx context.Context, r *recording, within time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	text, err := s.m.newest(r)
	if err != nil {
		return err
	}
	cmd := s.asCaller(ctx, append(s.opt.Date[:len(s.opt.Date):len(s.opt.Date)], s.dater.URL)...)
	cmd.Stdin = bytes.NewReader(text)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return err
	}
	// A child of it may keep the pipe, and so the read, open.
	unblock := context.AfterFunc(ctx, func() { out.Close() })
	defer unblock()
	answer, err := io.ReadAll(io.LimitReader(out, maxAttached+1))
	cancel()
	_ = cmd.Wait() // it may have been killed when its answer was there
	switch {
	case err != nil:
		return err
	case len(answer) == 0:
		return errors.New("the timestamp authority gave no answer")
	}
	return s.m.date(r, Dated{Answer: answer})
}

// dating is what of a recording others are to date.
type dating struct {
	of      *evidence.Checkpoint // nil where nobody was given one
	undated bool                 // the log says that one did not answer
}

// newest returns the text of the newest checkpoint.
func (m *Monitor) newest(r *recording) ([]byte, error) {
	r.sealing.Lock()
	defer r.sealing.Unlock()
	c, err := evidence.ParseCheckpoint(r.log.Note())
	if err != nil {
		return nil, fmt.Errorf("newest: %w", err)
	}
	r.dating.of = c
	return c.Text(), nil
}

// date puts a timestamp authority's answer beside the log, which names it. It
// is not read here, since that takes a parser of certificates: whoever checks
// the log reads it.
func (m *Monitor) date(r *recording, d Dated) error {
	r.sealing.Lock()
	defer r.sealing.Unlock()
	m.mu.Lock()
	of := r.dating.of
	r.dating.of = nil
	if len(d.Answer) == 0 {
		defer m.mu.Unlock()
		if !r.dating.undated && !r.closing {
			r.dating.undated = true
			ev := r.blank(event.Note, boottime())
			ev.Detail = redact.Const(judge.Undated)
			r.append(ev)
		}
		return nil
	}
	done, err := func() (func() error, error) {
		defer m.mu.Unlock()
		switch {
		case of == nil || r.closing:
			return nil, errors.New("dated: no checkpoint was given to be dated")
		case len(d.Answer) > maxAttached:
			return nil, fmt.Errorf("dated: an answer of %d bytes", len(d.Answer))
		}
		if sum := of.TextHash(); !bytes.Contains(d.Answer, sum[:]) {
			return nil, errors.New("dated: the answer is about something else")
		}
		done, err := r.log.Date(d.Answer)
		if err != nil {
			return nil, fmt.Errorf("dated: %w", err)
		}
		ev := r.blank(event.Note, boottime())
		ev.Detail, ev.SHA256 = redact.Const(evidence.DatedNote), event.SHA256(sha256.Sum256(d.Answer))
		ev.Count, ev.From = of.Size, of.Boottime
		r.append(ev)
		return done, nil
	}()
	if err != nil {
		return err
	}
	return done() // the disk may be slow: events go on
}
