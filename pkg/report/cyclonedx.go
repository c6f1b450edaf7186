package report

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"io"
	"path"
	"slices"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/evidence"
	"github.com/org/edamame-posture/pkg/fact"
	"github.com/org/edamame-posture/pkg/process"
	"github.com/org/edamame-posture/pkg/redact"
)

// Bounds of what is remembered of who fetched what.
const (
	maxWriters    = 1 << 16 // files whose writer is remembered
	maxFetchers   = 1 << 14 // processes that received something
	maxHostsShown = 8       // hosts of one process
)

// A CycloneDX 1.6 document, as far as it is written.
type (
	cdxBOM struct {
		Schema     string         `json:"$schema"`
		Format     string         `json:"bomFormat"`
		Spec       string         `json:"specVersion"`
		Serial     string         `json:"serialNumber"`
		Version    int            `json:"version"`
		Metadata   cdxMetadata    `json:"metadata"`
		Components []cdxComponent `json:"components"`
		Services   []cdxService   `json:"services"`
		Properties []cdxProperty  `json:"properties"`
	}
	cdxMetadata struct {
		Timestamp string       `json:"timestamp,omitempty"`
		Tools     cdxTools     `json:"tools"`
		Component cdxComponent `json:"component"`
	}
	cdxTools struct {
		Components []cdxComponent `json:"components"`
	}
	cdxComponent struct {
		Type       string        `json:"type"`
		Ref        string        `json:"bom-ref,omitempty"`
		Name       string        `json:"name"`
		Version    string        `json:"version,omitempty"`
		Hashes     []cdxHash     `json:"hashes,omitempty"`
		Properties []cdxProperty `json:"properties,omitempty"`
	}
	cdxHash struct {
		Algorithm string `json:"alg"`
		Content   string `json:"content"`
	}
	cdxService struct {
		Ref        string        `json:"bom-ref"`
		Name       string        `json:"name"`
		Properties []cdxProperty `json:"properties"`
	}
	cdxProperty struct {
		Name  string `json:"name"`
		Value string `json:"value"`
	}
)

// fetched remembers which process wrote a file, and from where a process had
// received something by then.
type fetched struct {
	writers map[redact.Text]processID
	hosts   map[processID][]string
	left    uint64 // files and processes that there was no room for
}

// processID names a process, whichever program it runs.
type processID struct {
	pid   uint32
	start int64
}

func (f *fetched) apply(r *reading, e *event.Event) {
	if e.Via == event.ViaMonitor {
		return
	}
	id := processID{e.Actor.PID, e.Actor.Start}
	switch e.Kind {
	case event.Open:
		if e.Access&(event.Write|event.Create|event.Truncate|event.Append) != 0 {
			f.wrote(e.Path, id)
		}
	case event.Rename:
		// What was written under another name was written by who did that.
		if w, ok := f.writers[e.Path]; ok {
			id = w
			delete(f.writers, e.Path)
		}
		f.wrote(e.NewPath, id)
	case event.Link:
		f.wrote(e.NewPath, id)
	case event.Flow:
		if e.Received == 0 || e.Dst.Addr().Unmap().IsLoopback() {
			return
		}
		host := cmp.Or(r.Names().Lookup(e.Actor, e.Dst.Addr(), e.Sock).Name.String(), e.Dst.Addr().Unmap().String())
		hosts, ok := f.hosts[id]
		switch {
		case slices.Contains(hosts, host):
		case !ok && len(f.hosts) >= maxFetchers, len(hosts) >= maxHostsShown:
			f.left++
		default:
			f.hosts[id] = append(hosts, host)
		}
	}
}

func (f *fetched) wrote(p redact.Text, id processID) {
	if _, ok := f.writers[p]; !ok && len(f.writers) >= maxWriters {
		f.left++
		return
	}
	f.writers[p] = id
}

