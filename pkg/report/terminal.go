package report

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/org/edamame-posture/pkg/judge"
)

// TerminalOptions say how the summary looks.
type TerminalOptions struct {
	Color bool
	// ASCII escapes every character outside ASCII.
	ASCII bool
	// Width is the number of columns, 100 where it is 0; lines are cut to it.
	Width int
	// Dir is the folder of results, as the user would type it.
	Dir string
}

// maxLines is how many lines the summary has at most.
const maxLines = 40

// Terminal writes the summary that a person reads when the command has ended:
// at most 40 lines, the verdict first, the place of the evidence last.
func Terminal(w io.Writer, d *Data, opt TerminalOptions) error {
	t := terminal{opt: opt, d: d}
	if t.opt.Width <= 0 {
		t.opt.Width = 100
	}
	t.opt.Width = max(t.opt.Width, 40)
	v := d.Verdict
	head := t.head(fmt.Sprintf("edamame-posture: %s, score %d: ", v.Verdict, v.Score), fmt.Sprintf("edamame-posture: %s, score %d: ", t.verdict(v.Verdict), v.Score))
	sections := []section{
		t.findings(), t.undeclared(), t.agents(), t.destinations(), t.containers(), t.credentials(), t.written(),
		t.processes(), t.survivors(), t.coverage(), t.policy(),
	}
	last := t.evidence()
	fit(sections, maxLines-len(head)-len(last))

	var b bytes.Buffer
	line := func(s string) {
		b.WriteString(t.cut(s))
		b.WriteByte('\n')
	}
	for _, l := range head {
		line(l)
	}
	for _, s := range sections {
		if s.title == "" {
			continue
		}
		line(fmt.Sprintf("%-13s %s", s.title, s.sum))
		for _, l := range s.lines[:s.shown()] {
			line("  " + l)
		}
		if n := len(s.lines) - s.shown() + s.more; n > 0 && s.keep > 0 {
			line(fmt.Sprintf("  %s%d more", dots, n))
		}
	}
	for _, l := range last {
		line(l)
	}
	_, err := w.Write(b.Bytes())
	return err
}

// head is the first line, or two where the reasons have no room in one: they
// are what a reader must not miss the end of.
func (t *terminal) head(plain, painted string) []string {
	reasons := t.show(why(t.d.Verdict))
	if columns(plain)+columns(reasons) <= t.opt.Width {
		return []string{painted + reasons}
	}
	return []string{strings.TrimSuffix(painted, ": "), "  " + reasons}
}

// section is one part of the summary. A part without a title is left out.
type section struct {
	title, sum string
	lines      []string
	more       int // lines that are not even in lines
	keep       int // lines that are shown, with the one that counts the rest
	floor      int // lines that are left when room is short
}

// shown is how many of lines are shown.
func (s *section) shown() int {
	if len(s.lines) <= s.keep && s.more == 0 {
		return len(s.lines)
	}
	return min(max(s.keep-1, 0), len(s.lines))
}

func (s *section) height() int {
	switch {
	case s.title == "":
		return 0
	case s.shown() == len(s.lines) && s.more == 0:
		return 1 + len(s.lines)
	case s.keep == 0:
		return 1
	}
	return 2 + s.shown()
}

// fit shortens the sections to room lines in all: the longest above its floor
// first, the last of equals.
func fit(sections []section, room int) {
	for {
		total := 0
		var longest *section
		for i := range sections {
			s := &sections[i]
			total += s.height()
			if s.height() > 1 && s.keep > s.floor && (longest == nil || s.height() >= longest.height()) {
				longest = s
			}
		}
		if total <= room || longest == nil {
			return
		}
		longest.keep = min(longest.keep, len(longest.lines)+1) - 1
	}
}

type terminal struct {
	opt TerminalOptions
	d   *Data
}

// show makes what may come from the job harmless.
func (t *terminal) show(s string) string {
	if t.opt.ASCII {
		return ascii(s)
	}
	return visible(s)
}

