package monitor

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"

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
