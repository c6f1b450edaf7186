package gate

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/sigstore/sigstore-go/pkg/testing/ca"

	"github.com/org/edamame-posture/pkg/attest"
	"github.com/org/edamame-posture/pkg/evidence"
)

// dates has the log dated by the rig's timestamp authority before its end, and
// where more is asked for, after its start too. lie, if there is one, changes
// the n-th answer about a text.
func (w *world) dates(both bool, lie func(n int, text, answer []byte) []byte) func(testing.TB, *evidence.Log, int, int, func(string)) {
	n := 0
	return func(t testing.TB, l *evidence.Log, line, lines int, add func(string)) {
		t.Helper()
		if line != lines-2 && (line != 1 || !both) {
			return
		}
		c, err := evidence.ParseCheckpoint(l.Note())
		if err != nil {
			t.Fatal(err)
		}
		answer, err := attest.Date(t.Context(), w.rig.TSA+"/api/v1/timestamp", c.Text())
		if err != nil {
			t.Fatal(err)
		}
		if lie != nil {
			answer = lie(n, c.Text(), answer)
		}
		n++
		done, err := l.Date(answer)
		if err != nil {
			t.Fatal(err)
		}
		if err := done(); err != nil {
			t.Fatal(err)
		}
		add(fmt.Sprintf(`{"kind":"note","via":"monitor","detail":%q,"sha256":%q,"count":%d,"from":%d}`, evidence.DatedNote, digest(answer), c.Size, c.Boottime))
	}
}

func whatATimestampAuthoritySaidIsHeldAgainstTheLog(t *testing.T, w *world) {
	const limit = "  max-undated: 10s\n  max-silence: 5m\n"
	run := 9600
	record := func(t *testing.T, change func(*job)) string {
		run++
		return w.record(t, fmt.Sprint(run), choices{job: change})
	}
	t.Run("each date goes with the log", func(t *testing.T) {
		dir := record(t, func(j *job) { j.date = w.dates(true, nil) })
		d := decide(t, w.policy(t, E4, limit, w.all()), asked(nil), dir)
		passes(t, d, E4)
		holds(t, d, "timestamps", None, Passed, "")
		d = decide(t, w.policy(t, E4, "", w.all()), asked(nil), dir)
		passes(t, d, E4)
		holds(t, d, "timestamps", E3, Passed, "")
	})

	elsewhere, err := ca.NewVirtualSigstore()
	if err != nil {
		t.Fatal(err)
	}
	var first []byte
	for name, c := range map[string]struct {
		job    func(*job)
		reason Reason
		asked  bool // it is refused only where the policy asks for dates
	}{
		"an answer about another log": {func(j *job) {
			j.date = w.dates(false, func(int, []byte, []byte) []byte {
				b, err := attest.Date(t.Context(), w.rig.TSA+"/api/v1/timestamp", []byte("edamame-posture/other\n"))
				if err != nil {
					t.Fatal(err)
				}
				return b
			})
		}, WrongTimestamp, false},
		"an answer about an earlier checkpoint": {func(j *job) {
			j.date = w.dates(true, func(n int, _, b []byte) []byte {
				if n == 0 {
					first = b
				}
				return first
			})
		}, WrongTimestamp, false},
		"an answer by another authority": {func(j *job) {
			j.date = w.dates(false, func(_ int, text, _ []byte) []byte {
				b, err := elsewhere.TimestampResponse(text)
				if err != nil {
					t.Fatal(err)
				}
				return b
			})
		}, WrongTimestamp, false},
		"no answer": {func(j *job) {
			j.date = w.dates(false, func(int, []byte, []byte) []byte { return []byte("0") })
		}, WrongTimestamp, false},
		"a log that ran faster than the authority's clock": {func(j *job) {
			j.date, j.pace = w.dates(true, nil), 9*second
		}, ClockDiffers, false},
		"a machine whose clock was set back by an hour": {func(j *job) {
			j.date, j.began = w.dates(true, nil), time.Now().Add(-time.Hour)
		}, ClockDiffers, false},
		"nobody dated it":     {nil, Undated, true},
		"its end has no date": {func(j *job) { j.date, j.silence = w.dates(true, nil), 30*second }, Undated, true},
	} {
		t.Run(name, func(t *testing.T) {
			dir := record(t, func(j *job) {
				if c.job != nil {
					c.job(j)
				}
			})
			most := "  max-undated: 5m\n  max-silence: 5m\n"
			if c.asked {
				most = limit
			}
			d := decide(t, w.policy(t, E2, most, w.all()), asked(nil), dir)
			holds(t, d, "timestamps", None, Refused, c.reason)
			refuses(t, d, c.reason)
			if c.asked {
				return
			}
			// Where the policy asks for none, it is no E3.
			d = decide(t, w.policy(t, E2, "  max-silence: 5m\n", w.all()), asked(nil), dir)
			passes(t, d, E2)
			holds(t, d, "timestamps", E3, Refused, c.reason)
		})
	}
}

// A log that only a key signed has dates too, if the policy says whose count.
func TestDatesOfALogThatAKeySigned(t *testing.T) {
	w := newWorld(t)
	key, public := newKey(t)
	dir := recorded(t, func(j *job) { j.began, j.date = time.Now(), w.dates(true, nil) })
	sign(t, dir, key, statement(t, dir))
	p := keyPolicy(t, public, "")
	passes(t, decide(t, p, nil, dir), E1)
	p.Require.MaxUndated = 10 * time.Second
	p.Trust.root = w.policy(t, E2, "", w.all()).Trust.root
	passes(t, decide(t, p, nil, dir), E1)
	p.Require.MaxUndated = time.Second / 2
	d := decide(t, p, nil, dir)
	if d.Outcome != Refused || !slices.Contains(d.Reasons, Undated) {
		t.Errorf("%s", text(t, d))
	}
	if _, err := ParsePolicy("gate.yml", []byte("version: 1\nrequire: {level: E1, max-undated: 1m}\nidentities: [{key: k.pem}]\n")); err == nil {
		t.Error("a policy that says not whose dates count is taken")
	}
}
