package monitor

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/org/edamame-posture/pkg/credential"
	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/evidence"
	"github.com/org/edamame-posture/pkg/indicator"
	"github.com/org/edamame-posture/pkg/intent"
	"github.com/org/edamame-posture/pkg/judge"
	"github.com/org/edamame-posture/pkg/posture"
	"github.com/org/edamame-posture/pkg/process"
	"github.com/org/edamame-posture/pkg/redact"
	"github.com/org/edamame-posture/pkg/sensor"
	"github.com/org/edamame-posture/pkg/wire"
)

// recording is one watched thing: its scope in the process table, its log and
// its judge. The monitor's lock guards it.
type recording struct {
	id    string
	run   string // as the log calls it: the id, with what is before it
	bit   int
	spool string
	home  string
	cwd   string
	uid   uint32 // the caller's
	host  bool
	// policyFile and policySHA256 are as in [Opening].
	policyFile, policySHA256 string

	red   *redact.Redactor
	log   *evidence.Log
	judge *judge.Judge

	opened      int64
	commitment  event.SHA256
	committed   []byte
	checkpoint0 string      // the first checkpoint: the log's own is written over by the next
	parent      event.Actor // the process whose children are recorded
	root        event.Actor // the command, once it was forked
	disclosures int         // that were told
	rootExit    *int
	rootSig     int
	ev          event.Event
	found       []redact.Found
	dns         wire.DNSMessage
	streams     *wire.Streams // DNS over TCP, and heads that are still to be whole
	part        sensor.Record // one message of a stream
	asked       asked
	reads       bool // the sensor reads what goes over the sockets
	requests    bool // the policy limits HTTP requests
	broken      bool // its log could not be closed, or its verdict not be written
	beyond      map[uint64]beyond
	plains      plains
	images      *images // the monitor's
	quic        map[quicKey]*wire.QUIC

	// known are credential files by what they are, whatever their names.
	known   map[event.FileID]redact.Text
	adopter sensor.Adopter // nil where the sensor cannot

	digests *digester // nil where nobody asks what executed files hold

	pinned bool // see Monitor.pin

	transcripts      transcripts
	declared, untold int // declarations of agents, and those of them that count as refused or unread

	later *later // a policy that is still to come; nil where there is none
	anew  bool   // the log is judged once more at its end, by that policy

	audience *audience // who watches; nil where nobody can

	bell    *rung // who may end it; nil where a connection of root's does
	control string

	first bool // a fork was seen
	late  bool // see adoptPlaces

	containers  *containers                   // the monitor's
	inContainer map[redact.Text]seenContainer // containers that were told
	entered     map[redact.Text]bool          // containers in which another program than a runtime ran
	naming      *naming                       // the monitor's
	strangers   map[event.Actor]bool          // see stranger
	workers     *workers                      // the monitor's
	unnamed     map[uint32]unnamed            // steps, by their process
	clients     []client                      // of engines, that wait for their process

	// drop is what was asked to be taken from the job's user, dropped what was,
	// and notDropped why not all of it; survivors counts what the job left
	// running.
	drop       *Drop
	dropped    *posture.Dropped
	notDropped error
	survivors  int

	// before is what the machine was when this was opened, after when it ended.
	before, after *posture.Snapshot

	job *job // of a runner's; nil for what a client opened

	// growth and shown are what a witness is shown; growth is nil where there is
	// none. sealing guards shown.
	growth *evidence.Growth
	shown  *Shown
	dating dating // guarded by sealing

	// sealing is held while a checkpoint is made, and by who ends the log; it is
	// taken before the monitor's lock. unsigned is guarded by it.
	sealing  sync.Mutex
	closing  bool // no more checkpoints; guarded by the monitor's lock
	unsigned bool // that checkpoints are no longer signed was told

	// What the monitor could not say whose doing it was, when this was opened, and
	// whom it had turned away.
	unownedBefore, unresolvedBefore, turnedAwayBefore uint64
}

