package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// tally is what one log says of a storm's work.
type tally struct {
	execs, connects, sends, opens int
	names                         map[string]bool
}

func (r *recorded) tally(file string) (tally, error) {
	t := tally{names: map[string]bool{}}
	err := r.each(func(e map[string]any) {
		count := 1
		if c, ok := e["count"].(float64); ok {
			count = int(c)
		}
		switch e["kind"] {
		case "exec":
			if a, _ := e["argv"].([]any); len(a) == 2 && a[0] == "true" {
				t.execs++
			}
		case "connect":
			if e["proto"] == "tcp" {
				t.connects += count
			}
		case "send":
			// The responder's answers are sends to the asker; theirs have no
			// one byte for each.
			if sent, _ := e["sent"].(float64); e["proto"] == "udp" && int(sent) == count {
				t.sends += count
			}
		case "dns":
			if name, _ := e["name"].(string); strings.HasSuffix(name, ".bench.example") {
				t.names[name] = true
			}
		case "open":
			// Those that were folded have no path, but the class.
			if e["path"] == file || e["path"] == nil && e["class"] == "aws" {
				t.opens += count
			}
		}
	})
	return t, err
}

// loadsSeen holds each load at full rate against the evidence of the eBPF
// sensor. A shortfall that is told as lost in full is shown and passes.
func (s *suite) loadsSeen() error {
	n := 20000
	if *short {
		n = 2000
	}
	file := filepath.Join(s.home(), ".aws", "credentials")
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(file, []byte("canary\n"), 0o600); err != nil {
		return err
	}
	count := strconv.Itoa(n)
	type counted struct {
		what string
		seen func(tally) int
	}
	execs := counted{"execs", func(t tally) int { return t.execs }}
	connects := counted{"TCP connects", func(t tally) int { return t.connects }}
	sends := counted{"UDP sends", func(t tally) int { return t.sends }}
	names := counted{"DNS lookups", func(t tally) int { return len(t.names) }}
	opens := counted{"opens of a watched file", func(t tally) int { return t.opens }}
	writes, among := 1_000_000, 1000
	if *short {
		writes, among = 20_000, 100
	}
	flood := func(files int) []string {
		return []string{"flood", strconv.Itoa(writes), strconv.Itoa(files), filepath.Join(s.dir, fmt.Sprint("flood", files)), strconv.Itoa(among)}
	}
	for _, l := range []struct {
		storm []string
		with  string
		done  int
		want  []counted
	}{
		{[]string{"udp", count}, "alone", n, []counted{sends}},
		{[]string{"dns", count}, "alone", n, []counted{names}},
		{[]string{"open", count, file}, "alone", n, []counted{opens}},
		{[]string{"all", count, file}, "all at once", n, []counted{execs, connects, sends, names, opens}},
		{flood(min(200_000, writes)), fmt.Sprintf("among %d writes over %d files", writes, min(200_000, writes)), among, []counted{execs, connects}},
		{flood(1000), fmt.Sprintf("among %d writes over 1000 files", writes), among, []counted{execs, connects}},
	} {
		_, run, err := s.watched("ebpf", append([]string{s.storm}, l.storm...)...)
		if err != nil {
			return err
		}
		t, err := run.tally(file)
		if err != nil {
			return err
		}
		lost, missing := run.lost(), 0
		for _, w := range l.want {
			seen := w.seen(t)
			missing += max(0, l.done-seen)
			s.row(fmt.Sprintf("%s seen of %d, %s", w.what, l.done, l.with), strconv.Itoa(seen), "100 % or told", seen == l.done || seen < l.done && uint64(missing) <= lost)
		}
		s.row("coverage and loss", fmt.Sprintf("%s; peak RSS %.1f MiB", run.coverage(), run.rss), "", true)
		_ = os.RemoveAll(run.dir)
		if l.storm[0] == "flood" {
			_ = os.RemoveAll(l.storm[3])
		}
	}
	return nil
}

// home is the HOME of what is watched, where its credential files are.
func (s *suite) home() string { return filepath.Join(s.dir, "home") }
