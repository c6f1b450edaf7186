//go:build linux && (amd64 || arm64)

package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/org/edamame-posture/pkg/agent/client"
)

// What is tested here runs where there is no runtime: it holds its processor
// until it has ended. Were memory to be collected meanwhile, all goroutines would
// wait for it, and it for what they write.
func TestMain(m *testing.M) {
	debug.SetGCPercent(-1)
	runtime.GOMAXPROCS(max(4, runtime.NumCPU()))
	os.Exit(m.Run())
}

// listening makes a folder as monitors have it, with some that listen and answer,
// and what each hears.
func listening(t *testing.T, answer string, pids ...int) (dir string, heard chan string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("SKIP: the folder of the monitors' sockets must be root's: sudo -E go test ./cmd/edamame-hook")
	}
	dir = filepath.Join(t.TempDir(), "agents")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	heard = make(chan string, 64)
	for _, pid := range pids {
		l, err := net.Listen("unix", filepath.Join(dir, strconv.Itoa(pid)+".sock"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go func() {
					defer c.Close()
					r := bufio.NewReader(c)
					line, _ := r.ReadString('\n')
					var length int
					_, _ = fmt.Sscanf(line, "edamame-hook/1 "+strings.Fields(line + " x x")[1]+" %d", &length)
					payload := make([]byte, length)
					n, _ := io.ReadFull(r, payload)
					heard <- line + string(payload[:n])
					if answer == "" {
						_, _ = io.Copy(io.Discard, r) // until the hook has had enough
						return
					}
					_, _ = io.WriteString(c, answer)
				}()
			}
		}()
	}
	return dir, heard
}

// input is a pipe with a text in it that is closed then, unless it stays open.
func inputOf(t *testing.T, text string, stays bool) *os.File {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	go func() {
		_, _ = io.WriteString(w, text)
		if !stays {
			w.Close()
		}
	}()
	return r
}

const unhurried = int64(10 * time.Second)

func TestWhatIsToldWithoutTheRuntime(t *testing.T) {
	large := strings.Repeat("x", client.MaxPayload)
	for _, c := range []struct {
		name, text string
		stays      bool
		want       string
	}{
		{"an object", `{"a": "}"}`, false, "edamame-hook/1 codex 10\n" + `{"a": "}"}`},
		{"an input that never ends", `{"a": [{}]}`, true, "edamame-hook/1 codex 11\n" + `{"a": [{}]}`},
		{"anything at all", "x", false, "edamame-hook/1 codex 1\nx"},
		{"as much as may be", large, false, "edamame-hook/1 codex 1048576\n" + large},
		{"a byte more", large + "x", false, "edamame-hook/1 codex 0 huge\n"},
		{"much more", large + large + large, false, "edamame-hook/1 codex 0 huge\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir, heard := listening(t, "ok\n", 4711)
			if !tell(filepath.Dir(dir)+"\x00", dir+"\x00", "codex", int(inputOf(t, c.text, c.stays).Fd()), unhurried) {
				t.Fatal("it is left to the runtime")
			}
			if got := <-heard; got != c.want {
				t.Errorf("%.80q, %d bytes, want %.80q, %d bytes", got, len(got), c.want, len(c.want))
			}
		})
	}
}

