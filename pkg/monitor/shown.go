package monitor

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/evidence"
	"github.com/org/edamame-posture/pkg/redact"
)

// Shown is what a witness is shown: that the log of a checkpoint that it keeps
// grew to the one of the last of Notes. The client carries it, since a monitor
// speaks to nobody else.
type Shown struct {
	Old   uint64          `json:"old"`  // size that the witness keeps
	Size  uint64          `json:"size"` // size of the last note
	Path  []evidence.Hash `json:"path"` // RFC 6962 §2.1.2
	Notes [][]byte        `json:"notes"`
}

// Kept says that a witness keeps what it was shown.
type Kept struct {
	Size uint64 `json:"size"`
	// Cosignature is the line by which it says so; empty for a first record.
	Cosignature string `json:"cosignature,omitempty"`
}

// show returns what a witness is to be shown now: the same again until it is
// kept.
func (m *Monitor) show(r *recording) (*Shown, error) {
	r.sealing.Lock()
	defer r.sealing.Unlock()
	if r.growth == nil {
		return nil, errors.New("shown: this recording was not opened for a witness")
	}
	if r.shown != nil {
		return r.shown, nil
	}
	if !r.closing {
		ctx, cancel := context.WithTimeout(context.Background(), sealWithin)
		defer cancel()
		if !m.sealHeld(ctx, r) {
			return nil, errors.New("shown: no checkpoint could be made now")
		}
	}
	err := r.prove()
	return r.shown, err
}

// prove fills shown with how the log grew.
func (r *recording) prove() error {
	old, size, path, notes, err := r.growth.Show()
	if err == nil {
		r.shown = &Shown{Old: old, Size: size, Path: path, Notes: notes}
	}
	return err
}

// keep takes notice that a witness keeps what it was shown.
func (m *Monitor) keep(r *recording, k Kept) error {
	r.sealing.Lock()
	defer r.sealing.Unlock()
	if r.shown == nil || r.shown.Size != k.Size {
		return fmt.Errorf("kept: a checkpoint of size %d was not shown", k.Size)
	}
	if len(k.Cosignature) > 1<<10 {
		return fmt.Errorf("kept: a cosignature of %d bytes", len(k.Cosignature))
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := r.growth.Accept(); err != nil {
		return err
	}
	r.shown = nil
	if r.closing || k.Cosignature == "" {
		return nil
	}
	ev := r.blank(event.Note, boottime())
	ev.Detail, ev.Count = redact.Const("cosigned by a witness up to here"), k.Size
	ev.SHA256 = event.SHA256(sha256.Sum256([]byte(k.Cosignature)))
	r.append(ev)
	return nil
}