const (
	red, yellow, green, bold, reset = "\x1b[31m", "\x1b[33m", "\x1b[32m", "\x1b[1m", "\x1b[0m"
)

func (t *terminal) paint(code, s string) string {
	if !t.opt.Color {
		return s
	}
	return code + s + reset
}

func (t *terminal) verdict(o judge.Outcome) string {
	switch o {
	case judge.Pass:
		return t.paint(bold+green, "pass")
	case judge.Review:
		return t.paint(bold+yellow, "review")
	case judge.Fail:
		return t.paint(bold+red, "fail")
	}
	return t.show(string(o))
}

func (t *terminal) severity(s judge.Severity) string {
	text := fmt.Sprintf("%-8s", t.show(string(s)))
	switch s {
	case judge.Critical, judge.High:
		return t.paint(red, text)
	case judge.Medium:
		return t.paint(yellow, text)
	}
	return text
}

// cut shortens a line to the width. Colour codes are ours and take no column.
func (t *terminal) cut(s string) string {
	for _, code := range []string{red, yellow, green, bold, reset} {
		if strings.Contains(s, code) {
			// Only the first lines' words are painted, well before any cut.
			width := t.opt.Width
			for _, c := range []string{red, yellow, green, bold, reset} {
				width += strings.Count(s, c) * len(c)
			}
			return cutEnd(s, width)
		}
	}
	return cutEnd(s, t.opt.Width)
}

// none says that there is nothing, as far as was seen: partial coverage never
// reads as a clean pass.
func (t *terminal) none(s string) string {
	if t.d.Verdict.Coverage.State == "complete" {
		return s
	}
	return s + " that was seen"
}

func (t *terminal) findings() section {
	fs := sorted(t.d.Verdict.Findings)
	s := section{title: "findings", sum: t.none("none"), keep: 10, floor: 4}
	if len(fs) == 0 {
		return s
	}
	s.sum = number(uint64(len(fs)))
	for _, f := range fs {
		who := append([]string{path.Base(f.Actor.Exe)}, f.Actor.Lineage...)
		l := t.severity(f.Severity) + " " + t.show(f.Title)
		if f.Object != "" {
			l += ": " + t.show(f.Object)
		}
		if f.Actor.Exe != "" {
			l += " (" + t.show(chain(who[:min(len(who), 4)])) + ")"
		}
		if f.Count > 1 {
			l += " x" + number(f.Count)
		}
		s.lines = append(s.lines, l)
		if f.Suppressed != nil {
			s.lines = append(s.lines, "         "+t.show(suppressedBy(f.Suppressed)))
		} else if f.Do != "" {
			s.lines = append(s.lines, "         "+t.show(f.Do))
		}
	}
	return s
}

func (t *terminal) undeclared() section {
	v := t.d.Verdict
	if !t.d.Intent && len(v.Forbidden) == 0 {
		return section{}
	}
	all := slices.Concat(v.Forbidden, worstFirst(v.Undeclared))
	s := section{title: "undeclared", sum: t.none("nothing"), keep: 10, floor: 4}
	if n := v.Facts.Undeclared; n > 0 || len(all) > 0 {
		s.sum = fmt.Sprintf("%s of %s", number(max(n, uint64(len(v.Undeclared)))), count(v.Facts.Total, "fact", "facts"))
		if len(v.Forbidden) > 0 {
			s.sum += ", " + number(uint64(len(v.Forbidden))) + " forbidden"
		}
		s.more = int(min(v.Facts.LeftOut, 1<<30))
	}
	for i := 0; i < len(all); i++ {
		f := all[i]
		l := t.severity(f.Severity) + " " + f.Verb + " " + t.show(f.Object)
		if i < len(v.Forbidden) {
			l += ", forbidden"
			if f.Grant != "" {
				l += " by " + t.show(f.Grant)
			}
		}
		if len(f.Who) > 0 {
			l += " (" + t.show(chain(f.Who[:min(len(f.Who), 4)])) + ")"
		}
		// One program, started in other ways by others, is one line.
		ways := 0
		for i+1 < len(all) && i+1 != len(v.Forbidden) && all[i+1].Verb == f.Verb && all[i+1].Object == f.Object && all[i+1].Severity == f.Severity {
			i++
			ways++
		}
		if ways > 0 {
			l += " and " + count(uint64(ways), "other way", "other ways")
		}
		s.lines = append(s.lines, l)
	}
	return s
}

