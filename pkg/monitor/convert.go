package monitor

import (
	"bytes"
	"io"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/org/edamame-posture/pkg/credential"
	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/process"
	"github.com/org/edamame-posture/pkg/redact"
	"github.com/org/edamame-posture/pkg/runner"
	"github.com/org/edamame-posture/pkg/sensor"
	"github.com/org/edamame-posture/pkg/wire"
)

// record turns what a sensor said into an event of this recording. It is the
// one place where bytes of the job become text, by the recording's redactor.
func (r *recording) record(rec *sensor.Record, p, target *process.Process, via event.Via) {
	if rec.TLS != 0 {
		r.plaintext(rec, p, via)
		return
	}
	if rec.Proto == event.ProtoTCP {
		switch {
		case rec.Kind == event.DNS && rec != &r.part:
			r.messages(rec, p, via)
			return
		case (rec.Kind == event.TLS || rec.Kind == event.HTTP) && rec != &r.part:
			if rec = r.head(rec); rec == nil {
				return
			}
		case rec.Kind == event.Flow:
			if rec.OK {
				r.leftover(rec, p, via)
			}
			if r.reads && rec.Dst.Port() == 53 {
				r.beyondBound(rec)
			}
		}
	}
	whole := rec.Kind == event.Flow && r.flowed(rec, p)
	ev := &r.ev
	ev.Reset()
	ev.Kind, ev.Time, ev.Via, ev.TLS = rec.Kind, rec.Time, via, whole
	if p != nil {
		ev.Actor = p.Actor
	}
	if target != nil {
		ev.Target = target.Actor
	}
	ev.Op, ev.Count, ev.OK, ev.Err = rec.Op, rec.Count, rec.OK, rec.Err
	var step runner.Step
	var asked *client
	switch rec.Kind {
	case event.Fork:
		if p.Parent != nil {
			ev.Parent = p.Parent.Actor
		}
		if !r.first && via == event.ViaLineage {
			r.first, r.root = true, ev.Actor
		}
	case event.Exec:
		r.exec(ev, rec, p)
		if p.BeginsStep() && via == event.ViaLineage {
			step = runner.StepOf(ev, r.workers.hookOf(p.Parent.Actor, rec.Argv))
			if r.job != nil {
				r.job.named(ev)
			}
		}
		asked = r.enters(rec, p, ev, via)
	case event.Exit:
		ev.Code, ev.Signal = rec.Code, rec.Signal
		if ev.Actor.PID == r.root.PID && ev.Actor.Start == r.root.Start {
			code := rec.Code
			r.rootExit, r.rootSig = &code, rec.Signal
		}
	case event.SetID:
		ev.UID, ev.GID = rec.UID, rec.GID
	case event.SetSID:
		ev.Session = rec.Session
	case event.Kill:
		ev.Signal = rec.Signal
	case event.Namespace:
		ev.NS = rec.NS
	case event.Connect, event.Accept, event.Listen, event.Flow, event.Send:
		r.socket(ev, rec)
	case event.Packet, event.Vsock:
		r.socket(ev, rec)
		ev.Detail = r.red.String(rec.Detail)
	case event.DNS:
		r.socket(ev, rec)
		if !r.resolve(ev, rec) {
			return
		}
	case event.TLS:
		r.socket(ev, rec)
		hello, ok := r.hello(rec)
		if !ok {
			return
		}
		ev.Name = r.red.Host(hello.ServerName)
		if hello.ECH {
			ev.Detail = event.Hidden
		}
	case event.HTTP:
		r.socket(ev, rec)
		req, err := wire.Request(rec.Payload)
		if err != nil {
			return
		}
		r.request(ev, &req)
	case event.Unix:
		ev.Path = r.red.Path(rec.Path)
	case event.Open, event.Rename, event.Unlink, event.Link, event.Chmod, event.Mkdir, event.Mount, event.Module, event.MemAccess:
		if !r.file(ev, rec) {
			return
		}
	}
	switch {
	case !ev.Detail.IsZero():
	case rec.Passed:
		ev.Detail = passedOn
	case rec.Worker:
		ev.Detail = byWorker
	}
	r.append(ev)
	switch rec.Kind {
	case event.Exec:
		if r.digests != nil {
			r.digests.ask(rec, p, ev)
		}
		if !step.Kind.IsZero() {
			r.step(rec.Time, p, step)
			r.asks(p, step, rec.Argv)
		}
		if asked != nil {
			r.joined(rec.Time, p, asked)
		}
		r.container(rec, p, via)
	case event.HTTP:
		// What was sent behind a request without waiting for its answer.
		if n := ev.Size; n > 0 && n < uint64(len(rec.Payload)) {
			r.tell(rec, p, via, event.HTTP, rec.Payload[n:])
		}
	}
}

