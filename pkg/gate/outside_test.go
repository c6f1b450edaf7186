package gate

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/org/edamame-posture/pkg/attest"
	"github.com/org/edamame-posture/pkg/evidence"
	"github.com/org/edamame-posture/pkg/witness"
	"github.com/org/edamame-posture/test/sigstore"
)

// world is all that stands outside of a watched job: who gives it its identity,
// who signs, and a witness; all of them real servers on loopback.
type world struct {
	rig    *sigstore.Rig
	by     *attest.Keyless
	jwks   string // file of the issuer's keys
	key    string // the witness's
	server *httptest.Server
	client *witness.Client
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{rig: sigstore.Start(t, sigstore.Options{})}
	w.finish(t)
	w.by = keyless(t, w.rig)
	return w
}

// finish makes what stands beside the rig.
func (w *world) finish(t *testing.T) {
	t.Helper()
	w.jwks = filepath.Join(t.TempDir(), "jwks.json")
	if err := witness.SaveJWKS(t.Context(), w.rig.Issuer.URL, w.jwks); err != nil {
		t.Fatal(err)
	}
	w.server, w.client, w.key = newWitness(t, w)
}

func newWitness(t *testing.T, w *world) (*httptest.Server, *witness.Client, string) {
	t.Helper()
	signer, key, _, err := witness.NewKey("witness.example")
	if err != nil {
		t.Fatal(err)
	}
	s, err := witness.Open(witness.Config{
		Dir: filepath.Join(t.TempDir(), "records"), Key: signer, Issuers: []witness.Issuer{{URL: w.rig.Issuer.URL, JWKS: w.jwks, Repositories: []string{"4321"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	at := httptest.NewServer(s)
	t.Cleanup(at.Close)
	c, err := witness.NewClient(at.URL, key)
	if err != nil {
		t.Fatal(err)
	}
	return at, c, key
}

// outside is what a recording tells others of itself.
type outside struct {
	after  int // the line after which they hear of it
	begin  func(t testing.TB, l *evidence.Log, g *evidence.Growth, committed []byte, add func(string))
	during func(t testing.TB, g *evidence.Growth, add func(string))
	end    func(t testing.TB, g *evidence.Growth)
}

// choices are what a test changes in what others hear.
type choices struct {
	audience                    func(committed []byte) string
	noToken, noBundle, noRecord bool
	noDuring, noEnd             bool
	claims                      sigstore.Claims // of the start token alone
	client                      *witness.Client
	after                       int
	silence                     time.Duration // before the witness hears of the log again
	lateRecord                  bool          // the log names the record when the job runs
	kept                        func(name string, data []byte) []byte
	conflict                    bool                          // the witness knows another commitment: that is no error
	says                        *evidence.Claims              // the job that the start statement names, where the commitment does not
	by                          attest.Signer                 // of the start; nil: the job's identity
	endorse                     func(committed []byte) string // an enrolled service's word, in place of a token
	status                      func(committed []byte) []byte // what GitHub answered, in place of a witness
	change                      func(*evidence.Commitment)
	job                         func(*job)
}

// show shows the witness how the log grew.
func show(t testing.TB, c *witness.Client, g *evidence.Growth) (size uint64, line string, err error) {
	t.Helper()
	old, size, path, notes, err := g.Show()
	if err != nil {
		t.Fatal(err)
	}
	if line, _, err = c.AddCheckpoint(t.Context(), old, path, notes); err != nil {
		return 0, "", err
	}
	return size, line, g.Accept()
}

// heard is a recording of which everybody hears as in a true run, but for what
// a test chooses.
func (w *world) heard(run string, c choices) *outside {
	client := c.client
	if client == nil {
		client = w.client
	}
	o := &outside{after: c.after}
	known := false
	var late func(add func(string))
	o.begin = func(t testing.TB, l *evidence.Log, g *evidence.Growth, committed []byte, add func(string)) {
		t.Helper()
		put := func(name, note string, data []byte, add func(string)) {
			if c.kept != nil {
				data = c.kept(name, data)
			}
			if err := l.Attach(name, data); err != nil {
				t.Fatal(err)
			}
			add(fmt.Sprintf(`{"kind":"note","via":"monitor","detail":%q,"sha256":%q}`, note, digest(data)))
		}
		audience := evidence.Audience(committed)
		if c.audience != nil {
			audience = c.audience(committed)
		}
		var token, endorsement string
		if c.endorse == nil {
			w.rig.Issuer.Set(c.claims)
			var err error
			if token, err = w.rig.Issuer.Token(audience); err != nil {
				t.Fatal(err)
			}
			w.runs(run)
		} else {
			endorsement = c.endorse(committed)
		}
		note := l.Note()
		if !c.noToken {
			put(evidence.StartTokenFile, "start token", []byte(token), add)
		}
		if !c.noBundle {
			payload, err := attest.DescribeStart(committed, c.says)
			if err != nil {
				t.Fatal(err)
			}
			by := attest.Signer(w.by)
			if c.by != nil {
				by = c.by
			}
			bundle, err := attest.SignPayload(t.Context(), payload, by)
			if err != nil {
				t.Fatal(err)
			}
			put(evidence.StartBundleFile, "start statement", bundle, add)
		}
		if c.status != nil {
			answer := c.status(committed)
			if late = func(add func(string)) { put(evidence.RecordFile, "first record", answer, add) }; !c.lateRecord {
				late(add)
			}
		}
		if c.noRecord || c.status != nil {
			return
		}
		first := witness.FirstRecord{Commitment: committed, Checkpoint: string(note), Token: token, Endorsement: endorsement}
		if _, _, _, _, err := g.Show(); err != nil {
			t.Fatal(err)
		}
		if _, err := client.FirstRecord(t.Context(), first); c.conflict && err != nil {
			return
		} else if err != nil {
			t.Fatal(err)
		}
		if err := g.Accept(); err != nil {
			t.Fatal(err)
		}
		known = true
		parsed, err := evidence.ParseCommitment(committed)
		if err != nil {
			t.Fatal(err)
		}
		var id witness.ID
		if err := id.UnmarshalText([]byte(parsed.Slot)); err != nil {
			t.Fatal(err)
		}
		_, signed, err := client.Slot(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		late = func(add func(string)) { put(evidence.RecordFile, "first record", signed, add) }
		if !c.lateRecord {
			late(add)
		}
	}
	if !c.noDuring {
		o.during = func(t testing.TB, g *evidence.Growth, add func(string)) {
			t.Helper()
			if c.lateRecord && late != nil {
				late(add)
			}
			if !known {
				return
			}
			if c.silence > 0 {
				time.Sleep(c.silence) // the witness's clock has seconds
			}
			size, line, err := show(t, client, g)
			if err != nil {
				if !c.conflict {
					t.Fatal(err)
				}
				return
			}
			add(fmt.Sprintf(`{"kind":"note","via":"monitor","detail":"cosigned by a witness up to here","count":%d,"sha256":%q}`, size, digest([]byte(line))))
		}
	}
	if !c.noEnd {
		o.end = func(t testing.TB, g *evidence.Growth) {
			t.Helper()
			if !known {
				return
			}
			if _, _, err := show(t, client, g); err != nil && !c.conflict {
				t.Fatal(err)
			}
		}
	}
	return o
}

// record records a job of a run of its own, so that each test has its slot, and
// signs it. It returns the folder, and the run.
func (w *world) record(t *testing.T, run string, c choices) string {
	t.Helper()
	w.runs(run)
	dir := recorded(t, func(j *job) {
		j.began = time.Now()
		j.commit = func(m *evidence.Commitment) {
			m.Claims.Issuer, m.Claims.RunID = w.rig.Issuer.URL, run
			if c.change != nil {
				c.change(m)
			}
		}
		j.outside = w.heard(run, c)
		if c.job != nil {
			c.job(j)
		}
	})
	s := statement(t, dir)
	sign(t, dir, w.by, s)
	w.vouch(t, dir, s)
	return dir
}

// vouch has the issuer say that the world's job signs a statement.
func (w *world) vouch(t *testing.T, dir string, s *attest.Statement) {
	t.Helper()
	payload, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	token, err := w.rig.Issuer.Token(evidence.EndAudience(payload))
	if err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(dir, endTokenName), []byte(token))
}

// runs says of which run the job is whose identity is asked for from now on.
func (w *world) runs(run string) {
	claims := sigstore.Job()
	claims["run_id"] = run
	w.rig.Issuer.Set(claims)
}

// policy believes the world's workflow, keys and witness; require and trust are
// put beside what is there.
func (w *world) policy(t *testing.T, level Level, require, trust string) *Policy {
	t.Helper()
	p := load(t, t.TempDir(), fmt.Sprintf(`version: 1
require:
  level: %s
%sidentities:
  - issuer: %s
    repository: octo/app
    repository-id: 4321
    owner-id: 77
    workflow: .github/workflows/release.yml@refs/heads/main
trust:
  root: %s
  actions: [%s]
%s`, level, require, w.rig.Issuer.URL, w.rig.RootNoLog, release, trust))
	return p
}

// all is what the policy trusts where a test changes nothing.
func (w *world) all() string {
	return fmt.Sprintf("  jwks: %s\n  witness: %s\n  witness-keys: [%s]\n", w.jwks, w.server.URL, w.key)
}

// asked lets the gate ask GitHub about the run's jobs and the workflow.
func asked(change func(*Job)) func(*Input) {
	return func(in *Input) {
		in.Jobs = func(context.Context, string) ([]Job, error) {
			j := Job{ID: 555, Name: "build", Attempt: 1, Status: "completed", Conclusion: "success", Started: time.Now().Add(-20 * time.Second)}
			if change != nil {
				change(&j)
			}
			return []Job{{ID: 777, Name: "lint", Attempt: 1, Status: "completed", Conclusion: "success", Started: time.Now().Add(-20 * time.Second)}, j}, nil
		}
		in.File = func(context.Context, string, string, string) ([]byte, error) { return []byte(workflow), nil }
	}
}

// holds fails the test where a check did not come to what is wanted.
func holds(t *testing.T, d *Decision, name string, level Level, status Status, reason Reason) {
	t.Helper()
	for _, s := range d.Statements {
		for _, c := range s.Checks {
			if c.Name == name && c.Level == level {
				if c.Status != status || c.Reason != reason || status == Refused && (c.Want == "" || c.Got == "" || c.Do == "") {
					t.Errorf("want %s %s:\n%s", status, reason, text(t, d))
				}
				return
			}
		}
	}
	t.Fatalf("there is no check %q at %s:\n%s", name, level, text(t, d))
}

// One world serves all of these, since a machine runs one timestamp authority at
// a time and each waits for it.
func TestWhatOthersHeardOfARecordingIsHeldAgainstIt(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		name string
		test func(*testing.T, *world)
	}{
		{"a recording that others heard of passes up to E4", aRecordingThatOthersHeardOfPassesUpToE4},
		{"another job that signs the true record is refused", anotherJobThatSignsTheTrueRecordIsRefused},
		{"a start that is not the jobs own is refused", aStartThatIsNotTheJobsOwnIsRefused},
		{"a second start is refused whoever made it", aSecondStartIsRefusedWhoeverMadeIt},
		{"a log that the witness did not see to its end is not E4", aLogThatTheWitnessDidNotSeeToItsEndIsNotE4},
		{"a forged level in a statement is nothing", aForgedLevelInAStatementIsNothing},
		{"what a timestamp authority said is held against the log", whatATimestampAuthoritySaidIsHeldAgainstTheLog},
		{"an enrolled machine stands for an identity", anEnrolledMachineStandsForAnIdentity},
		{"a first record is looked up on the commit", aFirstRecordIsLookedUpOnTheCommit},
		{"a first record is looked up in a transparency log", aFirstRecordIsLookedUpInATransparencyLog},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, w) })
	}
}

// All jobs of a run have the same certificate: another one can sign the record
// of this one, about a file of its own.
func anotherJobThatSignsTheTrueRecordIsRefused(t *testing.T, w *world) {
	const run = "9190"
	policy := w.policy(t, E3, "", w.all())
	dir := w.record(t, run, choices{})
	passes(t, decide(t, policy, asked(nil), dir), E4)
	honest := get(t, filepath.Join(dir, endTokenName))

	evil := statement(t, dir, attest.Subject{Name: "dist/app.tgz", Digest: attest.Digest{SHA256: sum("evil")}})
	ask := func(in *Input) {
		asked(nil)(in)
		in.Artifacts = []Artifact{{Name: "app.tgz", SHA256: sum("evil")}}
	}
	sign(t, dir, w.by, evil)
	for name, c := range map[string]struct {
		leave  func()
		reason Reason
	}{
		"the true statement's token": {func() { put(t, filepath.Join(dir, endTokenName), honest) }, WrongAudience},
		"a token of its own": {func() {
			claims := sigstore.Job()
			claims["run_id"], claims["check_run_id"] = run, "777"
			w.rig.Issuer.Set(claims)
			w.vouch(t, dir, evil)
			w.runs(run)
		}, OtherJob},
		"none":     {func() { _ = os.Remove(filepath.Join(dir, endTokenName)) }, NoEndToken},
		"no token": {func() { put(t, filepath.Join(dir, endTokenName), []byte("x")) }, BadSignature},
		"no file": {func() {
			_ = os.Remove(filepath.Join(dir, endTokenName))
			_ = os.Mkdir(filepath.Join(dir, endTokenName), 0o755)
		}, NoEndToken},
	} {
		_ = os.RemoveAll(filepath.Join(dir, endTokenName))
		c.leave()
		d := decide(t, policy, ask, dir)
		holds(t, d, "end token", E3, Refused, c.reason)
		if d.Outcome != Refused || d.Level != E2 {
			t.Errorf("%s:\n%s", name, text(t, d))
		}
	}
}

func aRecordingThatOthersHeardOfPassesUpToE4(t *testing.T, w *world) {
	dir := w.record(t, "9101", choices{})
	passes(t, decide(t, w.policy(t, E4, "", w.all()), asked(nil), dir), E4)

	// Each thing that the gate is not given holds the level down: nothing is
	// taken to be so.
	for name, c := range map[string]struct {
		trust string
		ask   func(*Input)
		check string
		level Level
	}{
		"no keys of the issuer": {strings.Replace(w.all(), "  jwks: "+w.jwks+"\n", "", 1), asked(nil), "start token", E2},
		"nobody at GitHub":      {w.all(), nil, "job of the run", E2},
		"no witness's key":      {"  jwks: " + w.jwks + "\n", asked(nil), "first record", E2},
		"no witness":            {strings.Replace(w.all(), "  witness: "+w.server.URL+"\n", "", 1), asked(nil), "witness", E3},
	} {
		t.Run(name, func(t *testing.T) {
			d := decide(t, w.policy(t, E2, "", c.trust), c.ask, dir)
			passes(t, d, c.level)
			if got := named(t, d, c.check); got.Status != Unchecked || got.Got == "" {
				t.Errorf("%+v", got)
			}
			d = decide(t, w.policy(t, E4, "", c.trust), c.ask, dir)
			if d.ExitCode() != 1 || !slices.Contains(d.Reasons, LowLevel) {
				t.Errorf("E4 was asked for:\n%s", text(t, d))
			}
		})
	}
	t.Run("the issuer may be asked for its keys", func(t *testing.T) {
		trust := strings.Replace(w.all(), "  jwks: "+w.jwks+"\n", "", 1)
		fetch := func(from string) func(*Input) {
			return func(in *Input) {
				asked(nil)(in)
				in.Keys = func(ctx context.Context, issuer string) (*jose.JSONWebKeySet, error) {
					if issuer != w.rig.Issuer.URL {
						t.Errorf("%s was asked", issuer)
					}
					return witness.FetchJWKS(ctx, from)
				}
			}
		}
		passes(t, decide(t, w.policy(t, E4, "", trust), fetch(w.rig.Issuer.URL), dir), E4)
		gone := httptest.NewServer(nil)
		gone.Close()
		d := decide(t, w.policy(t, E3, "", trust), fetch(gone.URL), dir)
		holds(t, d, "start token", E3, Unknown, ServiceDown)
		if d.ExitCode() != 4 {
			t.Errorf("exit code %d:\n%s", d.ExitCode(), text(t, d))
		}
	})
	t.Run("the witness is down", func(t *testing.T) {
		server, client, key := newWitness(t, w)
		other := w.record(t, "9102", choices{client: client})
		unheard := w.record(t, "9103", choices{client: client, noRecord: true})
		trust := fmt.Sprintf("  jwks: %s\n  witness: %s\n  witness-keys: [%s]\n", w.jwks, server.URL, key)
		passes(t, decide(t, w.policy(t, E4, "", trust), asked(nil), other), E4)
		server.Close()
		passes(t, decide(t, w.policy(t, E3, "", trust), asked(nil), other), E3)
		d := decide(t, w.policy(t, E4, "", trust), asked(nil), other)
		holds(t, d, "witness", E4, Unknown, ServiceDown)
		if d.ExitCode() != 4 {
			t.Errorf("exit code %d:\n%s", d.ExitCode(), text(t, d))
		}
		// Without what it signed at the start, it might have another first record.
		d = decide(t, w.policy(t, E3, "", trust), asked(nil), unheard)
		holds(t, d, "first record", E3, Unknown, ServiceDown)
		if d.ExitCode() != 4 || d.Level > E2 {
			t.Errorf("exit code %d:\n%s", d.ExitCode(), text(t, d))
		}
	})
}

func aStartThatIsNotTheJobsOwnIsRefused(t *testing.T, w *world) {
	otherKeys := filepath.Join(t.TempDir(), "other.json")
	put(t, otherKeys, []byte(strings.Replace(string(get(t, w.jwks)), `"rig"`, `"of-last-year"`, 1)))
	forged := filepath.Join(t.TempDir(), "forged.json")
	{
		pub, _, err := ed25519.GenerateKey(nil)
		if err != nil {
			t.Fatal(err)
		}
		b, err := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: pub, KeyID: "rig"}}}.Keys[0].MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		put(t, forged, []byte(`{"keys":[`+string(b)+`]}`))
	}
	elsewhere, _, elsewhereKey := newWitness(t, w)
	_, stranger, _ := newWitness(t, w)
	n := 9200
	for name, c := range map[string]struct {
		choices
		trust  string
		ask    func(*Job)
		check  string
		reason Reason
	}{
		"without a token":                 {choices: choices{noToken: true}, check: "start token", reason: NoStartToken},
		"a token for another audience":    {choices: choices{audience: func([]byte) string { return "sigstore" }, noRecord: true}, check: "start token", reason: WrongAudience},
		"a token for another commitment":  {choices: choices{audience: func([]byte) string { return evidence.Audience([]byte("{}")) }, noRecord: true}, check: "start token", reason: WrongAudience},
		"a token of another job":          {choices: choices{claims: sigstore.Claims{"check_run_id": "777"}, noRecord: true}, check: "start token", reason: OtherJob},
		"a token of another run":          {choices: choices{claims: sigstore.Claims{"run_id": "1"}, noRecord: true}, check: "start token", reason: OtherJob},
		"a token of another workflow":     {choices: choices{claims: sigstore.Claims{"workflow_ref": "octo/app/.github/workflows/lint.yml@refs/heads/main"}}, check: "start token", reason: WrongIdentity},
		"a token of a fork's trigger":     {choices: choices{claims: sigstore.Claims{"event_name": "pull_request_target"}}, check: "start token", reason: WrongTrigger},
		"a token of another commit":       {choices: choices{claims: sigstore.Claims{"sha": strings.Repeat("a", 40)}}, check: "start token", reason: OtherCommit},
		"a key that is in no archive":     {trust: "  jwks: " + otherKeys + "\n", check: "start token", reason: NoIssuerKey},
		"a key that is not the issuer's":  {trust: "  jwks: " + forged + "\n", check: "start token", reason: BadSignature},
		"after something of the job":      {choices: choices{after: 4, noRecord: true}, check: "start token", reason: LateStart},
		"a log that began an hour before": {choices: choices{job: func(j *job) { j.began = time.Now().Add(-time.Hour) }}, check: "start token", reason: LateStart},
		"a commitment of no job":          {choices: choices{change: func(c *evidence.Commitment) { c.Claims = nil }, noRecord: true}, check: "start token", reason: OtherJob},
		"a job that GitHub does not list": {ask: func(j *Job) { j.ID = 1 }, check: "job of the run", reason: JobUnknown},
		"a job that began long before":    {ask: func(j *Job) { j.Started = time.Now().Add(-10 * time.Minute) }, check: "job of the run", reason: LateStart},
		"a job that began afterwards":     {ask: func(j *Job) { j.Started = time.Now().Add(10 * time.Minute) }, check: "job of the run", reason: LateStart},
		"a job of no known begin":         {ask: func(j *Job) { j.Started = time.Time{} }, check: "job of the run", reason: LateStart},
		"a job that ran in attempt 2":     {ask: func(j *Job) { j.Attempt = 2 }, check: "job of the run", reason: OtherRun},
		"a job of another name":           {ask: func(j *Job) { j.Name = "test" }, check: "workflow file", reason: WrongWorkflow},
		"the signing service hung":        {choices: choices{noBundle: true}, check: "start statement", reason: NoStartStatement},
		"a start statement about another": {choices: choices{kept: w.otherStatement(t)}, check: "start statement", reason: WrongEvidence},
		"a start statement by nobody":     {choices: choices{kept: instead(evidence.StartBundleFile, []byte("{}"))}, check: "start statement", reason: Malformed},
		"without a first record":          {choices: choices{noRecord: true}, check: "first record", reason: NoFirstRecord},
		"a record that came late":         {choices: choices{lateRecord: true}, check: "first record", reason: LateStart},
		"a record by another witness":     {choices: choices{client: stranger}, trust: fmt.Sprintf("  jwks: %s\n  witness-keys: [%s]\n", w.jwks, w.key), check: "first record", reason: WrongRecord},
		"a record that is none":           {choices: choices{kept: instead(evidence.RecordFile, []byte("{}"))}, check: "first record", reason: WrongRecord},
		"a witness that knows nothing":    {trust: fmt.Sprintf("  jwks: %s\n  witness: %s\n  witness-keys: [%s, %s]\n", w.jwks, elsewhere.URL, elsewhereKey, w.key), check: "first record", reason: NoFirstRecord},
		"a clock that runs too fast":      {choices: choices{job: func(j *job) { j.pace = 30 * second }}, check: "outside times", reason: ClockDiffers},
	} {
		n++
		run := fmt.Sprint(n)
		t.Run(name, func(t *testing.T) {
			dir := w.record(t, run, c.choices)
			trust := c.trust
			if trust == "" {
				trust = w.all()
			}
			const slow = "  max-silence: 5m\n"
			d := decide(t, w.policy(t, E3, slow, trust), asked(c.ask), dir)
			holds(t, d, c.check, E3, Refused, c.reason)
			if d.Outcome != Refused || d.Level > E2 {
				t.Errorf("not refused:\n%s", text(t, d))
			}
			// Nothing is wrong with it at E2.
			passes(t, decide(t, w.policy(t, E2, slow, trust), asked(c.ask), dir), E2)
		})
	}
}

