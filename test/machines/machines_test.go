// Package machines checks that other processors come to the same verdicts.
package machines

import (
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// The same evidence comes to the same bytes on every machine: the golden
// verdicts are computed again by the judge's own tests, built for other
// processors and run by qemu's user emulation. 386 has 32-bit ints; arm64 may
// fuse a multiplication with an addition, were there any floating point.
func TestGoldenVerdictsOnOtherProcessors(t *testing.T) {
	for arch, emulator := range map[string]string{"386": "qemu-i386", "arm64": "qemu-aarch64"} {
		t.Run(arch, func(t *testing.T) {
			var qemu string
			for _, name := range []string{emulator + "-static", emulator} {
				if p, err := exec.LookPath(name); err == nil {
					qemu = p
				}
			}
			if qemu == "" {
				t.Skipf("%s is not there: apt-get install qemu-user-static", emulator)
			}
			bin := filepath.Join(t.TempDir(), "judge.test")
			build := exec.Command("go", "test", "-c", "-o", bin, "../../pkg/judge")
			build.Env = append(os.Environ(), "GOARCH="+arch, "CGO_ENABLED=0", "GOFLAGS=")
			if out, err := build.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			f, err := elf.Open(bin)
			if err != nil {
				t.Fatal(err)
			}
			machine := f.Machine
			f.Close()
			if want := map[string]elf.Machine{"386": elf.EM_386, "arm64": elf.EM_AARCH64}[arch]; machine != want {
				t.Fatalf("built for %v", machine)
			}
			cmd := exec.Command(qemu, bin, "-test.run", "^(TestGoldenVerdicts|TestRecordedEvidenceKeepsItsVerdict|TestVerdictsOfScenes|TestScoresOfTheWorkedExamples|TestScoreTableHolds.*)$", "-test.v")
			cmd.Dir = "../../pkg/judge"
			// Go's signals for preemption come on a stack that qemu-i386 takes for
			// another, and one thread has no need of them.
			cmd.Env = append(os.Environ(), "GODEBUG=asyncpreemptoff=1", "GOMAXPROCS=1", "GOGC=off")
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if n := countPasses(out); n < 5 {
				t.Errorf("%d tests passed there, want 5 at least:\n%s", n, out)
			}
		})
	}
}

func countPasses(out []byte) int {
	n := 0
	for i := 0; i+10 < len(out); i++ {
		if (i == 0 || out[i-1] == '\n') && string(out[i:i+9]) == "--- PASS:" {
			n++
		}
	}
	return n
}