var (
	passedOn = redact.Const("the connection came over a Unix socket")
	byWorker = redact.Const("by a worker of io_uring")
)

func (r *recording) exec(ev *event.Event, rec *sensor.Record, p *process.Process) {
	ev.Exe = r.red.Path(rec.Exe)
	ev.Filename = r.red.Path(rec.Filename)
	ev.Interp = r.red.Path(rec.Interp)
	ev.Cwd = r.red.Path(rec.Cwd)
	r.argv(ev, rec.Argv)
	ev.ArgvBytes, ev.ArgvCut = rec.ArgvBytes, rec.ArgvCut || rec.ArgvMissing
	r.environ(ev, rec.Env)
	ev.UID, ev.GID, ev.Cgroup = rec.UID, rec.GID, rec.Cgroup
	ev.NS, ev.File, ev.Image = rec.NS, rec.File, rec.Image
	if r.digests != nil {
		ev.CTime, ev.Size = rec.CTime, rec.Size
	}
	ev.Container = r.containers.ofExec(rec, p).id
}

// environ fills the variables that may be told, of entries that end in a zero
// byte.
func (r *recording) environ(ev *event.Event, raw []byte) {
	for v := range bytes.SplitSeq(raw, []byte{0}) {
		name, value, ok := bytes.Cut(v, []byte{'='})
		if !ok {
			continue
		}
		if n, val, ok := r.red.Env(name, value); ok {
			ev.Env = append(ev.Env, event.Var{Name: n, Value: val})
		}
	}
}

// maxContainers bounds the containers that a recording tells of.
const maxContainers = 1024

// container tells, once for each container, by whose exec it was first seen.
func (r *recording) container(rec *sensor.Record, p *process.Process, via event.Via) {
	c := r.containers.ofExec(rec, p)
	if c.id.IsZero() || p == nil || len(r.inContainer) >= maxContainers {
		return
	}
	if _, told := r.inContainer[c.id]; told {
		return
	}
	r.inContainer[c.id] = seenContainer{actor: p.Actor, via: via}
	ev := r.blank(event.Container, rec.Time)
	ev.Actor, ev.Via = p.Actor, via
	ev.Container, ev.Detail = c.id, r.red.String(c.path)
	r.append(ev)
	if r.naming != nil {
		r.called(c.id, r.naming.of(c.id))
	}
}

// argv fills the arguments and what was found in them.
func (r *recording) argv(ev *event.Event, raw []byte) {
	ev.Argv, r.found = r.red.Argv(raw, ev.Argv, r.found[:0])
	r.secrets(ev, redact.Const("argv"))
}

// secrets tells what was found in a field, without any part of it.
func (r *recording) secrets(ev *event.Event, field redact.Text) {
	for _, f := range r.found {
		ev.Secrets = append(ev.Secrets, event.Secret{
			Field: field, Index: f.Index, Pattern: f.Pattern, Length: f.Length, Layers: f.Layers, Hash: f.Hash,
		})
	}
}

// request fills in what a request says.
func (r *recording) request(ev *event.Event, req *wire.HTTPRequest) {
	ev.Method = r.red.Text(req.Method)
	ev.Name = r.red.Host(req.Host)
	ev.Path, r.found = r.red.FindURL(req.Path, r.found[:0])
	r.secrets(ev, redact.Const("path"))
	ev.Size = req.Size
	r.credentials(ev, req)
	switch {
	case req.Cut:
		ev.Detail = event.NotWhole
	case req.Ambiguous:
		ev.Detail = event.TwoHosts
	}
}

func (r *recording) socket(ev *event.Event, rec *sensor.Record) {
	ev.Proto, ev.Src, ev.Dst, ev.Sock = rec.Proto, rec.Src, rec.Dst, rec.Sock
	ev.Sent, ev.Received = rec.Sent, rec.Received
}

// otherPort is the detail of a DNS message that went to another port than 53.
var otherPort = redact.Const("not on port 53")

