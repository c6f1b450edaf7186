// Package facttest writes logs for tests: small scenes told event by event, in
// the form in which a monitor would have written them.
//
//	l := facttest.New("npm", "ci")
//	sh := l.Run(l.Root, "/bin/sh", "sh", "-c", "node install.js")
//	l.Resolve(sh, "evil.example", "203.0.113.9")
//	l.Send(sh, "203.0.113.9:443", 1200)
//	l.End(0)
//	for _, ev := range l.Events { … }
package facttest

import (
	"encoding/json"
	"net/netip"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/redact"
)

// Where the job of a scene works.
const (
	Root = "/home/runner/work/app/app"
	Home = "/home/runner"
)

// The wall clock and the boot clock at the start of a scene.
const (
	Wall = 1_790_000_000_000_000_000
	Boot = 81_000_000_000
)

// Log is a log under construction.
type Log struct {
	Events []event.Event
	// Root is the image that runs the command of the recording.
	Root event.Actor

	time int64
	pid  uint32
	sock uint64
}

// Text makes a text as a log would hold it.
func Text(s string) redact.Text {
	var t redact.Text
	b, err := json.Marshal(s)
	if err == nil {
		err = json.Unmarshal(b, &t)
	}
	if err != nil {
		panic(err)
	}
	return t
}

// Texts makes a list of texts.
func Texts(list ...string) []redact.Text {
	out := make([]redact.Text, len(list))
	for i, s := range list {
		out[i] = Text(s)
	}
	return out
}

// New begins a log as the monitor does for `run`: start, sensors, the shell
// that was there, the command. The program lies in /usr/bin.
func New(command string, args ...string) *Log {
	l := &Log{time: Boot, pid: 1000, sock: 100}
	shell := event.Actor{PID: 900, Start: 70_000_000_000}
	argv := Texts(append([]string{command}, args...)...)
	l.Add(event.Event{
		Kind: event.Start, Via: event.ViaMonitor, Actor: shell, Version: event.Version,
		Boot: Text("0f6c1f8e-5a0e-4a53-9f0e-1f4a3a8f2f11"), Wall: Wall, Host: Text("runner-1"),
		Argv: argv, Cwd: Text(Root), Path: Text(Home), Sensor: Text("ebpf"), Tool: Text("test"),
	})
	l.Add(event.Event{Kind: event.SensorUp, Via: event.ViaMonitor, Sensor: Text("ebpf"), Detail: Text("primary")})
	l.Add(event.Event{Kind: event.SensorUp, Via: event.ViaMonitor, Sensor: Text("netlink"), Detail: Text("witness")})
	l.Add(event.Event{Kind: event.Existing, Via: event.ViaMonitor, Actor: shell, Exe: Text("/usr/bin/bash"), Argv: Texts("bash"), Cwd: Text(Root)})
	l.Root = l.Exec(l.Fork(shell), "/usr/bin/"+command, append([]string{command}, args...)...)
	return l
}

// Add appends an event, a millisecond after the one before, and returns it.
func (l *Log) Add(ev event.Event) *event.Event {
	ev.Seq = uint64(len(l.Events))
	ev.Time = l.time
	l.time += 1_000_000
	l.Events = append(l.Events, ev)
	return &l.Events[len(l.Events)-1]
}

// Fork makes a process.
func (l *Log) Fork(parent event.Actor) event.Actor {
	l.pid++
	child := event.Actor{PID: l.pid, Start: l.time}
	l.Add(event.Event{Kind: event.Fork, Actor: child, Parent: parent})
	return child
}

// Exec makes the process run a program and returns its next image.
func (l *Log) Exec(a event.Actor, exe string, argv ...string) event.Actor {
	a.Image++
	l.Add(event.Event{
		Kind: event.Exec, Actor: a, Exe: Text(exe), Filename: Text(exe), Argv: Texts(argv...),
		Cwd: Text(Root), UID: 1001, GID: 1001, File: event.FileID{Dev: 1, Inode: uint64(len(exe))<<32 | uint64(exe[len(exe)-1])},
	})
	return a
}

// Run forks and executes.
func (l *Log) Run(parent event.Actor, exe string, argv ...string) event.Actor {
	return l.Exec(l.Fork(parent), exe, argv...)
}

// Script makes a process that runs a script, as the kernel does for #!.
func (l *Log) Script(parent event.Actor, script, interpreter string, argv ...string) event.Actor {
	a := l.Fork(parent)
	a.Image++
	l.Add(event.Event{
		Kind: event.Exec, Actor: a, Exe: Text(interpreter), Filename: Text(script), Interp: Text(interpreter),
		Argv: Texts(argv...), Cwd: Text(Root), UID: 1001, GID: 1001, Image: event.Script,
	})
	return a
}

