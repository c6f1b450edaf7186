package monitor

import (
	"context"
	"fmt"
	"time"

	"github.com/org/edamame-posture/pkg/redact"
)

// lateAfter is how late a tick may come before it is told: the monitor was
// stopped, starved, or the machine slept.
const lateAfter = 2 * Interval

// clockStepAfter is the least jump of the wall clock that is told.
const clockStepAfter = int64(500 * time.Millisecond)

// tick runs the round of each interval: canary, losses, witnesses, clocks,
// checkpoint.
func (m *Monitor) tick() {
	defer close(m.done)
	m.rounds.Lock()
	m.canary.run(m.locked)
	m.rounds.Unlock()
	t := time.NewTicker(Interval)
	defer t.Stop()
	for {
		select {
		case <-m.stop:
			return
		case <-t.C:
		}
		m.round(true)
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
	for _, s := range m.primary.Check() {
		m.problem("sensor " + m.primary.Name() + ": " + s)
	}
	if m.second != nil {
		for _, s := range m.second.Check() {
			m.problem("second witness: " + s)
		}
	}
	first, lost := m.primary.Stats(), uint64(0)
	now := boottime()
	m.mu.Lock()
	if l := losses(first); l > m.lastLost {
		lost, m.lastLost = l-m.lastLost, l
	}
	from := m.lastTick
	late := now - from
	m.lastTick = now
	step := wallOffset() - m.wallOffset
	if step > clockStepAfter || step < -clockStepAfter {
		m.wallOffset += step
	} else {
		step = 0
	}
	disagree := m.second != nil && m.witness.read(counts(first), counts(m.second.Stats()))
	execSeen, connSeen, launched := m.canary.sawExec, m.canary.sawConn, m.canary.launched
	for _, r := range m.open() {
		switch {
		case !launched:
		case execSeen && connSeen:
			r.canary(m.primary.Name(), true, redact.Text{}, from, now)
		case !execSeen:
			r.canary(m.primary.Name(), false, redact.Const("the monitor's own exec was not seen"), from, now)
		default:
			r.canary(m.primary.Name(), false, redact.Const("the monitor's own connect was not seen"), from, now)
		}
		if lost > 0 {
			r.gap(m.primary.Name(), "records lost", from, now, lost)
		}
		if late > int64(lateAfter) {
			r.gap(m.primary.Name(), "the monitor did not run", from, now, 0)
		}
		if step != 0 {
			r.clockStep(step)
		}
		if m.second != nil {
			r.witness(first, m.second.Stats(), m.witness.base, disagree || m.witness.disagree)
		}
		if checkpoint {
			r.checkpoint(now)
		}
	}
	m.mu.Unlock()
	m.canary.run(m.locked)
}

// problem tells each open recording, once, of something that is not as it was
// armed. Recordings that are opened later hear of it at their start.
func (m *Monitor) problem(what string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.problems[what] {
		return
	}
	m.problems[what] = true
	m.opt.Logf("%s", what)
	for _, r := range m.open() {
		r.gap(m.primary.Name(), what, m.lastTick, boottime(), 0)
	}
}

// settle returns when everything that happened before the call is in the log,
// or says that it could not wait for it. It also compares the witnesses a last
// time: they are read until they agree, since what other processes do
// meanwhile moves both.
func (m *Monitor) settle() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := m.primary.Drain(ctx); err != nil {
		return fmt.Errorf("sensor %s: %w", m.primary.Name(), err)
	}
	if m.second == nil {
		return nil
	}
	least, before := int64(-1), counts(m.primary.Stats())
	for range 25 {
		if err := m.second.Drain(ctx); err != nil {
			return fmt.Errorf("second witness: %w", err)
		}
		if err := m.primary.Drain(ctx); err != nil {
			return fmt.Errorf("sensor %s: %w", m.primary.Name(), err)
		}
		m.mu.Lock()
		dev := m.witness.deviation(counts(m.primary.Stats()), counts(m.second.Stats()))
		m.mu.Unlock()
		if least < 0 || dev < least {
			least = dev
		}
		if dev == 0 || ctx.Err() != nil {
			break
		}
		time.Sleep(4 * time.Millisecond)
	}
	after := counts(m.primary.Stats())
	m.mu.Lock()
	m.witness.settle(before, after, least)
	m.mu.Unlock()
	return nil
}
