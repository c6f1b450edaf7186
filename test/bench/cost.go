package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// load is work whose time is taken with and without a monitor.
type load struct {
	what  string
	argv  []string
	dir   string
	bound float64
	// cpuBound holds the monitor's own processor time, as a share of one core; 0
	// is no bound.
	cpuBound float64
	// env is what this run adds to the environment, with what to do after it;
	// nil adds nothing.
	env func() ([]string, func(), error)
}

// cost measures each load twice over: by the clock, in rounds of not watched,
// watched, and beside an idle program; and by what the monitor and its programs
// in the kernel use of the processors, as a share of what the load itself uses,
// which does not depend on how the machine was just then.
func (s *suite) cost() error {
	s.section("Cost", `Time by the clock is a ratio, the median of the rounds with its bootstrap 95 % interval; each round runs the load not
watched, watched, and beside an idle program (the null pair: what the machine scatters with nothing to measure). It counts
as held when the interval's lower end is at or under the bound and the median at most .02 above it or inside the null
pair's interval. The floor is the load beside programs that do nothing at the hooks that the sensor needs: what this kernel
takes for asking at all. "Steady" is 1 plus the processor time of the BPF programs (kernel.bpf_stats) and of the monitor, as a
share of the processor time of the load.`,
		"load", "watched / not", "null pair", "floor", "bound", "held", "steady (programs, monitor)", "held")
	all, err := s.loads()
	if err != nil {
		return err
	}
	chosen, err := regexp.Compile(*loads)
	if err != nil {
		return fmt.Errorf("-loads: %w", err)
	}
	all = slices.DeleteFunc(all, func(l load) bool { return !chosen.MatchString(l.what) })
	if len(all) == 0 {
		return fmt.Errorf("-loads: %q is in the name of no load", *loads)
	}
	for _, l := range all {
		if err := s.costOf(l); err != nil {
			return fmt.Errorf("%s: %w", l.what, err)
		}
	}
	return nil
}

func (s *suite) loads() ([]load, error) {
	execs, files, seconds := 1500, 100_000, 5
	if *short {
		execs, files, seconds = 1000, 5000, 1
	}
	tree, find, err := s.tree(files)
	if err != nil {
		return nil, err
	}
	loads := []load{
		{what: fmt.Sprintf("exec storm (%d)", execs), argv: []string{s.storm, "exec", strconv.Itoa(execs)}, bound: 1.05},
		{what: fmt.Sprintf("`find / -xdev` with `grep` over %d files", files), argv: find, dir: tree, bound: 1.05},
	}
	if _, err := exec.LookPath("wrk"); err == nil {
		loads = append(loads, load{what: fmt.Sprintf("HTTP on loopback at full load (wrk, %d s, time a request)", seconds), argv: []string{s.storm, "http", strconv.Itoa(seconds)}, bound: 1.03},
			load{what: fmt.Sprintf("HTTP inside TLS on loopback at full load (wrk with OpenSSL, a server in Go, %d s, time a request)", seconds), argv: []string{s.storm, "https", strconv.Itoa(seconds)}, bound: 1.05})
	} else if !*short {
		return nil, errors.New("wrk is not there: apt-get install wrk")
	}
	if !*short {
		build, err := s.build()
		if err != nil {
			return nil, err
		}
		loads = append(loads, build)
	}
	return loads, nil
}

// tree writes n files of a kilobyte in folders of a thousand, and returns the
// command that finds them from the root of the file system and reads each.
func (s *suite) tree(n int) (string, []string, error) {
	tree := filepath.Join(s.dir, "tree")
	text := bytes.Repeat([]byte("nothing of what is looked for\n"), 34)
	for i := range n {
		sub := filepath.Join(tree, fmt.Sprint("d", i/1000))
		if i%1000 == 0 {
			if err := os.MkdirAll(sub, 0o755); err != nil {
				return "", nil, err
			}
		}
		if err := os.WriteFile(filepath.Join(sub, fmt.Sprint("f", i)), text, 0o644); err != nil {
			return "", nil, err
		}
	}
	var at, root unix.Stat_t
	if err := errors.Join(unix.Stat(tree, &at), unix.Stat("/", &root)); err != nil {
		return "", nil, err
	}
	from := "/"
	if at.Dev != root.Dev {
		from = tree
	}
	// grep finds nothing and ends with 1, xargs then with 123.
	script := `find "$1" -xdev -type f -path "$2/*" -print0 | xargs -0 grep -l no-such-word; test $? = 123`
	return tree, []string{"/bin/sh", "-c", script, "sh", from, tree}, nil
}