// instead puts other bytes in the place of a file beside the log.
func instead(file string, data []byte) func(string, []byte) []byte {
	return func(name string, b []byte) []byte {
		if name == file {
			return data
		}
		return b
	}
}

// otherStatement is a start statement by the right identity about another
// commitment.
func (w *world) otherStatement(t *testing.T) func(string, []byte) []byte {
	t.Helper()
	c := evidence.Commitment{Version: 1, Origin: "edamame-posture/other", Key: "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", Intent: "none", Signatures: "none"}
	b, err := c.Encode()
	if err != nil {
		t.Fatal(err)
	}
	payload, err := attest.DescribeStart(b, nil)
	if err != nil {
		t.Fatal(err)
	}
	bundle, err := attest.SignPayload(t.Context(), payload, w.by)
	if err != nil {
		t.Fatal(err)
	}
	return instead(evidence.StartBundleFile, bundle)
}

// A later step of the job, or another job of its run, has the same right to ask
// for tokens, and makes all that the monitor makes.
func aSecondStartIsRefusedWhoeverMadeIt(t *testing.T, w *world) {
	e3 := w.policy(t, E3, "", w.all())
	t.Run("a later step's, alone", func(t *testing.T) {
		w.record(t, "9301", choices{})
		late := w.record(t, "9301", choices{conflict: true})
		d := decide(t, e3, asked(nil), late)
		holds(t, d, "first record", E3, Refused, SecondCommitment)
		if d.ExitCode() != 1 || d.Level > E2 {
			t.Errorf("taken:\n%s", text(t, d))
		}
	})
	t.Run("the true one beside a later step's", func(t *testing.T) {
		first := w.record(t, "9302", choices{})
		passes(t, decide(t, e3, asked(nil), first), E4)
		w.record(t, "9302", choices{conflict: true})
		d := decide(t, e3, asked(nil), first)
		holds(t, d, "first record", E3, Refused, SecondCommitment)
		holds(t, d, "witness", E4, Refused, SecondCommitment)
	})
	t.Run("both", func(t *testing.T) {
		refuses(t, decide(t, e3, asked(nil), w.record(t, "9303", choices{}), w.record(t, "9303", choices{conflict: true})), SecondCommitment)
	})
	t.Run("the first one's record beside another log", func(t *testing.T) {
		var record []byte
		w.record(t, "9304", choices{kept: func(name string, b []byte) []byte {
			if name == evidence.RecordFile {
				record = b
			}
			return b
		}})
		// Of a witness that is not asked, for the policy does not say where it is.
		trust := fmt.Sprintf("  jwks: %s\n  witness-keys: [%s]\n", w.jwks, w.key)
		_, stranger, _ := newWitness(t, w)
		late := w.record(t, "9304", choices{client: stranger, kept: instead(evidence.RecordFile, record)})
		holds(t, decide(t, w.policy(t, E3, "", trust), asked(nil), late), "first record", E3, Refused, SecondCommitment)
	})
	t.Run("of another job of the run, under this one's name", func(t *testing.T) {
		lint := func(c choices) choices {
			c.claims = sigstore.Claims{"check_run_id": "777"}
			c.change = func(m *evidence.Commitment) { m.Claims.CheckRunID = "777" }
			return c
		}
		d := decide(t, e3, asked(nil), w.record(t, "9305", lint(choices{})))
		holds(t, d, "first record", E3, Passed, "") // nobody watched that job
		holds(t, d, "workflow file", E3, Refused, WrongWorkflow)
		if d.Level > E2 {
			t.Errorf("taken:\n%s", text(t, d))
		}
	})
	t.Run("a fork of it, told to the witness", func(t *testing.T) {
		keys, kept := new(ring), map[string][]byte{}
		began := time.Now()
		same := func(j *job) { j.keys, j.run, j.began = keys, "forked", began }
		first := w.record(t, "9307", choices{job: same, kept: func(name string, b []byte) []byte { kept[name] = b; return b }})
		passes(t, decide(t, e3, asked(nil), first), E4)
		keys.used = 0
		w.record(t, "9307", choices{conflict: true, kept: func(name string, _ []byte) []byte { return kept[name] }, job: func(k *job) {
			same(k)
			k.more = []string{`{"kind":"fork","actor":{"pid":21,"start":91},"parent":{"pid":20,"start":90,"image":1}}`}
		}})
		// Which of the two is true nobody can tell.
		d := decide(t, w.policy(t, E4, "", w.all()), asked(nil), first)
		holds(t, d, "witness", E4, Refused, OtherHistory)
		if d.ExitCode() != 1 {
			t.Errorf("taken:\n%s", text(t, d))
		}
	})
	t.Run("with the keys of the first", func(t *testing.T) {
		// The thief has all keys of the log, begins it anew with the same
		// commitment, token and record, and changes what the job did.
		keys := new(ring)
		kept := map[string][]byte{}
		run, name := "9306", "stolen"
		began := time.Now()
		j := func(j *job) { j.keys, j.run, j.began = keys, name, began }
		w.record(t, run, choices{job: j, kept: func(name string, b []byte) []byte { kept[name] = b; return b }})
		keys.used = 0
		_, stranger, _ := newWitness(t, w)
		forged := w.record(t, run, choices{client: stranger, kept: func(name string, _ []byte) []byte { return kept[name] }, job: func(k *job) {
			j(k)
			k.more = []string{`{"kind":"fork","actor":{"pid":21,"start":91},"parent":{"pid":20,"start":90,"image":1}}`}
		}})
		d := decide(t, w.policy(t, E4, "", w.all()), asked(nil), forged)
		holds(t, d, "witness", E4, Refused, OtherHistory)
		if d.ExitCode() != 1 || d.Level > E3 {
			t.Errorf("taken:\n%s", text(t, d))
		}
	})
}

