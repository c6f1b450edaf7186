// Command guest is the first process of a machine that was booted to try a
// kernel: it watches what it does with the program that lies beside it, holds
// what was done against the evidence, tells it over the console (package told)
// and turns the machine off.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/evidence"
	"github.com/org/edamame-posture/test/kernels/told"
)

// runWithin is how long one watched command may take. In emulation arming alone
// takes seconds.
const runWithin = 3 * time.Minute

const (
	home    = "/root"
	watched = home + "/.aws/credentials"
)

func main() {
	if os.Getpid() == 1 {
		begin()
	}
	err := errors.New("usage: guest try, or guest job; or as the first process of a machine")
	if len(os.Args) == 2 {
		switch os.Args[1] {
		case "try":
			err = try()
		case "job":
			err = job()
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "guest:", err)
		os.Exit(1)
	}
}

// begin mounts what a machine has, starts the trial, waits for every process
// that is nobody else's, and turns the machine off. It does not return.
func begin() {
	for _, m := range [][3]string{
		{"proc", "proc", "/proc"}, {"sysfs", "sysfs", "/sys"}, {"devtmpfs", "devtmpfs", "/dev"},
		{"tmpfs", "tmpfs", "/tmp"}, {"tmpfs", "tmpfs", "/run"}, {"tmpfs", "tmpfs", "/var"},
		{"cgroup2", "cgroup2", "/sys/fs/cgroup"}, {"bpf", "bpf", "/sys/fs/bpf"}, {"securityfs", "securityfs", "/sys/kernel/security"},
	} {
		_ = os.MkdirAll(m[2], 0o755)
		if err := unix.Mount(m[0], m[2], m[1], unix.MS_NOSUID, ""); err != nil {
			fmt.Printf("guest: mounting %s: %v\n", m[2], err)
		}
	}
	p, err := os.StartProcess("/init", []string{"guest", "try"}, &os.ProcAttr{
		Env: []string{"PATH=/usr/bin:/bin", "HOME=" + home}, Files: []*os.File{os.Stdin, os.Stdout, os.Stderr},
	})
	if err != nil {
		fmt.Println("guest:", err)
	}
	for err == nil {
		var pid int
		if pid, err = unix.Wait4(-1, nil, 0, nil); pid == p.Pid {
			break
		}
		if errors.Is(err, unix.EINTR) {
			err = nil
		}
	}
	unix.Sync()
	for {
		_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
		time.Sleep(time.Second)
	}
}

func tell(l told.Line) {
	b, err := json.Marshal(l)
	if err != nil {
		b = []byte(strconv.Quote(err.Error()))
	}
	// A line of its own, whatever the kernel has written before.
	fmt.Printf("\n%s%s\n", told.Mark, b)
}

func try() error {
	var plan told.Plan
	b, err := os.ReadFile(told.PlanFile)
	if err == nil {
		err = json.Unmarshal(b, &plan)
	}
	if err != nil {
		return err
	}
	var g told.Guest
	problem := func(err error) {
		if err != nil {
			g.Problems = append(g.Problems, err.Error())
		}
	}
	problem(loadModules())
	problem(loopbackUp())
	problem(os.MkdirAll(filepath.Dir(watched), 0o700))
	problem(os.WriteFile(watched, []byte("canary\n"), 0o600))
	var u unix.Utsname
	problem(unix.Uname(&u))
	g.Release, g.Machine = unix.ByteSliceToString(u.Release[:]), unix.ByteSliceToString(u.Machine[:])
	out, err := exec.Command("edamame-posture", "doctor", "--json").Output()
	if jerr := json.Unmarshal(out, &g.Probes); jerr != nil {
		problem(fmt.Errorf("doctor: %w: %v", jerr, err))
	}
	tell(told.Line{Guest: &g})
	for _, s := range plan.Sensors {
		r := told.Run{Asked: s, Did: told.Tally{Execs: plan.Count, Connects: plan.Count, Sends: plan.Count, Names: plan.Count, Opens: plan.Count}}
		watch(&r, "storm", "all", strconv.Itoa(plan.Count), watched)
		tell(told.Line{Run: &r})
	}
	if plan.Sealed {
		r := told.Run{Asked: "auto", Sealed: true, Requested: requests}
		watch(&r, "/init", "job")
		tell(told.Line{Run: &r})
	}
	tell(told.Line{Done: true})
	return nil
}

