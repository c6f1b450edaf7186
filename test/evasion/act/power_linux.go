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
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// victim starts a process that waits, and gives an address in its memory.
func victim(f func(pid int, addr uintptr) error) error {
	cmd := self("victim")
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	cmd.Stdout = nil
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return err
	}
	addr, err := strconv.ParseUint(strings.TrimSpace(line), 10, 64)
	if err == nil {
		err = os.WriteFile("truth", []byte(strconv.Itoa(cmd.Process.Pid)), 0o600)
	}
	if err == nil {
		err = f(cmd.Process.Pid, uintptr(addr))
	}
	in.Close()
	_ = cmd.Wait()
	return err
}

var secret = []byte("canary in memory")

// monitorPID finds the monitor: a child of `run`, which is above us.
func monitorPID() (int, error) {
	above := map[int]bool{}
	for pid := os.Getppid(); pid > 1; pid = parent(pid) {
		above[pid] = true
	}
	names, err := os.ReadDir("/proc")
	if err != nil {
		return 0, err
	}
	for _, n := range names {
		pid, err := strconv.Atoi(n.Name())
		if err != nil {
			continue
		}
		cmdline, _ := os.ReadFile(filepath.Join("/proc", n.Name(), "cmdline"))
		if strings.Contains(string(cmdline), "\x00monitor\x00") && above[parent(pid)] {
			return pid, nil
		}
	}
	return 0, fmt.Errorf("no monitor above")
}

// parent reads the fourth field of proc_pid_stat(5), or 0.
func parent(pid int) int {
	stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	f := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	if len(f) < 2 {
		return 0
	}
	ppid, _ := strconv.Atoi(f[1])
	return ppid
}

// held gives the ids of BPF objects that a process holds, by the field's name
// in fdinfo.
func held(pid int, field string) ([]uint32, error) {
	dir := fmt.Sprintf("/proc/%d/fdinfo", pid)
	names, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var ids []uint32
	for _, n := range names {
		b, _ := os.ReadFile(filepath.Join(dir, n.Name()))
		for _, l := range strings.Split(string(b), "\n") {
			if v, ok := strings.CutPrefix(l, field+":"); ok {
				if id, err := strconv.ParseUint(strings.TrimSpace(v), 10, 32); err == nil {
					ids = append(ids, uint32(id))
				}
			}
		}
	}
	return ids, nil
}

func onMonitor(name string, f func(pid int) error) {
	acts[name] = func(string) error {
		pid, err := monitorPID()
		if err != nil {
			return err
		}
		if err := os.WriteFile("truth", []byte(strconv.Itoa(pid)), 0o600); err != nil {
			return err
		}
		return f(pid)
	}
}

