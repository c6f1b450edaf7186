package evidence

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
)

// ring is a key chain in this process, of keys that are kept: tests play the
// thief of one.
type ring struct {
	keys    []ed25519.PrivateKey
	used    int
	broken  bool // there is no key
	failing bool // a key does not sign
	closed  bool
}

func (r *ring) key(n int) (k [32]byte) {
	for len(r.keys) <= n {
		_, private, err := ed25519.GenerateKey(nil)
		if err != nil {
			panic(err)
		}
		r.keys = append(r.keys, private)
	}
	copy(k[:], r.keys[n].Public().(ed25519.PublicKey))
	return k
}

func (r *ring) Keys(context.Context) (now, next [32]byte, err error) {
	if r.broken {
		return now, next, errors.New("no process could be started")
	}
	return r.key(r.used), r.key(r.used + 1), nil
}

func (r *ring) Sign(_ context.Context, text []byte) (sig [64]byte, err error) {
	if r.failing {
		return sig, errors.New("the process has gone")
	}
	copy(sig[:], ed25519.Sign(r.keys[r.used], text))
	r.used++
	return sig, nil
}

func (r *ring) Close() { r.closed = true }

// signedLog makes a log of 40 events whose checkpoints are signed.
func signedLog(t testing.TB) (string, *Manifest, *ring) {
	t.Helper()
	keys := new(ring)
	l, dir := newLog(t, Options{MaxBytes: 1 << 20, Keys: keys, NoSync: true})
	appendMany(t, l, 40, 5)
	m := closeLog(t, l)
	if !keys.closed {
		t.Error("the keys that are left were not given up")
	}
	return dir, m, keys
}

func TestCheckpointsAreSignedInAChainThatTheLastOneEnds(t *testing.T) {
	dir, _, keys := signedLog(t)
	e := open(t, dir)
	if err := e.Verify(); err != nil {
		t.Fatal(err)
	}
	c := e.Chain()
	if !c.Whole() || c.Signed < 9 || c.First != keys.key(0) || int(c.Signed) != keys.used {
		t.Fatalf("chain: %+v", c)
	}
	// Who knows nothing of this project opens each note with the library of
	// Go's checksum database.
	n := 0
	err := e.EachCheckpoint(func(c *Checkpoint) error {
		key := keys.key(n)
		n++
		vkey, err := note.NewEd25519VerifierKey(c.Origin, key[:])
		if err != nil {
			return err
		}
		v, err := note.NewVerifier(vkey)
		if err != nil {
			return err
		}
		_, err = note.Open(c.appendNote(nil), note.VerifierList(v))
		return err
	})
	if err != nil || n == 0 {
		t.Fatalf("note %d: %v", n, err)
	}
}

// notes splits the file of checkpoints.
func splitNotes(b []byte) (notes []string) {
	notes = strings.SplitAfter(string(b), "\n"+originPrefix)
	for i := range notes {
		notes[i] = strings.TrimSuffix(notes[i], originPrefix)
		if i > 0 {
			notes[i] = originPrefix + notes[i]
		}
	}
	return notes
}

