// Package compare says in words what one policy allows that another does not,
// for those who review a change of a policy or of a workflow.
//
//	changes, err := compare.Policies(before, after)
//	for _, c := range changes {
//		fmt.Println(c.Text)
//	}
package compare

import (
	"fmt"
	"slices"
	"strings"

	"github.com/org/edamame-posture/pkg/fact"
	"github.com/org/edamame-posture/pkg/intent"
	"github.com/org/edamame-posture/pkg/intent/document"
)

// What a change does.
const (
	Allows  = "allows"  // more is allowed, or less is forbidden or fails
	Forbids = "forbids" // less is allowed, or more is forbidden or fails
	Changes = "changes" // a job came or went
)

// Change is one difference.
type Change struct {
	Job    string `json:"job"` // empty for every job
	Effect string `json:"effect"`
	// Text is the whole sentence, with the job.
	Text string `json:"text"`
	// Grant is the entry in its canonical form, with its place in the policy
	// that has it; empty where the change is not one of an entry.
	Grant  string `json:"grant,omitempty"`
	Origin string `json:"origin,omitempty"`
	Preset string `json:"preset,omitempty"`
	// Words is Text without the job and the preset.
	Words string `json:"-"`
}

// Policies returns what b newly allows or no longer allows beside a: for every
// job, then job by job in the order of b. Presets are taken for what they hold.
// The order of entries and where they stand make no difference.
func Policies(a, b *intent.Policy) ([]Change, error) {
	c := comparison{said: map[string]bool{}}
	if err := c.jobs(a, b, ""); err != nil {
		return nil, err
	}
	c.said = map[string]bool{}
	for i := range c.changes {
		c.said[c.changes[i].what()] = true
	}
	had, has := a.Jobs(), b.Jobs()
	for _, job := range has {
		if len(had) > 0 && !slices.Contains(had, job) {
			c.add(Change{Job: job, Effect: Changes, Text: Subject(job) + " is new; beside what every job may do:"})
		}
		if err := c.jobs(a, b, job); err != nil {
			return nil, err
		}
	}
	for _, job := range had {
		switch {
		case slices.Contains(has, job):
		case len(has) > 0:
			c.add(Change{Job: job, Effect: Changes, Text: Subject(job) + " is gone: a run of it cannot be judged"})
		default:
			// Without jobs, what stands at the top holds for every one.
			if err := c.jobs(a, b, job); err != nil {
				return nil, err
			}
		}
	}
	return c.changes, nil
}

// maxWork bounds how many pairs of grants are looked at, so that what a pull
// request makes of a policy cannot hold up its check for long.
const maxWork = 500_000_000

type comparison struct {
	work    int
	changes []Change
	said    map[string]bool // of every job, and so not said again
}

// what tells changes apart, whichever job they are of.
func (c *Change) what() string { return strings.TrimPrefix(c.Text, Subject(c.Job)) }

func (c *comparison) add(ch Change) {
	if !c.said[ch.what()] {
		c.changes = append(c.changes, ch)
	}
}

// resolve returns what holds for a job; for one that the policy does not have,
// what stands at its top.
func resolve(p *intent.Policy, job string) (*intent.Resolved, error) {
	if !slices.Contains(p.Jobs(), job) {
		job = ""
	}
	return p.Resolve(job)
}

// Subject names a job at the beginning of a sentence; the empty one is all.
func Subject(job string) string {
	if job == "" {
		return "every job"
	}
	return "job " + document.Shown(job)
}

func (c *comparison) jobs(a, b *intent.Policy, job string) error {
	before, err := resolve(a, job)
	if err != nil {
		return err
	}
	after, err := resolve(b, job)
	if err != nil {
		return err
	}
	old, had := entries(before)
	now, has := entries(after)
	if c.work += len(old) * len(now); c.work > maxWork {
		return fmt.Errorf("the policies have too many grants and jobs to be compared; %s alone has %d and %d", Subject(job), len(old), len(now))
	}
	c.limits(job, before, after)
	for i := range now {
		e := &now[i]
		if (before.Limits(e.Verb) || e.Beyond()) && !had[idOf(e)] {
			c.entry(job, e, old, now, true)
		}
	}
	for i := range old {
		e := &old[i]
		if (after.Limits(e.Verb) || e.Beyond()) && !has[idOf(e)] {
			c.entry(job, e, now, old, false)
		}
	}
	if job == "" {
		c.suppressions(before.Suppressions(), after.Suppressions())
		c.failOn(before.FailOn(), after.FailOn())
	}
	return nil
}

