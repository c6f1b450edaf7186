package fact

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/names"
	"github.com/org/edamame-posture/pkg/process"
	"github.com/org/edamame-posture/pkg/redact"
)

// DefaultLimit is how many facts of a kind a folder keeps unless told.
const DefaultLimit = 4096

// Folder folds events into facts. It is fed with the events of one log in
// their order and holds nothing but what they say, so the same log gives the
// same facts. The process tree and the names must have had an event before the
// folder gets it.
//
// It is not safe for use by several goroutines at once.
type Folder struct {
	tree  *process.Tree
	names *names.Table
	ws    Folders
	limit int

	// Explained is asked about a fact when there is no room for another of its
	// kind: one that a grant explains gives way. It must depend on the fact
	// alone. Nil keeps every fact.
	Explained func(*Fact) bool
	// Requests is asked about a Connect fact whether a policy limits what may be
	// requested there; then each request is a fact. It must depend on the fact
	// alone. Nil makes no such facts.
	Requests func(*Fact) bool
	// Keys is asked about a Connect fact which variables hold the keys that a
	// policy names for it; none where any key may be used. It must depend on the
	// fact alone. Nil makes no Key facts.
	Keys func(*Fact) []string

	declared map[string][]redact.Text // hashes of the variables' values

	facts   map[string]*Fact
	buckets [bucketCount]bucket

	lineages    map[string]*lineage
	nodes       map[*process.Node]nodeLineage
	nextLineage uint32
	doer        *process.Node // of the event before, and what nodes holds of it
	doing       nodeLineage

	conns   connTable
	taints  taints
	asked   []asked
	written written
	images  map[imageKey]*image
	fan     map[uint64]uint16
	wide    int32 // changes when a set of files may have come to be told by its top
	// listening holds ports that something listened on: what arrives there was
	// not sent by the job.
	listening map[uint16]bool
	answered  bool // a resolver's answer was seen
	// configured are the resolvers that the machine's own settings name.
	configured map[netip.Addr]bool
	// own are addresses from which the job itself answered DNS questions.
	own map[netip.Addr]bool

	path      path
	key, lkey []byte
	recent    recent
}

// NewFolder returns a folder without facts. limit is how many facts it keeps
// of each [Kind]; 0 means [DefaultLimit].
func NewFolder(tree *process.Tree, table *names.Table, ws Folders, limit int) *Folder {
	if limit <= 0 {
		limit = DefaultLimit
	}
	return &Folder{
		tree: tree, names: table, ws: ws, limit: limit,
		facts: make(map[string]*Fact), lineages: make(map[string]*lineage),
		nodes: make(map[*process.Node]nodeLineage), fan: make(map[uint64]uint16),
		listening: make(map[uint16]bool),
	}
}

// SetFolders says where the job works. Facts that were made before keep
// their form, so it is called before the first event of a process.
func (f *Folder) SetFolders(ws Folders) {
	f.ws = ws
	f.recent.forget()
}

// Folders returns where the job works.
func (f *Folder) Folders() Folders { return f.ws }

// bucket is the room of the facts of one kind. Each kind has its own, so that
// a flood of one hides nothing of another.
type bucket struct {
	list  []*Fact
	gone  uint64 // explained facts that gave way
	left  uint64 // facts that were not kept and that nothing explains
	stuck bool   // nothing in it can give way
}

// The kinds of facts that share a limit: the verbs, with those apart that are
// of another severity.
const (
	bucketWriteOutside = int(verbCount) + iota
	bucketExecFresh
	bucketLocal // Connect and Listen on loopback
	bucketCount
)

func (f *Fact) bucket() int {
	switch {
	case f.Verb == Write && f.Outside():
		return bucketWriteOutside
	case f.Verb == Exec && f.Fresh:
		return bucketExecFresh
	case (f.Verb == Connect || f.Verb == Listen) && f.Loopback():
		return bucketLocal
	}
	return int(f.Verb)
}

