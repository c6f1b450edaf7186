package gate

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/org/edamame-posture/pkg/attest"
	"github.com/org/edamame-posture/pkg/evidence"
	"github.com/org/edamame-posture/test/sigstore"
)

// What cannot be judged has no verdict that could be held against anything: that
// must lower the level, and never look as if all had passed.
func TestInputsThatCannotBeReadPassNothing(t *testing.T) {
	by, public := newKey(t)
	policy := keyPolicy(t, public, "  no-findings: high\n  power: none\n")
	for _, name := range []string{"intent.json", "signatures.json"} {
		dir := recorded(t, func(j *job) { j.more, j.intent = []string{registers}, "version: 1\n" })
		at := filepath.Join(dir, "evidence", "inputs", name)
		if _, err := os.Stat(at); err != nil {
			t.Fatal(err)
		}
		put(t, at, []byte("x"))
		reseal(t, dir, func(*evidence.Manifest) {})
		// Who can sign makes the statement fit.
		s, err := attest.Make(get(t, filepath.Join(dir, "evidence", "manifest.json")), get(t, filepath.Join(dir, "verdict.json")), "test")
		if err != nil {
			t.Fatal(err)
		}
		s.Subject = append(s.Subject, attest.Subject{Name: "app", Digest: attest.Digest{SHA256: artifact.SHA256}})
		sign(t, dir, by, s)
		d := decide(t, policy, nil, dir)
		if d.Outcome == Passed || d.Level != None || !slices.Contains(d.Reasons, CannotRecompute) {
			t.Errorf("%s:\n%s", name, text(t, d))
		}
	}
}

// The manifest says which judge there was, and whoever signs writes it.
func TestTheGateJudgesWithItsOwnJudge(t *testing.T) {
	by, public := newKey(t)
	policy := keyPolicy(t, public, "  no-findings: medium\n")
	const drift = `{"kind":"drift","via":"monitor","class":"sudoers","path":"/etc/sudoers.d/x","detail":"added"}`
	dir := recorded(t, func(j *job) { j.more = []string{drift} })
	sign(t, dir, by, statement(t, dir))
	refuses(t, decide(t, policy, nil, dir), HasFinding)
	e, err := evidence.Open(filepath.Join(dir, "evidence"))
	if err != nil {
		t.Fatal(err)
	}
	reseal(t, dir, func(m *evidence.Manifest) { m.Judge = "judge/1" })
	e.Close()
	if e, err = evidence.Open(filepath.Join(dir, "evidence")); err != nil {
		t.Fatal(err)
	}
	in, err := e.Inputs()
	if err != nil {
		t.Fatal(err)
	}
	j, err := e.Replay(in)
	if err != nil {
		t.Fatal(err)
	}
	e.Close()
	put(t, filepath.Join(dir, "verdict.json"), j.Verdict().Encode())
	sign(t, dir, by, statement(t, dir))
	refuses(t, decide(t, policy, nil, dir), HasFinding)
}

// A step can have the honest statement name more than the files it is about.
func TestAnotherNameOfADigestHidesNoWriter(t *testing.T) {
	by, public := newKey(t)
	policy := keyPolicy(t, public, "  subjects: {written-by: [npm]}\n")
	dir := recorded(t, func(j *job) {
		j.more = append(append([]string{}, shell...), made(24, 7, "/w/dist/app.tgz"), made(23, 8, "/w/dist/LICENSE"))
	})
	sum := attest.Digest{SHA256: artifact.SHA256}
	for _, other := range []attest.Subject{
		{Name: "dist/LICENSE", Digest: sum},
		{Name: "dist/LICENSE", Digest: sum, MediaType: attest.ImageType},
	} {
		sign(t, dir, by, statement(t, dir, attest.Subject{Name: "dist/app.tgz", Digest: sum}, other))
		d := decide(t, policy, nil, dir)
		if !slices.Contains(d.Reasons, OtherWriter) {
			t.Errorf("with %+v:\n%s", other, text(t, d))
		}
	}
	// An image is somebody's word, and no file.
	file := artifact
	file.File = true
	sign(t, dir, by, statement(t, dir, attest.Subject{Name: "dist/app.tgz", Digest: sum, MediaType: attest.ImageType}))
	refuses(t, decide(t, keyPolicy(t, public, ""), func(in *Input) { in.Artifacts = []Artifact{file} }, dir), WrongSubject)
	passes(t, decide(t, keyPolicy(t, public, ""), nil, dir), E1)
	refuses(t, decide(t, policy, nil, dir), WriterUnknown)
	// Nor is a commit one that anybody wrote.
	sign(t, dir, by, statement(t, dir, attest.Subject{Name: "app", Digest: attest.Digest{GitCommit: commit}}))
	refuses(t, decide(t, policy, func(in *Input) { in.Artifacts = []Artifact{{Name: "commit", Commit: commit}} }, dir), WriterUnknown)
}

