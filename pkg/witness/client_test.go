package witness

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// between puts a handler before the witness.
func (r *rig) between(t testing.TB, h func(w http.ResponseWriter, req *http.Request, witness http.Handler)) *Client {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) { h(w, req, r.server) }))
	t.Cleanup(s.Close)
	c, err := NewClient(s.URL, r.vkey)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestTheClientAsksAgainWhereAnAnswerIsLost(t *testing.T) {
	for name, fail := range map[string]func(w http.ResponseWriter, served func()){
		"a connection cut before": func(w http.ResponseWriter, _ func()) { panic(http.ErrAbortHandler) },
		"an answer cut off":       func(_ http.ResponseWriter, served func()) { served(); panic(http.ErrAbortHandler) },
		"503":                     func(w http.ResponseWriter, _ func()) { w.WriteHeader(503) },
		"502 of a proxy, though it was taken": func(w http.ResponseWriter, served func()) {
			served()
			w.WriteHeader(502)
		},
		"429": func(w http.ResponseWriter, _ func()) { w.WriteHeader(429) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			var asked atomic.Int32
			c := r.between(t, func(w http.ResponseWriter, req *http.Request, witness http.Handler) {
				if asked.Add(1)%2 == 1 {
					fail(w, func() { witness.ServeHTTP(httptest.NewRecorder(), req) })
					return
				}
				witness.ServeHTTP(w, req)
			})
			l := newLog("run-1")
			if _, err := c.FirstRecord(t.Context(), r.issuer.first(t, l, 1)); err != nil {
				t.Fatal(err)
			}
			accept(t, l)
			for range 3 {
				l.grow(t, 2)
				if _, _, err := c.AddCheckpoint(t.Context(), l.growth.Old(), proofOf(t, l), [][]byte{l.checkpoint(t), func() []byte { l.grow(t, 0); return l.checkpoint(t) }()}); err != nil {
					t.Fatal(err)
				}
				accept(t, l)
			}
			rec, _, err := c.Slot(t.Context(), slotOfJob(1))
			if err != nil || len(rec.Cosigned) != 4 || len(rec.Conflicts) != 0 || asked.Load() < 10 {
				t.Errorf("%+v, %v, asked %d times", rec, err, asked.Load())
			}
		})
	}
}

// Where the budget were not kept, some of these would never return.
func TestAWitnessThatIsDownCostsTheBudgetAndSaysSo(t *testing.T) {
	r := newRig(t)
	l := newLog("run-1")
	f := r.issuer.first(t, l, 1)
	hang := make(chan struct{})
	defer close(hang)
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	nobody, err := NewClient("http://"+closed.Addr().String(), r.vkey)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]*Client{
		"refuses connections": nobody,
		"hangs": r.between(t, func(_ http.ResponseWriter, req *http.Request, _ http.Handler) {
			select {
			case <-hang:
			case <-req.Context().Done():
			}
		}),
		"fails": r.between(t, func(w http.ResponseWriter, _ *http.Request, _ http.Handler) { w.WriteHeader(500) }),
		"wants an hour": r.between(t, func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
			w.Header().Set("Retry-After", "3600")
			w.WriteHeader(503)
		}),
		"answers without end": r.between(t, func(w http.ResponseWriter, req *http.Request, _ http.Handler) {
			for req.Context().Err() == nil {
				if _, err := w.Write(bytes.Repeat([]byte("a"), 1<<16)); err != nil {
					return
				}
			}
		}),
	} {
		c.Budget = 300 * time.Millisecond
		if _, err := c.FirstRecord(t.Context(), f); !errors.Is(err, ErrDown) {
			t.Errorf("%s: %v", name, err)
		}
		if _, _, err := c.Slot(t.Context(), slotOfJob(1)); !errors.Is(err, ErrDown) {
			t.Errorf("%s: slot: %v", name, err)
		}
	}
}

