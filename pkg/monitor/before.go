package monitor

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/evidence"
	"github.com/org/edamame-posture/pkg/process"
	"github.com/org/edamame-posture/pkg/redact"
)

// commit writes the commitment: what this recording is of and what was there
// before it, under the key of its first checkpoint. It returns its hash, which
// the start event names.
func (m *Monitor) commit(d *draft, o *Opening, root, client *process.Process) (event.SHA256, error) {
	r := d.recording
	c := evidence.Commitment{
		Version: 1, Claims: o.Claims, Origin: evidence.Origin(r.run),
		Key:    base64.StdEncoding.EncodeToString(d.first[:]),
		Tool:   evidence.Tool{Version: m.opt.Tool, SHA256: programDigest()},
		Sensor: m.primary.Name(), Intent: "none", Signatures: d.rules,
		Boottime: boottime(), Wall: time.Now().UnixNano(),
		Namespaces: namespaces(), Modules: modules(), Before: m.before(root, client),
	}
	if o.Claims != nil {
		c.Slot = o.Claims.Slot()
	}
	switch {
	case d.intent != nil:
		c.Intent = digest(d.intent)
	case r.later != nil:
		c.Intent = evidence.IntentLater
	}
	if boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id"); err == nil {
		c.Boot = string(trimNewline(boot))
	}
	if m.barrier != nil {
		c.Barriers = len(m.barrier.Marked)
	}
	b, err := c.Encode()
	if err != nil {
		return event.SHA256{}, err
	}
	r.committed = b
	return event.SHA256(sha256.Sum256(b)), r.log.Attach(evidence.CommitmentFile, b)
}

// maxAttached bounds a file that a client attaches, in bytes.
const maxAttached = 1 << 20

// attach puts what others say of the commitment beside the log, which names its
// hash: once each, and not the commitment itself.
func (m *Monitor) attach(r *recording, a Attached) error {
	what, ok := map[string]redact.Text{
		evidence.StartTokenFile:  redact.Const("start token"),
		evidence.StartBundleFile: redact.Const("start statement"),
		evidence.RecordFile:      redact.Const("first record"),
	}[a.Name]
	if !ok || len(a.Data) == 0 || len(a.Data) > maxAttached {
		return fmt.Errorf("attach: %.80q of %d bytes is nothing that goes beside a log", a.Name, len(a.Data))
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := r.log.Attach(a.Name, a.Data); err != nil {
		return fmt.Errorf("attach: %w", err)
	}
	ev := r.blank(event.Note, boottime())
	ev.Detail, ev.SHA256 = what, event.SHA256(sha256.Sum256(a.Data))
	r.append(ev)
	return nil
}

// before lists what may act on the recording without being part of it: what
// the process whose children are recorded has started already, containers, and
// libraries that every program loads.
func (m *Monitor) before(root, client *process.Process) []evidence.Before {
	var out []evidence.Before
	add := func(b evidence.Before) {
		if len(out) < evidence.MaxBefore {
			out = append(out, b)
		}
	}
	// Who asks, what leads to it, and what it started to ask: those are us.
	ours := map[event.Actor]bool{}
	for p := client; p != nil; p = p.Parent {
		ours[p.Actor] = true
	}
	for p := m.table.Find(m.self, 0); p != nil; p = p.Parent {
		ours[p.Actor] = true
	}
	for _, p := range m.table.Below(root) {
		if ours[p.Actor] || m.isOwn(p.Actor.PID) || m.isKey(p) || p.Parent != nil && p.Parent.Actor.PID == m.self {
			continue
		}
		b := evidence.Before{Kind: "process", PID: p.Actor.PID}
		if p.Parent != nil {
			b.Parent = p.Parent.Actor.PID
		}
		if exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", p.Actor.PID)); err == nil {
			b.Name = strings.ToValidUTF8(exe, "\ufffd")
		}
		add(b)
	}
	for _, id := range m.containers.ids() {
		add(evidence.Before{Kind: "container", Name: id})
	}
	if preload, err := readBounded("/etc/ld.so.preload", 4096); err == nil {
		for f := range bytes.FieldsSeq(preload) {
			add(evidence.Before{Kind: "preload", Name: strings.ToValidUTF8(string(f), "\ufffd")})
		}
	}
	return out
}

// namespaces returns the monitor's own, by their inode numbers.
func namespaces() map[string]uint64 {
	ns := map[string]uint64{}
	for _, kind := range [...]string{"cgroup", "ipc", "mnt", "net", "pid", "user", "uts"} {
		var inode uint64
		link, err := os.Readlink("/proc/self/ns/" + kind)
		if err != nil {
			continue
		}
		if _, err := fmt.Sscanf(link, kind+":[%d]", &inode); err == nil {
			ns[kind] = inode
		}
	}
	return ns
}

// modules returns the digest of the names of the kernel's modules.
func modules() string {
	b, err := readBounded("/proc/modules", 1<<20)
	if err != nil {
		return ""
	}
	var names []string
	for line := range strings.Lines(string(b)) {
		if name, _, ok := strings.Cut(line, " "); ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return digest([]byte(strings.Join(names, "\n")))
}

// programDigest returns the SHA-256 of the program that runs, in hex.
var programDigest = sync.OnceValue(func() string {
	f, err := os.Open("/proc/self/exe")
	if err != nil {
		return ""
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return ""
	}
	return hex.EncodeToString(h.Sum(nil))
})

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// ids returns the containers that are there, sorted.
func (c *containers) ids() []string {
	found := map[string]bool{}
	for _, h := range []*hierarchy{&c.unified, &c.old} {
		for _, known := range []map[uint64]container{h.known, h.before} {
			for _, k := range known {
				if !k.id.IsZero() {
					found[k.id.String()] = true
				}
			}
		}
	}
	return slices.Sorted(maps.Keys(found))
}
