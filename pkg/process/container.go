package process

import "strings"

// ContainerID returns the id of the container that a cgroup belongs to, from
// the cgroup's path below the mount; empty for a cgroup of no container. It is
// 64 digits in hex, and 25 small letters and digits for a build step of
// BuildKit, which is a container that no engine lists. It knows the names that
// Docker, Podman, containerd, CRI-O and BuildKit give, with systemd as the
// cgroup driver (docker-ID.scope) and without (/docker/ID), also below kubepods.
// Of nested containers it is the innermost.
func ContainerID(cgroup string) string {
	id := ""
	parent := ""
	for part := range strings.SplitSeq(cgroup, "/") {
		if found := containerPart(parent, part); found != "" {
			id = found
		}
		parent = part
	}
	return id
}

// containerPart returns the id in one part of the path.
func containerPart(parent, part string) string {
	scope, isScope := strings.CutSuffix(part, ".scope")
	name := part
	if isScope {
		name = scope
	}
	// containerd's plain driver under Kubernetes: .../cri-containerd:ID
	if i := strings.LastIndexByte(name, ':'); i >= 0 {
		name = name[i+1:]
	}
	bare := true
	if i := strings.LastIndexByte(name, '-'); i >= 0 {
		switch name[:i] {
		case "docker", "libpod", "libpod-payload", "crio", "cri-containerd", "nerdctl", "buildkit", "containerd":
		default:
			return "" // libpod-conmon-ID.scope is the container's monitor
		}
		name, bare = name[i+1:], false
	}
	if !isHex64(name) && !(IsBuildID(name) && (parent == "buildkit" || !bare && isScope)) {
		return ""
	}
	if bare && !isScope {
		// Anyone may name a folder so; a runtime puts it below one of its own.
		switch {
		case parent == "docker", parent == "libpod_parent", parent == "default", parent == "moby", parent == "k8s.io", parent == "buildkit",
			strings.HasPrefix(parent, "pod"), strings.HasPrefix(parent, "kubepods"), strings.HasPrefix(parent, "actions_job"),
			strings.HasSuffix(parent, ".slice"):
		default:
			return ""
		}
	}
	return name
}

// IsBuildID reports whether an id is one of BuildKit's (identity.NewID): 25
// digits of base 36.
func IsBuildID(s string) bool {
	if len(s) != 25 {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return true
}

func isHex64(s string) bool {
	if len(s) != 64 {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