// Apply takes the next event, with the image that its actor is, and returns
// the fact that it made or grew. It returns nil where the event makes none, or
// makes one that waits for the name of its destination; [Folder.Facts] has
// that one too.
func (f *Folder) Apply(ev *event.Event, n *process.Node) *Fact {
	if ev.Kind == event.DNS && ev.OK && len(ev.Answers) > 0 {
		f.answered = true
	}
	if n == nil || ev.Via == event.ViaMonitor {
		return nil // but for drift: see Drifted
	}
	switch ev.Kind {
	case event.Exec:
		return f.exec(ev, n)
	case event.Digest:
		f.digest(ev)
	case event.Open:
		return f.open(ev, n)
	case event.Rename, event.Link:
		return f.file(Write, ev, n, ev.NewPath, true)
	case event.Chmod:
		fact := f.file(Write, ev, n, ev.Path, false)
		if ev.Mode&04000 != 0 {
			return f.power(ev, n)
		}
		return fact
	case event.Unlink:
		return f.file(Delete, ev, n, ev.Path, false)
	case event.MemAccess:
		if !ev.Class.IsZero() {
			return f.credential(ev, n)
		}
		return f.power(ev, n)
	case event.SetID, event.Ptrace, event.Kill, event.BPF, event.Module, event.Mount, event.Namespace, event.Unix:
		return f.power(ev, n)
	case event.Connect, event.Accept, event.Flow, event.Send, event.TLS, event.HTTP, event.DNS:
		return f.socket(ev, n)
	case event.Listen:
		return f.listen(ev, n)
	case event.Packet, event.Vsock:
		return f.nameless(ev, n)
	}
	return nil
}

// Resolver reports whether an address may be a resolver that the machine is
// configured with. Those that its settings name count, and since a container's
// settings are its own, any of the machine, its network and its cloud, but for
// one that the job listens or answers as itself.
func (f *Folder) Resolver(a netip.AddrPort) bool {
	addr := a.Addr().Unmap()
	if a.Port() != 53 || addr.IsLoopback() && f.listening[53] || f.own[addr] {
		return false
	}
	return local(addr) || f.configured[addr]
}

// maxResolvers bounds the resolvers that a log may name.
const maxResolvers = 64

// AddResolver takes note of a resolver that the machine is configured with.
func (f *Folder) AddResolver(addr netip.Addr) {
	if f.configured == nil {
		f.configured = make(map[netip.Addr]bool)
	}
	if len(f.configured) < maxResolvers {
		f.configured[addr.Unmap()] = true
	}
}

// Distrust takes note of an address that the job itself answers from, as a
// server or with a packet made by hand: no resolver of the machine, whatever
// its settings say. It returns false for one that was noted before.
func (f *Folder) Distrust(addr netip.Addr) bool {
	addr = addr.Unmap()
	if f.own[addr] || len(f.own) >= maxResolvers {
		return false
	}
	if f.own == nil {
		f.own = make(map[netip.Addr]bool)
	}
	f.own[addr] = true
	return true
}

// Canonical returns the canonical form of what a finding is about, so that it
// is the same in the next run: a path as in a fact, anything else as it is.
func (f *Folder) Canonical(object redact.Text) redact.Text {
	if !object.HasPrefix("/") {
		return object
	}
	f.path.fold(object, &f.ws, "", true)
	return f.path.text()
}

// Lineage returns the names of the program that n runs and of those that led
// to it inside the recording, as facts have them: the doer first, 8 at most.
func (f *Folder) Lineage(n *process.Node) []redact.Text {
	if n == nil {
		return nil
	}
	return f.lineageOf(n, n.Via).who
}

// begin starts the key of a fact in f.key.
func (f *Folder) begin(v Verb, l *lineage) {
	f.key = binary.LittleEndian.AppendUint32(append(f.key[:0], byte(v)), l.id)
}

// keyHead is the length of what begin writes.
const keyHead = 5

// grow adds an event to the fact of f.key, if there is one.
func (f *Folder) grow(ev *event.Event) *Fact {
	fact, ok := f.facts[string(f.key)]
	if !ok {
		return nil
	}
	fact.seen(ev.Time, times(ev))
	return fact
}