// The files of a recording's folder.
const (
	evidenceDir = "evidence"
	verdictFile = "verdict.json"
)

// maxDisk bounds a recording's compressed log in bytes.
const maxDisk = 2 << 30

// draft is a recording that is of nothing yet. What takes time is done, so that
// it can begin at any record.
type draft struct {
	*recording
	keys  evidence.Keys // nil for none; the log's own by now
	first [32]byte      // public key of the first checkpoint
	// intent is the canonical form, nil for none; rules is the digest of that of
	// the signatures.
	intent []byte
	rules  string
}

// discard takes a draft back that nothing came of.
func (d *draft) discard(m *Monitor) {
	if d.dropped != nil {
		_ = d.dropped.Restore()
	}
	if d.log != nil {
		d.log.Abort()
	} else if d.keys != nil {
		d.keys.Close()
	}
	m.own.leave(d.spool)
	_ = os.RemoveAll(d.spool)
}

// draft makes all of a recording that does not depend on whose it is. Its folder
// lies below dir; where that is empty, below the first of spoolRoots that works.
func (m *Monitor) draft(o *Opening, dir string) (d *draft, err error) {
	in, err := readIntent(o.Intent)
	if err != nil {
		return nil, err
	}
	pack, err := m.shipped()
	if err != nil {
		return nil, fmt.Errorf("signatures: %w", err)
	}
	if o.Signatures != nil {
		if pack, err = pack.With(o.Signatures); err != nil {
			return nil, fmt.Errorf("signatures as the client read them: %w", err)
		}
	}
	if len(o.Indicators) > 0 {
		own, err := indicator.Read(o.Indicators)
		if err == nil {
			pack, err = pack.WithIndicators(own)
		}
		if err != nil {
			return nil, fmt.Errorf("indicators as the client read them: %w", err)
		}
	}
	var id, spool string
	if dir == "" {
		id, spool, err = newSpool()
	} else {
		id, spool, err = newFolder(dir)
	}
	if err != nil {
		return nil, err
	}
	r := &recording{
		id: id, run: o.runs + id, spool: spool, host: o.Host, home: o.Home, cwd: o.Cwd, uid: o.uid, policyFile: o.PolicyFile, policySHA256: o.PolicySHA256,
		judge:   judge.New(in, pack),
		streams: wire.NewStreams(maxStreams),
		known:   map[event.FileID]redact.Text{},
		reads:   m.primary.Name() == "ebpf",
		beyond:  map[uint64]beyond{},
		images:  &m.images,

		requests:   in.Requests(),
		containers: m.containers, inContainer: make(map[redact.Text]seenContainer), entered: make(map[redact.Text]bool), naming: m.naming, strangers: make(map[event.Actor]bool),
		workers: &m.workers, unnamed: make(map[uint32]unnamed),
	}
	made := &draft{recording: r} // who returns nothing sets d to that
	d = made
	defer func() {
		if err != nil {
			made.discard(m)
		}
	}()
	var key [32]byte
	if _, err := rand.Read(key[:]); err != nil {
		return nil, err
	}
	r.red = redact.New(key, redact.Options{Masked: slices.Concat(o.Masked, slices.Collect(maps.Values(o.Keys)))})
	if o.Later != "" && !in.Present() {
		// What it limits is not known yet, so it is all kept.
		r.later, r.requests = &later{path: o.Later}, true
	}
	r.judge.OnFinding = func(f *judge.Finding) {
		m.sealSoon()
		if o.found != nil {
			o.found(f)
		}
	}
	if in.Digests() || pack.Indicators().Files() {
		r.digests = newDigester(m, r)
	}
	if o.Bell != nil {
		if r.bell, err = newRung(o.Bell); err != nil {
			return nil, err
		}
	}
	r.adopter, _ = m.primary.(sensor.Adopter)
	m.own.folder(spool)
	if o.Witnessed {
		r.growth = evidence.NewGrowth()
	}
	d.keys, d.first = m.keys()
	log, err := evidence.Create(filepath.Join(spool, evidenceDir), evidence.Options{
		Run: r.run, MaxBytes: maxDisk, Own: r.judge.Apply, Keys: d.keys, Growth: r.growth,
		Made: func(path string) { m.own.file(r.adopter, path) },
	})
	if err != nil {
		return nil, err
	}
	r.log = log
	rules := pack.Canonical()
	d.rules = digest(rules)
	if in.Present() {
		d.intent = in.Canonical()
		err = r.log.Input(evidence.IntentInput, d.intent)
	}
	if err = errors.Join(err, r.log.Input(evidence.SignaturesInput, rules)); err != nil {
		return nil, err
	}
	return d, nil
}

