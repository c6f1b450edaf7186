package witness

import (
	"bytes"
	"errors"
	"fmt"
	"log"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	cosign "github.com/transparency-dev/formats/note"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/note"

	"github.com/org/edamame-posture/pkg/evidence"
)

func TestALogIsWitnessedFromItsFirstRecordToItsClose(t *testing.T) {
	r := newRig(t)
	l := newLog("run-1")
	f := r.issuer.first(t, l, 1)
	before := time.Now().Unix()
	rec, err := r.client.FirstRecord(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	if rec.Slot != slotOfJob(1) || rec.First.Origin != l.origin || rec.First.Checkpoint != f.Checkpoint || rec.First.Issuer != issuerURL ||
		rec.First.Claims["check_run_id"] != "1001" || rec.First.Claims["repository"] != "o/r" || rec.First.Time < before || rec.First.Issued < before {
		t.Fatalf("the first record: %+v", rec)
	}
	if _, ok := rec.First.Claims["sub"]; ok {
		t.Error("a claim was kept that is not on the list")
	}
	accept(t, l)

	vkey, err := cosign.VKeyToCosignatureV1(r.vkey)
	if err != nil {
		t.Fatal(err)
	}
	cosigner, err := cosign.NewVerifierForCosignatureV1(vkey)
	if err != nil {
		t.Fatal(err)
	}
	var texts []evidence.Hash
	for i := range 5 {
		// Most checkpoints are not sent at once: those in between come along.
		var notes [][]byte
		for range i + 1 {
			l.grow(t, i*7)
			notes = append(notes, l.checkpoint(t))
		}
		last := notes[len(notes)-1]
		line, at, err := r.client.AddCheckpoint(t.Context(), l.growth.Old(), proofOf(t, l), notes)
		if err != nil {
			t.Fatalf("checkpoint %d: %v", i, err)
		}
		accept(t, l)
		if at.Unix() < before || time.Until(at) > time.Second {
			t.Errorf("cosigned at %v", at)
		}
		// Who knows nothing of this project checks it with the library.
		n, err := note.Open(append(slices.Clone(last), line...), note.VerifierList(cosigner))
		if err != nil || len(n.Sigs) != 1 {
			t.Fatalf("cosignature %q: %v", line, err)
		}
		c, err := parseCheckpoint(last)
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, c.text)
	}
	l.grow(t, 1)
	end := l.note(t, l.seq, -1)
	if _, _, err := r.client.AddCheckpoint(t.Context(), l.growth.Old(), proofOf(t, l), [][]byte{end}); err != nil {
		t.Fatal(err)
	}
	accept(t, l)
	l.seq++
	l.grow(t, 1)
	if code, body, _ := r.postAdd(t, l.growth.Old(), proofOf(t, l), l.checkpoint(t)); code != http.StatusForbidden || !strings.Contains(body, "the last one") {
		t.Errorf("after the end: %d %s", code, body)
	}

	for _, when := range []string{"", " after a restart"} {
		rec, signed, err := r.client.Slot(t.Context(), slotOfJob(1))
		if err != nil {
			t.Fatal(err)
		}
		if len(rec.Cosigned) != 7 || rec.Last().Size != uint64(l.lines-1) || rec.Last().Seq != uint64(l.seq-2) || len(rec.Conflicts) != 0 {
			t.Fatalf("record%s: %+v", when, rec)
		}
		for i, text := range texts {
			if rec.Cosigned[i+1].Text != text {
				t.Errorf("cosigned %d%s: not the text that was sent", i+1, when)
			}
		}
		if again, err := OpenRecord(signed, r.vkey); err != nil || again.Slot != rec.Slot {
			t.Errorf("the kept record%s: %v", when, err)
		}
		r.restart(t)
	}
}

func TestAForkIsAnsweredWithTheKnownSizeAndShown(t *testing.T) {
	r := newRig(t)
	l := r.begin(t, 1)
	thief := l.fork(t, string(l.commitment(slotOfJob(1))))
	a := r.add(t, l, 3)
	thief.grow(t, 5)
	b := thief.checkpoint(t) // the same key signs another checkpoint

	code, body, kind := r.postAdd(t, 1, nil, b)
	if code != http.StatusConflict || body != "4\n" || kind != "text/x.tlog.size" {
		t.Fatalf("the fork: %d %q %s", code, body, kind)
	}
	r.postAdd(t, 4, nil, b) // told once
	// A fork of an older checkpoint, after more came.
	old := l.fork(t, "x")
	old.seq = 1
	r.add(t, l, 3)
	r.add(t, l, 3)
	if code, body, _ := r.postAdd(t, 10, nil, old.checkpoint(t)); code != http.StatusConflict || body != "10\n" {
		t.Fatalf("the older fork: %d %q", code, body)
	}
	for range 2 {
		rec := r.record(t, 1)
		if len(rec.Conflicts) != 2 || rec.Conflicts[0].Kind != Fork || rec.Conflicts[0].Checkpoint != string(b) || rec.Conflicts[1].Kind != Fork {
			t.Fatalf("conflicts: %+v", rec.Conflicts)
		}
		if rec.Last().Size != 10 {
			t.Errorf("the fork moved the log to %d", rec.Last().Size)
		}
		r.restart(t)
	}
	var size *SizeError
	if _, _, err := r.client.AddCheckpoint(t.Context(), 1, nil, [][]byte{b}); !errors.As(err, &size) || size.Size != 10 {
		t.Errorf("the client of the fork: %v", err)
	}
	_ = a
}

