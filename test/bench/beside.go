package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// tool is another program that watches execs or connects.
type tool struct {
	name string
	// start begins to watch; what it returns stops it and gives the execs of
	// `true` and the connects to loopback that it saw. -1 is what it does not
	// watch.
	start func() (stop func() (execs, connects int, err error), err error)
}

// beside measures other tools on the same loads, in the same rounds.
func (s *suite) beside() error {
	n := 1500
	if *short {
		n = 500
	}
	rounds := *pairsN
	if *short {
		rounds = 1
	}
	s.section("Beside other tools", fmt.Sprintf(`%d execs back to back, then %d TCP connects of 0 ms; each round runs them with nothing, with us, and with every tool
that can be started here. auditd has one rule, execve and connect on b64, a log of its own and a backlog of 8192; the rule
and auditd are gone afterwards. Audit stays compiled into the path of system calls once it was on (audit_ever_enabled), so
this part runs last.`, n, n), "tool", "execs seen", "connects seen", "execs, watched / not", "connects, watched / not")
	count := strconv.Itoa(n)
	loads := []load{{argv: []string{s.storm, "exec", count}}, {argv: []string{s.storm, "connect", count}}}

	tools := []tool{
		{"auditd", s.auditd},
		{"execsnoop (libbpf-tools)", s.prints("execsnoop")},
		{"tcpconnect (libbpf-tools)", s.prints("tcpconnect")},
		{"execsnoop (bcc)", s.prints("execsnoop-bpfcc")},
		{"tcpconnect (bcc)", s.prints("tcpconnect-bpfcc")},
	}
	type counts struct{ execs, connects int }
	seen := map[string]counts{}
	var able []tool
	absent := map[string]error{}
	for _, t := range tools {
		stop, err := t.start()
		if err != nil {
			absent[t.name] = err
			continue
		}
		for _, l := range loads {
			if _, err := s.plain(l)(); err != nil {
				_, _, stopped := stop()
				return errors.Join(err, stopped)
			}
		}
		execs, connects, err := stop()
		if err != nil {
			return fmt.Errorf("%s: %w", t.name, err)
		}
		seen[t.name] = counts{execs, connects}
		able = append(able, t)
	}
	var ratios [2][]ratio
	for i, l := range loads {
		ways := []func() (took, error){s.plain(l), s.besideIdle(l), s.under(l)}
		for _, t := range able {
			ways = append(ways, func() (took, error) {
				stop, err := t.start()
				if err != nil {
					return took{}, fmt.Errorf("%s: %w", t.name, err)
				}
				time, err := s.plain(l)()
				_, _, stopped := stop()
				return time, errors.Join(err, stopped)
			})
		}
		r, _, err := s.rounds(rounds, ways...)
		if err != nil {
			return err
		}
		ratios[i] = r
	}
	var ours counts
	for _, l := range loads {
		_, run, err := s.watched("auto", l.argv...)
		if err != nil {
			return err
		}
		t, err := run.tally("")
		if err != nil {
			return err
		}
		ours = counts{ours.execs + t.execs, ours.connects + t.connects}
	}
	number := func(n int) string {
		if n < 0 {
			return ""
		}
		return strconv.Itoa(n)
	}
	s.cells("an idle program", "", "", ratios[0][1].String(), ratios[1][1].String())
	s.cells("edamame-posture", number(ours.execs), number(ours.connects), ratios[0][2].String(), ratios[1][2].String())
	for i, t := range able {
		c := seen[t.name]
		s.cells(t.name, number(c.execs), number(c.connects), ratios[0][3+i].String(), ratios[1][3+i].String())
	}
	for _, t := range tools {
		if err := absent[t.name]; err != nil {
			s.cells(t.name, "cannot be started here: "+err.Error(), "", "", "")
		}
	}
	return nil
}

var auditRule = []string{"always,exit", "-F", "arch=b64", "-S", "execve", "-S", "connect", "-k", "posture-bench"}