func (t *terminal) destinations() section {
	s := section{title: "went to", sum: t.none("nowhere"), keep: 9, floor: 3}
	var sent, received, n, local uint64
	var far []*Destination
	for i := range t.d.Destinations {
		d := &t.d.Destinations[i]
		if d.Local {
			local++
			if d.Standing == Unlisted {
				continue
			}
		} else {
			n++
			sent, received = sent+d.Sent, received+d.Received
		}
		far = append(far, d)
	}
	n += t.d.DestinationsLeft
	switch {
	case n == 0 && local > 0:
		s.sum = fmt.Sprintf("%s on this machine, %s", count(local, "destination", "destinations"), t.none("nowhere else"))
	case n > 0:
		s.sum = fmt.Sprintf("%s, %s out, %s in", count(n, "destination", "destinations"), bytesOf(sent), bytesOf(received))
	}
	if n > 0 && local > 0 {
		s.sum += fmt.Sprintf("; %s on this machine", number(local))
	}
	s.more = int(min(t.d.DestinationsLeft, 1<<30))
	names := make([]string, len(far))
	widest := 0
	for i, d := range far {
		names[i] = cutStart(t.show(d.name()), t.opt.Width/2)
		widest = max(widest, columns(names[i]))
	}
	for i, d := range far {
		l := names[i] + strings.Repeat(" ", widest-columns(names[i]))
		if d.Proto != "tcp" && d.Proto != "" {
			l += "  " + t.show(d.Proto)
		}
		l += fmt.Sprintf("  %8s out  %8s in", bytesOf(d.Sent), bytesOf(d.Received))
		if d.Verb == "resolve" {
			l += "  as a resolver"
		}
		if d.Encrypted != "" {
			l += "  " + d.resolver()
		}
		if d.Host != "" && d.How != "dns" {
			l += "  " + t.show(d.named())
		}
		if d.Standing != Unlisted {
			l += "  " + string(d.Standing)
		}
		s.lines = append(s.lines, l+"  "+t.by(d.By, d.ByLeft))
	}
	return s
}

// by names who did something: each doer once.
func (t *terminal) by(ls []Lineage, left uint64) string {
	var names []string
	for _, l := range ls {
		if len(l.Who) > 0 && !slices.Contains(names, l.Who[0]) {
			names = append(names, l.Who[0])
		}
	}
	s := strings.Join(names, ", ")
	if left > 0 {
		s += fmt.Sprintf(" and %d more", left)
	}
	return t.show(s)
}

func (t *terminal) credentials() section {
	s := section{title: "credentials", sum: t.none("none read"), keep: 6, floor: 2}
	if n := uint64(len(t.d.Credentials)) + t.d.CredentialsLeft; n > 0 {
		s.sum = count(n, "file", "files") + " read"
	}
	s.more = int(min(t.d.CredentialsLeft, 1<<30))
	for _, c := range t.d.Credentials {
		l := t.show(c.Class) + "  " + cutMiddle(t.show(c.Path), t.opt.Width/2)
		if c.Standing != Unlisted {
			l += "  " + string(c.Standing)
		}
		s.lines = append(s.lines, l+"  "+t.by(c.By, 0))
	}
	return s
}

