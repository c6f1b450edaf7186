package monitor

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/evidence"
	"github.com/org/edamame-posture/pkg/intent"
	"github.com/org/edamame-posture/pkg/process"
	"github.com/org/edamame-posture/pkg/redact"
	"github.com/org/edamame-posture/pkg/sensor"
)

// later is a policy that is not there yet: a checkout brings it. It is read
// once, when the program that first wrote it has ended, and only if nobody
// wrote it since. What it means is read by who ends the recording, since that
// is text of the job's and this process is root.
type later struct {
	path    string
	writer  event.Actor // who first wrote it
	seen    bool
	touched bool // somebody else wrote it before it was read
	asked   bool // it is being read, or was
	data    []byte
	told    bool // what it means was said
}

// Later is a policy that was found after the start.
type Later struct {
	File string `json:"file"`
	Data []byte `json:"data"`
}

// saw looks at a record of the recording's for the file, and for the end of who
// wrote it. It is called with the monitor's lock held.
func (l *later) saw(m *Monitor, r *recording, rec *sensor.Record, p *process.Process) {
	wrote := false
	switch rec.Kind {
	case event.Open:
		wrote = rec.Err == 0 && rec.Access&^event.Read != 0 && string(rec.Path) == l.path
	case event.Rename, event.Link:
		wrote = rec.Err == 0 && string(rec.NewPath) == l.path
	case event.Exit:
		if l.seen && !l.asked && p.Actor.PID == l.writer.PID && p.Actor.Start == l.writer.Start {
			l.asked = true
			go m.readLater(r, rec.Time)
		}
		return
	default:
		return
	}
	if !wrote {
		return
	}
	if !l.seen {
		l.seen, l.writer = true, p.Actor
	} else if p.Actor.PID != l.writer.PID || p.Actor.Start != l.writer.Start {
		l.touched = true
	}
}

// laterSlack is how far the clock of files may be from that of events, in
// nanoseconds: it goes on by a tick of the kernel.
const laterSlack = 20e6

var (
	errTouched = errors.New("it was written again before it could be read")
	errSecret  = errors.New("the steps' user may not read it")
)

// readLater reads the file. No lock is held: whose file system it is on nobody
// knows.
func (m *Monitor) readLater(r *recording, ended int64) {
	data, err := readUntouched(r.later.path, ended, r.uid)
	m.mu.Lock()
	defer m.mu.Unlock()
	if r.closing {
		return
	}
	if err == nil && r.later.touched {
		err = errTouched
	}
	ev := r.blank(event.Note, boottime())
	ev.Path = r.red.Path([]byte(r.later.path))
	if err != nil {
		ev.Detail = redact.Concat(redact.Const("the policy of the workspace is not used: "), r.red.String(err.Error()))
		r.append(ev)
		return
	}
	ev.Detail, ev.SHA256 = redact.Const("policy of the workspace"), event.SHA256(sha256.Sum256(data))
	r.append(ev)
	r.later.data = data
	r.policyFile, r.policySHA256 = r.later.path, digest(data)
}

// readUntouched returns what a regular file holds that was last changed before
// a time of the boot clock.
func readUntouched(path string, before int64, uid uint32) ([]byte, error) {
	way, err := openBelow(0, path)
	if err != nil {
		return nil, err
	}
	defer unix.Close(way)
	st, _, err := stat(way)
	if err != nil {
		return nil, err
	}
	// A link may lead to a file of somebody else's, and what is read is handed on.
	if st.Uid != uid && st.Mode&0o004 == 0 {
		return nil, errSecret
	}
	if st.Size > maxPolicyFile {
		return nil, fmt.Errorf("it has more than %d bytes", maxPolicyFile)
	}
	f, err := os.Open("/proc/self/fd/" + strconv.Itoa(way))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxPolicyFile))
	if err != nil {
		return nil, err
	}
	var after unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &after); err != nil {
		return nil, err
	}
	if after.Ctim.Nano()-wallOffset() > before+laterSlack || after.Size != int64(len(data)) {
		return nil, errTouched
	}
	return data, nil
}

// pending returns the policy of the workspace where it is still to be said what
// it means.
func (m *Monitor) pending(r *recording) *Later {
	m.mu.Lock()
	defer m.mu.Unlock()
	if l := r.later; l != nil && l.data != nil && !l.told {
		return &Later{l.path, l.data}
	}
	return nil
}

// declare takes what the policy of the workspace means, resolved; empty where
// it means nothing. The whole log is judged by it.
func (m *Monitor) declare(r *recording, canonical []byte) error {
	if len(canonical) > 0 {
		if _, err := intent.ReadResolved(canonical); err != nil {
			return fmt.Errorf("intent as the client resolved it: %w", err)
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if r.later == nil || r.later.data == nil || r.later.told {
		return errors.New("no policy of the workspace is waited for")
	}
	r.later.told = true
	if len(canonical) == 0 {
		r.note(redact.Const("the policy of the workspace is not used: it cannot be read"), 0)
		return nil
	}
	if err := r.log.Input(evidence.IntentInput, canonical); err != nil {
		return err
	}
	ev := r.blank(event.Note, boottime())
	ev.Detail, ev.SHA256 = redact.Const(evidence.IntentNote), event.SHA256(sha256.Sum256(canonical))
	r.append(ev)
	r.anew = true
	return nil
}
