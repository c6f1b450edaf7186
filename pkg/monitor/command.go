package monitor

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Exit codes of a command that could not be started, as shells give them.
const (
	ExitNotExecutable = 126
	ExitNotFound      = 127
)

// Command is the watched command. It stays a child of the process that calls
// [Command.Start], with its terminal, files and process group.
type Command struct {
	Argv   []string
	Path   string // the file that is executed
	Caller Caller
	// Files are its input, output and errors; nil are this process's own.
	Files []*os.File
	// Terminal makes the first of Files that is one its controlling terminal, in a
	// session of its own: what the caller's terminal sends no longer reaches it.
	Terminal bool

	proc        *os.Process
	sigs        chan os.Signal
	done        chan struct{}
	interrupted atomic.Bool // the terminal sent SIGINT to it and to us
}

// FindCommand looks argv[0] up as the caller's shell would. code is 126 or 127
// where there is an error.
func FindCommand(argv []string, c Caller) (cmd *Command, code int, err error) {
	path, err := lookPath(argv[0], c.Path)
	switch {
	case err == nil:
		return &Command{Argv: argv, Path: path, Caller: c}, 0, nil
	case errors.Is(err, fs.ErrPermission):
		return nil, ExitNotExecutable, err
	}
	return nil, ExitNotFound, err
}

func lookPath(file, path string) (string, error) {
	if strings.Contains(file, "/") {
		return file, executable(file)
	}
	var denied error
	for _, dir := range filepath.SplitList(path) {
		if dir == "" {
			dir = "."
		}
		p := filepath.Join(dir, file)
		if !strings.Contains(p, "/") {
			p = "./" + p
		}
		err := executable(p)
		if err == nil {
			return p, nil
		}
		if errors.Is(err, fs.ErrPermission) {
			denied = err
		}
	}
	if denied != nil {
		return "", denied
	}
	return "", &exec.Error{Name: file, Err: exec.ErrNotFound}
}

func executable(path string) error {
	st, err := os.Stat(path)
	if err != nil {
		return err
	}
	if st.IsDir() || st.Mode()&0o111 == 0 {
		return &fs.PathError{Op: "exec", Path: path, Err: fs.ErrPermission}
	}
	return nil
}

// Start starts the command. code is 126 or 127 where there is an error.
func (c *Command) Start() (code int, err error) {
	// Registered before the start, so that no signal finds us without handlers.
	c.sigs, c.done = make(chan os.Signal, 16), make(chan struct{})
	for _, s := range []os.Signal{unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGHUP, unix.SIGUSR1, unix.SIGUSR2} {
		// What was ignored (nohup) stays so, for the command too.
		if !signal.Ignored(s) {
			signal.Notify(c.sigs, s)
		}
	}
	attr := &os.ProcAttr{
		Env:   c.Caller.Environ(),
		Files: []*os.File{os.Stdin, os.Stdout, os.Stderr},
		Sys:   c.Caller.Attr(),
	}
	if c.Files != nil {
		attr.Files = c.Files
	}
	if c.Terminal {
		attr.Sys.Setsid, attr.Sys.Setctty = true, true
		attr.Sys.Ctty = slices.IndexFunc(attr.Files, isTerminal)
	}
	c.proc, err = os.StartProcess(c.Path, c.Argv, attr)
	if errors.Is(err, unix.ENOEXEC) {
		// A script without #! is the shell's: as execvp(3), env(1), sudo(8).
		c.proc, err = os.StartProcess("/bin/sh", append([]string{"/bin/sh", c.Path}, c.Argv[1:]...), attr)
	}
	if err != nil {
		signal.Stop(c.sigs)
		if errors.Is(err, fs.ErrNotExist) {
			return ExitNotFound, err
		}
		return ExitNotExecutable, err
	}
	go c.forward()
	return 0, nil
}

// PID returns the command's process id.
func (c *Command) PID() int { return c.proc.Pid }

// forward passes signals on. What the terminal sends goes to its whole
// foreground process group and so has reached the command already.
func (c *Command) forward() {
	for {
		select {
		case s := <-c.sigs:
			if (s == unix.SIGINT || s == unix.SIGQUIT) && !c.Terminal && inForeground() {
				c.interrupted.Store(c.interrupted.Load() || s == unix.SIGINT)
				continue
			}
			_ = c.proc.Signal(s)
		case <-c.done:
			return
		}
	}
}

func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// inForeground reports whether the process group is the one that the terminal
// sends its signals to.
func inForeground() bool {
	tty, err := os.Open("/dev/tty")
	if err != nil {
		return false
	}
	defer tty.Close()
	pgrp, err := unix.IoctlGetInt(int(tty.Fd()), unix.TIOCGPGRP)
	return err == nil && pgrp == unix.Getpgrp()
}

// Wait waits for the command alone, not for what it left running. It returns
// the exit code, or the signal that ended it.
func (c *Command) Wait() (code, sig int, err error) {
	defer close(c.done)
	for {
		var ws unix.WaitStatus
		_, err := unix.Wait4(c.proc.Pid, &ws, unix.WUNTRACED, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return -1, 0, err
		case ws.Stopped():
			c.stopped()
		case ws.Signaled():
			return 0, int(ws.Signal()), nil
		default:
			return ws.ExitStatus(), 0, nil
		}
	}
}

// stopped is called when the command was stopped. Where it leads the
// terminal's foreground group, as an interactive shell does, the terminal
// would wait for ever: we stop too, so that the shell around gets it back, and
// hand it on when that shell has us continue.
func (c *Command) stopped() {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return
	}
	defer tty.Close()
	fd := int(tty.Fd())
	group, err := unix.Getpgid(c.proc.Pid)
	if err != nil || group == unix.Getpgrp() {
		return
	}
	if front, err := unix.IoctlGetInt(fd, unix.TIOCGPGRP); err != nil || front != group {
		return
	}
	continued := make(chan os.Signal, 1)
	signal.Notify(continued, unix.SIGCONT)
	defer signal.Stop(continued)
	// To this thread, so that it stops here. Not SIGSTOP: where no shell is
	// there to continue us, SIGTSTP does nothing.
	runtime.LockOSThread()
	err = unix.Tgkill(unix.Getpid(), unix.Gettid(), unix.SIGTSTP)
	runtime.UnlockOSThread()
	if err != nil {
		return
	}
	select {
	case <-continued:
	case <-time.After(100 * time.Millisecond):
		return
	}
	signal.Ignore(unix.SIGTTOU)
	_ = unix.IoctlSetPointerInt(fd, unix.TIOCSPGRP, group)
	signal.Reset(unix.SIGTTOU)
	_ = unix.Kill(-group, unix.SIGCONT)
}

// Interrupted reports whether Ctrl-C reached the command while it ran.
func (c *Command) Interrupted() bool { return c.interrupted.Load() }

// Release ends the handling of signals.
func (c *Command) Release() { signal.Stop(c.sigs) }

// ExitCode is the code with which a shell would report it.
func ExitCode(code, sig int) int {
	if sig != 0 {
		return 128 + sig
	}
	return code
}