func TestAForkAmongTheCheckpointsInBetweenIsShown(t *testing.T) {
	r := newRig(t)
	l := r.begin(t, 1)
	var notes [][]byte
	for range 5 {
		l.grow(t, 1)
		notes = append(notes, l.checkpoint(t))
	}
	if _, _, err := r.client.AddCheckpoint(t.Context(), 1, proofOf(t, l), notes); err != nil {
		t.Fatal(err)
	}
	thief := l.fork(t, "other")
	thief.seq = 3
	forged := thief.checkpoint(t)
	lastFork := l.fork(t, "another")
	lastFork.seq = 5
	if code, body, _ := r.postAdd(t, 6, nil, lastFork.checkpoint(t)); code != http.StatusConflict {
		t.Fatalf("of the last: %d %q", code, body)
	}
	firstFork := l.fork(t, "a third")
	firstFork.seq = 1
	if code, body, _ := r.postAdd(t, 6, nil, firstFork.checkpoint(t)); code != http.StatusConflict {
		t.Fatalf("of the first of them: %d %q", code, body)
	}
	// Alone nothing shows whose key it is.
	if code, body, _ := r.postAdd(t, 6, nil, forged); code != http.StatusForbidden {
		t.Fatalf("alone: %d %q", code, body)
	}
	if code, body, _ := r.postAdd(t, 6, nil, notes[0], notes[1], forged); code != http.StatusConflict || body != "6\n" {
		t.Fatalf("with those before it: %d %q", code, body)
	}
	if rec := r.record(t, 1); len(rec.Conflicts) != 3 || rec.Conflicts[2].Checkpoint != string(forged) {
		t.Errorf("conflicts: %+v", rec.Conflicts)
	}
	if code, body, _ := r.postAdd(t, 6, nil, notes[0], notes[2]); code != http.StatusForbidden {
		t.Errorf("known ones with a hole: %d %q", code, body)
	}
	// However many there are, a bounded number is kept.
	for i := range maxConflicts + 5 {
		f := l.fork(t, fmt.Sprint(i))
		f.seq = 5
		r.postAdd(t, 6, nil, f.checkpoint(t))
	}
	if rec := r.record(t, 1); len(rec.Conflicts) != maxConflicts {
		t.Errorf("%d conflicts are kept", len(rec.Conflicts))
	}
}

func TestWhatIsSentAgainGetsTheAnswerOfThen(t *testing.T) {
	r := newRig(t)
	l := r.begin(t, 1)
	first := r.add(t, l, 3)
	last := r.add(t, l, 3)
	rec := r.record(t, 1)

	code, line, _ := r.postAdd(t, 7, nil, last)
	if code != http.StatusOK {
		t.Fatalf("the last once more: %d %s", code, line)
	}
	at, err := cosignedAt(line)
	if err != nil || at != rec.Last().Time {
		t.Errorf("it has the time %d, and had %d (%v)", at, rec.Last().Time, err)
	}
	// The client takes it for an answer that was lost.
	if again, _, err := r.client.AddCheckpoint(t.Context(), 4, nil, [][]byte{last}); err != nil || again != line {
		t.Errorf("by the client: %q, %v", again, err)
	}
	if code, body, _ := r.postAdd(t, 1, nil, first); code != http.StatusConflict || body != "7\n" {
		t.Errorf("an older one: %d %q", code, body)
	}
	if code, body, _ := r.postAdd(t, 7, nil, first); code != http.StatusBadRequest {
		t.Errorf("an older one, old beyond it: %d %q", code, body)
	}
	// Where nothing happens the size stays, and an older checkpoint has it too.
	idle := r.add(t, l, 0)
	r.add(t, l, 0)
	if code, body, _ := r.postAdd(t, 7, nil, idle); code != http.StatusConflict || body != "7\n" {
		t.Errorf("an older one of the same size: %d %q", code, body)
	}
	rec = r.record(t, 1)
	if rec.Last().Seq != 4 || rec.Last().Size != 7 {
		t.Errorf("an older one was cosigned again: %+v", rec.Last())
	}
	after := r.record(t, 1)
	if len(after.Conflicts) != 0 || !slices.Equal(after.Cosigned, rec.Cosigned) {
		t.Errorf("what was known changed: %+v", after)
	}
}

