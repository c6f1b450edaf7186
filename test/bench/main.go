// Command bench measures what watching costs and how much is seen, in pairs
// with and without the monitor in one run, and writes the table of RESULTS.md.
// It needs root and a quiet machine. `-short` is what `make check` runs: it
// checks completeness and the fixed bounds, and takes too few pairs to say
// anything about cost.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

var (
	short  = flag.Bool("short", false, "completeness and few pairs, no file written")
	pairsN = flag.Int("pairs", 15, "interleaved pairs for each ratio")
	only   = flag.String("only", "", "parts to run, of completeness,size,seal,cost,beside; nothing is written then")
	loads  = flag.String("loads", "", "of the part cost only the loads whose name this expression matches; nothing is written then")
	out    = flag.String("out", "", "write the table to this file")
)

func main() {
	flag.Parse()
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "bench: watching from the kernel needs root: sudo make bench")
		os.Exit(2)
	}
	if *short {
		*pairsN = 3
	}
	if err := bench(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// suite is where one run of the benchmark keeps its programs and results.
type suite struct {
	dir, posture, storm string
	table               bytes.Buffer
	failed              []string
	sealed              bool // what is watched is watched with --seal
	// interrupted ends the rounds, so that what was changed on the machine is
	// put back.
	interrupted context.Context
}

func bench() error {
	dir, err := os.MkdirTemp("", "posture-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	interrupted, free := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	defer free()
	s := &suite{interrupted: interrupted, dir: dir, posture: filepath.Join(dir, "edamame-posture"), storm: filepath.Join(dir, "storm")}
	for bin, pkg := range map[string]string{s.posture: "./cmd/edamame-posture", s.storm: "./test/bench/storm"} {
		cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", bin, pkg)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if o, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("go build %s: %w\n%s", pkg, err, o)
		}
	}
	s.header()
	parts := []struct {
		name  string
		steps []func() error
	}{
		{"completeness", []func() error{s.execsSeen, s.connectsSeen, s.loadsSeen}},
		{"size", []func() error{s.size, s.arming, s.memory}},
		{"seal", []func() error{s.checkpoints, s.barrier, s.lines, s.attested}},
		{"cost", []func() error{s.cost}},
		{"beside", []func() error{s.beside}},
	}
	chosen := strings.Split(*only, ",")
	for _, name := range chosen {
		if *only != "" && !slices.Contains([]string{"completeness", "size", "seal", "cost", "beside"}, name) {
			return fmt.Errorf("-only takes completeness, size, seal, cost and beside, not %q", name)
		}
	}
	for _, part := range parts {
		if *only != "" && !slices.Contains(chosen, part.name) {
			continue
		}
		for _, step := range part.steps {
			if err := step(); err != nil {
				return err
			}
		}
	}
	if *out != "" && !*short && *only == "" && *loads == "" {
		if err := os.WriteFile(*out, s.table.Bytes(), 0o644); err != nil {
			return err
		}
	}
	if len(s.failed) > 0 {
		return errors.New("outside its bound: " + strings.Join(s.failed, "; "))
	}
	return nil
}

// section starts a part of the results with a table of its own.
func (s *suite) section(title, text string, columns ...string) {
	fmt.Fprintf(&s.table, "\n## %s\n\n", title)
	if text != "" {
		fmt.Fprintf(&s.table, "%s\n\n", text)
	}
	fmt.Printf("\n%s\n", title)
	s.cells(columns...)
	fmt.Fprintf(&s.table, "|%s\n", strings.Repeat("---|", len(columns)))
}

func (s *suite) cells(cells ...string) {
	fmt.Fprintf(&s.table, "| %s |\n", strings.Join(cells, " | "))
	fmt.Println(strings.Join(cells, " | "))
}

// judge says whether a bound held. What has none is told, not judged.
func (s *suite) judge(what, bound string, held bool) string {
	switch {
	case bound == "":
		return ""
	case held:
		return "yes"
	}
	s.failed = append(s.failed, what)
	return "**no**"
}

// row adds a line to a table of what, measured, bound and held.
func (s *suite) row(what, measured, bound string, ok bool) {
	s.cells(what, measured, bound, s.judge(what+": "+measured, bound, ok))
}

func (s *suite) header() {
	commit, _ := exec.Command("git", "rev-parse", "--short=12", "HEAD").Output()
	var uts unix.Utsname
	_ = unix.Uname(&uts)
	fmt.Fprintf(&s.table, `# Results

Made by `+"`make bench`"+` at commit %s.
Machine: %s, Linux %s, %d cores (%s), %s. Others run on it too: read the ratios, not the times.
A ratio is the median over %d interleaved rounds.
`, strings.TrimSpace(string(commit)), "virtual", unix.ByteSliceToString(uts.Release[:]), runtime.NumCPU(), cpuModel(), runtime.Version(), *pairsN)
}

func cpuModel() string {
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown"
	}
	for line := range strings.Lines(string(info)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}

func (s *suite) size() error {
	s.section("Size", "", "what", "measured", "bound", "held")
	st, err := os.Stat(s.posture)
	if err != nil {
		return err
	}
	mb := float64(st.Size()) / 1e6
	s.row("stripped binary", fmt.Sprintf("%.1f MB", mb), "< 35 MB", mb < 35)
	return nil
}

// arming measures from the start of `run` until the command it runs is alive,
// which is after the monitor was armed.
func (s *suite) arming() error {
	var ms []float64
	for range 15 {
		before := boottime()
		o, _, err := s.watched("auto", s.storm, "now")
		if err != nil {
			return err
		}
		at, err := strconv.ParseInt(strings.TrimSpace(string(o)), 10, 64)
		if err != nil {
			return fmt.Errorf("storm now: %w", err)
		}
		ms = append(ms, float64(at-before)/1e6)
	}
	slices.Sort(ms)
	med := ms[len(ms)/2]
	s.row("start of `run` to the command's first instructions", fmt.Sprintf("%.0f ms (worst of %d: %.0f)", med, len(ms), ms[len(ms)-1]), bound("200 ms"), *short || med <= 200)
	return nil
}

// memory is the monitor's resident memory, shared pages too: beside nothing to
// watch, and after a million events.
func (s *suite) memory() error {
	connects, want := 350_000, 1_000_000
	if *short {
		connects, want = 10_000, 25_000
	}
	_, idle, err := s.watched("auto", "sleep", "3")
	if err != nil {
		return err
	}
	if len(idle.samples) == 0 {
		return errors.New("the monitor was not found among the children of run")
	}
	now := idle.at(idle.samples[0].at + 2_500_000_000).rss
	s.row("monitor's RSS, idle", fmt.Sprintf("%.1f MiB", now), bound("≤ 40 MiB"), now <= 40)
	o, run, err := s.watched("auto", s.storm, "time", s.storm, "connect", strconv.Itoa(connects))
	if err != nil {
		return err
	}
	t, err := parseTook(o)
	if err != nil {
		return err
	}
	events := run.events()
	if events < uint64(want) {
		return fmt.Errorf("%d connections gave %d events, not %d", connects, events, want)
	}
	s.row(fmt.Sprintf("monitor's RSS after %d events", events), fmt.Sprintf("%.1f MiB, peak with the closing %.1f", run.at(t.to).rss, run.rss), bound("≤ 80 MiB"), run.rss <= 80)
	return nil
}

func (s *suite) execsSeen() error {
	s.section("Completeness", "", "what", "measured", "bound", "held")
	n := 20000
	if *short {
		n = 2000
	}
	for _, sensor := range []string{"ebpf", "netlink"} {
		_, run, err := s.watched(sensor, s.storm, "exec", strconv.Itoa(n))
		if err != nil {
			return err
		}
		seen, argv, exe, lineage, cut := 0, 0, 0, 0, 0
		parents := map[string]bool{}
		names := map[string]bool{}
		err = run.each(func(e map[string]any) {
			switch e["kind"] {
			case "exec":
				a, _ := e["argv"].([]any)
				if x, _ := e["exe"].(string); strings.HasSuffix(x, "/true") || len(a) == 2 && a[0] == "true" || e["filename"] == "/bin/true" {
					seen++
					if x != "" {
						exe++
					}
					if len(a) == 2 {
						names[fmt.Sprint(a[1])] = true
					} else {
						cut++
					}
					if parents[actorPID(e)] {
						lineage++
					}
				} else if x == "" && len(a) == 0 {
					seen++
					cut++
					if parents[actorPID(e)] {
						lineage++
					}
				}
			case "fork":
				parents[actorPID(e)] = e["parent"] != nil
			}
		})
		if err != nil {
			return err
		}
		argv = len(names)
		s.row(fmt.Sprintf("execs seen of %d back to back, sensor %s", n, sensor), fmt.Sprintf("%d, each with its fork: %d", seen, lineage), "100 %", seen == n && lineage == n)
		if sensor == "ebpf" {
			s.row("of these with their own distinct arguments", strconv.Itoa(argv), "100 %", argv == n)
			s.row("of these with the path of the program", strconv.Itoa(exe), "100 %", exe == n)
		} else {
			s.row("of these with their own distinct arguments", fmt.Sprintf("%d; %d told as missing", argv, cut), "all told", argv+cut == n)
		}
		s.row("coverage and loss", run.coverage(), "", true)
		s.row("monitor's peak RSS, sensor "+sensor, fmt.Sprintf("%.1f MiB", run.rss), "< 64 MiB", run.rss < 64)
	}
	return nil
}

func actorPID(e map[string]any) string {
	a, _ := e["actor"].(map[string]any)
	return fmt.Sprint(a["pid"], "@", a["start"])
}

func (s *suite) connectsSeen() error {
	n := 20000
	if *short {
		n = 2000
	}
	for _, sensor := range []string{"ebpf", "netlink"} {
		_, run, err := s.watched(sensor, s.storm, "connect", strconv.Itoa(n))
		if err != nil {
			return err
		}
		seen, flows := 0, 0
		if err := run.each(func(e map[string]any) {
			switch {
			case e["kind"] == "connect" && e["proto"] == "tcp":
				seen++
			case e["kind"] == "flow" && e["ok"] == true:
				flows++
			}
		}); err != nil {
			return err
		}
		bound := ""
		if sensor == "ebpf" {
			bound = "100 %"
		}
		s.row(fmt.Sprintf("TCP connections of 0 ms seen of %d, sensor %s", n, sensor), fmt.Sprintf("%d (%d closes)", seen, flows), bound, seen == n)
		s.row("monitor's peak RSS, sensor "+sensor, fmt.Sprintf("%.1f MiB", run.rss), "< 64 MiB", run.rss < 64)
	}
	return nil
}

func bound(b string) string {
	if *short {
		return ""
	}
	return b
}

func boottime() int64 {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts)
	return ts.Nano()
}
