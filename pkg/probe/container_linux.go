package probe

import (
	"bytes"
	"io/fs"
	"os"
)

var containerQuestion = question{"container", "not in a container", func() Result {
	kind := container(os.DirFS("/"))
	if kind == "" {
		return Result{OK: true}
	}
	return Result{
		Detail: kind,
		Lost:   "what the machine does outside this container, and most of the sensors",
		Get:    "start the monitor on the machine itself, in a job without container:",
	}
}}

// container names the container engine that runs us, or is empty. It is a
// hint for a person: every sign can be made or hidden by who runs the container.
func container(root fs.FS) string {
	for _, sign := range []struct{ path, kind string }{
		{".dockerenv", "Docker container"},
		{"run/.containerenv", "Podman container"},
		{"run/systemd/container", ""},
	} {
		if b, err := fs.ReadFile(root, sign.path); err == nil {
			if sign.kind != "" {
				return sign.kind
			}
			if name := word(b); name != "" {
				return name + " container"
			}
		}
	}
	if b, err := fs.ReadFile(root, "proc/1/environ"); err == nil {
		for v := range bytes.SplitSeq(b, []byte{0}) {
			if kind, ok := bytes.CutPrefix(v, []byte("container=")); ok {
				if name := word(kind); name != "" {
					return name + " container"
				}
			}
		}
	}
	if b, err := fs.ReadFile(root, "proc/sys/kernel/osrelease"); err == nil && bytes.Contains(b, []byte("gvisor")) {
		return "gVisor sandbox"
	}
	return ""
}

// word returns the letters at the start of b, 32 at most.
func word(b []byte) string {
	n := 0
	for n < len(b) && n < 32 && (b[n] >= 'a' && b[n] <= 'z' || b[n] == '-') {
		n++
	}
	return string(b[:n])
}