func TestAStolenLiveKeyCanOnlyGoOnFromTheLastSize(t *testing.T) {
	r := newRig(t)
	l := r.begin(t, 1)
	r.add(t, l, 6)
	thief := l.fork(t, string(l.commitment(slotOfJob(1))), "line 1", "line 2", "changed")
	thief.grow(t, 10)
	rewritten := thief.note(t, thief.seq, thief.seq+1)
	// Whatever he sends as proof: his tree is not the known one grown.
	for i := range thief.growth.new.Hashes() {
		var p []evidence.Hash
		for _, h := range thief.growth.new.Hashes()[:i] {
			p = append(p, evidence.Hash(h))
		}
		if code, body, _ := r.postAdd(t, 7, p, rewritten); code != http.StatusUnprocessableEntity {
			t.Errorf("history rewritten, proof of %d: %d %q", i, code, body)
		}
	}
	short := l.fork(t, string(l.commitment(slotOfJob(1))), "line 1")
	cut := short.note(t, l.seq, l.seq+1)
	if code, body, _ := r.postAdd(t, 7, nil, cut); code != http.StatusBadRequest || !strings.Contains(body, "size falls from 7 to 2") {
		t.Errorf("the end cut off: %d %q", code, body)
	}
	equal := l.fork(t, string(l.commitment(slotOfJob(1))), "a", "b", "c", "d", "e", "f")
	if code, body, _ := r.postAdd(t, 7, nil, equal.note(t, l.seq, l.seq+1)); code != http.StatusConflict || body != "7\n" {
		t.Errorf("as long, another root: %d %q", code, body)
	}
	rec := r.record(t, 1)
	if len(rec.Conflicts) != 3 || rec.Last().Size != 7 {
		t.Fatalf("conflicts: %+v", rec.Conflicts)
	}
	for _, c := range rec.Conflicts {
		if c.Kind != Inconsistent {
			t.Errorf("conflict %s", c.Kind)
		}
	}
	// What is left to him is to go on, as the log itself would have.
	r.add(t, l, 2)
}

func TestAKeyChainThatIsBrokenIsRefused(t *testing.T) {
	r := newRig(t)
	l := r.begin(t, 1)
	l.grow(t, 1)
	stranger := newLog("run-1")
	for _, line := range []string{string(l.commitment(slotOfJob(1))), "line 1"} {
		stranger.append(t, line)
	}
	text, _, _ := strings.Cut(string(l.note(t, 1, 2)), "\n\n")
	good := l.note(t, 1, 2)
	for _, c := range []struct {
		name string
		note []byte
		code int
		says string
	}{
		{"a number left out", l.note(t, 2, 3), 403, "1 is due"},
		{"another's key", stranger.note(t, 1, 2), 403, "names another one"},
		{"signed with another key than it names", signNote(t, l.origin, l.key(7), text+"\n"), 403, "not signed by the key"},
		{"signed under another name", signNote(t, "edamame-posture/x", l.key(1), text+"\n"), 403, "not signed by the key"},
		{"changed after it was signed", bytes.Replace(good, []byte("lost 0"), []byte("lost 1"), 1), 403, "not signed by the key"},
		{"without a signature", []byte(text + "\n\n"), 400, "malformed"},
		{"without its key", signNote(t, l.origin, l.key(1), text[:strings.Index(text, "key ")]), 400, "want the lines"},
		{"a plus in its name", bytes.Replace(good, []byte("edamame-posture/run-1\n"), []byte("edamame-posture/run+1\n"), 1), 404, "no first record"},
		{"another log", newLog("run-2").checkpoint(t), 404, "no first record"},
		{"not of this project", []byte("example.com/log\n1\nAAAA\n\n— example.com/log AAAA\n"), 404, "no first record"},
	} {
		if code, body, _ := r.postAdd(t, 1, proofOf(t, l), c.note); code != c.code || !strings.Contains(body, c.says) {
			t.Errorf("%s: %d %q, want %d %q", c.name, code, body, c.code, c.says)
		}
	}
	l.grow(t, 1)
	three, two := l.note(t, 3, 4), l.note(t, 2, 3)
	wrong := l.note(t, 2, 9)
	text, _, _ = strings.Cut(string(two), "\n\n")
	foreign := signNote(t, "edamame-posture/run-9", l.key(2), "edamame-posture/run-9"+strings.TrimPrefix(text, l.origin)+"\n")
	for _, c := range []struct {
		name  string
		notes [][]byte
	}{
		{"one in between left out", [][]byte{good, three}},
		{"one in between twice", [][]byte{good, good}},
		{"two in the wrong order", [][]byte{two, good}},
		{"by the right key for another log", [][]byte{good, foreign}},
		{"the one before names another key", [][]byte{good, wrong, three}},
	} {
		if code, body, _ := r.postAdd(t, 1, proofOf(t, l), c.notes...); code != http.StatusForbidden && code != http.StatusBadRequest {
			t.Errorf("%s: %d %q", c.name, code, body)
		}
	}
	if code, body, _ := r.postAdd(t, 1, proofOf(t, l), good, two, three); code != http.StatusOK {
		t.Fatalf("the whole chain: %d %q", code, body)
	}
	if rec := r.record(t, 1); len(rec.Conflicts) != 0 || rec.Last().Seq != 3 {
		t.Errorf("record: %+v", rec)
	}
}

