package report

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/org/edamame-posture/pkg/judge"
)

// maxMarkdown is the size of a job summary in bytes. GitHub's limit is 1 MiB,
// and it drops what is near it without a word (actions/runner#4337).
const maxMarkdown = 900 << 10

// Rows of one table of the summary, and rows of the process tree.
const (
	maxRows     = 100
	maxTreeRows = 300
)

// Markdown writes the summary of a workflow's job: GitHub's markdown, at most
// 900 KiB, beginning at the third level of headings.
func Markdown(w io.Writer, d *Data) error {
	m := &markdown{d: d}
	m.head()
	for _, part := range []func(){
		m.coverage, m.findings, m.facts, m.agents, m.destinations, m.containers, m.credentials, m.files, m.processes, m.survivors, m.unseen, m.policy,
	} {
		before := m.b.Len()
		part()
		if m.b.Len() > maxMarkdown-200 {
			m.b.Truncate(before)
			m.b.WriteString("\nThe rest did not fit; it stands in `report.html`.\n")
			break
		}
	}
	_, err := w.Write(m.b.Bytes())
	return err
}

type markdown struct {
	d *Data
	b bytes.Buffer
}

// text shows s as text: nothing of it is markup, a link, a mention or an
// entity. GitHub renders markdown and HTML, so both are escaped: what ASCII
// letters, digits and a few harmless signs do not cover becomes a numeric
// entity.
func text(s string) string {
	s = visible(s)
	var b strings.Builder
	for _, r := range s {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == ' ', r == ',', r >= 0x80:
			b.WriteRune(r)
		default:
			// A name that looks like a host would become a link, an @ a mention.
			fmt.Fprintf(&b, "&#%d;", r)
		}
	}
	return b.String()
}

// code is text in the type of a program.
func code(s string) string {
	if s == "" {
		return ""
	}
	return "<code>" + text(s) + "</code>"
}

func (m *markdown) printf(format string, args ...any) { fmt.Fprintf(&m.b, format, args...) }

func (m *markdown) head() {
	v := m.d.Verdict
	m.printf("### Posture: **%s**, score %d\n\n%s.\n\n", text(string(v.Verdict)), v.Score, text(capital(why(v))))
	if len(v.Run.Command.Argv) > 0 {
		m.printf("%s", code(cutEnd(command(v.Run.Command.Argv, false), 400)))
		if v.Run.Started != "" {
			m.printf(", %s to %s", text(v.Run.Started), text(v.Run.Ended))
		}
		m.printf("\n\n")
	}
}

