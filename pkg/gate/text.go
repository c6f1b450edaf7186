package gate

import (
	"fmt"
	"io"
	"strconv"
	"strings"
)

// shown makes a text that a job may have written harmless: one line of
// printable ASCII, in which nothing moves the cursor or turns the direction.
func shown(s string) string {
	q := strconv.QuoteToASCII(s)
	return strings.ReplaceAll(q[1:len(q)-1], `\"`, `"`)
}

// Text writes the decision for a terminal: what was refused first.
func (d *Decision) Text(w io.Writer) error {
	var b strings.Builder
	word := map[Status]string{Passed: "PASS", Refused: "REFUSED", Unknown: "COULD NOT BE CHECKED"}[d.Outcome]
	fmt.Fprintf(&b, "%s  level %s", word, d.Level)
	for _, r := range d.Reasons {
		fmt.Fprintf(&b, "  %s", r)
	}
	b.WriteByte('\n')
	for _, a := range d.Artifact {
		fmt.Fprintf(&b, "artifact   %s\n", shown(a.String()))
	}
	for _, s := range d.Statements {
		fmt.Fprintf(&b, "\n%s: level %s", shown(s.Where), s.Level)
		if s.Job != "" {
			fmt.Fprintf(&b, ", job %s", shown(s.Job))
		}
		if s.Verdict != "" {
			fmt.Fprintf(&b, ", verdict %s, score %d", s.Verdict, s.Score)
		}
		b.WriteByte('\n')
		for i := range s.Checks {
			s.Checks[i].text(&b)
		}
	}
	if len(d.Checks) > 0 {
		b.WriteString("\nrelease\n")
	}
	for i := range d.Checks {
		d.Checks[i].text(&b)
	}
	for _, a := range d.SetAside {
		fmt.Fprintf(&b, "set aside  %s: %s\n", shown(a.Where), shown(a.Why))
	}
	if d.Next != "" {
		fmt.Fprintf(&b, "\nlevel %s, not one more: %s\n", d.Level, shown(d.Next))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (c *Check) text(b *strings.Builder) {
	mark := map[Status]string{Passed: "ok ", Refused: "NO ", Unknown: "?  ", Unchecked: "-  "}[c.Status]
	level := "  "
	if c.Level != None {
		level = c.Level.String()
	}
	fmt.Fprintf(b, "  %s %s %s", mark, level, shown(c.Name))
	if c.Got != "" {
		fmt.Fprintf(b, ": %s", shown(c.Got))
	}
	if c.Status == Refused || c.Status == Unknown {
		fmt.Fprintf(b, " [%s]", c.Reason)
		if c.Want != "" {
			fmt.Fprintf(b, "\n            want: %s", shown(c.Want))
		}
		if c.Do != "" {
			fmt.Fprintf(b, "\n            do:   %s", shown(c.Do))
		}
	}
	b.WriteByte('\n')
}

// maxMarkdown bounds Markdown in bytes: GitHub takes 65,535 characters for a
// check run.
const maxMarkdown = 60_000

// Markdown writes the decision for a job summary or a check run. All that a
// job may have written is shown as text.
func (d *Decision) Markdown(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "### Release gate: **%s**, level %s\n\n", d.Outcome, d.Level)
	for _, a := range d.Artifact {
		fmt.Fprintf(&b, "%s<br>\n", markup(a.String()))
	}
	b.WriteString("\n| | level | check | found | wanted, and what to do |\n|---|---|---|---|---|\n")
	row := func(where string, c *Check) {
		level := ""
		if c.Level != None {
			level = c.Level.String()
		}
		name := c.Name
		if where != "" {
			name = where + ": " + name
		}
		status := string(c.Status)
		if c.Status != Passed {
			status = "**" + status + "** " + string(c.Reason)
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", status, level, markup(name), markup(c.Got), markup(strings.Trim(c.Want+"; "+c.Do, "; ")))
	}
	left := 0
	for _, ok := range []bool{false, true} {
		add := func(where string, list []Check) {
			for i := range list {
				if (list[i].Status == Passed || list[i].Status == Unchecked) != ok {
					continue
				}
				if b.Len() > maxMarkdown-4*maxPart*6 {
					left++
					continue
				}
				row(where, &list[i])
			}
		}
		add("", d.Checks)
		for _, s := range d.Statements {
			add(s.Where, s.Checks)
		}
	}
	if left > 0 {
		fmt.Fprintf(&b, "\n%d more are not shown.\n", left)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// markup escapes all that Markdown, HTML or GitHub could take for more than
// text: links, mentions and entities among them.
func markup(s string) string {
	var b strings.Builder
	for _, r := range shown(s) {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == ' ', r == ',':
			b.WriteRune(r)
		default:
			fmt.Fprintf(&b, "&#%d;", r)
		}
	}
	return b.String()
}
