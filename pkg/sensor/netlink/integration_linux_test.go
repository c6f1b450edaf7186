package netlink

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/probe"
	"github.com/org/edamame-posture/pkg/sensor"
)

// needKernel skips where the proc connector cannot be used, and says why.
func needKernel(t testing.TB) {
	t.Helper()
	if err := probe.CanNetlink(); err != nil {
		t.Skipf("needs the proc connector: %v", err)
	}
}

// log keeps copies of records.
type log struct {
	mu      sync.Mutex
	records []sensor.Record
}

func (l *log) sink(r *sensor.Record) {
	c := *r
	for _, f := range []*[]byte{&c.Exe, &c.Filename, &c.Interp, &c.Cwd, &c.Argv, &c.Env, &c.Payload, &c.Path, &c.NewPath} {
		*f = bytes.Clone(*f)
	}
	l.mu.Lock()
	l.records = append(l.records, c)
	l.mu.Unlock()
}

func (l *log) find(match func(*sensor.Record) bool) []sensor.Record {
	l.mu.Lock()
	defer l.mu.Unlock()
	var found []sensor.Record
	for i := range l.records {
		if match(&l.records[i]) {
			found = append(found, l.records[i])
		}
	}
	return found
}

func start(t testing.TB, opt Options, sink sensor.Sink) *Sensor {
	t.Helper()
	needKernel(t)
	s := New(opt)
	if err := s.Start(context.Background(), sink); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func drain(t testing.TB, s *Sensor) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := s.Drain(ctx); err != nil {
		t.Fatalf("drain: %v", err)
	}
}

// storm is a shell command that executes /bin/true n times with a word that
// marks it, and the bytes to find in argv.
func storm(n int) (*exec.Cmd, []byte) {
	word := fmt.Sprintf("storm-%d-%d", os.Getpid(), time.Now().UnixNano())
	return exec.Command("/bin/sh", "-c", `i=0; while [ $i -lt `+fmt.Sprint(n)+` ]; do /bin/true $0 $i; i=$((i+1)); done`, word), []byte(word)
}

const stormExecs = 20000

func BenchmarkExecStorm(b *testing.B) {
	const execs = stormExecs
	for b.Loop() {
		var l log
		s := New(Options{})
		needKernel(b)
		if err := s.Start(context.Background(), l.sink); err != nil {
			b.Fatal(err)
		}
		cmd, word := storm(execs)
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		shell := uint32(cmd.Process.Pid)
		began, cpu := time.Now(), ownCPU(b)
		if err := cmd.Wait(); err != nil {
			b.Fatal(err)
		}
		took := time.Since(began)
		drain(b, s)
		cpu = ownCPU(b) - cpu
		b.StopTimer()
		// The kernel uses process ids again within the storm, so a child is
		// named by its start too.
		type child struct {
			pid   uint32
			start int64
		}
		children := map[child]bool{}
		for _, r := range l.find(func(r *sensor.Record) bool { return r.Kind == event.Fork && r.ParentPID == shell }) {
			children[child{r.PID, r.Start}] = true
		}
		var seen, argv, exits int
		for _, r := range l.find(func(r *sensor.Record) bool { return children[child{r.PID, r.Start}] }) {
			switch r.Kind {
			case event.Exec:
				seen++
				if bytes.Contains(r.Argv, word) {
					argv++
				}
			case event.Exit:
				exits++
			}
		}
		if seen != execs || exits != execs {
			b.Errorf("%d of %d execs and %d exits were seen; stats %+v", seen, execs, exits, s.Stats())
		}
		b.ReportMetric(float64(seen)/execs*100, "%execs")
		b.ReportMetric(float64(argv)/execs*100, "%argv")
		b.ReportMetric(float64(took.Microseconds())/execs, "us/exec")
		b.ReportMetric(float64(cpu.Microseconds())/execs, "us-own/exec")
		if err := s.Close(); err != nil {
			b.Error(err)
		}
		b.StartTimer()
	}
}

func BenchmarkConnectStorm(b *testing.B) {
	needKernel(b)
	const connects = stormExecs
	for b.Loop() {
		ln, err := net.Listen("tcp4", ":0")
		if err != nil {
			b.Fatal(err)
		}
		go func() {
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				c.Close()
			}
		}()
		var l log
		s := New(Options{})
		if err := s.Start(context.Background(), l.sink); err != nil {
			b.Fatal(err)
		}
		began := time.Now()
		port := ln.Addr().(*net.TCPAddr).Port
		for i := range connects {
			// Another address every thousand, so that TIME_WAIT does not use up the ports.
			c, err := net.Dial("tcp4", fmt.Sprintf("127.0.1.%d:%d", 1+i/1000, port))
			if err != nil {
				b.Fatal(err)
			}
			c.Close()
		}
		took := time.Since(began)
		drain(b, s)
		b.StopTimer()
		cookies, owned := map[uint64]bool{}, 0
		for _, r := range l.find(func(r *sensor.Record) bool { return r.Kind == event.Connect && int(r.Dst.Port()) == port }) {
			cookies[r.Sock] = true
			if r.PID == uint32(os.Getpid()) {
				owned++
			}
		}
		b.ReportMetric(float64(len(cookies))/connects*100, "%connects")
		b.ReportMetric(float64(owned)/connects*100, "%owned")
		b.ReportMetric(float64(took.Microseconds())/connects, "us/connect")
		ln.Close()
		if err := s.Close(); err != nil {
			b.Error(err)
		}
		b.StartTimer()
	}
}

// ownCPU is the processor time of this process without its children.
func ownCPU(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkExecStormAlone is what the storm takes with no sensor, to hold the
// others against.
func BenchmarkExecStormAlone(b *testing.B) {
	for b.Loop() {
		cmd, _ := storm(stormExecs)
		if err := cmd.Run(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/stormExecs, "us/exec")
}

// BenchmarkExecStormWitness is the storm beside a sensor that only counts.
func BenchmarkExecStormWitness(b *testing.B) {
	s := start(b, Options{WitnessOnly: true}, func(*sensor.Record) {})
	before, cpu := s.Stats().Execs, ownCPU(b)
	for b.Loop() {
		cmd, _ := storm(stormExecs)
		if err := cmd.Run(); err != nil {
			b.Fatal(err)
		}
	}
	drain(b, s)
	b.ReportMetric(float64((ownCPU(b)-cpu).Microseconds())/float64(b.N)/stormExecs, "us-own/exec")
	if n := s.Stats().Execs - before; n < uint64(b.N)*stormExecs {
		b.Errorf("%d of %d execs were counted", n, b.N*stormExecs)
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/stormExecs, "us/exec")
}
