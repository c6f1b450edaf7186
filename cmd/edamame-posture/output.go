package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"github.com/org/edamame-posture/pkg/monitor"
	"github.com/org/edamame-posture/pkg/steplog"
)

// output stands between the command and where its output goes, and looks for
// the caller's secrets in it. A nil one does nothing.
type output struct {
	client *monitor.Client
	theirs []*os.File // the command's ends
	relays []relay    // ours, and where each goes
	master *os.File   // of the terminal that stands for the caller's; nil without
	hits   chan steplog.Hit
	told   chan struct{} // closed when all hits were
	copied sync.WaitGroup
	undo   []func()
}

type relay struct {
	from, to *os.File
	scanner  *steplog.Scanner
}

// leftBehind is how long output is read on after the command has ended, where
// what it started holds its end open.
const leftBehind = time.Second

// scanOutput puts pipes between the command and its output, and a terminal
// where the caller's output is one.
func scanOutput(wanted bool, caller monitor.Caller, client *monitor.Client, command *monitor.Command) (*output, error) {
	if !wanted {
		return nil, nil
	}
	secrets := steplog.FromEnvironment(caller.Environ())
	if len(secrets) == 0 {
		fmt.Fprintln(os.Stderr, "edamame-posture: --scan-output: no variable of the environment holds a secret by its name; only a runner's memory is looked for")
	}
	o := &output{client: client, hits: make(chan steplog.Hit, 64), told: make(chan struct{})}
	files := []*os.File{os.Stdin, os.Stdout, os.Stderr}
	if isTerminal(1) || isTerminal(2) {
		opened, slave, err := pty.Open()
		if err != nil {
			return nil, err
		}
		master, err := timed(opened)
		if err != nil {
			_ = slave.Close()
			return nil, err
		}
		o.master = master
		o.theirs = append(o.theirs, slave)
		// The terminal's owner is who types at it, as for any other.
		if caller.Sudo {
			if err := slave.Chown(caller.UID, -1); err != nil {
				o.close()
				return nil, err
			}
		}
		to := os.Stdout
		for i := range files {
			if isTerminal(i) {
				files[i] = slave
				if i == 2 && to == os.Stdout && !isTerminal(1) {
					to = os.Stderr
				}
			}
		}
		o.relays = append(o.relays, relay{from: master, to: to})
		command.Terminal = true
	}
	for i := 1; i <= 2; i++ {
		if isTerminal(i) {
			continue
		}
		if i == 2 && !isTerminal(1) && sameFile(os.Stdout, os.Stderr) {
			files[2] = files[1] // one pipe keeps their order
			continue
		}
		r, w, err := os.Pipe()
		if err != nil {
			o.close()
			return nil, err
		}
		o.theirs = append(o.theirs, w)
		o.relays = append(o.relays, relay{from: r, to: files[i]})
		files[i] = w
	}
	opt := steplog.Options{Runner: os.Getenv("GITHUB_ACTIONS") == "true"}
	for i := range o.relays {
		o.relays[i].scanner = steplog.New(secrets, opt, func(h steplog.Hit) { o.hits <- h })
	}
	command.Files = files
	return o, nil
}

// timed returns a file on which a read can be given a time to end: pty.Open asks
// the file for its descriptor, and it blocks from then on.
func timed(f *os.File) (*os.File, error) {
	defer f.Close()
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}

// resize gives the command's terminal the size of the caller's.
func (o *output) resize() {
	size, err := unix.IoctlGetWinsize(1, unix.TIOCGWINSZ)
	if err != nil {
		return
	}
	if raw, err := o.master.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { _ = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, size) })
	}
}

func sameFile(a, b *os.File) bool {
	x, err1 := a.Stat()
	y, err2 := b.Stat()
	return err1 == nil && err2 == nil && os.SameFile(x, y)
}

// begin is called when the command has started.
func (o *output) begin() {
	if o == nil {
		return
	}
	for _, f := range o.theirs {
		_ = f.Close()
	}
	o.theirs = nil
	if o.master != nil {
		o.attach()
	}
	go func() {
		defer close(o.told)
		var failed error
		for h := range o.hits {
			// A monitor that does not answer is asked once: the command's output waits for this.
			if failed == nil {
				failed = o.client.Disclosed(monitor.Disclosed{Name: h.Name, Form: h.Form.String(), Line: h.Line})
			}
			if failed != nil {
				fmt.Fprintf(os.Stderr, "edamame-posture: %s was printed (%s) and the monitor did not take note: %v\n", h.Name, h.Form, failed)
			}
		}
	}()
	for i := range o.relays {
		r := &o.relays[i]
		o.copied.Go(func() {
			w := io.MultiWriter(r.scanner, r.to)
			_, err := io.Copy(w, r.from)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				// What was printed before it must not be lost, however slow its reader is.
				if n, e := unix.IoctlGetInt(int(r.from.Fd()), unix.TIOCINQ); e == nil && n > 0 {
					_, _ = io.CopyN(w, r.from, int64(n))
				}
				fmt.Fprintln(os.Stderr, "edamame-posture: --scan-output: the command left a process running that may still print: that goes nowhere from now on")
			}
			// Where nobody reads any more (EPIPE), the command learns of it by its own pipe.
			_ = r.from.Close()
			r.scanner.Close()
		})
	}
}

// attach joins the caller's terminal and the command's: keys go through as they
// are, and so does a change of size.
func (o *output) attach() {
	o.resize()
	resized := make(chan os.Signal, 1)
	signal.Notify(resized, unix.SIGWINCH)
	o.undo = append(o.undo, func() { signal.Stop(resized); close(resized) })
	go func() {
		for range resized {
			o.resize()
		}
	}()
	// In the background the keys are another's, and who changes the terminal is stopped.
	if group, err := unix.IoctlGetInt(0, unix.TIOCGPGRP); err != nil || group != unix.Getpgrp() {
		return
	}
	if state, err := term.MakeRaw(0); err == nil {
		o.undo = append(o.undo, func() { _ = term.Restore(0, state) })
	}
	go func() { _, _ = io.Copy(o.master, os.Stdin) }()
}

// close is called when the command has ended: what it printed is read to its
// end, or for a moment where something it started holds that open.
func (o *output) close() {
	if o == nil {
		return
	}
	if o.theirs != nil { // it never started
		for _, f := range o.theirs {
			_ = f.Close()
		}
		for _, r := range o.relays {
			_ = r.from.Close()
		}
		return
	}
	for _, r := range o.relays {
		_ = r.from.SetReadDeadline(time.Now().Add(leftBehind))
	}
	o.copied.Wait()
	for i := len(o.undo) - 1; i >= 0; i-- {
		o.undo[i]()
	}
	close(o.hits)
	<-o.told
}
