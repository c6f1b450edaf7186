package posture

import (
	"fmt"
	"strings"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/judge"
	"github.com/org/edamame-posture/pkg/redact"
)

// Kind says what a part of the state is for. Each is a word that [judge.DriftOf]
// knows.
type Kind string

// The kinds.
const (
	Accounts       Kind = "accounts"
	Sudoers        Kind = "sudoers"
	Preload        Kind = "ld-preload"
	DockerSocket   Kind = "docker-socket"
	Hosts          Kind = "hosts"
	Resolver       Kind = "resolver"
	CAStore        Kind = "ca-store"
	Cron           Kind = "cron"
	At             Kind = "at"
	Unit           Kind = "unit"
	UnitLink       Kind = "unit-link" // switches on what a package brought
	UserUnit       Kind = "user-unit"
	ShellRC        Kind = "shell-rc"
	AuthorizedKeys Kind = "authorized-keys"
	SSH            Kind = "ssh"
	GitConfig      Kind = "git-config"
	GitHook        Kind = "git-hook"
	NPMConfig      Kind = "npm-config"
	PipConfig      Kind = "pip-config"
	Kernel         Kind = "kernel"
	Runner         Kind = "runner"
)

// kinds are the words of all kinds, so that none is made of what a file says.
var kinds = []redact.Text{
	redact.Const("accounts"), redact.Const("sudoers"), redact.Const("ld-preload"), redact.Const("docker-socket"), redact.Const("hosts"),
	redact.Const("resolver"), redact.Const("ca-store"), redact.Const("cron"), redact.Const("at"), redact.Const("unit"), redact.Const("unit-link"),
	redact.Const("user-unit"), redact.Const("shell-rc"), redact.Const("authorized-keys"), redact.Const("ssh"), redact.Const("git-config"),
	redact.Const("git-hook"), redact.Const("npm-config"), redact.Const("pip-config"), redact.Const("kernel"), redact.Const("runner"),
	redact.Const("git-config-danger"), redact.Const("npm-config-danger"), redact.Const("pip-config-danger"),
}

// Text returns the word of a kind for an event, empty for none of ours.
func (k Kind) Text() redact.Text {
	t, _ := redact.Pick(kinds, string(k))
	return t
}

// Change is one difference between two snapshots.
type Change struct {
	// Kind is that of the state; where settings changed that run programs or send
	// requests elsewhere, with -danger after it.
	Kind Kind        `json:"kind"`
	Path redact.Text `json:"path"`
	// What is added, removed, or changed with what of it.
	What redact.Text `json:"what"`
	// SHA256 is of the content that is there now.
	SHA256 string `json:"sha256,omitempty"`
	// File is what is there now, of this boot; zero for nothing.
	File     event.FileID   `json:"-"`
	Severity judge.Severity `json:"severity"`
	Title    string         `json:"title"`
	Do       string         `json:"do"`
}

var (
	added   = redact.Const("added")
	removed = redact.Const("removed")
	danger  = Kind("-danger")
)

// Compare returns what changed from one snapshot to a later one of the same
// machine, by path. What one of them could not read is left out.
func Compare(before, after *Snapshot) []Change {
	old, now := index(before), index(after)
	hidden := make(map[redact.Text]bool)
	for _, s := range []*Snapshot{before, after} {
		for _, u := range s.Unread {
			hidden[u.Path] = true
		}
	}
	// A snapshot that was cut short says nothing of what it lacks.
	cut := func(s *Snapshot) bool {
		for _, u := range s.Unread {
			if u.Path.IsZero() {
				return true
			}
		}
		return false
	}
	cutBefore, cutAfter := cut(before), cut(after)
	gone := func(p redact.Text) bool { return hidden[p] || hidden[p.Dir()] }
	var out []Change
	add := func(s State, what redact.Text, k Kind) {
		d := judge.DriftOf(string(k))
		out = append(out, Change{Kind: k, Path: s.Path, What: what, SHA256: s.SHA256, File: s.id, Severity: d.Severity, Title: d.Title, Do: d.Do})
	}
	for _, s := range after.State {
		was, ok := old[s.Path]
		switch {
		case !ok && newCheckout(old, s.Path):
			// It was made in between: there was nothing to change.
		case !ok && !cutBefore && !gone(s.Path):
			add(s, added, kindOf(s, s.Marks != ""))
		case ok:
			if what := differs(was, s); !what.IsZero() {
				add(s, what, kindOf(s, was.Marks != s.Marks))
			}
		}
	}
	for _, s := range before.State {
		if _, ok := now[s.Path]; !ok && !cutAfter && !gone(s.Path) {
			s.SHA256, s.id = "", event.FileID{}
			add(s, removed, kindOf(s, s.Marks != ""))
		}
	}
	return out
}

// newCheckout reports whether a path is of a repository that was not there.
func newCheckout(old map[redact.Text]State, p redact.Text) bool {
	before, _, in := p.Cut("/.git/")
	if !in {
		return false
	}
	_, there := old[redact.Concat(before, redact.Const("/.git/config"))]
	return !there
}

func index(s *Snapshot) map[redact.Text]State {
	m := make(map[redact.Text]State, len(s.State))
	for _, st := range s.State {
		m[st.Path] = st
	}
	return m
}

func kindOf(s State, marked bool) Kind {
	if marked {
		return s.Kind + danger
	}
	return s.Kind
}

// differs says what of a state is another now, empty for nothing.
func differs(a, b State) redact.Text {
	var what []redact.Text
	if a.SHA256 != b.SHA256 || a.Size != b.Size {
		what = append(what, redact.Const("content"))
	}
	if a.Link != b.Link {
		what = append(what, redact.Const("link"))
	}
	if a.Mode != b.Mode {
		what = append(what, redact.Const("mode"))
	}
	if a.UID != b.UID || a.GID != b.GID {
		what = append(what, redact.Const("owner"))
	}
	if len(what) == 0 {
		return redact.Text{}
	}
	return redact.Concat(redact.Const("changed "), redact.Join(redact.Const(", "), what...))
}

// Check reports whether a snapshot that was stored can be compared.
func (s *Snapshot) Check() error {
	if s.Version != Version {
		return fmt.Errorf("a snapshot of version %d, and this program compares version %d: take it anew", s.Version, Version)
	}
	if len(s.State) > maxState {
		return fmt.Errorf("a snapshot of %d files, and %d are taken at most", len(s.State), maxState)
	}
	for _, st := range s.State {
		if !strings.HasPrefix(st.Path.String(), "/") {
			return fmt.Errorf("%.80q is no path of a snapshot", st.Path)
		}
	}
	return nil
}
