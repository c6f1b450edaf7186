package report

import (
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/org/edamame-posture/pkg/judge"
)

// Newly is what a change's job did beside what the runs of its base branch did.
type Newly struct {
	Verdict *judge.Verdict // of the change's job
	Job     string
	Base    string   // the branch
	Runs    []string // URLs of the base's runs, of GitHub; empty where none could be had
	Why     string   // why there are none
	// Facts are those that no run of the base has, the gravest first.
	Facts []judge.Fact
	// Left counts facts that are not listed.
	Left uint64
}

// Bounds of a comment: GitHub takes 65,536 characters.
const (
	maxComment     = 60_000
	maxCommentRows = 40
)

// NewlyMarker begins the comment of a job: who looks for it finds it again. It
// shows nothing.
func NewlyMarker(job string) string { return "<!-- edamame-posture " + text(job) + " -->" }

// Comment writes it as the text of a comment on a pull request.
func (n *Newly) Comment(w io.Writer) error {
	m := &markdown{}
	v := n.Verdict
	m.printf("%s\n### Posture of %s: **%s**, score %d\n\n%s.\n\n", NewlyMarker(n.Job), code(n.Job), text(string(v.Verdict)), v.Score, text(capital(why(v))))
	switch {
	case len(n.Runs) == 0:
		m.printf("What is new beside %s is not known: %s.\n\n", code(n.Base), text(cutEnd(n.Why, 300)))
	case len(n.Facts) == 0:
		m.printf("It did nothing that %s of %s did not do.\n\n", count(uint64(len(n.Runs)), "run", "runs"), code(n.Base))
	default:
		m.printf("It did what %s of %s did not:\n\n", count(uint64(len(n.Runs)), "run", "runs"), code(n.Base))
		var rows [][]string
		for i, f := range n.Facts {
			if i == maxCommentRows {
				n.Left += uint64(len(n.Facts) - i)
				break
			}
			rows = append(rows, []string{
				text(string(f.Severity)), text(f.Verb), code(cutMiddle(f.Object, 150)),
				code(cutStart(chain(f.Who[:min(len(f.Who), 4)]), 120)), code(cutEnd(f.Scope.Step, 60)), number(f.Count),
			})
		}
		m.table([]string{"Severity", "Did", "What", "Who", "Step", "Times"}, rows, n.Left)
	}
	if fs := sorted(v.Findings); len(fs) > 0 {
		m.printf("Findings, whether new or not:\n\n")
		for i, f := range fs {
			if i == maxCommentRows {
				m.printf("- %d more\n", len(fs)-i)
				break
			}
			m.printf("- %s: %s, %s by %s\n", text(string(f.Severity)), text(cutEnd(f.Title, 150)), code(cutMiddle(f.Object, 150)), code(cutEnd(path.Base(f.Actor.Exe), 60)))
		}
		m.printf("\n")
	}
	m.printf("Coverage: %s. More in the job's summary. A notice only: a release gate decides.\n", text(v.Coverage.State))
	for i, at := range n.Runs {
		m.printf("%s[%d](%s)", [2]string{"Compared with run ", ", "}[min(i, 1)], i+1, linkable(at))
	}
	if m.b.Len() > maxComment {
		return fmt.Errorf("a comment of %d bytes", m.b.Len())
	}
	_, err := w.Write(append(m.b.Bytes(), '\n'))
	return err
}

// linkable is a URL in which nothing ends a link of markdown.
func linkable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', strings.ContainsRune(":/._-", r):
			return r
		}
		return -1
	}, s)
}
