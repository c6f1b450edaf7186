package report

import (
	"fmt"
	"strings"

	"github.com/org/edamame-posture/pkg/judge"
)

// coveredBy says how much of what an agent started it had declared.
func coveredBy(s *judge.AgentSession) string {
	switch {
	case s.Coverage < 0:
		return "nothing started"
	case s.Declared == s.Started:
		return "all that it started was declared"
	}
	return fmt.Sprintf("%d of %d that it started were declared", s.Declared, s.Started)
}

// agents tells of each session what was declared, and of its calls those that
// said less than they could.
func (t *terminal) agents() section {
	list := t.d.Verdict.Agents
	if len(list) == 0 {
		return section{}
	}
	s := section{title: "agents", keep: 5, floor: 1}
	s.sum = count(uint64(len(list)), "session", "sessions")
	for i := range list {
		a := &list[i]
		l := fmt.Sprintf("%s %s  %s, %s; %s", t.show(a.Agent), cutMiddle(t.show(a.Session), 16), count(a.Prompts, "prompt", "prompts"),
			count(uint64(len(a.Calls))+a.LeftOut, "tool call", "tool calls"), coveredBy(a))
		if a.Refused > 0 {
			l += fmt.Sprintf("; %s refused", number(a.Refused))
		}
		if a.Unhooked > 0 {
			l += fmt.Sprintf("; %s in its transcript alone", count(a.Unhooked, "call", "calls"))
		}
		s.lines = append(s.lines, l)
		for _, c := range a.Calls {
			if c.Opaque != "" {
				s.lines = append(s.lines, fmt.Sprintf("  %s %s  hides what it does: %s", t.show(c.Call), cutMiddle(t.show(c.Command), t.opt.Width/2), t.show(c.Opaque)))
			}
		}
	}
	return s
}

// agents shows each session as a table of its calls: what was said, and what
// was seen.
func (m *markdown) agents() {
	for i := range m.d.Verdict.Agents {
		a := &m.d.Verdict.Agents[i]
		m.printf("#### Session of %s\n\n", text(a.Agent))
		m.printf("%s: %s, %s; %s", code(cutMiddle(a.Session, 64)), count(a.Prompts, "prompt", "prompts"), count(uint64(len(a.Calls))+a.LeftOut, "tool call", "tool calls"), coveredBy(a))
		for _, n := range []struct {
			of   uint64
			what string
		}{{a.Refused, "refused"}, {a.Unread, "unreadable"}, {a.Repeated, "repeated"}} {
			if n.of > 0 {
				m.printf("; %s %s", count(n.of, "declaration", "declarations"), n.what)
			}
		}
		if a.Unhooked > 0 {
			m.printf("; %s in its transcript that no hook declared", count(a.Unhooked, "call", "calls"))
		}
		m.printf(".\n\n")
		var rows [][]string
		for _, c := range a.Calls {
			said := cutEnd(c.Command, 200)
			if said == "" {
				said = cutEnd(strings.Join(c.Declared, ", "), 200)
			}
			did := code(cutEnd(strings.Join(c.Seen, ", "), 300))
			if c.More > 0 {
				did += fmt.Sprintf(" and %s more", number(c.More))
			}
			rows = append(rows, []string{code(cutMiddle(c.Call, 40)), code(c.Tool), code(said), text(cutEnd(c.Opaque, 100)), did})
		}
		if len(rows) > 0 {
			m.table([]string{"Call", "Tool", "Declared", "Hidden", "Seen"}, rows, a.LeftOut)
		}
	}
}
