package monitor

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/org/edamame-posture/pkg/redact"
	"github.com/org/edamame-posture/pkg/sensor"
)

// canaryRounds is how many rounds a canary is for. An exec and a connect each
// second would be most of what an idle monitor costs; links and losses are
// looked at in each round.
const canaryRounds = 4

// lateAfter is how late a tick may come before it is told: the monitor was
// stopped, starved, or the machine slept.
const lateAfter = 2 * Interval

// clockStepAfter is the least jump of the wall clock that is told.
const clockStepAfter = int64(500 * time.Millisecond)

// loss is one way in which a sensor loses what it should tell.
type loss struct {
	what  string
	total func(sensor.Stats) uint64
}

// losses are told apart, since they call for different things: a larger ring,
// a look at what runs on the machine, or a bug report.
var losses = [...]loss{
	{"records lost: the ring had no room", func(s sensor.Stats) uint64 { return s.Lost }},
	{"records stolen: somebody else reads the ring", func(s sensor.Stats) uint64 { return s.Stolen }},
	{"runs of a program skipped by the kernel, which was in one already", func(s sensor.Stats) uint64 { return s.Missed }},
	{"repeats of acts that were not told apart", func(s sensor.Stats) uint64 { return s.Untold }},
	{"records that could not be read", func(s sensor.Stats) uint64 { return s.Undecoded }},
}

// skippedRuns is the place in losses of what Stats.MissedOf tells more of.
const skippedRuns = 2

// lossTotals are the totals of losses, in their order.
type lossTotals [len(losses)]uint64

func lossesOf(s sensor.Stats) (t lossTotals) {
	for i := range losses {
		t[i] = losses[i].total(s)
	}
	return t
}

// since takes what grew from the totals of before.
func (t lossTotals) since(before lossTotals) (n lossTotals) {
	for i := range t {
		n[i] = t[i] - min(t[i], before[i])
	}
	return n
}

// pause is why a round came late.
type pause struct {
	what     string
	from, to int64 // CLOCK_BOOTTIME
}

// pauseOf tells what a round that was due an interval after the last one was
// late for: ran and slept are how far CLOCK_MONOTONIC went and how much further
// CLOCK_BOOTTIME did, which goes on while the machine is suspended.
func pauseOf(from, to, ran int64) (ps []pause) {
	if slept := to - from - ran; slept > int64(Interval/2) {
		ps = append(ps, pause{"the machine was suspended for " + span(slept), from, to})
	}
	if ran > int64(lateAfter) {
		ps = append(ps, pause{"the monitor did not run for " + span(ran-int64(Interval)) + ": it was stopped, or the machine had no time for it", from, to})
	}
	return ps
}

// span is a time as a person reads it.
func span(ns int64) string { return time.Duration(ns).Round(100 * time.Millisecond).String() }

// The kernel goes through its whole table of connections for a list, which may
// take some milliseconds where it has much memory: one thousandth of the time
// is for that. At the end of a recording a list is always read.
const (
	listShare = 1000
	listPause = 10 * time.Second // at most
)

// tick runs the round of each interval: canary, losses, witnesses, clocks,
// checkpoint.
func (m *Monitor) tick() {
	defer close(m.done)
	m.rounds.Lock()
	m.canary.run(m.locked)
	m.rounds.Unlock()
	t := time.NewTicker(Interval)
	defer t.Stop()
	var due <-chan time.Time // of a checkpoint that a finding asked for
	var last time.Time
	for {
		select {
		case <-m.stop:
			return
		case <-t.C:
			m.round(true)
			m.lookAtJobs()
			if m.opt.Beat != nil {
				m.opt.Beat()
			}
		case <-m.soon:
			if due == nil {
				due = time.After(afterFinding - time.Since(last))
			}
		case <-due:
			due, last = nil, time.Now()
			ctx, cancel := context.WithTimeout(context.Background(), sealWithin)
			m.sealAll(ctx)
			cancel()
		}
	}
}

func (m *Monitor) locked(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f()
}

