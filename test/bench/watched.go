package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// recorded is one watched run.
type recorded struct {
	dir string
	rss float64 // MiB, the monitor's peak
	// samples follow the monitor from its start to its end.
	samples []sample
}

// sample is what the monitor had used and held at one moment.
type sample struct {
	at       int64         // CLOCK_BOOTTIME, ns
	cpu      time.Duration // of all its threads
	rss      float64       // MiB, now
	programs time.Duration // of its BPF programs, where these are followed
}

// watched runs a command under the monitor and follows the monitor's memory.
func (s *suite) watched(sensor string, argv ...string) ([]byte, *recorded, error) {
	return s.watchedIn("", nil, sensor, nil, argv...)
}

// watchedIn does so in a folder and with more environment, and follows the run
// time of the monitor's BPF programs where stats is given.
func (s *suite) watchedIn(in string, env []string, sensor string, stats *programs, argv ...string) ([]byte, *recorded, error) {
	dir, err := os.MkdirTemp(s.dir, "out-")
	if err != nil {
		return nil, nil, err
	}
	args := []string{"run", "--quiet", "--sensor", sensor, "--out", filepath.Join(dir, "p")}
	if s.sealed {
		args = append(args, "--seal")
	}
	args = append(append(args, "--"), argv...)
	cmd := exec.Command(s.posture, args...)
	cmd.Dir = in
	cmd.Env = append(append(os.Environ(), "HOME="+s.home()), env...)
	var stdout bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		return nil, nil, err
	}
	r := &recorded{dir: filepath.Join(dir, "p")}
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		r.follow(cmd.Process.Pid, stats, stop)
	}()
	err = cmd.Wait()
	close(stop)
	<-done
	if err != nil {
		return nil, nil, fmt.Errorf("%v: %w", args, err)
	}
	return stdout.Bytes(), r, nil
}

// follow takes a sample every 50 ms until stop.
func (r *recorded) follow(run int, stats *programs, stop chan struct{}) {
	t := time.NewTicker(50 * time.Millisecond)
	defer t.Stop()
	monitor := 0
	for {
		select {
		case <-stop:
			return
		case <-t.C:
		}
		if monitor == 0 {
			if monitor = monitorOf(run); monitor == 0 {
				continue
			}
		}
		// The clock of another process's threads, clock_getcpuclockid(3).
		var cpu unix.Timespec
		if unix.ClockGettime(int32(^monitor<<3|2), &cpu) != nil {
			continue
		}
		now := sample{at: boottime(), cpu: time.Duration(cpu.Nano()) + ofChildren(monitor)}
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", monitor))
		if err != nil {
			continue
		}
		now.rss = statusMiB(status, "VmRSS:")
		r.rss = max(r.rss, statusMiB(status, "VmHWM:"))
		if stats != nil {
			now.programs = stats.runtime()
		}
		r.samples = append(r.samples, now)
	}
}

// monitorOf is the monitor that a run started, 0 as long as there is none.
func monitorOf(run int) int {
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", run))
	for _, f := range tasks {
		kids, _ := os.ReadFile(f)
		for _, pid := range strings.Fields(string(kids)) {
			cmdline, err := os.ReadFile("/proc/" + pid + "/cmdline")
			if err == nil && bytes.Contains(cmdline, []byte("\x00monitor\x00")) {
				n, _ := strconv.Atoi(pid)
				return n
			}
		}
	}
	return 0
}