func TestAProofThatDoesNotHoldIsRefused(t *testing.T) {
	r := newRig(t)
	l := r.begin(t, 1)
	r.add(t, l, 6)
	l.grow(t, 9)
	n, p := l.checkpoint(t), proofOf(t, l)
	flipped := slices.Clone(p)
	flipped[0][0] ^= 1
	for name, bad := range map[string][]evidence.Hash{
		"none": nil, "cut": p[:len(p)-1], "one more": append(slices.Clone(p), evidence.Hash{}), "a bit": flipped,
	} {
		if code, body, _ := r.postAdd(t, 7, bad, n); code != http.StatusUnprocessableEntity {
			t.Errorf("%s: %d %q", name, code, body)
		}
	}
	if code, body, _ := r.postAdd(t, 3, p, n); code != http.StatusConflict || body != "7\n" {
		t.Errorf("from another size: %d %q", code, body)
	}
	if code, body, _ := r.postAdd(t, 17, p, n); code != http.StatusBadRequest {
		t.Errorf("old beyond size: %d %q", code, body)
	}
	if code, body, _ := r.postAdd(t, 7, p, n); code != http.StatusOK {
		t.Errorf("the right one: %d %q", code, body)
	}
}

func TestAGrowingTreeIsProvenFromEverySizeToEveryOther(t *testing.T) {
	for old := range 40 {
		for size := old; size < 80; size++ {
			l := newLog("r")
			l.grow(t, old)
			a := l.tree.root(t)
			accept(t, l)
			l.grow(t, size-old)
			p := request{}
			for _, h := range proofOf(t, l) {
				p.proof = append(p.proof, h[:])
			}
			b := l.tree.root(t)
			if err := proof.VerifyConsistency(rfc6962.DefaultHasher, uint64(old), uint64(size), p.proof, a[:], b[:]); err != nil {
				t.Fatalf("from %d to %d: %v", old, size, err)
			}
		}
	}
}

func TestOnlyATokenOfTheRightJobMakesALogKnown(t *testing.T) {
	r := newRig(t)
	stranger := &testIssuer{key: issuerKey(), id: "other"}
	l := newLog("run-1")
	good := r.issuer.first(t, l, 1)
	with := func(name string, value any) string {
		c := claimsOf(1, Audience(good.Commitment))
		c[name] = value
		if value == nil {
			delete(c, name)
		}
		return r.issuer.token(t, c)
	}
	now := time.Now().Unix()
	secret, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: []byte(strings.Repeat("k", 32))}, nil)
	if err != nil {
		t.Fatal(err)
	}
	symmetric, err := jwt.Signed(secret).Claims(claimsOf(1, Audience(good.Commitment))).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(good.Token, ".")
	for _, c := range []struct {
		name, token string
		code        int
		says        string
	}{
		{"none", "", 401, "Authorization: Bearer"},
		{"not a token", "abc", 401, ""},
		{"another audience", with("aud", "sigstore"), 401, "audience"},
		{"the audience of another commitment", with("aud", Audience([]byte("{}"))), 401, "audience"},
		{"two audiences", with("aud", []string{Audience(good.Commitment), "sigstore"}), 401, "audience"},
		{"another issuer", with("iss", issuerURL+"/"), 401, "issuer"},
		{"issued long ago", with("iat", now-3600), 401, "ago"},
		{"issued in the future", with("iat", now+3600), 401, "future"},
		{"without a time", with("iat", nil), 401, "when it was issued"},
		{"expired", with("exp", now-120), 401, "expired"},
		{"not valid yet", with("nbf", now+3600), 401, "not valid"},
		{"by an unknown key", stranger.token(t, claimsOf(1, Audience(good.Commitment))), 401, "no key"},
		{"symmetric", symmetric, 401, ""},
		{"unsigned", parts[0] + "." + parts[1] + ".", 401, ""},
		{"too long", strings.Repeat("a", maxToken+1), 401, "at most"},
		{"names no job", with("check_run_id", nil), 401, "check_run_id"},
		{"names a job by a text", with("check_run_id", "1001\n2"), 401, "check_run_id"},
		{"another job", with("check_run_id", "1002"), 422, "slot"},
		{"another attempt", with("run_attempt", "2"), 422, "slot"},
		{"another owner", with("repository_owner_id", "10"), 403, "on no list"},
		{"an owner by name", with("repository_owner_id", nil), 403, "on no list"},
	} {
		code, body, _ := r.post(t, "/first-record", marshal(t, good), c.token)
		if code != c.code || !strings.Contains(body, c.says) {
			t.Errorf("%s: %d %q, want %d %q", c.name, code, body, c.code, c.says)
		}
	}

	other := newLog("run-1")
	text, _, _ := strings.Cut(good.Checkpoint, "\n\n")
	twice := append([]byte(`{"slot":"`+slotOfJob(2).String()+`",`), good.Commitment[1:]...)
	for _, c := range []struct {
		name string
		f    FirstRecord
		code int
		says string
	}{
		{"the commitment of another slot", FirstRecord{Commitment: l.commitment(slotOfJob(2)), Checkpoint: good.Checkpoint}, 422, "slot"},
		{"another's key", FirstRecord{Commitment: other.commitment(slotOfJob(1)), Checkpoint: good.Checkpoint}, 422, "its key"},
		{"another log", FirstRecord{Commitment: newLog("run-2").commitment(slotOfJob(1)), Checkpoint: good.Checkpoint}, 422, "for the log"},
		{"a later checkpoint", FirstRecord{Commitment: good.Commitment, Checkpoint: string(l.note(t, 1, 2))}, 422, "want the first"},
		{"a chain that ends at once", FirstRecord{Commitment: good.Commitment, Checkpoint: string(l.note(t, 0, -1))}, 422, "no next key"},
		{"an empty log", FirstRecord{Commitment: good.Commitment, Checkpoint: string((&testLog{origin: l.origin, keys: l.keys, tree: &evidenceTree{NewGrowth()}}).note(t, 0, 1))}, 422, "nothing"},
		{"a name that stands twice", FirstRecord{Commitment: twice, Checkpoint: good.Checkpoint}, 400, "commitment"},
		{"no JSON", FirstRecord{Commitment: []byte("x"), Checkpoint: good.Checkpoint}, 400, "commitment"},
		{"too long", FirstRecord{Commitment: append(bytes.Repeat([]byte(" "), MaxCommitment), good.Commitment...), Checkpoint: good.Checkpoint}, 400, "allowed"},
		{"an empty line in the checkpoint", FirstRecord{Commitment: good.Commitment, Checkpoint: string(signNote(t, l.origin, l.key(0), text+"\n\nmore\n"))}, 400, "empty line"},
		{"no checkpoint", FirstRecord{Commitment: good.Commitment}, 400, "checkpoint"},
	} {
		token := r.issuer.token(t, claimsOf(1, Audience(c.f.Commitment)))
		if code, body, _ := r.post(t, "/first-record", marshal(t, c.f), token); code != c.code || !strings.Contains(body, c.says) {
			t.Errorf("%s: %d %q, want %d %q", c.name, code, body, c.code, c.says)
		}
	}
	if _, _, err := r.client.Slot(t.Context(), slotOfJob(1)); !errors.Is(err, ErrNone) {
		t.Fatalf("something was recorded: %v", err)
	}
	if _, err := r.client.FirstRecord(t.Context(), good); err != nil {
		t.Fatal(err)
	}
}

