// Package posture takes a snapshot of the machine that a job runs on: who may
// become root, what starts by itself, whom it trusts, what an earlier job may
// have left. It says what is weak and what to do, and what changed between two
// snapshots.
//
//	now := posture.Take(ctx, posture.Options{User: user, Redactor: r})
//	for _, c := range posture.Compare(before, now) { … }
//
// It only reads, but for [Drop], which takes power from a user. What it reads may be a job's: each file and folder is bounded,
// none but regular files are opened, and what does not answer in time is told
// as not read. Contents stand in a snapshot as digests and never as themselves.
package posture

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/judge"
	"github.com/org/edamame-posture/pkg/redact"
)

// Version is that of a stored snapshot.
const Version = 1

// User is whose runner it is: the one that jobs run as.
type User struct {
	Name   string
	UID    uint32
	Groups []uint32 // all of them, the first one too
	Home   string   // absolute, empty where not known
}

// Options say of what a snapshot is taken.
type Options struct {
	// Root is the folder that holds the machine's files; empty means /.
	Root string
	User User
	// Workspace is the checkout whose settings and workflows are looked at too;
	// empty for none.
	Workspace string
	// Getenv looks up the job's environment; nil where it is not known.
	Getenv func(string) string
	// Redactor makes the texts. It must be there.
	Redactor *redact.Redactor
	// StateOnly leaves the items out: for snapshots that are only compared.
	StateOnly bool
}

// Snapshot is what the machine was at one time.
type Snapshot struct {
	Version int         `json:"version"`
	User    redact.Text `json:"user"`
	// Items are what was found, gravest first.
	Items []Item `json:"items"`
	// State is what can be compared, sorted by path.
	State []State `json:"state"`
	// Unread is what could not be read: nothing is said of it.
	Unread []Unread `json:"unread"`
}

// Item is one thing that was found.
type Item struct {
	Check    string         `json:"check"` // a key of the table of checks
	Severity judge.Severity `json:"severity"`
	Path     redact.Text    `json:"path,omitzero"`
	Line     int            `json:"line,omitempty"`
	Found    redact.Text    `json:"found"`
	Title    string         `json:"title"`
	Why      string         `json:"why"`
	Do       string         `json:"do"`
	// Controls are those of public catalogues that ask for it.
	Controls []string `json:"controls"`
}

// State is one file, or setting, as it was.
type State struct {
	Kind Kind        `json:"kind"`
	Path redact.Text `json:"path"`
	// Link is where the name leads, for a symbolic link.
	Link redact.Text `json:"link,omitzero"`
	// SHA256 is of the content, in hex; empty where there is none to digest.
	SHA256 string `json:"sha256,omitempty"`
	Size   int64  `json:"size,omitempty"`
	Mode   uint32 `json:"mode,omitempty"` // permission bits
	UID    uint32 `json:"uid,omitempty"`
	GID    uint32 `json:"gid,omitempty"`
	// Marks is the digest of those settings in it that run programs, or send
	// what is asked for elsewhere; empty where there are none.
	Marks string `json:"marks,omitempty"`

	id event.FileID // of this boot alone
}

// Unread is a place that could not be read.
type Unread struct {
	Path redact.Text `json:"path,omitzero"`
	Why  string      `json:"why"`
}

// Bounds of a snapshot.
const (
	maxFile    = 1 << 20 // bytes of a file
	maxEntries = 256     // names of a folder
	maxState   = 4096
	maxItems   = 1024
	maxUnread  = 256
)

