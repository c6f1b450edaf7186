// Package live shows a recording that goes on: what a monitor tells of it, as a
// screen that a person moves about in, or as plain lines.
//
//	s := live.New()
//	monitor.Watch(socket, func(l *monitor.Sight) error { s.Apply(l); return nil })
//	for _, line := range s.Screen(80, 24) { … }
//
// Texts come from the watched job: they are escaped before they are shown, and
// everything that is kept is bounded.
package live

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/org/edamame-posture/pkg/monitor"
	"github.com/org/edamame-posture/pkg/report"
)

// Bounds of what is kept. What had no room is counted.
const (
	maxProcesses    = 5000
	maxDestinations = 1000
	maxFindings     = 200
)

// Model is what is known of a recording, and how it is looked at.
type Model struct {
	// Filter shows only what has it in its line; Paused keeps the screen as it
	// is; Follow keeps the newest in sight.
	Filter string
	Paused bool
	Follow bool
	Typing bool // the filter is being typed

	began, now   int64
	status       monitor.Status
	ended        bool
	lost         uint64 // lines that we were too slow for
	left         uint64 // things that there was no room for
	processes    map[key]*process
	roots        []*process
	destinations []*destination
	byName       map[string]*destination
	findings     []string
	scroll       int
	frozen       []string // the body while it is paused
	unseen       int      // lines that came since
}

// key names a process: its images are one line.
type key struct {
	pid   uint32
	start int64
}

type process struct {
	key
	program, command, step string
	children               []*process
	ended                  bool
	code                   int
	depth                  int
}

type destination struct {
	name, by string
	count    int
}

// New returns a model that follows what comes.
func New() *Model {
	return &Model{Follow: true, processes: map[key]*process{}, byName: map[string]*destination{}}
}

// Apply takes a line of the monitor's.
func (m *Model) Apply(s *monitor.Sight) {
	m.now = max(m.now, s.Time)
	if m.Paused {
		m.unseen++
	}
	switch s.Kind {
	case "begin":
		m.began = s.Time
	case "process":
		m.process(s)
	case "exit":
		if p := m.processes[key{s.Actor.PID, s.Actor.Start}]; p != nil {
			p.ended, p.code = true, s.Code
		}
	case "step":
		if p := m.processes[key{s.Actor.PID, s.Actor.Start}]; p != nil && s.Step != "" {
			p.step = s.Step
		}
	case "connect", "listen", "credential":
		m.destination(s)
	case "finding":
		if len(m.findings) == maxFindings {
			m.left++
			return
		}
		m.findings = append(m.findings, report.Visible(Line(s)))
	case "status":
		if s.Status != nil {
			m.status = *s.Status
		}
	case "lost":
		m.lost += s.Lost
	case "end":
		m.ended = true
	}
}

func (m *Model) process(s *monitor.Sight) {
	k := key{s.Actor.PID, s.Actor.Start}
	p := m.processes[k]
	if p == nil {
		if len(m.processes) == maxProcesses {
			m.left++
			return
		}
		p = &process{key: k}
		m.processes[k] = p
		if parent := m.processes[key{s.Parent.PID, s.Parent.Start}]; parent != nil && parent != p {
			p.depth = parent.depth + 1
			parent.children = append(parent.children, p)
		} else {
			m.roots = append(m.roots, p)
		}
	}
	p.program, p.command, p.step = s.Program, s.Command, s.Step
	if s.Ended {
		p.ended, p.code = true, s.Code
	}
}

func (m *Model) destination(s *monitor.Sight) {
	name := s.Object
	if s.Kind != "connect" {
		name = s.Kind + " " + name
	}
	d := m.byName[name]
	if d == nil {
		if len(m.byName) == maxDestinations {
			m.left++
			return
		}
		d = &destination{name: name, by: s.Program}
		m.byName[name] = d
		m.destinations = append(m.destinations, d)
	}
	d.count++
}

// Line tells a line of the monitor's in one line of text, which is to be
// escaped.
func Line(s *monitor.Sight) string {
	who := s.Program
	if s.Step != "" && s.Kind != "step" {
		who = s.Step + ": " + who
	}
	switch s.Kind {
	case "begin":
		return "watching " + s.Object
	case "process":
		return fmt.Sprintf("exec %d %s  %s", s.Actor.PID, who, s.Command)
	case "exit":
		return fmt.Sprintf("exit %d %s %d", s.Actor.PID, who, s.Code)
	case "step":
		return "step " + strings.TrimSpace(s.Step+" "+s.Title)
	case "finding":
		return strings.TrimSpace(fmt.Sprintf("finding %s: %s (%s) %s %s", s.Severity, s.Title, s.Rule, who, s.Object))
	case "status":
		if s.Status == nil {
			return ""
		}
		return fmt.Sprintf("status %d processes, %d events, %d lost, %d findings", s.Status.Processes, s.Status.Events, s.Status.Lost, s.Status.Findings)
	case "lost":
		return fmt.Sprintf("%d lines were not shown: there were more than could be written here", s.Lost)
	case "end":
		return "the recording has ended"
	}
	return s.Kind + " " + s.Object + " by " + who
}

// Plain tells a line of the monitor's for where no terminal is, with the
// seconds since began, which is the time of the first. It is empty for lines
// that only a screen has a use for.
func Plain(s *monitor.Sight, began int64) string {
	if s.Kind == "status" {
		return ""
	}
	return report.Visible(fmt.Sprintf("%9.3f %s", time.Duration(max(s.Time-began, 0)).Seconds(), Line(s)))
}

