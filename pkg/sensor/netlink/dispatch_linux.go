package netlink

import (
	"bytes"
	"slices"
	"time"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/sensor"
)

// dispatcher turns items into records and is the only one that calls the sink.
type dispatcher struct {
	queue  *queue
	table  *table
	marks  *marks
	counts *counts
	sink   sensor.Sink
	self   uint32
	proc   procReader
	tick   int64

	record sensor.Record
	image  image
	mover  *mover
	// urgent has a value when somebody waits for the items that are queued.
	urgent chan struct{}
	stop   chan struct{}
	// joined is called where a process is in a network namespace that is not
	// among nets.
	joined func()
	nets   map[uint32]bool
}

// linger is how long items may wait for company, so that a storm of execs
// wakes the dispatcher a hundred times a second and not at each.
const linger = 10 * time.Millisecond

func (d *dispatcher) run() {
	var items []*item
	for {
		stopping := false
		select {
		case <-d.queue.some:
			pause := time.NewTimer(linger)
			select {
			case <-pause.C:
			case <-d.queue.many:
			case <-d.urgent:
			case <-d.stop:
				stopping = true
			}
			pause.Stop()
		case <-d.stop:
			stopping = true
		}
		for {
			items = d.queue.take(items)
			if len(items) == 0 {
				break
			}
			for _, it := range items {
				d.dispatch(it)
			}
			d.queue.recycle(items)
		}
		if stopping {
			return
		}
	}
}

func (d *dispatcher) dispatch(it *item) {
	switch it.kind {
	case itemRecord:
		d.give(&it.record)
	case itemGap:
		d.give(&it.record)
		d.resync()
	case itemEvent:
		d.event(it)
	}
}

func (d *dispatcher) give(r *sensor.Record) {
	d.counts.records.Add(1)
	d.sink(r)
}

// event gives the record of an event of the proc connector.
func (d *dispatcher) event(it *item) {
	ev := &it.ev
	r := &d.record
	*r = sensor.Record{Time: it.time, PID: ev.tgid, TID: ev.pid, CPU: ev.cpu}
	switch ev.what {
	case whatFork:
		if ev.pid != ev.tgid {
			d.table.thread(ev.tgid, it.time)
			return
		}
		p, fresh := d.table.fork(ev.tgid, ev.otherTGID, it.start, it.time)
		if !fresh {
			return
		}
		r.Kind = event.Fork
		fillProcess(r, p)
		r.ParentPID, r.ParentStart = ev.otherTGID, d.table.find(ev.otherTGID).start
	case whatExec:
		d.exec(r, &it.img)
	case whatExit:
		p, status, gone := d.table.exit(ev.pid, ev.tgid, ev.code, it.time, d.threads)
		if !gone {
			return
		}
		r.Kind, r.TID = event.Exit, ev.tgid
		fillProcess(r, p)
		// wait(2): the low seven bits are the signal, the next byte the code.
		r.Code, r.Signal = int(status>>8&0xff), int(status&0x7f)
	case whatUID, whatGID:
		before := d.table.find(ev.tgid)
		p := d.table.change(ev.tgid, func(p *process) {
			if ev.what == whatUID {
				p.uid = ev.code
			} else {
				p.gid = ev.code
			}
		})
		if p.uid == before.uid && p.gid == before.gid {
			return // another thread of the process, or only the real id
		}
		r.Kind = event.SetID
		fillProcess(r, p)
	case whatSID:
		r.Kind = event.SetSID
		fillProcess(r, d.table.find(ev.tgid))
		r.Session = ev.tgid // setsid(2): the caller leads the new session
	case whatPtrace:
		if ev.otherTGID == 0 {
			return // detached
		}
		tracer := d.table.find(ev.otherTGID)
		r.Kind, r.Op = event.Ptrace, event.OpAttach
		r.PID, r.TID = ev.otherTGID, ev.otherPID
		fillProcess(r, tracer)
		r.TargetPID, r.TargetStart = ev.tgid, d.table.find(ev.tgid).start
	case whatComm:
		d.marks.seen(ev.comm)
		return
	default:
		return
	}
	d.give(r)
}