// loadModules loads what has a name in the folder of modules. What the kernel
// has built in it says (EEXIST).
func loadModules() (all error) {
	files, err := filepath.Glob(told.Modules + "/*.ko")
	if err != nil {
		return err
	}
	slices.Sort(files)
	for _, path := range files {
		b, err := os.ReadFile(path)
		if err == nil {
			if err = unix.InitModule(b, ""); errors.Is(err, unix.EEXIST) {
				err = nil
			}
		}
		if err != nil {
			all = errors.Join(all, fmt.Errorf("%s: %w", path, err))
		}
	}
	return all
}

func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	r, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	r.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, r)
}

// watch runs a command under the monitor and reads what its evidence says.
func watch(r *told.Run, argv ...string) {
	dir, err := os.MkdirTemp("/tmp", "run-")
	if err != nil {
		r.Err = err.Error()
		return
	}
	defer os.RemoveAll(dir)
	args := []string{"run", "--quiet", "--sensor", r.Asked, "--out", filepath.Join(dir, "p")}
	if r.Sealed {
		args = append(args, "--seal")
	}
	ctx, cancel := context.WithTimeout(context.Background(), runWithin)
	defer cancel()
	cmd := exec.CommandContext(ctx, "edamame-posture", append(append(args, "--"), argv...)...)
	cmd.Dir = home
	cmd.WaitDelay = 10 * time.Second
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = io.Discard, &said
	err = cmd.Run()
	if s := cmd.ProcessState; s != nil {
		r.CPU = (s.UserTime() + s.SystemTime()).Seconds()
	}
	// 3: the command gave 0, and the verdict is fail, which is no matter here.
	if err != nil && (cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != 3) {
		r.Err = fmt.Sprintf("%v: %.2000s", err, said.String())
		return
	}
	if err := read(r, filepath.Join(dir, "p")); err != nil {
		r.Err = fmt.Sprintf("%v: %.2000s", err, said.String())
	}
}

// read counts what the evidence holds.
func read(r *told.Run, dir string) error {
	b, err := os.ReadFile(filepath.Join(dir, "verdict.json"))
	if err != nil {
		return err
	}
	var v struct {
		Coverage struct {
			State, Sensor, Witness string
			Events, Lost           uint64
			Gaps                   []struct{ What string }
			Unseen                 []string
		}
	}
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	c := &v.Coverage
	r.State, r.Sensor, r.Witness, r.Events, r.Lost, r.Unseen = c.State, c.Sensor, c.Witness, c.Events, c.Lost, c.Unseen
	for _, g := range c.Gaps {
		r.Gaps = append(r.Gaps, g.What)
	}
	e, err := evidence.Open(filepath.Join(dir, "evidence"))
	if err != nil {
		return err
	}
	defer e.Close()
	if err := e.Verify(); err != nil {
		return err
	}
	names, paths := map[string]bool{}, map[string]bool{}
	err = e.Each(func(_ []byte, ev *event.Event) error {
		count := int(max(ev.Count, 1))
		switch ev.Kind {
		case event.Exec:
			switch {
			case len(ev.Argv) == 2 && ev.Argv[0].String() == "true":
				r.Seen.Execs++
			case ev.Exe.String() == "/bin/true", ev.Exe.String() == "" && len(ev.Argv) == 0:
				r.Seen.Execs++
				r.Untold++
			}
		case event.Connect:
			if ev.Proto == event.ProtoTCP {
				r.Seen.Connects += count
			}
		case event.Send:
			// The responder's answers are longer than the asker's one byte.
			if ev.Proto == event.ProtoUDP && int(ev.Sent) == count {
				r.Seen.Sends += count
			}
		case event.DNS:
			if n := ev.Name.String(); strings.HasSuffix(n, ".bench.example") {
				names[n] = true
			}
		case event.Open:
			// Those that were folded have no path, but the class.
			if ev.Path.String() == watched || ev.Path.String() == "" && ev.Class.String() == "aws" {
				r.Seen.Opens += count
			}
		case event.HTTP:
			if ev.TLS {
				paths[ev.Path.String()] = true
			}
		case event.Barrier:
			if ev.OK {
				r.Held++
			} else {
				r.Missed++
			}
		}
		return nil
	})
	r.Seen.Names, r.Requests = len(names), len(paths)
	return err
}
