package report

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/evidence"
	"github.com/org/edamame-posture/pkg/fact"
	"github.com/org/edamame-posture/pkg/intent"
	"github.com/org/edamame-posture/pkg/judge"
	"github.com/org/edamame-posture/pkg/posture"
	"github.com/org/edamame-posture/pkg/process"
	"github.com/org/edamame-posture/pkg/redact"
)

// Bounds of what a view lists. What is over them is counted.
const (
	maxDestinations = 1000
	maxCredentials  = 500
	maxSurvivors    = 200
	maxListening    = 200
	maxLineages     = 8
	maxNotes        = 20
	maxPolicy       = 256 << 10
)

// Load reads a folder of results: the evidence in it, judged with the inputs
// that it holds. Evidence that was not closed is read as far as it goes.
func Load(dir string) (*Data, error) {
	ev, err := open(dir)
	if err != nil {
		return nil, err
	}
	d, err := Collect(ev)
	return d, errors.Join(err, ev.Close())
}

// Collect reads the log once and judges it on the way. Its memory is bounded,
// whatever the length of the log.
func Collect(ev *evidence.Evidence) (*Data, error) {
	in, err := ev.Inputs()
	if err != nil {
		return nil, err
	}
	j := judge.New(in.Intent, in.Signatures)
	c := newCollector(ev.Manifest().Tree.Size)
	if err := ev.Each(func(_ []byte, e *event.Event) error {
		j.Apply(e)
		c.apply(e)
		c.contained(e, j)
		c.story.apply(e, j)
		return nil
	}); err != nil {
		return nil, fmt.Errorf("reading the log: %w", err)
	}
	m := ev.Manifest()
	d := c.finish(j, in.Intent)
	d.Declared = declared(in.Intent)
	d.TreeSize, d.TreeRoot = m.Tree.Size, m.Tree.Root.String()
	d.Missing = ev.Missing()
	if err := d.page.lines(d, ev); err != nil {
		return nil, fmt.Errorf("proving lines of the log: %w", err)
	}
	return d, nil
}

// collector keeps what the judge has no use for and a reader has.
type collector struct {
	data    Data
	files   files
	traffic traffic
	story   story
	ws      fact.Folders
	within  map[*process.Container]*within
}

// newCollector returns a collector of a log of so many events.
func newCollector(events uint64) *collector {
	c := &collector{within: map[*process.Container]*within{}}
	c.files.init()
	c.traffic.init()
	c.story.init(events)
	return c
}

func (c *collector) apply(ev *event.Event) {
	d := &c.data
	d.ended = max(d.ended, ev.Time)
	d.Redacted += uint64(len(ev.Secrets))
	switch ev.Kind {
	case event.Start:
		if d.Began == 0 {
			d.Began, d.Tool = ev.Time, ev.Tool.String()
			c.ws = fact.Folders{Root: folderOf(ev.Cwd), Home: folderOf(ev.Path)}
		}
	case event.SensorUp:
		if len(d.Sensors) < maxNotes {
			d.Sensors = append(d.Sensors, Sensor{ev.Sensor.String(), ev.Detail.String()})
		}
	case event.Note:
		if len(d.Notes) < maxNotes {
			d.Notes = append(d.Notes, ev.Detail.String())
		}
	case event.Posture:
		switch {
		case ev.Name == posture.PowerTaken && len(d.PowerTaken) < maxNotes:
			d.PowerTaken = append(d.PowerTaken, strings.TrimSpace(ev.Detail.String()+" "+ev.Path.String()))
		case ev.Name == posture.PowerKept && len(d.PowerKept) < maxNotes:
			d.PowerKept = append(d.PowerKept, ev.Detail.String())
		}
	case event.End:
		d.Closed = true
		for _, s := range ev.Survivors {
			if len(d.Survivors) == maxSurvivors {
				d.SurvivorsLeft++
				continue
			}
			d.Survivors = append(d.Survivors, Survivor{PID: s.Actor.PID, Exe: s.Exe.String()})
			c.traffic.survivors = append(c.traffic.survivors, s.Actor)
		}
	}
	if ev.Via == event.ViaMonitor {
		return
	}
	switch ev.Kind {
	case event.Fork:
		d.Ran.Processes++
	case event.Exec:
		d.Ran.Programs++
		c.learn(ev)
	case event.Exit:
		if ev.Code != 0 || ev.Signal != 0 {
			d.Ran.Failed++
		}
	case event.Open:
		if ev.Access&(event.Write|event.Create|event.Truncate|event.Append) != 0 {
			c.files.wrote(ev.Path.String())
		}
	case event.Rename, event.Link:
		c.files.wrote(ev.NewPath.String())
	case event.Mkdir, event.Chmod:
		c.files.wrote(ev.Path.String())
	case event.Unlink:
		d.Files.Deleted += max(ev.Count, 1)
	case event.Flow, event.Send:
		c.traffic.apply(ev)
	}
}

