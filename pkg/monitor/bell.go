package monitor

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/process"
	"github.com/org/edamame-posture/pkg/redact"
	"github.com/org/edamame-posture/pkg/sensor"
)

// Bell says who may end a detached recording: the last step of the program that
// began it, started by the process whose children are watched. Root is no
// reason: a job may have it too.
type Bell struct {
	// Script is the file that the last step's interpreter is started with, and
	// Files what that loads. None of them may change.
	Script string   `json:"script"`
	Files  []string `json:"files,omitempty"`
	// Program is the file of this program, from which the step speaks to us.
	Program string `json:"program"`
}

// Bounds of what is digested of a bell, in bytes.
const (
	maxRungFile = 1 << 20
	maxProgram  = 1 << 29
)

// rung is a [Bell] as it was found when the recording was opened.
type rung struct {
	nonce   string
	files   []fileMark // the script first
	program fileMark
	// interpreter is the program of the step that began it.
	interpreter fileMark
	// ran are the arguments of living direct children of the watched process, as
	// the kernel saw them executed: what /proc says a process can change itself.
	ran     map[event.Actor][]byte
	refused int // rings that were told
}

// fileMark is a file as it was. What is the same file, not written since, or
// holds the same, is still that: a runner may lay its copy anew.
type fileMark struct {
	path string
	at   fileAt
	sum  [sha256.Size]byte // zero where it was not read
}

// fileAt is what nobody without root can give another file.
type fileAt struct {
	dev, ino uint64
	size     int64
	ctime    unix.Timespec
}

// openRegular opens a file that may be anything. A FIFO or a device must not
// wait or do anything.
func openRegular(path string) (*os.File, fileAt, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, fileAt{}, fmt.Errorf("%.200q: %w", path, err)
	}
	f := os.NewFile(uintptr(fd), path)
	var st unix.Stat_t
	err = unix.Fstat(fd, &st)
	if err == nil && st.Mode&unix.S_IFMT != unix.S_IFREG {
		err = fmt.Errorf("%.200q is not a regular file", path)
	}
	if err != nil {
		f.Close()
		return nil, fileAt{}, err
	}
	return f, fileAt{dev: st.Dev, ino: st.Ino, size: st.Size, ctime: st.Ctim}, nil
}

// markOf looks at a file, and digests it where it has at most limit bytes.
func markOf(path string, limit int64) (fileMark, error) {
	f, at, err := openRegular(path)
	if err != nil {
		return fileMark{}, err
	}
	defer f.Close()
	m := fileMark{path: path, at: at}
	if limit == 0 {
		return m, nil
	}
	h := sha256.New()
	n, err := io.Copy(h, io.LimitReader(f, limit+1))
	if err == nil && n > limit {
		err = fmt.Errorf("%.200q has more than %d bytes", path, limit)
	}
	h.Sum(m.sum[:0])
	return m, err
}

// still reports whether what lies at path now is the file of the mark.
func (m *fileMark) still(path string, limit int64) bool {
	now, err := markOf(path, 0)
	if err == nil && now.at != m.at && m.sum != [sha256.Size]byte{} {
		now, err = markOf(path, limit)
		return err == nil && now.sum == m.sum
	}
	return err == nil && now.at == m.at
}

// newRung looks at the files of a bell. They are of the client's choice, so no
// lock is held meanwhile.
func newRung(b *Bell) (*rung, error) {
	r := &rung{ran: map[event.Actor][]byte{}}
	var err error
	if r.program, err = markOf(b.Program, 0); err != nil {
		return nil, fmt.Errorf("the bell: %w", err)
	}
	// The monitor is a copy of it.
	_, _ = hex.Decode(r.program.sum[:], []byte(programDigest()))
	for _, f := range append([]string{b.Script}, b.Files...) {
		m, err := markOf(f, maxRungFile)
		if err != nil {
			return nil, fmt.Errorf("the bell: %w", err)
		}
		r.files = append(r.files, m)
	}
	var raw [16]byte
	if _, err := rand.Read(raw[:]); err != nil {
		return nil, err
	}
	r.nonce = hex.EncodeToString(raw[:])
	return r, nil
}

// hang takes note of what runs the step that a bell comes from: the client's,
// below root. It is called with the monitor's lock held.
func (b *rung) hang(root, client *process.Process) (err error) {
	step := childOf(client, root.Actor)
	if step == nil {
		return errors.New("the bell: this is no step of the watched process")
	}
	if b.interpreter, err = markOf(fmt.Sprintf("/proc/%d/exe", step.Actor.PID), 0); err != nil {
		return fmt.Errorf("the bell: what runs the step: %w", err)
	}
	return nil
}