// resolve decodes a DNS message. One that cannot be decoded is told as what it
// is: something else on port 53. On any other port the sensor only guesses by
// the header: it returns false for what turns out to be none.
func (r *recording) resolve(ev *event.Event, rec *sensor.Record) bool {
	err := wire.ParseDNS(rec.Payload, &r.dns)
	if rec.Dst.Port() != 53 {
		if err != nil || !isLookup(&r.dns) || r.dns.Response != rec.OK {
			return false
		}
		ev.Detail = otherPort
	}
	if err != nil && len(r.dns.Questions) == 0 {
		ev.Detail = redact.Const("not a DNS message")
		return true
	}
	ev.OK = r.dns.Response
	ev.RCode = r.dns.RCode
	if len(r.dns.Questions) > 0 {
		// A name is a way out: who asks for it tells it to whoever answers.
		ev.Name, r.found = r.red.FindHost(r.dns.Questions[0].Name, r.found[:0])
		r.secrets(ev, redact.Const("name"))
		ev.QType = r.dns.Questions[0].Type
		if q := &r.dns.Questions[0]; !r.dns.Response {
			r.asked.ask(rec.Sock, q.Name, q.Type)
		} else if !r.asked.was(rec.Sock, q.Name, q.Type) {
			ev.Detail = unasked
		}
	}
	for _, a := range r.dns.Answers {
		ev.Answers = append(ev.Answers, event.Answer{
			Name: r.red.Host(a.Name), Type: a.Type, Addr: a.Addr, Target: r.red.Host(a.Target), TTL: a.TTL,
		})
	}
	return true
}

// isLookup reports whether a message is one question in a class that names
// are looked up in (RFC 1035 §3.2.4; of RFC 6762 §5.4 the upper bit), or the
// answer to one.
func isLookup(m *wire.DNSMessage) bool {
	if len(m.Questions) != 1 || m.Questions[0].Type == 0 {
		return false
	}
	switch m.Questions[0].Class &^ 0x8000 {
	case 1, 3, 4, 255: // IN, CH, HS, ANY
		return true
	}
	return false
}

// file fills a file event. It returns false for a watched read whose name only
// looked like a credential's.
func (r *recording) file(ev *event.Event, rec *sensor.Record) bool {
	ev.Path, ev.NewPath = r.red.Path(rec.Path), r.red.Path(rec.NewPath)
	ev.File, ev.Access, ev.Mode = rec.File, rec.Access, rec.Mode
	switch rec.Kind {
	case event.Rename, event.Link:
		// A credential under another name stays one.
		if class, ok := credential.Classify(string(rec.Path), r.home); ok {
			ev.Class = class.Name
			r.watch(rec.PID, rec.NewPath, class.Name)
		} else if class, ok := credential.Classify(string(rec.NewPath), r.home); ok {
			r.watch(rec.PID, rec.NewPath, class.Name)
		}
		return true
	}
	if !rec.Watched || rec.TargetPID == 0 && !ev.Target.IsZero() {
		return true // any other file, or one of the monitor's own
	}
	class, ok := credential.Classify(string(rec.Path), r.home)
	switch {
	case ok:
		ev.Class = class.Name
		if rec.File.Inode != 0 && r.classOf(rec.File).IsZero() {
			r.learn(rec.File, class.Name)
			r.watch(rec.PID, rec.Path, class.Name)
		}
	case rec.ByInode:
		ev.Class = r.classOf(rec.File)
		ok = !ev.Class.IsZero()
	case rec.File.Inode == 0 && rec.Err == 0:
		// By io_uring: what was opened is not told, only its name.
		ev.Class = r.classOf(r.watch(rec.PID, rec.Path, redact.Text{}))
		ok = !ev.Class.IsZero()
	}
	return ok || rec.Err == 0 && (rec.TargetPID != 0 || rec.Access&(event.Write|event.Create) != 0)
}

// maxKnown bounds the credential files that are known by their inode.
const maxKnown = 4096

// learn notes of what class a file is. Over some file systems (btrfs, overlayfs)
// stat(2) gives another device than the programs see, so the inode's number
// counts alone too: that the file is on the list the kernel has said.
func (r *recording) learn(id event.FileID, class redact.Text) {
	if len(r.known) < maxKnown {
		r.known[id] = class
		r.known[event.FileID{Inode: id.Inode}] = class
	}
}

// classOf returns the class of a file that was learnt; zero for any other.
func (r *recording) classOf(id event.FileID) redact.Text {
	if class, ok := r.known[id]; ok {
		return class
	}
	return r.known[event.FileID{Inode: id.Inode}]
}

// watch has the file at a path of a process's own watched whatever name leads
// to it from now on, and returns which it is. Without a class the file is only
// looked up.
func (r *recording) watch(pid uint32, path []byte, class redact.Text) event.FileID {
	if r.adopter == nil || len(path) < 2 || path[0] != '/' {
		return event.FileID{}
	}
	root, err := unix.Open("/proc/"+strconv.FormatUint(uint64(pid), 10)+"/root", unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		// It has ended; most jobs see the files as we do.
		if root, err = unix.Open("/", unix.O_PATH|unix.O_CLOEXEC, 0); err != nil {
			return event.FileID{}
		}
	}
	defer unix.Close(root)
	id, err := r.adopter.Adopt(root, string(path[1:]), true)
	if err != nil {
		return event.FileID{}
	}
	if !class.IsZero() {
		r.learn(id, class)
	}
	return id
}

func readBounded(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, limit))
}