// Open begins a recording of what the process peer starts from now on.
func (m *Monitor) Open(o Opening, peer uint32) (r *recording, err error) {
	d, err := m.draft(&o, "")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			d.discard(m)
		}
	}()
	r = d.recording
	if o.Drop != nil {
		r.takePower(o.Drop)
	}
	looked := r.look(false)
	r.adoptPlaces(o.Home, o.Cwd)
	// What happened before is no part of it, also where it is not yet read.
	ctx, cancel := context.WithTimeout(context.Background(), drainWithin)
	defer cancel()
	if err := m.primary.Drain(ctx); err != nil {
		return nil, fmt.Errorf("sensor %s does not answer: %w", m.primary.Name(), err)
	}
	r.before = <-looked
	r.sealing.Lock()
	defer r.sealing.Unlock()
	m.mu.Lock()
	defer m.mu.Unlock()
	client := m.table.Find(peer, 0)
	root := client
	if o.Parent != 0 {
		for root != nil && root.Actor.PID != o.Parent {
			root = root.Parent
		}
	}
	if root == nil {
		return nil, fmt.Errorf("process %d is not an ancestor of the client: only its own can be watched", o.Parent)
	}
	if err = m.begin(d, &o, root, client); err != nil {
		return nil, err
	}
	// On the disk before anything runs: a monitor that is stopped or killed at
	// once leaves a log that says what it was of.
	_ = r.log.Checkpoint(boottime())
	r.checkpoint0 = string(r.log.Note())
	if r.growth != nil {
		// Where that checkpoint could not be written there is nothing to be shown.
		_ = r.prove()
	}
	m.admit(r, root)
	return r, nil
}

// begin writes the first lines of a recording of what root starts; client is
// who asked for it. It is called with the monitor's lock held.
func (m *Monitor) begin(d *draft, o *Opening, root, client *process.Process) (err error) {
	r := d.recording
	r.bit = slices.Index(m.recs[:], nil)
	if r.bit < 0 {
		return fmt.Errorf("%d recordings are open already: close one first", len(m.recs))
	}
	if r.bell != nil {
		if err = r.bell.hang(root, client); err != nil {
			return err
		}
	}
	if r.commitment, err = m.commit(d, o, root, client); err != nil {
		return err
	}
	r.parent = root.Actor
	r.unownedBefore, r.unresolvedBefore, r.turnedAwayBefore = m.unowned, unresolved(m.table.Stats()), m.turnedAway
	r.start(m, *o, root)
	return nil
}

// admit gives a recording that has begun what is its own from now on.
func (m *Monitor) admit(r *recording, root *process.Process) {
	m.table.TagChildren(root.Actor.PID, root.Actor.Start, r.bit)
	m.recs[r.bit] = r
	if r.bell != nil {
		m.bells++
	}
	// Rules were compiled and the machine was looked at, once: what that left
	// behind would stay for as long as the job runs. Not now: the job waits.
	time.AfterFunc(time.Second, debug.FreeOSMemory)
}

// drainWithin is how long a sensor may take to hand over what it has.
const drainWithin = 5 * time.Second

