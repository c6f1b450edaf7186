package monitor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/evidence"
	"github.com/org/edamame-posture/pkg/judge"
	"github.com/org/edamame-posture/pkg/process"
	"github.com/org/edamame-posture/pkg/redact"
	"github.com/org/edamame-posture/pkg/sensor"
)

// JobOptions say how the jobs of GitHub's runners on a machine are recorded.
type JobOptions struct {
	// Dir is the folder for the recordings: a folder each, with its id as name. It
	// must be root's alone.
	Dir string
	// State is a file that keeps what the machine was when a job ended, for the
	// next one, whichever monitor sees it; empty for none.
	State string
	// Opening is what holds for every job: intent, rules, indicators.
	Opening Opening
	// Ready is how many jobs may begin at once without one of them waiting; at
	// least one. A recording that is ready costs two processes that hold keys.
	Ready int
	// Runs is what the ids of runs begin with, so that they tell the machine; empty
	// for nothing.
	Runs string
	// Vouch signs that a job's commitment is about the job that its runner says it
	// is, once for each. Of the claims it is given all but the issuer; the check run is the
	// recording's own number, since a runner tells nobody that of GitHub. It may
	// wait: only the recording's end waits for it. What it returns goes beside the
	// log. Nil for nobody.
	Vouch func(commitment []byte, job evidence.Claims) ([]byte, error)
	// Work returns the folder that a runner's jobs work in, by the folder of the
	// runner itself, and false for a runner whose jobs are not recorded. The
	// monitor's lock is held: it must not wait.
	Work func(runner string) (work string, ok bool)
	// Began, Found and Missed are called with the monitor's lock held: they must
	// not wait, and ask the monitor nothing. Missed is told of a job that is not
	// recorded.
	Began  func(*Job)
	Found  func(*Job, *judge.Finding)
	Missed func(why error)
	// Unvouched is told why nobody vouched for a job.
	Unvouched func(*Job, error)
	// Ended is called when a recording is closed, one at a time.
	Ended func(*Job, *judge.Verdict)
}

// Job is a job of a runner, as the kernel tells of it.
type Job struct {
	ID     string      `json:"id"`     // of the recording, and the name of its folder
	Worker event.Actor `json:"worker"` // whose children are recorded
	Runner string      `json:"runner"` // the runner's folder, by the program that the worker runs
	UID    uint32      `json:"uid"`    // whom it runs as
	Begun  time.Time   `json:"begun"`
	// Late says that it ran already when the recording began.
	Late bool `json:"late,omitempty"`
}

// jobs records each job of the machine's runners: from the exec of its worker
// until that has gone. The monitor's lock guards it.
type jobs struct {
	opt JobOptions
	// red makes the texts of snapshots, which are compared between recordings.
	red  *redact.Redactor
	open map[event.Actor]*job // by the worker's process
	// attach puts what was vouched beside a log.
	attach func(r *recording, statement []byte) error
	// spare are recordings that can begin in the middle of the way of events:
	// nothing that a worker starts may be before them.
	spare []*draft
	// last is what earlier jobs have left, which outlives this process; more counts
	// the processes for which there was no room in it.
	last states
	more uint64
	// unpinned says that it was told that nobody will know who kills this monitor.
	unpinned bool

	closed  bool
	working sync.WaitGroup
	filling sync.Mutex // taken before any other lock
	ending  sync.Mutex // one recording is closed at a time; taken before any other lock
}

// job is one that is recorded.
type job struct {
	Job
	of       *jobs
	r        *recording
	feed     feed
	work     string
	previous *state        // of the machine at the end of the job before
	ready    chan struct{} // closed when all that belongs to the begin is told
	vouched  chan struct{} // closed when it was vouched for, or not; nil where nobody knows yet which job it is
	ended    bool
}

// maxLeft bounds the processes that outlived their jobs and are followed.
const maxLeft = 1024

// processOf names a process by what stays the same over an exec.
func processOf(a event.Actor) event.Actor { return event.Actor{PID: a.PID, Start: a.Start} }

