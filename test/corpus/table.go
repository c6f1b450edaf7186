package main

import (
	"fmt"
	"maps"
	"math"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/org/edamame-posture/pkg/judge"
)

type attackRow struct {
	c    *scenario
	runs []*outcome // by sensor
}

type benignRow struct {
	c    *scenario
	runs []*outcome
}

// results are the rows of the table and what is wrong with them.
type results struct {
	sensors []string
	attacks []*attackRow
	benigns []*benignRow
	skipped []string
	failed  []string
}

func (r *results) skip(c *scenario, lacks string) {
	r.skipped = append(r.skipped, c.ID+" ("+lacks+" is not installed)")
	fmt.Printf("SKIP %-40s %s is not installed\n", c.ID, lacks)
}

func (r *results) fail(c *scenario, format string, args ...any) {
	r.failed = append(r.failed, c.ID)
	fmt.Printf("     %s: %s\n", c.ID, fmt.Sprintf(format, args...))
}

// family reports whether a rule is of a family of attacks, not named after one
// incident, nor a list of what incidents left.
func family(rule string) bool { return !strings.HasPrefix(rule, "incident-") && rule != "indicator" }

func (r *results) attack(row *attackRow) {
	r.attacks = append(r.attacks, row)
	c, first := row.c, row.runs[0]
	fmt.Printf("%-4s %-40s %s\n", word(first.found), c.ID, told(first.verdict.Findings))
	for i, o := range row.runs {
		for _, s := range o.missing {
			r.fail(c, "%s: %s", r.sensors[i], s)
		}
		if *verbose {
			fmt.Printf("%s\n%s\n", r.sensors[i], o.log)
			for _, f := range o.verdict.Findings {
				fmt.Printf("  %s %s: %s; %q under %v\n", f.Severity, f.Rule, f.Object, f.Actor.Argv, f.Actor.Lineage)
			}
		}
	}
	for _, rule := range slices.Sorted(maps.Keys(c.Findings)) {
		i := slices.IndexFunc(first.verdict.Findings, func(f judge.Finding) bool { return f.Rule == rule })
		switch {
		case i < 0:
			r.fail(c, "%s was not found", rule)
		case string(first.verdict.Findings[i].Severity) != c.Findings[rule]:
			r.fail(c, "%s is %s, want %s", rule, first.verdict.Findings[i].Severity, c.Findings[rule])
		}
	}
	if !first.found {
		r.fail(c, "no finding of high or above")
	}
}

func (r *results) benign(row *benignRow) {
	r.benigns = append(r.benigns, row)
	for _, o := range row.runs {
		fmt.Printf("%-4s %-40s %s\n", word(!o.found), row.c.ID, told(o.verdict.Findings))
		for _, s := range o.missing {
			r.fail(row.c, "%s", s)
		}
		if *verbose {
			fmt.Printf("%s\n", o.log)
		}
		for _, f := range o.verdict.Findings {
			if severe[string(f.Severity)] >= severe["high"] || *verbose {
				fmt.Printf("     %s %s: %s; %q under %v\n", f.Severity, f.Rule, f.Object, f.Actor.Argv, f.Actor.Lineage)
			}
		}
		if o.found {
			r.fail(row.c, "a finding of high or above")
		}
	}
}

func word(ok bool) string {
	if ok {
		return "ok"
	}
	return "FAIL"
}