// auditd starts an audit daemon with a configuration and log of its own, and
// one rule. Rules outlive the daemon: stop removes it, and puts back whether
// audit is on and how long its backlog is.
func (s *suite) auditd() (func() (int, int, error), error) {
	before, err := exec.Command("auditctl", "-s").CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("auditctl -s (apt-get install auditd): %s", lastLine(before, err))
	}
	was := map[string]string{}
	for line := range strings.Lines(string(before)) {
		k, v, _ := strings.Cut(strings.TrimSpace(line), " ")
		was[k] = v
	}
	rules, err := exec.Command("auditctl", "-l").CombinedOutput()
	if err != nil || was["pid"] != "0" || strings.TrimSpace(string(rules)) != "No rules" {
		return nil, errors.New("audit is in use on this machine, with rules or a daemon of its own")
	}
	dir, err := os.MkdirTemp(s.dir, "audit-")
	if err != nil {
		return nil, err
	}
	log := filepath.Join(dir, "audit.log")
	conf := "local_events = yes\nwrite_logs = yes\nlog_file = " + log + `
log_group = root
log_format = RAW
flush = INCREMENTAL_ASYNC
freq = 50
max_log_file = 1000
num_logs = 2
priority_boost = 4
name_format = NONE
max_log_file_action = IGNORE
space_left = 75
space_left_action = IGNORE
admin_space_left = 50
admin_space_left_action = IGNORE
disk_full_action = IGNORE
disk_error_action = IGNORE
q_depth = 20000
overflow_action = IGNORE
`
	if err := os.WriteFile(filepath.Join(dir, "auditd.conf"), []byte(conf), 0o600); err != nil {
		return nil, err
	}
	daemon := exec.Command("auditd", "-n", "-s", "enable", "-c", dir)
	var said bytes.Buffer
	daemon.Stdout, daemon.Stderr = &said, &said
	if err := daemon.Start(); err != nil {
		return nil, err
	}
	stop := func() (int, int, error) {
		o, err := exec.Command("auditctl", append([]string{"-d"}, auditRule...)...).CombinedOutput()
		if err != nil {
			err = fmt.Errorf("auditctl -d, remove the rule by hand: %s", lastLine(o, err))
		}
		_ = exec.Command("auditctl", "-b", was["backlog_limit"]).Run()
		_ = daemon.Process.Signal(unix.SIGTERM)
		_ = daemon.Wait()
		_ = exec.Command("auditctl", "-e", was["enabled"]).Run()
		b, readErr := os.ReadFile(log)
		execs := bytes.Count(b, []byte(` a0="true" a1=`))
		connects := len(auditConnect.FindAll(b, -1))
		return execs, connects, errors.Join(err, readErr)
	}
	for _, args := range [][]string{{"-b", "8192"}, append([]string{"-a"}, auditRule...)} {
		deadline := time.Now().Add(5 * time.Second)
		for {
			status, _ := exec.Command("auditctl", "-s").CombinedOutput()
			if strings.Contains(string(status), fmt.Sprintf("pid %d\n", daemon.Process.Pid)) {
				break
			}
			if time.Now().After(deadline) {
				_, _, _ = stop()
				return nil, fmt.Errorf("auditd: %s", lastLine(said.Bytes(), errors.New("it did not come up in 5 s")))
			}
			time.Sleep(20 * time.Millisecond)
		}
		if o, err := exec.Command("auditctl", args...).CombinedOutput(); err != nil {
			_, _, _ = stop()
			return nil, fmt.Errorf("auditctl: %s", lastLine(o, err))
		}
	}
	return stop, nil
}

// auditConnect is the address of a connect to 127.0.0.1, as a struct
// sockaddr_in in hexadecimal.
var auditConnect = regexp.MustCompile(`(?i)type=SOCKADDR [^\n]*saddr=0200[0-9A-F]{4}7F000001`)

// prints is a tool that prints a line for each act. It counts as started when
// it has printed its heading.
func (s *suite) prints(name string) func() (func() (int, int, error), error) {
	return func() (func() (int, int, error), error) {
		cmd := exec.Command(name)
		var out, said locked
		cmd.Stdout, cmd.Stderr = &out, &said
		if err := cmd.Start(); err != nil {
			return nil, err
		}
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		deadline := time.After(20 * time.Second)
		for !strings.Contains(out.String(), " PID ") {
			select {
			case err := <-ended:
				return nil, errors.New(lastLine([]byte(said.String()), err))
			case <-deadline:
				_ = cmd.Process.Kill()
				<-ended
				return nil, errors.New("it printed no heading in 20 s")
			case <-time.After(20 * time.Millisecond):
			}
		}
		return func() (int, int, error) {
			_ = cmd.Process.Signal(os.Interrupt)
			select {
			case <-ended:
			case <-time.After(10 * time.Second):
				_ = cmd.Process.Kill()
				<-ended
			}
			execs, connects := -1, -1
			if strings.HasPrefix(name, "exec") {
				execs = strings.Count(out.String(), "\ntrue ")
			} else {
				connects = strings.Count(out.String(), " 127.0.0.1 ") / 2
			}
			return execs, connects, nil
		}, nil
	}
}

// locked is a buffer that a program writes while we look at it.
type locked struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *locked) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// lastLine is the line of a program's output that says what failed, or its last
// one, or else why it ended.
func lastLine(said []byte, err error) string {
	lines := strings.Split(strings.TrimSpace(string(said)), "\n")
	// libbpf names the probe that the kernel refuses before it gives up.
	for _, l := range lines {
		if strings.Contains(l, "failed to") {
			return strings.ReplaceAll(l, "|", "\\|")
		}
	}
	if last := strings.TrimSpace(lines[len(lines)-1]); last != "" {
		return strings.ReplaceAll(last, "|", "\\|")
	}
	return fmt.Sprint(err)
}
