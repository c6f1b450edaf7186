package gate

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/org/edamame-posture/pkg/attest"
	"github.com/org/edamame-posture/pkg/evidence"
	"github.com/org/edamame-posture/test/sigstore"
)

// logging signs with the identity of the rig's job, into its log.
func logging(t *testing.T, rig *sigstore.Rig) *attest.Keyless {
	t.Helper()
	by := keyless(t, rig)
	var err error
	if by.Root, err = attest.LoadTrustedRoot(get(t, rig.TrustedRoot)); err != nil {
		t.Fatal(err)
	}
	if by.Services, err = attest.LoadServices(get(t, rig.SigningConfig), time.Now()); err != nil {
		t.Fatal(err)
	}
	return by
}

// believing is a policy that believes the rig's log too, where what is asked
// for is there.
func (w *world) believing(t *testing.T, trust string) *Policy {
	t.Helper()
	p := w.policy(t, E3, "", trust)
	var err error
	if p.Trust.root, err = attest.LoadTrustedRoot(get(t, w.rig.TrustedRoot)); err != nil {
		t.Fatal(err)
	}
	return p
}

// between answers as the log does, but for what change makes of an entry.
func between(t *testing.T, at string, change func(entry, verification map[string]any)) string {
	t.Helper()
	u, err := url.Parse(at)
	if err != nil {
		t.Fatal(err)
	}
	p := httputil.NewSingleHostReverseProxy(u)
	p.ModifyResponse = func(r *http.Response) error {
		if r.Request.Method != http.MethodGet {
			return nil
		}
		var answer map[string]map[string]any
		if err := json.NewDecoder(r.Body).Decode(&answer); err != nil {
			return err
		}
		for _, e := range answer {
			change(e, e["verification"].(map[string]any))
		}
		b, err := json.Marshal(answer)
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader(string(b))), int64(len(b))
		r.Header.Set("Content-Length", fmt.Sprint(len(b)))
		return err
	}
	s := httptest.NewServer(p)
	t.Cleanup(s.Close)
	return s.URL
}

// The start statement goes into a log with the API and the entries of Rekor v1,
// which Rekor's own code makes, and the gate has its inclusion proven.
func TestAStartInRekorV1IsProvenToBeThere(t *testing.T) {
	aStartInRekorV1IsProvenToBeThere(t, sigstore.Options{RekorV1: true})
}

// The same with the real Rekor v1, on Trillian, on a database.
func TestAStartInARealRekorV1IsProvenToBeThere(t *testing.T) {
	aStartInRekorV1IsProvenToBeThere(t, sigstore.Options{RealRekorV1: true})
}

func aStartInRekorV1IsProvenToBeThere(t *testing.T, o sigstore.Options) {
	w := &world{rig: sigstore.Start(t, o)}
	w.finish(t)
	w.by = logging(t, w.rig)
	dir := w.record(t, "9901", choices{noRecord: true})
	c, err := evidence.ParseCommitment(get(t, filepath.Join(dir, "evidence", evidence.CommitmentFile)))
	if err != nil {
		t.Fatal(err)
	}
	w.rig.LogV1.Await(t, c.Slot, 1)
	trust := func(at string) string { return fmt.Sprintf("  jwks: %s\n  rekor: %s\n", w.jwks, at) }
	d := decide(t, w.believing(t, trust(w.rig.LogV1.URL)), asked(nil), dir)
	passes(t, d, E3)
	holds(t, d, "first record", E3, Passed, "")

	other := sigstore.StartLogV1(t)
	otherID, _ := other.Trusted()
	for name, change := range map[string]func(entry, verification map[string]any){
		"another time":            func(e, _ map[string]any) { e["integratedTime"] = e["integratedTime"].(float64) + 1 },
		"another place":           func(e, _ map[string]any) { e["logIndex"] = 7 },
		"a log that nobody knows": func(e, _ map[string]any) { e["logID"] = otherID },
		"no promise":              func(_, v map[string]any) { delete(v, "signedEntryTimestamp") },
		"no proof":                func(_, v map[string]any) { delete(v, "inclusionProof") },
		"a proof of another tree": func(_, v map[string]any) { v["inclusionProof"].(map[string]any)["rootHash"] = strings.Repeat("00", 32) },
		"a path that leads elsewhere": func(_, v map[string]any) {
			v["inclusionProof"].(map[string]any)["hashes"] = []string{strings.Repeat("00", 32)}
		},
		"a checkpoint that nobody made": func(_, v map[string]any) {
			v["inclusionProof"].(map[string]any)["checkpoint"] = "rekor.localhost - 1\n1\nAAAA\n"
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := decide(t, w.believing(t, trust(between(t, w.rig.LogV1.URL, change))), asked(nil), dir)
			holds(t, d, "first record", E3, Refused, WrongRecord)
			if d.ExitCode() != 1 || d.Level > E2 {
				t.Errorf("taken:\n%s", text(t, d))
			}
		})
	}
	t.Run("a later step's beside it", func(t *testing.T) {
		w.record(t, "9901", choices{noRecord: true})
		w.rig.LogV1.Await(t, c.Slot, 2)
		holds(t, decide(t, w.believing(t, trust(w.rig.LogV1.URL)), asked(nil), dir), "first record", E3, Refused, SecondCommitment)
	})
	t.Run("a start that was not logged", func(t *testing.T) {
		dir := w.record(t, "9902", choices{noRecord: true, by: keyless(t, w.rig)})
		holds(t, decide(t, w.believing(t, trust(w.rig.LogV1.URL)), asked(nil), dir), "start statement", E3, Refused, Untrusted)
	})
}

// Rekor v2 cannot be asked what it has about a job, but proves in the bundle that
// the statement is in it.
func TestAStartInRekorV2IsProvenToBeThere(t *testing.T) {
	w := &world{rig: sigstore.Start(t, sigstore.Options{Rekor: true})}
	w.finish(t)
	w.by = logging(t, w.rig)
	trust := w.all()
	dir := w.record(t, "9903", choices{})
	d := decide(t, w.believing(t, trust), asked(nil), dir)
	passes(t, d, E4)
	if c := named(t, d, "start statement"); !strings.Contains(c.Got, "transparency log") {
		t.Errorf("%+v", c)
	}
	bare := w.record(t, "9904", choices{by: keyless(t, w.rig)})
	holds(t, decide(t, w.believing(t, trust), asked(nil), bare), "start statement", E3, Refused, Untrusted)
}