// childOf returns the process that above forked itself, among p and what led
// to it; nil where p does not descend from it.
func childOf(p *process.Process, above event.Actor) *process.Process {
	for ; p != nil && p.Parent != nil; p = p.Parent {
		if p.Parent.Actor.PID == above.PID && p.Parent.Actor.Start == above.Start {
			return p
		}
	}
	return nil
}

// Bounds of what is kept of steps.
const (
	maxSteps    = 256
	maxStepArgv = 4 << 10
)

// saw takes note of an exec or exit of a direct child of the watched process.
func (b *rung) saw(rec *sensor.Record, p *process.Process, above event.Actor) {
	if p == nil || p.Parent == nil || p.Parent.Actor.PID != above.PID || p.Parent.Actor.Start != above.Start {
		return
	}
	switch rec.Kind {
	case event.Exec:
		if len(b.ran) < maxSteps {
			b.ran[p.Actor] = bytes.Clone(rec.Argv[:min(len(rec.Argv), maxStepArgv)])
		}
	case event.Exit:
		for a := range b.ran {
			if a.PID == p.Actor.PID && a.Start == p.Actor.Start {
				delete(b.ran, a)
			}
		}
	}
}

// knows refuses who was not told what the first step was.
func (b *rung) knows(nonce string) error {
	if subtle.ConstantTimeCompare([]byte(nonce), []byte(b.nonce)) != 1 {
		return errors.New("it does not know what the first step was told")
	}
	return nil
}

// rings says why a peer may not end the recording; nil where it may. What
// happened before must have been read.
func (m *Monitor) rings(r *recording, peer *unix.Ucred) error {
	b := r.bell
	m.mu.Lock()
	var argv []byte
	step := childOf(m.table.Find(uint32(peer.Pid), 0), r.parent)
	var at event.Actor
	if step != nil {
		at, argv = step.Actor, b.ran[step.Actor]
	}
	m.mu.Unlock()
	switch {
	case step == nil:
		return errors.New("it is no step of the watched process")
	case at.Image != 1:
		// A shell that executed us in its place.
		return errors.New("the step was started as another program")
	}
	// Where a file lies the job may have put a file system that never answers.
	said := make(chan error, 1)
	go func() { said <- b.unchanged(at.PID, uint32(peer.Pid), argv) }()
	select {
	case err := <-said:
		return err
	case <-time.After(answerWithin):
		return errors.New("its files do not answer")
	}
}

// unchanged says what of a step, and of the peer that speaks for it, is
// another than when the bell was hung.
func (b *rung) unchanged(step, peer uint32, argv []byte) error {
	if !b.interpreter.still(fmt.Sprintf("/proc/%d/exe", step), 0) {
		return errors.New("the step runs in another program than the first one")
	}
	if !b.program.still(fmt.Sprintf("/proc/%d/exe", peer), maxProgram) {
		return errors.New("it is another program than the one that began")
	}
	if len(argv) == 0 {
		// The netlink sensor may have come too late to read them.
		var err error
		if argv, err = readBounded(fmt.Sprintf("/proc/%d/cmdline", step), maxStepArgv); err != nil {
			return err
		}
	}
	if args := bytes.Split(argv, []byte{0}); len(args) < 2 || string(args[1]) != b.files[0].path {
		return fmt.Errorf("the step's script is not %s", b.files[0].path)
	}
	for i := range b.files {
		if f := &b.files[i]; !f.still(f.path, maxRungFile) {
			return fmt.Errorf("%s is another file than it was", f.path)
		}
	}
	return nil
}

// maxRefused bounds the rings that are told.
const maxRefused = 16

// tellRefused writes into the log that somebody asked for the end who may not.
func (m *Monitor) tellRefused(r *recording, peer *unix.Ucred, why error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if r.bell.refused++; r.bell.refused > maxRefused {
		return
	}
	ev := r.blank(event.Unix, boottime())
	ev.Via = event.ViaOutside
	if p := m.table.Find(uint32(peer.Pid), 0); p != nil {
		ev.Actor = p.Actor
		if p.Tags.Has(r.bit) {
			ev.Via = p.Via(r.bit)
		}
	}
	if p := m.table.Find(m.self, 0); p != nil {
		ev.Target = p.Actor
	}
	ev.Path = r.red.Path([]byte(r.control))
	ev.Detail = redact.Concat(redact.Const("asked for the end and was refused: "), r.red.String(why.Error()))
	r.append(ev)
}

// guestWithin is how long a connection of the caller's may stay silent while
// a recording with a bell is open, maxGuests how many there may be at once.
const (
	guestWithin = 2 * time.Second
	maxGuests   = 32
)