// writeCycloneDX lists what was fetched: each place that something was received
// from as a service, and each program that was executed and had been written in
// the recording as a component, with its SHA-256 where the log tells it, and
// the places that its writer had received something from. Files that were
// written and not executed have no digest in the log and are not listed.
func writeCycloneDX(w io.Writer, ev *evidence.Evidence) error {
	got := fetched{writers: make(map[redact.Text]processID), hosts: make(map[processID][]string)}
	paths := make(map[string]processID) // of programs that ran, who wrote them
	r, err := read(ev, func(r *reading, e *event.Event, n *process.Node) error {
		got.apply(r, e)
		if e.Kind == event.Exec && n != nil && n.Origin&process.Written != 0 {
			for _, p := range [...]redact.Text{e.Exe, absolute(e.Filename, e.Cwd)} {
				if id, ok := got.writers[p]; ok && len(paths) < maxWriters {
					paths[p.String()] = id
				}
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	v := r.Verdict()
	serial := r.id("cyclonedx", 0, 16)
	serial[6], serial[8] = serial[6]&0x0f|0x80, serial[8]&0x3f|0x80 // RFC 9562, version 8
	b := cdxBOM{
		Schema: "http://cyclonedx.org/schema/bom-1.6.schema.json", Format: "CycloneDX", Spec: "1.6", Version: 1,
		Serial: fmt.Sprintf("urn:uuid:%x-%x-%x-%x-%x", serial[:4], serial[4:6], serial[6:8], serial[8:10], serial[10:]),
		Metadata: cdxMetadata{
			Timestamp: v.Run.Ended, Tools: cdxTools{[]cdxComponent{{Type: "application", Name: "edamame-posture", Version: bounded(r.Tool)}}},
			Component: cdxComponent{Type: "application", Ref: "run", Name: visible(bounded(nameOfRun(v)))},
		},
		Components: []cdxComponent{}, Services: []cdxService{},
	}
	for _, f := range r.Facts() {
		switch {
		case f.Verb == fact.Connect && f.Received > 0 && !f.Loopback():
			b.service(f)
		case f.Verb == fact.Exec && f.Fresh:
			b.component(f, r.absolute(f), paths, &got)
		}
	}
	b.Properties = []cdxProperty{
		{"posture:run", v.Run.ID}, {"posture:evidence", ev.Manifest().Tree.Root.String()}, {"posture:coverage", v.Coverage.State},
		{"posture:left-out", unsigned(got.left + v.Facts.LeftOut)},
	}
	return writeJSON(w, &b)
}

// absolute is the path of the file that an Exec fact is about, as the log names
// it.
func (r *reading) absolute(f *fact.Fact) string {
	if f.Node == nil {
		return f.Object.String()
	}
	if f.Node.Image&event.Script != 0 && !f.Node.Filename.IsZero() {
		return absolute(f.Node.Filename, f.Node.Cwd).String()
	}
	return f.Node.Exe.String()
}

// absolute is a name that was executed as a path from the root, as far as that
// can be told without the file system.
func absolute(name, cwd redact.Text) redact.Text {
	if name.IsZero() || name.HasPrefix("/") || cwd.IsZero() {
		return name
	}
	return redact.Concat(cwd.TrimSuffix("/"), redact.Const("/"), name.TrimPrefix("./"))
}

func (b *cdxBOM) service(f *fact.Fact) {
	name := visible(bounded(f.Object.String()))
	properties := []cdxProperty{{"posture:by", lineageOf(f)}, {"posture:received", unsigned(f.Received)}, {"posture:leaf", unsigned(f.Leaf)}}
	for i := range b.Services {
		if b.Services[i].Name == name {
			b.Services[i].Properties = append(b.Services[i].Properties, properties...)
			return
		}
	}
	b.Services = append(b.Services, cdxService{Ref: "service-" + unsigned(f.Leaf), Name: name, Properties: properties})
}

func (b *cdxBOM) component(f *fact.Fact, file string, paths map[string]processID, got *fetched) {
	c := cdxComponent{Type: "file", Ref: fmt.Sprintf("file-%d-%d", f.Leaf, len(b.Components)), Name: visible(bounded(path.Clean(f.Object.String())))}
	known, unknown := f.Digests()
	for _, d := range known {
		c.Hashes = append(c.Hashes, cdxHash{"SHA-256", hex.EncodeToString(d[:])})
	}
	c.Properties = []cdxProperty{{"posture:executed-by", lineageOf(f)}, {"posture:leaf", unsigned(f.Leaf)}}
	if !unknown.IsZero() {
		c.Properties = append(c.Properties, cdxProperty{"posture:no-digest", visible(unknown.String())})
	}
	if id, ok := paths[file]; ok {
		for _, h := range got.hosts[id] {
			c.Properties = append(c.Properties, cdxProperty{"posture:writer-received-from", visible(bounded(h))})
		}
	}
	b.Components = append(b.Components, c)
}

func lineageOf(f *fact.Fact) string { return visible(bounded(chain(texts(f.Who)))) }
