package process

import (
	"bytes"
	"strings"
)

// HasOldCgroups reports whether a hierarchy of cgroup v1 is mounted, in the
// text of proc_pid_mountinfo(5). Where both are, a container may be in one of
// v1 alone, and in the root of v2.
func HasOldCgroups(mountinfo []byte) bool {
	for line := range bytes.Lines(mountinfo) {
		if _, after, ok := bytes.Cut(line, []byte(" - ")); ok && bytes.HasPrefix(after, []byte("cgroup ")) {
			return true
		}
	}
	return false
}

// ContainerOf returns the container that a process is in and the path of the
// cgroup that says so, from the text of /proc/PID/cgroup (cgroups(7)): one
// line for each hierarchy, "number:controllers:path". Both are empty where
// none says so.
func ContainerOf(cgroup []byte) (id, path string) {
	for line := range bytes.Lines(cgroup) {
		parts := strings.SplitN(strings.TrimSuffix(string(line), "\n"), ":", 3)
		if len(parts) != 3 {
			continue
		}
		if id := ContainerID(parts[2]); id != "" {
			return id, parts[2]
		}
	}
	return "", ""
}

// runtimes are the programs that make containers: what they start may be in
// another cgroup than they are.
var runtimes = []string{"runc", "crun", "youki", "containerd-shim", "docker", "conmon", "podman", "buildah", "buildkit"}

// IsRuntime reports whether a program makes containers, by the path of its
// file. runc and crun run from a copy of theirs in memory or below /proc, which
// has their name still: /memfd:runc_cloned:/proc/self/exe.
func IsRuntime(exe string) bool {
	if memory, ok := strings.CutPrefix(exe, "/memfd:"); ok {
		exe = memory
		if name, _, ok := strings.Cut(exe, ":"); ok {
			exe = name
		}
	}
	name := exe[strings.LastIndexByte(exe, '/')+1:]
	for _, r := range runtimes {
		if strings.HasPrefix(name, r) {
			return true
		}
	}
	return false
}
