package monitor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/org/edamame-posture/pkg/barrier"
	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/evidence"
	"github.com/org/edamame-posture/pkg/process"
	"github.com/org/edamame-posture/pkg/seal"
	"github.com/org/edamame-posture/pkg/signature"
)

// sealWithin is how long a signature is waited for. Were it never given up, a
// process that was stopped would end all checkpoints.
const sealWithin = 5 * time.Second

// afterFinding is the least time between two checkpoints that findings asked
// for: a job that causes findings by the thousand shall not cause signatures.
const afterFinding = 100 * time.Millisecond

// prepared are keys that are made while the sensors are armed.
type prepared struct{ made chan madeKeys }

type madeKeys struct {
	chain *seal.Chain
	err   error
}

// prepare makes, beside arming, what other processes do meanwhile: keys, and the
// barrier.
func (m *Monitor) prepare() <-chan guarded {
	if !m.opt.Sealed {
		up := make(chan guarded, 1)
		up <- guarded{}
		return up
	}
	p := &prepared{make(chan madeKeys, 1)}
	m.ahead.Store(p)
	go func() {
		chain, err := seal.NewChain()
		p.made <- madeKeys{chain, err}
	}()
	return raise()
}

// prepareFirst makes what the first recording would wait for: the rules, and the
// digest of the program.
func (m *Monitor) prepareFirst() {
	m.rules = compileRules()
	go programDigest()
}

// rules are the shipped ones, compiled beside what else is done.
type rules struct {
	made chan struct{}
	pack *signature.Pack
	err  error
}

func compileRules() *rules {
	s := &rules{made: make(chan struct{})}
	go func() {
		defer close(s.made)
		s.pack, s.err = signature.Default()
	}()
	return s
}

// shipped returns the shipped rules, which all recordings share: to compile
// them takes a tenth of a second, and a job may begin while records wait.
func (m *Monitor) shipped() (*signature.Pack, error) {
	<-m.rules.made
	return m.rules.pack, m.rules.err
}

// unprepare gives up keys that no recording has taken.
func (m *Monitor) unprepare() {
	if p := m.ahead.Swap(nil); p != nil {
		if made := <-p.made; made.err == nil {
			made.chain.Close()
		}
	}
}

// keys returns those that sign the checkpoints of a new recording, and the
// first one's public half. Where there are none the recording goes on without:
// its commitment and its checkpoints say so.
func (m *Monitor) keys() (keys evidence.Keys, first [32]byte) {
	if !m.opt.Sealed {
		return nil, first
	}
	var chain *seal.Chain
	var err error
	if ahead := m.ahead.Swap(nil); ahead != nil {
		p := <-ahead.made
		chain, err = p.chain, p.err
	} else {
		chain, err = seal.NewChain()
	}
	if err == nil {
		if first, _, err = chain.Keys(context.Background()); err == nil {
			return chain, first
		}
		chain.Close()
	}
	m.opt.Logf("checkpoints are not signed: %v", err)
	return nil, [32]byte{}
}

// seal makes a checkpoint of what the log of r holds and signs it. It is on
// the disk with the next sync.
//
// It reports whether it is: a machine that is short of time may have no key yet.
func (m *Monitor) seal(ctx context.Context, r *recording) bool {
	r.sealing.Lock()
	defer r.sealing.Unlock()
	return m.sealHeld(ctx, r)
}

