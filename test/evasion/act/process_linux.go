package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

func init() {
	roles["mark"] = func([]string) error { return nil }
	roles["stays"] = func([]string) error { stay(); return nil }
	roles["wait"] = func([]string) error { _, err := io.Copy(io.Discard, os.Stdin); return err }
	roles["detach"] = func(a []string) error {
		cmd := self("connect", a[0], a[1])
		return cmd.Start()
	}
	acts["double-fork"] = func(dir string) error {
		if err := network(); err != nil {
			return err
		}
		serve("tcp4", peer)
		done := filepath.Join(dir, "done")
		cmd := self("detach", peer, done)
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if err := cmd.Run(); err != nil {
			return err
		}
		return appears(done)
	}
	acts["pid-reuse"] = func(string) error {
		const last = "/proc/sys/kernel/ns_last_pid"
		for range 200 {
			first := self("mark", "first")
			if err := first.Run(); err != nil {
				return err
			}
			if err := os.WriteFile(last, []byte(strconv.Itoa(first.Process.Pid-1)), 0); err != nil {
				return err
			}
			second := self("mark", "second")
			if err := second.Run(); err != nil {
				return err
			}
			if second.Process.Pid == first.Process.Pid {
				return os.WriteFile("truth", []byte(strconv.Itoa(first.Process.Pid)), 0o600)
			}
		}
		return fmt.Errorf("no pid was given out twice")
	}
	roles["masked"] = func(a []string) error {
		if err := unix.Prctl(unix.PR_SET_NAME, uintptr(unsafe.Pointer(&[]byte("npm\x00")[0])), 0, 0, 0); err != nil {
			return err
		}
		addr, done := strings.Clone(a[0]), strings.Clone(a[1])
		// The strings of os.Args are the kernel's own copy, at the top of the stack.
		for _, arg := range os.Args {
			b := unsafe.Slice(unsafe.StringData(arg), len(arg))
			for i := range b {
				b[i] = 'x'
			}
		}
		start := uintptr(unsafe.Pointer(unsafe.StringData(os.Args[0])))
		_ = unix.Prctl(unix.PR_SET_MM, unix.PR_SET_MM_ARG_START, start+4, 0, 0)
		return connectTo(addr, done)
	}
	acts["argv-rewrite"] = func(dir string) error {
		if err := network(); err != nil {
			return err
		}
		serve("tcp4", peer)
		cmd := self("masked", peer, filepath.Join(dir, "done"))
		return cmd.Run()
	}
	acts["argv0-forged"] = func(dir string) error {
		if err := network(); err != nil {
			return err
		}
		serve("tcp4", peer)
		cmd := self("connect", peer, filepath.Join(dir, "done"))
		cmd.Args[0] = "npm"
		return cmd.Run()
	}
	acts["memfd-exec"] = func(string) error {
		fd, err := unix.MemfdCreate("innocent", 0)
		if err != nil {
			return err
		}
		f := os.NewFile(uintptr(fd), "memfd")
		if err := copySelf(f); err != nil {
			return err
		}
		cmd := exec.Command("/proc/self/fd/3", "stays", "memfd")
		cmd.ExtraFiles = []*os.File{f}
		return cmd.Run()
	}
	roles["fexec"] = func([]string) error {
		empty, _ := unix.BytePtrFromString("")
		argv, _ := syscall.SlicePtrFromStrings([]string{"gone", "stays", "deleted"})
		envv, _ := syscall.SlicePtrFromStrings(nil)
		_, _, e := unix.Syscall6(unix.SYS_EXECVEAT, 3, uintptr(unsafe.Pointer(empty)), uintptr(unsafe.Pointer(&argv[0])), uintptr(unsafe.Pointer(&envv[0])), unix.AT_EMPTY_PATH, 0)
		return e
	}
	acts["fexecve-deleted"] = func(string) error {
		w, err := os.OpenFile("gone", os.O_CREATE|os.O_WRONLY, 0o755)
		if err != nil {
			return err
		}
		if err := copySelf(w); err != nil {
			return err
		}
		w.Close()
		f, err := os.Open("gone")
		if err != nil {
			return err
		}
		if err := os.Remove("gone"); err != nil {
			return err
		}
		cmd := self("fexec")
		cmd.ExtraFiles = []*os.File{f}
		return cmd.Run()
	}
	acts["script-stdin"] = func(string) error {
		cmd := exec.Command("sh")
		cmd.Stdin = strings.NewReader("/proc/" + strconv.Itoa(os.Getpid()) + "/exe stays from-stdin\n")
		return cmd.Run()
	}
	acts["script-image"] = func(dir string) error {
		if err := os.WriteFile("tool", []byte("#!/bin/sh\nsleep 2\n"), 0o755); err != nil {
			return err
		}
		return exec.Command(filepath.Join(dir, "tool")).Run()
	}
	acts["spawn-storm"] = func(string) error {
		for i := range 300 {
			if err := self("mark", "storm", strconv.Itoa(i)).Run(); err != nil {
				return err
			}
		}
		return nil
	}
	acts["posix-spawn-storm"] = func(string) error {
		// The C library's own posix_spawn(3), of which Python has the name: all
		// are started before the first is waited for.
		me, err := os.Executable()
		if err != nil {
			return err
		}
		const storm = `import os, sys
pids = [os.posix_spawn(sys.argv[1], [sys.argv[1], "mark", "spawned", str(i)], {}) for i in range(300)]
for p in pids: os.waitpid(p, 0)`
		cmd := exec.Command("python3", "-c", storm, me)
		cmd.Stderr = os.Stderr
		return cmd.Run()
	}
	acts["unshare"] = func(dir string) error {
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNET | unix.CLONE_NEWNS); err != nil {
			return err
		}
		return self("inside", filepath.Join(dir, "done")).Run()
	}
	acts["outlives-parent"] = func(string) error {
		// Who started it is long gone, as a step that has ended, when it connects.
		if err := network(); err != nil {
			return err
		}
		cmd := self("later", strconv.Itoa(os.Getpid()))
		cmd.Stdout, cmd.Stderr = nil, nil
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		return cmd.Start()
	}
	roles["later"] = func(a []string) error {
		if err := eventually("the parent is gone", func() bool { return strconv.Itoa(os.Getppid()) != a[0] }); err != nil {
			return err
		}
		serve("tcp4", peer)
		return dial("tcp", peer)("")
	}
	acts["outlives-recording"] = func(string) error {
		cmd := exec.Command("sleep", "20")
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if err := cmd.Start(); err != nil {
			return err
		}
		return os.WriteFile("truth", []byte(strconv.Itoa(cmd.Process.Pid)), 0o600)
	}
	acts["clone-namespaces"] = func(dir string) error {
		cmd := self("inside", filepath.Join(dir, "done"))
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWUSER,
			UidMappings: []syscall.SysProcIDMap{{HostID: 0, Size: 1}}, GidMappings: []syscall.SysProcIDMap{{HostID: 0, Size: 1}},
		}
		return cmd.Run()
	}
	roles["inside"] = func(a []string) error {
		if err := network(); err != nil {
			return err
		}
		serve("tcp4", peer)
		return connectTo(peer, a[0])
	}
	acts["setns"] = func(string) error {
		fd, err := unix.Open(fmt.Sprintf("/proc/%d/ns/net", os.Getppid()), unix.O_RDONLY, 0)
		if err != nil {
			return err
		}
		return unix.Setns(fd, unix.CLONE_NEWNET)
	}
	acts["long-argv"] = func(string) error { return self("stays", strings.Repeat("a", 128<<10-64), "end").Run() }
	acts["odd-names"] = func(string) error {
		for _, n := range []string{"bad-\xff\xfe", "esc-\x1b[31mred", "md-`|<script>](x)", "line-\nend"} {
			if err := os.WriteFile(n, nil, 0o600); err != nil {
				return err
			}
			if err := self("mark", n).Run(); err != nil {
				return err
			}
		}
		return nil
	}
	acts["cgroup-migration"] = func(dir string) error {
		if err := network(); err != nil {
			return err
		}
		root := "/sys/fs/cgroup"
		if _, err := os.Stat(root + "/cgroup.procs"); err != nil {
			root += "/unified"
		}
		group := filepath.Join(root, "posture-evasion-"+strconv.Itoa(os.Getpid()))
		if err := os.Mkdir(group, 0o755); err != nil {
			return err
		}
		defer os.Remove(group)
		serve("tcp4", peer)
		cmd := self("migrate", filepath.Join(group, "cgroup.procs"), peer, filepath.Join(dir, "done"))
		return cmd.Run()
	}
	roles["migrate"] = func(a []string) error {
		if err := os.WriteFile(a[0], []byte("0"), 0); err != nil {
			return err
		}
		return connectTo(a[1], a[2])
	}
	acts["forged-environment"] = func(string) error {
		cmd := self("stays", "forged")
		cmd.Env = []string{"GITHUB_JOB=another", "GITHUB_ACTIONS=true", "EDAMAME_POSTURE_RUN=forged"}
		return cmd.Run()
	}
	acts["setuid"] = func(string) error {
		cmd := self()
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		cmd.Path, cmd.Args = "/bin/sleep", []string{"sleep", "2"}
		return cmd.Run()
	}
}

func copySelf(w io.Writer) error {
	f, err := os.Open("/proc/self/exe")
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(w, f)
	return err
}

// appears waits for a file that another process makes.
func appears(path string) error {
	return eventually(path+" is there", func() bool { _, err := os.Stat(path); return err == nil })
}

// eventually waits for ten seconds at most until something is so.
func eventually(what string, ok func() bool) error { return eventuallyIn(10*time.Second, what, ok) }

func eventuallyIn(limit time.Duration, what string, ok func() bool) error {
	for deadline := time.Now().Add(limit); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			return fmt.Errorf("it did not come to be that %s", what)
		}
	}
	return nil
}
