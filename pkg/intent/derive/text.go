package derive

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/org/edamame-posture/pkg/intent/document"
)

// keys are the lists of a policy in the order in which they are written.
var keys = []string{"use", "egress", "credentials", "write", "root"}

// Text is the derived intent as a policy file, each line with what declared
// it, and at its end what was not understood.
func (d *Derivation) Text() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# Derived from %s. What a workflow does not say, this does not either.\nversion: 1\njobs:\n", comment(d.File))
	for i := range d.Jobs {
		j := &d.Jobs[i]
		fmt.Fprintf(&b, "  %s:\n", name(j.Name))
		for _, key := range keys {
			type line struct{ item, why string }
			var lines []line
			for g := range j.Grants {
				if g := &j.Grants[g]; g.Key == key {
					lines = append(lines, line{g.Line(), comment(g.Why) + ", " + d.where(g.Origin.File, g.Origin.Line)})
				}
			}
			if len(lines) == 0 {
				continue
			}
			fmt.Fprintf(&b, "    %s:\n", key)
			width := 0
			for _, l := range lines {
				width = max(width, min(len(l.item), 60))
			}
			for _, l := range lines {
				fmt.Fprintf(&b, "      - %-*s # %s\n", width, l.item, l.why)
			}
		}
		if len(j.Left) == 0 {
			continue
		}
		fmt.Fprintf(&b, "    # Not understood, and so not granted:\n")
		for _, l := range j.Left {
			fmt.Fprintf(&b, "    #   %s: %s: %s\n", d.where(l.File, l.Line), comment(l.Text), comment(l.Why))
		}
		if j.Omitted > 0 {
			fmt.Fprintf(&b, "    #   and %d more\n", j.Omitted)
		}
	}
	return b.Bytes()
}

func (d *Derivation) where(file string, line int) string {
	if file == d.File {
		return fmt.Sprintf("line %d", line)
	}
	return fmt.Sprintf("%s:%d", comment(file), line)
}

// comment is text of a workflow as it may stand in a comment or on a terminal.
func comment(s string) string {
	q := document.Quote(s)
	if inner := q[1 : len(q)-1]; inner == s || strings.ReplaceAll(inner, `\"`, `"`) == s {
		return s
	}
	return q
}

// name is a job's name as a key of YAML.
func name(s string) string {
	if s != "" && !slices.Contains([]string{"on", "off", "yes", "no", "true", "false", "null", "y", "n"}, strings.ToLower(s)) &&
		strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") == "" && strings.Trim(s[:1], "0123456789-") != "" {
		return s
	}
	return document.Quote(s)
}
