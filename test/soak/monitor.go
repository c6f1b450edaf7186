package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/metrics"
	"runtime/pprof"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/org/edamame-posture/pkg/monitor"
)

// sample is what the monitor holds at one moment.
type sample struct {
	At         float64 `json:"at"`  // seconds since the first
	RSS        int64   `json:"rss"` // bytes, of the process
	Heap       int64   `json:"heap"`
	Goroutines int64   `json:"goroutines"`
	FDs        int64   `json:"fds"`
	// Maps and Probes are of BPF: the maps that it holds, and the links of
	// uprobes.
	Maps   int64 `json:"maps"`
	Probes int64 `json:"probes"`
}

// serve is the monitor, with the flags that monitor.Launch gives it, and a
// sampler beside it.
func serve(args []string) error {
	fl := flag.NewFlagSet("monitor", flag.ContinueOnError)
	samples := fl.String("samples", "", "")
	every := fl.Duration("every", time.Second, "")
	profiles := fl.String("profiles", "", "")
	sensor := fl.String("sensor", "auto", "")
	seal := fl.Bool("seal", false, "")
	uid, gid := fl.Int("uid", 0, ""), fl.Int("gid", 0, "")
	_ = fl.String("out", "", "")
	fl.Func("group", "", func(string) error { return nil })
	if err := fl.Parse(args); err != nil {
		return err
	}
	f, err := os.OpenFile(*samples, os.O_WRONLY|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	monitor.Isolate()
	signal.Ignore(unix.SIGINT, unix.SIGQUIT, unix.SIGHUP, unix.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM)
	defer stop()
	go record(ctx, f, *every)
	if *profiles != "" {
		go profile(ctx, *profiles)
	}
	hello := struct {
		io.Writer
		io.Closer
	}{os.Stdout, io.NopCloser(nil)}
	return monitor.Serve(ctx, monitor.ServeOptions{
		Options: monitor.Options{Sensor: *sensor, Sealed: *seal, Tool: "soak", Logf: func(format string, args ...any) {
			fmt.Fprintf(os.Stderr, "monitor: "+format+"\n", args...)
		}},
		UID: *uid, GID: *gid,
	}, hello)
}

// record writes a sample in each interval.
func record(ctx context.Context, to io.Writer, every time.Duration) {
	began := time.Now()
	say := json.NewEncoder(to)
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		s := look()
		s.At = time.Since(began).Seconds()
		if err := say.Encode(s); err != nil {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// profileEvery is how often the heap is written down.
const profileEvery = 10 * time.Minute

// profile writes what holds the heap to files that say when that was, until the
// monitor ends.
func profile(ctx context.Context, dir string) {
	t := time.NewTicker(profileEvery)
	defer t.Stop()
	for began := time.Now(); ; {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		runtime.GC() // so that it is what lives
		f, err := os.Create(filepath.Join(dir, fmt.Sprintf("heap-%03.0fm.pprof", time.Since(began).Minutes())))
		if err == nil {
			err = errors.Join(pprof.WriteHeapProfile(f), f.Close())
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "monitor: no profile:", err)
			return
		}
	}
}

// look reads what this process holds.
func look() (s sample) {
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}} // after the last collection
	metrics.Read(live)
	s.Heap, s.Goroutines = int64(live[0].Value.Uint64()), int64(runtime.NumGoroutine())
	status, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(status)) {
		if v, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, _ := strconv.ParseInt(strings.Fields(v)[0], 10, 64)
			s.RSS = kib << 10
		}
	}
	fds, _ := os.ReadDir("/proc/self/fdinfo")
	maps := map[string]bool{}
	for _, fd := range fds {
		info, err := os.ReadFile("/proc/self/fdinfo/" + fd.Name())
		if err != nil {
			continue // the folder's own
		}
		s.FDs++
		for line := range strings.Lines(string(info)) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
			switch value = strings.TrimSpace(value); {
			case name == "map_id":
				maps[value] = true
			case name == "link_type" && (value == "uprobe_multi" || value == "perf" || value == "perf_event"):
				s.Probes++
			}
		}
	}
	s.Maps = int64(len(maps))
	return s
}