// learn takes from the job's first processes where it works, as the judge does.
func (c *collector) learn(ev *event.Event) {
	if c.ws.Root == "" {
		c.ws.Root = folderOf(ev.Cwd)
	}
	if c.ws.Temp != "" {
		return
	}
	for i := range ev.Env {
		if ev.Env[i].Name.String() == "RUNNER_TEMP" {
			c.ws.Temp = folderOf(ev.Env[i].Value)
		}
	}
}

func folderOf(t redact.Text) string {
	s := t.String()
	for len(s) > 1 && s[len(s)-1] == '/' {
		s = s[:len(s)-1]
	}
	return s
}

// finish puts together what the log and the judge say.
func (c *collector) finish(j *judge.Judge, in *intent.Resolved) *Data {
	d := &c.data
	d.Verdict = j.Verdict()
	d.Intent = in != nil && in.Present()
	facts := j.Facts()
	s := standings(d.Verdict)
	for _, f := range facts {
		switch f.Verb {
		case fact.Listen:
			if len(d.Listening) < maxListening {
				d.Listening = append(d.Listening, Listener{f.Object.String(), f.Loopback(), texts(f.Who), s.of(f).standing})
			}
		}
	}
	c.destinations(facts, s)
	c.credentials(facts, s)
	c.files.finish(d, &c.ws)
	c.processes(j)
	c.containers(j.Tree())
	d.page = c.story.finish(d, j, facts)
	if !d.Intent {
		if p := intent.Suggest(needed(facts)); len(p) <= maxPolicy {
			d.Policy = string(p)
		}
	}
	return d
}

// needed leaves out what a policy of its own makes no difference to: what
// stays on this machine, was not the job's doing, or is no limit of a policy
// that lists only what leaves the workspace.
func needed(facts []*fact.Fact) []*fact.Fact {
	out := make([]*fact.Fact, 0, len(facts))
	for _, f := range facts {
		switch f.Verb {
		case fact.Exec, fact.Delete:
			continue
		case fact.Write:
			if !f.Outside() {
				continue
			}
		case fact.Listen:
			if f.Loopback() {
				continue
			}
		}
		if f.Via == event.ViaHost || f.Via == event.ViaOutside {
			continue
		}
		out = append(out, f)
	}
	return out
}

// standingOf is what the verdict says of one fact.
type standingOf struct {
	standing Standing
	grant    string
}

type standingKey struct {
	verb, object string
	leaf         uint64
}

type standingMap map[standingKey]standingOf

func standings(v *judge.Verdict) standingMap {
	m := make(standingMap, len(v.Undeclared)+len(v.Forbidden))
	for _, f := range v.Undeclared {
		m[standingKey{f.Verb, f.Object, f.Leaf}] = standingOf{Undeclared, f.Grant}
	}
	for _, f := range v.Forbidden {
		m[standingKey{f.Verb, f.Object, f.Leaf}] = standingOf{Forbidden, f.Grant}
	}
	return m
}

func (m standingMap) of(f *fact.Fact) standingOf {
	return m[standingKey{f.Verb.String(), f.Object.String(), f.Leaf}]
}

// graver returns the graver of two standings.
func graver(a, b Standing) Standing {
	if a == Forbidden || b == Unlisted {
		return a
	}
	return b
}

