package report

import (
	"encoding/csv"
	"io"
	"strconv"
	"strings"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/evidence"
)

// factColumns are the columns of the CSV of facts. New ones go to the end.
var factColumns = []string{
	"standing", "severity", "verb", "program", "lineage", "object", "host", "port", "protocol", "class",
	"job", "step", "action", "agent", "container", "via", "count", "sent", "received", "first", "last", "leaf", "grant",
}

// writeCSV writes each fact as a line of RFC 4180. What was too much to keep is
// told in lines whose object says so: there is no fact to show.
func writeCSV(w io.Writer, ev *evidence.Evidence) error {
	r, err := read(ev, nil)
	if err != nil {
		return err
	}
	v := r.Verdict()
	listed := standings(v)
	c := csv.NewWriter(w)
	c.UseCRLF = true // RFC 4180, 2.1
	rows := [][]string{factColumns}
	for _, f := range r.Facts() {
		standing, severity := r.Standing(f)
		grant := ""
		if s := listed.of(f); s.standing != Unlisted {
			standing, grant = string(s.standing), s.grant
		}
		program, port := "", ""
		if len(f.Who) > 0 {
			program = f.Who[0].String()
		}
		if p := f.Addr.Port(); p != 0 {
			port = strconv.Itoa(int(p))
		}
		via := ""
		if f.Via != event.ViaLineage {
			via = f.Via.String()
		}
		rows = append(rows, []string{
			standing, string(severity), f.Verb.String(), program, chain(texts(f.Who)), f.Object.String(), f.Host.String(), port, protocol(f.Proto), f.Class.String(),
			f.Job.String(), f.Step.String(), f.Action.String(), f.Agent.String(), f.ContainerName.String(), via,
			unsigned(f.Count), unsigned(f.Sent), unsigned(f.Received), r.Clock.text(f.First), r.Clock.text(f.Last), unsigned(f.Leaf), grant,
		})
	}
	if n := v.Facts.LeftOut; n > 0 {
		row := make([]string, len(factColumns))
		row[2], row[5], row[16] = "left-out", "facts too many to keep", unsigned(n)
		rows = append(rows, row)
	}
	for _, row := range rows {
		for i := range row {
			row[i] = cell(row[i])
		}
		if err := c.Write(row); err != nil {
			return err
		}
	}
	c.Flush()
	return c.Error()
}

func unsigned(n uint64) string { return strconv.FormatUint(n, 10) }

// cell makes a value safe for programs that calculate with what a file holds:
// one that begins like a formula, after blanks too, gets an apostrophe, which
// they take as "this is text" (OWASP, CSV Injection).
func cell(s string) string {
	s = visible(bounded(s))
	if strings.IndexAny(strings.TrimLeft(s, " "), "=+-@\uff1d\uff0b\uff0d\uff20") == 0 {
		return "'" + s
	}
	return s
}
