package report

import (
	"bytes"
	"cmp"
	"encoding/json"
	"io"
	"slices"
	"strings"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/evidence"
	"github.com/org/edamame-posture/pkg/fact"
	"github.com/org/edamame-posture/pkg/intent"
	"github.com/org/edamame-posture/pkg/judge"
	"github.com/org/edamame-posture/pkg/process"
)

// Bounds of what the page holds.
const (
	maxFacts     = 3000
	maxGrants    = 2000
	maxLeaves    = 1500
	maxLine      = 4096    // bytes of a line of the log
	maxLineBytes = 2 << 20 // of all lines
	maxObject    = 600     // bytes of what a fact is about
	maxString    = 2000    // bytes of any other string
)

// payload is the data of the page, as its script reads it. Strings are as the
// log has them, cut; the script shows them as [visible] does. Processes and
// connections are columns, which are half as long as rows are.
type payload struct {
	Verdict   *judge.Verdict `json:"verdict"`
	Why       string         `json:"why"`
	Command   string         `json:"command"`
	Intent    bool           `json:"intent"`
	Origin    string         `json:"origin,omitempty"`
	Tool      string         `json:"tool"`
	Began     int64          `json:"began"`
	Ended     int64          `json:"ended"`
	Closed    bool           `json:"closed"`
	Size      uint64         `json:"size"`
	Root      string         `json:"root"`
	Redacted  uint64         `json:"redacted"`
	Ran       Ran            `json:"ran"`
	Files     FileTotals     `json:"files"`
	Written   []Folder       `json:"written"`
	Creds     []Credential   `json:"credentials"`
	CredsLeft uint64         `json:"credentialsLeft"`
	Dests     []Destination  `json:"destinations"`
	DestsLeft uint64         `json:"destinationsLeft"`
	Listening []Listener     `json:"listening"`
	Survivors []Survivor     `json:"survivors"`
	SurvLeft  uint64         `json:"survivorsLeft"`
	Sensors   []Sensor       `json:"sensors"`
	Notes     []string       `json:"notes"`
	Policy    []string       `json:"policy"` // lines

	pagePart
}

// pagePart is what only a reading of the log gives.
type pagePart struct {
	Words     []string     `json:"words"`
	Procs     procColumns  `json:"procs"`
	ProcsLeft uint64       `json:"procsLeft"`
	Conns     connColumns  `json:"conns"`
	ConnsLeft uint64       `json:"connsLeft"`
	Slot      int64        `json:"slot"`
	Lanes     []laneOfPage `json:"lanes"`
	Steps     []stepOfPage `json:"steps"`
	Facts     []factOfPage `json:"facts"`
	FactsLeft uint64       `json:"factsLeft"`
	Grants    []grantLine  `json:"grants"`
	GrantLeft int          `json:"grantsLeft"`
	Causes    []causeLine  `json:"causes"`
	CauseLeft int          `json:"causesLeft"`
	Lines     []logLine    `json:"lines"`
	LinesLeft int          `json:"linesLeft"`
	Named     map[int]int  `json:"named"` // finding to process
}

type procColumns struct {
	Parent   []int32  `json:"parent"`
	Program  []int32  `json:"program"`
	Command  []int32  `json:"command"`
	Step     []int32  `json:"step"`
	Agent    []int32  `json:"agent"`
	Inside   []int32  `json:"container"`
	PID      []uint32 `json:"pid"`
	UID      []uint32 `json:"uid"`
	Via      []string `json:"via"` // empty for the lineage; shorter than the others where none follows
	Flags    []int32  `json:"flags"`
	Code     []int32  `json:"code"`
	Signal   []int32  `json:"signal"`
	From     []int64  `json:"from"` // microseconds since the beginning
	Took     []int64  `json:"took"` // microseconds
	Repeats  []uint32 `json:"repeats"`
	Hidden   []uint32 `json:"hidden"`
	Sent     []uint64 `json:"sent"`
	Received []uint64 `json:"received"`
	Conns    []uint32 `json:"conns"`
	Wrote    []uint32 `json:"wrote"`
	Leaf     []uint64 `json:"leaf"`
}

// Bits of procColumns.Flags.
const (
	flagRunning = 1 << iota
	flagExisted
	flagReplaces
	flagUndeclared
)

type connColumns struct {
	At       []int64  `json:"at"`   // microseconds since the beginning
	Took     []int64  `json:"took"` // microseconds; -1 where no end was seen
	Proc     []int32  `json:"proc"`
	To       []int32  `json:"to"`
	Sent     []uint64 `json:"sent"`
	Received []uint64 `json:"received"`
	Failed   []int32  `json:"failed"` // rows
}

