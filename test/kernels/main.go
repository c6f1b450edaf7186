// Command kernels boots kernels of Debian's releases, each in a machine that is
// emulated in software, runs the command there with each sensor, and holds what
// a storm did against the evidence. It writes the table of docs/kernels.md.
//
// It needs Debian's apt, qemu-system-x86_64, and for arm64 qemu-system-aarch64.
// Packages of kernels are downloaded and taken apart, nothing is installed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"time"

	"golang.org/x/sys/unix"

	"github.com/org/edamame-posture/test/kernels/told"
)

var (
	out   = flag.String("out", "", "write the table to this file")
	only  = flag.String("only", "", "boot only kernels whose suite/processor this expression matches")
	count = flag.Int("count", 300, "how often a storm does each of its acts")
	show  = flag.Bool("console", false, "print what each machine printed")
)

// bootWithin is how long one machine may take; two minutes of a processor do.
const bootWithin = 40 * time.Minute

// target is a kernel to try and the sensor that `auto` must come to there.
type target struct{ suite, arch, sensor string }

func (t target) String() string { return t.suite + "/" + t.arch }

var targets = []target{
	{"bullseye", "amd64", "netlink"}, // 5.10 has no bpf_loop
	{"bookworm", "amd64", "ebpf"},
	{"bookworm-backports", "amd64", "ebpf"},
	{"trixie", "amd64", "ebpf"},
	{"trixie-backports", "amd64", "ebpf"},
	{"testing", "amd64", "ebpf"},
	{"bookworm", "arm64", "ebpf"},
	{"trixie", "arm64", "ebpf"},
}

// cache is where the parts of packages are kept, beside the other things that
// tests download.
const cache = ".tools/kernels"

func main() {
	flag.Parse()
	if err := kernels(); err != nil {
		fmt.Fprintln(os.Stderr, "kernels:", err)
		os.Exit(1)
	}
}

// result is a target with what became of it.
type result struct {
	target
	*image
	*booted
	err error
}

func kernels() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	defer stop()
	chosen, err := regexp.Compile(*only)
	if err != nil {
		return fmt.Errorf("-only: %w", err)
	}
	kept, err := filepath.Abs(cache)
	if err != nil {
		return err
	}
	var suites []string
	seen := map[string]bool{}
	for _, t := range targets {
		if !seen[t.suite] {
			suites = append(suites, t.suite)
		}
		seen[t.suite] = true
	}
	from := releases(kept, suites)
	dir, err := os.MkdirTemp("", "posture-kernels-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	built := map[string]*programs{}
	var results []*result
	var failed error
	for _, t := range targets {
		if !chosen.MatchString(t.String()) {
			continue
		}
		r := &result{target: t}
		results = append(results, r)
		if _, r.err = exec.LookPath(machines[t.arch].qemu); r.err == nil {
			r.image, r.err = from.fetch(ctx, t.suite, t.arch)
		}
		if r.err == nil && built[t.arch] == nil {
			built[t.arch], r.err = build(ctx, dir, t.arch)
		}
		if r.err == nil {
			within, cancel := context.WithTimeout(ctx, bootWithin)
			plan := &told.Plan{Count: *count, Sensors: []string{"auto", "ebpf", "netlink"}, Sealed: true}
			r.booted, r.err = try(within, dir, r.image, t.arch, built[t.arch], plan)
			cancel()
		}
		if r.err == nil {
			r.err = r.check(t.sensor)
		}
		r.print()
		if r.err != nil {
			failed = errors.Join(failed, fmt.Errorf("%s: %w", t, r.err))
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	if *out != "" {
		if err := os.WriteFile(*out, table(results), 0o644); err != nil {
			return err
		}
	}
	return failed
}

// try boots a kernel with a plan.
func try(ctx context.Context, dir string, img *image, arch string, p *programs, plan *told.Plan) (*booted, error) {
	files, err := initramfs(p, arch, img.modules, plan)
	if err != nil {
		return nil, err
	}
	return boot(ctx, dir, arch, img.kernel, files)
}

// check returns what is wrong with what a machine told: want is the sensor that
// auto is to come to there.
func (b *booted) check(want string) (wrong error) {
	add := func(format string, args ...any) { wrong = errors.Join(wrong, fmt.Errorf(format, args...)) }
	if b.guest == nil || len(b.runs) == 0 {
		return errors.New("the machine told nothing")
	}
	for _, p := range b.guest.Problems {
		add("the machine: %s", p)
	}
	for i := range b.runs {
		r := &b.runs[i]
		name := "sensor " + r.Asked
		if r.Sealed {
			name += ", sealed"
		}
		expected := r.Asked
		if expected == "auto" {
			expected = want
		}
		if r.Asked == "ebpf" && want != "ebpf" {
			if r.Err == "" {
				add("%s: it ran, where the kernel is not known to have what it needs", name)
			}
			continue
		}
		if r.Err != "" {
			add("%s: %s", name, r.Err)
			continue
		}
		if r.Sensor != expected {
			add("%s: %s watched, not %s", name, r.Sensor, expected)
		}
		if r.Sealed && r.Sensor == "ebpf" && r.Requests == 0 {
			add("%s: no request inside TLS was read", name)
		}
		if r.Sealed && r.Held+r.Missed == 0 {
			add("%s: the way to root was not seen to be held", name)
		}
		if missing := missingOf(r); missing > 0 && uint64(missing) > r.Lost {
			add("%s: %d acts of %+v neither seen nor told as lost: %+v", name, missing, r.Did, r.Seen)
		}
	}
	return wrong
}

// missingOf is how many acts that its sensor sees on any kernel a run lacks.
func missingOf(r *told.Run) int {
	n := max(0, r.Did.Execs-r.Seen.Execs)
	if r.Sensor == "ebpf" {
		for _, of := range [][2]int{{r.Did.Connects, r.Seen.Connects}, {r.Did.Sends, r.Seen.Sends}, {r.Did.Names, r.Seen.Names}, {r.Did.Opens, r.Seen.Opens}} {
			n += max(0, of[0]-of[1])
		}
	}
	return n
}

// print says in a few lines what became of a kernel.
func (r *result) print() {
	fmt.Printf("%s", r.target)
	if r.image != nil {
		fmt.Printf(": %s (%s)", r.release, r.version)
	}
	if r.booted != nil {
		fmt.Printf(", %.0f s, %.0f s of the processors", r.took.Seconds(), r.cpu.Seconds())
		if *show {
			fmt.Printf("\n%s", r.console)
		}
		for i := range r.runs {
			fmt.Printf("\n  %+v", r.runs[i])
		}
	}
	fmt.Println()
	if r.err != nil {
		fmt.Printf("  NOT AS WANTED: %v\n", r.err)
	}
}
