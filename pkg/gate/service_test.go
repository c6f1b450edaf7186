package gate

import (
	"fmt"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/org/edamame-posture/pkg/attest"
	"github.com/org/edamame-posture/pkg/evidence"
	"github.com/org/edamame-posture/pkg/witness"
)

// machine is an enrolled one, as it stands in the witness's list and the
// policy's.
type machine struct {
	name, run     string // and what its runs begin with
	key           *attest.Key
	public        []byte
	secret, known string // its key for the witness
}

func newMachine(t *testing.T, name, run string) *machine {
	t.Helper()
	m := &machine{name: name, run: run}
	m.key, m.public = newKey(t)
	var err error
	if m.secret, m.known, err = note.GenerateKey(nil, name); err != nil {
		t.Fatal(err)
	}
	return m
}

// fleet is two enrolled machines and a witness that knows both.
type fleet struct {
	w      *world
	a, b   *machine
	server *httptest.Server
	client *witness.Client
	key    string
}

func newFleet(t *testing.T, w *world) *fleet {
	t.Helper()
	f := &fleet{w: w, a: newMachine(t, "build-7.example", "build-7-"), b: newMachine(t, "build-8.example", "build-8-")}
	signer, key, _, err := witness.NewKey("witness.example")
	if err != nil {
		t.Fatal(err)
	}
	f.key = key
	cfg := witness.Config{Dir: filepath.Join(t.TempDir(), "records"), Key: signer}
	for _, m := range []*machine{f.a, f.b} {
		cfg.Services = append(cfg.Services, witness.Service{Key: m.known, Prefixes: []string{m.run}})
	}
	s, err := witness.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	f.server = httptest.NewServer(s)
	t.Cleanup(f.server.Close)
	if f.client, err = witness.NewClient(f.server.URL, key); err != nil {
		t.Fatal(err)
	}
	return f
}

// policy enrols the first machine alone.
func (f *fleet) policy(t *testing.T, level Level, more string) *Policy {
	t.Helper()
	dir := t.TempDir()
	put(t, filepath.Join(dir, "machine.pub"), f.a.public)
	return load(t, dir, fmt.Sprintf(`version: 1
require: {level: %s}
identities:
  - service: build-7.example
    key: machine.pub
    runs: [build-7-]
    repository: octo/app
    repository-id: 4321
%strust: {root: %s, witness: %s, witness-keys: [%s]}
`, level, more, f.w.rig.RootNoLog, f.server.URL, f.key))
}