type laneOfPage struct {
	Step string `json:"step"`
	// Each is slot, programs, connections, files, bytes; empty slots are left out.
	Moments [][5]uint64 `json:"moments"`
}

type stepOfPage struct {
	ID     string `json:"id"`
	Name   string `json:"name,omitempty"`
	Action string `json:"action,omitempty"`
	From   int64  `json:"from"` // microseconds
	To     int64  `json:"to"`
	Procs  uint64 `json:"procs"`
	Failed uint64 `json:"failed"`
}

type factOfPage struct {
	Verb     string   `json:"verb"`
	Who      []string `json:"who"`
	Object   string   `json:"object"`
	Host     string   `json:"host,omitempty"`
	Local    bool     `json:"local,omitempty"`
	Step     string   `json:"step,omitempty"`
	Agent    string   `json:"agent,omitempty"`
	Via      string   `json:"via,omitempty"`
	Standing string   `json:"standing,omitempty"`
	Severity string   `json:"severity,omitempty"`
	Grant    string   `json:"grant,omitempty"` // that would cover it, or the deny that hit
	By       int      `json:"by"`              // the line of policy that explains it, or -1
	First    int64    `json:"first"`           // microseconds
	Last     int64    `json:"last"`
	Count    uint64   `json:"count"`
	Sent     uint64   `json:"sent,omitempty"`
	Received uint64   `json:"received,omitempty"`
	Leaf     uint64   `json:"leaf"`
	Proc     int32    `json:"proc"`
}

type grantLine struct {
	Key    string `json:"key"`
	Text   string `json:"text"`
	Place  string `json:"place"`
	Line   int    `json:"line"`
	Preset string `json:"preset,omitempty"`
	Deny   bool   `json:"deny,omitempty"`
	Tight  int    `json:"tight"`
	Used   uint64 `json:"used"` // facts that it explains, or forbids
}

type causeLine struct {
	judge.Entry
	Leaves  []uint64 `json:"leaves"`
	Finding string   `json:"finding,omitempty"`
	Key     string   `json:"key,omitempty"`
	Line    string   `json:"line,omitempty"`
	Deny    string   `json:"deny,omitempty"`
	Near    string   `json:"near,omitempty"`
	Misses  string   `json:"misses,omitempty"`
	Without int      `json:"without"`
}

type logLine struct {
	Seq   uint64   `json:"seq"`
	Text  string   `json:"text"`
	Cut   int      `json:"cut,omitempty"` // bytes that are left out: then it cannot be checked here
	Proof []string `json:"proof"`
}

// finish puts together what only the page shows. The judge has taken all of
// the log.
func (s *story) finish(d *Data, j *judge.Judge, facts []*fact.Fact) *pagePart {
	p := new(pagePart)
	s.inherit()
	p.facts(s, d, j, facts)
	p.grants(j, facts)
	p.causes(j)

	// Rows that findings and facts name are not folded away.
	rows := make(map[uint64]int32, len(s.rows))
	for i := range s.rows {
		rows[s.rows[i].leaf] = int32(i)
	}
	row := func(n *process.Node) int32 {
		for ; n != nil; n = n.Parent {
			if i, ok := rows[n.Leaf]; ok {
				return i
			}
		}
		return -1
	}
	apart := make(map[int32]bool)
	of := make([]int32, len(p.Facts))
	byLeaf := make(map[uint64]*fact.Fact, len(facts))
	for _, f := range facts {
		byLeaf[f.Leaf] = f
	}
	guilty := make(map[int32]bool)
	for i := range p.Facts {
		of[i] = -1
		if f := byLeaf[p.Facts[i].Leaf]; f != nil {
			of[i] = row(f.Node)
		}
		if of[i] >= 0 && p.Facts[i].Standing != "" {
			apart[of[i]], guilty[of[i]] = true, true
		}
	}
	named := make(map[int]int32)
	for i, f := range sorted(d.Verdict.Findings) {
		a := f.Actor
		if r := row(j.Tree().Get(actorOf(a))); r >= 0 && !actorOf(a).IsZero() {
			apart[r], named[i] = true, r
		}
	}
	list, at := s.lines(maxListed, apart)
	p.processes(s, list)
	p.ProcsLeft = s.left
	for i := range p.Facts {
		if p.Facts[i].Proc = -1; of[i] >= 0 {
			p.Facts[i].Proc = at[of[i]]
		}
	}
	for r := range guilty {
		if at[r] >= 0 {
			p.Procs.Flags[at[r]] |= flagUndeclared
		}
	}
	p.Named = make(map[int]int, len(named))
	for i, r := range named {
		p.Named[i] = int(at[r])
	}
	p.connections(s, at)
	p.stepsOf(s, d.ended)
	p.Slot = s.slot / 1000
	for _, l := range s.order {
		lane := laneOfPage{Step: clip(l.step, maxString)}
		for i, m := range l.moments {
			if m != (moment{}) {
				lane.Moments = append(lane.Moments, [5]uint64{uint64(i), uint64(m.ran), uint64(m.connected), uint64(m.wrote), m.bytes})
			}
		}
		p.Lanes = append(p.Lanes, lane)
	}
	p.Words = s.words.list
	for i, w := range p.Words {
		p.Words[i] = clip(w, maxString)
	}
	return p
}