func TestAChainThatWasCutIsRefused(t *testing.T) {
	dir, m, keys := signedLog(t)
	path := filepath.Join(dir, checkpointsName)
	good := splitNotes(read(t, path))
	if len(good) < 9 {
		t.Fatalf("%d notes", len(good))
	}
	// again signs a note as who has key n would.
	again := func(s string, n int, edit func(c *Checkpoint)) string {
		c, err := newNoteReader(strings.NewReader(s)).read()
		if err != nil {
			t.Fatal(err)
		}
		c.Signatures = nil
		edit(c)
		key := keys.key(n)
		sig := ed25519.Sign(keys.keys[n], c.appendText(nil))
		id := keyHash(c.Origin, key)
		raw := append([]byte{byte(id >> 24), byte(id >> 16), byte(id >> 8), byte(id)}, sig...)
		c.Signatures = []string{c.Origin + " " + base64.StdEncoding.EncodeToString(raw)}
		return string(c.appendNote(nil))
	}
	last := len(good) - 1
	for name, c := range map[string]struct {
		edit func(n []string) []string
		want string
	}{
		"one left out":       {func(n []string) []string { return slices.Delete(n, 4, 5) }, "number 4 is due"},
		"the first left out": {func(n []string) []string { return n[1:] }, "number 0 is due"},
		"one twice":          {func(n []string) []string { return slices.Insert(n, 4, n[4]) }, "number 5 is due"},
		"two changed places": {func(n []string) []string { n[4], n[5] = n[5], n[4]; return n }, "number 4 is due"},
		"the last left out":  {func(n []string) []string { return n[:last] }, "the last covers"},
		"a flipped signature": {func(n []string) []string {
			n[3] = strings.Replace(n[3], signatureMark+originPrefix+"test@1 ", signatureMark+originPrefix+"test@1 B", 1)
			return n
		}, "signature"},
		"another lost": {func(n []string) []string { n[3] = strings.Replace(n[3], "lost 0", "lost 1", 1); return n }, "changed after it was signed"},
		"another next": {func(n []string) []string {
			return edited(n, 3, func(s string) string { return strings.Replace(s, "next ", "next A", 1) })
		}, "next"},
		"signed with the live key by who stole it, and cut": {func(n []string) []string {
			// The thief has the key of the last and signs the one before anew as
			// the last: that one's key is gone.
			n = n[:last]
			n[last-1] = again(n[last-1], last, func(c *Checkpoint) {
				c.Extra[1] = nextLine + Hash{}.String()
				key := keys.key(last)
				c.Extra[2] = keyLine + base64.StdEncoding.EncodeToString(key[:])
			})
			return n
		}, "not signed with the key that the checkpoint before names"},
		"another chain from the middle on": {func(n []string) []string {
			thief := new(ring)
			key := thief.key(0)
			n[4] = again(n[4], 4, func(c *Checkpoint) {
				c.Extra[1] = nextLine + Hash(sha256.Sum256(key[:])).String()
			})
			return n
		}, "not signed with the key that the checkpoint before names"},
		"a second signature of its own": {func(n []string) []string {
			return edited(n, 3, func(s string) string { return s + s[strings.Index(s, signatureMark):] })
		}, "more than one signature"},
		"signatures after none": {func(n []string) []string {
			return edited(n, 3, func(s string) string {
				c, _ := newNoteReader(strings.NewReader(s)).read()
				c.Extra, c.Signatures = nil, nil
				return string(c.appendNote(nil))
			})
		}, "the one before is not"},
		"an end in the middle": {func(n []string) []string {
			n[3] = again(n[3], 3, func(c *Checkpoint) { c.Extra[1] = nextLine + Hash{}.String() })
			return n
		}, "says that it is the last"},
		"no end": {func(n []string) []string {
			n[last] = again(n[last], last, func(c *Checkpoint) { c.Extra[1] = nextLine + Hash{1}.String() })
			return n
		}, "the chain was not ended"},
	} {
		write(t, path, []byte(strings.Join(c.edit(slices.Clone(good)), "")))
		rehash(t, dir, *m)
		if err := verify(dir); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v: want %q", name, err, c.want)
		}
	}
	// Cut at any of them, and closed by who has the live key alone.
	for at := range last {
		n := slices.Clone(good[:at+1])
		n[at] = again(n[at], last, func(c *Checkpoint) {
			key := keys.key(last)
			c.Extra[1], c.Extra[2] = nextLine+Hash{}.String(), keyLine+base64.StdEncoding.EncodeToString(key[:])
		})
		write(t, path, []byte(strings.Join(n, "")))
		rehash(t, dir, *m)
		if err := verify(dir); err == nil {
			t.Errorf("cut at checkpoint %d and closed with the live key it verifies", at)
		} else if at > 0 && !strings.Contains(err.Error(), "not signed with the key that the checkpoint before names") {
			t.Errorf("cut at checkpoint %d: %v", at, err)
		}
	}
	write(t, path, []byte(strings.Join(good, "")))
	rehash(t, dir, *m)
	if err := verify(dir); err != nil {
		t.Fatalf("the good ones again: %v", err)
	}
}

func edited(n []string, i int, f func(string) string) []string {
	n[i] = f(n[i])
	return n
}

