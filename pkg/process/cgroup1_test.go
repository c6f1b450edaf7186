package process

import (
	"strings"
	"testing"
)

var id64 = strings.Repeat("0a", 32)

func TestAContainerIsFoundInAHierarchyOfCgroupV1(t *testing.T) {
	for name, c := range map[string]struct{ text, id, path string }{
		"Docker without systemd":  {"12:pids:/docker/" + id64 + "\n1:name=systemd:/docker/" + id64 + "\n0::/\n", id64, "/docker/" + id64},
		"one hierarchy alone":     {"12:cpu,cpuacct:/\n5:memory:/system.slice/docker-" + id64 + ".scope\n0::/\n", id64, "/system.slice/docker-" + id64 + ".scope"},
		"seen from a namespace":   {"5:memory:/../../docker/" + id64 + "\n", id64, "/../../docker/" + id64},
		"a colon in the path":     {"5:memory:/a:b/docker/" + id64 + "\n", id64, "/a:b/docker/" + id64},
		"no container":            {"12:pids:/user.slice\n0::/\n", "", ""},
		"a folder of such a name": {"12:pids:/x/" + id64 + "\n", "", ""},
		"no text":                 {"", "", ""},
		"a line cut short":        {"12:pids", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			if id, path := ContainerOf([]byte(c.text)); id != c.id || path != c.path {
				t.Errorf("%q, %q; want %q, %q", id, path, c.id, c.path)
			}
		})
	}
}

func FuzzContainerOf(f *testing.F) {
	f.Add([]byte("12:pids:/docker/" + id64 + "\n0::/\n"))
	f.Add([]byte("::\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		id, path := ContainerOf(b)
		if id != "" && (!isHex64(id) || !strings.Contains(path, id)) || id == "" && path != "" {
			t.Errorf("%q, %q", id, path)
		}
	})
}

func TestHierarchiesOfCgroupV1AreFoundAmongMounts(t *testing.T) {
	const v2 = "30 1 0:27 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
	if HasOldCgroups([]byte(v2)) || !HasOldCgroups([]byte(v2+"31 1 0:28 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n")) {
		t.Error("cgroup v1 is taken for v2, or v2 for v1")
	}
}

func TestProgramsThatMakeContainersAreKnown(t *testing.T) {
	for exe, want := range map[string]bool{
		"/usr/bin/runc": true, "/memfd:runc_cloned:/proc/self/exe (deleted)": true, "/usr/bin/containerd-shim-runc-v2": true,
		"/usr/bin/conmon": true, "/usr/bin/dockerd": true, "/usr/bin/bash": false, "/runc/bash": false, "": false, "/memfd:": false,
	} {
		if IsRuntime(exe) != want {
			t.Errorf("%q: %v", exe, !want)
		}
	}
}
