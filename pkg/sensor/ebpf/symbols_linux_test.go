package ebpf

import (
	"bytes"
	"debug/elf"
	"encoding/hex"
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

func TestPlacesOfLibrariesAndOfGoAreFound(t *testing.T) {
	libs, err := filepath.Glob("/usr/lib/*-linux-gnu/libssl.so.3")
	if err != nil {
		t.Fatal(err)
	}
	for _, lib := range libs {
		f, err := os.Open(lib)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		p, err := findPlaces(f)
		if err != nil || len(p.write) != 1 || len(p.writeEx) != 1 || len(p.free) != 1 || len(p.goWrite) != 0 {
			t.Errorf("%s: %+v %v", lib, p, err)
		}
	}
	// This program has crypto/tls, since package net/http is in it.
	exe, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer exe.Close()
	if p, err := findPlaces(exe); err != nil || len(p.goWrite) != 1 || len(p.write) != 0 {
		t.Errorf("this program: %+v %v", p, err)
	}
	// The push that comes after the check of the stack.
	p, err := findPlaces(exe)
	if err != nil || len(p.goWrite) != 1 {
		t.Fatal(p, err)
	}
	var b [1]byte
	if _, err := exe.ReadAt(b[:], int64(p.goWrite[0])); err != nil || runtime.GOARCH == "amd64" && b[0] != 0x55 {
		t.Errorf("the probe is at %#x, %v", b, err)
	}
	if p, err := findPlaces(bytes.NewReader([]byte("\x7fELF"))); err == nil || !p.none() {
		t.Errorf("four bytes: %+v %v", p, err)
	}
}

// The forms that Go 1.26 gives a function, read from what it compiles.
func TestTheCheckOfTheStackIsLeftBehind(t *testing.T) {
	for _, c := range []struct {
		name string
		m    elf.Machine
		code string
		want uint64
	}{
		{"a small frame", elf.EM_X86_64, "493b66100f867a030000554889e5", 10},
		{"a small frame and function", elf.EM_X86_64, "493b66107612554889e5", 6},
		{"a frame", elf.EM_X86_64, "4c8d6424b84d3b66100f8693070000554889e5", 15},
		{"a frame of a short function", elf.EM_X86_64, "4c8d6424b84d3b66107620554889e5", 11},
		{"a large frame", elf.EM_X86_64, "4c8da424f8feffff4d3b66100f8693070000554889e5", 18},
		{"no frame", elf.EM_X86_64, "554889e5", 0},
		{"cut off", elf.EM_X86_64, "493b66100f867a030000", 0},
		{"a small frame", elf.EM_AARCH64, "900b40f9ff6330eb09190054fe0f19f8fd831ff8", 12},
		{"a frame", elf.EM_AARCH64, "900b40f9f14301d13f0210eba9330054fe0f13f8fd831ff8", 16},
		{"no frame", elf.EM_AARCH64, "fe0f13f8", 0},
	} {
		code, err := hex.DecodeString(c.code)
		if err != nil {
			t.Fatal(err)
		}
		if got := pastStackCheck(c.m, code); got != c.want {
			t.Errorf("%s, %v: %d, want %d", c.name, c.m, got, c.want)
		}
	}
}

func FuzzPlaces(f *testing.F) {
	f.Add(program([]byte{0x90}))
	if libs, _ := filepath.Glob("/usr/lib/*-linux-gnu/libgnutls-dane.so.0"); len(libs) > 0 {
		if b, err := os.ReadFile(libs[0]); err == nil {
			f.Add(b)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := findPlaces(bytes.NewReader(b))
		if n := len(p.write) + len(p.writeEx) + len(p.free) + len(p.goWrite); n > 4*maxFound || err != nil && n > 0 {
			t.Fatalf("%d places, %v", n, err)
		}
		for _, list := range [][]uint64{p.write, p.writeEx, p.free, p.goWrite} {
			for _, off := range list {
				if off > 1<<63 {
					t.Fatalf("a place at %d", off)
				}
			}
		}
	})
}