// id tells entries apart by what they say.
type id struct {
	verb fact.Verb
	deny bool
	text string
}

func idOf(e *intent.Entry) id { return id{e.Verb, e.Deny, e.Text} }

// entries are those of an intent, each once.
func entries(r *intent.Resolved) (list []intent.Entry, have map[id]bool) {
	have = map[id]bool{}
	for _, e := range r.Entries() {
		if i := idOf(&e); !have[i] {
			have[i] = true
			list = append(list, e)
		}
	}
	return list, have
}

// limits tells that a list which limits what was free came or went.
func (c *comparison) limits(job string, before, after *intent.Resolved) {
	for _, l := range []struct {
		verb          fact.Verb
		free, limited string
	}{
		{fact.Exec, "run any program", "run the programs that are listed"},
		{fact.Write, "write any file of the workspace", "write the files that are listed"},
		{fact.Listen, "listen on any address of loopback", "listen on the addresses that are listed"},
	} {
		switch was, is := before.Limits(l.verb), after.Limits(l.verb); {
		case was && !is:
			c.add(Change{Job: job, Effect: Allows, Text: fmt.Sprintf("%s may now %s (was: only those listed)", Subject(job), l.free)})
		case !was && is:
			c.add(Change{Job: job, Effect: Forbids, Text: fmt.Sprintf("%s may now only %s (was: any)", Subject(job), l.limited)})
		}
	}
}

// entry tells of an entry which the other policy, its entries being other,
// does not have, unless one there includes it. own are the entries beside it.
func (c *comparison) entry(job string, e *intent.Entry, other, own []intent.Entry, added bool) {
	var near []string
	for i := range other {
		o := &other[i]
		switch {
		case o.Deny != e.Deny:
		case o.Includes(e):
			return
		case e.Includes(o), o.Verb == e.Verb && o.Class == e.Class && o.To == e.To:
			near = append(near, difference(e, o))
		}
	}
	// One that stands beside a wider one of the same policy changes nothing
	// that the wider one does not: that one is told.
	for i := range own {
		o := &own[i]
		if o.Deny == e.Deny && o.Text != e.Text && o.Includes(e) && !e.Includes(o) {
			return
		}
	}
	ch := Change{Job: job, Grant: e.Text, Preset: e.Preset, Origin: fmt.Sprintf("%s:%d:%d", e.Origin.File, e.Origin.Line, e.Origin.Column)}
	var words, beside string
	switch {
	case added && e.Deny:
		ch.Effect, words, beside = Forbids, "must no longer", "was"
	case added:
		ch.Effect, words, beside = Allows, "may now", "was"
	case e.Deny:
		ch.Effect, words, beside = Allows, "is no longer forbidden to", "still"
	default:
		ch.Effect, words, beside = Forbids, "may no longer", "still"
	}
	ch.Words = fmt.Sprintf("%s %s%s", words, object(e), doer(e))
	if len(near) > 0 {
		const most = 3
		more := ""
		if len(near) > most {
			near, more = near[:most], fmt.Sprintf(" and %d more", len(near)-most)
		}
		ch.Words += fmt.Sprintf(" (%s: %s%s)", beside, strings.Join(near, ", "), more)
	}
	ch.Text = Subject(job) + " " + ch.Words
	if e.Preset != "" {
		ch.Text += ", of the preset " + e.Preset
	}
	c.add(ch)
}

// object says what an entry is about, as the end of a sentence.
func object(e *intent.Entry) string {
	to := document.Shown(e.To)
	switch e.Verb {
	case fact.Connect:
		if e.Deny {
			// Any port and any protocol are what a deny means without them.
			to = strings.TrimSuffix(to, ":*/*")
		}
		return "connect to " + to
	case fact.Listen:
		return "listen on " + to
	case fact.Credential:
		return "read " + e.Class + " credentials"
	case fact.Chain:
		return "send " + e.Class + " credentials to " + to
	case fact.Exec:
		return "run " + to
	case fact.Write:
		return "write " + to
	case fact.Power:
		return "take power over the machine by " + to
	}
	return e.Verb.String() + " " + to
}

