package fact

import (
	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/process"
	"github.com/org/edamame-posture/pkg/redact"
)

// byPackages is the class of drift that package managers alone made.
var byPackages = redact.Const("package")

// Drifted makes the facts of a drift event: one for each lineage that was seen
// to write the file, since each answers for it. Where the file is known to have
// been written in the recording under another name, such as in a container, it
// is one of n, the recording's root. It returns none where nobody of the
// recording was seen to write it: then somebody else on the machine may have.
func (f *Folder) Drifted(ev *event.Event, n *process.Node) []*Fact {
	f.path.fold(ev.Path, &f.ws, "", false)
	object, place := f.path.text(), f.path.place
	var out []*Fact
	add := func(n *process.Node, l *lineage, class redact.Text) {
		f.begin(Drift, l)
		f.key = append(append(append(f.key, class.String()...), ' '), object.String()...)
		fact := f.grow(ev)
		if fact == nil {
			fact = made(Drift, ev, n, l)
			fact.Object, fact.Path, fact.Place, fact.Class = object, object, place, class
			fact = f.keep(fact)
		}
		out = append(out, fact)
	}
	for _, b := range [...]int{int(Write), bucketWriteOutside, int(Delete)} {
		for _, w := range f.buckets[b].list {
			if w.Object != object || w.Via == event.ViaHost || w.Via == event.ViaOutside {
				continue
			}
			class := ev.Class
			if managed(w.Node) {
				class = byPackages
			}
			add(w.Node, f.lineageOf(w.Node, w.Via), class)
		}
	}
	if len(out) == 0 && n != nil && f.written.origin(ev.File, ev.Path.String(), System) != 0 {
		add(n, f.lineageOf(n, n.Via), ev.Class)
	}
	return out
}