// destinations folds the facts of all lineages by where they went.
func (c *collector) destinations(facts []*fact.Fact, s standingMap) {
	type key struct {
		verb   fact.Verb
		object redact.Text
	}
	at := make(map[key]*Destination)
	var all []*Destination
	for _, f := range facts {
		if f.Verb != fact.Connect && f.Verb != fact.Resolve {
			continue
		}
		k := key{f.Verb, f.Object}
		d := at[k]
		if d == nil {
			d = &Destination{
				Host: f.Host.String(), How: f.How.String(), Port: f.Addr.Port(), Proto: protocol(f.Proto),
				Verb: f.Verb.String(), Encrypted: f.EncryptedDNS().String(), Local: f.Loopback(), First: f.First, Leaf: f.Leaf,
			}
			if a := f.Addr.Addr(); a.IsValid() {
				d.Addr = a.String()
			}
			if d.Host == "" && d.Addr == "" {
				d.Addr = f.Object.String()
			}
			at[k] = d
			all = append(all, d)
		}
		if f.First < d.First {
			d.First, d.Leaf = f.First, f.Leaf
		}
		d.Count, d.Sent, d.Received = d.Count+f.Count, d.Sent+f.Sent, d.Received+f.Received
		st := s.of(f)
		d.Standing = graver(d.Standing, st.standing)
		d.Grant = cmp.Or(d.Grant, st.grant)
		d.By = append(d.By, lineage(f))
	}
	for _, d := range all {
		d.By, d.ByLeft = byWeight(d.By)
	}
	weight := map[Standing]int{Forbidden: 0, Undeclared: 1, Unlisted: 2}
	slices.SortStableFunc(all, func(a, b *Destination) int {
		return cmp.Or(
			cmp.Compare(weight[a.Standing], weight[b.Standing]),
			compareBool(a.Local, b.Local),
			cmp.Compare(b.Sent, a.Sent), cmp.Compare(b.Received, a.Received), cmp.Compare(b.Count, a.Count),
			cmp.Compare(a.name(), b.name()),
		)
	})
	for i, d := range all {
		if i == maxDestinations {
			c.data.DestinationsLeft = uint64(len(all) - i)
			break
		}
		c.data.Destinations = append(c.data.Destinations, *d)
	}
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

func lineage(f *fact.Fact) Lineage {
	return Lineage{Who: texts(f.Who), Step: f.Step.String(), Count: f.Count, Sent: f.Sent, Received: f.Received}
}

// byWeight sorts lineages by bytes sent and counts those over the bound.
func byWeight(ls []Lineage) ([]Lineage, uint64) {
	slices.SortStableFunc(ls, func(a, b Lineage) int {
		return cmp.Or(cmp.Compare(b.Sent, a.Sent), cmp.Compare(b.Count, a.Count), slices.Compare(a.Who, b.Who))
	})
	n := min(len(ls), maxLineages)
	return ls[:n:n], uint64(len(ls) - n)
}

func (c *collector) credentials(facts []*fact.Fact, s standingMap) {
	at := make(map[redact.Text]int)
	for _, f := range facts {
		// What a process outside read of one inside is told under coverage.
		if f.Verb != fact.Credential || f.Via == event.ViaOutside {
			continue
		}
		i, ok := at[f.Object]
		if !ok {
			if len(c.data.Credentials) == maxCredentials {
				c.data.CredentialsLeft++
				continue
			}
			i = len(c.data.Credentials)
			at[f.Object] = i
			c.data.Credentials = append(c.data.Credentials, Credential{Class: f.Class.String(), Path: f.Path.String(), Leaf: f.Leaf})
		}
		cr := &c.data.Credentials[i]
		cr.Count += f.Count
		cr.Standing = graver(cr.Standing, s.of(f).standing)
		cr.By, _ = byWeight(append(cr.By, lineage(f)))
	}
}

func texts(ts []redact.Text) []string {
	out := make([]string, len(ts))
	for i, t := range ts {
		out[i] = t.String()
	}
	return out
}

func protocol(p event.Proto) string {
	switch p {
	case event.ProtoTCP:
		return "tcp"
	case event.ProtoUDP:
		return "udp"
	case event.ProtoICMP:
		return "icmp"
	case event.ProtoICMPv6:
		return "icmpv6"
	case event.ProtoRaw:
		return "raw"
	case event.ProtoPacket:
		return "packet"
	case event.ProtoNone:
		return ""
	}
	return fmt.Sprintf("protocol %d", p)
}
