package engine

import (
	"encoding/hex"
	"encoding/json"
	"path/filepath"
	"strings"
)

const (
	maxSpec  = 1 << 20  // bytes of an OCI configuration
	maxStore = 16 << 20 // bytes of Podman's list of containers
	// maxNamespaces bounds the namespaces of containerd that are gone through.
	maxNamespaces = 32
)

// Where the runtimes keep what they were told.
const (
	// containerdTasks is of containerd 1.5 and later (core/runtime/v2); below it
	// lie NAMESPACE/ID/config.json.
	containerdTasks = "/run/containerd/io.containerd.runtime.v2.task"
	// runStorage is of containers/storage: *-containers/ID/userdata/config.json.
	runStorage = "/run/containers/storage"
	// store is of containers/storage too: *-containers/containers.json, and
	// volatile-containers.json for those that are removed when they end.
	store = "/var/lib/containers/storage"
)

// inState looks for a container in the state of engines that have no socket
// that can be asked.
func (e *Engines) inState(id string) (Answer, bool) {
	if a, ok := e.inStore(id); ok {
		return a, true
	}
	for _, pattern := range []string{containerdTasks + "/*", runStorage + "/*-containers"} {
		dirs, err := filepath.Glob(e.root + pattern)
		if err != nil {
			continue
		}
		for _, dir := range dirs[:min(len(dirs), maxNamespaces)] {
			for _, file := range []string{id + "/config.json", id + "/userdata/config.json"} {
				b, err := readRoots(filepath.Join(dir, file), maxSpec)
				if err != nil {
					continue
				}
				if a, ok := inSpec(b); ok {
					return a, true
				}
			}
		}
	}
	return Answer{}, false
}

// inSpec reads the annotations of an OCI runtime configuration.
func inSpec(b []byte) (Answer, bool) {
	var spec struct {
		Annotations map[string]string `json:"annotations"`
	}
	if json.Unmarshal(b, &spec) != nil {
		return Answer{}, false
	}
	a := spec.Annotations
	first := func(keys ...string) string {
		for _, k := range keys {
			if a[k] != "" {
				return a[k]
			}
		}
		return ""
	}
	// containerd's CRI plugin (pkg/cri/annotations), CRI-O (pkg/annotations),
	// nerdctl (pkg/labels).
	name := first("io.kubernetes.cri.container-name", "io.kubernetes.container.name", "nerdctl/name")
	if kind := first("io.kubernetes.cri.container-type", "io.kubernetes.cri-o.ContainerType"); kind == "sandbox" {
		name = "sandbox of " + first("io.kubernetes.cri.sandbox-name", "io.kubernetes.pod.name")
	}
	out := Answer{Name: name, Image: first("io.kubernetes.cri.image-name", "io.kubernetes.cri-o.ImageName")}
	if name, pinned, ok := strings.Cut(out.Image, "@"); ok {
		if d, ok := digest(pinned); ok {
			out.Image, out.Digest, out.Registry = name, d, true
		}
	}
	return out, out.Name != ""
}

// inStore looks for a container in the lists that Podman keeps.
func (e *Engines) inStore(id string) (Answer, bool) {
	for _, list := range []string{"containers.json", "volatile-containers.json"} {
		files, err := filepath.Glob(e.root + store + "/*-containers/" + list)
		if err != nil {
			continue
		}
		for _, f := range files[:min(len(files), maxNamespaces)] {
			b, err := readRoots(f, maxStore)
			if err != nil {
				continue
			}
			if a, ok := inList(b, id); ok {
				return a, true
			}
		}
	}
	return Answer{}, false
}

// inList reads a list of containers/storage (containers.go).
func inList(b []byte, id string) (Answer, bool) {
	var list []struct {
		ID       string   `json:"id"`
		Names    []string `json:"names"`
		Image    string   `json:"image"`
		Metadata string   `json:"metadata"`
	}
	if json.Unmarshal(b, &list) != nil {
		return Answer{}, false
	}
	for i := range list {
		c := &list[i]
		if c.ID != id {
			continue
		}
		var meta struct {
			Name  string `json:"name"`
			Image string `json:"image-name"`
		}
		_ = json.Unmarshal([]byte(c.Metadata), &meta) // it labels
		a := Answer{Name: meta.Name, Image: meta.Image}
		if a.Name == "" && len(c.Names) > 0 {
			a.Name = c.Names[0]
		}
		if d, err := hex.DecodeString(c.Image); err == nil && len(d) == len(a.Digest) {
			copy(a.Digest[:], d)
		}
		return a, a.Name != ""
	}
	return Answer{}, false
}