// WatchJobs records every job of GitHub's runners on this machine from now on,
// and what is left of those that run already.
func (m *Monitor) WatchJobs(o JobOptions) error {
	o.Opening.runs = o.Runs
	js := &jobs{opt: o, open: map[event.Actor]*job{}}
	var err error
	if js.red, js.last, err = readStates(o.State); err != nil {
		m.opt.Logf("what the machine was at the end of the last job is not known: %v", err)
	}
	first, err := m.draft(&o.Opening, o.Dir)
	if err != nil {
		return err
	}
	js.spare = append(js.spare, first)
	js.attach = func(r *recording, statement []byte) error {
		return m.attach(r, Attached{Name: evidence.StartBundleFile, Data: statement})
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.jobs = js
	js.working.Go(func() { js.refill(m) })
	for _, p := range m.table.Workers() {
		js.beginsLate(m, p)
	}
	return nil
}

// begins begins the recording of a worker's job at this very record. Whatever
// the worker starts comes after it.
func (js *jobs) begins(m *Monitor, p *process.Process, exe string) {
	j := &job{of: js, ready: make(chan struct{})}
	j.Runner = filepath.Dir(filepath.Dir(strings.TrimSuffix(exe, " (deleted)")))
	work, ok := js.opt.Work(j.Runner)
	if !ok || js.closed || js.open[processOf(p.Actor)] != nil {
		return
	}
	j.Worker, j.UID, j.Begun, j.work = p.Actor, p.UID, time.Now(), work
	o := js.opt.Opening
	o.Cwd, o.Home, o.uid, o.Parent, o.Command = work, homeOf(p.Actor.PID), p.UID, p.Actor.PID, []string{exe}
	var d *draft
	if n := len(js.spare); n > 0 {
		d, js.spare = js.spare[n-1], js.spare[:n-1]
	} else {
		// More at once than are ready. The rings hold what comes meanwhile.
		var err error
		if d, err = m.draft(&o, js.opt.Dir); err != nil {
			js.opt.Missed(err)
			return
		}
	}
	js.working.Go(func() { js.refill(m) })
	r := d.recording
	j.ID, j.r, r.job = r.id, r, j
	r.home, r.cwd, r.uid = o.Home, o.Cwd, o.uid
	r.first, r.root = true, p.Actor // its end is the recording's
	r.judge.OnFinding = func(f *judge.Finding) {
		m.sealSoon()
		j.feed.add(f)
		js.opt.Found(&j.Job, f)
	}
	r.sealing.Lock() // nobody else knows of it yet
	if err := m.begin(d, &o, p, p); err != nil {
		r.sealing.Unlock()
		js.opt.Missed(err)
		d.discard(m)
		return
	}
	js.open[processOf(p.Actor)] = j
	j.previous = js.last.of(r.uid, r.home)
	js.foreign(m, r)
	m.admit(r, p)
	js.opt.Began(&j.Job)
	go js.settle(m, j)
}

// beginsLate begins the recording of a job that runs already.
func (js *jobs) beginsLate(m *Monitor, p *process.Process) {
	exe := exeOf(p.Actor.PID)
	js.begins(m, p, exe)
	j := js.open[processOf(p.Actor)]
	if j == nil {
		return
	}
	j.Late = true
	now := boottime()
	for _, q := range m.table.Below(p) {
		m.table.Tag(q, j.r.bit, event.ViaLineage)
		j.r.exists(now, q)
	}
	j.r.gap(m.primary.Name(), "the job ran already when the recording began: what it did before was not seen", p.Actor.Start, now, 0)
}

// refill makes the recordings that are ready for the next jobs, one at a time.
func (js *jobs) refill(m *Monitor) {
	js.filling.Lock()
	defer js.filling.Unlock()
	for {
		wanted := false
		m.locked(func() { wanted = !js.closed && len(js.spare) < max(js.opt.Ready, 1) })
		if !wanted {
			return
		}
		d, err := m.draft(&js.opt.Opening, js.opt.Dir)
		if err != nil {
			m.opt.Logf("nothing is ready for the next job: %v", err)
			return
		}
		m.locked(func() {
			if !js.closed {
				js.spare, d = append(js.spare, d), nil
			}
		})
		if d != nil {
			d.discard(m)
		}
	}
}

// settle does the rest of a recording's begin beside the way of events: the
// first checkpoint, what the machine is, which credential files are there. It
// holds sealing of the recording.
func (js *jobs) settle(m *Monitor, j *job) {
	defer close(j.ready)
	r := j.r
	looked := r.look(false)
	ctx, cancel := context.WithTimeout(context.Background(), sealWithin)
	m.sealHeld(ctx, r)
	cancel()
	r.sealing.Unlock()
	m.sync(r)
	unpinned := m.pin(r)
	if r.adopter != nil {
		select {
		case known := <-r.places(r.home, r.cwd):
			m.locked(func() { maps.Copy(r.known, known) })
		case <-time.After(adoptWithin):
			m.locked(func() { r.note(lateCredentials, 0) })
		}
	}
	before := <-looked
	m.mu.Lock()
	defer m.mu.Unlock()
	if unpinned != nil && !js.unpinned {
		js.unpinned = true
		m.opt.Logf("should this monitor be killed, nobody will know by whom: %v", unpinned)
	}
	now := boottime()
	r.before = before
	r.tellPosture(now, before, redact.Const("start"))
	if j.previous != nil {
		r.tellChanges(now, j.previous.Snapshot, before, sinceLastJob)
	}
}

// foreign makes what outlived earlier jobs part of a recording, as what it is:
// none of this job's.
func (js *jobs) foreign(m *Monitor, r *recording) {
	now := boottime()
	js.last.Left = slices.DeleteFunc(js.last.Left, func(l leftover) bool {
		p := m.table.Find(l.PID, l.Start)
		if !l.is(p) {
			return true
		}
		for _, q := range append(m.table.Below(p), p) {
			if !q.Tags.Has(r.bit) {
				m.table.Tag(q, r.bit, event.ViaHost)
			}
		}
		r.strangers[p.Actor] = true
		ev := r.blank(event.Existing, now)
		ev.Via, ev.Actor = event.ViaOutside, p.Actor
		if p.Parent != nil {
			ev.Parent = p.Parent.Actor
		}
		r.describe(ev, p.Actor.PID)
		ev.Detail = redact.Concat(redact.Const("an earlier job has left it running: "), r.red.String(l.Job))
		r.append(ev)
		return false
	})
	if js.more > 0 {
		r.note(redact.Const("processes that earlier jobs have left running, beyond those that are followed"), js.more)
	}
}

// outlived takes note of what a recording that ends leaves running. The
// monitor's lock is held.
func (js *jobs) outlived(m *Monitor, r *recording) {
	for _, p := range m.table.Living(r.bit) {
		switch {
		case p.Via(r.bit) == event.ViaHost: // of an earlier job, and known
		case len(js.last.Left) < maxLeft:
			js.last.Left = append(js.last.Left, leftover{processOf(p.Actor), r.id})
		default:
			js.more++
		}
	}
}

// exited ends a job's recording when its worker has gone.
func (js *jobs) exited(m *Monitor, p *process.Process, rec *sensor.Record) {
	if j := js.open[processOf(p.Actor)]; j != nil {
		js.end(m, j, Closing{Exit: rec.Code, Signal: rec.Signal}, "")
	}
}

// end closes the recording of a job, once, beside the way of events. The
// monitor's lock is held.
func (js *jobs) end(m *Monitor, j *job, c Closing, why string) {
	if j.ended {
		return
	}
	j.ended = true
	vouched := j.vouched
	js.working.Go(func() {
		<-j.ready
		if vouched != nil {
			<-vouched
		}
		js.ending.Lock()
		defer js.ending.Unlock()
		v := m.finish(j.r, c, why)
		var err error
		m.locked(func() {
			delete(js.open, processOf(j.Worker))
			js.last.put(&state{UID: j.r.uid, Home: j.r.home, Job: j.ID, Ended: time.Now().UTC(), Snapshot: j.r.after})
			err = js.last.write(js.opt.State)
		})
		if err != nil {
			m.opt.Logf("what the machine is at the end of this job is not kept: %v", err)
		}
		js.opt.Ended(&j.Job, v)
	})
}

// lookAtJobs ends the recordings of workers that are gone without a record of
// their exit.
func (m *Monitor) lookAtJobs() {
	if len(m.workerless()) == 0 {
		return
	}
	// What has gone is told before it is gone, and may not be read yet.
	ctx, cancel := context.WithTimeout(context.Background(), drainWithin)
	defer cancel()
	if m.catchUp(ctx) != nil {
		return
	}
	gone := m.workerless()
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, j := range gone {
		m.jobs.end(m, j, Closing{Exit: -1}, "the end of the job's worker was not seen")
	}
}

// workerless returns the jobs that go on while their worker has gone.
func (m *Monitor) workerless() (gone []*job) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.jobs == nil {
		return nil
	}
	for _, j := range m.jobs.open {
		if !j.ended && errors.Is(unix.Kill(int(j.Worker.PID), 0), unix.ESRCH) {
			gone = append(gone, j)
		}
	}
	return gone
}