func TestOneOfTwoFirstRecordsWinsAndTheOtherIsShown(t *testing.T) {
	r := newRig(t)
	const rivals = 8
	logs := make([]*testLog, rivals)
	firsts := make([]FirstRecord, rivals)
	for i := range rivals {
		logs[i] = newLog(fmt.Sprintf("run-%d", i))
		firsts[i] = r.issuer.first(t, logs[i], 1) // all of the same job
	}
	errs := make([]error, rivals)
	var wg sync.WaitGroup
	for i := range rivals {
		wg.Go(func() { _, errs[i] = r.client.FirstRecord(t.Context(), firsts[i]) })
	}
	wg.Wait()
	winner := -1
	for i, err := range errs {
		var conflict *ConflictError
		switch {
		case err == nil && winner >= 0:
			t.Fatalf("%d and %d won", winner, i)
		case err == nil:
			winner = i
		case !errors.As(err, &conflict):
			t.Errorf("%d: %v", i, err)
		}
	}
	if winner < 0 {
		t.Fatal("none won")
	}
	for _, when := range []string{"", " after a restart"} {
		rec := r.record(t, 1)
		if rec.First.Origin != logs[winner].origin || len(rec.Conflicts) != rivals-1 {
			t.Fatalf("record%s: %s, %d conflicts", when, rec.First.Origin, len(rec.Conflicts))
		}
		for _, c := range rec.Conflicts {
			if c.Kind != SecondFirst || c.First == nil || c.First.Claims["check_run_id"] != "1001" || c.First.Origin == rec.First.Origin {
				t.Errorf("conflict%s: %+v", when, c)
			}
		}
		// The winner may ask again: its answer may have been lost.
		if _, err := r.client.FirstRecord(t.Context(), firsts[winner]); err != nil {
			t.Errorf("the winner once more%s: %v", when, err)
		}
		r.restart(t)
	}
	if names, err := os.ReadDir(r.cfg.Dir); err != nil || len(names) != 2 {
		t.Errorf("files: %v, %v; want the lock and one slot", names, err)
	}
}

func TestAJobThatNamesTheLogOfAnotherDoesNotSpoilIt(t *testing.T) {
	r := newRig(t)
	l := r.begin(t, 1)
	var conflict *ConflictError
	if _, err := r.client.FirstRecord(t.Context(), r.issuer.first(t, newLog("run-1"), 2)); !errors.As(err, &conflict) || conflict.Record.Slot != slotOfJob(1) {
		t.Fatalf("the second: %v", err)
	}
	if rec := r.record(t, 1); len(rec.Conflicts) != 0 {
		t.Errorf("conflicts: %+v", rec.Conflicts)
	}
	r.add(t, l, 1)
}

