package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/org/edamame-posture/test/kernels/told"
)

// entry is a file of the machine's first file system. A mode says its type too,
// as st_mode does.
type entry struct {
	path string
	mode uint32
	data []byte
}

const (
	folder  = 0o040755
	program = 0o100755
	setuid  = 0o104755
	text    = 0o100644
)

// cpio writes entries as the kernel reads them (cpio(5), "newc"; the kernel's
// Documentation/driver-api/early-userspace/buffer-format.rst).
func cpio(entries []entry) []byte {
	var b bytes.Buffer
	pad := func() {
		for b.Len()%4 != 0 {
			b.WriteByte(0)
		}
	}
	for i, e := range append(entries, entry{path: "TRAILER!!!"}) {
		// Inode, mode, owner, group, links, time, size, device twice, length of the name, checksum.
		fmt.Fprintf(&b, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x",
			i+1, e.mode, 0, 0, 1, 0, len(e.data), 0, 0, 0, 0, len(e.path)+1, 0)
		b.WriteString(e.path)
		b.WriteByte(0)
		pad()
		b.Write(e.data)
		pad()
	}
	return b.Bytes()
}

// exits are machine codes of a program that ends at once with 0.
var exits = map[string]struct {
	machine uint16 // e_machine
	code    []byte
}{
	"amd64": {62, []byte{0x31, 0xff, 0xb8, 0x3c, 0, 0, 0, 0x0f, 0x05}},              // xor edi,edi; mov eax,60; syscall
	"arm64": {183, []byte{0, 0, 0x80, 0xd2, 0xa8, 0x0b, 0x80, 0xd2, 1, 0, 0, 0xd4}}, // mov x0,0; mov x8,93; svc 0
}

// nothing is the smallest program there is: what a storm executes. A kernel
// starts thousands of it while it starts one of Go, also in emulation.
func nothing(arch string) []byte {
	e := exits[arch]
	const at, head = 0x400000, 64 + 56
	le := binary.LittleEndian
	b := append([]byte("\x7fELF\x02\x01\x01"), make([]byte, head-7)...)
	le.PutUint16(b[16:], 2) // ET_EXEC
	le.PutUint16(b[18:], e.machine)
	le.PutUint32(b[20:], 1)
	le.PutUint64(b[24:], at+head) // e_entry
	le.PutUint64(b[32:], 64)      // e_phoff
	le.PutUint16(b[52:], 64)
	le.PutUint16(b[54:], 56)
	le.PutUint16(b[56:], 1)
	p := b[64:]
	le.PutUint32(p[0:], 1) // PT_LOAD
	le.PutUint32(p[4:], 5) // read, execute
	le.PutUint64(p[16:], at)
	le.PutUint64(p[24:], at)
	size := uint64(head + len(e.code))
	le.PutUint64(p[32:], size)
	le.PutUint64(p[40:], size)
	le.PutUint64(p[48:], 0x1000)
	return append(b, e.code...)
}

// programs are built for a processor, as they would be for a release.
type programs struct{ posture, guest, storm []byte }

func build(ctx context.Context, dir, arch string) (*programs, error) {
	var p programs
	for pkg, to := range map[string]*[]byte{"cmd/edamame-posture": &p.posture, "test/kernels/guest": &p.guest, "test/bench/storm": &p.storm} {
		bin := filepath.Join(dir, arch+"-"+filepath.Base(pkg))
		cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", bin, "github.com/org/edamame-posture/"+pkg)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
		if out, err := cmd.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("go build %s for %s: %w\n%s", pkg, arch, err, out)
		}
		var err error
		if *to, err = os.ReadFile(bin); err != nil {
			return nil, err
		}
		_ = os.Remove(bin)
	}
	return &p, nil
}

// initramfs is all that the machine has.
func initramfs(p *programs, arch, modules string, plan *told.Plan) ([]byte, error) {
	planned, err := json.Marshal(plan)
	if err != nil {
		return nil, err
	}
	var all []entry
	for _, d := range []string{"dev", "proc", "sys", "tmp", "run", "var", "etc", "root", "bin", "usr", "usr/bin", "modules"} {
		all = append(all, entry{d, folder, nil})
	}
	all = append(all,
		entry{"init", program, p.guest},
		entry{"bin/true", program, nothing(arch)},
		entry{"usr/bin/edamame-posture", program, p.posture},
		entry{"usr/bin/storm", program, p.storm},
		// What gives power is known by its bits: the storm answers to any name.
		entry{"usr/bin/sudo", setuid, p.storm},
		entry{"etc/passwd", text, []byte("root:x:0:0:root:/root:/bin/true\n")},
		entry{"etc/group", text, []byte("root:x:0:\n")},
		entry{told.PlanFile[1:], text, planned},
	)
	files, err := filepath.Glob(filepath.Join(modules, "*.ko"))
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			return nil, err
		}
		all = append(all, entry{told.Modules[1:] + "/" + filepath.Base(f), text, b})
	}
	return cpio(all), nil
}