func (p *pagePart) facts(s *story, d *Data, j *judge.Judge, facts []*fact.Fact) {
	listed := make(map[standingKey]*judge.Fact)
	for _, l := range [][]judge.Fact{d.Verdict.Undeclared, d.Verdict.Forbidden} {
		for i := range l {
			listed[standingKey{l[i].Verb, l[i].Object, l[i].Leaf}] = &l[i]
		}
	}
	st := standings(d.Verdict)
	weight := map[fact.Verb]int{fact.Chain: 1, fact.Credential: 2, fact.Power: 3, fact.Drift: 4, fact.Connect: 5, fact.Resolve: 6, fact.Request: 7, fact.Listen: 8, fact.Exec: 9, fact.Write: 10, fact.Delete: 11}
	standing := map[Standing]int{Forbidden: 0, Undeclared: 1, Unlisted: 2}
	order := slices.Clone(facts)
	slices.SortStableFunc(order, func(a, b *fact.Fact) int {
		return cmp.Or(cmp.Compare(standing[st.of(a).standing], standing[st.of(b).standing]), cmp.Compare(weight[a.Verb], weight[b.Verb]))
	})
	if len(order) > maxFacts {
		p.FactsLeft, order = uint64(len(order)-maxFacts), order[:maxFacts]
	}
	by := grantsBy(j)
	for _, f := range order {
		k := standingKey{f.Verb.String(), f.Object.String(), f.Leaf}
		o := factOfPage{
			Verb: f.Verb.String(), Object: clip(f.Object.String(), maxObject), Host: f.Host.String(), Local: (f.Verb == fact.Connect || f.Verb == fact.Resolve) && f.Loopback(),
			Step: f.Step.String(), Agent: f.Agent.String(), First: (f.First - s.began) / 1000, Last: (f.Last - s.began) / 1000,
			Count: f.Count, Sent: f.Sent, Received: f.Received, Leaf: f.Leaf, Standing: string(st[k].standing), Who: texts(f.Who), By: -1,
		}
		if f.Via != 0 {
			o.Via = f.Via.String()
		}
		if l := listed[k]; l != nil {
			o.Severity, o.Grant = string(l.Severity), l.Grant
		} else if g := j.Intent().Explain(f); g != nil {
			if n, ok := by[keyOf(g)]; ok && n < maxGrants {
				o.By = n
			}
		}
		p.Facts = append(p.Facts, o)
	}
}

// grantKey tells lines of a policy apart.
type grantKey struct {
	verb   fact.Verb
	origin intent.Origin
	text   string
}

func keyOf(g *intent.Grant) grantKey { return grantKey{g.Verb, g.Origin, g.Text} }

func grantsBy(j *judge.Judge) map[grantKey]int {
	by := make(map[grantKey]int)
	for i, e := range j.Intent().Entries() {
		if k := keyOf(&e.Grant); by[k] == 0 {
			by[k] = i
		}
	}
	return by
}

// grants lists the lines of the policy with how many facts each explains.
func (p *pagePart) grants(j *judge.Judge, facts []*fact.Fact) {
	entries := j.Intent().Entries()
	used := make([]uint64, len(entries))
	by := grantsBy(j)
	for _, f := range facts {
		g := j.Intent().Denied(f)
		if g == nil {
			g = j.Intent().Explain(f)
		}
		if g != nil {
			if i, ok := by[keyOf(g)]; ok {
				used[i]++
			}
		}
	}
	for i, e := range entries {
		if i == maxGrants {
			p.GrantLeft = len(entries) - i
			break
		}
		p.Grants = append(p.Grants, grantLine{Key: e.Key, Text: e.Text, Place: e.Origin.File, Line: e.Origin.Line, Preset: e.Preset, Deny: e.Deny, Tight: e.Specificity, Used: used[i]})
	}
}

