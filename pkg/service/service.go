// Package service is the monitor of a machine with self-hosted runners: one
// process that records every job of every runner, keeps the evidence for a
// while, and says how it goes. [Place.Install] puts it on a machine, [Run] is
// what systemd, or a container, starts.
//
//	place := service.Place{Program: "/proc/self/exe", Runners: []string{"/opt/actions-runner"}}
//	notes, err := place.Install()
//
// It runs as root, so it links what pkg/monitor links and no more: nothing
// that signs, makes reports, or speaks to GitHub or over HTTP.
package service

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/org/edamame-posture/pkg/evidence"
	"github.com/org/edamame-posture/pkg/judge"
	"github.com/org/edamame-posture/pkg/monitor"
)

// Socket is where jobs ask for their recording, and root for all.
const Socket = "/run/edamame-posture/service.sock"

// RunOptions are what [Run] is given besides its settings.
type RunOptions struct {
	Settings *Settings
	// Monitor are the monitor's: sensor and sealing are taken from the settings.
	Monitor monitor.Options
	// Opening is what holds for every job.
	Opening monitor.Opening
	// Armed is called once, when the sensors are armed; nil for nothing.
	Armed  func()
	Socket string // where to listen
	Log    *Journal
	// Vouch and Attest sign with the machine's key, where the settings say so: that
	// a commitment is about a job, and the closed recording in a folder, whose job
	// worked in workspace. Neither is this process's own work, which holds no key.
	Vouch  func(commitment []byte, job evidence.Claims) ([]byte, error)
	Attest func(dir, workspace string) error
}

// maxReady bounds the recordings that are ready for the next jobs.
const maxReady = 8

// tidyEvery is how often old evidence is looked for, besides after each job.
const tidyEvery = 10 * time.Minute