func (t *terminal) written() section {
	f := t.d.Files
	s := section{title: "wrote", sum: t.none("nothing"), keep: 6, floor: 2}
	var parts []string
	for _, p := range []struct {
		n     uint64
		where string
	}{{f.Outside, "elsewhere"}, {f.Workspace, "in the workspace"}, {f.Cache, "in caches"}, {f.Temp, "in temporary folders"}} {
		if p.n > 0 {
			parts = append(parts, number(p.n)+" "+p.where)
		}
	}
	if len(parts) > 0 {
		s.sum = count(f.Total(), "file", "files") + ": " + strings.Join(parts, ", ")
	}
	if f.Uncounted > 0 {
		s.sum += "; " + number(f.Uncounted) + " writes more"
	}
	for _, dir := range slices.Concat(outside(t.d.Written), topLevel(t.d.Written)) {
		l := cutMiddle(t.show(dir.Path), t.opt.Width/2)
		if dir.Outside {
			l += "  outside"
		}
		l += "  " + count(dir.Files, "file", "files")
		if len(dir.Examples) > 0 && dir.Outside {
			l += ", such as " + t.show(strings.Join(dir.Examples, ", "))
		}
		s.lines = append(s.lines, l)
	}
	return s
}

func outside(rows []Folder) []Folder {
	return slices.DeleteFunc(slices.Clone(rows), func(f Folder) bool { return !f.Outside })
}

// topLevel adds up the rows of the workspace by the folder right below it.
func topLevel(rows []Folder) []Folder {
	var out []Folder
	for _, f := range rows {
		if f.Place != "workspace" {
			continue
		}
		name := strings.TrimPrefix(f.Path, "./")
		if i := strings.IndexByte(name, '/'); i >= 0 && strings.HasPrefix(f.Path, "./") {
			name = name[:i]
		}
		if strings.HasPrefix(f.Path, "./") {
			name = "./" + name
		}
		i := slices.IndexFunc(out, func(o Folder) bool { return o.Path == name })
		if i < 0 {
			out = append(out, Folder{Path: name, Place: f.Place})
			i = len(out) - 1
		}
		out[i].Files += f.Files
	}
	slices.SortStableFunc(out, func(a, b Folder) int { return cmp.Or(cmp.Compare(b.Files, a.Files), cmp.Compare(a.Path, b.Path)) })
	return out
}

func (t *terminal) processes() section {
	r := t.d.Ran
	s := section{title: "ran", keep: 10, floor: 4}
	s.sum = count(r.Processes, "process", "processes") + ", " + count(r.Programs, "program start", "program starts")
	if r.Failed > 0 {
		s.sum += ", " + number(r.Failed) + " ended with an error"
	}
	rows, all := abridge(t.d.Processes, 40)
	s.more = int(min(all-uint64(len(rows)), 1<<30))
	for _, p := range rows {
		l := strings.Repeat("  ", min(p.indent, 12)) + t.show(cmp.Or(command(p.Argv, p.ArgvCut), p.Program, "?"))
		tail := "  " + span(p.Took)
		if p.Running {
			tail = "  still runs"
		}
		if p.Repeats > 1 {
			tail = "  x" + number(p.Repeats) + tail
		}
		switch {
		case p.Signal != 0:
			tail += fmt.Sprintf("  signal %d", p.Signal)
		case p.Code != 0:
			tail += fmt.Sprintf("  exit %d", p.Code)
		}
		if len(p.Findings) > 0 {
			tail += "  " + t.show(strings.Join(p.Findings, ", "))
		}
		s.lines = append(s.lines, cutEnd(l, max(t.opt.Width-columns(tail)-2, 20))+tail)
	}
	return s
}

func (t *terminal) survivors() section {
	if len(t.d.Survivors) == 0 {
		return section{}
	}
	s := section{title: "still running", keep: 5, floor: 2}
	s.sum = count(uint64(len(t.d.Survivors))+t.d.SurvivorsLeft, "process", "processes") + " of it, after its end"
	s.more = int(min(t.d.SurvivorsLeft, 1<<30))
	for _, p := range t.d.Survivors {
		s.lines = append(s.lines, fmt.Sprintf("%d  %s", p.PID, t.show(cmp.Or(command(p.Argv, false), p.Exe, p.Program, "?"))))
	}
	return s
}