// exec fills the record of an exec from what was read of the process.
func (d *dispatcher) exec(r *sensor.Record, im *image) {
	st, err := parseStat(im.stat)
	known := err == nil && st.pid == r.PID
	p := d.table.change(r.PID, func(p *process) {
		p.threads, p.leaderGone, p.kernel, p.looked = 1, false, false, 0
		if known {
			p.args = st.argStart
			if p.start == 0 {
				p.start = st.start * d.tick
			}
		}
	})
	// A process that is gone has no namespaces to read. An exec does not change
	// them: where they are others, it went there before.
	if p.pid != 0 && im.ns != (event.Namespaces{}) {
		d.mover.read(p, im.ns, r.Time, r.Time)
		p = d.table.find(r.PID)
	}
	r.Kind = event.Exec
	fillProcess(r, p)
	if p.pid == 0 {
		r.NS = im.ns
		if known {
			r.Start = st.start * d.tick
		}
	}
	r.Cgroup, r.File, r.CTime, r.Size = im.cgroup, im.file, im.ctime, im.size
	r.Argv, r.ArgvBytes, r.ArgvCut, r.ArgvMissing = im.argv, len(im.argv), im.argvCut, len(im.argv) == 0
	if im.argvCut && known && st.argEnd > st.argStart {
		r.ArgvBytes = max(r.ArgvBytes, int(min(st.argEnd-st.argStart, 1<<30)))
	}
	r.Env, r.Cwd = im.env, im.cwd
	r.Exe, r.Image = im.classify()
	switch {
	case r.ArgvMissing && known:
		// The kernel's own name for the image outlives its memory: up to 15
		// bytes of the last element of what execve was given.
		r.Filename = st.comm
	case known:
		if f, in, ok := script(st.comm, r.Exe, r.Argv); ok {
			r.Filename, r.Interp, r.Image = f, in, r.Image|event.Script
		} else if first, _, _ := bytes.Cut(r.Argv, []byte{0}); bytes.IndexByte(first, '/') >= 0 && sameName(st.comm, first) {
			r.Filename = first
		}
	}
	if r.ArgvMissing {
		d.counts.gone.Add(1)
	}
	if im.ns.Net != 0 && !d.nets[im.ns.Net] && d.joined != nil {
		if len(d.nets) > 1024 {
			clear(d.nets)
		}
		d.nets[im.ns.Net] = true
		d.joined()
	}
}

// threads returns how many threads of a process are left, by /proc.
func (d *dispatcher) threads(pid uint32) int {
	b, _ := d.proc.readPath(d.proc.scratch[:0], d.proc.pidPath(pid, "/stat"), 1024)
	st, err := parseStat(b)
	if err != nil || st.pid != pid {
		return 0
	}
	return st.threads
}

// look reads a process from /proc.
func (d *dispatcher) look(pid uint32) (process, stat, bool) {
	b, _ := d.proc.readPath(d.proc.scratch[:0], d.proc.pidPath(pid, "/stat"), 1024)
	st, err := parseStat(slices.Clone(b))
	if err != nil || st.pid != pid {
		return process{}, stat{}, false
	}
	p := process{pid: pid, start: st.start * d.tick, parent: st.ppid, own: true, threads: st.threads, kernel: st.kernel, args: st.argStart, since: bootNow()}
	if st.state == 'Z' {
		p.leaderGone = true
		p.threads--
	}
	b, _ = d.proc.readPath(d.proc.scratch[:0], d.proc.pidPath(pid, "/status"), 8192)
	p.uid, p.gid, _ = parseIDs(b)
	p.ns = d.proc.namespacesOf(pid)
	return p, st, true
}

// seed fills the table with the processes that are already there. Nothing is
// told of them.
func (d *dispatcher) seed() error {
	return eachPID(func(pid uint32) {
		if p, _, ok := d.look(pid); ok {
			d.table.found(p)
		}
	})
}

// resync tells, after a gap, of what /proc shows and no event told: new
// processes, other images, processes that are gone.
func (d *dispatcher) resync() {
	began := bootNow()
	err := eachPID(func(pid uint32) {
		p, st, ok := d.look(pid)
		if !ok || p.leaderGone && p.threads <= 0 {
			return
		}
		newProcess, newImage := d.table.found(p)
		if newProcess {
			r := &d.record
			*r = sensor.Record{Kind: event.Fork, Time: bootNow(), PID: pid, TID: pid, ParentPID: st.ppid,
				ParentStart: d.table.find(st.ppid).start, Detail: "found in /proc after a gap"}
			fillProcess(r, p)
			d.give(r)
		}
		if newImage && !p.kernel {
			d.proc.readImage(pid, &d.image)
			r := &d.record
			*r = sensor.Record{Time: bootNow(), PID: pid, TID: pid, Detail: "found in /proc after a gap"}
			d.exec(r, &d.image)
			d.give(r)
		}
	})
	if err != nil {
		return // without /proc nobody can be said to be gone
	}
	d.table.others(began, func(p process) {
		r := &d.record
		*r = sensor.Record{Kind: event.Exit, Time: bootNow(), PID: p.pid, TID: p.pid, Detail: "gone from /proc after a gap"}
		fillProcess(r, p)
		d.give(r)
	})
}

// fillProcess fills what the table knows of the process that a record is about.
func fillProcess(r *sensor.Record, p process) {
	r.Start, r.UID, r.GID, r.NS = p.start, p.uid, p.gid, p.ns
}