// told lists rules of medium and above once each, the gravest first.
func told(findings []judge.Finding) string {
	by := map[string]string{}
	for _, f := range findings {
		if severe[string(f.Severity)] >= severe["medium"] {
			by[f.Rule] = string(f.Severity)
		}
	}
	rules := slices.SortedFunc(maps.Keys(by), func(a, b string) int {
		if d := severe[by[b]] - severe[by[a]]; d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	for i, rule := range rules {
		rules[i] = rule + " (" + by[rule] + ")"
	}
	if len(rules) == 0 {
		return "none"
	}
	return strings.Join(rules, ", ")
}

// byFamilies reports whether a family's rule alone found it at high or above.
func byFamilies(o *outcome) bool {
	return slices.ContainsFunc(o.verdict.Findings, func(f judge.Finding) bool {
		return family(f.Rule) && severe[string(f.Severity)] >= severe["high"]
	})
}

// counts are k of n for the three numbers of an attack corpus and the two of a
// benign one.
type counts struct {
	caught, families, attacks int
	other                     int // caught under the second sensor
	high, medium, benign      int
}

func (r *results) counts() (n counts) {
	for _, row := range r.attacks {
		n.attacks++
		if row.runs[0].found {
			n.caught++
		}
		if byFamilies(row.runs[0]) {
			n.families++
		}
		if len(row.runs) > 1 && row.runs[1].found {
			n.other++
		}
	}
	for _, row := range r.benigns {
		for _, o := range row.runs {
			n.benign++
			switch w := worst(o.verdict.Findings); {
			case w >= severe["high"]:
				n.high++
			case w == severe["medium"]:
				n.medium++
			}
		}
	}
	return n
}

func (r *results) lines() []string {
	n := r.counts()
	list := []string{
		fmt.Sprintf("attacks with a finding of high or above under %s: %s", r.sensors[0], ratio(n.caught, n.attacks)),
		fmt.Sprintf("of these by rules of families alone: %s", ratio(n.families, n.attacks)),
	}
	if told := r.told(); len(told) > 0 {
		list = append(list, fmt.Sprintf("from the event that decided to the line of the finding (--live), under %s: median %d ms, 95th percentile %d ms, longest %d ms",
			r.sensors[0], told[len(told)/2].Milliseconds(), told[(len(told)*95+99)/100-1].Milliseconds(), told[len(told)-1].Milliseconds()))
	}
	if len(r.sensors) > 1 {
		list = append(list, fmt.Sprintf("attacks with a finding of high or above under %s: %s", r.sensors[1], ratio(n.other, n.attacks)))
	}
	return append(list,
		fmt.Sprintf("runs of benign jobs with a finding of high or above: %s", ratio(n.high, n.benign)),
		fmt.Sprintf("runs of benign jobs with a finding of medium: %s", ratio(n.medium, n.benign)))
}

// told returns how long each first finding took to be told, shortest first.
func (r *results) told() (all []time.Duration) {
	for _, row := range r.attacks {
		if o := row.runs[0]; o.told > 0 {
			all = append(all, o.told)
		}
	}
	slices.Sort(all)
	return all
}

func (r *results) summary() {
	fmt.Println()
	for _, l := range r.lines() {
		fmt.Println(l)
	}
}

// ratio writes k of n with its Wilson interval of 95 %.
func ratio(k, n int) string {
	if n == 0 {
		return "0 of 0"
	}
	low, high := wilson(k, n)
	return fmt.Sprintf("%d of %d, %.1f %% (%.1f to %.1f)", k, n, 100*float64(k)/float64(n), 100*low, 100*high)
}

// wilson returns the score interval of Wilson (1927) for k of n at 95 %.
func wilson(k, n int) (low, high float64) {
	const z = 1.959964
	p, m := float64(k)/float64(n), float64(n)
	middle := p + z*z/(2*m)
	half := z * math.Sqrt(p*(1-p)/m+z*z/(4*m*m))
	below := 1 + z*z/m
	return max((middle-half)/below, 0), min((middle+half)/below, 1)
}

func (r *results) markdown() string {
	var b strings.Builder
	commit, _ := exec.Command("git", "rev-parse", "--short", "HEAD").Output()
	fmt.Fprintf(&b, "# The corpus\n\nWritten by `make corpus` at commit %s. Each case is a folder of test/attacks or test/benign; test/corpus/README.md tells how they are run.\n"+
		"Intervals are Wilson's, at 95 %%.\n\n", strings.TrimSpace(string(commit)))
	for _, l := range r.lines() {
		fmt.Fprintf(&b, "* %s\n", l)
	}
	fmt.Fprintf(&b, "\n## Attacks\n\nTime is from the first step's start to the event that decided the first finding of high or above, in the log's time.\n\n"+
		"| case | %s: findings | time | score |", r.sensors[0])
	for _, s := range r.sensors[1:] {
		fmt.Fprintf(&b, " %s: findings | score |", s)
	}
	fmt.Fprintf(&b, "\n|---|---|---|---|%s\n", strings.Repeat("---|---|", len(r.sensors)-1))
	for _, row := range r.attacks {
		o := row.runs[0]
		fmt.Fprintf(&b, "| %s | %s | %s | %d |", row.c.ID, told(o.verdict.Findings), span(o), o.verdict.Score)
		for _, o := range row.runs[1:] {
			fmt.Fprintf(&b, " %s | %d |", told(o.verdict.Findings), o.verdict.Score)
		}
		fmt.Fprintln(&b)
	}
	fmt.Fprintf(&b, "\n## Benign jobs\n\n| case | what it does | runs | findings of medium and above | score |\n|---|---|---|---|---|\n")
	for _, row := range r.benigns {
		var all []judge.Finding
		score := 0
		for _, o := range row.runs {
			all = append(all, o.verdict.Findings...)
			score = max(score, o.verdict.Score)
		}
		fmt.Fprintf(&b, "| %s | %s | %d | %s | %d |\n", row.c.ID, row.c.Title, len(row.runs), told(all), score)
	}
	if len(r.skipped) > 0 {
		fmt.Fprintf(&b, "\nNot run here: %s.\n", strings.Join(r.skipped, ", "))
	}
	return b.String()
}

func span(o *outcome) string {
	if !o.found {
		return "-"
	}
	return o.after.Round(time.Millisecond).String()
}
