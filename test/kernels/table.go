package main

import (
	"bytes"
	"fmt"
	"os/exec"
	"slices"
	"strings"

	"github.com/org/edamame-posture/pkg/probe"
	"github.com/org/edamame-posture/test/kernels/told"
)

// table is docs/kernels.md.
func table(results []*result) []byte {
	var b bytes.Buffer
	commit, _ := exec.Command("git", "rev-parse", "--short=12", "HEAD").Output()
	fmt.Fprintf(&b, `# Kernels

Made by `+"`make kernels`"+` at commit %s: Debian's kernels for virtual machines, each booted by qemu in software, where the
command ran with each sensor. What this machine allows is told by `+"`edamame-posture doctor`"+`: features are tried, versions are never
compared.

"Seen" is of %d acts each, done at the same time: programs executed, TCP connections of no duration, UDP datagrams from a socket each,
names looked up, opens of a credential file. "TLS": requests of a Go program read inside TLS. "Held": an exec of a setuid program
waited until what led to it was sealed; "too late" is longer than the 15 ms that it waits at most, by the emulated clock.
"Level" is the highest [level](gate.md#what-is-checked) that the kernel stands in the way of nothing of.

`, strings.TrimSpace(string(commit)), *count)
	row(&b, "kernel", "Debian", "processor", "sensor", "seen: execs, connections, datagrams, names, opens", "coverage", "with netlink alone: execs, connections", "TLS", "held", "level")
	row(&b, slices.Repeat([]string{"---"}, 10)...)
	for _, r := range results {
		row(&b, r.cells()...)
	}
	b.WriteString("\n" + preempting + "\n## What each has\n\n")
	row(&b, append([]string{"probe"}, each(results, (*result).name)...)...)
	row(&b, slices.Repeat([]string{"---"}, len(results)+1)...)
	for _, p := range probes(results) {
		if p.Name == "kernel" {
			continue
		}
		row(&b, append([]string{p.Title}, each(results, func(r *result) string { return r.probe(p.Name) })...)...)
	}
	b.WriteString("\n## What is not seen there, and why\n\nBesides what no kernel shows to the sensor: " + strings.Join(everywhere(results), "; ") + ".\n")
	for _, r := range results {
		fmt.Fprintf(&b, "\n%s (%s):\n\n", r.name(), r.target)
		for _, line := range r.unseen(everywhere(results)) {
			fmt.Fprintf(&b, "- %s\n", line)
		}
	}
	return b.Bytes()
}

// preempting is what was measured when three programs took the place of one.
const preempting = `7.2 and 7.3 may preempt the programs at the return of system calls, and run none of them anew meanwhile on that processor: three stand
there for each other. How many calls are told as lost is then at most, since the kernel counts for each program alone. One program alone
was skipped for 146 and 202 calls of such a storm; three were for 0 and 1, and on a machine under load for 19 and 196, though all acts were
seen. At 866d8108af16, where memory for a task's mark could be missing, 1 of 300 opens was once neither seen nor told on each.
`

func row(b *bytes.Buffer, cells ...string) { fmt.Fprintf(b, "| %s |\n", strings.Join(cells, " | ")) }

func each(results []*result, f func(*result) string) (cells []string) {
	for _, r := range results {
		cells = append(cells, f(r))
	}
	return cells
}

func (r *result) name() string {
	if r.image == nil {
		return "not to be had"
	}
	return r.release
}

// run is the first of a kind; nil where there was none or it came to nothing.
func (r *result) run(asked string, sealed bool) *told.Run {
	if r.booted == nil {
		return nil
	}
	for i := range r.runs {
		if run := &r.runs[i]; run.Asked == asked && run.Sealed == sealed && run.Err == "" {
			return run
		}
	}
	return nil
}

func (r *result) cells() []string {
	cells := []string{r.name(), r.suite, r.arch}
	auto, netlink, sealed := r.run("auto", false), r.run("netlink", false), r.run("auto", true)
	if auto == nil {
		return append(cells, "none: "+oneLine(fmt.Sprint(r.err)), "", "", "", "", "", "")
	}
	s := auto.Seen
	seen := fmt.Sprintf("%d, %d, %d, %d, %d", s.Execs, s.Connects, s.Sends, s.Names, s.Opens)
	if auto.Sensor != "ebpf" {
		seen = fmt.Sprintf("%d, %d", s.Execs, s.Connects)
	}
	coverage := fmt.Sprintf("%s, witness %s, %d lost", auto.State, auto.Witness, auto.Lost)
	cells = append(cells, auto.Sensor, seen, coverage)
	if netlink != nil {
		cells = append(cells, fmt.Sprintf("%d (of %d the program is not known), %d", netlink.Seen.Execs, netlink.Untold, netlink.Seen.Connects))
	} else {
		cells = append(cells, "")
	}
	level := "E2"
	switch {
	case sealed == nil:
		return append(cells, "", "", level)
	case sealed.Requests > 0:
		cells = append(cells, "yes")
	default:
		cells = append(cells, "no")
	}
	switch {
	case sealed.Held > 0:
		cells = append(cells, "yes")
	case sealed.Missed > 0:
		cells = append(cells, "too late")
	default:
		cells = append(cells, "no")
	}
	if auto.Sensor == "ebpf" && sealed.Held+sealed.Missed > 0 {
		level = "E4"
	}
	return append(cells, level)
}

// probes are those that any of the machines answered, in their order.
func probes(results []*result) []probe.Result {
	for _, r := range results {
		if r.booted != nil && r.guest != nil {
			return r.guest.Probes
		}
	}
	return nil
}

func (r *result) probe(name string) string {
	if r.booted == nil || r.guest == nil {
		return ""
	}
	for _, p := range r.guest.Probes {
		if p.Name == name {
			if p.OK {
				return oneLine("yes " + p.Detail)
			}
			return "no: " + oneLine(p.Detail)
		}
	}
	return ""
}

// everywhere is what is not seen with eBPF on any of them.
func everywhere(results []*result) (all []string) {
	first := true
	for _, r := range results {
		run := r.run("auto", false)
		if run == nil || run.Sensor != "ebpf" {
			continue
		}
		if first {
			all, first = slices.Clone(run.Unseen), false
			continue
		}
		all = slices.DeleteFunc(all, func(s string) bool { return !slices.Contains(run.Unseen, s) })
	}
	return all
}

func (r *result) unseen(everywhere []string) (lines []string) {
	run := r.run("auto", false)
	if run == nil {
		return []string{"it did not run: " + oneLine(fmt.Sprint(r.err))}
	}
	for _, s := range append(slices.Clone(run.Unseen), run.Gaps...) {
		if run.Sensor != "ebpf" || !slices.Contains(everywhere, s) {
			lines = append(lines, oneLine(s))
		}
	}
	if lines == nil {
		lines = []string{"nothing else"}
	}
	return lines
}

// oneLine is a text for a cell of a table.
func oneLine(s string) string {
	s = strings.Join(strings.Fields(strings.ReplaceAll(s, "|", "/")), " ")
	const most = 300
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}