// record records a job on a machine, whose keys may be used by another.
func (f *fleet) record(t *testing.T, m *machine, run string, change func(*job, *choices, *evidence.Commitment)) string {
	t.Helper()
	j0, c0 := &job{run: m.run + strings.ToLower(run)}, choices{noToken: true, by: m.key, client: f.client}
	c0.endorse = func(committed []byte) string {
		c, err := evidence.ParseCommitment(committed)
		if err != nil {
			t.Fatal(err)
		}
		e, err := witness.Endorse(m.secret, c.Origin, committed)
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	if change != nil {
		change(j0, &c0, &evidence.Commitment{Claims: &evidence.Claims{}})
	}
	dir := recorded(t, func(j *job) {
		j.began, j.run = time.Now(), j0.run
		j.date = j0.date
		if j0.uid != 0 {
			j.more = j0.more
		}
		j.commit = func(c *evidence.Commitment) {
			c.Claims.Issuer, c.Claims.RunID = witness.ServiceIssuer(m.name), run
			if change != nil {
				change(&job{}, &choices{}, c)
			}
		}
		j.outside = f.w.heard(run, c0)
	})
	sign(t, dir, m.key, statement(t, dir))
	return dir
}

func anEnrolledMachineStandsForAnIdentity(t *testing.T, w *world) {
	f := newFleet(t, w)
	good := f.record(t, f.a, "9801", nil)
	passes(t, decide(t, f.policy(t, E4, ""), nil, good), E4)
	passes(t, decide(t, f.policy(t, E4, "    until: 2999-12-31\n"), func(in *Input) { in.Run = "https://github.com/octo/app/actions/runs/9801/attempts/1" }, good), E4)
	refuses(t, decide(t, f.policy(t, E2, ""), func(in *Input) { in.Run = "https://github.com/octo/app/actions/runs/1/attempts/1" }, good), OtherRun)

	type change = func(*job, *choices, *evidence.Commitment)
	n := 9810
	for name, c := range map[string]struct {
		machine *machine
		change  change
		more    string
		check   string
		level   Level
		reason  Reason
	}{
		"a machine that is not enrolled": {f.b, nil, "", "key", E1, BadSignature},
		"its key, in another machine's name": {f.a, func(_ *job, _ *choices, c *evidence.Commitment) {
			c.Claims.Issuer = witness.ServiceIssuer("build-8.example")
		}, "", "enrolled service", E2, WrongIdentity},
		"its key, for a job that an issuer vouches for": {f.a, func(_ *job, _ *choices, c *evidence.Commitment) {
			c.Claims.Issuer = w.rig.Issuer.URL
		}, "", "enrolled service", E2, WrongIdentity},
		"its key, for another machine's run": {f.a, func(j *job, _ *choices, _ *evidence.Commitment) {
			j.run = "build-8-x"
		}, "", "enrolled service", E2, WrongIdentity},
		"another repository": {f.a, func(_ *job, _ *choices, c *evidence.Commitment) {
			c.Claims.RepositoryID = "1"
		}, "", "enrolled service", E2, WrongRepository},
		"an enrolment that has ended": {f.a, nil, "    until: 2026-01-31\n", "enrolled service", E2, Expired},
		"an enrolment that had ended when it was dated": {f.a, func(j *job, _ *choices, _ *evidence.Commitment) {
			j.date = w.dates(true, nil)
		}, "    until: 2026-01-31\n", "enrolled service", E2, Expired},
		"a job with power over the machine": {f.a, func(j *job, _ *choices, _ *evidence.Commitment) {
			j.uid = 1
			j.more = []string{`{"kind":"exec","actor":{"pid":20,"start":90,"image":2},"exe":"/usr/bin/id","filename":"/usr/bin/id","argv":["id"],"argv_bytes":2,"cwd":"/w","uid":0}`}
		}, "", "enrolled service", E2, PowerTaken},
		"a start that another key signed": {f.a, func(_ *job, c *choices, _ *evidence.Commitment) { c.by = f.b.key }, "", "start statement", E3, BadSignature},
		"a start that nobody signed":      {f.a, func(_ *job, c *choices, _ *evidence.Commitment) { c.noBundle = true }, "", "start statement", E3, NoStartStatement},
		"a witness that never heard":      {f.a, func(_ *job, c *choices, _ *evidence.Commitment) { c.noRecord = true }, "", "first record", E3, NoFirstRecord},
		"an end that no witness heard":    {f.a, func(_ *job, c *choices, _ *evidence.Commitment) { c.noEnd = true }, "", "witness", E4, EndUnwitnessed},
	} {
		n++
		run := fmt.Sprint(n)
		t.Run(name, func(t *testing.T) {
			wrap := c.change
			if c.level < E3 && wrap != nil {
				// The witness may refuse it already: the gate is not to rely on that.
				wrap = func(j *job, ch *choices, m *evidence.Commitment) { ch.noRecord = true; c.change(j, ch, m) }
			}
			dir := f.record(t, c.machine, run, wrap)
			d := decide(t, f.policy(t, max(c.level, E2), c.more), nil, dir)
			holds(t, d, c.check, c.level, Refused, c.reason)
			if d.ExitCode() != 1 || d.Level >= c.level {
				t.Errorf("taken:\n%s", text(t, d))
			}
		})
	}
	t.Run("a second recording of the same job", func(t *testing.T) {
		first := f.record(t, f.a, "9899", nil)
		second := f.record(t, f.a, "9899", func(j *job, c *choices, _ *evidence.Commitment) { c.conflict = true; j.run = "build-7-again" })
		holds(t, decide(t, f.policy(t, E3, ""), nil, first), "first record", E3, Refused, SecondCommitment)
		holds(t, decide(t, f.policy(t, E3, ""), nil, second), "first record", E3, Refused, SecondCommitment)
	})
	t.Run("without a witness it is no more than E2", func(t *testing.T) {
		p := f.policy(t, E2, "")
		p.Trust.witness, p.Trust.WitnessKeys = nil, nil
		d := decide(t, p, nil, good)
		passes(t, d, E2)
		if c := named(t, d, "first record"); c.Status != Unchecked {
			t.Errorf("%+v", c)
		}
	})
}

// A service that records every job of a machine knows which it is only when the
// runner tells the first step: it says so in its statement about the start.
func TestAServiceNamesTheJobAfterItsBegin(t *testing.T) {
	a, b := newMachine(t, "build-7.example", "build-7:"), newMachine(t, "build-8.example", "build-8:")
	dir := t.TempDir()
	put(t, filepath.Join(dir, "machine.pub"), a.public)
	policy := load(t, dir, `version: 1
identities: [{service: build-7.example, key: machine.pub, runs: ["build-7:"], repository: octo/app, repository-id: 4321}]
`)
	claims := func(change func(*evidence.Claims)) *evidence.Claims {
		c := &evidence.Claims{Issuer: witness.ServiceIssuer(a.name), RepositoryID: "4321", RunID: "77", RunAttempt: "1", CheckRunID: "12345"}
		if change != nil {
			change(c)
		}
		return c
	}
	record := func(t *testing.T, by *machine, says *evidence.Claims, noBundle bool) string {
		w := &world{}
		dir := recorded(t, func(j *job) {
			j.began, j.run = time.Now(), a.run+strings.TrimPrefix(j.run, "r")
			j.commit = func(c *evidence.Commitment) { c.Claims = nil }
			j.outside = w.heard("77", choices{after: 5, noToken: true, noRecord: true, noBundle: noBundle, by: by.key, says: says, endorse: func([]byte) string { return "" }})
		})
		sign(t, dir, a.key, statement(t, dir))
		return dir
	}
	good := record(t, a, claims(nil), false)
	d := decide(t, policy, nil, good)
	passes(t, d, E2)
	if d.Statements[0].Run != "https://github.com/octo/app/actions/runs/77/attempts/1" {
		t.Errorf("run %q", d.Statements[0].Run)
	}
	if c := named(t, d, "first record"); c.Status != Unchecked {
		t.Errorf("%+v", c)
	}
	passes(t, decide(t, policy, func(in *Input) { in.Run = "https://github.com/octo/app/actions/runs/77/attempts/1" }, good), E2)
	refuses(t, decide(t, policy, func(in *Input) { in.Run = "https://github.com/octo/app/actions/runs/78/attempts/1" }, good), OtherRun)
	// The statement of another recording of the same machine.
	stray := get(t, filepath.Join(good, "evidence", evidence.StartBundleFile))
	for name, c := range map[string]struct {
		dir    string
		reason Reason
	}{
		"no statement":             {record(t, a, nil, true), NoCommitment},
		"one that names no job":    {record(t, a, nil, false), NoCommitment},
		"one by another machine":   {record(t, b, claims(nil), false), BadSignature},
		"another machine's job":    {record(t, a, claims(func(c *evidence.Claims) { c.Issuer = witness.ServiceIssuer(b.name) }), false), WrongIdentity},
		"another repository's job": {record(t, a, claims(func(c *evidence.Claims) { c.RepositoryID = "1" }), false), WrongRepository},
		"one of another recording": {func() string {
			w := &world{}
			dir := recorded(t, func(j *job) {
				j.began, j.run = time.Now(), a.run+strings.TrimPrefix(j.run, "r")
				j.commit = func(c *evidence.Commitment) { c.Claims = nil }
				j.outside = w.heard("77", choices{after: 5, noToken: true, noRecord: true, by: a.key, says: claims(nil), endorse: func([]byte) string { return "" },
					kept: func(string, []byte) []byte { return stray }})
			})
			sign(t, dir, a.key, statement(t, dir))
			return dir
		}(), WrongEvidence},
	} {
		t.Run(name, func(t *testing.T) {
			d := decide(t, policy, nil, c.dir)
			holds(t, d, "enrolled service", E2, Refused, c.reason)
			if d.ExitCode() != 1 {
				t.Errorf("taken:\n%s", text(t, d))
			}
		})
	}
}

func TestMistakesInAnEnrolmentAreTold(t *testing.T) {
	const who = "version: 1\nidentities: [{service: m, key: k.pem, runs: [m-], repository: o/r, repository-id: 1%s}]\n"
	if _, err := ParsePolicy("g.yml", fmt.Appendf(nil, who, ", until: 2027-03-31")); err != nil {
		t.Error(err)
	}
	for policy, want := range map[string]string{
		fmt.Sprintf(who, ", until: soon"):                        "want a day",
		fmt.Sprintf(who, ", triggers: [push]"):                   "says nothing of an enrolled machine",
		strings.Replace(who, "key: k.pem, ", "", 1):              `"key" is missing`,
		strings.Replace(who, "runs: [m-], ", "", 1):              `"runs" is missing`,
		strings.Replace(who, "service: m", "service: 'm\\n'", 1): "want the machine's name",
		"version: 1\nidentities: [{key: k.pem, runs: [m-]}]\n":   "goes with service",
	} {
		if _, err := ParsePolicy("g.yml", []byte(strings.Replace(policy, "%s", "", 1))); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", policy, err, want)
		}
	}
}
