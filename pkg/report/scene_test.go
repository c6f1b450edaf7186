package report

import (
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/evidence"
	"github.com/org/edamame-posture/pkg/redact"
)

var update = flag.Bool("update", false, "write the golden files anew")

// scene writes the log of a recording, event by event, as the monitor does.
type scene struct {
	t    testing.TB
	log  *evidence.Log
	red  *redact.Redactor
	now  int64
	pids uint32
	dir  string

	forks, execs, exits uint64
}

// shell is the process that the recording's root was started from.
var shell = event.Actor{PID: 400, Start: 1, Image: 1}

const ms = 1_000_000

// newScene begins the recording of a command in /home/ci/app on host runner-7.
func newScene(t testing.TB, argv ...string) *scene {
	t.Helper()
	dir := t.TempDir()
	log, err := evidence.Create(filepath.Join(dir, "evidence"), evidence.Options{Run: "boot-1:412", NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	s := &scene{t: t, log: log, red: redact.New([32]byte{1}, redact.Options{}), now: 5_000_000_000, pids: 411, dir: dir}
	start := event.Event{Kind: event.Start, Via: event.ViaMonitor, Version: event.Version, Wall: 1_795_428_000_000_000_000}
	start.Boot, start.Host, start.Tool = s.text("00000000-0000-4000-8000-000000000001"), s.text("runner-7"), s.text("0.1.0")
	start.Cwd, start.Path, start.Sensor = s.text("/home/ci/app"), s.text("/home/ci"), s.text("ebpf")
	for _, a := range argv {
		start.Argv = append(start.Argv, s.text(a))
	}
	s.put(&start)
	for _, sensor := range []string{"ebpf", "netlink"} {
		s.put(&event.Event{Kind: event.SensorUp, Via: event.ViaMonitor, Sensor: s.text(sensor)})
	}
	s.put(&event.Event{Kind: event.Existing, Via: event.ViaMonitor, Actor: shell, Exe: s.text("/usr/bin/bash"), Argv: []redact.Text{s.text("bash")}})
	s.put(&event.Event{Kind: event.Canary, Via: event.ViaMonitor, Sensor: s.text("ebpf"), OK: true})
	return s
}

func (s *scene) text(v string) redact.Text { return s.red.String(v) }

func (s *scene) put(ev *event.Event) {
	s.t.Helper()
	s.now += ms
	ev.Time = s.now
	switch ev.Kind {
	case event.Fork:
		s.forks++
	case event.Exec:
		s.execs++
	case event.Exit:
		s.exits++
	}
	if err := s.log.Append(ev); err != nil {
		s.t.Fatal(err)
	}
}

func (s *scene) sleep(millis int64) { s.now += millis * ms }

// run forks a process of parent that executes exe.
func (s *scene) run(parent event.Actor, exe string, argv ...string) event.Actor {
	s.t.Helper()
	s.pids++
	a := event.Actor{PID: s.pids, Start: s.now}
	s.put(&event.Event{Kind: event.Fork, Actor: a, Parent: parent})
	a.Image = 1
	ev := event.Event{Kind: event.Exec, Actor: a, Exe: s.text(exe), Filename: s.text(exe), Cwd: s.text("/home/ci/app"), UID: 1000, GID: 1000}
	for _, arg := range argv {
		ev.Argv = append(ev.Argv, s.text(arg))
		ev.ArgvBytes += len(arg) + 1
	}
	s.put(&ev)
	return a
}

func (s *scene) exit(a event.Actor, code int) {
	s.put(&event.Event{Kind: event.Exit, Actor: a, Code: code})
}

func (s *scene) write(a event.Actor, path string) {
	s.put(&event.Event{Kind: event.Open, Actor: a, Path: s.text(path), Access: event.Write | event.Create, File: event.FileID{Dev: 1, Inode: uint64(s.now)}})
}

func (s *scene) read(a event.Actor, class, path string) {
	s.put(&event.Event{Kind: event.Open, Actor: a, Path: s.text(path), Access: event.Read, Class: s.text(class)})
}

// send resolves host, connects and moves bytes.
func (s *scene) send(a event.Actor, host, addr string, sent, received uint64) {
	dst := netip.MustParseAddrPort(addr)
	src := netip.AddrPortFrom(netip.MustParseAddr("192.0.2.7"), uint16(40000+s.now/ms%20000))
	if host != "" {
		s.put(&event.Event{Kind: event.DNS, Actor: a, Proto: event.ProtoUDP, Dst: netip.MustParseAddrPort("127.0.0.53:53"), Name: s.text(host), QType: 1})
		s.put(&event.Event{Kind: event.DNS, Actor: a, Proto: event.ProtoUDP, Dst: netip.MustParseAddrPort("127.0.0.53:53"), Name: s.text(host), QType: 1, OK: true,
			Answers: []event.Answer{{Name: s.text(host), Type: 1, Addr: dst.Addr(), TTL: 60}}})
	}
	sock := uint64(s.now)
	s.put(&event.Event{Kind: event.Connect, Actor: a, Proto: event.ProtoTCP, Src: src, Dst: dst, Sock: sock})
	if host != "" {
		s.put(&event.Event{Kind: event.TLS, Actor: a, Src: src, Dst: dst, Sock: sock, Name: s.text(host)})
	}
	s.put(&event.Event{Kind: event.Flow, Actor: a, Proto: event.ProtoTCP, Src: src, Dst: dst, Sock: sock, Sent: sent / 2, Received: received / 2})
	s.put(&event.Event{Kind: event.Flow, Actor: a, Proto: event.ProtoTCP, Src: src, Dst: dst, Sock: sock, Sent: sent, Received: received, OK: true})
}

// end closes the recording and reads it back.
func (s *scene) end(code int, survivors ...event.Survivor) *Data {
	s.t.Helper()
	s.close(code, survivors...)
	d, err := Load(s.dir)
	if err != nil {
		s.t.Fatal(err)
	}
	return d
}

func (s *scene) close(code int, survivors ...event.Survivor) {
	s.t.Helper()
	n := []event.Count{
		{What: s.text("fork"), EBPF: s.forks, Netlink: s.forks},
		{What: s.text("exec"), EBPF: s.execs, Netlink: s.execs},
		{What: s.text("exit"), EBPF: s.exits, Netlink: s.exits},
	}
	s.put(&event.Event{Kind: event.Witness, Via: event.ViaMonitor, OK: true, Counts: n})
	s.put(&event.Event{Kind: event.End, Via: event.ViaMonitor, Wall: 1_795_428_000_000_000_000 + s.now - 5_000_000_000, Code: code, Survivors: survivors})
	if _, err := s.log.Close(evidence.Closing{Boottime: s.now}); err != nil {
		s.t.Fatal(err)
	}
}

// golden compares with a file of testdata.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("%s differs; with -update it is written anew. Got:\n%s", file, got)
	}
}