func times(ev *event.Event) uint64 { return max(ev.Count, 1) }

func (fact *Fact) seen(at int64, count uint64) {
	fact.First, fact.Last = min(fact.First, at), max(fact.Last, at)
	fact.Count += count
}

// keep takes a new fact under f.key, or leaves it out where there is no room.
// It returns the fact in both cases, so that what is done with single events
// does not depend on the room.
func (f *Folder) keep(fact *Fact) *Fact {
	b := &f.buckets[fact.bucket()]
	if len(b.list) >= f.limit && !f.makeRoom(b) {
		if f.Explained != nil && f.Explained(fact) {
			b.gone++
		} else {
			b.left++
		}
		return fact
	}
	fact.key = string(f.key)
	f.facts[fact.key] = fact
	f.tree.Pin(fact.Node)
	b.list = append(b.list, fact)
	return fact
}

// makeRoom lets explained facts give way, the oldest half of them. Connections
// stay: the bytes that went there are held against a budget.
func (f *Folder) makeRoom(b *bucket) bool {
	if b.stuck || f.Explained == nil {
		return false
	}
	var out int
	kept := b.list[:0]
	for _, fact := range b.list {
		if out < (f.limit+1)/2 && fact.Verb != Connect && f.Explained(fact) {
			delete(f.facts, fact.key)
			fact.key = ""
			out++
			continue
		}
		kept = append(kept, fact)
	}
	clear(b.list[len(kept):])
	b.list = kept
	b.gone += uint64(out)
	b.stuck = out == 0
	return out > 0
}

// made fills what all new facts have.
func made(v Verb, ev *event.Event, n *process.Node, l *lineage) *Fact {
	return &Fact{
		Verb: v, Node: n, Who: l.who, Via: l.via,
		First: ev.Time, Last: ev.Time, Count: times(ev), Leaf: ev.Seq,
		Job: l.job, Step: l.step, Action: l.action, Agent: l.agent, ContainerName: l.container,
		Session: l.session, Call: l.call, Late: l.late,
	}
}

func (f *Folder) exec(ev *event.Event, n *process.Node) *Fact {
	name, script := ev.Exe, f.scriptOf(ev)
	if !script.IsZero() {
		name = script
	}
	l := f.lineageOf(n, ev.Via)
	f.path.fold(name, &f.ws, "", true)
	id := ev.File
	if ev.Image&event.Script != 0 {
		id = event.FileID{} // that of the interpreter
	}
	n.Origin = f.written.origin(id, name.String(), f.path.place) | placeOrigins[f.path.place]
	fresh := ev.Image&event.Memfd != 0 || n.Origin&process.Written != 0
	f.begin(Exec, l)
	if fresh {
		f.key = append(f.key, 1)
	} else {
		f.key = append(f.key, 0)
	}
	f.key = f.path.appendTo(f.key)
	fact := f.grow(ev)
	if fact == nil {
		fact = made(Exec, ev, n, l)
		fact.Object = f.path.text()
		fact.Path, fact.Place, fact.Fresh = fact.Object, f.path.place, fresh
		fact = f.keep(fact)
	}
	if ev.CTime != 0 { // executed files are digested
		fact.ran(f.imageOf(ev, script))
	} else {
		fact.ran(nil)
	}
	// Root by a setuid program: the image before was not root.
	if ev.UID == 0 && n.Parent != nil && n.Parent.UID != 0 {
		f.power(ev, n)
	} else if len(f.asked) > 0 {
		f.delegated(ev, n)
	}
	return fact
}