func aLogThatTheWitnessDidNotSeeToItsEndIsNotE4(t *testing.T, w *world) {
	for name, c := range map[string]struct {
		choices
		require string
		reason  Reason
	}{
		"the end is held back":       {choices: choices{noEnd: true}, reason: EndUnwitnessed},
		"it hears nothing for long":  {choices: choices{silence: 3 * time.Second}, require: "  max-unwitnessed: 1s\n", reason: Unwitnessed},
		"it heard of the start only": {choices: choices{noEnd: true, noDuring: true}, reason: EndUnwitnessed},
	} {
		t.Run(name, func(t *testing.T) {
			run := fmt.Sprint(9400 + len(name)) // each of its own
			dir := w.record(t, run, c.choices)
			d := decide(t, w.policy(t, E4, c.require, w.all()), asked(nil), dir)
			holds(t, d, "witness", E4, Refused, c.reason)
			passes(t, decide(t, w.policy(t, E3, c.require, w.all()), asked(nil), dir), E3)
		})
	}
	t.Run("a thief closes the log before its end", func(t *testing.T) {
		// The true log goes on to the witness; the thief has the keys of its
		// last checkpoints, leaves those out, and ends it himself.
		keys, kept := new(ring), map[string][]byte{}
		began := time.Now()
		same := func(j *job) { j.keys, j.run, j.began = keys, "withheld", began }
		w.record(t, "9450", choices{kept: func(name string, b []byte) []byte { kept[name] = b; return b }, job: func(j *job) {
			same(j)
			for i := range 30 {
				j.more = append(j.more, fmt.Sprintf(`{"kind":"fork","actor":{"pid":%d,"start":91},"parent":{"pid":20,"start":90,"image":1}}`, 100+i))
			}
		}})
		keys.used = 0
		_, stranger, _ := newWitness(t, w)
		short := w.record(t, "9450", choices{client: stranger, kept: func(name string, _ []byte) []byte { return kept[name] }, job: same})
		d := decide(t, w.policy(t, E4, "", w.all()), asked(nil), short)
		holds(t, d, "witness", E4, Refused, Withheld)
	})
}