// install is `npm install esbuild`: a lock file and packages in the workspace,
// a cache, one host, and an install script that runs what it fetched.
func install(t *testing.T) *Data {
	s := newScene(t, "npm", "install", "esbuild")
	npm := s.run(shell, "/usr/bin/node", "node", "/usr/bin/npm", "install", "esbuild")
	s.read(npm, "npm", "/home/ci/.npmrc")
	for i := range uint64(4) {
		s.sleep(120)
		s.send(npm, "packages.example.org", "198.51.100.20:443", 1800+i, 2_400_000)
	}
	for i := range 40 {
		s.write(npm, "/home/ci/.npm/_cacache/content-v2/sha512/"+string(rune('a'+i%26))+"/"+string(rune('a'+i/26)))
	}
	for _, f := range []string{"package.json", "lib/main.js", "bin/esbuild", "install.js", "README.md"} {
		s.write(npm, "/home/ci/app/node_modules/esbuild/"+f)
	}
	s.write(npm, "/home/ci/app/package-lock.json")
	s.write(npm, "/home/ci/app/node_modules/.package-lock.json")
	sh := s.run(npm, "/usr/bin/dash", "sh", "-c", "node install.js")
	node := s.run(sh, "/usr/bin/node", "node", "install.js")
	s.sleep(80)
	for range 2 {
		eb := s.run(node, "/home/ci/app/node_modules/esbuild/bin/esbuild", "esbuild", "--version")
		s.sleep(9)
		s.exit(eb, 0)
	}
	s.write(node, "/tmp/esbuild-x1")
	s.exit(node, 0)
	s.exit(sh, 0)
	s.sleep(300)
	s.exit(npm, 0)
	return s.end(0)
}