// adoptWithin is how long credential files are looked for before a recording
// begins. A folder on a network that does not answer must not hold it up.
const adoptWithin = 100 * time.Millisecond

// adoptPlaces has the credential files that are there already watched for what
// they are: a hard link to one has another name.
func (r *recording) adoptPlaces(folders ...string) {
	if r.adopter == nil {
		return
	}
	select {
	case r.known = <-r.places(folders...):
	case <-time.After(adoptWithin):
		r.late = true
	}
}

// lateCredentials is noted where they were not found in time.
var lateCredentials = redact.Const("credential files that are there already were not found in time: they are known by their names alone")

// places begins to look for the credential files that are there already.
func (r *recording) places(folders ...string) <-chan map[event.FileID]redact.Text {
	found := make(chan map[event.FileID]redact.Text, 1)
	go func() {
		known := map[event.FileID]redact.Text{}
		for _, place := range credential.Places(folders...) {
			paths, err := filepath.Glob(place)
			if err != nil {
				continue
			}
			for _, p := range paths {
				class, ok := credential.Classify(p, r.home)
				if !ok || len(known) == maxKnown {
					continue
				}
				if id, err := r.adopter.Adopt(unix.AT_FDCWD, p, false); err == nil {
					known[id] = class.Name
					known[event.FileID{Inode: id.Inode}] = class.Name
				}
			}
		}
		found <- known
	}()
	return found
}

func readIntent(canonical []byte) (*intent.Resolved, error) {
	if len(canonical) == 0 {
		return intent.None(), nil
	}
	in, err := intent.ReadResolved(canonical)
	if err != nil {
		return nil, fmt.Errorf("intent as the client resolved it: %w", err)
	}
	return in, nil
}

// start writes the first events: what this is, what watches, and the chain of
// processes that leads to the client.
func (r *recording) start(m *Monitor, o Opening, client *process.Process) {
	now := boottime()
	r.opened = now
	host, _ := os.Hostname()
	boot, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	ev := r.blank(event.Start, now)
	ev.Actor = client.Actor
	ev.Version = event.Version
	if id, ok := redact.HexID(string(trimNewline(boot))); ok {
		ev.Boot = id
	}
	ev.Wall = time.Now().UnixNano()
	ev.Host = r.red.String(host)
	ev.Job = r.red.String(o.Job)
	ev.Tool = r.red.String(m.opt.Tool)
	ev.Cwd = r.red.String(o.Cwd)
	ev.Path = r.red.String(o.Home)
	ev.Sensor = sensorText(m.primary.Name())
	var raw []byte
	for _, a := range o.Command {
		raw = append(append(raw, a...), 0)
	}
	r.argv(ev, raw)
	ev.ArgvBytes = len(raw)
	if o.Host {
		ev.Detail = redact.Const("host")
	}
	ev.SHA256 = r.commitment
	r.append(ev)

	var monitor event.Actor
	if p := m.table.Find(m.self, 0); p != nil {
		monitor = p.Actor
	}
	r.sensorUp(now, m.primary, redact.Const("primary"), monitor, m.without)
	if m.second != nil {
		r.sensorUp(now, m.second, redact.Const("witness"), monitor, nil)
	}
	for p := range m.problems {
		r.gap(m.primary.Name(), p, now, now, 0)
	}
	if why := m.sockets.whyNot; why != "" {
		r.note(r.red.String("second witness: "+why), 0)
	}
	r.existing(now, client)
	r.resolvers(now, client.Actor.PID)
	r.keys(now, o.Keys)
	if r.late {
		r.note(lateCredentials, 0)
	}
	if o.Scanned {
		r.note(redact.Const("the command's output goes through a pipe or a terminal of its own, and is searched for secrets"), 0)
	}
	if r.digests != nil && m.primary.Name() == "netlink" {
		r.note(redact.Const("executed files are digested as far as /proc shows them: of a program that ended before it could be looked at nothing is known"), 0)
	}
	if o.Parent == 0 {
		r.inherited(now, client)
	}
	if r.policyFile != "" {
		ev := r.blank(event.Note, now)
		ev.Detail, ev.Path = redact.Const("the policy's file"), r.red.Path([]byte(r.policyFile))
		ev.SHA256, _ = event.ParseSHA256(r.policySHA256)
		r.append(ev)
	}
	r.tellPower(now)
	if r.before != nil {
		r.tellPosture(now, r.before, redact.Const("start"))
	}
}

