package monitor

import (
	"os"
	"path/filepath"
	"testing"
)

func TestCommandsAreLookedUpAsAShellDoes(t *testing.T) {
	bin, other := t.TempDir(), t.TempDir()
	for name, mode := range map[string]os.FileMode{"good": 0o755, "plain": 0o644} {
		if err := os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\n"), mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(other, "good"), 0o755); err != nil {
		t.Fatal(err)
	}
	path := other + ":" + bin
	for _, c := range []struct {
		name, file string
		want       string
		code       int
	}{
		{"in PATH, past a folder of the same name", "good", filepath.Join(bin, "good"), 0},
		{"by its path", filepath.Join(bin, "good"), filepath.Join(bin, "good"), 0},
		{"there but not executable", "plain", "", ExitNotExecutable},
		{"not executable, by its path", filepath.Join(bin, "plain"), "", ExitNotExecutable},
		{"nowhere", "nowhere", "", ExitNotFound},
		{"nowhere, by its path", "/nowhere/at/all", "", ExitNotFound},
		{"a folder", other, "", ExitNotExecutable},
	} {
		t.Run(c.name, func(t *testing.T) {
			cmd, code, err := FindCommand([]string{c.file}, Caller{Path: path})
			if code != c.code || (err == nil) != (c.code == 0) {
				t.Fatalf("code %d, error %v; want %d", code, err, c.code)
			}
			if err == nil && cmd.Path != c.want {
				t.Errorf("path %s, want %s", cmd.Path, c.want)
			}
		})
	}
}

func TestTheCallersEnvironmentHasNothingOfSudos(t *testing.T) {
	t.Setenv("SUDO_UID", "1000")
	t.Setenv("HOME", "/root")
	t.Setenv("PATH", "/sbin")
	t.Setenv("KEPT", "yes")
	c := Caller{Sudo: true, Home: "/home/a", User: "a", Path: "/bin"}
	got := map[string]bool{}
	for _, v := range c.Environ() {
		got[v] = true
	}
	for _, want := range []string{"HOME=/home/a", "USER=a", "LOGNAME=a", "PATH=/bin", "KEPT=yes"} {
		if !got[want] {
			t.Errorf("%s is missing", want)
		}
	}
	for _, not := range []string{"SUDO_UID=1000", "HOME=/root", "PATH=/sbin"} {
		if got[not] {
			t.Errorf("%s is there", not)
		}
	}
}