func (p *pagePart) causes(j *judge.Judge) {
	_, causes, more := j.Explain()
	p.CauseLeft = more
	for i := range causes {
		c := &causes[i]
		l := causeLine{Entry: c.Entry, Leaves: c.Leaves, Key: c.Key, Line: c.Line, Misses: c.Misses, Without: c.Without}
		if c.Finding != nil {
			l.Finding = c.Finding.ID
		}
		if c.Deny != nil {
			l.Deny = c.Deny.Text
		}
		if c.Near != nil {
			l.Near = c.Near.Text
		}
		p.Causes = append(p.Causes, l)
	}
}

func (p *pagePart) processes(s *story, list []line) {
	c := &p.Procs
	for i := range list {
		l := &list[i]
		c.Parent, c.Program, c.Command = append(c.Parent, l.parent), append(c.Program, l.program), append(c.Command, l.command)
		c.Step, c.Agent, c.Inside = append(c.Step, l.step), append(c.Agent, l.agent), append(c.Inside, l.container)
		c.PID, c.UID = append(c.PID, l.pid), append(c.UID, l.uid)
		flags := int32(0)
		if !l.over {
			flags |= flagRunning
		}
		if l.existed {
			flags |= flagExisted
		}
		if l.replaces {
			flags |= flagReplaces
		}
		if l.via != 0 && !l.existed {
			for len(c.Via) <= i {
				c.Via = append(c.Via, "")
			}
			c.Via[i] = l.via.String()
		}
		c.Flags, c.Code, c.Signal = append(c.Flags, flags), append(c.Code, l.code), append(c.Signal, l.signal)
		c.From, c.Took = append(c.From, (l.began-s.began)/1000), append(c.Took, l.took/1000)
		c.Repeats, c.Hidden = append(c.Repeats, l.repeats), append(c.Hidden, l.hidden)
		c.Sent, c.Received = append(c.Sent, l.sent), append(c.Received, l.received)
		c.Conns, c.Wrote, c.Leaf = append(c.Conns, l.conns), append(c.Wrote, l.wrote), append(c.Leaf, l.leaf)
	}
}

func (p *pagePart) connections(s *story, at []int32) {
	c := &p.Conns
	p.ConnsLeft = s.connsLeft
	for i := range s.conns {
		k := &s.conns[i]
		proc, took := int32(-1), int64(-1)
		if k.row >= 0 {
			proc = at[k.row]
		}
		if k.end > 0 {
			took = (k.end - k.at) / 1000
		}
		if k.failed {
			c.Failed = append(c.Failed, int32(i))
		}
		c.At, c.Took = append(c.At, (k.at-s.began)/1000), append(c.Took, took)
		c.Proc, c.To = append(c.Proc, proc), append(c.To, k.to)
		c.Sent, c.Received = append(c.Sent, k.sent), append(c.Received, k.received)
	}
}

// stepsOf lists the steps in the order of their first process.
func (p *pagePart) stepsOf(s *story, ended int64) {
	names := make(map[string]stepOf)
	for _, st := range s.steps {
		if st.id != "" {
			names[st.id] = st
		}
	}
	at := make(map[int32]int)
	for i := range s.rows {
		r := &s.rows[i]
		if r.existed {
			continue
		}
		n, ok := at[r.step]
		if !ok {
			id := s.words.list[r.step]
			n = len(p.Steps)
			at[r.step] = n
			p.Steps = append(p.Steps, stepOfPage{ID: id, Name: names[id].name, Action: names[id].action, From: (r.began - s.began) / 1000})
		}
		st := &p.Steps[n]
		end := ended
		if r.over {
			end = r.ended
		}
		st.To = max(st.To, (end-s.began)/1000)
		st.Procs++
		if r.code != 0 || r.signal != 0 {
			st.Failed++
		}
	}
}

// wanted returns the lines of the log that the page shows: those that prove
// findings first, then those of facts that no policy declares, then others.
func (p *pagePart) wanted(d *Data) []uint64 {
	var out []uint64
	seen := make(map[uint64]bool)
	add := func(leaf uint64) {
		switch {
		case seen[leaf]:
		case len(out) == maxLeaves || leaf >= d.TreeSize:
			p.LinesLeft++
		default:
			seen[leaf] = true
			out = append(out, leaf)
		}
	}
	for _, f := range sorted(d.Verdict.Findings) {
		for _, l := range f.Leaves {
			add(l)
		}
	}
	for _, g := range d.Verdict.Coverage.Gaps {
		add(g.Leaf)
	}
	for i := range p.Facts {
		add(p.Facts[i].Leaf)
	}
	slices.Sort(out)
	return out
}