func (r *recording) sensorUp(now int64, s sensor.Sensor, role redact.Text, monitor event.Actor, without []string) {
	ev := r.blank(event.SensorUp, now)
	ev.Actor = monitor
	ev.Sensor, ev.Detail = sensorText(s.Name()), role
	for _, missing := range slices.Concat(s.Stats().Missing, without) {
		ev.Argv = append(ev.Argv, r.red.String(missing))
	}
	r.append(ev)
}

// existing tells of the processes above the client, outermost first, so that
// lineages reach up to them.
func (r *recording) existing(now int64, client *process.Process) {
	var chain []*process.Process
	for p := client; p != nil && len(chain) < 64; p = p.Parent {
		chain = append(chain, p)
	}
	for i := len(chain) - 1; i >= 0; i-- {
		r.exists(now, chain[i])
	}
}

// exists tells of a process that was there before.
func (r *recording) exists(now int64, p *process.Process) {
	ev := r.blank(event.Existing, now)
	ev.Actor = p.Actor
	if p.Parent != nil {
		ev.Parent = p.Parent.Actor
	}
	r.describe(ev, p.Actor.PID)
	r.append(ev)
	if p.StepRoot() {
		r.existingStep(ev, p)
	}
}

// resolvers tells which resolvers the machine is configured with, as the
// client sees it: an answer of any other is a claim.
func (r *recording) resolvers(now int64, client uint32) {
	seen := map[netip.Addr]bool{}
	for _, path := range []string{fmt.Sprintf("/proc/%d/root/etc/resolv.conf", client), "/run/systemd/resolve/resolv.conf"} {
		conf, err := readBounded(path, 64<<10)
		if err != nil {
			continue
		}
		for _, addr := range nameservers(conf) {
			if seen[addr] || len(seen) == maxResolvers {
				continue
			}
			seen[addr] = true
			ev := r.blank(event.Note, now)
			ev.Detail, ev.Dst = redact.Const("resolver"), netip.AddrPortFrom(addr, 53)
			r.append(ev)
		}
	}
}

// maxResolvers bounds the resolvers that are told.
const maxResolvers = 16

// nameservers returns the addresses of resolv.conf(5).
func nameservers(conf []byte) []netip.Addr {
	var out []netip.Addr
	for line := range bytes.Lines(conf) {
		f := bytes.Fields(line)
		if len(f) < 2 || string(f[0]) != "nameserver" {
			continue
		}
		if addr, err := netip.ParseAddr(string(f[1])); err == nil {
			out = append(out, addr.WithZone(""))
		}
	}
	return out
}

// inherited tells of credential files that the client holds open: what it
// starts may read them without opening anything.
func (r *recording) inherited(now int64, client *process.Process) {
	dir := fmt.Sprintf("/proc/%d/fd/", client.Actor.PID)
	fds, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, fd := range fds {
		path, err := os.Readlink(dir + fd.Name())
		if err != nil || len(path) == 0 || path[0] != '/' {
			continue
		}
		class, ok := credential.Classify(path, r.home)
		if !ok {
			continue
		}
		ev := r.blank(event.Open, now)
		ev.Via = event.ViaLineage
		ev.Actor, ev.Path, ev.Access, ev.Class = client.Actor, r.red.Path([]byte(path)), event.Read, class.Name
		ev.Detail = redact.Const("was open before")
		r.append(ev)
	}
}

