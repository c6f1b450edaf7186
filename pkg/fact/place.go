package fact

import "strings"

// Folders says where the job works, as the log's start event tells it. Paths
// are absolute and have no final slash; an empty one is not known.
type Folders struct {
	Root string // working directory of the recording's root
	Home string // home of the user who started it
	Temp string // a folder for temporary files beside /tmp, such as RUNNER_TEMP
}

// under reports whether p is dir or below it. The root folder and an unknown
// folder hold nothing: everything would be below them.
func under(p, dir string) bool {
	return len(dir) > 1 && strings.HasPrefix(p, dir) && (len(p) == len(dir) || p[len(dir)] == '/')
}

// caches are folders below a home that package managers and compilers fill
// and nobody reads as a result.
var caches = []string{
	"/.bun/install/cache", "/.bundle/cache", "/.cache", "/.cargo/git", "/.cargo/registry", "/.ccache", "/.composer/cache",
	"/.config/configstore", "/.config/go/telemetry", "/.gem", "/.gradle", "/.ivy2/cache", "/.local/share/pnpm/store",
	"/.local/share/uv", "/.local/share/virtualenv", "/.local/state", "/.m2/repository", "/.node-gyp", "/.npm",
	"/.nuget/packages", "/.pnpm-store", "/.pub-cache", "/.yarn/berry", "/go/pkg",
}

// hostCaches are the same outside every home: the official images of Go and
// Rust keep theirs there.
var hostCaches = []string{"/go/pkg", "/usr/local/cargo/registry", "/usr/local/cargo/git", "/var/cache"}

var temps = []string{"/tmp", "/var/tmp", "/dev/shm"}

var systems = []string{
	"/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/libx32", "/opt", "/proc", "/run",
	"/sbin", "/snap", "/srv", "/sys", "/usr", "/var",
}

// Place says where an absolute path lies.
func (w *Folders) Place(p string) Place {
	place, _ := w.locate(p)
	return place
}

// locate returns the place of p and how much of p names the folder that makes
// it so.
func (w *Folders) locate(p string) (Place, int) {
	inHome := under(p, w.Home)
	if under(p, w.Root) {
		// Who works in his home folder does not make his shell's and keys'
		// files a part of the work.
		dot := inHome && under(w.Home, w.Root) && strings.HasPrefix(p[len(w.Home):], "/.")
		if !dot {
			return Workspace, len(w.Root)
		}
	}
	if under(p, w.Temp) {
		return Temp, len(w.Temp)
	}
	if inHome {
		for _, c := range caches {
			if under(p[len(w.Home):], c) {
				return Cache, len(w.Home) + len(c)
			}
		}
		return Home, len(w.Home)
	}
	for _, t := range temps {
		if under(p, t) {
			return Temp, len(t)
		}
	}
	for _, c := range hostCaches {
		if under(p, c) {
			return Cache, len(c)
		}
	}
	for _, s := range systems {
		if under(p, s) {
			return System, len(s)
		}
	}
	return Elsewhere, 0
}