// lines fills in the lines of the log with their proofs.
func (p *pagePart) lines(d *Data, ev *evidence.Evidence) error {
	proofs, err := ev.Proofs(p.wanted(d))
	if err != nil {
		return err
	}
	room := maxLineBytes
	for _, pr := range proofs {
		l := logLine{Seq: pr.Seq, Text: pr.Line}
		if len(l.Text) > maxLine {
			l.Text = cutBytes(l.Text, maxLine)
			l.Cut = len(pr.Line) - len(l.Text)
		}
		if room -= len(l.Text); room < 0 {
			p.LinesLeft++
			continue
		}
		for _, h := range pr.Path {
			l.Proof = append(l.Proof, h.String())
		}
		p.Lines = append(p.Lines, l)
	}
	return nil
}

// encode writes the data of the page as JSON that may stand in a script element:
// encoding/json writes no < in a string.
func (d *Data) encode(w io.Writer) error {
	verdict := *d.Verdict
	verdict.Undeclared, verdict.Forbidden, verdict.Ledger = nil, nil, nil // as facts and causes
	verdict.Findings = sorted(verdict.Findings)
	for i := range verdict.Findings {
		a := &verdict.Findings[i].Actor
		a.Argv, _ = shownArgs(a.Argv)
	}
	pl := payload{
		Verdict: &verdict, Why: capital(why(d.Verdict)), Command: command(d.Verdict.Run.Command.Argv, false), Intent: d.Intent, Origin: d.Origin, Tool: d.Tool,
		Began: d.Began, Ended: d.ended, Closed: d.Closed, Size: d.TreeSize, Root: d.TreeRoot, Redacted: d.Redacted, Ran: d.Ran, Files: d.Files, Written: d.Written,
		Creds: d.Credentials, CredsLeft: d.CredentialsLeft, Dests: d.Destinations, DestsLeft: d.DestinationsLeft,
		Listening: d.Listening, Survivors: d.Survivors, SurvLeft: d.SurvivorsLeft, Sensors: d.Sensors, Notes: powerAndNotes(d),
	}
	if d.Policy != "" {
		pl.Policy = strings.Split(strings.TrimRight(d.Policy, "\n"), "\n")
	}
	if d.page != nil {
		pl.pagePart = *d.page
	}
	return json.NewEncoder(clipped{w}).Encode(&pl)
}

// clipped writes JSON in which strings that are longer than anybody reads are
// cut. Lines of the log are cut where they are taken. It takes a whole text at
// once, as encoding/json gives it.
type clipped struct{ w io.Writer }

// Write implements [io.Writer].
func (c clipped) Write(raw []byte) (int, error) {
	from := 0 // what stands before is written
	for i := 0; i < len(raw); {
		n := bytes.IndexByte(raw[i:], '"')
		if n < 0 {
			break
		}
		i += n
		end := i + 1
		for raw[end] != '"' {
			if raw[end] == '\\' {
				end++
			}
			end++
		}
		end++
		if end-i > 3*maxLine {
			var s string
			if err := json.Unmarshal(raw[i:end], &s); err != nil {
				return 0, err
			}
			short, err := json.Marshal(clip(s, maxString))
			if err != nil {
				return 0, err
			}
			if _, err := c.w.Write(raw[from:i]); err != nil {
				return 0, err
			}
			if _, err := c.w.Write(short); err != nil {
				return 0, err
			}
			from = end
		}
		i = end
	}
	_, err := c.w.Write(raw[from:])
	return len(raw), err
}

// actorOf is the process that a finding names.
func actorOf(a judge.Actor) event.Actor {
	return event.Actor{PID: a.PID, Start: a.Start, Image: a.Image}
}

// powerAndNotes are what the steps' user lost at the start, what of it stayed,
// what the evidence lacks, and what the monitor said of itself.
func powerAndNotes(d *Data) []string {
	var notes []string
	for _, p := range d.PowerTaken {
		notes = append(notes, "from the start "+p)
	}
	for _, p := range d.PowerKept {
		notes = append(notes, "a way to root that was to be taken stayed: "+p)
	}
	return slices.Concat(notes, d.Missing, d.Notes)
}