// describe reads what /proc knows of a process that was there before.
func (r *recording) describe(ev *event.Event, pid uint32) {
	dir := fmt.Sprintf("/proc/%d/", pid)
	if exe, err := os.Readlink(dir + "exe"); err == nil {
		ev.Exe = r.red.Path([]byte(exe))
	}
	if cwd, err := os.Readlink(dir + "cwd"); err == nil {
		ev.Cwd = r.red.Path([]byte(cwd))
	}
	if raw, err := readBounded(dir+"cmdline", 128<<10); err == nil {
		r.argv(ev, raw)
		ev.ArgvBytes = len(raw)
	}
	if st, err := os.Stat(dir); err == nil {
		if sys, ok := st.Sys().(*syscall.Stat_t); ok {
			ev.UID, ev.GID = sys.Uid, sys.Gid
		}
	}
}

// blank returns the recording's event, empty but for kind and time.
func (r *recording) blank(k event.Kind, now int64) *event.Event {
	r.ev.Reset()
	r.ev.Kind, r.ev.Time, r.ev.Via = k, now, event.ViaMonitor
	return &r.ev
}

// append gives the event to the log and, as it stands there, to the judge.
func (r *recording) append(ev *event.Event) {
	if err := r.log.Append(ev); err != nil {
		// The log counts what it refuses, and tells it by a gap of its own.
		return
	}
	r.judge.Apply(ev)
	if r.audience != nil {
		r.audience.saw(ev, r.judge)
	}
}

func (r *recording) gap(sensor, what string, from, to int64, lost uint64) {
	ev := r.blank(event.SensorGap, boottime())
	ev.Sensor, ev.Detail = sensorText(sensor), r.red.String(what)
	ev.From, ev.To, ev.Lost = from, to, lost
	r.append(ev)
}

func (r *recording) canary(sensor string, ok bool, what redact.Text, from, to int64) {
	ev := r.blank(event.Canary, to)
	ev.Sensor, ev.OK, ev.Detail, ev.From, ev.To = sensorText(sensor), ok, what, from, to
	r.append(ev)
}

func (r *recording) clockStep(step int64) {
	ev := r.blank(event.ClockStep, boottime())
	ev.Wall, ev.Step = time.Now().UnixNano(), step
	r.append(ev)
}

var (
	witnessedText = [3]redact.Text{redact.Const("fork"), redact.Const("exec"), redact.Const("exit")}
	socketText    = redact.Const("socket")
)

// witness writes what both witnesses counted, with the difference that was
// there at arming taken out, and how many of the connected sockets that one of
// them lists the other has told of.
func (r *recording) witness(both reading, base [3]int64, open *sockets, disagree bool) {
	ev := r.blank(event.Witness, boottime())
	for i := range both.netlink {
		ev.Counts = append(ev.Counts, event.Count{What: witnessedText[i], EBPF: both.after[i], Netlink: uint64(int64(both.netlink[i]) - base[i])})
	}
	if open.compared {
		ev.Counts = append(ev.Counts, event.Count{What: socketText, EBPF: open.both, Netlink: open.both + uint64(len(open.missed))})
	}
	ev.OK = !disagree
	r.append(ev)
}

// finish ends the recording: everything that happened before is in the log,
// then what is left running, the last checkpoint and the verdict. why is empty
// where the command's own end was the reason.
func (m *Monitor) finish(r *recording, c Closing, why string) *judge.Verdict {
	looked := r.look(true)
	late := m.settle()
	changed := m.policyChanged(r)
	m.round(false)
	if err := m.settle(); late == nil {
		late = err
	}
	if r.digests != nil {
		r.digests.wait()
	}
	m.awaitHeld()
	m.awaitCalled(r)
	m.lastNames()
	after := <-looked
	written := m.readTranscripts(r)
	r.sealing.Lock()
	defer r.sealing.Unlock()
	now := m.end(r, c, why, late, changed, after, written)
	v, err := r.seal(now)
	if err != nil {
		m.opt.Logf("the recording could not be closed: %v", err)
		r.broken = true
	}
	return v
}