// sealHeld is seal for who holds sealing already.
func (m *Monitor) sealHeld(ctx context.Context, r *recording) bool {
	m.mu.Lock()
	var c *evidence.Begun
	if !r.closing {
		// A log that stopped here tells it in its own gap, and at the close.
		c, _ = r.log.Begin(boottime())
	}
	m.mu.Unlock()
	if c == nil {
		return true
	}
	err := c.Write(ctx)
	if errors.Is(err, evidence.ErrNotYet) {
		return false
	}
	if err == nil && (r.log.Unsigned() == nil || r.unsigned) {
		return true
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err != nil {
		_ = r.log.Failed(err)
	}
	if why := r.log.Unsigned(); why != nil && !r.unsigned {
		r.unsigned = true
		now := boottime()
		r.gap("log", fmt.Sprintf("checkpoints are no longer signed: %v", why), now, now, 0)
	}
	return err == nil
}

// sealAll seals every open recording, and reports whether all are.
func (m *Monitor) sealAll(ctx context.Context) bool {
	m.mu.Lock()
	open := m.open()
	m.mu.Unlock()
	all := true
	for _, r := range open {
		all = m.seal(ctx, r) && all
	}
	return all
}

// sync brings the log of r to the disk, away from the way of events.
func (m *Monitor) sync(r *recording) {
	if err := r.log.Sync(); err != nil {
		m.mu.Lock()
		defer m.mu.Unlock()
		if !r.closing {
			_ = r.log.Failed(err)
		}
	}
}

// sealSoon asks for a checkpoint because of a finding. It does not wait.
func (m *Monitor) sealSoon() {
	select {
	case m.soon <- struct{}{}:
	default:
	}
}

// guarded is a barrier that is up, or why there is none. Both are nil where none
// was asked for.
type guarded struct {
	barrier *barrier.Barrier
	err     error
}

// raise puts up the barrier before programs that give power. Looking for them
// takes a while, in which the sensors are armed.
func raise() <-chan guarded {
	up := make(chan guarded, 1)
	go func() {
		b, err := barrier.Start(barrier.Programs())
		up <- guarded{b, err}
	}()
	return up
}

// hold answers the barrier: what led to the exec that waits is read, told and
// sealed first. It returns when the guard is gone.
func (m *Monitor) hold(b *barrier.Barrier) {
	defer close(m.held)
	for {
		h, err := b.Next()
		if err != nil {
			select {
			case <-m.stop:
			default:
				m.problem("the barrier before programs that give power is gone")
			}
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), barrier.Patience)
		if h.Missed {
			_ = m.catchUp(ctx) // whose it is may not be read yet
			m.tellHeld(h)
			cancel()
			continue
		}
		sealed := false
		if err := m.primary.Drain(ctx); err == nil {
			m.tellHeld(h)
			sealed = m.sealAll(ctx)
		}
		late := ctx.Err() != nil
		cancel()
		if sealed && !late {
			// An error means that the guard is gone, as Next will say.
			_ = b.Answer(h.ID)
		}
	}
}

// heldWithin is how long the end of a recording waits for what the guard said.
const heldWithin = time.Second

// awaitHeld returns when what the guard has said is told: of an exec that waited
// in vain it is said late.
func (m *Monitor) awaitHeld() {
	if m.barrier == nil {
		return
	}
	for end := time.Now().Add(heldWithin); !m.barrier.Told() && time.Now().Before(end); {
		select {
		case <-m.held:
			return // nobody tells any more
		case <-time.After(time.Millisecond):
		}
	}
}

// tellHeld writes an exec that waits, or waited in vain, into the recordings
// that it is part of.
func (m *Monitor) tellHeld(h barrier.Held) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var p *process.Process
	if h.PID != 0 {
		p = m.table.Find(h.PID, 0)
	}
	// A miss of a process whose lineage nobody knows may be anybody's.
	unknown := p == nil || p.Parent == nil && p.Actor.PID != 1
	for bit, r := range m.recs {
		if r == nil {
			continue
		}
		inside := p != nil && p.Tags.Has(bit)
		if !inside && !r.host && !(h.Missed && unknown) {
			continue
		}
		ev := r.blank(event.Barrier, boottime())
		ev.Via = event.ViaHost
		if inside {
			ev.Via = p.Via(bit)
		}
		if p != nil {
			ev.Actor = p.Actor
		}
		ev.OK = !h.Missed
		ev.Path = r.red.Path([]byte(h.Path))
		r.append(ev)
	}
}
