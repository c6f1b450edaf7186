package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/org/edamame-posture/pkg/attest"
	"github.com/org/edamame-posture/pkg/seal"
)

// processorTime is that of this process and of its children that ended.
func processorTime() (sum time.Duration) {
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var ru syscall.Rusage
		if syscall.Getrusage(who, &ru) == nil {
			sum += time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
		}
	}
	return sum
}

// checkpoints measures what a signed checkpoint costs beyond its hash: a process
// is forked, makes a key, signs and ends. Starting /bin/true in the same rounds
// says what this machine takes for a process at all. What keys took is known
// when the process that they were forked from has ended; that one's own start is
// in both of the numbers whose difference is taken.
func (s *suite) checkpoints() error {
	s.section("Sealing", "", "what", "measured", "bound", "held")
	text := bytes.Repeat([]byte("x"), 300)
	sign := func(n int) (ms float64, err error) {
		began := processorTime()
		keys, err := seal.NewChain()
		if err != nil {
			return 0, err
		}
		for range n {
			if _, err := keys.Sign(context.Background(), text); err != nil {
				keys.Close()
				return 0, err
			}
		}
		keys.Close()
		return float64(processorTime()-began) / 1e6, nil
	}
	const few, more = 20, 120
	var signed, plain []float64
	for range *pairsN {
		a, err := sign(few)
		if err != nil {
			return err
		}
		b, err := sign(more)
		if err != nil {
			return err
		}
		signed = append(signed, (b-a)/(more-few))
		began := processorTime()
		for range few {
			if err := exec.Command("/bin/true").Run(); err != nil {
				return err
			}
		}
		plain = append(plain, float64(processorTime()-began)/few/1e6)
	}
	ms := median(signed)
	s.row("a signature with a key of its own, processor time", fmt.Sprintf("%.2f ms (starting /bin/true: %.2f ms)", ms, median(plain)), bound("< 2 ms"), ms < 2)
	return nil
}

// barrier measures what an exec of sudo waits for what led to it to be sealed.
func (s *suite) barrier() error {
	if _, err := exec.LookPath("sudo"); err != nil {
		s.row("sudo waits at the barrier", "there is no sudo here", "", false)
		return nil
	}
	s.sealed = true
	defer func() { s.sealed = false }()
	const each = 8
	took := func(o []byte) (ms []float64, err error) {
		for _, f := range strings.Fields(string(o)) {
			n, err := strconv.ParseFloat(f, 64)
			if err != nil {
				return nil, fmt.Errorf("storm sudo: %w", err)
			}
			ms = append(ms, n/1e6)
		}
		return ms, nil
	}
	var differences, watched []float64
	free := []float64{}
	for range *pairsN {
		o, err := exec.Command(s.storm, "sudo", strconv.Itoa(each)).Output()
		if err != nil {
			return err
		}
		a, err := took(o)
		if err != nil {
			return err
		}
		if o, _, err = s.watched("auto", s.storm, "sudo", strconv.Itoa(each)); err != nil {
			return err
		}
		b, err := took(o)
		if err != nil {
			return err
		}
		differences = append(differences, median(b)-median(a))
		watched, free = append(watched, b...), append(free, a...)
	}
	more := median(differences)
	s.row("`sudo -n true`, watched minus not, median of the rounds", fmt.Sprintf("%.1f ms of %.1f", more, median(free)), bound("< 3 ms"), more < 3)
	most := slices.Max(watched) - slices.Max(free)
	s.row("the longest watched minus the longest not", fmt.Sprintf("%.1f ms", most), bound("≤ 20 ms"), most <= 20)
	return nil
}

// lines measures a log of a million lines.
func (s *suite) lines() error {
	if *short {
		return nil
	}
	o, err := exec.Command("go", "test", "-run", "^$", "-bench", "AMillionLines", "-benchtime", "3x", "./pkg/evidence").CombinedOutput()
	if err != nil {
		return fmt.Errorf("go test -bench AMillionLines: %w\n%s", err, o)
	}
	read := func(unit string) (float64, error) {
		m := regexp.MustCompile(`([0-9.]+) ` + unit).FindSubmatch(o)
		if m == nil {
			return 0, fmt.Errorf("the benchmark of a million lines tells no %s:\n%s", unit, o)
		}
		return strconv.ParseFloat(string(m[1]), 64)
	}
	sealing, err1 := read("sealing-s")
	verifying, err2 := read("verifying-s")
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	s.row("sealing 1,000,000 lines, processor time", fmt.Sprintf("%.2f s", sealing), "< 1.5 s", sealing < 1.5)
	s.row("verifying them, processor time", fmt.Sprintf("%.2f s", verifying), "< 3 s", verifying < 3)
	return nil
}

// attested measures from the end of a command that caused 100,000 events until
// the signed statement is there.
func (s *suite) attested() error {
	connects := 25_000
	if *short {
		connects = 1000
	}
	private, _, err := attest.GenerateKey()
	if err != nil {
		return err
	}
	key := filepath.Join(s.dir, "key.pem")
	if err := os.WriteFile(key, private, 0o600); err != nil {
		return err
	}
	var ms []float64
	events := uint64(0)
	for i := range min(*pairsN, 5) {
		out := filepath.Join(s.dir, fmt.Sprintf("attested-%d", i))
		cmd := exec.Command(s.posture, "run", "--quiet", "--key", key, "--out", out, "--", s.storm, "time", s.storm, "connect", strconv.Itoa(connects))
		cmd.Env = append(os.Environ(), "HOME="+s.home())
		cmd.Stderr = os.Stderr
		o, err := cmd.Output()
		if err != nil {
			return err
		}
		t, err := parseTook(o)
		if err != nil {
			return err
		}
		st, err := os.Stat(filepath.Join(out, "attestation.json"))
		if err != nil {
			return err
		}
		there := st.ModTime().UnixNano() - (time.Now().UnixNano() - boottime())
		ms = append(ms, float64(there-t.to)/1e6)
		events = (&recorded{dir: out}).events()
	}
	med := median(ms)
	s.row(fmt.Sprintf("signed statement after the command's end, %d events", events), fmt.Sprintf("%.0f ms", med), bound("≤ 300 ms"), med <= 300)
	return nil
}
