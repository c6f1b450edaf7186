// Command act does one evasion each for real, on loopback in a network
// namespace of its own, with canaries for secrets. The test beside it watches it.
package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// An act does its thing in a folder of its own, in a network namespace of its
// own. What must be known to judge what was seen it writes to a file "truth".
var acts = map[string]func(dir string) error{}

// roles are what acts start as processes of their own.
var roles = map[string]func(args []string) error{}

func main() {
	if len(os.Args) < 2 {
		fatal(fmt.Errorf("usage: act all DIR NAME... | act NAME DIR"))
	}
	name, args := os.Args[1], os.Args[2:]
	switch {
	case name == "all":
		do := func(n string) {
			if err := one(n, filepath.Join(args[0], n)); err != nil {
				fmt.Printf("%s: %v\n", n, err)
			}
		}
		// Most of them only wait to be seen: they need not wait for each other.
		var doing sync.WaitGroup
		room := make(chan struct{}, 6)
		for _, n := range args[1:] {
			doing.Go(func() {
				room <- struct{}{}
				do(n)
				<-room
			})
		}
		doing.Wait()
	case roles[name] != nil:
		if err := roles[name](args); err != nil {
			fatal(fmt.Errorf("%s: %w", name, err))
		}
	case acts[name] != nil:
		if err := os.Chdir(args[0]); err != nil {
			fatal(err)
		}
		if err := acts[name](args[0]); err != nil {
			fatal(err)
		}
	default:
		fatal(fmt.Errorf("no act %q", name))
	}
}

func fatal(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// one runs an act, three minutes at most.
func one(name, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/proc/self/exe", name, dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	cmd.WaitDelay = time.Second
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// self makes a command of this program in a role.
func self(args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	return cmd
}
