package ebpf

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	bpf "github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/sensor"
)

// BenchmarkInKernel reports what each program costs by the kernel's own
// run-time statistics, in ns a run. It leaves out the entry of the hook.
func BenchmarkInKernel(b *testing.B) {
	s, _ := arm(b, Options{Watch: sensor.Watch{Names: []string{"credentials"}}}, func(*sensor.Record) bool { return false })
	stats, err := bpf.EnableStats(uint32(unix.BPF_STATS_RUN_TIME))
	if err != nil {
		b.Skipf("run-time statistics: %v", err)
	}
	defer stats.Close()
	plain := filepath.Join(b.TempDir(), "plain")
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		b.Fatal(err)
	}
	addr := serve(b, "tcp4", "127.0.0.1:0", hangUp)
	for range b.N {
		if err := exec.Command("/bin/sh", "-c", "i=0; while [ $i -lt 2000 ]; do /bin/true $i; i=$((i+1)); done").Run(); err != nil {
			b.Fatal(err)
		}
		perform(b, "connect", addr, "2000")
		perform(b, "opens", plain, "200000")
		perform(b, "write-many", b.TempDir(), "50000")
		perform(b, "datagrams", "127.0.0.1:9", "20000")
	}
	drain(b, s)
	for name, p := range s.l.coll.Programs {
		st, err := p.Stats()
		if err != nil {
			b.Fatal(err)
		}
		if st.RunCount > 0 {
			b.ReportMetric(float64(st.Runtime.Nanoseconds())/float64(st.RunCount), "ns/"+strings.TrimPrefix(name, "on_"))
		}
		if st.RecursionMisses > 0 {
			b.Logf("%s: %d runs were skipped", name, st.RecursionMisses)
		}
	}
	b.Logf("%+v", s.Stats())
}

// residentKB reads what the process holds in memory.
func residentKB(t testing.TB) int {
	t.Helper()
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), "VmRSS:")
	n, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func BenchmarkResident(b *testing.B) {
	before := residentKB(b)
	s, _ := arm(b, Options{}, func(*sensor.Record) bool { return false })
	for range b.N {
		storm := exec.Command("/bin/sh", "-c", "i=0; while [ $i -lt 500 ]; do /bin/true $i; i=$((i+1)); done")
		if err := storm.Run(); err != nil {
			b.Fatal(err)
		}
	}
	drain(b, s)
	b.ReportMetric(float64(before)/1024, "MiB-before")
	b.ReportMetric(float64(residentKB(b))/1024, "MiB-armed")
}

// BenchmarkAllAtOnce runs 20,000 execs, 20,000 connects and 1,000,000 opens
// for writing side by side, and fails where one of the first two is missing.
func BenchmarkAllAtOnce(b *testing.B) {
	for range b.N {
		var execs, connects, flows uint64
		dst := serve(b, "tcp4", "127.0.0.1:0", hangUp)
		s, _ := arm(b, Options{}, func(r *sensor.Record) bool {
			switch r.Kind {
			case event.Exec:
				if bytes.HasPrefix(r.Argv, []byte("/bin/true\x00all\x00")) {
					execs++
				}
			case event.Connect:
				if r.Dst.String() == dst {
					connects++
				}
			case event.Flow:
				if r.Dst.String() == dst {
					flows++
				}
			}
			return false
		})
		cmds := []*exec.Cmd{
			exec.Command("/bin/sh", "-c", "i=0; while [ $i -lt 20000 ]; do /bin/true all $i; i=$((i+1)); done"),
			as("connect", dst, "20000"),
			as("write-many", b.TempDir(), "1000000"),
		}
		for _, c := range cmds {
			if err := c.Start(); err != nil {
				b.Fatal(err)
			}
		}
		for _, c := range cmds {
			if err := c.Wait(); err != nil {
				b.Fatal(err)
			}
		}
		if err := s.Close(); err != nil { // after which nothing comes
			b.Fatal(err)
		}
		st := s.Stats()
		b.Logf("%d execs, %d connects, %d flows; %+v", execs, connects, flows, st)
		if execs != 20000 || connects != 20000 || flows != 20000 || st.Lost != 0 || st.Missed != 0 {
			b.Fatal("something is missing")
		}
	}
}