func (t *terminal) coverage() section {
	c := t.d.Verdict.Coverage
	s := section{title: "seen", keep: 6, floor: 2}
	s.sum = "partly"
	if c.State == "complete" {
		s.sum = "all that the sensors can see"
	}
	s.sum += ": " + t.show(c.Sensor)
	switch c.Witness {
	case "agree":
		s.sum += ", the second witness agrees"
	case "disagree":
		s.sum += ", the second witness disagrees"
	default:
		s.sum += ", no second witness"
	}
	s.sum += "; " + count(c.Events, "event", "events")
	if c.Lost > 0 {
		s.sum += ", " + number(c.Lost) + " lost"
	} else {
		s.sum += ", none lost"
	}
	if t.d.Redacted > 0 {
		s.sum += ", " + count(t.d.Redacted, "secret", "secrets") + " taken out"
	}
	for _, what := range t.d.Missing {
		s.lines = append(s.lines, "of the evidence: "+t.show(what))
	}
	for _, g := range c.Gaps {
		l := "gap: " + t.show(g.What)
		if g.Lost > 0 {
			l += ", " + number(g.Lost) + " lost"
		}
		if g.To > g.From {
			l += ", " + span(g.To-g.From) + " long"
		}
		s.lines = append(s.lines, l)
	}
	for _, o := range c.Outside {
		s.lines = append(s.lines, "acted upon: "+t.show(o.What))
	}
	for _, u := range c.Unseen {
		s.lines = append(s.lines, "not seen: "+t.show(u))
	}
	return s
}

func (t *terminal) policy() section {
	if t.d.Intent {
		s := section{title: "policy", sum: "lines that would cover what is undeclared:", keep: 8, floor: 2}
		for _, l := range missing(worstFirst(t.d.Verdict.Undeclared)) {
			s.lines = append(s.lines, t.show(l))
		}
		if len(s.lines) == 0 {
			return section{}
		}
		return s
	}
	s := section{title: "policy", sum: "that would cover this run:", keep: 11, floor: 4}
	for l := range strings.Lines(t.d.Policy) {
		s.lines = append(s.lines, t.show(strings.TrimRight(l, "\n")))
	}
	// The version alone covers nothing.
	if len(s.lines) < 2 {
		return section{}
	}
	// A run with a finding is nothing to make a policy of.
	if !slices.ContainsFunc(t.d.Verdict.Findings, func(f judge.Finding) bool { return f.Rule != "coverage-lost" }) {
		flags := ""
		if t.d.Verdict.Coverage.State != "complete" {
			flags = "--partial "
		}
		keep := fmt.Sprintf("# to keep it: edamame-posture intent learn %s%s > posture.yml", flags, shellWord(t.show(cmp.Or(t.opt.Dir, "."))))
		s.lines = slices.Insert(s.lines, 0, keep)
	}
	return s
}

// shellWord is a path as it is typed into a POSIX shell: as it is where nothing
// in it means more than itself, else in single quotes. One that begins with a
// dash would be taken for an option.
func shellWord(path string) string {
	if strings.HasPrefix(path, "-") {
		path = "./" + path
	}
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-+,:=@%", r)
	}
	if path != "" && strings.IndexFunc(path, func(r rune) bool { return !plain(r) }) < 0 {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}

func (t *terminal) evidence() []string {
	dir := cmp.Or(t.opt.Dir, ".")
	var out []string
	if t.d.PolicyHint != "" {
		out = append(out, fmt.Sprintf("%-13s %s was not used: --intent %s", "hint", t.show(t.d.PolicyHint), shellWord(t.show(t.d.PolicyHint))))
	}
	return append(out, fmt.Sprintf("%-13s %s, to read: %s", "evidence",
		t.show(path.Join(dir, "evidence")), t.show(path.Join(dir, "report.html"))))
}