func init() {
	roles["victim"] = func([]string) error {
		fmt.Println(uintptr(unsafe.Pointer(&secret[0])))
		_, err := io.Copy(io.Discard, os.Stdin)
		return err
	}
	acts["ptrace"] = func(string) error {
		return victim(func(pid int, addr uintptr) error {
			runtime.LockOSThread()
			if err := unix.PtraceAttach(pid); err != nil {
				return err
			}
			if _, err := unix.Wait4(pid, nil, unix.WALL, nil); err != nil {
				return err
			}
			if _, err := unix.PtracePeekData(pid, addr, make([]byte, 8)); err != nil {
				return err
			}
			return unix.PtraceDetach(pid)
		})
	}
	acts["process-vm-readv"] = func(string) error {
		return victim(func(pid int, addr uintptr) error {
			b := make([]byte, 8)
			_, err := unix.ProcessVMReadv(pid, []unix.Iovec{{Base: &b[0], Len: 8}}, []unix.RemoteIovec{{Base: addr, Len: 8}}, 0)
			return err
		})
	}
	acts["process-vm-writev"] = func(string) error {
		return victim(func(pid int, addr uintptr) error {
			b := make([]byte, 8)
			_, err := unix.ProcessVMWritev(pid, []unix.Iovec{{Base: &b[0], Len: 8}}, []unix.RemoteIovec{{Base: addr, Len: 8}}, 0)
			return err
		})
	}
	for _, n := range []string{"mem", "environ", "maps"} {
		acts["proc-"+n] = func(string) error {
			return victim(func(pid int, addr uintptr) error {
				f, err := os.Open(fmt.Sprintf("/proc/%d/%s", pid, n))
				if err != nil {
					return err
				}
				if n != "mem" {
					addr = 0
				}
				_, err = f.ReadAt(make([]byte, 8), int64(addr))
				return err
			})
		}
	}
	acts["gcore"] = func(dir string) error {
		// A small program: the debugger reads a Go program's symbols for long.
		cmd := exec.Command("sleep", "30")
		if err := cmd.Start(); err != nil {
			return err
		}
		defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
		if err := os.WriteFile("truth", []byte(strconv.Itoa(cmd.Process.Pid)), 0o600); err != nil {
			return err
		}
		return exec.Command("gcore", "-o", filepath.Join(dir, "core"), strconv.Itoa(cmd.Process.Pid)).Run()
	}
	acts["core-dump"] = func(string) error {
		return victim(func(pid int, _ uintptr) error { return unix.Kill(pid, unix.SIGQUIT) })
	}
	acts["pidfd-getfd"] = func(string) error {
		return victim(func(pid int, _ uintptr) error {
			fd, err := unix.PidfdOpen(pid, 0)
			if err != nil {
				return err
			}
			_, err = unix.PidfdGetfd(fd, 0, 0)
			return err
		})
	}
	onMonitor("stop-monitor", func(pid int) error {
		if err := unix.Kill(pid, unix.SIGSTOP); err != nil {
			return err
		}
		time.Sleep(2500 * time.Millisecond) // the span that must show
		err := self("mark", "while-stopped").Run()
		if e := unix.Kill(pid, unix.SIGCONT); e != nil {
			return e
		}
		time.Sleep(500 * time.Millisecond)
		return err
	})
	onMonitor("kill-monitor", func(pid int) error {
		if err := unix.Kill(pid, unix.SIGKILL); err != nil {
			return err
		}
		return self("mark", "after-the-kill").Run()
	})
	onMonitor("ptrace-monitor", func(pid int) error {
		runtime.LockOSThread()
		if err := unix.PtraceAttach(pid); err != nil {
			return nil // refused: the attempt counts
		}
		_, _ = unix.Wait4(pid, nil, unix.WALL, nil)
		return unix.PtraceDetach(pid)
	})
	onMonitor("read-monitor", func(pid int) error { _, _ = os.Open(fmt.Sprintf("/proc/%d/mem", pid)); return nil })
	onMonitor("detach-links", func(pid int) error {
		if err := network(); err != nil {
			return err
		}
		resolver("198.51.100.7:53")
		ids, err := held(pid, "link_id")
		if err != nil {
			return err
		}
		gone := map[uint32]bool{}
		for _, id := range ids {
			l, err := link.NewFromID(link.ID(id))
			if err != nil {
				continue // a kind that the library does not know
			}
			if l.Detach() == nil {
				gone[id] = true
			}
			l.Close()
		}
		if len(gone) == 0 && len(ids) > 0 {
			return fmt.Errorf("none of %d links could be detached", len(ids))
		}
		if err := self("mark", "detached").Run(); err != nil {
			return err
		}
		// What is done when the monitor has had the time to arm again must show.
		if err := eventually("links that were detached are armed again", func() bool {
			now, err := held(pid, "link_id")
			return err == nil && len(now) >= len(ids) && !slices.ContainsFunc(now, func(id uint32) bool { return gone[id] })
		}); err != nil && len(ids) > 0 {
			return err
		}
		return ask("198.51.100.7:53", "armed-again.test")
	})
	onMonitor("empty-maps", func(pid int) error {
		ids, err := held(pid, "map_id")
		if err != nil {
			return err
		}
		tried, done := 0, 0
		for _, id := range ids {
			m, err := ebpf.NewMapFromID(ebpf.MapID(id))
			if err != nil {
				return err
			}
			switch m.Type() {
			case ebpf.Hash, ebpf.LRUHash:
				for range 1000 {
					key, err := m.NextKeyBytes(nil)
					if err != nil || key == nil {
						break
					}
					tried++
					if m.Delete(key) != nil {
						break // refused where user space may only read: the attempt counts
					}
					done++
				}
			}
			m.Close()
		}
		if tried == 0 && len(ids) > 0 {
			return fmt.Errorf("none of %d maps had an entry", len(ids))
		}
		if err := canary(); err != nil {
			return err
		}
		if err := self("reader", ".npmrc").Run(); err != nil {
			return err
		}
		return os.WriteFile("truth", []byte(itoa(done)), 0o600)
	})
	onMonitor("advance-ring", func(pid int) error {
		ids, err := held(pid, "map_id")
		if err != nil {
			return err
		}
		moved := 0
		for i := range 20 {
			if err := self("mark", "swallowed", itoa(i)).Run(); err != nil {
				return err
			}
		}
		for _, id := range ids {
			m, err := ebpf.NewMapFromID(ebpf.MapID(id))
			if err != nil {
				return err
			}
			if m.Type() == ebpf.RingBuf {
				// The consumer's position is the first page, for who may write it.
				b, err := unix.Mmap(m.FD(), 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
				if err == nil {
					p, err := unix.Mmap(m.FD(), int64(os.Getpagesize()), os.Getpagesize(), unix.PROT_READ, unix.MAP_SHARED)
					if err == nil {
						*(*uint64)(unsafe.Pointer(&b[0])) = *(*uint64)(unsafe.Pointer(&p[0]))
						moved++
					}
				}
			}
			m.Close()
		}
		time.Sleep(2 * time.Second) // over some rounds of the monitor, in which it must have told
		if err := self("mark", "after-the-theft").Run(); err != nil {
			return err
		}
		return os.WriteFile("truth", []byte(itoa(moved)), 0o600)
	})
	acts["unmount-tracing"] = func(string) error {
		return ownMounts(func() error {
			for kind, at := range map[string]string{"bpf": "/sys/fs/bpf", "tracefs": "/sys/kernel/tracing"} {
				_ = unix.Mount(kind, at, kind, 0, "") // where it is not there yet
				if err := unix.Unmount(at, unix.MNT_DETACH); err != nil {
					return err
				}
			}
			return self("mark", "after-unmount").Run()
		})
	}
	acts["flood"] = func(dir string) error {
		if err := network(); err != nil {
			return err
		}
		serve("tcp4", peer)
		for i := range 100000 {
			fd, err := unix.Open("f"+itoa(i%1000), unix.O_CREAT|unix.O_WRONLY, 0o600)
			if err != nil {
				return err
			}
			_ = unix.Close(fd)
		}
		return self("connect", peer, filepath.Join(dir, "done")).Run()
	}
	acts["forge-log"] = func(string) error {
		pid, err := monitorPID()
		if err != nil {
			return err
		}
		// Only the log that our own monitor has open.
		n := 0
		fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
		if err != nil {
			return err
		}
		for _, e := range fds {
			p, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", pid, e.Name()))
			if strings.HasSuffix(p, ".jsonl.zst") {
				f, err := os.OpenFile(p, os.O_WRONLY|os.O_APPEND, 0)
				if err != nil {
					return err
				}
				if _, err := f.Write([]byte("forged")); err != nil {
					return err
				}
				f.Close()
				n++
			}
		}
		if n == 0 {
			return fmt.Errorf("the monitor has no log open")
		}
		return nil
	}
	// What was there before: does for a client what it asks.
	roles["daemon"] = func(a []string) error {
		l, err := net.Listen("unix", a[0])
		if err != nil {
			return err
		}
		fmt.Println("ready")
		c, err := l.Accept()
		if err != nil {
			return err
		}
		cmd := self("stays", "by-daemon")
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if err := cmd.Run(); err != nil {
			return err
		}
		_, err = c.Write([]byte("done\n"))
		return err
	}
	acts["ask-daemon"] = func(dir string) error {
		c, err := net.Dial("unix", filepath.Join(dir, "daemon.sock"))
		if err != nil {
			return err
		}
		_, err = bufio.NewReader(c).ReadString('\n')
		return err
	}
	acts["daemon-works"], acts["daemon-on-host"] = acts["ask-daemon"], acts["ask-daemon"]
	acts["ask-tmux"] = func(dir string) error {
		return exec.Command("tmux", "-S", filepath.Join(dir, "daemon.sock"), "new-window", "-d", "true").Run()
	}
	// The real daemons, each in a mount namespace of its own where folders of
	// the act's stand for those of the machine. The work they do makes a file.
	asking := func(name string, binds map[string]string, f func(dir, work string) error) {
		acts[name] = func(dir string) error {
			me, err := os.Executable()
			if err != nil {
				return err
			}
			done := filepath.Join(dir, "done")
			if err := ownMounts(func() error {
				for from, at := range binds {
					if err := unix.Mount(filepath.Join(dir, from), at, "", unix.MS_BIND, ""); err != nil {
						return fmt.Errorf("%s: %w", at, err)
					}
				}
				return f(dir, fmt.Sprintf("%s touched %s by-daemon", me, done))
			}); err != nil {
				return err
			}
			return eventuallyIn(70*time.Second, "the daemon has done it", func() bool { _, err := os.Stat(done); return err == nil })
		}
	}
	roles["touched"] = func(a []string) error { stay(); return os.WriteFile(a[0], nil, 0o600) }
	asking("ask-at", map[string]string{"jobs": "/var/spool/cron/atjobs", "run": "/run"}, func(_, work string) error {
		return fed(exec.Command("at", "now"), work+"\n")
	})
	asking("ask-cron", map[string]string{"tabs": "/var/spool/cron/crontabs"}, func(_, work string) error {
		return fed(exec.Command("crontab", "-"), "* * * * * "+work+"\n")
	})
	asking("ask-systemd", nil, func(dir, work string) error {
		cmd := exec.Command("systemd-run", append([]string{"--user", "--collect"}, strings.Fields(work)...)...)
		cmd.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+filepath.Join(dir, "run", "user"))
		return fed(cmd, "")
	})
	asking("ask-dbus", nil, func(dir, _ string) error { // its file says what the work is
		return fed(exec.Command("dbus-send", "--bus=unix:path="+filepath.Join(dir, "system_bus_socket"), "--dest=test.Canary", "/", "test.Canary.Do"), "")
	})
	acts["ask-spool"] = func(dir string) error {
		return os.WriteFile(filepath.Join(dir, "spool"), []byte("#!/bin/sh\ntrue\n"), 0o700)
	}
	onMonitor("forge-state", func(pid int) error {
		// Files of our own beside the monitor's log: one that says all is done.
		fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
		if err != nil {
			return err
		}
		for _, e := range fds {
			p, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", pid, e.Name()))
			if strings.HasSuffix(p, ".jsonl.zst") {
				return os.WriteFile(filepath.Join(filepath.Dir(p), "manifest.json"), []byte("{}\n"), 0o600)
			}
		}
		return fmt.Errorf("the monitor has no log open")
	})
}

func fed(cmd *exec.Cmd, stdin string) error {
	cmd.Stdin = strings.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", cmd.Path, err, out)
	}
	return nil
}
