package judge

import (
	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/process"
)

// Drift is what a change of the machine's own state comes to.
type Drift struct {
	// Severity is of a finding; below Medium none is made.
	Severity  Severity
	Title     string
	Do        string
	Technique []string // of MITRE ATT&CK
}

const lookAndRebuild = "Find out which program did it, undo it, and set the machine up anew before another job runs on it."

// drifts are the kinds of state, as pkg/posture names them. Those that packages
// and DHCP change at any time are Low.
var drifts = map[string]Drift{
	"sudoers":           {High, "Who may become root was changed", lookAndRebuild, []string{"T1548.003"}},
	"ld-preload":        {Critical, "A library was put into every program", lookAndRebuild, []string{"T1574.006"}},
	"authorized-keys":   {High, "Who may log in by a key was changed", lookAndRebuild, []string{"T1098.004"}},
	"ca-store":          {High, "Whose certificates are trusted was changed", lookAndRebuild, []string{"T1553.004"}},
	"hosts":             {Medium, "Addresses of names were changed", "Undo it, unless a test of the job needs it: a grant of write: [/etc/hosts] says so.", []string{"T1565.001"}},
	"cron":              {High, "What is started at a time was changed", lookAndRebuild, []string{"T1053.003"}},
	"at":                {High, "What is started at a time was changed", lookAndRebuild, []string{"T1053.002"}},
	"unit":              {High, "A service of the machine was changed", lookAndRebuild, []string{"T1543.002"}},
	"user-unit":         {High, "A service of the user of jobs was changed", lookAndRebuild, []string{"T1543.002"}},
	"docker-socket":     {High, "Who may start containers was changed", lookAndRebuild, []string{"T1611"}},
	"git-hook":          {High, "A hook of git was changed", "Find out which program did it, and delete the hook: it runs at the next job's commands of git.", []string{"T1546"}},
	"git-config-danger": {High, "Git's settings run or reach something else now", "Find out which program did it, and take the setting out: it holds in the next job too.", []string{"T1546"}},
	"npm-config-danger": {High, "npm's settings run or reach something else now", "Find out which program did it, and take the setting out: it holds in the next job too.", []string{"T1195.002"}},
	"pip-config-danger": {Medium, "pip's settings reach something else now", "Find out which program did it, and take the setting out: it holds in the next job too.", []string{"T1195.002"}},
	"runner":            {High, "Settings of the runner were changed", lookAndRebuild, []string{"T1554"}},
	"kernel":            {Medium, "A protection of the kernel was changed", "Set it back, and find out which program did it.", []string{"T1562.001"}},
}

// DriftOf returns what a change of a kind of state comes to; of a kind that
// needs nobody's look, or is not known, it is [Low].
func DriftOf(kind string) Drift {
	if d, ok := drifts[kind]; ok {
		return d
	}
	return Drift{Severity: Low, Title: "A setting of the machine was changed", Do: "Look whether the job was meant to.", Technique: []string{}}
}

// drifted takes a change of the machine's own state. It is a finding where it
// is dangerous and the intent does not allow who made it to write there.
func (j *Judge) drifted(ev *event.Event, n *process.Node) {
	find := func(d Drift, n *process.Node) {
		if order[d.Severity] < order[Medium] {
			return
		}
		j.find(&Finding{
			Rule: "posture-drift", Title: d.Title, Severity: d.Severity, Technique: d.Technique,
			Object: ev.Path.String() + ", " + ev.Detail.String(), First: ev.Time, Last: ev.Time, Count: 1, Leaves: []uint64{ev.Seq}, Do: d.Do,
		}, n)
	}
	facts := j.folder.Drifted(ev, n)
	for _, f := range facts {
		if j.judge(f).status != explained {
			find(DriftOf(f.Class.String()), f.Node)
		}
	}
	if d := DriftOf(ev.Class.String()); len(facts) == 0 && order[d.Severity] > order[Low] {
		// A neighbour on the machine may have, or a daemon that the job asked.
		d.Severity = bySeverity[order[d.Severity]-1]
		d.Title += ", and nobody of the job was seen to do it"
		find(d, n)
	}
}