// ofChildren is what the children of a process used that have ended: canaries
// and, under --seal, keys (proc_pid_stat(5), cutime and cstime, in ticks of
// 10 ms).
func ofChildren(pid int) time.Duration {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	// The name of the program may hold spaces: it ends at the last bracket.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 15 {
		return 0
	}
	var ticks int64
	for _, f := range fields[13:15] {
		n, _ := strconv.ParseInt(f, 10, 64)
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

func statusMiB(status []byte, field string) float64 {
	for line := range strings.Lines(string(status)) {
		if v, ok := strings.CutPrefix(line, field); ok {
			kb, _ := strconv.ParseFloat(strings.Fields(v)[0], 64)
			return kb / 1024
		}
	}
	return 0
}

// between is what the monitor and its BPF programs used in a span of
// CLOCK_BOOTTIME.
func (r *recorded) between(from, to int64) (monitor, programs time.Duration) {
	a, b := r.at(from), r.at(to)
	return b.cpu - a.cpu, b.programs - a.programs
}

// at is the state at a moment, in proportion between the samples beside it.
func (r *recorded) at(t int64) sample {
	if len(r.samples) == 0 {
		return sample{}
	}
	i := slices.IndexFunc(r.samples, func(s sample) bool { return s.at >= t })
	switch i {
	case -1:
		return r.samples[len(r.samples)-1]
	case 0:
		return r.samples[0]
	}
	a, b := r.samples[i-1], r.samples[i]
	part := float64(t-a.at) / float64(b.at-a.at)
	return sample{
		at:       t,
		cpu:      a.cpu + time.Duration(part*float64(b.cpu-a.cpu)),
		rss:      a.rss,
		programs: a.programs + time.Duration(part*float64(b.programs-a.programs)),
	}
}

// programs are the BPF programs loaded since they were made, with the kernel's
// statistics of their run time on.
type programs struct {
	last  ebpf.ProgramID
	known []*ebpf.Program
	off   io.Closer
}

func newPrograms() (*programs, error) {
	off, err := ebpf.EnableStats(uint32(unix.BPF_STATS_RUN_TIME))
	if err != nil {
		return nil, fmt.Errorf("BPF statistics: %w", err)
	}
	p := &programs{off: off}
	for {
		next, err := ebpf.ProgramGetNextID(p.last)
		if err != nil {
			return p, nil
		}
		p.last = next
	}
}

// runtime is that of all of them so far. Their ids only grow.
func (p *programs) runtime() time.Duration {
	for {
		next, err := ebpf.ProgramGetNextID(p.last)
		if err != nil {
			break
		}
		p.last = next
		if prog, err := ebpf.NewProgramFromID(next); err == nil {
			p.known = append(p.known, prog)
		}
	}
	var sum time.Duration
	for _, prog := range p.known {
		if stats, err := prog.Stats(); err == nil {
			sum += stats.Runtime
		}
	}
	return sum
}

func (p *programs) close() {
	for _, prog := range p.known {
		_ = prog.Close()
	}
	_ = p.off.Close()
}

// each reads the log as anyone may: zstdcat and a JSON parser.
func (r *recorded) each(f func(map[string]any)) error {
	files, err := filepath.Glob(filepath.Join(r.dir, "evidence", "*.jsonl.zst"))
	if err != nil || len(files) == 0 {
		return fmt.Errorf("no log in %s (%v)", r.dir, err)
	}
	slices.Sort(files)
	cmd := exec.Command("zstdcat", files...)
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("zstdcat (apt-get install zstd): %w", err)
	}
	dec := json.NewDecoder(pipe)
	for {
		var e map[string]any
		if err := dec.Decode(&e); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return err
		}
		f(e)
	}
	return cmd.Wait()
}

// lost is what the evidence says of its own losses, 0 where it cannot be read.
func (r *recorded) lost() uint64 { return r.verdict().Lost }

// events is how many lines the evidence has.
func (r *recorded) events() uint64 { return r.verdict().Events }

type covered struct {
	State, Witness string
	Events, Lost   uint64
}

func (r *recorded) verdict() covered {
	var v struct{ Coverage covered }
	if b, err := os.ReadFile(filepath.Join(r.dir, "verdict.json")); err == nil {
		_ = json.Unmarshal(b, &v)
	}
	return v.Coverage
}

func (r *recorded) coverage() string {
	v := r.verdict()
	return fmt.Sprintf("%s, witness %s, %d events, %d lost", v.State, v.Witness, v.Events, v.Lost)
}
