package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/org/edamame-posture/test/kernels/told"
)

// within is how long all of the short form may take on a busy machine; a minute
// does on a quiet one.
const within = 4 * time.Minute

// The kernel of the machine's own release for virtual machines, with the sensor
// that is chosen there: what a storm does is in the evidence.
func TestAKernelOfThisReleaseShowsAStormWhole(t *testing.T) {
	for _, tool := range []string{"qemu-system-x86_64", "apt-get", "dpkg-deb", "xz"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("SKIP: no kernel is booted: %v (apt-get install qemu-system-x86 xz-utils, on Debian)", err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	kept, err := filepath.Abs(filepath.Join("../..", cache))
	if err != nil {
		t.Fatal(err)
	}
	img, err := here(kept).fetch(ctx, "", "amd64")
	if err != nil {
		t.Skipf("SKIP: no kernel is booted: its package is not to be had: %v", err)
	}
	dir := t.TempDir()
	p, err := build(ctx, dir, "amd64")
	if err != nil {
		t.Fatal(err)
	}
	b, err := try(ctx, dir, img, "amd64", p, &told.Plan{Count: 50, Sensors: []string{"auto"}, Sealed: true})
	if err != nil {
		t.Fatalf("%s: %v", img.release, err)
	}
	if err := b.check("ebpf"); err != nil {
		t.Errorf("%s: %v", img.release, err)
	}
	t.Logf("%s: %v, %v of the processors; %+v", img.release, b.took.Round(time.Second), b.cpu.Round(time.Second), b.runs)
}

// What check lets through is what was asked for.
func TestWhatIsNotAsWantedIsSaid(t *testing.T) {
	good := told.Run{Asked: "auto", Sensor: "ebpf", Did: told.Tally{Execs: 3, Connects: 3}, Seen: told.Tally{Execs: 3, Connects: 3}}
	with := func(change func(*booted)) *booted {
		b := &booted{guest: &told.Guest{}, runs: []told.Run{good}}
		change(b)
		return b
	}
	for name, c := range map[string]struct {
		b     *booted
		wrong bool
	}{
		"all":             {with(func(*booted) {}), false},
		"told as lost":    {with(func(b *booted) { b.runs[0].Seen.Connects, b.runs[0].Lost = 2, 1 }), false},
		"missing":         {with(func(b *booted) { b.runs[0].Seen.Connects = 2 }), true},
		"another sensor":  {with(func(b *booted) { b.runs[0].Sensor = "netlink" }), true},
		"no run":          {with(func(b *booted) { b.runs = nil }), true},
		"an error":        {with(func(b *booted) { b.runs[0].Err = "no" }), true},
		"nothing in TLS":  {with(func(b *booted) { b.runs[0].Sealed, b.runs[0].Held = true, 1 }), true},
		"nothing held up": {with(func(b *booted) { b.runs[0].Sealed, b.runs[0].Requests = true, 1 }), true},
		"a problem":       {with(func(b *booted) { b.guest.Problems = []string{"no"} }), true},
	} {
		if err := c.b.check("ebpf"); (err != nil) != c.wrong {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The archive is read by the standard tool, and its program ends with 0.
func TestTheFirstFileSystemIsReadAsOne(t *testing.T) {
	if _, err := exec.LookPath("busybox"); err != nil {
		t.Skip("SKIP: busybox is not installed: apt-get install busybox-static")
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "fs")
	if err := os.WriteFile(file, cpio([]entry{{"bin", folder, nil}, {"bin/true", program, nothing(runtime.GOARCH)}, {"odd", text, []byte("x")}}), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("busybox", "cpio", "-id", "-F", file)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := exec.Command(filepath.Join(dir, "bin/true")).Run(); err != nil {
		t.Error(err)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "odd")); err != nil || string(b) != "x" {
		t.Errorf("%q %v", b, err)
	}
}
