package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/org/edamame-posture/test/kernels/told"
)

// machines are the machines that are emulated, in software: /dev/kvm is not to
// be had in most places, and what a kernel lets one do is the same.
var machines = map[string]struct {
	qemu, console string
	args          []string
}{
	"amd64": {"qemu-system-x86_64", "ttyS0", []string{"-machine", "q35", "-cpu", "max"}},
	"arm64": {"qemu-system-aarch64", "ttyAMA0", []string{"-machine", "virt", "-cpu", "max,pauth-impdef=on"}},
}

// booted is what a machine told.
type booted struct {
	guest   *told.Guest
	runs    []told.Run
	done    bool
	console []byte
	cpu     time.Duration // of the emulator
	took    time.Duration
}

// boot starts a machine, waits until it has turned itself off, and reads what it
// told. Once ctx has ended the machine is ended.
func boot(ctx context.Context, dir, arch, kernel string, files []byte) (*booted, error) {
	initrd := filepath.Join(dir, "initramfs")
	if err := os.WriteFile(initrd, files, 0o644); err != nil {
		return nil, err
	}
	defer os.Remove(initrd)
	m := machines[arch]
	cmd := exec.CommandContext(ctx, m.qemu, append(m.args,
		// Its clock goes by the instructions that were done: what the machine waits
		// for takes as long for it on a busy host, and sleeping takes nothing. A second processor does not
		// come up so.
		"-accel", "tcg,thread=single", "-icount", "shift=1,sleep=off", "-rtc", "clock=vm", "-smp", "1", "-m", "1536",
		"-nodefaults", "-no-user-config", "-display", "none", "-nic", "none", "-no-reboot",
		"-serial", "stdio", "-kernel", kernel, "-initrd", initrd,
		// A kernel that panics ends the machine.
		"-append", "console="+m.console+" loglevel=3 panic=-1")...)
	cmd.WaitDelay = 5 * time.Second
	var console, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &console, &errs
	began := time.Now()
	err := cmd.Run()
	b := &booted{console: console.Bytes(), took: time.Since(began)}
	if s := cmd.ProcessState; s != nil {
		b.cpu = s.UserTime() + s.SystemTime()
	}
	if err != nil && ctx.Err() == nil {
		return b, fmt.Errorf("%s: %w: %.500s", m.qemu, err, errs.String())
	}
	if err := b.read(); err != nil {
		return b, err
	}
	if !b.done {
		return b, fmt.Errorf("the machine ended, or was ended, after %v, before it had told all: %s\n%s", b.took.Round(time.Second), strings.TrimSpace(errs.String()), tail(b.console))
	}
	return b, nil
}

// read takes the lines of the console that are meant for us.
func (b *booted) read() error {
	for line := range bytes.Lines(b.console) {
		_, rest, ok := bytes.Cut(line, []byte(told.Mark))
		if !ok {
			continue
		}
		var l told.Line
		if err := json.Unmarshal(bytes.TrimSpace(rest), &l); err != nil {
			return fmt.Errorf("a line of the machine: %w: %.200s", err, rest)
		}
		switch {
		case l.Guest != nil:
			b.guest = l.Guest
		case l.Run != nil:
			b.runs = append(b.runs, *l.Run)
		case l.Done:
			b.done = true
		}
	}
	return nil
}

// tail is the end of a console, as a person can read it.
func tail(console []byte) string {
	const most = 2000
	if len(console) > most {
		console = console[len(console)-most:]
	}
	return strings.ToValidUTF8(strings.ReplaceAll(string(console), "\r", ""), "?")
}