// build is the compilation of a real program, shfmt at the version of the
// library that we use, with the standard library compiled before.
func (s *suite) build() (load, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Version}}", "mvdan.cc/sh/v3").Output()
	if err != nil {
		return load{}, fmt.Errorf("run it in the project's folder: go list: %w", err)
	}
	version := strings.TrimSpace(string(out))
	src := filepath.Join(s.dir, "build")
	if err := os.MkdirAll(src, 0o755); err != nil {
		return load{}, err
	}
	mod := "module example.com/bench\n\ngo 1.26\n\nrequire mvdan.cc/sh/v3 " + version + "\n"
	if err := os.WriteFile(filepath.Join(src, "go.mod"), []byte(mod), 0o644); err != nil {
		return load{}, err
	}
	modules, err := exec.Command("go", "env", "GOMODCACHE").Output()
	if err != nil {
		return load{}, err
	}
	env := []string{"GOMODCACHE=" + strings.TrimSpace(string(modules)), "GOFLAGS=-mod=mod", "CGO_ENABLED=0"}
	compile := []string{"go", "build", "-o", os.DevNull, "mvdan.cc/sh/v3/cmd/shfmt"}
	std := filepath.Join(s.dir, "std")
	once := func(cache string, argv ...string) error {
		cmd := exec.Command(argv[0], argv[1:]...)
		cmd.Dir = src
		cmd.Env = append(append(os.Environ(), env...), "GOCACHE="+cache)
		if o, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%v: %w\n%s", argv, err, o)
		}
		return nil
	}
	// The first run fetches what is not there; the others stay off the network.
	fetched := filepath.Join(s.dir, "fetched")
	if err := errors.Join(once(std, "go", "build", "std"), once(fetched, compile...), os.RemoveAll(fetched)); err != nil {
		return load{}, err
	}
	env = append(env, "GOPROXY=off")
	return load{
		what: "`go build` of shfmt " + version + ", the standard library compiled before", argv: compile, dir: src,
		bound: 1.02, cpuBound: .02,
		env: func() ([]string, func(), error) {
			cache, err := os.MkdirTemp(s.dir, "cache-")
			if err != nil {
				return nil, nil, err
			}
			if err := os.CopyFS(filepath.Join(cache, "c"), os.DirFS(std)); err != nil {
				return nil, nil, err
			}
			return append(env, "GOCACHE="+filepath.Join(cache, "c")), func() { _ = os.RemoveAll(cache) }, nil
		},
	}, nil
}

func (s *suite) costOf(l load) error {
	ratios, cpu, err := s.rounds(*pairsN, s.plain(l), s.under(l), s.besideIdle(l), s.atFloor(l))
	if err != nil {
		return err
	}
	watched, null, floor := ratios[1], ratios[2], ratios[3]
	use, err := s.steady(l, cpu)
	if err != nil {
		return err
	}
	b := ""
	if !*short {
		b = fmt.Sprintf("≤ %.2f", l.bound)
	}
	share := fmt.Sprintf("%.3f (%.3f, %.3f)", 1+use.programs+use.monitor, use.programs, use.monitor)
	s.cells(l.what, watched.String(), null.String(), floor.String(), b, s.judge(l.what+" by the clock: "+watched.String(), b, watched.met(l.bound, null)),
		share, s.judge(l.what+", steady: "+share, b, 1+use.programs+use.monitor <= l.bound))
	if l.cpuBound > 0 {
		core := fmt.Sprintf("%.1f %%", 100*use.core)
		b := fmt.Sprintf("< %.0f %%", 100*l.cpuBound)
		s.cells("of this the monitor, of one core", core, "", "", b, s.judge("monitor's share of a core: "+core, b, use.core < l.cpuBound), "", "")
	}
	return nil
}