// What was named on the command line counts at every level.
func TestWhatIsNamedCountsBelowItsLevel(t *testing.T) {
	rig := sigstore.Start(t, sigstore.Options{})
	by := keyless(t, rig)
	dir := recorded(t, nil)
	sign(t, dir, by, statement(t, dir))
	for _, level := range []Level{E0, E1} {
		policy := *workflowPolicy(t, rig, "", "")
		policy.Require.Level = level
		passed := decide(t, &policy, func(in *Input) {
			in.Commit, in.Run = commit, "https://github.com/octo/app/actions/runs/9001/attempts/1"
		}, dir)
		if passed.Outcome != Passed {
			t.Errorf("%s:\n%s", level, text(t, passed))
		}
		for name, c := range map[string]struct {
			change func(*Input)
			reason Reason
		}{
			"another artifact": {func(in *Input) { in.Artifacts = []Artifact{{Name: "evil.tgz", SHA256: sum("evil")}} }, WrongSubject},
			"another commit":   {func(in *Input) { in.Commit = strings.Repeat("b", 40) }, OtherCommit},
			"another run":      {func(in *Input) { in.Run = "https://github.com/octo/app/actions/runs/9002/attempts/1" }, OtherRun},
		} {
			if d := decide(t, &policy, c.change, dir); d.Outcome != Refused || !slices.Contains(d.Reasons, c.reason) {
				t.Errorf("%s, %s:\n%s", level, name, text(t, d))
			}
		}
	}
}

// The jobs of a run are asked about, not those of whichever run has one.
func TestAJobOfAnotherRunIsNone(t *testing.T) {
	rig := sigstore.Start(t, sigstore.Options{})
	by := keyless(t, rig)
	build := recorded(t, nil)
	sign(t, build, by, statement(t, build))
	rig.Issuer.Set(sigstore.Claims{"run_id": "8000"})
	defer rig.Issuer.Set(sigstore.Job())
	test := recorded(t, func(j *job) { j.env["GITHUB_JOB"] = "test" })
	sign(t, test, by, statement(t, test, attest.Subject{Name: "app", Digest: attest.Digest{GitCommit: commit}}))
	policy := workflowPolicy(t, rig, "  jobs: [build, test]\n", "")
	if d := decide(t, policy, nil, build, test); d.Outcome != Refused || !slices.Contains(d.Reasons, JobMissing) {
		t.Errorf("%s", text(t, d))
	}
	every := *workflowPolicy(t, rig, "  every-job: {except: [build]}\n", "")
	d := decide(t, &every, func(in *Input) {
		in.Jobs = func(context.Context, string) ([]Job, error) {
			return []Job{{ID: 1, Name: "build", Attempt: 1, Status: "completed", Conclusion: "success"}}, nil
		}
	}, build)
	if d.Outcome != Refused || !slices.Contains(d.Reasons, JobsUnknown) {
		t.Errorf("no job was asked about:\n%s", text(t, d))
	}
}

// One that does not say whose recording it is stands beside the job's own.
func TestAStatementWithoutClaimsIsASecondOneOfItsJob(t *testing.T) {
	rig := sigstore.Start(t, sigstore.Options{})
	by := keyless(t, rig)
	policy := workflowPolicy(t, rig, "  jobs: [build]\n", "")
	honest := recorded(t, func(j *job) { j.commit = func(c *evidence.Commitment) { c.Claims.Issuer = rig.Issuer.URL } })
	sign(t, honest, by, statement(t, honest))
	passes(t, decide(t, policy, nil, honest), E2)
	forged := recorded(t, nil)
	evil := attest.Digest{SHA256: sum("evil")}
	sign(t, forged, by, statement(t, forged, attest.Subject{Name: "dist/app.tgz", Digest: evil}))
	ask := func(in *Input) { in.Artifacts = []Artifact{{Name: "app.tgz", SHA256: evil.SHA256}} }
	if d := decide(t, policy, ask, honest, forged); d.Outcome != Refused || !slices.Contains(d.Reasons, TwoStatements) {
		t.Errorf("%s", text(t, d))
	}
}

// The store of attestations has one statement about the evidence, and the folder
// that the job left another.
func TestTwoStatementsAboutOneEvidenceAreSeenWhereverTheyLie(t *testing.T) {
	by, public := newKey(t)
	dir := recorded(t, nil)
	sign(t, dir, by, statement(t, dir, attest.Subject{Name: "dist/app.tgz", Digest: attest.Digest{SHA256: sum("honest")}}))
	lies := folders(t, dir)
	sign(t, lies, by, statement(t, lies))
	bundle := get(t, filepath.Join(lies, "attestation.json"))
	list, err := ReadPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	d := decide(t, keyPolicy(t, public, ""), func(in *Input) {
		in.Add([]Candidate{{Where: "GitHub", Bundle: bundle}}, nil)
		in.AddEvidence(list)
	})
	refuses(t, d, TwoStatements)
}

func TestAFolderBelowResultsIsLookedAtToo(t *testing.T) {
	by, _ := newKey(t)
	outer, inner := recorded(t, nil), recorded(t, nil)
	sign(t, outer, by, statement(t, outer))
	sign(t, inner, by, statement(t, inner))
	if err := os.CopyFS(filepath.Join(outer, "build"), os.DirFS(inner)); err != nil {
		t.Fatal(err)
	}
	list, err := ReadPath(outer)
	if err != nil || len(list) != 2 || list[0].Dir != outer || list[1].Dir != filepath.Join(outer, "build") {
		t.Errorf("%v, %+v", err, list)
	}
}