// end writes the last events of a recording and takes it out of the monitor.
func (m *Monitor) end(r *recording, c Closing, why string, late error, changed bool, after *posture.Snapshot, written []transcript) (now int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now = boottime()
	if late != nil {
		r.gap(m.primary.Name(), "not everything was handed over in time: "+late.Error(), now, now, 0)
	}
	if why != "" {
		r.gap(m.primary.Name(), why, now, now, 0)
	}
	if !m.canary.sawExec || !m.canary.sawConn {
		r.canary(m.primary.Name(), false, redact.Const("the monitor's own exec or connect was not seen at the end"), m.lastCanary, now)
	}
	if m.second != nil {
		r.witness(m.counted, m.witness.base, m.sockets, m.witness.disagree)
	}
	m.tellUnattributed(r, now)
	if changed {
		ev := r.blank(event.Note, now)
		ev.Detail = redact.Const("policy-changed: the policy's file is another than it was; what was read first counts")
		ev.Path = r.red.Path([]byte(r.policyFile))
		r.append(ev)
	}
	r.after = after
	r.tellDrift(now, after)
	if r.bell != nil && r.bell.refused > maxRefused {
		r.note(redact.Const("requests for the end that were refused, beyond those that are told"), uint64(r.bell.refused-maxRefused))
	}
	r.tellTranscripts(now, written)
	if n := max(r.declared-maxDeclaredOf, 0) + max(r.untold-maxToldRefused, 0); n > 0 {
		r.note(redact.Const("declarations of agents beyond those that are told"), uint64(n))
	}
	if n := m.turnedAway - r.turnedAwayBefore; n > 0 {
		r.note(redact.Const("declarations that found no room, on the whole machine: too many came at once"), n)
	}
	if r.digests != nil {
		r.digests.end()
	}
	r.latePlain(now, true)
	if n := r.streams.Dropped(); n > 0 {
		r.note(redact.Const("pieces of streams for which there was no room: names in them are not told"), n)
	}
	if r.disclosures > maxDisclosures {
		r.note(redact.Const("secrets that the command printed beyond those that are told"), uint64(r.disclosures-maxDisclosures))
	}
	if err := r.log.Full(); err != nil {
		m.opt.Logf("the log is not whole: %v", err)
	}
	r.uncalled()
	ev := r.blank(event.End, now)
	ev.Wall = time.Now().UnixNano()
	ev.Actor = r.root
	ev.Code, ev.Signal = c.Exit, c.Signal
	if r.rootExit != nil {
		ev.Code, ev.Signal = *r.rootExit, r.rootSig
	}
	asks := map[event.Actor]bool{}
	if c.by != 0 {
		for p := m.table.Find(c.by, 0); p != nil; p = p.Parent {
			asks[p.Actor] = true
		}
	}
	for _, p := range m.table.Living(r.bit) {
		if len(ev.Survivors) == maxSurvivors {
			break
		}
		if asks[p.Actor] || p.Via(r.bit) == event.ViaHost {
			continue
		}
		s := event.Survivor{Actor: p.Actor}
		if exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", p.Actor.PID)); err == nil {
			s.Exe = r.red.Path([]byte(exe))
		}
		ev.Survivors = append(ev.Survivors, s)
	}
	r.survivors = len(ev.Survivors)
	r.append(ev)
	if r.job != nil {
		m.jobs.outlived(m, r)
	}
	r.closing = true
	m.recs[r.bit] = nil
	if r.bell != nil {
		m.bells--
	}
	m.table.Untag(r.bit)
	m.own.leave(r.spool)
	if r.pinned {
		_ = os.Remove(pinOf(r.id))
	}
	return now
}

