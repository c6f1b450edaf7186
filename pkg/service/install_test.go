package service

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// tree returns what is below a folder: kind, mode, owner and content, by path.
func tree(t *testing.T, root string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		st, err := e.Info()
		if err != nil {
			return err
		}
		sys := st.Sys().(*syscall.Stat_t)
		all[path] = fmt.Sprint(st.Mode(), sys.Uid, sys.Gid)
		if st.Mode().IsRegular() {
			data, err := os.ReadFile(path)
			all[path] += " " + string(data)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// machine lays out what there is before, with two runners: one with a .env.
func machine(t *testing.T) (p *Place, root string) {
	t.Helper()
	root = t.TempDir()
	for name, text := range map[string]string{
		"etc/passwd": "root:x:0:0::/root:/bin/sh\n", "opt/a/bin/Runner.Listener": "x", "opt/b/bin/Runner.Listener": "x",
		"opt/b/.env": "LANG=C.UTF-8", "new/edamame-posture": "program 1",
	} {
		write(t, filepath.Join(root, name), text)
	}
	if os.Geteuid() == 0 {
		for _, name := range []string{"opt/b", "opt/b/.env"} {
			if err := os.Chown(filepath.Join(root, name), 65534, 65534); err != nil {
				t.Fatal(err)
			}
		}
	}
	return &Place{Root: root, Program: filepath.Join(root, "new/edamame-posture"), Runners: []string{"/opt/a", "/opt/b"}}, root
}

func write(t *testing.T, path, text string) {
	t.Helper()
	err := os.MkdirAll(filepath.Dir(path), 0o755)
	if err == nil {
		err = os.WriteFile(path, []byte(text), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestUninstallLeavesTheMachineAsItWas(t *testing.T) {
	p, root := machine(t)
	before := tree(t, root)
	notes, err := p.Install()
	if err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 && !strings.Contains(strings.Join(notes, "\n"), "/opt/b/.env belongs to root now, but the folder is user 65534's") {
		t.Errorf("it is not told that a folder is its user's: %q", notes)
	}
	env := read(t, filepath.Join(root, "opt/b/.env"))
	if want := "LANG=C.UTF-8\nACTIONS_RUNNER_HOOK_JOB_STARTED=/usr/local/lib/edamame-posture/job-started.sh\nACTIONS_RUNNER_HOOK_JOB_COMPLETED=/usr/local/lib/edamame-posture/job-completed.sh\n"; env != want {
		t.Errorf(".env is %q, want %q", env, want)
	}
	if st, err := os.Stat(filepath.Join(root, "opt/b/.env")); err != nil || int(st.Sys().(*syscall.Stat_t).Uid) != os.Geteuid() {
		t.Errorf(".env is not root's: %v", err)
	}
	if unit := read(t, p.at(unitPath)); !strings.Contains(unit, "ExecStart=/usr/local/lib/edamame-posture/edamame-posture service run\n") {
		t.Error("the unit does not start the installed program")
	}
	if _, err := p.Install(); !errors.Is(err, ErrInstalled) {
		t.Errorf("a second installation: %v", err)
	}
	// As a service would have left them.
	write(t, p.at(stateDir+"/jobs/0123456789abcdef/evidence/commitment.json"), "{}")
	write(t, p.at(stateDir+"/"+stateName), "{}")
	write(t, p.at(SettingsFile), "version: 1\nsensor: ebpf\n")
	if _, err := p.Uninstall(); !errors.Is(err, ErrEvidence) {
		t.Fatalf("with evidence and nothing said of it: %v", err)
	}
	p.DeleteEvidence = true
	if notes, err := p.Uninstall(); err != nil || len(notes) != 0 {
		t.Errorf("%q, %v", notes, err)
	}
	for _, dir := range []string{"var/lib", "var"} { // made by this test, not by the installation
		if err := os.Remove(filepath.Join(root, dir)); err != nil {
			t.Error(err)
		}
	}
	after := tree(t, root)
	if !maps.Equal(before, after) {
		for path := range after {
			if before[path] != after[path] {
				t.Errorf("%s is %q, was %q", path, after[path], before[path])
			}
		}
		for path := range before {
			if _, ok := after[path]; !ok {
				t.Errorf("%s is gone", path)
			}
		}
	}
}

func TestUninstallCanKeepTheEvidence(t *testing.T) {
	p, _ := machine(t)
	if _, err := p.Install(); err != nil {
		t.Fatal(err)
	}
	at := p.at(stateDir + "/jobs/0123456789abcdef/evidence/commitment.json")
	write(t, at, "{}")
	p.KeepEvidence = true
	if _, err := p.Uninstall(); err != nil {
		t.Fatal(err)
	}
	if read(t, at) != "{}" {
		t.Error("the evidence is another")
	}
	if _, err := os.Stat(p.at(libDir)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the program is still there: %v", err)
	}
}

func TestUpgradeKeepsSettingsAndRefusesThoseItCannotRead(t *testing.T) {
	p, root := machine(t)
	if err := p.Upgrade(); !errors.Is(err, ErrNotInstalled) {
		t.Fatalf("where nothing is installed: %v", err)
	}
	if _, err := p.Install(); err != nil {
		t.Fatal(err)
	}
	write(t, p.at(SettingsFile), "version: 1\nkeep: {days: 3}\n")
	write(t, p.Program, "program 2")
	if err := p.Upgrade(); err != nil {
		t.Fatal(err)
	}
	if read(t, p.at(programPath)) != "program 2" || read(t, p.at(SettingsFile)) != "version: 1\nkeep: {days: 3}\n" {
		t.Error("the program is not the new one, or the settings are not the old ones")
	}
	write(t, p.at(SettingsFile), "version: 1\nkeeps: {days: 3}\n")
	write(t, p.Program, "program 3")
	err := p.Upgrade()
	if err == nil || !strings.Contains(err.Error(), "service.yml:2:1") || read(t, p.at(programPath)) != "program 2" {
		t.Errorf("settings with an unknown key: %v; the program is %q", err, read(t, p.at(programPath)))
	}
	write(t, filepath.Join(root, startedPath), "#!/bin/sh\n")
	if changed, err := p.Changed(); err != nil || len(changed) != 1 || changed[0] != p.at(startedPath) {
		t.Errorf("a hook that was changed: %q, %v", changed, err)
	}
}

func TestARunnerWithHooksOrATrapIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		change func(env string) error
		want   string
	}{
		"another hook": {func(env string) error {
			return os.WriteFile(env, []byte("A=b\nACTIONS_RUNNER_HOOK_JOB_STARTED=/x.sh\n"), 0o644)
		}, ".env:2:1"},
		"a link":      {func(env string) error { return errors.Join(os.Remove(env), os.Symlink("/etc/passwd", env)) }, "not a regular file"},
		"a pipe":      {func(env string) error { return errors.Join(os.Remove(env), syscall.Mkfifo(env, 0o600)) }, "not a regular file"},
		"a long file": {func(env string) error { return os.Truncate(env, maxEnv+1) }, "more than"},
		"no runner":   {func(env string) error { return os.RemoveAll(filepath.Join(filepath.Dir(env), "bin")) }, "not the folder of a runner"},
	} {
		p, root := machine(t)
		if err := c.change(filepath.Join(root, "opt/b/.env")); err != nil {
			t.Fatal(err)
		}
		if _, err := p.Install(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := os.Stat(p.at(libDir)); err == nil {
			t.Errorf("%s: something was installed", name)
		}
	}
}

func TestTheUnitIsOneThatSystemdTakes(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd-analyze is not there: apt-get install systemd")
	}
	unit, err := files.ReadFile("files/" + Unit)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	at := filepath.Join(t.TempDir(), Unit)
	write(t, at, strings.ReplaceAll(string(unit), "@PROGRAM@", self))
	out, err := exec.Command(analyze, "verify", at).CombinedOutput()
	if err != nil || strings.Contains(string(out), Unit) {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
}
