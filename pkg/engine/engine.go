// Package engine asks container engines what a container is called and which
// image it runs.
//
//	e := engine.New("")
//	a, err := e.Ask(ctx, id)
//
// Docker and Podman answer over their Unix sockets, by the part of Docker's API
// that both have (GET /containers/json). containerd's own API is gRPC; of its
// containers the state below /run says what Kubernetes and nerdctl call them,
// and so does the state of CRI-O and of a Podman that has no daemon.
//
// Only what root owns is asked, and nothing but GET is said: a socket or a file
// of somebody else's could say anything. What root's engine says is not believed
// either: it is bounded here, and a label for who uses it.
package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"
)

// Answer is what an engine says of a container. Its strings come from whoever
// named the container, and may hold anything that is UTF-8.
type Answer struct {
	Name string
	// Image is what the engine calls the image, name:tag. A step of a build that
	// has no name of its own has that of the image it is built on.
	Image string
	// Digest is that of the image in the registry where Registry is set, else the
	// image's id; zero where neither is known.
	Digest   [32]byte
	Registry bool
}

// ErrUnknown is the answer where no engine that can be asked knows the container.
var ErrUnknown = errors.New("no engine that can be asked knows it")

const (
	// maxText bounds each string of an answer in bytes.
	maxText = 256
	// maxSockets bounds the sockets that are asked beside those at known places.
	maxSockets = 8
)

// Engines are those of one machine. It is safe for use by several goroutines.
type Engines struct {
	root string // in front of every path; empty but in tests

	mu   sync.Mutex
	seen []string // sockets at other places
}

// New returns the engines whose sockets and state lie below root, which is
// empty for the machine's own.
func New(root string) *Engines { return &Engines{root: root} }

// sockets are where engines listen unless they are told otherwise. Podman's
// comes last: to connect may start a service.
var (
	dockerSockets = []string{"/run/docker.sock"}
	podmanSockets = []string{"/run/podman/podman.sock"}
)

// Saw notes the path of a socket that a client of an engine connected to.
func (e *Engines) Saw(path string) {
	base := path[strings.LastIndexByte(path, '/')+1:]
	if !strings.HasPrefix(path, "/") || base != "docker.sock" && base != "podman.sock" || len(path) > 107 { // sun_path, unix(7)
		return
	}
	if strings.HasPrefix(path, "/var/run/") {
		path = path[len("/var"):] // a link
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.seen) < maxSockets && !slices.Contains(e.seen, path) && !slices.Contains(dockerSockets, path) && !slices.Contains(podmanSockets, path) {
		e.seen = append(e.seen, path)
	}
}

// Ask returns what is known of the container with that id. The error is
// ErrUnknown, with what else went wrong, where nothing is.
func (e *Engines) Ask(ctx context.Context, id string) (Answer, error) {
	if IsBuildStep(id) {
		return Answer{}, fmt.Errorf("%w: it is a step of a build, which engines do not list", ErrUnknown)
	}
	e.mu.Lock()
	sockets := slices.Concat(e.seen, dockerSockets)
	e.mu.Unlock()
	var why []error
	for _, s := range sockets {
		a, err := e.overSocket(ctx, s, id)
		if err == nil {
			return a.bounded(), nil
		}
		why = append(why, err)
	}
	if a, ok := e.inState(id); ok {
		return a.bounded(), nil
	}
	for _, s := range podmanSockets {
		a, err := e.overSocket(ctx, s, id)
		if err == nil {
			return a.bounded(), nil
		}
		why = append(why, err)
	}
	for _, err := range why {
		if errors.Is(err, errNotRoots) {
			return Answer{}, fmt.Errorf("%w: %w", ErrUnknown, err)
		}
	}
	return Answer{}, ErrUnknown
}

// IsBuildStep reports whether an id is not one that engines list: 64 digits in
// hex, which can go into requests and paths. Those of build steps are.
func IsBuildStep(id string) bool {
	if len(id) != 64 {
		return true
	}
	for i := range len(id) {
		if c := id[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return true
		}
	}
	return false
}

func (a Answer) bounded() Answer {
	a.Name, a.Image = bounded(a.Name), bounded(a.Image)
	return a
}

func bounded(s string) string {
	s = strings.ToValidUTF8(s, "\ufffd")
	if len(s) <= maxText {
		return s
	}
	for s = s[:maxText]; !utf8.ValidString(s); s = s[:len(s)-1] {
	}
	return s
}
