package learn

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/org/edamame-posture/pkg/intent"
	"github.com/org/edamame-posture/pkg/intent/document"
)

// lists are the lists of a policy in the order in which they are written.
var lists = []string{"use", "egress", "listen", "credentials", "exec", "write", "root"}

// empties are lists that limit something only where they stand, so that an
// empty one says that there was nothing.
var empties = []string{"listen", "exec", "write"}

// maxListed bounds the comments on what is not granted, in each list and of the
// same runs.
const maxListed = 40

// width is how long the lines of a list of words become.
const width = 80

func text(p *Policy, jobs []*job) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# Learned from %s: what was done, which need not be what is right. Read it before you use it.\n", count(p.Runs, "run"))
	for _, l := range p.Left {
		fmt.Fprintf(&b, "# Left out: %s\n", l.Shown())
	}
	fmt.Fprintf(&b, "version: %d\n", intent.Version)
	if len(jobs) == 1 && jobs[0].name == "" {
		jobs[0].text(&b, "")
		return b.Bytes()
	}
	b.WriteString("jobs:\n")
	for _, j := range jobs {
		fmt.Fprintf(&b, "  %s: # %s\n", scalar(j.name), count(len(j.runs), "run"))
		j.text(&b, "    ")
	}
	return b.Bytes()
}

// Shown is a line on the run, and on what would take it all the same, safe on a
// terminal.
func (l Left) Shown() string {
	s := l.Name + ": " + l.Why
	if l.Flag != "" {
		s += "; " + l.Flag + " takes it"
	}
	return comment(s)
}

func (j *job) text(b *bytes.Buffer, indent string) {
	for _, key := range lists {
		var lines []*line
		words := key != "egress" && key != "listen" && key != "write"
		for _, l := range j.lines {
			if l.Key == key {
				lines = append(lines, l)
				words = words && len(l.By) == 0 && len(l.To) == 0
			}
		}
		slices.SortFunc(lines, func(a, b *line) int { return strings.Compare(a.Line(), b.Line()) })
		switch {
		case len(lines) > 0 && words && key != "use":
			writeWords(b, indent, key, lines)
		case len(lines) > 0:
			fmt.Fprintf(b, "%s%s:\n", indent, key)
			for _, l := range lines {
				fmt.Fprintf(b, "%s  - %s%s\n", indent, l.Line(), noteOf(l))
			}
		case j.whole && slices.Contains(empties, key):
			fmt.Fprintf(b, "%s%s: [] # there was none\n", indent, key)
		}
	}
	j.tellRare(b, indent)
	for i, o := range j.open {
		if i == maxListed {
			fmt.Fprintf(b, "%s# and %d more that no line of policy covers\n", indent, len(j.open)-i)
			break
		}
		fmt.Fprintf(b, "%s# no line of policy covers: %s\n", indent, comment(o))
	}
}

// tellRare tells what few runs did. What is told of the same runs is bounded in
// each list, so that no run hides what another did behind much of its own.
func (j *job) tellRare(b *bytes.Buffer, indent string) {
	slices.SortStableFunc(j.rare, func(x, y *item) int {
		return slices.Index(lists, x.key) - slices.Index(lists, y.key)
	})
	told, order := map[string]int{}, []string{}
	for _, it := range j.rare {
		where := fmt.Sprintf("%s (%s)", it.key, listed(j.names(it.runs), maxNames))
		if told[where] == 0 {
			order = append(order, where)
		}
		if told[where]++; told[where] > maxListed {
			continue
		}
		also := ""
		if j.grants(it) {
			also = ", and a line covers it"
		}
		d := it.declared()
		fmt.Fprintf(b, "%s# seen in %d of %d runs only: %s\n", indent, len(it.runs), len(j.runs),
			comment(fmt.Sprintf("%s %s (%s)%s", it.key, d.Line(), listed(j.names(it.runs), maxNames), also)))
	}
	for _, where := range order {
		if n := told[where] - maxListed; n > 0 {
			fmt.Fprintf(b, "%s# seen in few runs only: %d more of %s\n", indent, n, comment(where))
		}
	}
}

func noteOf(l *line) string {
	if len(l.notes) == 0 {
		return ""
	}
	return " # " + comment(strings.Join(l.notes, "; "))
}

// writeWords writes a list of words beside each other, and those with a note
// each in a line.
func writeWords(b *bytes.Buffer, indent, key string, lines []*line) {
	b.WriteString(indent + key + ": [")
	at, first := len(indent)+len(key)+3, true
	for _, l := range lines {
		if len(l.notes) > 0 {
			continue
		}
		w := l.Line()
		if !first {
			b.WriteByte(',')
			if at+len(w)+3 > width {
				b.WriteString("\n" + indent + "  ")
				at = len(indent) + 2
			} else {
				b.WriteByte(' ')
				at += 2
			}
		}
		b.WriteString(w)
		at, first = at+len(w), false
	}
	noted := false
	for _, l := range lines {
		if len(l.notes) == 0 {
			continue
		}
		if !noted && !first {
			b.WriteByte(',')
		}
		noted = true
		fmt.Fprintf(b, "\n%s  %s,%s", indent, l.Line(), noteOf(l))
	}
	if noted {
		b.WriteString("\n" + indent + "  ")
	}
	b.WriteString("]\n")
}

// scalar is a name as it may stand in YAML.
func scalar(s string) string {
	d := intent.Declared{Object: s}
	return d.Line()
}

// comment is text of a recording as it may stand in a comment or on a terminal.
func comment(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r >= 0x20 && r < 0x7f {
			b.WriteRune(r)
			continue
		}
		q := document.Quote(string(r))
		b.WriteString(q[1 : len(q)-1])
	}
	return b.String()
}