// doer says who may, with a space in front; nothing for a deny, which is for all.
func doer(e *intent.Entry) string {
	s := ""
	switch {
	case e.Deny || e.Verb == fact.Power:
	case len(e.By) > 0:
		s = " by " + strings.Join(shown(e.By), " or ") + " only"
	case e.Verb == fact.Credential || e.Verb == fact.Chain:
		s = " by programs that own them"
	default:
		s = " by any program"
	}
	if e.Step != "" {
		s += " in step " + document.Shown(e.Step) + " only"
	}
	if b := e.Budget(); b != "" {
		s += ", " + b + " at most"
	}
	if len(e.HTTP) > 0 {
		s += ", for the requests " + strings.Join(shown(e.HTTP), " or ") + " only"
	}
	if len(e.Keys) > 0 {
		s += ", with the keys in " + strings.Join(shown(e.Keys), " or ") + " only"
	}
	if len(e.SHA256) > 0 {
		s += ", with SHA-256 " + strings.Join(e.SHA256, " or ") + " only"
	}
	return s
}

func shown(list []string) []string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = document.Shown(s)
	}
	return out
}

// difference says how o of the other policy differs from e.
func difference(e, o *intent.Entry) string {
	who := doer(o)
	if e.To == o.To {
		return strings.TrimPrefix(who, " ")
	}
	if doer(e) == who {
		return document.Shown(o.To)
	}
	return document.Shown(o.To) + who
}

func (c *comparison) suppressions(a, b []intent.Suppression) {
	same := func(x, y *intent.Suppression) bool {
		return x.Rule == y.Rule && x.Until == y.Until && slices.Equal(x.By, y.By)
	}
	tell := func(list, other []intent.Suppression, effect, format string) {
		for i := range list {
			s := &list[i]
			if slices.ContainsFunc(other, func(o intent.Suppression) bool { return same(s, &o) }) {
				continue
			}
			by := ""
			if len(s.By) > 0 {
				by = " by " + strings.Join(shown(s.By), " or ")
			}
			c.add(Change{Effect: effect, Text: fmt.Sprintf(format, document.Shown(s.Rule)+by, s.Until, document.Shown(s.Owner), document.Shown(s.Reason)),
				Origin: fmt.Sprintf("%s:%d:%d", s.Origin.File, s.Origin.Line, s.Origin.Column)})
		}
	}
	tell(b, a, Allows, "findings of %s no longer count until %s (owner %s: %s)")
	tell(a, b, Forbids, "findings of %s are no longer suppressed until %s (owner %s: %s)")
}

func (c *comparison) failOn(a, b intent.FailOn) {
	say := func(effect, format string, args ...any) {
		c.add(Change{Effect: effect, Text: "the outcome " + fmt.Sprintf(format, args...)})
	}
	if a.Never != b.Never {
		if b.Never {
			say(Allows, "never fails now: the verdict only reports")
		} else {
			say(Forbids, "can fail now (was: never)")
		}
		return
	}
	if a.Never {
		return
	}
	order := []string{"low", "medium", "high", "critical", ""}
	if x, y := slices.Index(order, a.Severity), slices.Index(order, b.Severity); x != y {
		effect := Forbids
		if y > x {
			effect = Allows
		}
		say(effect, "%s (was: %s)", severityWords(b.Severity), severityWords(a.Severity))
	}
	if a.Score != b.Score {
		effect := Forbids
		if b.Score == 0 || a.Score != 0 && b.Score > a.Score {
			effect = Allows
		}
		say(effect, "%s (was: %s)", scoreWords(b.Score), scoreWords(a.Score))
	}
	if a.Coverage != b.Coverage {
		if b.Coverage {
			say(Forbids, "fails now where something was not seen")
		} else {
			say(Allows, "no longer fails where something was not seen")
		}
	}
}

func severityWords(s string) string {
	if s == "" {
		return "fails at no severity"
	}
	return "fails from severity " + s + " on"
}

func scoreWords(n int) string {
	if n == 0 {
		return "fails at no score"
	}
	return fmt.Sprintf("fails from score %d on", n)
}