// round judges the interval that ends now and begins the next one.
func (m *Monitor) round(checkpoint bool) {
	m.rounds.Lock()
	defer m.rounds.Unlock()
	both := reading{before: counts(m.primary.Stats())}
	m.check() // which reads the second witness to its end
	if m.second != nil {
		both.netlink = counts(m.second.Stats())
	}
	first := m.primary.Stats()
	both.after, both.threadExecs = counts(first), first.ThreadExecs
	if m.barrier != nil {
		m.barrier.Look()
		for _, p := range m.barrier.Replaced() {
			m.problem(fmt.Sprintf("another file took the place of %s: its exec is no longer held up until it is sealed", p))
		}
	}
	m.doubt(both)
	totals := lossesOf(first)
	if !checkpoint || time.Now().After(m.nextList) {
		began := time.Now()
		if m.compareSockets(totals) && !checkpoint {
			m.compareSockets(totals) // there is no later list for this recording
		}
		m.nextList = time.Now().Add(min(listShare*time.Since(began), listPause))
	}
	now, mono := boottime(), monotonic()
	m.mu.Lock()
	lost := totals.since(m.lastLost)
	m.lastLost = totals
	from := m.lastTick
	pauses := pauseOf(from, now, mono-m.lastMono)
	m.lastTick, m.lastMono = now, mono
	step := wallOffset() - m.wallOffset
	if step > clockStepAfter || step < -clockStepAfter {
		m.wallOffset += step
	} else {
		step = 0
	}
	for _, r := range m.recs {
		if r != nil {
			r.latePlain(now, false)
		}
	}
	disagree := m.witness.disagree
	execSeen, connSeen, launched := m.canary.sawExec, m.canary.sawConn, m.canary.launched
	// At the end of a recording there is no later round.
	m.sinceCanary++
	due := m.sinceCanary >= canaryRounds || !checkpoint
	flown := m.lastCanary
	if due {
		m.sinceCanary, m.lastCanary = 0, now
	}
	open := m.open()
	for _, r := range open {
		switch {
		case !launched || !due:
		case execSeen && connSeen:
			r.canary(m.primary.Name(), true, redact.Text{}, flown, now)
		case !execSeen:
			r.canary(m.primary.Name(), false, redact.Const("the monitor's own exec was not seen"), flown, now)
		default:
			r.canary(m.primary.Name(), false, redact.Const("the monitor's own connect was not seen"), flown, now)
		}
		for i, n := range lost {
			if n > 0 {
				what := losses[i].what
				if i == skippedRuns && len(first.MissedOf) > 0 {
					what += " (" + strings.Join(first.MissedOf, ", ") + ")"
				}
				r.gap(m.primary.Name(), what, from, now, n)
			}
		}
		for _, p := range pauses {
			r.gap(m.primary.Name(), p.what, p.from, p.to, 0)
		}
		if step != 0 {
			r.clockStep(step)
		}
		if m.second != nil {
			r.witness(both, m.witness.base, m.sockets, disagree)
		}
	}
	m.mu.Unlock()
	if checkpoint {
		ctx, cancel := context.WithTimeout(context.Background(), sealWithin)
		defer cancel()
		for _, r := range open {
			m.seal(ctx, r)
			m.sync(r)
		}
	}
	if due {
		m.canary.run(m.locked)
	}
}

// check asks the sensors whether they still are as they were armed.
func (m *Monitor) check() {
	for _, s := range m.primary.Check() {
		m.problem("sensor " + m.primary.Name() + ": " + s)
	}
	if m.second != nil {
		for _, s := range m.second.Check() {
			m.problem("second witness: " + s)
		}
	}
}

// problem tells each open recording of something that is not as it was armed:
// once where it stays so, for recordings that are opened later at their start
// too; and each time where it was put right again.
func (m *Monitor) problem(what string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.problems[what] {
		return
	}
	if !strings.HasSuffix(what, sensor.ArmedAgain) {
		m.problems[what] = true
	}
	m.opt.Logf("%s", what)
	for _, r := range m.open() {
		r.gap(m.primary.Name(), what, m.lastTick, boottime(), 0)
	}
}

// catchUp returns when what happened before the call is in the table, or ctx
// ends. It does not ask what goes on how far it has come, as Drain does: that
// goes over every open file of the machine.
func (m *Monitor) catchUp(ctx context.Context) error {
	if c, ok := m.primary.(sensor.Catcher); ok {
		return c.CatchUp(ctx)
	}
	return m.primary.Drain(ctx)
}

// settle returns when everything that happened before the call is in the log,
// or says that it could not wait for it. It also compares the witnesses a last
// time.
func (m *Monitor) settle() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := m.primary.Drain(ctx); err != nil {
		return fmt.Errorf("sensor %s: %w", m.primary.Name(), err)
	}
	if m.second == nil {
		return nil
	}
	return m.compare(ctx)
}

// doubt compares the witnesses with care where the readings of rounds say that
// they disagree.
func (m *Monitor) doubt(r reading) {
	if m.second == nil {
		return
	}
	doubts := false
	m.locked(func() { doubts = m.witness.doubts(r) })
	if doubts {
		ctx, cancel := context.WithTimeout(context.Background(), drainWithin)
		defer cancel()
		_ = m.compare(ctx) // a sensor that does not answer is told by check
	}
}

// compare reads the witnesses until they agree, and notes where they never do.
// What is on its way from one of them, or between the places in the kernel where
// they count, is not so each time.
func (m *Monitor) compare(ctx context.Context) error {
	var exiting int64
	var told uint64 // exits, when those that are not done were counted
	for try := range 25 {
		r, err := m.bothCounts(ctx)
		if err != nil {
			return err
		}
		underway := exiting
		if try > 2 {
			// Of those that began since nobody knows whether they are done.
			underway += int64(r.before[exit] - told)
		}
		agree := false
		m.locked(func() {
			m.counted = r
			if agree = !m.witness.based || m.witness.deviation(r, underway) == 0; agree {
				m.witness.failing = 0
			}
		})
		if agree {
			return nil
		}
		if ctx.Err() != nil {
			break
		}
		time.Sleep(4 * time.Millisecond)
		if try >= 2 { // they mostly agree by then, and this reads all of /proc
			told = counts(m.primary.Stats())[exit]
			exiting = exitingProcesses()
		}
	}
	m.locked(func() {
		if !m.witness.disagree {
			m.differ(m.witness.apart(m.counted))
		}
	})
	return nil
}
