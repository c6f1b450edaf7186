// Command soak watches an hour of mixed load and looks whether the monitor
// holds more at its end than after the first minutes: memory, descriptors, maps
// and probes of BPF, goroutines. It fails where it does, or where anything was
// lost, and writes what it saw as a table. It needs root.
//
//	soak -for 1h -out test/bench/SOAK.md
//	soak -for 1m
//	soak -for 1h -profiles heap   # and what holds the memory, every ten minutes, for go tool pprof -base
//
// The monitor is a process of its own, as under `run`: this program again, with
// a sampler beside it. In less than ten minutes what the monitor keeps bounded
// is not full yet, so memory is shown and not judged.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/org/edamame-posture/pkg/judge"
	"github.com/org/edamame-posture/pkg/monitor"
	"github.com/org/edamame-posture/test/docker"
)

// long is from when on a run says something of memory.
const long = 10 * time.Minute

func main() {
	var err error
	switch args := os.Args[1:]; {
	case len(args) > 0 && args[0] == "monitor":
		err = serve(args[1:])
	case len(args) == 6 && args[0] == "load":
		err = loadFor(args[1], args[2], args[3], args[4], args[5])
	default:
		err = soak()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err)
		os.Exit(1)
	}
}

func loadFor(span, storm, dir, image, quick string) error {
	d, err := time.ParseDuration(span)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, unix.SIGTERM)
	defer stop()
	q, err := time.ParseDuration(quick)
	if err != nil {
		return err
	}
	return burden(ctx, storm, dir, image, q)
}

func soak() (err error) {
	span := flag.Duration("for", time.Hour, "how long")
	out := flag.String("out", "", "write the table to this file")
	sensor := flag.String("sensor", "auto", "auto, ebpf or netlink")
	profiles := flag.String("profiles", "", "write heap profiles of the monitor to this folder")
	flag.Parse()
	if os.Geteuid() != 0 {
		return errors.New("watching from the kernel needs root: sudo make soak")
	}
	if *span < 20*time.Second {
		return errors.New("less than 20s shows nothing")
	}
	if *profiles != "" {
		if err := os.MkdirAll(*profiles, 0o755); err != nil {
			return err
		}
	}
	dir, err := os.MkdirTemp("", "posture-soak-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	storm := filepath.Join(dir, "storm")
	if o, err := exec.Command("go", "build", "-o", storm, "./test/bench/storm").CombinedOutput(); err != nil {
		return fmt.Errorf("run it in the project's folder: %w\n%s", err, o)
	}
	image, noEngine := "", ""
	engine, err := docker.Start(false)
	if err == nil {
		defer engine.Stop()
		image = "soak:1"
		err = engine.Busybox(image, []string{"sh", "true"}, nil)
	}
	if err != nil {
		image, noEngine = "", err.Error()
	}

	samples := filepath.Join(dir, "samples")
	every := max(*span/600, 500*time.Millisecond)
	caller, err := monitor.FindCaller()
	if err != nil {
		return err
	}
	client, err := monitor.Launch(monitor.LaunchOptions{
		Sensor: *sensor, Sealed: true, Out: filepath.Join(dir, "out"), Caller: caller, Stderr: os.Stderr,
		Args: []string{"monitor", "--samples", samples, "--every", every.String(), "--profiles", *profiles},
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	self, err := os.Executable()
	if err != nil {
		return err
	}
	quick := *span / 5
	if *span < long {
		quick = *span
	}
	load := exec.Command(self, "load", span.String(), storm, dir, image, quick.String())
	if image != "" {
		load.Env = append(os.Environ(), engine.Env()...)
	}
	opened, err := client.Open(monitor.Opening{Command: load.Args, Cwd: dir, Home: dir})
	if err != nil {
		return err
	}
	var did bytes.Buffer
	load.Stdout, load.Stderr = &did, os.Stderr
	if err := load.Start(); err != nil {
		return err
	}
	interrupted, free := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	defer free()
	broken := context.AfterFunc(interrupted, func() { _ = load.Process.Signal(unix.SIGTERM) })
	defer broken()
	if err := load.Wait(); err != nil {
		return fmt.Errorf("the load: %w", err)
	}
	seen, err := read(samples) // before the recording is closed, which takes memory for a moment
	if err != nil {
		return err
	}
	closed, err := client.Finish(monitor.Closing{})
	if err != nil {
		return err
	}
	var v judge.Verdict
	b, err := os.ReadFile(filepath.Join(closed.Spool, "verdict.json"))
	if err == nil {
		err = json.Unmarshal(b, &v)
	}
	if err != nil {
		return err
	}
	if err := client.Discard(); err != nil {
		return err
	}

	r := &result{span: *span, sensor: opened.Sensor, did: did.String(), noEngine: noEngine, samples: seen, coverage: v.Coverage}
	r.judge()
	table := r.table()
	fmt.Print(table)
	if *out != "" && interrupted.Err() == nil {
		if err := os.WriteFile(*out, []byte(table), 0o644); err != nil {
			return err
		}
	}
	if interrupted.Err() != nil {
		return errors.New("interrupted")
	}
	if len(r.failed) > 0 {
		return errors.New(strings.Join(r.failed, "; "))
	}
	return nil
}

func read(file string) (all []sample, err error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var s sample
		if err := json.Unmarshal(lines.Bytes(), &s); err != nil {
			break // it is writing this one
		}
		all = append(all, s)
	}
	return all, nil
}

// header says what a table was made of and where.
func (r *result) header() string {
	commit, _ := exec.Command("git", "rev-parse", "--short=12", "HEAD").Output()
	var uts unix.Utsname
	_ = unix.Uname(&uts)
	return fmt.Sprintf("# Soak\n\nMade by `make soak` at commit %s: %v of mixed load, sensor %s, on Linux %s with %d cores, %s.\n",
		strings.TrimSpace(string(commit)), r.span, r.sensor, unix.ByteSliceToString(uts.Release[:]), runtime.NumCPU(), runtime.Version())
}
