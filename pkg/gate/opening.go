package gate

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"math"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/evidence"
)

const (
	// maxNoted bounds the checkpoints of a log that a witness may have seen: a
	// witness holds no more of one.
	maxNoted = 1_000_000
	// maxCosigned bounds what a log says of cosignatures.
	maxCosigned = 50_000
	// maxBoottime bounds boot times, so that differences are in range: 73 years.
	maxBoottime = math.MaxInt64 / 4
)

// opening is how a recording began: what stands beside the log of it, and when
// the log says that it got there.
type opening struct {
	committed     []byte // the commitment
	token, bundle []byte // the issuer's, and the statement; nil where there is none
	record        []byte // the witness's
	wall, time    int64  // of the log's first event: Unix time, boot time, in nanoseconds
	// told is the boot time at which the log names a file, for those that it
	// names before anything of the job.
	told map[string]int64
	// first is the boot time of the job's first event; 0 where it has none.
	first int64
	// cosigned is when a witness had cosigned the first so many events.
	cosigned map[uint64]int64
}

// noted is a checkpoint.
type noted struct {
	text     evidence.Hash
	boottime int64
}

// startNotes is what the log says of the files beside it.
var startNotes = map[string]string{
	"start token": evidence.StartTokenFile, "start statement": evidence.StartBundleFile, "first record": evidence.RecordFile,
}

// cosignedNote is what the log says when a witness has cosigned it.
const cosignedNote = "cosigned by a witness up to here"

// begin reads how a log that was verified began.
func (x *examined) begin(e *evidence.Evidence) error {
	o := &x.opening
	o.told, o.cosigned = map[string]int64{}, map[uint64]int64{}
	for name, to := range map[string]*[]byte{
		evidence.CommitmentFile: &o.committed, evidence.StartTokenFile: &o.token, evidence.StartBundleFile: &o.bundle, evidence.RecordFile: &o.record,
	} {
		var err error
		if *to, err = e.Attached(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if o.committed == nil {
		return nil // nothing of it could be held against anything
	}
	whole := x.in.Policy.Trust.witness != nil
	errEnough := errors.New("enough")
	err := e.Each(func(_ []byte, ev *event.Event) error {
		if ev.Time < 0 || ev.Time > maxBoottime {
			return fmt.Errorf("event %d: a boot time of %d is out of range", ev.Seq, ev.Time)
		}
		if ev.Seq == 0 {
			o.wall, o.time = ev.Wall, ev.Time
		}
		switch {
		case o.first == 0 && ev.Via == event.ViaLineage && (ev.Kind == event.Fork || ev.Kind == event.Exec):
			o.first = ev.Time
		case ev.Kind != event.Note || ev.Via != event.ViaMonitor || ev.SHA256.IsZero():
		case o.first == 0 && startNotes[ev.Detail.String()] != "":
			o.told[startNotes[ev.Detail.String()]] = ev.Time
		case ev.Detail.String() == cosignedNote && len(o.cosigned) < maxCosigned:
			o.cosigned[ev.Count] = ev.Time
		}
		if o.first != 0 && !whole {
			return errEnough
		}
		return nil
	})
	if err == errEnough {
		err = nil
	}
	return err
}

// sum is the commitment's SHA-256.
func (o *opening) sum() evidence.Hash { return sha256.Sum256(o.committed) }

// before reports whether the log names a file before anything of the job.
func (o *opening) before(name string) bool {
	_, ok := o.told[name]
	return ok
}