func TestTheClientBelievesOnlyThePinnedKey(t *testing.T) {
	r := newRig(t)
	l := r.begin(t, 1)
	r.begin(t, 2)
	_, signed, err := r.client.Slot(t.Context(), slotOfJob(1))
	if err != nil {
		t.Fatal(err)
	}
	_, otherKey, _, err := NewKey("witness.example/w1")
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := NewClient(r.http.URL, otherKey)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := stranger.Slot(t.Context(), slotOfJob(1)); err == nil || !strings.Contains(err.Error(), "pinned") {
		t.Errorf("a record by another key: %v", err)
	}
	if _, err := stranger.FirstRecord(t.Context(), r.issuer.first(t, newLog("run-3"), 3)); err == nil || !strings.Contains(err.Error(), "pinned") {
		t.Errorf("a first record by another key: %v", err)
	}
	l.grow(t, 1)
	if _, _, err := stranger.AddCheckpoint(t.Context(), 1, proofOf(t, l), [][]byte{l.checkpoint(t)}); err == nil || !strings.Contains(err.Error(), "pinned") {
		t.Errorf("a cosignature by another key: %v", err)
	}
	both, err := NewClient(r.http.URL, otherKey, r.vkey)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := both.Slot(t.Context(), slotOfJob(1)); err != nil {
		t.Errorf("one of two keys: %v", err)
	}

	// What somebody in between answers.
	old := new(Record)
	*old = *r.record(t, 1)
	old.Asked -= 3600
	oldSigned, err := old.sign(r.server.signer)
	if err != nil {
		t.Fatal(err)
	}
	otherSlot, err := r.record(t, 2).sign(r.server.signer)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		answer []byte
		says   string
	}{
		"changed":             {bytes.Replace(signed, []byte(`"size":1`), []byte(`"size":2`), 1), "pinned"},
		"old":                 {oldSigned, "an old answer"},
		"of another slot":     {otherSlot, "was asked for"},
		"nothing":             {nil, "pinned"},
		"a checkpoint's note": {l.note(t, 0, 1), "pinned"},
	} {
		liar := r.between(t, func(w http.ResponseWriter, _ *http.Request, _ http.Handler) { w.Write(c.answer) })
		if _, _, err := liar.Slot(t.Context(), slotOfJob(1)); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", name, err, c.says)
		}
		if _, _, err := liar.AddCheckpoint(t.Context(), 1, nil, [][]byte{l.note(t, 1, 2)}); err == nil {
			t.Errorf("%s: was taken for a cosignature", name)
		}
	}
	// The cosignature of another checkpoint is none of this one.
	replay := r.between(t, func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		e := r.server.store.bySlot(slotOfJob(1))
		io.WriteString(w, e.last.Signature)
	})
	if _, _, err := replay.AddCheckpoint(t.Context(), 1, nil, [][]byte{l.note(t, 5, 6)}); err == nil {
		t.Error("the cosignature of another checkpoint was taken")
	}
	// A record of something else is no answer to a first record.
	wrong := r.between(t, func(w http.ResponseWriter, _ *http.Request, _ http.Handler) { w.Write(otherSlot) })
	var conflict *ConflictError
	if _, err := wrong.FirstRecord(t.Context(), r.issuer.first(t, newLog("run-3"), 3)); !errors.As(err, &conflict) {
		t.Errorf("the record of another job: %v", err)
	}
	// And a redirect is followed nowhere: it would carry the token along.
	away := r.between(t, func(w http.ResponseWriter, req *http.Request, _ http.Handler) {
		http.Redirect(w, req, r.http.URL+req.URL.Path, http.StatusTemporaryRedirect)
	})
	var refused *RefusedError
	if _, _, err := away.Slot(t.Context(), slotOfJob(1)); !errors.As(err, &refused) {
		t.Errorf("a redirect: %v", err)
	}
	for _, bad := range []string{"", "witness.example", "ftp://w", "https://w?x=1"} {
		if _, err := NewClient(bad, r.vkey); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
	if _, err := NewClient(r.http.URL); err == nil {
		t.Error("a client without a key")
	}
	if _, err := NewClient(r.http.URL, "x"); err == nil {
		t.Error("a client with a key that is none")
	}
}

func TestALogThatIsNotKnownIsSaidToBe(t *testing.T) {
	r := newRig(t)
	l := newLog("run-1")
	l.grow(t, 1)
	if _, _, err := r.client.AddCheckpoint(t.Context(), 0, nil, [][]byte{l.checkpoint(t)}); !errors.Is(err, ErrNone) {
		t.Errorf("add-checkpoint: %v", err)
	}
	if _, _, err := r.client.Slot(t.Context(), slotOfJob(1)); !errors.Is(err, ErrNone) {
		t.Errorf("slot: %v", err)
	}
	for _, id := range []string{"x", "..%2Flock", strings.Repeat("A", 64), strings.Repeat("a", 63)} {
		resp, err := http.Get(r.http.URL + "/slot/" + id)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusBadRequest {
			t.Errorf("slot %q: %s", id, resp.Status)
		}
	}
}
