// Command corpus does what attacks on build machines did, harmlessly, and what
// ordinary jobs do that looks alike, under the real monitor, and holds what it
// finds against what each case says must be found. It needs root. README.md
// tells how a case is written; `make corpus` runs each case once and writes
// CORPUS.md.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

var (
	runs    = flag.Int("runs", 1, "how often each case of the benign corpus is run")
	only    = flag.String("only", "", "run the cases alone whose folder's name matches; nothing is written then")
	sensors = flag.String("sensor", "ebpf,netlink", "sensors that attacks are run under, the first of which must find them")
	out     = flag.String("out", "", "write the table to this file")
	keep    = flag.String("keep", "", "leave each run's evidence and verdict in a folder of this one")
	verbose = flag.Bool("v", false, "show what each job logged and each finding")
)

func main() {
	flag.Parse()
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "corpus: watching from the kernel needs root: sudo make corpus")
		os.Exit(2)
	}
	if err := corpus(); err != nil {
		fmt.Fprintln(os.Stderr, "corpus:", err)
		os.Exit(1)
	}
}

func corpus() error {
	attacks, err := load("test/attacks", attackFile)
	if err != nil {
		return err
	}
	benign, err := load("test/benign", benignFile)
	if err != nil {
		return err
	}
	if *only != "" {
		chosen, err := regexp.Compile("^(" + *only + ")$")
		if err != nil {
			return err
		}
		other := func(c *scenario) bool { return !chosen.MatchString(c.ID) }
		attacks, benign = slices.DeleteFunc(attacks, other), slices.DeleteFunc(benign, other)
	}
	ctx, free := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	defer free()
	m, err := newMachine()
	defer m.close()
	if err != nil {
		return err
	}
	r := &results{sensors: strings.Split(*sensors, ",")}
	for _, c := range attacks {
		if lacks := c.lacks(); lacks != "" {
			r.skip(c, lacks)
			continue
		}
		row := &attackRow{c: c}
		for _, sensor := range r.sensors {
			o, err := m.run(ctx, c, sensor)
			if err != nil {
				return fmt.Errorf("%s under %s: %w", c.ID, sensor, err)
			}
			row.runs = append(row.runs, o)
		}
		r.attack(row)
	}
	for _, c := range benign {
		if lacks := c.lacks(); lacks != "" {
			r.skip(c, lacks)
			continue
		}
		row := &benignRow{c: c}
		for range *runs {
			o, err := m.run(ctx, c, r.sensors[0])
			if err != nil {
				return fmt.Errorf("%s: %w", c.ID, err)
			}
			row.runs = append(row.runs, o)
		}
		r.benign(row)
	}
	if *out != "" && *only == "" {
		if err := os.WriteFile(*out, []byte(r.markdown()), 0o644); err != nil {
			return err
		}
	}
	r.summary()
	if len(r.failed) > 0 {
		return fmt.Errorf("%d cases are not as they should be", len(r.failed))
	}
	return nil
}

// lacks names a program that the case needs and the machine does not have.
func (c *scenario) lacks() string {
	for _, p := range c.Needs {
		if _, err := exec.LookPath(p); err != nil {
			return p
		}
	}
	return ""
}