// absolute makes the path of a script absolute, as execve resolved it.
func (f *Folder) absolute(name, cwd redact.Text) redact.Text {
	if name.HasPrefix("/") || cwd.IsZero() {
		return name
	}
	s := name.String()
	for strings.HasPrefix(s, "./") {
		s = strings.TrimLeft(s[2:], "/")
	}
	dir := cwd.String()
	for strings.HasPrefix(s, "../") {
		s = strings.TrimLeft(s[3:], "/")
		if i := strings.LastIndexByte(dir, '/'); i >= 0 {
			dir = dir[:i]
		}
	}
	return redact.Concat(cwd.Slice(0, len(dir)), slash, name.Slice(name.Len()-len(s), name.Len()))
}

func (f *Folder) open(ev *event.Event, n *process.Node) *Fact {
	if ev.Err != 0 || ev.Path.IsZero() {
		return nil // it was refused; or more of an open that was told before
	}
	var fact *Fact
	if ev.Access&(event.Write|event.Create|event.Truncate|event.Append) != 0 {
		fact = f.file(Write, ev, n, ev.Path, true)
	}
	if ev.Access&event.Read != 0 && !ev.Class.IsZero() {
		return f.credential(ev, n)
	}
	return fact
}

// Files of one folder that one lineage touches are told one by one up to
// fanFiles, then as the folder; folders below a top one up to fanTop.
const (
	fanFiles = 64
	fanTop   = 256
	fanPorts = 4 // ephemeral ports on one address
	maxFan   = 1 << 16
)

// fans counts a thing of a set, and reports whether the set has more than
// limit: then they are told as one.
func (f *Folder) fans(set uint64, limit uint16) bool {
	n, ok := f.fan[set]
	return n >= limit || !ok && len(f.fan) >= maxFan
}

// file makes the fact of a file that was changed; content says that what it
// holds is new.
func (f *Folder) file(v Verb, ev *event.Event, n *process.Node, name redact.Text, content bool) *Fact {
	if noFile(name.String(), ev.Actor.PID) {
		if content {
			f.written.mark(ev.File, name, n)
		}
		return nil
	}
	l := f.lineageOf(n, ev.Via)
	was := f.recent.at(v, l, name)
	if fact := was.same(v, l, name, f.wide); fact != nil {
		if content {
			f.written.again(was, ev.File, n)
		}
		fact.seen(ev.Time, times(ev))
		return fact
	}
	if content {
		f.written.mark(ev.File, name, n)
	}
	fact, folded := f.fileFact(v, ev, n, l, name)
	*was = repeat{verb: v, lin: l, name: name, fact: fact, folded: folded, wide: f.wide, marked: content, id: ev.File}
	return fact
}

// fileFact makes the fact of a path or adds to the one that is there, and
// reports whether it stands for more files than what the path folds to.
func (f *Folder) fileFact(v Verb, ev *event.Event, n *process.Node, l *lineage, name redact.Text) (fact *Fact, folded bool) {
	f.path.fold(name, &f.ws, l.doer(), false)
	f.begin(v, l)
	f.key = f.path.appendTo(f.key)
	if fact := f.grow(ev); fact != nil {
		return fact, false
	}
	var dirSet, topSet uint64
	var object redact.Text
	// Hidden files are settings and hooks: each is told.
	if !f.path.hidden {
		dir := bytes.LastIndexByte(f.key[keyHead:], '/') + 1 + keyHead
		top := min(f.path.top(f.key[keyHead:])+keyHead, dir)
		dirSet = hashBytes(hashBytes(fnvOffset, f.key[:dir]), []byte("\x00d"))
		topSet = hashBytes(hashBytes(fnvOffset, f.key[:top]), []byte("\x00t"))
		cut, rest := 0, redact.Text{}
		switch {
		case f.fans(topSet, fanTop):
			cut, rest = top, deepStar
		case f.fans(dirSet, fanFiles):
			cut, rest = dir, star
		}
		if cut > 0 {
			f.key = append(f.key[:cut], rest.String()...)
			if fact := f.grow(ev); fact != nil {
				return fact, true
			}
			object = redact.Concat(f.path.text().Slice(0, cut-keyHead), rest)
		}
	}
	folded = !object.IsZero()
	if !folded {
		object = f.path.text()
		if dirSet != 0 {
			f.count(dirSet)
		}
	}
	if topSet != 0 {
		f.count(topSet)
	}
	fact = made(v, ev, n, l)
	fact.Object, fact.Path, fact.Place = object, object, f.path.place
	return f.keep(fact), folded
}