func capital(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

// table writes a table; cells are markdown that is already safe.
func (m *markdown) table(head []string, rows [][]string, more uint64) {
	m.printf("| %s |\n|%s\n", strings.Join(head, " | "), strings.Repeat(" --- |", len(head)))
	for i, r := range rows {
		if i == maxRows {
			more += uint64(len(rows) - i)
			break
		}
		m.printf("| %s |\n", strings.Join(r, " | "))
	}
	if more > 0 {
		m.printf("\n%s more.\n", number(more))
	}
	m.printf("\n")
}

func (m *markdown) fold(summary string, body func()) {
	m.printf("<details><summary>%s</summary>\n\n", summary)
	body()
	m.printf("</details>\n\n")
}

func (m *markdown) findings() {
	fs := sorted(m.d.Verdict.Findings)
	if len(fs) == 0 {
		return
	}
	var rows [][]string
	for _, f := range fs {
		who := append([]string{path.Base(f.Actor.Exe)}, f.Actor.Lineage...)
		if f.Suppressed != nil {
			f.Do = suppressedBy(f.Suppressed)
		}
		rows = append(rows, []string{
			text(string(f.Severity)), text(cutEnd(f.Title, 200)) + " " + code(f.Rule), code(cutMiddle(f.Object, 200)),
			code(cutStart(chain(who[:min(len(who), 5)]), 200)), code(f.Scope.Step), number(max(f.Count, 1)), text(cutEnd(f.Do, 300)),
		})
	}
	m.printf("#### Findings\n\n")
	m.table([]string{"Severity", "What", "On", "Who", "Step", "Times", "Do"}, rows, 0)
}

func (m *markdown) facts() {
	v := m.d.Verdict
	if len(v.Forbidden)+len(v.Undeclared) == 0 {
		return
	}
	var rows [][]string
	add := func(fs []judge.Fact, standing string) {
		for _, f := range worstFirst(fs) {
			rows = append(rows, []string{
				text(string(f.Severity)), standing, text(f.Verb), code(cutMiddle(f.Object, 200)),
				code(cutStart(chain(f.Who[:min(len(f.Who), 5)]), 200)), code(f.Scope.Step), code(cutEnd(f.Grant, 300)),
			})
		}
	}
	add(v.Forbidden, "forbidden")
	add(v.Undeclared, "undeclared")
	m.printf("#### What no policy declares\n\n")
	m.table([]string{"Severity", "", "Verb", "What", "Who", "Step", "Policy line"}, rows, v.Facts.LeftOut)
}

func (m *markdown) destinations() {
	if len(m.d.Destinations) == 0 {
		if m.d.Verdict.Coverage.State == "complete" {
			m.printf("It went to no destination.\n\n")
		} else {
			m.printf("No destination was seen.\n\n")
		}
		return
	}
	var rows [][]string
	var far, local uint64
	for _, d := range m.d.Destinations {
		if d.Local {
			local++
		} else {
			far++
		}
		by := make([]string, 0, 3)
		for _, l := range d.By[:min(len(d.By), 3)] {
			by = append(by, code(cutStart(chain(l.Who), 100)))
		}
		if n := uint64(len(d.By)-len(by)) + d.ByLeft; n > 0 {
			by = append(by, number(n)+" more")
		}
		rows = append(rows, []string{
			code(cutStart(d.name(), 200)), text(cmp.Or(d.Proto, "?")), text(d.known()), text(d.Addr), number(d.Count),
			bytesOf(d.Sent), bytesOf(d.Received), strings.Join(by, "<br>"), text(string(d.Standing)),
		})
	}
	title := count(far+m.d.DestinationsLeft, "destination", "destinations")
	if local > 0 {
		title += ", " + number(local) + " on this machine"
	}
	m.fold(title, func() {
		m.chart()
		m.table([]string{"Host", "Protocol", "Name", "Address", "Times", "Out", "In", "Who", ""}, rows, m.d.DestinationsLeft)
	})
}

func (m *markdown) credentials() {
	if len(m.d.Credentials) == 0 {
		return
	}
	var rows [][]string
	for _, c := range m.d.Credentials {
		who := ""
		if len(c.By) > 0 {
			who = code(cutStart(chain(c.By[0].Who), 150))
		}
		rows = append(rows, []string{text(c.Class), code(cutMiddle(c.Path, 200)), who, number(c.Count), text(string(c.Standing))})
	}
	m.printf("#### Credentials read\n\n")
	m.table([]string{"Class", "File", "Who", "Times", ""}, rows, m.d.CredentialsLeft)
}

func (m *markdown) files() {
	f := m.d.Files
	if f.Total() == 0 {
		return
	}
	m.fold(fmt.Sprintf("%s written, %s outside workspace, caches and temporary folders", count(f.Total(), "file", "files"), number(f.Outside)), func() {
		var rows [][]string
		for _, r := range m.d.Written {
			rows = append(rows, []string{text(r.Place), code(cutMiddle(r.Path, 200)), number(r.Files), code(cutEnd(strings.Join(r.Examples, " "), 200))})
		}
		m.table([]string{"Place", "Folder", "Files", "Such as"}, rows, 0)
	})
}

func (m *markdown) processes() {
	r := m.d.Ran
	rows, all := abridge(m.d.Processes, maxTreeRows)
	if len(rows) == 0 {
		return
	}
	m.fold(count(r.Processes, "process", "processes")+", "+count(r.Programs, "program start", "program starts"), func() {
		m.printf("<pre>\n")
		for _, p := range rows {
			l := strings.Repeat("  ", min(p.indent, 24)) + cutEnd(visible(cmp.Or(command(p.Argv, p.ArgvCut), p.Program, "?")), 160)
			if p.Repeats > 1 {
				l += "  x" + number(p.Repeats)
			}
			l += "  " + span(p.Took)
			switch {
			case p.Signal != 0:
				l += fmt.Sprintf("  signal %d", p.Signal)
			case p.Code != 0:
				l += fmt.Sprintf("  exit %d", p.Code)
			}
			// visible is applied again by text, which doubles backslashes
			// only: the tree is shown, not parsed.
			m.printf("%s\n", entities(l))
		}
		m.printf("</pre>\n\n")
		if n := all - uint64(len(rows)); n > 0 {
			m.printf("%s more.\n\n", number(n))
		}
	})
}

// entities escapes what is visible already.
func entities(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == ' ', r >= 0x80:
			b.WriteRune(r)
		default:
			fmt.Fprintf(&b, "&#%d;", r)
		}
	}
	return b.String()
}