// tellUnattributed says how much happened on the machine of which nobody knows
// whose doing it was. Some of it may be the job's. Where sockets are polled
// that is a loss; elsewhere it is what was under way before the sensor came.
func (m *Monitor) tellUnattributed(r *recording, now int64) {
	if n := m.unowned - r.unownedBefore; n > 0 {
		if m.primary.Name() == "netlink" {
			r.gap(m.primary.Name(), "connections whose process was gone before it could be found", r.opened, now, n)
		} else {
			r.note(redact.Const("socket records without a process, on the whole machine"), n)
		}
	}
	if n := unresolved(m.table.Stats()) - r.unresolvedBefore; n > 0 {
		r.note(redact.Const("records of processes that were never seen to begin, on the whole machine"), n)
	}
}

func unresolved(s process.Stats) uint64 { return s.Unresolved + s.Overflow }

// policyChanged reports whether the file of the policy is another than at the
// start, or gone, or does not answer. Only that leaves it: the path may lead
// anywhere by now. It is asked without the monitor's lock, since a file system
// of the job's own need never answer.
func (m *Monitor) policyChanged(r *recording) bool {
	m.mu.Lock()
	file, want := r.policyFile, r.policySHA256
	m.mu.Unlock()
	if file == "" {
		return false
	}
	changed := make(chan bool, 1)
	go func() {
		digest, err := digestOf(file)
		changed <- err != nil || digest != want
	}()
	select {
	case c := <-changed:
		return c
	case <-time.After(answerWithin):
		return true
	}
}

const (
	// answerWithin is how long the file of the policy is waited for.
	answerWithin = 5 * time.Second
	// maxPolicyFile bounds what is read of it: one that is larger is no policy.
	maxPolicyFile = 2 << 20
)

// digestOf returns the SHA-256 of a regular file, in hexadecimal. Nothing else
// is opened: opening a device can do something.
func digestOf(path string) (string, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return "", err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return "", fmt.Errorf("%s is not a regular file", path)
	}
	f, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", fd))
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, io.LimitReader(f, maxPolicyFile)); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

func (r *recording) note(what redact.Text, n uint64) {
	ev := r.blank(event.Note, boottime())
	ev.Detail, ev.Count = what, n
	r.append(ev)
}

// maxSurvivors bounds the list of processes left running.
const maxSurvivors = 256

// seal closes the log and writes the verdict beside it.
func (r *recording) seal(now int64) (*judge.Verdict, error) {
	again := r.anew || r.log.Full() != nil
	_, err := r.log.Close(evidence.Closing{Boottime: now, Judge: judge.Version})
	v := r.judge.Verdict()
	if again {
		// A write that failed may have taken lines back that were judged: the
		// verdict is of the log as it is. Or what was declared came last.
		if again, rerr := rejudge(filepath.Join(r.spool, evidenceDir)); rerr == nil {
			v = again
		} else {
			err = errors.Join(err, rerr)
		}
	}
	return v, errors.Join(err, writeNew(filepath.Join(r.spool, verdictFile), v.Encode()))
}

func rejudge(dir string) (*judge.Verdict, error) {
	e, err := evidence.OpenPartial(dir)
	if err != nil {
		return nil, err
	}
	defer e.Close()
	in, err := e.Inputs()
	if err != nil {
		return nil, err
	}
	j, err := e.Replay(in)
	if err != nil {
		return nil, err
	}
	return j.Verdict(), nil
}

func writeNew(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Close()); err != nil {
		_ = os.Remove(path) // half of it would stand for the whole
	}
	return err
}

func sensorText(name string) redact.Text {
	switch name {
	case "ebpf":
		return redact.Const("ebpf")
	case "netlink":
		return redact.Const("netlink")
	case "log":
		return redact.Const("log")
	}
	return redact.Const("other")
}

func trimNewline(b []byte) []byte {
	for len(b) > 0 && b[len(b)-1] == '\n' {
		b = b[:len(b)-1]
	}
	return b
}