// closeJobs ends the recordings of all jobs, and returns when they are closed.
func (m *Monitor) closeJobs() {
	m.mu.Lock()
	js := m.jobs
	if js == nil {
		m.mu.Unlock()
		return
	}
	js.closed = true
	for _, j := range js.open {
		js.end(m, j, Closing{Exit: -1}, "the monitor was told to stop: what the job did after this was not seen")
	}
	m.mu.Unlock()
	js.working.Wait()
	for _, d := range js.spare {
		d.discard(m)
	}
}

// named has the job vouched for, once, by what the worker tells the first
// program of a step: which run it is of. What a step tells its own children
// does not come here. The monitor's lock is held.
func (j *job) named(exec *event.Event) {
	js := j.of
	if js.opt.Vouch == nil || j.vouched != nil || j.ended {
		return
	}
	number, err := strconv.ParseUint(j.ID, 16, 64)
	if err != nil {
		return
	}
	c := evidence.Claims{CheckRunID: strconv.FormatUint(number, 10)}
	for _, v := range exec.Env {
		switch v.Name.String() {
		case "GITHUB_REPOSITORY_ID":
			c.RepositoryID = v.Value.String()
		case "GITHUB_RUN_ID":
			c.RunID = v.Value.String()
		case "GITHUB_RUN_ATTEMPT":
			c.RunAttempt = v.Value.String()
		}
	}
	if c.RepositoryID == "" || c.RunID == "" || c.RunAttempt == "" {
		return // it unpacks an action, say
	}
	done, r := make(chan struct{}), j.r
	j.vouched = done
	js.working.Go(func() {
		defer close(done)
		statement, err := js.opt.Vouch(r.committed, c)
		if err == nil {
			err = js.attach(r, statement)
		}
		if err != nil {
			js.opt.Unvouched(&j.Job, err)
		}
	})
}

// getenv is what the runner has told its job, as far as it is known.
func (j *job) getenv(name string) string {
	if name == "RUNNER_TEMP" {
		return filepath.Join(j.work, "_temp")
	}
	return ""
}

// homeOf returns the home folder that a process was started with; empty where
// it names none.
func homeOf(pid uint32) string {
	environ, err := readBounded(fmt.Sprintf("/proc/%d/environ", pid), 1<<20)
	if err != nil {
		return ""
	}
	for v := range bytes.SplitSeq(environ, []byte{0}) {
		if home, ok := bytes.CutPrefix(v, []byte("HOME=")); ok {
			if s := string(home); filepath.IsAbs(s) && filepath.Clean(s) == s && len(s) < unix.PathMax {
				return s
			}
			return ""
		}
	}
	return ""
}