func (m *markdown) survivors() {
	if len(m.d.Survivors) == 0 {
		return
	}
	var rows [][]string
	for _, s := range m.d.Survivors {
		rows = append(rows, []string{fmt.Sprint(s.PID), code(cutMiddle(cmp.Or(command(s.Argv, false), s.Exe, s.Program), 200))})
	}
	m.printf("#### Still running after its end\n\n")
	m.table([]string{"Process", "Command"}, rows, m.d.SurvivorsLeft)
}

func (m *markdown) coverage() {
	c := m.d.Verdict.Coverage
	m.printf("Coverage: %s (sensor %s, second witness: %s); %s, %s lost", text(c.State), text(c.Sensor), text(c.Witness),
		count(c.Events, "event", "events"), number(c.Lost))
	if m.d.Redacted > 0 {
		m.printf(", %s taken out", count(m.d.Redacted, "secret", "secrets"))
	}
	if m.d.Origin != "" {
		m.printf("; declared by %s", text(cutEnd(m.d.Origin, 200)))
	}
	m.printf(".\n\n")
	for _, what := range m.d.Missing[:min(len(m.d.Missing), 5)] {
		m.printf("Of the evidence: %s.\n\n", text(cutEnd(what, 300)))
	}
	for _, what := range m.d.PowerTaken {
		m.printf("From the start %s.\n\n", text(cutEnd(what, 200)))
	}
	for _, what := range m.d.PowerKept {
		m.printf("The steps' user keeps a way to root that was to be taken: %s.\n\n", text(cutEnd(what, 300)))
	}
	for _, o := range c.Outside[:min(len(c.Outside), 5)] {
		m.printf("A process outside acted upon one that was watched: %s.\n\n", text(cutEnd(o.What, 200)))
	}
}

func (m *markdown) unseen() {
	c := m.d.Verdict.Coverage
	if len(c.Gaps)+len(c.Unseen) == 0 {
		return
	}
	m.fold("What was not seen", func() {
		for i, g := range c.Gaps {
			if i == maxRows {
				m.printf("- %d more\n", len(c.Gaps)-i)
				break
			}
			m.printf("- %s, %s lost\n", text(cutEnd(g.What, 200)), number(g.Lost))
		}
		for _, u := range c.Unseen {
			m.printf("- %s\n", text(cutEnd(u, 200)))
		}
		m.printf("\n")
	})
}

func (m *markdown) policy() {
	lines := missing(worstFirst(m.d.Verdict.Undeclared))
	title := "Lines of a policy that would cover what is undeclared"
	if !m.d.Intent {
		lines, title = strings.Split(strings.TrimRight(m.d.Policy, "\n"), "\n"), "A policy that would cover this run"
	}
	// A list's name, or the version, alone covers nothing.
	if len(lines) < 2 {
		return
	}
	m.fold(title, func() {
		m.printf("<pre>\n")
		for i, l := range lines {
			if i == maxRows && m.d.Intent {
				m.printf("# %s more\n", number(uint64(len(lines)-i)))
				break
			}
			m.printf("%s\n", entities(visible(l)))
		}
		m.printf("</pre>\n\n")
	})
}
