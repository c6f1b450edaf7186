package report

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/org/edamame-posture/pkg/evidence"
)

// large is a build of 100,000 processes and a million events: compilers with
// arguments of their own, in 20 steps of make, of which some go to hosts.
func large(tb testing.TB, processes int) string {
	s := newScene(tb, "make", "-j8", "all")
	root := s.run(shell, "/usr/bin/make", "make", "-j8", "all")
	sh := root
	for i := range processes {
		if i%500 == 0 {
			sh = s.run(root, "/usr/bin/dash", "sh", "-c", fmt.Sprintf("make -C lib%d", i/500))
		}
		cc := s.run(sh, "/usr/bin/gcc", "gcc", "-O2", "-c", "-I", "include", fmt.Sprintf("lib%d/src/file%d.c", i/500, i), "-o", fmt.Sprintf("lib%d/file%d.o", i/500, i))
		for k := range 6 {
			s.write(cc, fmt.Sprintf("/home/ci/app/lib%d/file%d.%d.o", i/500, i, k))
		}
		if i%50 == 0 {
			s.send(cc, fmt.Sprintf("host%d.example.com", i%997), fmt.Sprintf("198.51.100.%d:443", i%250+1), 1000, 20000)
		} else {
			s.write(cc, "/tmp/cc"+strconv.Itoa(i)+".s")
		}
		s.exit(cc, i%977/976)
	}
	s.exit(root, 0)
	s.close(0)
	return s.dir
}

// BenchmarkReportOfAMillionEvents makes report.html from evidence on the disk,
// the verdict with it, and opens it. peak-MiB is the most that the process ever
// held; cpu-s and cpu-ms are what a processor was used for, which a busy machine
// changes less than the clock.
func BenchmarkReportOfAMillionEvents(b *testing.B) {
	dir := large(b, 100_000)
	ev, err := evidence.Open(filepath.Join(dir, "evidence"))
	if err != nil {
		b.Fatal(err)
	}
	events := ev.Manifest().Tree.Size
	ev.Close()
	var page bytes.Buffer
	b.Run("make", func(b *testing.B) {
		debug.FreeOSMemory()
		resetPeak(b)
		used := cpu()
		for b.Loop() {
			page.Reset()
			d, err := Load(dir)
			if err != nil {
				b.Fatal(err)
			}
			if err := HTML(&page, d); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric((cpu()-used)/float64(b.N), "cpu-s/op")
		b.ReportMetric(float64(events), "events")
		b.ReportMetric(float64(page.Len())/(1<<20), "page-MiB")
		b.ReportMetric(float64(peak(b))/1024, "peak-MiB")
	})
	b.Run("open", func(b *testing.B) {
		for b.Loop() {
			out := browse(b, "open", page.Bytes(), map[string]any{})
			b.ReportMetric(out.Clock, "clock-ms")
			b.ReportMetric(out.CPU, "cpu-ms")
		}
	})
}

// cpu is what the process has used of processors, in seconds: on a busy machine
// it says more than the clock.
func cpu() float64 {
	var r syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &r)
	return time.Duration(r.Utime.Nano() + r.Stime.Nano()).Seconds()
}

// resetPeak forgets what the process held before (proc_pid_clear_refs(5)).
func resetPeak(tb testing.TB) {
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil {
		tb.Logf("the peak is that of the whole run: %v", err)
	}
}

// peak is VmHWM in KiB.
func peak(tb testing.TB) int {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		tb.Skip(err)
	}
	for l := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(l, "VmHWM:"); ok {
			n, _ := strconv.Atoi(strings.Fields(v)[0])
			return n
		}
	}
	tb.Fatal("no VmHWM")
	return 0
}