// Holds tells what the file of an exec holds, as a monitor does that digests
// what is executed: content is any number that stands for it, 0 for one that is
// not known.
func (l *Log) Holds(a event.Actor, content byte) {
	d := event.Event{Kind: event.Digest, Actor: a, SHA256: Digest(content)}
	for i := range l.Events {
		e := &l.Events[i]
		if e.Kind != event.Exec || e.Actor != a {
			continue
		}
		e.CTime, e.Size = Wall-int64(content), 4096
		d.Exe, d.File, d.CTime, d.Size = e.Exe, e.File, e.CTime, e.Size
		if e.Image&event.Script != 0 {
			d.Image, d.Filename, d.Cwd = event.Script, e.Filename, e.Cwd
		}
	}
	if content == 0 {
		d.Detail = Text("the file could not be read")
	}
	l.Add(d)
}

// Digest is the digest of a content that a number stands for; none for 0.
func Digest(content byte) event.SHA256 {
	var d event.SHA256
	for i := range d {
		d[i] = content
	}
	return d
}

// Exit ends a process.
func (l *Log) Exit(a event.Actor, code int) {
	l.Add(event.Event{Kind: event.Exit, Actor: a, Code: code})
}

// Resolver is the machine's own.
var Resolver = netip.MustParseAddrPort("127.0.0.53:53")

// Resolve asks the machine's resolver for a name and gets an address.
func (l *Log) Resolve(a event.Actor, name, addr string) {
	l.sock++
	q := event.Event{Kind: event.DNS, Actor: a, Proto: event.ProtoUDP, Dst: Resolver, Sock: l.sock, Name: Text(name), QType: 1}
	l.Add(q)
	q.OK = true
	q.Answers = []event.Answer{{Name: Text(name), Type: 1, Addr: netip.MustParseAddr(addr), TTL: 60}}
	l.Add(q)
}

// Connect opens a connection and returns its socket.
func (l *Log) Connect(a event.Actor, dst string) uint64 {
	l.sock++
	l.Add(event.Event{Kind: event.Connect, Actor: a, Proto: event.ProtoTCP, Dst: netip.MustParseAddrPort(dst), Sock: l.sock})
	return l.sock
}

// Hello is the client's first message of TLS on a socket.
func (l *Log) Hello(a event.Actor, dst string, sock uint64, name string) {
	l.Add(event.Event{Kind: event.TLS, Actor: a, Dst: netip.MustParseAddrPort(dst), Sock: sock, Name: Text(name)})
}

// Request is an HTTP request on a socket, which takes size bytes of it; 0 where
// its end is not known.
func (l *Log) Request(a event.Actor, dst string, sock uint64, method, host, path string, size uint64) {
	l.Add(event.Event{
		Kind: event.HTTP, Actor: a, Dst: netip.MustParseAddrPort(dst), Sock: sock,
		Method: Text(method), Name: Text(host), Path: Text(path), Size: size,
	})
}

// Ask opens a connection, makes one request of 100 bytes on it and closes it.
func (l *Log) Ask(a event.Actor, dst, method, host, path string) {
	s := l.Connect(a, dst)
	l.Request(a, dst, s, method, host, path, 100)
	l.Flow(a, dst, s, 100, 10, true)
}

// Flow tells the totals of a connection, at its end or before.
func (l *Log) Flow(a event.Actor, dst string, sock, sent, received uint64, end bool) {
	l.Add(event.Event{
		Kind: event.Flow, Actor: a, Proto: event.ProtoTCP, Dst: netip.MustParseAddrPort(dst), Sock: sock,
		Sent: sent, Received: received, OK: end,
	})
}

// Send opens a connection, sends on it and closes it.
func (l *Log) Send(a event.Actor, dst string, sent uint64) {
	s := l.Connect(a, dst)
	l.Flow(a, dst, s, sent, 10, true)
}

// Write opens a file for writing.
func (l *Log) Write(a event.Actor, path string) {
	l.Add(event.Event{
		Kind: event.Open, Actor: a, Path: Text(path), Access: event.Write | event.Create,
		File: event.FileID{Dev: 1, Inode: uint64(len(l.Events)) + 1<<40},
	})
}

// Read opens a file of a credential class.
func (l *Log) Read(a event.Actor, class, path string) {
	l.Add(event.Event{Kind: event.Open, Actor: a, Path: Text(path), Access: event.Read, Class: Text(class)})
}

// Unlink removes a file.
func (l *Log) Unlink(a event.Actor, path string) {
	l.Add(event.Event{Kind: event.Unlink, Actor: a, Path: Text(path)})
}

// Listen takes connections.
func (l *Log) Listen(a event.Actor, src string) {
	l.sock++
	l.Add(event.Event{Kind: event.Listen, Actor: a, Proto: event.ProtoTCP, Src: netip.MustParseAddrPort(src), Sock: l.sock})
}

// End closes the log as a monitor does that saw all.
func (l *Log) End(code int) {
	l.Add(event.Event{Kind: event.Canary, Via: event.ViaMonitor, Sensor: Text("ebpf"), OK: true})
	l.Add(event.Event{Kind: event.Witness, Via: event.ViaMonitor, OK: true, Counts: []event.Count{{What: Text("exec"), EBPF: 7, Netlink: 7}}})
	l.Add(event.Event{Kind: event.End, Via: event.ViaMonitor, Actor: event.Actor{PID: l.Root.PID, Start: l.Root.Start}, Wall: Wall + l.time - Boot, Code: code})
}