// A statement that grades itself gets no level for it.
func aForgedLevelInAStatementIsNothing(t *testing.T, w *world) {
	dir := w.record(t, "9501", choices{noToken: true, noBundle: true, noRecord: true})
	payload := string(mustEncode(t, dir))
	for _, extra := range []string{`"predicate":{"assurance":"E4","level":"E4","verifiedLevels":["EDAMAME_POSTURE_E4"],`, `"level":"E4","predicate":{`} {
		signPayload(t, dir, w.by, []byte(strings.Replace(payload, `"predicate":{`, extra, 1)))
		d := decide(t, w.policy(t, E2, "", w.all()), asked(nil), dir)
		passes(t, d, E2)
		if d := decide(t, w.policy(t, E4, "", w.all()), asked(nil), dir); d.ExitCode() != 1 || d.Level != E2 {
			t.Errorf("taken:\n%s", text(t, d))
		}
	}
}

func mustEncode(t *testing.T, dir string) []byte {
	t.Helper()
	b, err := statement(t, dir).Encode()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestClocksGoTogetherOrNot(t *testing.T) {
	at := time.Unix(1_800_000_000, 0)
	see := func(seconds float64, from, to int64) sighting {
		return sighting{"x", at.Add(time.Duration(seconds * float64(time.Second))), from * second, to * second}
	}
	for name, c := range map[string]struct {
		a, b sighting
		off  time.Duration
	}{
		"together":                             {see(0, 100, 101), see(60, 160, 161), 0},
		"within the leeway":                    {see(0, 100, 100), see(54.5, 160, 160), 0},
		"the log ran fast":                     {see(0, 100, 100), see(40, 160, 160), 13400 * time.Millisecond},
		"the machine stood still":              {see(0, 100, 100), see(100, 160, 160), 33400 * time.Millisecond},
		"it may have stood still: who knows":   {see(0, 100, 100), sighting{"x", at.Add(100 * time.Second), 160 * second, 1<<63 - 1}, 0},
		"a hundredth over a long time":         {see(0, 100, 100), see(10_000, 10_190, 10_190), 0},
		"more than a hundredth over long time": {see(0, 100, 100), see(10_000, 10_290, 10_290), 82100 * time.Millisecond},
	} {
		if got := apart(c.a, c.b); got != c.off {
			t.Errorf("%s: %v, want %v", name, got, c.off)
		}
	}
}