func (f *Folder) count(set uint64) {
	n, ok := f.fan[set]
	if ok || len(f.fan) < maxFan {
		n++
		f.fan[set] = n
	}
	if n == fanTop || len(f.fan) == maxFan {
		f.wide++
	}
}

func (f *Folder) credential(ev *event.Event, n *process.Node) *Fact {
	l := f.lineageOf(n, ev.Via)
	if !settings(ev.Class, ev.Path, l.doer()) {
		f.taints.read(n, ev.Class, owns(ev.Class, l.doer()))
	}
	f.path.fold(ev.Path, &f.ws, "", true)
	f.begin(Credential, l)
	f.key = append(append(f.key, ev.Class.String()...), ' ')
	f.key = f.path.appendTo(f.key)
	if fact := f.grow(ev); fact != nil {
		return fact
	}
	fact := made(Credential, ev, n, l)
	fact.Class, fact.Path, fact.Place = ev.Class, f.path.text(), f.path.place
	fact.Object = redact.Concat(fact.Class, redact.Const(" "), fact.Path)
	return f.keep(fact)
}

// Facts returns a copy of every fact, with those that still wait for the name
// of their destination as they would be decided now. They are sorted: by verb,
// object, lineage, scope and first event.
func (f *Folder) Facts() []*Fact {
	byKey := make(map[string]*Fact, len(f.facts))
	out := make([]*Fact, 0, len(f.facts))
	for i := range f.buckets {
		for _, fact := range f.buckets[i].list {
			c := *fact
			byKey[c.key] = &c
			out = append(out, &c)
		}
	}
	out = f.pending(byKey, out)
	// What is open still may turn out to be read, or not.
	for c := f.conns.oldest; c != nil; c = c.next {
		f.unread(c, func(to *Fact) *Fact { return byKey[to.key] })
	}
	out = f.unheard(byKey, out)
	slices.SortFunc(out, compare)
	return out
}

func compare(a, b *Fact) int {
	return cmp.Or(
		cmp.Compare(a.Verb, b.Verb),
		redact.Compare(a.Object, b.Object),
		slices.CompareFunc(a.Who, b.Who, redact.Compare),
		redact.Compare(a.Job, b.Job), redact.Compare(a.Step, b.Step), redact.Compare(a.Action, b.Action),
		redact.Compare(a.Agent, b.Agent), redact.Compare(a.ContainerName, b.ContainerName),
		redact.Compare(a.Session, b.Session), redact.Compare(a.Call, b.Call),
		cmp.Compare(a.Via, b.Via),
		cmp.Compare(a.First, b.First), cmp.Compare(a.Leaf, b.Leaf),
		strings.Compare(a.key, b.key),
	)
}

// Left is what the bounds of a folder cost.
type Left struct {
	Verb Verb
	// Outside: these were writes outside the workspace. Fresh: programs that
	// were written in this recording. Local: on loopback.
	Outside, Fresh, Local bool
	// Count is how many times a fact was not kept that nothing explained. A
	// behaviour that returns is counted each time.
	Count uint64
	// Explained is how many explained facts gave way.
	Explained uint64
}

// LeftOut returns what was not kept, in a fixed order; only kinds of which
// something was not.
func (f *Folder) LeftOut() []Left {
	var out []Left
	for i := range f.buckets {
		b := &f.buckets[i]
		if b.left == 0 && b.gone == 0 {
			continue
		}
		l := Left{Verb: Verb(i), Count: b.left, Explained: b.gone}
		switch i {
		case bucketWriteOutside:
			l.Verb, l.Outside = Write, true
		case bucketExecFresh:
			l.Verb, l.Fresh = Exec, true
		case bucketLocal:
			l.Verb, l.Local = Connect, true
		}
		out = append(out, l)
	}
	return out
}
