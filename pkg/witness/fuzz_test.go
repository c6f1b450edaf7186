package witness

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

func FuzzRequest(f *testing.F) {
	l := newLog("run-1")
	l.grow(f, 3)
	a := l.checkpoint(f)
	accept(f, l)
	l.grow(f, 5)
	q := request{old: 3, notes: [][]byte{a, l.checkpoint(f)}}
	for _, h := range proofOf(f, l) {
		q.proof = append(q.proof, h[:])
	}
	f.Add(q.append(nil))
	f.Add([]byte("old 0\n\nedamame-posture/r\n1\n\n— x y\n"))
	f.Add([]byte("old 0\n\n\n\n\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parseRequest(b)
		if err != nil {
			return
		}
		// There is one way to write a request.
		if again := r.append(nil); !bytes.Equal(again, b) {
			t.Errorf("%q was read from %q", again, b)
		}
		if len(r.notes) == 0 || len(r.proof) > maxProof {
			t.Errorf("%d notes, %d hashes", len(r.notes), len(r.proof))
		}
		for _, n := range r.notes {
			c, err := parseCheckpoint(n)
			if err != nil {
				continue
			}
			if signed := c.unsigned(); !bytes.HasPrefix(n, signed) || len(c.pub) != 32 {
				t.Errorf("text %q of %q", signed, n)
			}
		}
	})
}

// A token is read only where a key of ours signed it.
func FuzzOpenToken(f *testing.F) {
	i := newIssuer()
	keys := &jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: i.key.Public(), KeyID: i.id}}}
	good := i.token(f, claimsOf(1, "a"))
	f.Add(good)
	f.Add("e30.e30.")
	f.Add("eyJhbGciOiJub25lIn0.e30.")
	f.Fuzz(func(t *testing.T, token string) {
		got, err := OpenToken(token, keys)
		if err != nil {
			return
		}
		// Nobody signed another one: the text may be written otherwise, not the claims.
		if got.Issuer != issuerURL || got.Claims["check_run_id"] != "1001" || got.Issued.IsZero() {
			t.Errorf("%q is read as %+v", token, got)
		}
	})
}

func FuzzFirstRecord(f *testing.F) {
	l := newLog("run-1")
	i := newIssuer()
	first := i.first(f, l, 1)
	f.Add(marshal(f, first))
	f.Add([]byte(`{"commitment":"e30=","checkpoint":"x","endorsement":"y"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, c, cp, err := parseFirst(b)
		if err == nil && (c.Origin != cp.origin || !bytes.Equal(c.Key[:], cp.pub) || cp.seq != 0) {
			t.Errorf("%+v with %+v", c, cp)
		}
	})
}

func FuzzToken(f *testing.F) {
	r := newRig(f)
	is := r.server.issuers[0]
	audience := Audience([]byte("{}"))
	good := r.issuer.token(f, claimsOf(1, audience))
	f.Add(good)
	f.Add("eyJhbGciOiJub25lIn0.e30.")
	f.Fuzz(func(t *testing.T, token string) {
		j, err := is.check(token, audience, time.Now())
		if err == nil && (j.slot.ID() != slotOfJob(1) || len(token) < 400) {
			t.Errorf("%q was taken for %+v", token, j)
		}
	})
}

func FuzzRecord(f *testing.F) {
	r := newRig(f)
	r.begin(f, 1)
	_, signed, err := r.client.Slot(f.Context(), slotOfJob(1))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(signed)
	f.Fuzz(func(t *testing.T, b []byte) {
		rec, err := OpenRecord(b, r.vkey)
		if err == nil && (rec.Slot != slotOfJob(1) || len(rec.Cosigned) != 1) {
			t.Errorf("%+v was taken", rec)
		}
	})
}

// FuzzServer sends anything to a witness that knows a log. Nothing may make it
// panic, or change what it knows.
func FuzzServer(f *testing.F) {
	r := newRig(f)
	l := r.begin(f, 1)
	l.grow(f, 2)
	q := request{old: 1, notes: [][]byte{l.checkpoint(f)}}
	f.Add("POST", "/add-checkpoint", q.append(nil)) // without its proof
	f.Add("POST", "/first-record", []byte("{}"))
	f.Add("GET", "/slot/"+slotOfJob(1).String(), []byte{})
	f.Add("GET", "/healthz", []byte{})
	f.Fuzz(func(t *testing.T, method, path string, body []byte) {
		req, err := http.NewRequest(method, "http://witness.example/", bytes.NewReader(body))
		if err != nil {
			return
		}
		req.URL.Path = path
		w := httptest.NewRecorder()
		r.server.ServeHTTP(w, req)
		if w.Code >= 500 {
			t.Errorf("%s %q: %d %s", method, path, w.Code, w.Body)
		}
		if e := r.server.store.bySlot(slotOfJob(1)); e.last.Seq != 0 || e.cosigned != 1 {
			t.Errorf("the log went on to %+v", e.last)
		}
	})
}

func FuzzServices(f *testing.F) {
	_, vkey, _, err := NewKey("build-7.example")
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(vkey + " prod-\n# x\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		services, err := ParseServices(b)
		if err != nil {
			return
		}
		for _, s := range services {
			if s.Key == "" || len(s.Prefixes) == 0 {
				t.Errorf("%+v", s)
			}
		}
	})
}
