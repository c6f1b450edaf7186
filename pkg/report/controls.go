package report

import (
	"cmp"
	"encoding/csv"
	"io"
	"slices"
	"strconv"
	"time"

	"github.com/org/edamame-posture/pkg/judge"
)

// controlIDs are the controls that a record of what a job did is evidence
// toward, by catalogue: a hint to who maps controls, never a statement that one
// is met.
var controlIDs = []struct{ column, ids string }{
	{"soc2", "CC6.1 CC6.6 CC6.8 CC7.1 CC7.2 CC7.3 CC8.1"},
	{"iso27001_2022", "A.5.7 A.5.21 A.5.23 A.5.28 A.8.4 A.8.7 A.8.8 A.8.15 A.8.16 A.8.20 A.8.23 A.8.25 A.8.31 A.8.32"},
	{"nist_ssdf", "PO.3 PO.5 PS.1 PS.2 RV.1"},
	{"nist_800_53", "AU-2 AU-3 AU-9 AU-12 CM-7 SI-3 SI-4 SI-7 SR-4 SR-11 SA-15"},
	{"owasp_cicd", "CICD-SEC-3 CICD-SEC-4 CICD-SEC-6 CICD-SEC-7 CICD-SEC-10"},
	{"owasp_agentic", "ASI01 ASI02 ASI03 ASI04 ASI05 ASI10"},
}

// controlColumns are the fields of a job's row; the columns of controlIDs
// follow.
var controlColumns = []string{
	"repo", "workflow", "job", "lastRun", "lastVerdict", "intentPresent", "tightness", "maxDivergence30d", "coveragePct",
	"runs", "partialRuns", "evidenceDigest", "agentVersion", "judge", "intentDigest",
}

// Controls writes a CSV with one row for each job that the folders of results
// hold runs of, for trust centres and auditors. A row tells of the latest run;
// tightness and coverage are the least, divergence the most, of the runs in the
// 30 days before it.
func Controls(w io.Writer, dirs ...string) error {
	jobs := make(map[[3]string][]*Data)
	for _, dir := range dirs {
		d, err := Load(dir)
		if err != nil {
			return err
		}
		r := d.Verdict.Run
		k := [3]string{r.Repository, r.Workflow, r.Job}
		jobs[k] = append(jobs[k], d)
	}
	var rows [][]string
	for k, runs := range jobs {
		rows = append(rows, append(k[:], jobRow(runs)...))
	}
	slices.SortFunc(rows, func(a, b []string) int { return slices.Compare(a, b) })
	head := slices.Clone(controlColumns)
	for _, c := range controlIDs {
		head = append(head, c.column)
	}
	c := csv.NewWriter(w)
	c.UseCRLF = true
	for _, row := range append([][]string{head}, rows...) {
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

// window is how far before its latest run a job's row looks back.
const window = 30 * 24 * time.Hour

// jobRow is the row of a job, without the three columns that name it.
func jobRow(runs []*Data) []string {
	slices.SortFunc(runs, func(a, b *Data) int {
		return cmp.Or(cmp.Compare(a.Verdict.Run.Started, b.Verdict.Run.Started), cmp.Compare(a.TreeRoot, b.TreeRoot))
	})
	last := runs[len(runs)-1]
	since := startedAt(last.Verdict).Add(-window)
	tight, divergence, covered, partial, counted, declared := -1, 0, 100, 0, 0, true
	for _, d := range runs {
		v := d.Verdict
		if startedAt(v).Before(since) {
			continue
		}
		counted++
		declared = declared && d.Intent
		divergence = max(divergence, v.Score)
		covered = min(covered, coveragePercent(v.Coverage))
		if v.Coverage.State != "complete" {
			partial++
		}
		for _, t := range []int{v.Tightness.Egress, v.Tightness.Credentials} {
			if t >= 0 && (tight < 0 || t < tight) {
				tight = t
			}
		}
	}
	shown := "" // nothing was there to explain
	if tight >= 0 {
		shown = thousandths(tight)
	}
	v := last.Verdict
	row := []string{
		v.Run.Started, string(v.Verdict), strconv.FormatBool(declared), shown, strconv.Itoa(divergence), strconv.Itoa(covered),
		strconv.Itoa(counted), strconv.Itoa(partial), last.TreeRoot, last.Tool, v.Inputs.Judge.Version, v.Inputs.Intent.SHA256,
	}
	for _, c := range controlIDs {
		row = append(row, c.ids)
	}
	return row
}

// thousandths writes n/1000 with no floating point.
func thousandths(n int) string {
	s := strconv.Itoa(n + 1000) // so that zeros in front stay
	return strconv.Itoa(n/1000) + "." + s[len(s)-3:]
}

func startedAt(v *judge.Verdict) time.Time {
	t, err := time.Parse(time.RFC3339Nano, v.Run.Started)
	if err != nil {
		return time.Time{}
	}
	return t
}

// coveragePercent is how many of the events that are known of are in the log,
// rounded down. Coverage that is partial is never told as 100.
func coveragePercent(c judge.Coverage) int {
	percent := 100
	if all := c.Events + c.Lost; all > 0 {
		percent = int(c.Events * 100 / all)
	}
	if c.State != "complete" {
		percent = min(percent, 99)
	}
	return percent
}
