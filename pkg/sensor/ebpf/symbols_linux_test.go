package ebpf

import (
	"bytes"
	"os"
	"path/filepath"
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
	if p, err := findPlaces(bytes.NewReader([]byte("\x7fELF"))); err == nil || !p.none() {
		t.Errorf("four bytes: %+v %v", p, err)
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