// Take takes a snapshot. It returns by the end of ctx, with what was read by
// then; what was not stands in Unread.
func Take(ctx context.Context, opt Options) *Snapshot {
	s := &Snapshot{Version: Version, User: opt.Redactor.String(opt.User.Name), Items: []Item{}, State: []State{}, Unread: []Unread{}}
	// A file system of the job's own may never answer. Who reads it hands over
	// what it has piece by piece, and is left alone when time is up.
	found := make(chan any, 64)
	c := &collector{Options: opt, ctx: ctx, found: found}
	go func() {
		defer close(found)
		c.all()
	}()
	for done := false; !done; {
		select {
		case x, ok := <-found:
			switch x := x.(type) {
			case Item:
				s.Items = append(s.Items, x)
			case State:
				s.State = append(s.State, x)
			case Unread:
				s.Unread = append(s.Unread, x)
			}
			done = !ok
		case <-ctx.Done():
			s.Unread = append(s.Unread, Unread{Why: "time was up before everything was read"})
			done = true
		}
	}
	slices.SortStableFunc(s.Items, func(a, b Item) int {
		return cmp.Or(cmp.Compare(judge.Rank(b.Severity), judge.Rank(a.Severity)), cmp.Compare(a.Check, b.Check),
			redact.Compare(a.Path, b.Path), cmp.Compare(a.Line, b.Line))
	})
	slices.SortStableFunc(s.State, func(a, b State) int { return redact.Compare(a.Path, b.Path) })
	return s
}

// Worst returns the gravest severity of the items, [judge.Info] where there is none.
func (s *Snapshot) Worst() judge.Severity {
	if len(s.Items) == 0 {
		return judge.Info
	}
	return s.Items[0].Severity
}

// collector reads a machine for one snapshot.
type collector struct {
	Options
	ctx   context.Context
	found chan<- any
	root  int // the root folder, opened with O_PATH

	items, states, unreads int
	groups                 map[string]uint32 // of /etc/group, by name
	member                 map[string]bool   // names of the user's groups
}

// all reads everything, the shortest way to root first.
func (c *collector) all() {
	root, err := unix.Open(cmp.Or(c.Root, "/"), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		c.unread(cmp.Or(c.Root, "/"), err)
		return
	}
	defer unix.Close(root)
	c.root = root
	for _, read := range []func(){
		c.accounts, c.sudo, c.preload, c.docker, c.hosts, c.resolver, c.trust, c.cron, c.units, c.shells,
		c.ssh, c.git, c.npm, c.pip, c.kernel, c.runner, c.path, c.workflows,
	} {
		if c.ctx.Err() != nil {
			return
		}
		read()
	}
}

// send hands over a piece, unless nobody waits for it any more.
func (c *collector) send(x any) {
	select {
	case c.found <- x:
	case <-c.ctx.Done():
	}
}

// item tells of a thing that was found at a path, "" for none.
func (c *collector) item(check string, s judge.Severity, path string, line int, found string) {
	if c.StateOnly || c.items >= maxItems {
		return
	}
	if c.items++; c.items == maxItems {
		c.unread("", errors.New("more was found than is told"))
	}
	t := checks[check]
	c.send(Item{
		Check: check, Severity: s, Path: c.text(path), Line: line, Found: c.Redactor.String(found),
		Title: t.title, Why: t.why, Do: t.do, Controls: append([]string{}, t.controls...),
	})
}

func (c *collector) text(path string) redact.Text {
	if path == "" {
		return redact.Text{}
	}
	return c.Redactor.Path([]byte(path))
}

// unread tells that a place could not be read, but for one that is not there.
func (c *collector) unread(path string, err error) {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) || c.unreads >= maxUnread {
		return
	}
	if c.unreads++; c.unreads == maxUnread {
		path, err = "", errors.New("more places could not be read than are told")
	}
	var at *fs.PathError
	if errors.As(err, &at) {
		err = at.Err
	}
	c.send(Unread{Path: c.text(path), Why: err.Error()})
}

// mayWrite reports whether the user may write, by the permission bits alone.
func (u *User) mayWrite(f *file) bool { return u.may(f, 2) }

// may reports whether the bits (4 read, 2 write) are the user's.
func (u *User) may(f *file, bits uint32) bool {
	switch {
	case u.UID == 0:
		return true
	case f.uid == u.UID:
		return f.mode>>6&bits == bits
	case slices.Contains(u.Groups, f.gid):
		return f.mode>>3&bits == bits
	}
	return f.mode&bits == bits
}