func TestAnEnrolledServiceMakesItsOwnLogsKnown(t *testing.T) {
	skey, vkey, _, err := NewKey("build-7.example")
	if err != nil {
		t.Fatal(err)
	}
	skey2, vkey2, _, err := NewKey("build-8.example")
	if err != nil {
		t.Fatal(err)
	}
	list := "# machines\n\n" + vkey + " prod- stage- # the big one\n" + vkey2 + " prod-\n"
	services, err := ParseServices([]byte(list))
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, func(c *Config) { c.Issuers, c.Services = nil, services })
	id := Slot{ServiceIssuer("build-7.example"), "42", "7", "1", "1000"}.ID()
	first := func(run string) FirstRecord {
		l := newLog(run)
		c := l.commitment(id)
		l.append(t, string(c))
		e, err := Endorse(skey, l.origin, c)
		if err != nil {
			t.Fatal(err)
		}
		return FirstRecord{Commitment: c, Checkpoint: string(l.checkpoint(t)), Endorsement: e}
	}
	good := first("prod-1")
	for _, c := range []struct {
		name   string
		change func(f *FirstRecord)
		code   int
		says   string
	}{
		{"of another run", func(f *FirstRecord) { f.Endorsement = first("prod-2").Endorsement }, 401, "another log"},
		{"by a stranger", func(f *FirstRecord) {
			other, _, _, err := NewKey("build-7.example")
			if err != nil {
				t.Fatal(err)
			}
			if f.Endorsement, err = Endorse(other, originPrefix+"prod-1", f.Commitment); err != nil {
				t.Fatal(err)
			}
		}, 401, "not taken"},
		{"of runs that are not its own", func(f *FirstRecord) { *f = first("dev-1") }, 403, "prefix"},
		{"by two", func(f *FirstRecord) {
			second, err := Endorse(skey2, originPrefix+"prod-1", f.Commitment)
			if err != nil {
				t.Fatal(err)
			}
			_, line, _ := strings.Cut(second, "\n\n")
			f.Endorsement += line
		}, 401, "2 services"},
		{"none", func(f *FirstRecord) { f.Endorsement = "" }, 401, "Bearer"},
	} {
		f := good
		c.change(&f)
		if code, body, _ := r.post(t, "/first-record", marshal(t, f), ""); code != c.code || !strings.Contains(body, c.says) {
			t.Errorf("%s: %d %q, want %d %q", c.name, code, body, c.code, c.says)
		}
	}
	rec, err := r.client.FirstRecord(t.Context(), good)
	if err != nil {
		t.Fatal(err)
	}
	if rec.First.Service != "build-7.example" || rec.First.Issuer != "" || rec.Slot != id {
		t.Errorf("record: %+v", rec.First)
	}
	for _, bad := range []string{vkey, "x y", vkey + "x prod-"} {
		if _, err := ParseServices([]byte(bad)); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestTheIssuersKeysAreReadAgainWhenTheFileIsReplaced(t *testing.T) {
	var told bytes.Buffer
	r := newRig(t, func(c *Config) { c.Log = log.New(&told, "", 0) })
	next := &testIssuer{key: issuerKey(), id: "k2"}
	jwks := r.cfg.Issuers[0].JWKS
	replace := func(b []byte) {
		t.Helper()
		if err := os.WriteFile(jwks+".new", b, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(jwks+".new", jwks); err != nil {
			t.Fatal(err)
		}
	}
	r.begin(t, 1)
	replace([]byte(`{"keys":[]}`)) // the keys of before stay
	r.begin(t, 2)
	if !strings.Contains(told.String(), "there is no key") {
		t.Errorf("the operator was told %q", told.String())
	}
	l := newLog("run-3")
	f := next.first(t, l, 3)
	var refused *RefusedError
	if _, err := r.client.FirstRecord(t.Context(), f); !errors.As(err, &refused) || refused.Code != http.StatusUnauthorized {
		t.Fatalf("a key that is not in the file: %v", err)
	}
	replace(next.jwks(t))
	if _, err := r.client.FirstRecord(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	if _, err := r.client.FirstRecord(t.Context(), r.issuer.first(t, newLog("run-4"), 4)); !errors.As(err, &refused) {
		t.Errorf("a key that is no longer in the file: %v", err)
	}
	for _, bad := range []string{"", "{}", `{"keys":[{"kty":"oct","k":"AAAA"}]}`, string(bytes.Repeat([]byte(" "), maxJWKS+1))} {
		if _, err := ParseJWKS([]byte(bad)); err == nil {
			t.Errorf("%.40q was taken", bad)
		}
	}
}

func TestWhatTheWitnessHoldsIsBounded(t *testing.T) {
	r := newRig(t, func(c *Config) { c.MaxSlots, c.MaxPerParty = 9, 2 })
	l := r.begin(t, 1)
	r.begin(t, 2)
	var refused *RefusedError
	if _, err := r.client.FirstRecord(t.Context(), r.issuer.first(t, newLog("run-3"), 3)); !errors.As(err, &refused) || refused.Code != http.StatusInsufficientStorage || !strings.Contains(refused.Why, "moves old files away") {
		t.Errorf("more than of one repository: %v", err)
	}
	r.cfg.MaxSlots, r.cfg.MaxPerParty = 2, 9
	r.restart(t)
	if _, err := r.client.FirstRecord(t.Context(), r.issuer.first(t, newLog("run-3"), 3)); !errors.As(err, &refused) || refused.Code != http.StatusInsufficientStorage {
		t.Errorf("more in all, after a restart: %v", err)
	}
	// What is there can go on.
	r.add(t, l, 1)

	if code, body, _ := r.post(t, "/add-checkpoint", bytes.Repeat([]byte("a"), maxRequest+1), ""); code != http.StatusRequestEntityTooLarge {
		t.Errorf("a large request: %d %q", code, body)
	}
	if code, body, _ := r.post(t, "/first-record", bytes.Repeat([]byte("a"), maxFirst+1), ""); code != http.StatusRequestEntityTooLarge {
		t.Errorf("a large first record: %d %q", code, body)
	}
	l.grow(t, 1)
	n := l.checkpoint(t)
	if code, body, _ := r.postAdd(t, 2, make([]evidence.Hash, maxProof+1), n); code != http.StatusBadRequest || !strings.Contains(body, "lines of proof") {
		t.Errorf("a long proof: %d %q", code, body)
	}
	far, _, _ := strings.Cut(strings.Replace(string(n), "\nseq 2\n", fmt.Sprintf("\nseq %d\n", maxSeq+1), 1), "\n\n")
	r.server.store.bySlot(slotOfJob(1)).last.Seq = maxSeq
	if code, body, _ := r.postAdd(t, l.growth.Old(), proofOf(t, l), signNote(t, l.origin, l.key(2), far+"\n")); code != http.StatusInsufficientStorage {
		t.Errorf("a checkpoint beyond all: %d %q", code, body)
	}
	r.server.store.bySlot(slotOfJob(1)).last.Seq = 1
	limited := 0
	for range burst + 200 {
		if code, _, _ := r.postAdd(t, 9, nil, n); code == http.StatusTooManyRequests {
			limited++
		}
	}
	if limited == 0 {
		t.Error("no number of requests for one log is too many")
	}
}

func TestAFolderIsReadAsItWasLeft(t *testing.T) {
	r := newRig(t)
	l := r.begin(t, 1)
	r.add(t, l, 2)
	r.begin(t, 2)
	if _, err := Open(r.cfg); err == nil || !strings.Contains(err.Error(), "another witness") {
		t.Errorf("a second witness on the folder: %v", err)
	}
	r.stop()
	path := filepath.Join(r.cfg.Dir, fileName(slotOfJob(1)))
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	// A line that was begun when the machine died, and a file that was only made.
	if err := os.WriteFile(path, append(slices.Clone(whole), `{"cosigned":{"ti`...), 0o600); err != nil {
		t.Fatal(err)
	}
	empty := filepath.Join(r.cfg.Dir, fileName(slotOfJob(3)))
	if err := os.WriteFile(empty, []byte(`{"first":`), 0o600); err != nil {
		t.Fatal(err)
	}
	r.start(t)
	r.add(t, l, 2)
	r.begin(t, 3)
	if rec := r.record(t, 1); len(rec.Cosigned) != 3 {
		t.Errorf("record: %+v", rec)
	}
	r.stop()

	// One that is odd further on is not served, and the others are.
	if err := os.WriteFile(path, append(slices.Clone(whole), "{}\n{\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	var told bytes.Buffer
	r.cfg.Log = log.New(&told, "", 0)
	r.start(t)
	r.client.Budget = 300 * time.Millisecond
	if _, _, err := r.client.Slot(t.Context(), slotOfJob(1)); !errors.Is(err, ErrDown) || !strings.Contains(told.String(), fileName(slotOfJob(1))+": line 4") {
		t.Errorf("a line that is none: %v, %q", err, told.String())
	}
	if rec := r.record(t, 2); len(rec.Cosigned) != 1 {
		t.Errorf("another log: %+v", rec)
	}
	r.stop()

	for name, spoil := range map[string]func(t *testing.T, dir string){
		"a line changed": func(t *testing.T, dir string) {
			b := bytes.Replace(whole, []byte(`"slot":"`), []byte(`"slot":"f`), 1)
			if err := os.WriteFile(filepath.Join(dir, fileName(slotOfJob(1))), b, 0o600); err != nil {
				t.Fatal(err)
			}
		},
		"another's file": func(t *testing.T, dir string) {
			if err := os.WriteFile(filepath.Join(dir, fileName(slotOfJob(9))), whole, 0o600); err != nil {
				t.Fatal(err)
			}
		},
		"the first line gone": func(t *testing.T, dir string) {
			_, rest, _ := bytes.Cut(whole, []byte("\n"))
			if err := os.WriteFile(filepath.Join(dir, fileName(slotOfJob(1))), rest, 0o600); err != nil {
				t.Fatal(err)
			}
		},
		"one log twice": func(t *testing.T, dir string) {
			for n, id := range []ID{slotOfJob(1), slotOfJob(9)} {
				b := bytes.ReplaceAll(whole, []byte(slotOfJob(1).String()), []byte(id.String()))
				if err := os.WriteFile(filepath.Join(dir, fileName(id)), b, 0o600); err != nil {
					t.Fatal(n, err)
				}
			}
		},
		"a strange file": func(t *testing.T, dir string) {
			if err := os.WriteFile(filepath.Join(dir, "notes.txt"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		},
	} {
		cfg := r.cfg
		cfg.Dir = t.TempDir()
		spoil(t, cfg.Dir)
		if s, err := Open(cfg); err == nil {
			s.Close()
			t.Errorf("%s: was taken", name)
		}
	}
}

func TestAWriteThatFailsIsNoAnswerAndTheFileDecides(t *testing.T) {
	r := newRig(t)
	l := r.begin(t, 1)
	r.client.Budget = 300 * time.Millisecond
	path := filepath.Join(r.cfg.Dir, fileName(slotOfJob(1)))
	if err := os.Rename(path, path+".away"); err != nil {
		t.Fatal(err)
	}
	l.grow(t, 2)
	n := l.checkpoint(t)
	if _, _, err := r.client.AddCheckpoint(t.Context(), 1, proofOf(t, l), [][]byte{n}); !errors.Is(err, ErrDown) {
		t.Fatalf("without its file: %v", err)
	}
	// What such a write leaves may be half a line.
	f, err := os.OpenFile(path+".away", os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(`{"cosigned":{"ti`); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Close(), os.Rename(path+".away", path)); err != nil {
		t.Fatal(err)
	}
	r.client.Budget = 0
	if _, _, err := r.client.AddCheckpoint(t.Context(), 1, proofOf(t, l), [][]byte{n}); err != nil {
		t.Fatal(err)
	}
	if rec := r.record(t, 1); len(rec.Cosigned) != 2 {
		t.Errorf("record: %+v", rec)
	}
}

func TestAFileThatIsThereIsNeverWrittenOver(t *testing.T) {
	r := newRig(t)
	r.client.Budget = 300 * time.Millisecond
	path := filepath.Join(r.cfg.Dir, fileName(slotOfJob(1)))
	if err := os.WriteFile(path, []byte("another's"), 0o600); err != nil {
		t.Fatal(err)
	}
	l := newLog("run-1")
	f := r.issuer.first(t, l, 1)
	if _, err := r.client.FirstRecord(t.Context(), f); !errors.Is(err, ErrDown) {
		t.Fatalf("first record: %v", err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "another's" {
		t.Errorf("the file: %q, %v", b, err)
	}
	// Nothing of it stayed.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	r.client.Budget = 0
	if _, err := r.client.FirstRecord(t.Context(), f); err != nil {
		t.Error(err)
	}
}

func TestManyLogsAtOnce(t *testing.T) {
	r := newRig(t)
	var wg sync.WaitGroup
	for n := range 12 {
		wg.Go(func() {
			l := newLog(fmt.Sprintf("run-%d", n))
			if _, err := r.client.FirstRecord(t.Context(), r.issuer.first(t, l, n)); err != nil {
				t.Error(err)
				return
			}
			accept(t, l)
			for range 4 {
				l.grow(t, 3)
				if _, _, err := r.client.AddCheckpoint(t.Context(), l.growth.Old(), proofOf(t, l), [][]byte{l.checkpoint(t)}); err != nil {
					t.Error(err)
					return
				}
				accept(t, l)
			}
		})
	}
	wg.Wait()
	for n := range 12 {
		if rec := r.record(t, n); len(rec.Cosigned) != 5 {
			t.Errorf("log %d: %+v", n, rec)
		}
	}
}

// Of checkpoints of one log that are sent at once each is cosigned once, in
// order, or answered with the size that is known.
func TestOneLogFromManySidesHasOneHistory(t *testing.T) {
	r := newRig(t)
	l := r.begin(t, 1)
	type step struct {
		old   uint64
		proof []evidence.Hash
		note  []byte
	}
	var steps []step
	for range 4 {
		l.grow(t, 3)
		steps = append(steps, step{l.growth.Old(), proofOf(t, l), l.checkpoint(t)})
		accept(t, l)
	}
	var wg sync.WaitGroup
	for range 4 {
		for _, s := range steps {
			wg.Go(func() {
				code, body, _ := r.postAdd(t, s.old, s.proof, s.note)
				switch code {
				case http.StatusOK, http.StatusConflict, http.StatusForbidden, http.StatusBadRequest:
				default:
					t.Errorf("%d %s", code, body)
				}
			})
		}
	}
	wg.Wait()
	rec := r.record(t, 1)
	for i := 1; i < len(rec.Cosigned); i++ {
		if rec.Cosigned[i].Seq != rec.Cosigned[i-1].Seq+1 || rec.Cosigned[i].Size != rec.Cosigned[i-1].Size+3 {
			t.Errorf("history: %+v", rec.Cosigned)
		}
	}
	if len(rec.Conflicts) != 0 || len(rec.Cosigned) < 2 {
		t.Errorf("record: %+v", rec)
	}
}

func TestMoreThanItDoesAtOnceIsAskedToComeAgain(t *testing.T) {
	r := newRig(t)
	r.begin(t, 1)
	r.client.Budget = 300 * time.Millisecond
	for name, full := range map[string]chan struct{}{"requests": r.server.atOnce, "records": r.server.reads} {
		for range cap(full) {
			full <- struct{}{}
		}
		resp, err := http.Get(r.http.URL + "/slot/" + slotOfJob(1).String())
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") != "1" {
			t.Errorf("%s: %s, Retry-After %q", name, resp.Status, resp.Header.Get("Retry-After"))
		}
		if _, _, err := r.client.Slot(t.Context(), slotOfJob(1)); !errors.Is(err, ErrDown) {
			t.Errorf("%s: the client: %v", name, err)
		}
		for range cap(full) {
			<-full
		}
	}
	r.client.Budget = 0
	r.record(t, 1)
}