func TestALogWhoseKeyFailsGoesOnUnsignedAndSaysSo(t *testing.T) {
	keys := new(ring)
	l, dir := newLog(t, Options{MaxBytes: 1 << 20, Keys: keys, NoSync: true})
	appendMany(t, l, 10, 5)
	if l.Unsigned() != nil {
		t.Fatal(l.Unsigned())
	}
	keys.failing = true
	appendMany(t, l, 10, 5)
	if l.Unsigned() == nil {
		t.Fatal("nothing says that the keys failed")
	}
	closeLog(t, l)
	e := open(t, dir)
	if err := e.Verify(); err != nil {
		t.Fatal(err)
	}
	if c := e.Chain(); c.Whole() || c.Signed == 0 || c.Unsigned == 0 {
		t.Fatalf("chain: %+v", c)
	}
}

// A machine that is short of time has no key for a while: that is no reason to
// give up signing, nor to write what is not signed.
func TestWhereThereIsNoKeyYetTheNextCheckpointIsSigned(t *testing.T) {
	keys := new(ring)
	l, dir := newLog(t, Options{MaxBytes: 1 << 20, Keys: keys, NoSync: true})
	appendMany(t, l, 10, 5)
	keys.broken = true
	c, err := l.Begin(90_000_000_000)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Write(t.Context()); !errors.Is(err, ErrNotYet) {
		t.Fatalf("%v: want ErrNotYet", err)
	}
	keys.broken = false
	appendMany(t, l, 10, 5)
	closeLog(t, l)
	e := open(t, dir)
	if err := e.Verify(); err != nil {
		t.Fatal(err)
	}
	if c := e.Chain(); !c.Whole() || l.Unsigned() != nil {
		t.Fatalf("chain: %+v, %v", c, l.Unsigned())
	}
}

// A signature of a witness stands beside the log's own.
func TestASignatureOfAnotherNameIsPassedOver(t *testing.T) {
	dir, m, _ := signedLog(t)
	path := filepath.Join(dir, checkpointsName)
	b := read(t, path)
	b = append(b, signatureMark+"witness.example AAAAAAAA\n"...)
	write(t, path, b)
	rehash(t, dir, *m)
	if err := verify(dir); err != nil {
		t.Fatal(err)
	}
}

func TestWritingACheckpointDoesNotHoldUpEvents(t *testing.T) {
	keys := new(ring)
	l, dir := newLog(t, Options{Keys: keys})
	done := make(chan error)
	for i := range 50 {
		c, err := l.Begin(int64(i))
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			err := c.Write(t.Context())
			done <- errors.Join(err, l.Sync())
		}()
		appendMany(t, l, 20, 1000)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	closeLog(t, l)
	if err := verify(dir); err != nil {
		t.Fatal(err)
	}
}

func TestSyncIsHarmlessBesideTheClose(t *testing.T) {
	l, dir := newLog(t, Options{SegmentBytes: 300, MaxBytes: 1 << 20})
	stop, stopped := make(chan struct{}), make(chan error, 1)
	go func() {
		for {
			select {
			case <-stop:
				stopped <- nil
				return
			default:
			}
			if err := l.Sync(); err != nil {
				stopped <- err
				return
			}
		}
	}()
	appendMany(t, l, 60, 3)
	closeLog(t, l)
	close(stop)
	if err := <-stopped; err != nil {
		t.Fatal(err)
	}
	if err := verify(dir); err != nil {
		t.Fatal(err)
	}
}

func FuzzCheckpoint(f *testing.F) {
	dir, _, _ := signedLog(f)
	for _, n := range splitNotes(read(f, filepath.Join(dir, checkpointsName)))[:3] {
		f.Add([]byte(n))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r := newNoteReader(bytes.NewReader(b))
		var chain Chain
		for {
			c, err := r.read()
			if err != nil {
				return
			}
			if chain.add(c) == nil && chain.Signed > 0 && chain.Unsigned == 0 {
				// What was accepted as signed is what would be written.
				again, err := newNoteReader(bytes.NewReader(c.appendNote(nil))).read()
				if err != nil {
					t.Fatal(err)
				}
				if _, ok, err := again.Link(); !ok || err != nil {
					t.Fatalf("%v after it was written again", err)
				}
			}
		}
	})
}