// Run records jobs until ctx ends. Every recording that is open then is closed
// before it returns.
func Run(ctx context.Context, o RunOptions) (err error) {
	state, err := newNotifier(os.Getenv)
	if err != nil {
		return err
	}
	dir, err := monitor.JobsDir()
	if err != nil {
		return fmt.Errorf("the folder for evidence: %w", err)
	}
	figures := newFigures()
	var beats atomic.Int64
	mo := o.Monitor
	mo.Sensor, mo.Sealed = o.Settings.Sensor, o.Settings.Seal
	mo.Logf = func(format string, args ...any) { o.Log.Warn(format, args...) }
	mo.Beat = func() { beats.Add(1) }
	m, err := monitor.Start(ctx, mo)
	if err != nil {
		return err
	}
	defer m.Close()
	if o.Armed != nil {
		o.Armed()
	}
	err = monitor.SalvageJobs(dir, func(id string, v *judge.Verdict, err error) {
		if err != nil {
			o.Log.Error("what a monitor that died has left in %s: %v", filepath.Join(dir, id), err)
			return
		}
		figures.ended(v)
		o.Log.Warn("a monitor died while it recorded job %s: what it saw until then is in %s (%s)", id, filepath.Join(dir, id), v.Verdict)
	})
	if err != nil {
		return fmt.Errorf("the folder for evidence: %w", err)
	}
	tidy := make(chan struct{}, 1)
	jobs := monitor.JobOptions{
		Dir: dir, State: filepath.Join(filepath.Dir(dir), stateName), Opening: o.Opening, Work: o.Settings.work,
		Ready: min(len(o.Settings.Runners), maxReady),
		Began: func(j *monitor.Job) {
			late := ""
			if j.Late {
				late = ", which ran already"
			}
			o.Log.Info("job %s of runner %q begins%s: worker %d of user %d", j.ID, j.Runner, late, j.Worker.PID, j.UID)
		},
		Found: func(j *monitor.Job, f *judge.Finding) {
			figures.found(f)
			o.Log.At(priorityOf(f.Severity), "job %s: %s: %s: %q [%s]", j.ID, f.Severity, f.Title, f.Object, f.Rule)
		},
		Missed: func(why error) {
			figures.missed()
			o.Log.Error("a job is not recorded: %v", why)
		},
		Ended: func(j *monitor.Job, v *judge.Verdict) {
			figures.ended(v)
			if o.Settings.Sign != nil {
				if err := o.Attest(filepath.Join(dir, j.ID), o.workspace(j, v)); err != nil {
					o.Log.Error("job %s is not signed: %v", j.ID, err)
				}
			}
			o.Log.Info("job %s ends: %s, score %d, %d findings, coverage %s; %q of %q; evidence in %s", j.ID, v.Verdict, v.Score,
				len(v.Findings), v.Coverage.State, v.Run.Job, v.Run.Repository, filepath.Join(dir, j.ID))
			select {
			case tidy <- struct{}{}:
			default:
			}
		},
	}
	if o.Settings.Sign != nil {
		jobs.Runs, jobs.Vouch = o.Settings.Sign.Runs(), o.Vouch
		jobs.Unvouched = func(j *monitor.Job, err error) {
			o.Log.Error("job %s: nobody vouches that it is the runner's job: %v", j.ID, err)
		}
	}
	if err := m.WatchJobs(jobs); err != nil {
		return err
	}
	l, err := listenUnix(o.Socket, 0o666) // who it is, the kernel says
	if err != nil {
		return err
	}
	served := make(chan error, 2)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	go func() { served <- m.ServeJobs(ctx, l) }()
	shelf := &shelf{dir: dir, keep: o.Settings.Keep}
	if at := o.Settings.Metrics; at != "" {
		ml, err := listenMetrics(at)
		if err != nil {
			return err
		}
		go func() { served <- serveMetrics(ctx, ml, func() []byte { return figures.text(m.Jobs(), shelf.seen()) }) }()
	}
	o.Log.Info("jobs of runners on this machine are recorded, with %s", m.SensorName())
	state.tell("READY=1")
	defer state.tell("STOPPING=1")
	alive := time.NewTicker(state.every())
	defer alive.Stop()
	often := time.NewTicker(tidyEvery)
	defer often.Stop()
	clean := func() {
		running := map[string]bool{}
		for _, j := range m.Jobs() {
			running[j.ID] = true
		}
		removed, err := shelf.tidy(running, time.Now())
		if err != nil {
			o.Log.Error("old evidence: %v", err)
		}
		for _, r := range removed {
			o.Log.Info("evidence removed: %s", r)
		}
		figures.removed(len(removed))
	}
	clean()
	last := int64(0)
	for {
		select {
		case <-ctx.Done():
			o.Log.Info("told to stop: open recordings are closed")
			return nil
		case err := <-served:
			if err != nil {
				return err
			}
		case <-alive.C:
			// The monitor's own rounds: this loop alone would say nothing of it.
			if now := beats.Load(); now != last {
				last = now
				state.tell("WATCHDOG=1")
			}
		case <-tidy:
			clean()
		case <-often.C:
			clean()
			for _, r := range monitor.SweepSpools(o.Settings.Keep.age()) {
				o.Log.Info("what a run left and nobody took is removed: %s", r)
			}
		}
	}
}

// workspace is the checkout of a job, as the runner lays it out. Empty where the
// repository's name is none that a folder can have.
func (o *RunOptions) workspace(j *monitor.Job, v *judge.Verdict) string {
	work, _ := o.Settings.work(j.Runner)
	_, repo, _ := strings.Cut(v.Run.Repository, "/")
	if repo == "" || repo == "." || repo == ".." || strings.Contains(repo, "/") {
		return ""
	}
	return filepath.Join(work, repo, repo)
}

// stateName is the file that keeps what the machine was when a job ended.
const stateName = "machine.json"

// listenUnix listens at a path in a folder of root's own. What a service that
// died has left there is removed.
func listenUnix(path string, mode os.FileMode) (*net.UnixListener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	if c, err := net.Dial("unix", path); err == nil {
		c.Close()
		return nil, fmt.Errorf("somebody listens at %s: is the service running already?", path)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	return l, os.Chmod(path, mode)
}

// priorityOf is how grave a finding is to the journal.
func priorityOf(s judge.Severity) priority {
	switch {
	case judge.Rank(s) >= judge.Rank(judge.High):
		return errPriority
	case judge.Rank(s) >= judge.Rank(judge.Medium):
		return warningPriority
	}
	return infoPriority
}