func TestWhomItTells(t *testing.T) {
	dir, heard := listening(t, "no, thanks\n", 1, 20, 300, 4000, 50000, 600000, 7)
	for _, name := range []string{"x.sock", "007.sock", "-1.sock", "1.socks", ".sock", "99999999999.sock", "5"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "8.sock"), nil, 0o644); err != nil { // of one that is dead
		t.Fatal(err)
	}
	var pids [maxMonitors]uint32
	if n, ok := monitors(dir+"\x00", &pids); !ok || n != 8 || pids != [maxMonitors]uint32{600000, 50000, 4000, 300, 20, 8, 7, 1} {
		t.Errorf("%d %v %v", n, ok, pids)
	}
	if !tell(filepath.Dir(dir)+"\x00", dir+"\x00", "codex", int(inputOf(t, "{}", false).Fd()), unhurried) || len(heard) != 7 {
		t.Errorf("%d were told", len(heard))
	}
	// More than it keeps: the runtime does it, with all that is still to be read.
	if err := os.WriteFile(filepath.Join(dir, "9.sock"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	in := inputOf(t, "{}", false)
	if tell(filepath.Dir(dir)+"\x00", dir+"\x00", "codex", int(in.Fd()), unhurried) {
		t.Error("it took too many upon itself")
	}
	if rest, err := io.ReadAll(in); err != nil || string(rest) != "{}" {
		t.Errorf("%q is left, %v", rest, err)
	}
	// A folder that is not root's alone, and none.
	for _, mode := range []os.FileMode{0o777, 0o775} {
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		if rootsOwn(dir + "\x00") {
			t.Errorf("%o is root's own", mode)
		}
	}
	if rootsOwn(filepath.Join(dir, "none") + "\x00") {
		t.Error("none is root's own")
	}
}

// Nobody holds it up longer than it may; a busy machine cannot make the test fail.
func TestItWaitsNoLongerThanItMay(t *testing.T) {
	for name, answer := range map[string]string{"for one that says nothing": "", "for one that says half": "no "} {
		t.Run(name, func(t *testing.T) {
			dir, _ := listening(t, answer, 1)
			done := make(chan struct{})
			go func() {
				defer close(done)
				tell(filepath.Dir(dir)+"\x00", dir+"\x00", "codex", int(inputOf(t, "{}", false).Fd()), int64(client.Patience))
			}()
			select {
			case <-done:
			case <-time.After(30 * time.Second):
				t.Fatal("it still waits after 30 s")
			}
		})
	}
	dir, _ := listening(t, "ok\n", 1)
	for _, text := range []string{"", `{"half": `} {
		in := inputOf(t, text, true)
		if !tell(filepath.Dir(dir)+"\x00", dir+"\x00", "codex", int(in.Fd()), unhurried) {
			t.Error("it is left to the runtime")
		}
	}
}

// The program as it is built, in a place where the monitors of the test are those
// of the machine: with the fast start and where it leaves the work to the runtime.
func TestTheProgramAsItIsBuilt(t *testing.T) {
	program := filepath.Join(t.TempDir(), "edamame-hook")
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w -E edamame_hook_start", "-o", program, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, c := range []struct {
		name, stdin string
		args        []string
		monitors    int
		heard, says string
	}{
		{"a payload on its input", `{"a":1}`, []string{"gemini"}, 1, "edamame-hook/1 gemini 7\n" + `{"a":1}`, "{}\n"},
		{"one that says nothing", `{"a":1}`, []string{"claude-code"}, 2, "edamame-hook/1 claude-code 7\n" + `{"a":1}`, ""},
		{"a payload as its argument", "", []string{"codex", `{"b":2}`}, 1, "edamame-hook/1 codex 7\n" + `{"b":2}`, ""},
		{"more monitors than the fast start knows", `{"a":1}`, []string{"cursor"}, maxMonitors + 1, "edamame-hook/1 cursor 7\n" + `{"a":1}`, "{}\n"},
		{"no monitor", `{"a":1}`, []string{"gemini"}, 0, "", "{}\n"},
		{"no agent that is known", `{"a":1}`, []string{"nobody"}, 1, "", ""},
		{"no argument", `{"a":1}`, nil, 1, "", ""},
		{"an empty argument", `{"a":1}`, []string{""}, 1, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			pids := []int{}
			for i := range c.monitors {
				pids = append(pids, 100+i)
			}
			dir, heard := listening(t, "ok\n", pids...)
			cmd := exec.Command("unshare", append([]string{"-m", "--propagation", "private", "sh", "-c",
				`mkdir -p /run/edamame-posture && mount --bind "$1" /run/edamame-posture && shift && exec "$@"`, "sh", filepath.Dir(dir), program}, c.args...)...)
			cmd.Stdin = strings.NewReader(c.stdin)
			out, err := cmd.CombinedOutput()
			if err != nil || string(out) != c.says {
				t.Errorf("it says %q, %v, want %q", out, err, c.says)
			}
			told := min(c.monitors, maxMonitors)
			if c.heard == "" {
				told = 0
			}
			for range told {
				select {
				case got := <-heard:
					if got != c.heard {
						t.Errorf("%q, want %q", got, c.heard)
					}
				case <-time.After(10 * time.Second):
					t.Fatal("nobody was told")
				}
			}
		})
	}
}

func FuzzNumber(f *testing.F) {
	for _, s := range []string{"1.sock\x00", "007.sock\x00", ".sock\x00", "12.sock", "999999999.sock\x00abc", "1.socks\x00", "", "\x00"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, name []byte) {
		n := number(name)
		text, _, ended := strings.Cut(string(name), "\x00")
		want, err := strconv.ParseUint(strings.TrimSuffix(text, ".sock"), 10, 32)
		valid := ended && err == nil && want > 0 && want < 1e9 && strconv.Itoa(int(want))+".sock" == text
		if valid != (n != 0) || valid && uint64(n) != want {
			t.Errorf("%q: %d", name, n)
		}
	})
}
