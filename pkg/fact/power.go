package fact

import (
	"strings"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/process"
	"github.com/org/edamame-posture/pkg/redact"
)

// daemons are Unix sockets behind which something runs as root for whoever
// may connect, by the end of their path.
var daemons = []struct {
	suffix string
	name   redact.Text
}{
	{"/docker.sock", redact.Const("docker socket")},
	{"/containerd.sock", redact.Const("containerd socket")},
	{"/podman.sock", redact.Const("podman socket")},
	{"/crio.sock", redact.Const("cri-o socket")},
	{"/buildkitd.sock", redact.Const("buildkit socket")},
	{"/systemd/private", redact.Const("systemd socket")},
}

// power makes the fact of an event by which a process takes or uses power over
// the machine, or over a process that is not of this recording.
func (f *Folder) power(ev *event.Event, n *process.Node) *Fact {
	what, who := f.powerOf(ev, n)
	if what.IsZero() {
		return nil
	}
	if what == rootPower && f.ask(ev, n, f.lineageOf(n, ev.Via)) {
		return nil
	}
	return f.powerFact(ev, n, what, who)
}

var rootPower = redact.Const("root")

func (f *Folder) powerKey(l *lineage, what, who redact.Text) {
	f.begin(Power, l)
	f.key = append(append(append(f.key, what.String()...), ' '), who.String()...)
}

func (f *Folder) powerFact(ev *event.Event, n *process.Node, what, who redact.Text) *Fact {
	l := f.lineageOf(n, ev.Via)
	f.powerKey(l, what, who)
	if fact := f.grow(ev); fact != nil {
		return fact
	}
	fact := made(Power, ev, n, l)
	fact.Class, fact.Object = what, what
	if !who.IsZero() {
		fact.Object = redact.Concat(what, redact.Const(" "), who)
	}
	return f.keep(fact)
}

// powerOf names the power and whom it is used on. An empty name means none.
func (f *Folder) powerOf(ev *event.Event, n *process.Node) (what, who redact.Text) {
	var none redact.Text
	switch ev.Kind {
	case event.Exec, event.SetID:
		if ev.UID != 0 || n.Parent == nil || n.Parent.UID == 0 {
			return none, none
		}
		return rootPower, none
	case event.Chmod:
		return redact.Const("setuid file"), none
	case event.Ptrace:
		if ev.Op == event.OpTraceMe || f.inside(ev.Target) {
			return none, none
		}
		return redact.Const("ptrace"), f.target(ev)
	case event.MemAccess:
		if f.inside(ev.Target) {
			return none, none
		}
		if ev.Op == event.OpWrite {
			return redact.Const("memory write"), f.target(ev)
		}
		return redact.Const("memory read"), f.target(ev)
	case event.Kill:
		if ev.Signal == 0 || ev.Target.IsZero() || f.inside(ev.Target) {
			return none, none
		}
		return redact.Const("signal"), f.target(ev)
	case event.BPF:
		return opText("bpf", ev.Op), none
	case event.Module:
		return opText("module", ev.Op), ev.Path.Base()
	case event.Mount:
		// In a user namespace of one's own a mount is no power over the machine.
		if n.UID != 0 {
			return none, none
		}
		return opText("namespace", ev.Op), none
	case event.Namespace:
		if n.UID != 0 {
			return none, none
		}
		return opText("namespace", ev.Op), none
	case event.Unix:
		p := ev.Path.String()
		for i := range daemons {
			if strings.HasSuffix(p, daemons[i].suffix) {
				return daemons[i].name, none
			}
		}
	}
	return none, none
}

// inside reports whether the process was started by this recording, or asked
// for by it.
func (f *Folder) inside(a event.Actor) bool {
	n := f.tree.Get(a)
	return n != nil && n.Known && (n.Via == event.ViaLineage || n.Via == event.ViaRequest)
}

func (f *Folder) target(ev *event.Event) redact.Text {
	if n := f.tree.Get(ev.Target); n != nil {
		return n.Program()
	}
	return redact.Text{}
}

// Texts of operations are made once, so that a known fact costs no allocation.
var opTexts = map[string]map[event.Op]redact.Text{
	"bpf": {
		event.OpProgLoad: redact.Const("bpf prog-load"), event.OpMapUpdate: redact.Const("bpf map-update"),
		event.OpDetach: redact.Const("bpf detach"), event.OpAttachProg: redact.Const("bpf attach-prog"),
		event.OpObject: redact.Const("bpf object"),
	},
	"module": {event.OpLoad: redact.Const("module load"), event.OpUnload: redact.Const("module unload")},
	"namespace": {
		event.OpMount: redact.Const("mount"), event.OpUnmount: redact.Const("unmount"),
		event.OpUnshare: redact.Const("namespace unshare"), event.OpSetNS: redact.Const("namespace setns"),
		event.OpClone: redact.Const("namespace clone"),
	},
}

var otherTexts = map[string]redact.Text{
	"bpf": redact.Const("bpf other"), "module": redact.Const("module other"), "namespace": redact.Const("namespace other"),
}

func opText(group string, op event.Op) redact.Text {
	if t, ok := opTexts[group][op]; ok {
		return t
	}
	return otherTexts[group]
}
