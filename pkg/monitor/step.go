package monitor

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/process"
	"github.com/org/edamame-posture/pkg/redact"
	"github.com/org/edamame-posture/pkg/runner"
)

const (
	// maxWorkers bounds the workers of GitHub's runner that are remembered: of
	// one beyond it neither hooks nor names are known.
	maxWorkers = 256
	// maxUnnamed bounds the steps of a recording that wait for a name.
	maxUnnamed = 4096
	// maxEarly bounds the names of a worker's log that wait for their step.
	maxEarly = 256
	// maxWorkerLog bounds what is read of a worker's log, in bytes.
	maxWorkerLog = 32 << 20
	// namesEvery is how often a worker's log is read, namesWithin how long a
	// recording's end waits for the last names.
	namesEvery, namesWithin = 500 * time.Millisecond, 100 * time.Millisecond
)

// workers remembers what is read of the workers of GitHub's runner. The
// monitor's lock guards it.
type workers struct {
	of map[event.Actor]*worker
	// follow is called once for each, and must not wait.
	follow func(*worker)
}

// worker is one of them.
type worker struct {
	actor   event.Actor
	environ []byte // as it was when its first child was seen

	reading sync.Mutex // guards the rest
	log     *os.File
	left    int64 // of maxWorkerLog
	names   runner.Log
	early   []early
}

// early is a name that the log told before the sensor told of the process.
type early struct {
	pid  uint32
	name string
}

// get returns what is known of a worker, nil where there is no room.
func (ws *workers) get(a event.Actor) *worker {
	w := ws.of[a]
	if w == nil && len(ws.of) < maxWorkers {
		w = &worker{actor: a, left: maxWorkerLog}
		// A worker that is gone has no environment, and no hook to come.
		w.environ, _ = readBounded(fmt.Sprintf("/proc/%d/environ", a.PID), 1<<20)
		ws.of[a] = w
		ws.follow(w)
	}
	return w
}

// hookOf returns the id of the hook that a child of a worker runs, zero for
// any other.
func (ws *workers) hookOf(a event.Actor, argv []byte) redact.Text {
	w := ws.get(a)
	if w == nil {
		return redact.Text{}
	}
	return runner.HookOf(w.environ, argv)
}

// unnamed is a step whose name the worker's log has not told yet.
type unnamed struct{ actor, worker event.Actor }

// step tells which step a worker started a process for.
func (r *recording) step(now int64, p *process.Process, s runner.Step) {
	ev := r.blank(event.Step, now)
	ev.Actor, ev.Parent = p.Actor, p.Parent.Actor
	ev.Job, ev.StepID, ev.StepAction, ev.Detail = s.Job, s.ID, s.Action, s.Kind
	r.append(ev)
	if len(r.unnamed) < maxUnnamed {
		r.unnamed[p.Actor.PID] = unnamed{p.Actor, p.Parent.Actor}
	}
}

// existingStep is step for a process that was there before the recording, of
// which ev tells. Its environment is read as it is by now.
func (r *recording) existingStep(ev *event.Event, p *process.Process) {
	dir := fmt.Sprintf("/proc/%d/", p.Actor.PID)
	environ, err := readBounded(dir+"environ", 1<<20)
	if err != nil {
		return
	}
	argv, err := readBounded(dir+"cmdline", 128<<10)
	if err != nil {
		return
	}
	r.environ(ev, environ)
	s := runner.StepOf(ev, r.workers.hookOf(p.Parent.Actor, argv))
	r.step(ev.Time, p, s)
	r.asks(p, s, argv)
}

// follow reads a worker's log until the worker has gone.
func (m *Monitor) follow(w *worker) {
	w.open()
	defer w.close()
	t := time.NewTicker(namesEvery)
	defer t.Stop()
	for {
		there := m.alive(w.actor)
		w.read(m.name)
		if !there {
			break
		}
		select {
		case <-m.stop:
			return
		case <-t.C:
		}
	}
	m.locked(func() { delete(m.workers.of, w.actor) })
}

func (w *worker) close() {
	w.reading.Lock()
	defer w.reading.Unlock()
	if w.log != nil {
		_ = w.log.Close()
		w.log = nil
	}
}

// open finds the log among the files that the worker has open.
func (w *worker) open() {
	w.reading.Lock()
	defer w.reading.Unlock()
	dir := fmt.Sprintf("/proc/%d/", w.actor.PID)
	exe, err := os.Readlink(dir + "exe")
	if err != nil {
		return
	}
	exe = strings.TrimSuffix(exe, " (deleted)")
	want := filepath.Join(filepath.Dir(filepath.Dir(exe)), "_diag", "Worker_")
	fds, _ := os.ReadDir(dir + "fd")
	for _, fd := range fds {
		path := dir + "fd/" + fd.Name()
		if to, err := os.Readlink(path); err != nil || !strings.HasPrefix(to, want) || !strings.HasSuffix(to, ".log") {
			continue
		}
		f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
		if err != nil {
			continue
		}
		if st, err := f.Stat(); err == nil && st.Mode().IsRegular() {
			w.log = f
			return
		}
		_ = f.Close()
	}
}

// read takes what has come to the log, and gives f what it says of processes.
// What f does not know yet it is given again, the next time.
func (w *worker) read(f func(worker event.Actor, pid uint32, name string) bool) {
	w.reading.Lock()
	defer w.reading.Unlock()
	if w.log == nil {
		return
	}
	w.early = slices.DeleteFunc(w.early, func(e early) bool { return f(w.actor, e.pid, e.name) })
	var buf [32 << 10]byte
	for w.left > 0 {
		n, err := w.log.Read(buf[:min(int64(len(buf)), w.left)])
		w.left -= int64(n)
		w.names.Feed(buf[:n], func(pid uint32, name []byte) {
			e := early{pid, string(name)}
			if !f(w.actor, e.pid, e.name) && len(w.early) < maxEarly {
				w.early = append(w.early, e)
			}
		})
		if err != nil || n == 0 {
			if err != nil && err != io.EOF {
				w.left = 0
			}
			return
		}
	}
}

// name tells what a worker's log calls a step, once, and only of a child of
// that worker. It returns false where no recording has heard of such a child.
func (m *Monitor) name(worker event.Actor, pid uint32, name string) (known bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range m.open() {
		u, ok := r.unnamed[pid]
		if !ok || u.worker != worker {
			continue
		}
		delete(r.unnamed, pid)
		ev := r.blank(event.Step, boottime())
		ev.Actor, ev.StepName = u.actor, r.red.String(name)
		r.append(ev)
		known = true
	}
	return known
}

// lastNames reads what the logs of workers say by now. A file system that does
// not answer costs names only.
func (m *Monitor) lastNames() {
	var ws []*worker
	m.locked(func() {
		for _, w := range m.workers.of {
			ws = append(ws, w)
		}
	})
	if len(ws) == 0 {
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for _, w := range ws {
			w.read(m.name)
		}
	}()
	select {
	case <-done:
	case <-time.After(namesWithin):
	}
}