// Key does what a key is for, and reports whether to leave. Keys are as a
// terminal in raw mode sends them: one character, or an escape sequence.
func (m *Model) Key(k string) (leave bool) {
	if m.Typing {
		switch {
		case k == "\r" || k == "\n":
			m.Typing = false
		case k == "\x1b" || k == "\x03":
			m.Typing, m.Filter = false, ""
		case k == "\x7f" || k == "\b":
			if r := []rune(m.Filter); len(r) > 0 {
				m.Filter = string(r[:len(r)-1])
			}
		case k[0] >= ' ' && len(m.Filter) < 100:
			m.Filter += k
		}
		return false
	}
	switch k {
	case "q", "\x03":
		return true
	case "p", " ":
		m.Paused, m.frozen, m.unseen = !m.Paused, nil, 0
	case "/":
		m.Typing, m.Filter = true, ""
	case "\x1b":
		m.Filter = ""
	case "f":
		m.Follow = !m.Follow
	case "k", "\x1b[A":
		m.move(-1)
	case "j", "\x1b[B":
		m.move(1)
	case "\x1b[5~":
		m.move(-10)
	case "\x1b[6~":
		m.move(10)
	}
	return false
}

func (m *Model) move(n int) {
	m.Follow, m.scroll = false, max(m.scroll+n, 0)
}

// Screen draws width by height characters: findings on top, the process tree,
// and the destinations below, the newest last.
func (m *Model) Screen(width, height int) []string {
	out := []string{m.head()}
	for i := len(m.findings) - 1; i >= 0 && i >= len(m.findings)-3; i-- {
		out = append(out, "! "+m.findings[i])
	}
	room := max(height-len(out)-1, 2)
	if m.frozen == nil || !m.Paused {
		body := m.body(room)
		if m.Paused {
			m.frozen = body
		}
		out = append(out, body...)
	} else {
		out = append(out, m.frozen[:min(len(m.frozen), room)]...)
	}
	for len(out) < height-1 {
		out = append(out, "")
	}
	out = append(out[:max(height-1, 0)], m.foot())
	for i := range out {
		out[i] = report.Cut(out[i], width)
	}
	return out
}

func (m *Model) head() string {
	s := strings.Join([]string{
		"edamame-posture", time.Duration(max(m.now-m.began, 0)).Round(time.Second).String(), plural(m.status.Processes, "process", "processes"),
		plural(m.status.Events, "event", "events"), plural(len(m.destinations), "destination", "destinations"), plural(len(m.findings), "finding", "findings"),
	}, "  ")
	if m.status.Lost > 0 {
		s += fmt.Sprintf("  %d events lost", m.status.Lost)
	}
	if m.lost+m.left > 0 {
		s += fmt.Sprintf("  %d not shown", m.lost+m.left)
	}
	switch {
	case m.ended:
		s += "  ended"
	case m.Paused:
		s += fmt.Sprintf("  paused, %d since", m.unseen)
	}
	return s
}

func (m *Model) foot() string {
	if m.Typing {
		return "filter: " + report.Visible(m.Filter) + "_"
	}
	s := "q quit  p pause  / filter  f follow  arrows move"
	if m.Filter != "" {
		s += "  [only: " + report.Visible(m.Filter) + "]"
	}
	return s
}

// body is the tree and the destinations, room lines of them.
func (m *Model) body(room int) []string {
	var ds []string
	for _, d := range m.destinations {
		l := fmt.Sprintf("> %s  %s", report.Visible(d.name), report.Visible(d.by))
		if d.count > 1 {
			l += fmt.Sprintf("  x%d", d.count)
		}
		if m.shows(l) {
			ds = append(ds, l)
		}
	}
	below := min(len(ds), max(room/3, 1))
	tree := m.tree()
	above := room - below
	from := max(len(tree)-above, 0)
	if !m.Follow {
		m.scroll = min(m.scroll, from)
		from = m.scroll
	} else {
		m.scroll = from
	}
	tree = tree[from:min(from+above, len(tree))]
	for len(tree) < above {
		tree = append(tree, "")
	}
	return append(tree, ds[len(ds)-below:]...)
}

func (m *Model) shows(line string) bool {
	return m.Filter == "" || strings.Contains(strings.ToLower(line), strings.ToLower(m.Filter))
}

// tree lists the processes, children below their parents, with a line for each
// step where it begins.
func (m *Model) tree() (lines []string) {
	stack := slices.Clone(m.roots)
	slices.Reverse(stack)
	step := ""
	for len(stack) > 0 {
		p := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		for i := len(p.children) - 1; i >= 0; i-- {
			stack = append(stack, p.children[i])
		}
		if p.step != step && p.step != "" {
			if l := "--- step " + report.Visible(p.step); m.Filter == "" {
				lines = append(lines, l)
			}
		}
		step = p.step
		l := p.line()
		if m.shows(l) {
			lines = append(lines, l)
		}
	}
	return lines
}

// line shows how it ended first, or that it did not yet: commands are longer
// than screens are wide.
func (p *process) line() string {
	end := ""
	switch {
	case p.ended && p.code != 0:
		end = strconv.Itoa(p.code)
	case p.ended:
		end = "ok"
	}
	what := p.command
	if first, _, _ := strings.Cut(what, " "); path.Base(first) != p.program {
		what = strings.TrimSpace(p.program + "  " + what)
	}
	return fmt.Sprintf("%3s ", end) + strings.Repeat("  ", min(p.depth, 20)) + report.Visible(what)
}

// plural is a number of things.
func plural[N int | uint64](n N, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprint(n, " ", many)
}