// plain runs a load with nothing beside it.
func (s *suite) plain(l load) func() (took, error) {
	return func() (took, error) {
		env, after, err := l.environment()
		if err != nil {
			return took{}, err
		}
		defer after()
		cmd := exec.Command(s.storm, append([]string{"time"}, l.argv...)...)
		cmd.Dir, cmd.Stderr = l.dir, os.Stderr
		cmd.Env = append(append(os.Environ(), "HOME="+s.home()), env...)
		o, err := cmd.Output()
		if err != nil {
			return took{}, fmt.Errorf("%v: %w", l.argv, err)
		}
		return parseTook(o)
	}
}

// under runs a load under the monitor; the time is that inside, without what
// the monitor takes to start and to judge.
func (s *suite) under(l load) func() (took, error) {
	return func() (took, error) {
		t, _, err := s.followed(l, nil)
		return t, err
	}
}

// besideIdle runs a load while an idle program stands where the monitor would.
func (s *suite) besideIdle(l load) func() (took, error) {
	run := s.plain(l)
	return func() (took, error) {
		idle := exec.Command(s.storm, "idle")
		if err := idle.Start(); err != nil {
			return took{}, err
		}
		defer func() {
			_ = idle.Process.Kill()
			_ = idle.Wait()
		}()
		return run()
	}
}

func (l load) environment() ([]string, func(), error) {
	if l.env == nil {
		return nil, func() {}, nil
	}
	return l.env()
}

func (s *suite) followed(l load, stats *programs) (took, *recorded, error) {
	env, after, err := l.environment()
	if err != nil {
		return took{}, nil, err
	}
	defer after()
	o, run, err := s.watchedIn(l.dir, env, "auto", stats, append([]string{s.storm, "time"}, l.argv...)...)
	if err != nil {
		return took{}, nil, err
	}
	defer os.RemoveAll(filepath.Dir(run.dir))
	t, err := parseTook(o)
	return t, run, err
}

// use is what watching takes of the processors.
type use struct {
	programs, monitor float64 // as a share of the load's processor time
	core              float64 // the monitor, as a share of one core
}

// steady is the median of five watched runs with the kernel's statistics of BPF
// programs on. They are not the runs whose time is taken: the statistics read
// the clock twice for each program that runs.
func (s *suite) steady(l load, cpu time.Duration) (use, error) {
	runs := 5
	if *short {
		runs = 1
	}
	var inKernel, own, core []float64
	for range runs {
		stats, err := newPrograms()
		if err != nil {
			return use{}, err
		}
		t, run, err := s.followed(l, stats)
		stats.close()
		if err != nil {
			return use{}, err
		}
		mon, bpf := run.between(t.from, t.to)
		inKernel = append(inKernel, float64(bpf)/float64(cpu))
		own = append(own, float64(mon)/float64(cpu))
		core = append(core, float64(mon)/float64(t.to-t.from))
	}
	return use{median(inKernel), median(own), median(core)}, nil
}

// parseTook reads what `storm time` prints after the output of the load.
func parseTook(o []byte) (took, error) {
	fields := map[string]int64{}
	for _, f := range strings.Fields(string(o)) {
		k, v, _ := strings.Cut(f, "=")
		if n, err := strconv.ParseInt(v, 10, 64); err == nil {
			fields[k] = n
		}
	}
	t := took{wall: time.Duration(fields["wall"]), cpu: time.Duration(fields["cpu"]), from: fields["from"], to: fields["to"]}
	if t.wall == 0 || t.from == 0 {
		return took{}, fmt.Errorf("no time was printed: %q", o)
	}
	// A run of fixed length is told by its requests.
	if n := fields["requests"]; n > 0 {
		t.wall /= time.Duration(n)
	}
	return t, nil
}
