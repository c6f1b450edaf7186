package fact_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/fact"
	"github.com/org/edamame-posture/pkg/fact/facttest"
	"github.com/org/edamame-posture/pkg/names"
	"github.com/org/edamame-posture/pkg/process"
)

func addrPort(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

// machine feeds a folder as the judge does.
type machine struct {
	tree   *process.Tree
	names  *names.Table
	folder *fact.Folder
}

func newMachine(limit int) *machine {
	m := &machine{tree: process.NewTree(1 << 12), names: names.New(1 << 12)}
	m.names.SetTree(m.tree)
	m.names.AddResolver(facttest.Resolver.Addr())
	m.folder = fact.NewFolder(m.tree, m.names, fact.Folders{Root: facttest.Root, Home: facttest.Home}, limit)
	return m
}

func (m *machine) apply(ev *event.Event) *fact.Fact {
	n := m.tree.Apply(ev)
	m.names.Apply(ev)
	return m.folder.Apply(ev, n)
}

// facts folds a log and returns its facts as lines.
func facts(l *facttest.Log) []string {
	m := newMachine(0)
	for i := range l.Events {
		m.apply(&l.Events[i])
	}
	return lines(m.folder.Facts())
}

func lines(list []*fact.Fact) []string {
	var out []string
	for _, f := range list {
		if f.Verb == fact.Exec {
			continue
		}
		var who []string
		for _, w := range f.Who {
			who = append(who, w.String())
		}
		s := fmt.Sprintf("%s %s by %s x%d", f.Verb, f.Object, strings.Join(who, "<"), f.Count)
		if f.Sent > 0 {
			s += fmt.Sprintf(" sent %d", f.Sent)
		}
		out = append(out, s)
	}
	return out
}

func TestWhatDatagramsBringBackIsNoFurtherDatagram(t *testing.T) {
	l := facttest.New("curl")
	send := event.Event{Kind: event.Send, Actor: l.Root, Proto: event.ProtoUDP, Dst: addrPort("203.0.113.9:9000"), Sock: 5}
	m := newMachine(0)
	for _, part := range []struct{ count, sent, received uint64 }{{1, 300, 0}, {0, 0, 4000}, {2, 10, 7}} {
		send.Count, send.Sent, send.Received = part.count, part.sent, part.received
		l.Add(send)
	}
	for i := range l.Events {
		m.apply(&l.Events[i])
	}
	for _, f := range m.folder.Facts() {
		if f.Verb == fact.Connect && (f.Count != 3 || f.Sent != 310 || f.Received != 4007) {
			t.Errorf("%d datagrams, %d bytes sent, %d received", f.Count, f.Sent, f.Received)
		}
	}
	if n := len(lines(m.folder.Facts())); n != 1 {
		t.Errorf("%d facts", n)
	}
}

func TestAnAddressThatTheJobAnswersFromIsNoResolver(t *testing.T) {
	m := newMachine(0)
	at := addrPort("10.0.0.53:53")
	if !m.folder.Resolver(at) {
		t.Fatal("an address of the network is none from the start")
	}
	if !m.folder.Distrust(at.Addr()) || m.folder.Distrust(at.Addr()) {
		t.Error("it is to be noted once")
	}
	m.folder.AddResolver(at.Addr())
	if m.folder.Resolver(at) {
		t.Error("it is one still")
	}
}

func TestConnectionsBecomeFactsOfTheNameThatIsKnown(t *testing.T) {
	const addr = "203.0.113.9:443"
	tests := []struct {
		name string
		tell func(l *facttest.Log)
		want []string
	}{
		{"a resolved name", func(l *facttest.Log) {
			l.Resolve(l.Root, "api.example", "203.0.113.9")
			l.Send(l.Root, addr, 50)
			l.Send(l.Root, addr, 70)
		}, []string{"connect api.example:443 by curl x2 sent 120"}},
		{"a name that comes after the connect", func(l *facttest.Log) {
			s := l.Connect(l.Root, addr)
			l.Hello(l.Root, addr, s, "API.example.")
			l.Flow(l.Root, addr, s, 50, 1, true)
		}, []string{"connect api.example:443 by curl x1 sent 50"}},
		{"a connect that nothing followed", func(l *facttest.Log) {
			l.Connect(l.Root, addr)
		}, []string{"connect 203.0.113.9:443 by curl x1"}},
		{"a name said to an address that no resolver gave it", func(l *facttest.Log) {
			l.Resolve(l.Root, "good.example", "198.51.100.1")
			s := l.Connect(l.Root, addr)
			l.Hello(l.Root, addr, s, "good.example")
			l.Flow(l.Root, addr, s, 50, 1, true)
		}, []string{"connect 203.0.113.9:443 by curl x1 sent 50"}},
		{"a name said to an address that is another's", func(l *facttest.Log) {
			l.Resolve(l.Root, "evil.example", "203.0.113.9")
			s := l.Connect(l.Root, addr)
			l.Hello(l.Root, addr, s, "good.example")
			l.Flow(l.Root, addr, s, 50, 1, true)
		}, []string{"connect evil.example:443 by curl x1 sent 50"}},
		{"two names on one address", func(l *facttest.Log) {
			l.Resolve(l.Root, "a.example", "203.0.113.9")
			l.Resolve(l.Root, "b.example", "203.0.113.9")
			for i, name := range []string{"a.example", "b.example"} {
				s := l.Connect(l.Root, addr)
				l.Hello(l.Root, addr, s, name)
				l.Flow(l.Root, addr, s, uint64(10+i), 1, true)
			}
		}, []string{"connect a.example:443 by curl x1 sent 10", "connect b.example:443 by curl x1 sent 11"}},
		{"totals that grow are not added twice", func(l *facttest.Log) {
			s := l.Connect(l.Root, addr)
			l.Flow(l.Root, addr, s, 10, 0, false)
			l.Flow(l.Root, addr, s, 30, 0, false)
			l.Flow(l.Root, addr, s, 25, 0, false)
			l.Flow(l.Root, addr, s, 40, 0, true)
		}, []string{"connect 203.0.113.9:443 by curl x1 sent 40"}},
		{"a UDP connect that sends nothing asks the kernel for a route", func(l *facttest.Log) {
			l.Connect(l.Root, addr)
			l.Events[len(l.Events)-1].Proto = event.ProtoUDP
		}, nil},
		{"datagrams", func(l *facttest.Log) {
			for range 2 {
				l.Add(event.Event{Kind: event.Send, Actor: l.Root, Proto: event.ProtoUDP, Dst: addrPort("203.0.113.9:9000"), Sock: 5, Count: 3, Sent: 300})
			}
		}, []string{"connect 203.0.113.9:9000/udp by curl x6 sent 600"}},
		{"the machine's resolver", func(l *facttest.Log) {
			l.Resolve(l.Root, "a.example", "203.0.113.9")
			l.Add(event.Event{Kind: event.Send, Actor: l.Root, Proto: event.ProtoUDP, Dst: facttest.Resolver, Sock: 5, Count: 1, Sent: 30})
		}, nil},
		{"another resolver", func(l *facttest.Log) {
			l.Add(event.Event{Kind: event.DNS, Actor: l.Root, Proto: event.ProtoUDP, Dst: addrPort("8.8.8.8:53"), Name: facttest.Text("a.example")})
		}, []string{"resolve 8.8.8.8:53/udp by curl x1"}},
		{"what another resolver answers is not believed", func(l *facttest.Log) {
			l.Add(event.Event{Kind: event.DNS, Actor: l.Root, Proto: event.ProtoUDP, Dst: addrPort("8.8.8.8:53"), OK: true, Name: facttest.Text("good.example"),
				Answers: []event.Answer{{Name: facttest.Text("good.example"), Type: 1, Addr: addrPort(addr).Addr()}}})
			s := l.Connect(l.Root, addr)
			l.Hello(l.Root, addr, s, "good.example")
			l.Flow(l.Root, addr, s, 50, 1, true)
		}, []string{"connect 203.0.113.9:443 by curl x1 sent 50"}},
		{"a name that leads home and away is two destinations", func(l *facttest.Log) {
			l.Resolve(l.Root, "x.example", "10.0.0.1")
			l.Send(l.Root, "10.0.0.1:443", 1)
			l.Resolve(l.Root, "x.example", "203.0.113.9")
			l.Send(l.Root, addr, 1)
		}, []string{"connect x.example:443 by curl x1 sent 1", "connect x.example:443 by curl x1 sent 1"}},
		{"the machine itself has no name", func(l *facttest.Log) {
			s := l.Connect(l.Root, "127.0.0.1:8080")
			l.Hello(l.Root, "127.0.0.1:8080", s, "good.example")
		}, []string{"connect 127.0.0.1:8080 by curl x1"}},
		{"what arrives at a listener was not sent", func(l *facttest.Log) {
			l.Listen(l.Root, "0.0.0.0:8080")
			l.Add(event.Event{Kind: event.Accept, Actor: l.Root, Proto: event.ProtoTCP, Src: addrPort("10.0.0.2:8080"), Dst: addrPort("203.0.113.9:5555"), Sock: 9})
			l.Add(event.Event{Kind: event.Flow, Actor: l.Root, Proto: event.ProtoTCP, Src: addrPort("10.0.0.2:8080"), Dst: addrPort("203.0.113.9:5555"), Sock: 9, Sent: 10, OK: true})
		}, []string{"listen 0.0.0.0:8080 by curl x1"}},
		{"packets made by hand and virtual sockets", func(l *facttest.Log) {
			l.Add(event.Event{Kind: event.Packet, Actor: l.Root, Proto: event.ProtoPacket, Detail: facttest.Text("AF_PACKET"), Sent: 60})
			l.Add(event.Event{Kind: event.Vsock, Actor: l.Root, Detail: facttest.Text("2:1024")})
		}, []string{"connect *:*/packet by curl x1 sent 60", "connect vsock:2:1024 by curl x1"}},
		{"IPv6", func(l *facttest.Log) { l.Send(l.Root, "[2001:db8::1]:443", 1) },
			[]string{"connect [2001:db8::1]:443 by curl x1 sent 1"}},
		{"ports that the kernel chose are one after the first few", func(l *facttest.Log) {
			for i := range 20 {
				l.Send(l.Root, fmt.Sprintf("127.0.0.1:%d", 40000+i), 1)
			}
		}, []string{
			"connect 127.0.0.1:* by curl x16 sent 16", "connect 127.0.0.1:40000 by curl x1 sent 1", "connect 127.0.0.1:40001 by curl x1 sent 1",
			"connect 127.0.0.1:40002 by curl x1 sent 1", "connect 127.0.0.1:40003 by curl x1 sent 1",
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			l := facttest.New("curl")
			test.tell(l)
			if got := facts(l); !slices.Equal(got, test.want) {
				t.Errorf("got\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(test.want, "\n\t"))
			}
		})
	}
}

func TestCredentialThenEgressIsAChain(t *testing.T) {
	const key, evil = "/home/runner/.aws/credentials", "203.0.113.9:443"
	tests := []struct {
		name string
		tell func(l *facttest.Log)
		want []string
	}{
		{"one process reads and sends", func(l *facttest.Log) {
			p := l.Run(l.Root, "/usr/bin/python3", "python3", "x.py")
			l.Read(p, "aws", key)
			l.Send(p, evil, 9)
		}, []string{"chain aws -> 203.0.113.9:443 by x.py<make x1"}},
		{"a pipeline reads and sends", func(l *facttest.Log) {
			sh := l.Run(l.Root, "/bin/sh", "sh", "-c", "cat key | curl")
			cat := l.Run(sh, "/bin/cat", "cat")
			curl := l.Run(sh, "/usr/bin/curl", "curl")
			l.Read(cat, "aws", key)
			l.Send(curl, evil, 9)
		}, []string{"chain aws -> 203.0.113.9:443 by curl<sh<make x1"}},
		{"the child of a reader sends", func(l *facttest.Log) {
			p := l.Run(l.Root, "/usr/bin/perl", "perl")
			l.Read(p, "aws", key)
			l.Send(l.Run(p, "/usr/bin/curl", "curl"), evil, 9)
		}, []string{"chain aws -> 203.0.113.9:443 by curl<perl<make x1"}},
		{"to where the credential is made for", func(l *facttest.Log) {
			p := l.Run(l.Root, "/usr/bin/perl", "perl")
			l.Read(p, "aws", key)
			l.Resolve(p, "sts.amazonaws.com", "203.0.113.9")
			l.Send(p, evil, 9)
		}, nil},
		{"sent before it was read", func(l *facttest.Log) {
			p := l.Run(l.Root, "/usr/bin/perl", "perl")
			l.Send(p, evil, 9)
			l.Read(p, "aws", key)
		}, nil},
		{"opened before, sent after it was read", func(l *facttest.Log) {
			p := l.Run(l.Root, "/usr/bin/perl", "perl")
			s := l.Connect(p, evil)
			l.Flow(p, evil, s, 5, 0, false)
			l.Read(p, "aws", key)
			l.Flow(p, evil, s, 500, 0, true)
		}, []string{"chain aws -> 203.0.113.9:443 by perl<make x1"}},
		{"a program that owns the class taints itself alone", func(l *facttest.Log) {
			aws := l.Run(l.Root, "/usr/bin/aws", "aws")
			l.Read(aws, "aws", key)
			l.Send(l.Run(aws, "/usr/bin/curl", "curl"), evil, 9)
			l.Send(l.Run(l.Root, "/usr/bin/curl", "curl"), evil, 9)
		}, nil},
		{"npm looks into git's settings", func(l *facttest.Log) {
			npm := l.Run(l.Root, "/usr/bin/npm", "npm", "install")
			l.Read(npm, "git", "/home/runner/.gitconfig")
			l.Send(npm, evil, 9)
		}, nil},
		{"an install script looks into git's settings", func(l *facttest.Log) {
			npm := l.Run(l.Root, "/usr/bin/npm", "npm", "install")
			script := l.Run(npm, "/usr/bin/perl", "perl")
			l.Read(script, "git", "/home/runner/.gitconfig")
			l.Send(script, evil, 9)
		}, []string{"chain git -> 203.0.113.9:443 by perl<npm<make x1"}},
		{"npm reads a token of git", func(l *facttest.Log) {
			npm := l.Run(l.Root, "/usr/bin/npm", "npm", "install")
			l.Read(npm, "git", "/home/runner/.git-credentials")
			l.Send(npm, evil, 9)
		}, []string{"chain git -> 203.0.113.9:443 by npm<make x1"}},
		{"another child of the root is another thing", func(l *facttest.Log) {
			sh := l.Run(l.Root, "/bin/sh", "sh")
			l.Read(l.Run(sh, "/bin/cat", "cat"), "aws", key)
			l.Send(l.Run(l.Root, "/usr/bin/curl", "curl"), evil, 9)
		}, nil},
		{"it stays on this machine", func(l *facttest.Log) {
			l.Read(l.Root, "aws", key)
			l.Send(l.Root, "127.0.0.1:8080", 9)
		}, nil},
		{"a connection that is still open at the end", func(l *facttest.Log) {
			p := l.Run(l.Root, "/usr/bin/perl", "perl")
			l.Read(p, "aws", key)
			l.Connect(p, evil)
		}, []string{"chain aws -> 203.0.113.9:443 by perl<make x1"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			l := facttest.New("make")
			test.tell(l)
			var got []string
			for _, s := range facts(l) {
				if strings.HasPrefix(s, "chain") {
					got = append(got, s)
				}
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestPowerOverTheMachine(t *testing.T) {
	outsider := event.Actor{PID: 5, Start: 5}
	tests := []struct {
		name string
		ev   event.Event
		want string
	}{
		{"the container socket", event.Event{Kind: event.Unix, Path: facttest.Text("/run/docker.sock")}, "power docker socket by make x1"},
		{"some other socket", event.Event{Kind: event.Unix, Path: facttest.Text("/run/nscd/socket")}, ""},
		{"tracing a process that is not the job's", event.Event{Kind: event.Ptrace, Op: event.OpAttach, Target: outsider}, "power ptrace by make x1"},
		{"being traced by one's parent", event.Event{Kind: event.Ptrace, Op: event.OpTraceMe}, ""},
		{"memory of a process that is not the job's", event.Event{Kind: event.MemAccess, Op: event.OpRead, Target: outsider}, "power memory read by make x1"},
		{"a kernel module", event.Event{Kind: event.Module, Op: event.OpLoad, Path: facttest.Text("/lib/x.ko")}, "power module load x.ko by make x1"},
		{"a mount in a namespace of one's own", event.Event{Kind: event.Mount, Op: event.OpMount}, ""},
		{"a BPF program", event.Event{Kind: event.BPF, Op: event.OpProgLoad}, "power bpf prog-load by make x1"},
		{"a look whether a process is there", event.Event{Kind: event.Kill, Signal: 0, Target: outsider}, ""},
		{"a signal to a process that is not the job's", event.Event{Kind: event.Kill, Signal: 9, Target: outsider}, "power signal by make x1"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			l := facttest.New("make")
			test.ev.Actor = l.Root
			l.Add(test.ev)
			if got := strings.Join(facts(l), "; "); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
	t.Run("acts on one's own child are none", func(t *testing.T) {
		l := facttest.New("gdb")
		child := l.Run(l.Root, "/usr/bin/true", "true")
		l.Add(event.Event{Kind: event.Ptrace, Op: event.OpAttach, Actor: l.Root, Target: child})
		l.Add(event.Event{Kind: event.Kill, Signal: 9, Actor: l.Root, Target: child})
		if got := facts(l); got != nil {
			t.Errorf("got %q", got)
		}
	})
	t.Run("root by a setuid program, once", func(t *testing.T) {
		l := facttest.New("make")
		sudo := l.Run(l.Root, "/usr/bin/sudo", "sudo", "make", "install")
		l.Events[len(l.Events)-1].UID = 0
		l.Run(sudo, "/usr/bin/make", "make", "install")
		l.Events[len(l.Events)-1].UID = 0
		if got, want := facts(l), []string{"power root by make<sudo<make x1"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

// What sudo runs has the power that sudo took, so that a policy can name it.
func TestPowerIsOfTheProgramThatSudoRuns(t *testing.T) {
	asRoot := func(l *facttest.Log, a event.Actor) event.Actor {
		l.Events[len(l.Events)-1].UID = 0
		return a
	}
	sudo := func(l *facttest.Log) event.Actor { return asRoot(l, l.Run(l.Root, "/usr/bin/sudo", "sudo", "-E", "x")) }
	for _, test := range []struct {
		name string
		tell func(l *facttest.Log)
		want []string
	}{
		{"it forks first", func(l *facttest.Log) { asRoot(l, l.Run(l.Fork(sudo(l)), "/usr/bin/apt-get", "apt-get")) }, []string{"power root by apt-get<sudo<make x1"}},
		{"it becomes the program", func(l *facttest.Log) { asRoot(l, l.Exec(sudo(l), "/usr/bin/apt-get", "apt-get")) }, []string{"power root by apt-get<sudo<make x1"}},
		{"what that runs is its own affair", func(l *facttest.Log) {
			apt := asRoot(l, l.Run(sudo(l), "/usr/bin/apt-get", "apt-get"))
			asRoot(l, l.Run(apt, "/usr/bin/dpkg", "dpkg"))
		}, []string{"power root by apt-get<sudo<make x1"}},
		{"each program is a fact", func(l *facttest.Log) {
			asRoot(l, l.Run(sudo(l), "/usr/bin/apt-get", "apt-get"))
			asRoot(l, l.Run(sudo(l), "/usr/bin/python3", "python3"))
			asRoot(l, l.Run(sudo(l), "/usr/bin/apt-get", "apt-get"))
		}, []string{"power root by apt-get<sudo<make x2", "power root by python3<sudo<make x1"}},
		{"it runs nothing", func(l *facttest.Log) { sudo(l); sudo(l) }, []string{"power root by sudo<make x2"}},
		{"it sets its ids", func(l *facttest.Log) {
			a := sudo(l)
			l.Add(event.Event{Kind: event.SetID, Actor: a, UID: 0})
			asRoot(l, l.Run(a, "/usr/bin/apt-get", "apt-get"))
		}, []string{"power root by apt-get<sudo<make x1"}},
		{"for another user", func(l *facttest.Log) { l.Run(sudo(l), "/usr/bin/psql", "psql") }, []string{"power root by sudo<make x1"}},
		{"a setuid program that is no delegate", func(l *facttest.Log) {
			a := asRoot(l, l.Run(l.Root, "/tmp/rootme", "rootme"))
			asRoot(l, l.Run(a, "/usr/bin/apt-get", "apt-get"))
		}, []string{"power root by rootme<make x1"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := facttest.New("make")
			test.tell(l)
			var got []string
			for _, s := range facts(l) {
				if strings.HasPrefix(s, "power") {
					got = append(got, s)
				}
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestAProgramThatWasWrittenInTheJobIsFresh(t *testing.T) {
	l := facttest.New("make")
	id := event.FileID{Dev: 1, Inode: 77}
	l.Add(event.Event{Kind: event.Open, Actor: l.Root, Path: facttest.Text("/tmp/.x"), Access: event.Write | event.Create, File: id})
	l.Add(event.Event{Kind: event.Rename, Actor: l.Root, Path: facttest.Text("/tmp/.x"), NewPath: facttest.Text("/tmp/tool")})
	byInode := l.Run(l.Root, "/tmp/tool", "tool")
	l.Events[len(l.Events)-1].File = id
	l.Write(l.Root, facttest.Root+"/run.sh")
	byPath := l.Script(l.Root, "./run.sh", "/bin/sh", "/bin/sh", "./run.sh")
	old := l.Run(l.Root, "/usr/bin/true", "true")
	m := newMachine(0)
	fresh := map[event.Actor]bool{}
	for i := range l.Events {
		if f := m.apply(&l.Events[i]); f != nil && f.Verb == fact.Exec {
			fresh[l.Events[i].Actor] = f.Fresh
		}
	}
	if !fresh[byInode] || !fresh[byPath] || fresh[old] || fresh[l.Root] {
		t.Errorf("fresh: %v; want the renamed tool %v and the script %v alone", fresh, byInode, byPath)
	}
}

func TestTheOriginOfAProgramStandsAtItsImage(t *testing.T) {
	l := facttest.New("make")
	npm := l.Run(l.Root, "/usr/bin/node", "node", "/usr/bin/npm", "ci")
	l.Write(npm, facttest.Root+"/node_modules/x/bin/tool")
	l.Write(npm, facttest.Root+"/node_modules/x/bin/other")
	script := l.Run(npm, "/usr/bin/node", "node", "install.js")
	l.Write(script, facttest.Root+"/node_modules/x/bin/other")
	l.Write(npm, facttest.Root+"/node_modules/x/bin/other")
	l.Write(script, "/tmp/.drop")
	want := map[event.Actor]process.Origin{
		npm: process.InSystem,
		l.Run(l.Root, facttest.Root+"/node_modules/x/bin/tool", "tool"):   process.Written | process.Managed | process.InWorkspace,
		l.Run(l.Root, facttest.Root+"/node_modules/x/bin/other", "other"): process.Written | process.InWorkspace,
		l.Run(script, "/tmp/.drop", "drop"):                               process.Written | process.InTemp,
	}
	m := newMachine(0)
	for i := range l.Events {
		m.apply(&l.Events[i])
	}
	for a, origin := range want {
		if got := m.tree.Get(a).Origin; got != origin {
			t.Errorf("%s: origin %b, want %b", m.tree.Get(a).Name(), got, origin)
		}
	}
}

func TestManyFilesOfOneFolderComeToOneFact(t *testing.T) {
	l := facttest.New("git", "checkout")
	for i := range 300 {
		l.Write(l.Root, fmt.Sprintf("%s/src/%c/%c.go", facttest.Root, 'a'+i%3, rune('a'+i%26))+string(rune('A'+i/26)))
	}
	l.Write(l.Root, facttest.Root+"/.github/workflows/ci.yml")
	got := facts(l)
	if n := len(got); n > 3*65+1 {
		t.Errorf("%d facts of 300 files", n)
	}
	if !slices.ContainsFunc(got, func(s string) bool { return strings.HasPrefix(s, "write src/a/* ") }) {
		t.Errorf("no fact tells of the rest of src/a: %q", got[:5])
	}
	if !slices.ContainsFunc(got, func(s string) bool { return strings.HasPrefix(s, "write .github/workflows/ci.yml ") }) {
		t.Error("a workflow is told by its name whatever else was written")
	}
}

func TestExplainedFactsGiveWayAndTheRestIsCounted(t *testing.T) {
	m := newMachine(8)
	m.folder.Explained = func(f *fact.Fact) bool { return strings.Contains(f.Object.String(), "ok") }
	l := facttest.New("make")
	for i := range 100 {
		l.Read(l.Root, "aws", fmt.Sprintf("/srv/%c%c/ok", 'a'+i%26, 'a'+i/26))
	}
	for i := range 20 {
		l.Read(l.Root, "aws", fmt.Sprintf("/srv/%c/bad", 'a'+i))
	}
	for i := range l.Events {
		m.apply(&l.Events[i])
	}
	left := m.folder.LeftOut()
	if len(left) != 1 || left[0].Verb != fact.Credential || left[0].Count != 12 || left[0].Explained != 100 {
		t.Errorf("left out %+v; want 12 that nothing explains and 100 that a grant did", left)
	}
	kept := lines(m.folder.Facts())
	if len(kept) != 8 || slices.ContainsFunc(kept, func(s string) bool { return strings.Contains(s, "ok") }) {
		t.Errorf("kept %q", kept)
	}
}

func TestAFloodOfOneKindHidesNothingOfAnother(t *testing.T) {
	m := newMachine(8)
	l := facttest.New("make")
	for i := range 200 {
		l.Write(l.Root, fmt.Sprintf("%s/.%c/%c", facttest.Root, 'a'+i%20, 'a'+i/20))
	}
	l.Write(l.Root, "/etc/cron.d/x")
	l.Send(l.Root, "203.0.113.9:443", 1)
	for i := range l.Events {
		m.apply(&l.Events[i])
	}
	got := lines(m.folder.Facts())
	for _, want := range []string{"write /etc/cron.d/x by make x1", "connect 203.0.113.9:443 by make x1 sent 1"} {
		if !slices.Contains(got, want) {
			t.Errorf("%q is not among %q", want, got)
		}
	}
}

// The order of maps must not show: the same log is folded twenty times.
func TestTheSameLogGivesTheSameFacts(t *testing.T) {
	l := busy(500)
	want := facts(l)
	for range 20 {
		if got := facts(l); !slices.Equal(got, want) {
			t.Fatalf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}

// busy is a log with a bit of everything.
func busy(n int) *facttest.Log {
	l := facttest.New("npm", "ci")
	for i := range n {
		p := l.Run(l.Root, "/usr/bin/node", "node", fmt.Sprintf("/x/job%d.js", i%7))
		l.Write(p, fmt.Sprintf("%s/node_modules/p%d/index.js", facttest.Root, i%50))
		l.Write(p, fmt.Sprintf("/tmp/x-%d/y", i*1000))
		l.Resolve(p, fmt.Sprintf("h%d.example", i%9), fmt.Sprintf("203.0.113.%d", i%9))
		l.Send(p, fmt.Sprintf("203.0.113.%d:443", i%9), uint64(i))
		l.Read(p, "npm", "/home/runner/.npmrc")
		l.Connect(p, "198.51.100.1:80")
		l.Exit(p, 0)
	}
	return l
}

func TestAKnownFactCostsNoAllocation(t *testing.T) {
	l := facttest.New("make")
	p := l.Run(l.Root, "/usr/bin/node", "node", "x.js")
	l.Resolve(p, "a.example", "203.0.113.9")
	first := len(l.Events)
	l.Write(p, facttest.Root+"/node_modules/left-pad/lib/index.js")
	l.Write(p, "/tmp/go-build31415926/b001/x.o")
	l.Read(p, "aws", "/home/runner/.aws/credentials")
	l.Unlink(p, "/tmp/tmp.AbC123xyz9")
	l.Listen(p, "0.0.0.0:8080")
	s := l.Connect(p, "203.0.113.9:443")
	l.Flow(p, "203.0.113.9:443", s, 10, 10, false)
	l.Flow(p, "203.0.113.9:443", s, 20, 20, true)
	l.Add(event.Event{Kind: event.BPF, Op: event.OpProgLoad, Actor: p})
	m := newMachine(0)
	var n *process.Node
	for i := range l.Events {
		n = m.tree.Apply(&l.Events[i])
		m.names.Apply(&l.Events[i])
		m.folder.Apply(&l.Events[i], n)
	}
	for i := first; i < len(l.Events); i++ {
		ev := &l.Events[i]
		if got := testing.AllocsPerRun(100, func() { m.folder.Apply(ev, n) }); got != 0 {
			t.Errorf("%s %s%s: %v allocations", ev.Kind, ev.Path, ev.Dst, got)
		}
	}
}

func BenchmarkApply(b *testing.B) {
	l := busy(2000)
	b.ReportAllocs()
	b.ResetTimer()
	for i := 0; i < b.N; i += len(l.Events) {
		b.StopTimer()
		m := newMachine(0)
		nodes := make([]*process.Node, len(l.Events))
		for j := range l.Events {
			nodes[j] = m.tree.Apply(&l.Events[j])
			m.names.Apply(&l.Events[j])
		}
		b.StartTimer()
		for j := range l.Events {
			if i+j == b.N {
				break
			}
			m.folder.Apply(&l.Events[j], nodes[j])
		}
	}
}
