// Command bench measures what watching costs and how much is seen, in pairs
// with and without the monitor in one run, and writes the table of RESULTS.md.
// It needs root and a quiet machine. `-short` is what `make check` runs: it
// checks completeness and the fixed bounds, and takes too few pairs to say
// anything about cost.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

var (
	short  = flag.Bool("short", false, "completeness and few pairs, no file written")
	pairsN = flag.Int("pairs", 15, "interleaved pairs for each ratio")
	only   = flag.String("only", "", "parts to run, of completeness,cost; nothing is written then")
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
}

func bench() error {
	dir, err := os.MkdirTemp("", "posture-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	s := &suite{dir: dir, posture: filepath.Join(dir, "edamame-posture"), storm: filepath.Join(dir, "storm")}
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
		{"cost", []func() error{s.size, s.arming, s.execCost, s.buildCost}},
	}
	chosen := strings.Split(*only, ",")
	for _, name := range chosen {
		if *only != "" && name != "completeness" && name != "cost" {
			return fmt.Errorf("-only takes completeness and cost, not %q", name)
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
	if *out != "" && !*short && *only == "" {
		if err := os.WriteFile(*out, s.table.Bytes(), 0o644); err != nil {
			return err
		}
	}
	if len(s.failed) > 0 {
		return errors.New("outside its bound: " + strings.Join(s.failed, "; "))
	}
	return nil
}

// row adds a line to the table. A row without a bound is told, not judged.
func (s *suite) row(what, measured, bound string, ok bool) {
	verdict := ""
	if bound != "" {
		verdict = "yes"
		if !ok {
			verdict = "**no**"
			s.failed = append(s.failed, what+": "+measured)
		}
	}
	fmt.Fprintf(&s.table, "| %s | %s | %s | %s |\n", what, measured, bound, verdict)
	fmt.Printf("%-58s %-44s %-12s %s\n", what, measured, bound, verdict)
}

func (s *suite) header() {
	commit, _ := exec.Command("git", "rev-parse", "--short=12", "HEAD").Output()
	var uts unix.Utsname
	_ = unix.Uname(&uts)
	fmt.Fprintf(&s.table, `# Results

Made by `+"`make bench`"+` at commit %s.
Machine: %s, Linux %s, %d cores (%s), %s. Others run on it too: read the ratios, not the times.
A ratio is the median over %d interleaved pairs, with its bootstrap 95 %% interval; in a null pair an idle program stands
instead of the monitor: it shows what the machine itself scatters.

| what | measured | bound | held |
|---|---|---|---|
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

func (s *suite) execsSeen() error {
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

func (s *suite) execCost() error {
	execs := 3000
	if *short {
		execs = 1000
	}
	plain := func() (time.Duration, error) { return s.timed(s.storm, "exec", strconv.Itoa(execs)) }
	idle := s.besideIdle(plain)
	with := func() (time.Duration, error) { return s.within("exec", strconv.Itoa(execs)) }
	null, err := pairs(*pairsN, plain, idle)
	if err != nil {
		return err
	}
	s.row(fmt.Sprintf("exec storm (%d), null pair", execs), null.String(), "", true)
	r, err := pairs(*pairsN, plain, with)
	if err != nil {
		return err
	}
	s.row(fmt.Sprintf("exec storm (%d), watched / not", execs), r.String(), bound("≤ 1.10"), *short || r.median <= 1.10)
	return nil
}

// besideIdle runs a load while an idle program stands where the monitor would.
func (s *suite) besideIdle(load func() (time.Duration, error)) func() (time.Duration, error) {
	return func() (time.Duration, error) {
		idle := exec.Command(s.storm, "idle")
		if err := idle.Start(); err != nil {
			return 0, err
		}
		defer func() {
			_ = idle.Process.Kill()
			_ = idle.Wait()
		}()
		return load()
	}
}

func bound(b string) string {
	if *short {
		return ""
	}
	return b
}

func (s *suite) buildCost() error {
	if *short {
		return nil
	}
	src := filepath.Join(s.dir, "build")
	if err := buildProject(src); err != nil {
		return err
	}
	build := func(prefix ...string) func() (time.Duration, error) {
		return func() (time.Duration, error) {
			cache, err := os.MkdirTemp(s.dir, "cache-")
			if err != nil {
				return 0, err
			}
			defer os.RemoveAll(cache)
			argv := append(prefix, "go", "build", "-o", os.DevNull, ".")
			cmd := exec.Command(argv[0], argv[1:]...)
			cmd.Dir = src
			cmd.Env = append(os.Environ(), "GOCACHE="+cache, "GOFLAGS=-mod=mod", "CGO_ENABLED=0")
			if len(prefix) > 0 {
				// The time inside: what the monitor needs to start and to judge
				// is told apart.
				cmd.Args = append(slices.Clone(prefix), s.storm, "time", "go", "build", "-o", os.DevNull, ".")
			} else {
				cmd.Args = []string{s.storm, "time", "go", "build", "-o", os.DevNull, "."}
			}
			cmd.Path = cmd.Args[0]
			o, err := cmd.Output()
			if err != nil {
				return 0, fmt.Errorf("%v: %w", cmd.Args, err)
			}
			return parseNs(o)
		}
	}
	plain := build()
	with := build(s.posture, "run", "--quiet", "--out", filepath.Join(s.dir, "out-build"), "--")
	null, err := pairs(*pairsN, plain, s.besideIdle(plain))
	if err != nil {
		return err
	}
	s.row("`go build` from an empty cache, null pair", null.String(), "", true)
	r, err := pairs(*pairsN, plain, with)
	if err != nil {
		return err
	}
	s.row("`go build` from an empty cache, watched / not", r.String(), "≤ 1.03", r.median <= 1.03)
	return nil
}

// parseNs reads the first number of what `storm time` prints: the time on the
// clock; the second is that of the processors.
func parseNs(o []byte) (time.Duration, error) {
	f := strings.Fields(string(o))
	if len(f) == 0 {
		return 0, errors.New("no time was printed")
	}
	ns, err := strconv.ParseInt(f[0], 10, 64)
	return time.Duration(ns), err
}

// buildProject writes a small program over a part of the standard library that
// needs some seventy compilations.
func buildProject(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	mod := "module example.com/bench\n\ngo 1.26\n"
	src := "package main\n\nimport (\n\t\"encoding/json\"\n\t\"fmt\"\n\t\"os\"\n\t\"text/template\"\n)\n\nfunc main() {\n\t_ = template.New\n\tfmt.Println(json.NewEncoder(os.Stdout))\n}\n"
	return errors.Join(
		os.WriteFile(filepath.Join(dir, "go.mod"), []byte(mod), 0o644),
		os.WriteFile(filepath.Join(dir, "main.go"), []byte(src), 0o644),
	)
}

// timed runs the storm alone; it prints the nanoseconds of its own work.
func (s *suite) timed(name string, args ...string) (time.Duration, error) {
	o, err := exec.Command(s.storm, append([]string{"time", name}, args...)...).Output()
	if err != nil {
		return 0, err
	}
	return parseNs(o)
}

// within runs the same under the monitor, and returns the time inside.
func (s *suite) within(args ...string) (time.Duration, error) {
	o, _, err := s.watched("auto", append([]string{s.storm, "time", s.storm}, args...)...)
	if err != nil {
		return 0, err
	}
	return parseNs(o)
}

// recorded is one watched run.
type recorded struct {
	dir string
	rss float64 // MiB, the monitor's peak
}

// watched runs a command under the monitor and follows the monitor's memory.
func (s *suite) watched(sensor string, argv ...string) ([]byte, *recorded, error) {
	dir, err := os.MkdirTemp(s.dir, "out-")
	if err != nil {
		return nil, nil, err
	}
	args := append([]string{"run", "--quiet", "--sensor", sensor, "--out", filepath.Join(dir, "p"), "--"}, argv...)
	cmd := exec.Command(s.posture, args...)
	cmd.Env = append(os.Environ(), "HOME="+s.home())
	var stdout bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		return nil, nil, err
	}
	stop, peak := make(chan struct{}), make(chan float64)
	go func() { peak <- peakRSS(cmd.Process.Pid, stop) }()
	err = cmd.Wait()
	close(stop)
	rss := <-peak
	if err != nil {
		return nil, nil, fmt.Errorf("%v: %w", args, err)
	}
	return stdout.Bytes(), &recorded{filepath.Join(dir, "p"), rss}, nil
}

// peakRSS follows VmHWM of the monitor, which is a child of run.
func peakRSS(run int, stop chan struct{}) float64 {
	var peak float64
	t := time.NewTicker(20 * time.Millisecond)
	defer t.Stop()
	for {
		select {
		case <-stop:
			return peak
		case <-t.C:
		}
		kids, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", run, run))
		if err != nil || len(kids) == 0 {
			// The monitor may be another thread's child.
			tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", run))
			for _, f := range tasks {
				b, _ := os.ReadFile(f)
				kids = append(kids, b...)
			}
		}
		for _, pid := range strings.Fields(string(kids)) {
			cmdline, err := os.ReadFile("/proc/" + pid + "/cmdline")
			if err != nil || !bytes.Contains(cmdline, []byte("\x00monitor\x00")) {
				continue
			}
			status, err := os.ReadFile("/proc/" + pid + "/status")
			if err != nil {
				continue
			}
			for line := range strings.Lines(string(status)) {
				if v, ok := strings.CutPrefix(line, "VmHWM:"); ok {
					kb, _ := strconv.ParseFloat(strings.Fields(v)[0], 64)
					peak = max(peak, kb/1024)
				}
			}
		}
	}
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
func (r *recorded) lost() uint64 {
	b, err := os.ReadFile(filepath.Join(r.dir, "verdict.json"))
	if err != nil {
		return 0
	}
	var v struct{ Coverage struct{ Lost uint64 } }
	_ = json.Unmarshal(b, &v)
	return v.Coverage.Lost
}

func (r *recorded) coverage() string {
	b, err := os.ReadFile(filepath.Join(r.dir, "verdict.json"))
	if err != nil {
		return err.Error()
	}
	var v struct {
		Coverage struct {
			State, Witness string
			Events, Lost   uint64
		}
	}
	if err := json.Unmarshal(b, &v); err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%s, witness %s, %d events, %d lost", v.Coverage.State, v.Coverage.Witness, v.Coverage.Events, v.Coverage.Lost)
}

// ratio is a median with its bootstrap 95 % interval.
type ratio struct {
	median, low, high float64
	n                 int
}

func (r ratio) String() string {
	return fmt.Sprintf("%.3f [%.3f..%.3f] n=%d", r.median, r.low, r.high, r.n)
}

// pairs measures a and b in turn, the order alternating, and returns b/a.
func pairs(n int, a, b func() (time.Duration, error)) (ratio, error) {
	var rs []float64
	for i := range n {
		first, second := a, b
		if i%2 == 1 {
			first, second = b, a
		}
		x, err := first()
		if err != nil {
			return ratio{}, err
		}
		y, err := second()
		if err != nil {
			return ratio{}, err
		}
		if i%2 == 1 {
			x, y = y, x
		}
		rs = append(rs, float64(y)/float64(x))
	}
	rng := rand.New(rand.NewPCG(1, 2))
	medians := make([]float64, 2000)
	sample := make([]float64, len(rs))
	for i := range medians {
		for j := range sample {
			sample[j] = rs[rng.IntN(len(rs))]
		}
		medians[i] = median(sample)
	}
	slices.Sort(medians)
	return ratio{median(rs), medians[len(medians)*25/1000], medians[len(medians)*975/1000], n}, nil
}

func median(xs []float64) float64 {
	s := slices.Sorted(slices.Values(xs))
	if len(s)%2 == 1 {
		return s[len(s)/2]
	}
	return (s[len(s)/2-1] + s[len(s)/2]) / 2
}

func boottime() int64 {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts)
	return ts.Nano()
}
