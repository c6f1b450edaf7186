package monitor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/org/edamame-posture/pkg/evidence"
	"github.com/org/edamame-posture/pkg/judge"
)

// JobStatus is a look at a job's recording while it runs.
type JobStatus struct {
	Job
	Sensor string `json:"sensor"`
	Events uint64 `json:"events"`
	Lost   uint64 `json:"lost"`
	Bytes  int64  `json:"bytes"` // of its log on the disk
	// Found are the findings so far, of which there may be more.
	Found []Found `json:"found"`
}

// maxToldFound bounds the findings in a [JobStatus].
const maxToldFound = 64

// status is called with the monitor's lock held.
func (j *job) status(m *Monitor) JobStatus {
	found, _ := j.feed.from(0)
	return JobStatus{
		Job: j.Job, Sensor: m.primary.Name(), Events: j.r.log.Size(), Lost: j.r.log.Lost(), Bytes: j.r.log.Bytes(),
		Found: slices.Clone(found[:min(len(found), maxToldFound)]),
	}
}

// Jobs returns the jobs that are recorded now, the oldest first.
func (m *Monitor) Jobs() []JobStatus {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []JobStatus
	if m.jobs != nil {
		for _, j := range m.jobs.open {
			all = append(all, j.status(m))
		}
	}
	slices.SortFunc(all, func(a, b JobStatus) int {
		if c := a.Begun.Compare(b.Begun); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	return all
}

// jobOf returns the job that a process is of, by its lineage. One whose worker
// was not seen to begin begins now.
func (m *Monitor) jobOf(pid uint32) (*JobStatus, error) {
	ctx, cancel := context.WithTimeout(context.Background(), drainWithin)
	defer cancel()
	if err := m.catchUp(ctx); err != nil { // its own fork may not be read yet
		return nil, fmt.Errorf("sensor %s does not answer: %w", m.primary.Name(), err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.jobs == nil {
		return nil, errors.New("this monitor records no jobs")
	}
	for p := m.table.Find(pid, 0); p != nil; p = p.Parent {
		if !p.Worker() {
			continue
		}
		if m.jobs.open[processOf(p.Actor)] == nil {
			m.jobs.beginsLate(m, p)
		}
		j := m.jobs.open[processOf(p.Actor)]
		if j == nil {
			return nil, errors.New("jobs of this runner are not recorded")
		}
		st := j.status(m)
		return &st, nil
	}
	return nil, fmt.Errorf("process %d is no part of a job of a runner", pid)
}

// exeOf returns the program that a process runs; empty where it cannot be read.
func exeOf(pid uint32) string {
	exe, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	return exe
}

// ServeJobs answers who asks for a job at a socket, until ctx ends: a process of
// a job for its own, root for all. Nobody can end a recording there.
func (m *Monitor) ServeJobs(ctx context.Context, l *net.UnixListener) error {
	var serving sync.WaitGroup
	defer serving.Wait()
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	var guests atomic.Int32
	for {
		c, err := l.AcceptUnix()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("the socket for jobs: %w", err)
		}
		k := newConn(c)
		peer, err := k.peer()
		if err != nil || peer.Uid != 0 && guests.Add(1) > maxGuests {
			if err == nil {
				guests.Add(-1)
			}
			c.Close()
			continue
		}
		serving.Go(func() {
			if peer.Uid != 0 {
				defer guests.Add(-1)
			}
			stop := context.AfterFunc(ctx, func() { c.Close() })
			defer stop()
			defer c.Close()
			m.serveJobs(k, peer)
		})
	}
}

func (m *Monitor) serveJobs(k *conn, peer *unix.Ucred) {
	for {
		var q Request
		if k.c.SetDeadline(time.Now().Add(guestWithin)) != nil || k.read(&q) != nil {
			return
		}
		_ = k.c.SetDeadline(time.Now().Add(drainWithin + guestWithin))
		a := Response{ID: q.ID}
		switch {
		case q.Op == "hello" && q.Version == ProtocolVersion:
			a.Version = ProtocolVersion
		case q.Op == "job":
			job, err := m.jobOf(uint32(peer.Pid))
			if a.Job = job; err != nil {
				a.Error = err.Error()
			}
		case q.Op == "jobs" && peer.Uid == 0:
			a.Jobs = m.Jobs()
		default:
			a.Error = fmt.Sprintf("%.20q of version %d is not answered here", q.Op, q.Version)
		}
		if k.write(a) != nil {
			return
		}
	}
}

// AskJob returns the recording of the job that this process is of.
func AskJob(socket string) (*JobStatus, error) {
	c, err := Dial(socket)
	if err != nil {
		return nil, err
	}
	defer c.HangUp()
	a, err := c.ask(Request{Op: "job"}, drainWithin+guestWithin)
	if err == nil && a.Job == nil {
		err = errors.New("the monitor's answer to job is empty")
	}
	return a.Job, err
}

// AskJobs returns all jobs that are recorded now. It needs root.
func AskJobs(socket string) ([]JobStatus, error) {
	c, err := Dial(socket)
	if err != nil {
		return nil, err
	}
	defer c.HangUp()
	a, err := c.ask(Request{Op: "jobs"}, drainWithin)
	return a.Jobs, err
}

// JobsDir makes the folder for the recordings of jobs, or refuses one that is
// not root's alone, and returns it.
func JobsDir() (string, error) {
	root := spoolRoots[0]
	if err := rootOwned(root); err != nil {
		return "", err
	}
	dir := filepath.Join(root, jobsName)
	return dir, rootOwned(dir)
}

// SalvageJobs ends the recordings that a monitor which died has left in dir. It
// calls f for each, with the verdict of what there is of it, or why there is
// none.
func SalvageJobs(dir string, f func(id string, v *judge.Verdict, err error)) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		spool := filepath.Join(dir, e.Name())
		if !isID(e.Name()) || exists(filepath.Join(spool, verdictFile)) {
			continue
		}
		ev := filepath.Join(spool, evidenceDir)
		if !exists(filepath.Join(ev, evidence.CommitmentFile)) {
			if err := os.RemoveAll(spool); err != nil { // it was for the next job
				return err
			}
			continue
		}
		how := Remembered(spool)
		terr := how.tell(ev)
		v, err := rejudge(ev)
		if err == nil {
			err = writeNew(filepath.Join(spool, verdictFile), v.Encode())
		}
		f(e.Name(), v, errors.Join(terr, err))
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
