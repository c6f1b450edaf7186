package gate

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	"github.com/org/edamame-posture/pkg/attest"
	"github.com/org/edamame-posture/pkg/evidence"
	"github.com/org/edamame-posture/pkg/signature"
	"github.com/org/edamame-posture/test/sigstore"
)

func TestWhatAKeySignedPassesAtE1(t *testing.T) {
	by, public := newKey(t)
	dir := recorded(t, nil)
	sign(t, dir, by, statement(t, dir))
	passes(t, decide(t, keyPolicy(t, public, ""), nil, dir), E1)

	_, other := newKey(t)
	refuses(t, decide(t, keyPolicy(t, other, ""), nil, dir), BadSignature)

	refuses(t, decide(t, keyPolicy(t, public, ""), func(in *Input) { in.Artifacts[0].SHA256 = sum("other") }, dir), WrongSubject)
	refuses(t, decide(t, keyPolicy(t, public, ""), func(in *Input) { in.Artifacts = nil }, dir), WrongSubject)
	refuses(t, decide(t, keyPolicy(t, public, ""), func(in *Input) { in.Commit = commit }, dir), OtherCommit)
	refuses(t, decide(t, keyPolicy(t, public, ""), func(in *Input) { in.Run = "https://github.com/o/r/actions/runs/1/attempts/1" }, dir), OtherRun)
	refuses(t, decide(t, keyPolicy(t, public, ""), nil, filepath.Join(dir, "attestation.json")), EvidenceMissing)
}

// What a job put in a file's place need not be one: its reading would never end.
func TestAPipeInTheResultsIsRefused(t *testing.T) {
	by, public := newKey(t)
	whole := recorded(t, nil)
	sign(t, whole, by, statement(t, whole))
	for _, name := range []string{"verdict.json", "attestation.json", "evidence/manifest.json", "evidence/checkpoints", "evidence/000000.jsonl.zst"} {
		dir := folders(t, whole)
		file := filepath.Join(dir, name)
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mkfifo(file, 0o600); err != nil {
			t.Fatal(err)
		}
		decided := make(chan *Decision, 1)
		go func() { decided <- decide(t, keyPolicy(t, public, ""), nil, dir) }()
		select {
		case d := <-decided:
			if d.Outcome != Refused {
				t.Errorf("%s: %s", name, text(t, d))
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("%s is read for ever", name)
		}
	}
}

// folders copies a folder of results.
func folders(t testing.TB, dir string) string {
	t.Helper()
	to := t.TempDir()
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return to
}

func TestAFlippedByteAnywhereInTheEvidenceIsRefused(t *testing.T) {
	by, public := newKey(t)
	dir := recorded(t, nil)
	sign(t, dir, by, statement(t, dir))
	policy := keyPolicy(t, public, "")
	for _, name := range []string{"000000.jsonl.zst", "checkpoints", "manifest.json", "inputs/intent.json"} {
		path := filepath.Join(dir, "evidence", name)
		whole := get(t, path)
		for at := 0; at < len(whole); at += 1 + len(whole)/60 {
			bad := bytes.Clone(whole)
			bad[at] ^= 1
			put(t, path, bad)
			d := decide(t, policy, nil, dir)
			if d.Outcome != Refused || d.Level != None {
				t.Fatalf("%s, byte %d:\n%s", name, at, text(t, d))
			}
			if name != "manifest.json" && d.Reasons[0] != LogTampered {
				t.Errorf("%s, byte %d: %v", name, at, d.Reasons)
			}
		}
		put(t, path, whole)
	}
	passes(t, decide(t, policy, nil, dir), E1)
}

// rewrite changes the lines of the log, with what goes with them but the
// checkpoints: whoever does so knows the format.
func rewrite(t testing.TB, dir string, change func([]string) []string) {
	t.Helper()
	at := filepath.Join(dir, "evidence", "000000.jsonl.zst")
	dec, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer dec.Close()
	raw, err := dec.DecodeAll(get(t, at), nil)
	if err != nil {
		t.Fatal(err)
	}
	lines := change(strings.Split(strings.TrimSuffix(string(raw), "\n"), "\n"))
	for i, l := range lines {
		_, rest, _ := strings.Cut(l, ",")
		lines[i] = fmt.Sprintf(`{"seq":%d,%s`, i, rest)
	}
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	put(t, at, enc.EncodeAll([]byte(strings.Join(lines, "\n")+"\n"), nil))
	reseal(t, dir, func(m *evidence.Manifest) { m.Tree.Size = uint64(len(lines)) })
}

// reseal writes a manifest that fits what is in the folder.
func reseal(t testing.TB, dir string, change func(*evidence.Manifest)) {
	t.Helper()
	at := filepath.Join(dir, "evidence", "manifest.json")
	var m evidence.Manifest
	if err := json.Unmarshal(get(t, at), &m); err != nil {
		t.Fatal(err)
	}
	for i := range m.Files {
		b := get(t, filepath.Join(dir, "evidence", m.Files[i].Name))
		m.Files[i].Size, m.Files[i].SHA256 = int64(len(b)), digest(b)
	}
	change(&m)
	b, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	put(t, at, append(b, '\n'))
}

// notes changes the checkpoints.
func notes(t testing.TB, dir string, change func([]string) []string) {
	t.Helper()
	at := filepath.Join(dir, "evidence", "checkpoints")
	list := strings.SplitAfter(string(get(t, at)), "=\nedamame-posture/")
	for i := range list {
		if i > 0 {
			list[i] = "edamame-posture/" + list[i]
		}
		list[i] = strings.TrimSuffix(list[i], "edamame-posture/")
	}
	put(t, at, []byte(strings.Join(change(list), "")))
	reseal(t, dir, func(*evidence.Manifest) {})
}

func TestALogThatWasChangedIsRefusedEvenWhereItWasSignedAgain(t *testing.T) {
	by, public := newKey(t)
	policy := keyPolicy(t, public, "")
	honest := recorded(t, nil)
	sign(t, honest, by, statement(t, honest))
	passes(t, decide(t, policy, nil, honest), E1)
	other := recorded(t, nil)
	for name, c := range map[string]struct {
		change func(t *testing.T, dir string)
		reason Reason
	}{
		"a line removed": {func(t *testing.T, dir string) {
			rewrite(t, dir, func(l []string) []string { return slices.Delete(l, 4, 5) })
		}, LogTampered},
		"a line added": {func(t *testing.T, dir string) {
			rewrite(t, dir, func(l []string) []string { return slices.Insert(l, 5, l[4]) })
		}, LogTampered},
		"a line moved": {func(t *testing.T, dir string) {
			rewrite(t, dir, func(l []string) []string { l[3], l[4] = l[4], l[3]; return l })
		}, LogTampered},
		"a segment of another run": {func(t *testing.T, dir string) {
			put(t, filepath.Join(dir, "evidence", "000000.jsonl.zst"), get(t, filepath.Join(other, "evidence", "000000.jsonl.zst")))
			reseal(t, dir, func(*evidence.Manifest) {})
		}, LogTampered},
		"the checkpoints of another run": {func(t *testing.T, dir string) {
			put(t, filepath.Join(dir, "evidence", "checkpoints"), get(t, filepath.Join(other, "evidence", "checkpoints")))
			reseal(t, dir, func(*evidence.Manifest) {})
		}, ChainCut},
		"a checkpoint dropped": {func(t *testing.T, dir string) {
			notes(t, dir, func(n []string) []string { return slices.Delete(n, 1, 2) })
		}, ChainCut},
		"a checkpoint doubled": {func(t *testing.T, dir string) {
			notes(t, dir, func(n []string) []string { return slices.Insert(n, 1, n[1]) })
		}, ChainCut},
		"a checkpoint moved": {func(t *testing.T, dir string) {
			notes(t, dir, func(n []string) []string { n[1], n[2] = n[2], n[1]; return n })
		}, ChainCut},
		"the tail cut at a checkpoint": {func(t *testing.T, dir string) {
			var root evidence.Hash
			notes(t, dir, func(n []string) []string {
				n = n[:3]
				if err := root.UnmarshalText([]byte(strings.Split(n[2], "\n")[2])); err != nil {
					t.Fatal(err)
				}
				return n
			})
			rewrite(t, dir, func(l []string) []string { return l[:7] })
			reseal(t, dir, func(m *evidence.Manifest) { m.Tree.Root = root })
		}, NotClosed},
	} {
		t.Run(name, func(t *testing.T) {
			dir := folders(t, honest)
			c.change(t, dir)
			refuses(t, decide(t, policy, nil, dir), c.reason)
			// Who can sign makes the statement fit as well.
			manifest := get(t, filepath.Join(dir, "evidence", "manifest.json"))
			s, err := attest.Make(manifest, get(t, filepath.Join(dir, "verdict.json")), "test")
			if err != nil {
				t.Fatal(err)
			}
			s.Subject = append(s.Subject, attest.Subject{Name: "app", Digest: attest.Digest{SHA256: artifact.SHA256}})
			sign(t, dir, by, s)
			d := decide(t, policy, nil, dir)
			refuses(t, d, c.reason)
			if d.Level != None {
				t.Errorf("level %s", d.Level)
			}
		})
	}
}

func TestAMonitorThatWasKilledIsNotClosed(t *testing.T) {
	by, public := newKey(t)
	dir := recorded(t, func(j *job) { j.open = true })
	refuses(t, decide(t, keyPolicy(t, public, ""), nil, dir), NotClosed)
	// Also with a statement of an earlier run beside it.
	before := recorded(t, nil)
	sign(t, before, by, statement(t, before))
	put(t, filepath.Join(dir, "attestation.json"), get(t, filepath.Join(before, "attestation.json")))
	refuses(t, decide(t, keyPolicy(t, public, ""), nil, dir), NotClosed)
}

func TestTheEvidenceOfAnotherRunDoesNotServeAStatement(t *testing.T) {
	by, public := newKey(t)
	bad, good := recorded(t, func(j *job) { j.more = []string{registers} }), recorded(t, nil)
	sign(t, bad, by, statement(t, bad))
	put(t, filepath.Join(good, "attestation.json"), get(t, filepath.Join(bad, "attestation.json")))
	refuses(t, decide(t, keyPolicy(t, public, ""), nil, good), WrongEvidence)
}

func TestWhatTheStatementSaysOfItselfCountsForNothing(t *testing.T) {
	by, public := newKey(t)
	policy := keyPolicy(t, public, "  no-findings: high\n")
	dir := recorded(t, func(j *job) { j.more = []string{registers} })
	s := statement(t, dir)
	sign(t, dir, by, s)
	refuses(t, decide(t, policy, nil, dir), HasFinding)

	// The job says that it was good.
	s.Predicate.Verdict.Verdict, s.Predicate.Verdict.Critical, s.Predicate.Verdict.High = "pass", 0, 0
	sign(t, dir, by, s)
	d := decide(t, policy, nil, dir)
	if refuses(t, d, VerdictDiffers); !slices.Contains(d.Reasons, HasFinding) {
		t.Errorf("the log's finding is not told:\n%s", text(t, d))
	}
	// It writes itself a level.
	honest := recorded(t, nil)
	payload, err := statement(t, honest).Encode()
	if err != nil {
		t.Fatal(err)
	}
	forged := bytes.Replace(payload, []byte(`"predicate":{`), []byte(`"predicate":{"level":"E4","assurance":"E4","verifiedLevels":["EDAMAME_POSTURE_E4"],`), 1)
	if bytes.Equal(forged, payload) {
		t.Fatal("nothing was forged")
	}
	signPayload(t, honest, by, forged)
	passes(t, decide(t, keyPolicy(t, public, ""), nil, honest), E1)
	// And a verdict.json that its log does not come to.
	put(t, filepath.Join(dir, "verdict.json"), get(t, filepath.Join(honest, "verdict.json")))
	files := load(t, t.TempDir(), "version: 1\nrequire: {level: E0}\n")
	passes(t, decide(t, files, func(in *Input) { in.Artifacts = nil }, recorded(t, nil)), E0)
	refuses(t, decide(t, files, nil, dir), VerdictDiffers)
	// Nothing ties a file to a recording that nobody signed.
	refuses(t, decide(t, files, nil, recorded(t, nil)), WrongSubject)
}

func TestTwoStatementsForOneRecordingAreRefused(t *testing.T) {
	by, public := newKey(t)
	policy := keyPolicy(t, public, "")
	one := recorded(t, func(j *job) { j.run = "same" })
	two := recorded(t, func(j *job) { j.run = "same" })
	sign(t, one, by, statement(t, one))
	sign(t, two, by, statement(t, two))
	refuses(t, decide(t, policy, nil, one, two), TwoStatements)
	// A copy is the same one.
	passes(t, decide(t, policy, nil, one, folders(t, one)), E1)
}

func TestNothingFoundIsNeverAPass(t *testing.T) {
	_, public := newKey(t)
	for _, level := range []string{"", "  level: E0\n"} {
		policy := keyPolicy(t, public, "")
		if level != "" {
			policy = load(t, t.TempDir(), "version: 1\nrequire:\n"+level)
		}
		refuses(t, decide(t, policy, nil, t.TempDir()), NothingFound)
		down := fmt.Errorf("asking: %w", attest.ErrUnavailable)
		d := decide(t, policy, func(in *Input) { in.Add(nil, down) })
		if d.Outcome != Unknown || d.ExitCode() != 4 {
			t.Errorf("with a service down:\n%s", text(t, d))
		}
	}
	// A place that did not answer may hold a second statement.
	by, public := newKey(t)
	dir := recorded(t, nil)
	sign(t, dir, by, statement(t, dir))
	d := decide(t, keyPolicy(t, public, ""), func(in *Input) { in.Add(nil, context.DeadlineExceeded) }, dir)
	if d.Outcome != Unknown || d.Reasons[0] != ServiceDown {
		t.Errorf("one of two places is down:\n%s", text(t, d))
	}
	d = decide(t, keyPolicy(t, public, ""), func(in *Input) { in.Add(nil, errors.New("no such repository")) }, dir)
	refuses(t, d, SourceUnreadable)
}

// edit changes a bundle's JSON.
func edit(t testing.TB, bundle []byte, change func(map[string]any)) []byte {
	t.Helper()
	var b map[string]any
	if err := json.Unmarshal(bundle, &b); err != nil {
		t.Fatal(err)
	}
	change(b)
	out, err := json.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// signedBy puts another payload in a bundle, with a good signature by the key
// over it (DSSE): what our own signer would not sign.
func signedBy(t testing.TB, bundle []byte, by *attest.Key, payload []byte) []byte {
	t.Helper()
	pae := fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(attest.PayloadType), attest.PayloadType, len(payload), payload)
	sum := sha256.Sum256(pae)
	sig, err := by.Signer.Sign(rand.Reader, sum[:], crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	return edit(t, bundle, func(b map[string]any) {
		e := b["dsseEnvelope"].(map[string]any)
		e["payload"] = base64.StdEncoding.EncodeToString(payload)
		e["signatures"].([]any)[0].(map[string]any)["sig"] = base64.StdEncoding.EncodeToString(sig)
	})
}

func TestMalformedBundlesAreRefused(t *testing.T) {
	by, public := newKey(t)
	policy := keyPolicy(t, public, "")
	dir := recorded(t, nil)
	sign(t, dir, by, statement(t, dir))
	at := filepath.Join(dir, "attestation.json")
	good := get(t, at)
	envelope := func(b map[string]any) map[string]any { return b["dsseEnvelope"].(map[string]any) }
	for name, c := range map[string]struct {
		bundle []byte
		reason Reason
	}{
		"a signature more": {edit(t, good, func(b map[string]any) {
			list := envelope(b)["signatures"].([]any)
			envelope(b)["signatures"] = append(list, list[0])
		}), Malformed},
		"no signature":   {edit(t, good, func(b map[string]any) { envelope(b)["signatures"] = []any{} }), Malformed},
		"another format": {edit(t, good, func(b map[string]any) { b["mediaType"] = "application/json" }), Malformed},
		"a name twice":   {bytes.Replace(good, []byte(`"dsseEnvelope":`), []byte(`"DSSEEnvelope":{},"dsseEnvelope":`), 1), Malformed},
		"deep":           {[]byte(strings.Repeat(`{"a":`, 10_000) + "1" + strings.Repeat("}", 10_000)), Malformed},
		"no JSON":        {[]byte("{"), Malformed},
		"empty":          {[]byte{}, Malformed},
		"a changed payload": {edit(t, good, func(b map[string]any) {
			raw, _ := base64.StdEncoding.DecodeString(envelope(b)["payload"].(string))
			envelope(b)["payload"] = base64.StdEncoding.EncodeToString(bytes.Replace(raw, []byte("app.tgz"), []byte("APP.tgz"), 1))
		}), BadSignature},
	} {
		t.Run(name, func(t *testing.T) {
			put(t, at, c.bundle)
			d := decide(t, policy, nil, dir)
			refuses(t, d, c.reason)
		})
	}
	put(t, at, bytes.Repeat([]byte(" "), maxStatement+1))
	if _, err := ReadPath(dir); err == nil {
		t.Error("a huge one was read")
	}
}

func TestStatementsOfOtherKindsAndWithoutDigestsAreRefused(t *testing.T) {
	by, public := newKey(t)
	policy := keyPolicy(t, public, "")
	dir := recorded(t, nil)
	provenance := fmt.Sprintf(`{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"app.tgz","digest":{"sha256":%q}}],"predicateType":"https://slsa.dev/provenance/v1","predicate":{}}`, artifact.SHA256)
	signPayload(t, dir, by, []byte(provenance))
	refuses(t, decide(t, policy, nil, dir), PredicateType)

	// Among others it says nothing, and alone it is nothing.
	many := t.TempDir()
	if err := os.CopyFS(filepath.Join(many, "a"), os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if d := decide(t, policy, nil, many); d.Reasons[0] != NothingFound || len(d.SetAside) != 1 {
		t.Errorf("alone:\n%s", text(t, d))
	}
	good := recorded(t, nil)
	sign(t, good, by, statement(t, good))
	if err := os.CopyFS(filepath.Join(many, "b"), os.DirFS(good)); err != nil {
		t.Fatal(err)
	}
	passes(t, decide(t, policy, nil, many), E1)

	s := statement(t, dir)
	s.Subject[1].Digest = attest.Digest{}
	payload, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	at := filepath.Join(dir, "attestation.json")
	put(t, at, signedBy(t, get(t, at), by, payload))
	refuses(t, decide(t, policy, nil, dir), Malformed)
}

// What the job does, in lines of its log.
const (
	registers = `{"kind":"exec","actor":{"pid":20,"start":90,"image":2},"exe":"/usr/bin/bash","filename":"/w/config.sh","argv":["/w/config.sh","--url","https://github.com/mallory/x","--token","t"],"argv_bytes":50,"cwd":"/w","uid":1001}`
	uploads   = `{"kind":"connect","actor":{"pid":20,"start":90,"image":1},"dst":"203.0.113.5:443","proto":"tcp","ok":true}`
	lost      = `{"kind":"sensor-gap","via":"monitor","sensor":"ebpf","lost":3,"detail":"ring full"}`
)

// otherRules is a pack that finds nothing of what ours does.
func otherRules(t testing.TB) *signature.Pack {
	t.Helper()
	p, err := signature.LoadFile("rules.yml", []byte("title: t\nid: 0b3a6e0c-7a52-4fa0-9b4e-111111111111\nlogsource: {category: process_creation}\ndetection:\n  a: {Image|endswith: /nc}\n  condition: a\nlevel: high\n"), signature.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestEachRuleRefusesForItsOwnReason(t *testing.T) {
	by, public := newKey(t)
	const strict = "version: 1\negress: []\n"
	old := otherRules(t)
	dir := t.TempDir()
	put(t, filepath.Join(dir, "pub.pem"), public)
	put(t, filepath.Join(dir, "posture.yml"), []byte(strict))
	put(t, filepath.Join(dir, "wide.yml"), []byte("version: 1\negress: [\"*:*\"]\n"))
	ours, err := signature.Default()
	if err != nil {
		t.Fatal(err)
	}
	policy := func(require string) *Policy {
		return load(t, dir, "version: 1\nrequire:\n  level: E1\n"+require+"identities: [{key: pub.pem}]\n")
	}
	const own = "  intent: {file: posture.yml}\n"
	for name, c := range map[string]struct {
		require string
		bad     func(*job)
		reason  Reason
	}{
		"age":             {"  max-age: 7d\n", func(j *job) { j.began = time.Now().Add(-8 * 24 * time.Hour) }, TooOld},
		"a time to come":  {"  max-age: 7d\n", func(j *job) { j.began = time.Now().Add(time.Hour) }, TooOld},
		"verdict":         {own + "  verdict: pass\n", func(j *job) { j.more = []string{uploads} }, BadVerdict},
		"score":           {own + "  max-score: 0\n", func(j *job) { j.more = []string{uploads} }, HighScore},
		"findings":        {"  no-findings: high\n", func(j *job) { j.more = []string{registers} }, HasFinding},
		"coverage":        {"  coverage: complete\n", func(j *job) { j.more = []string{lost} }, PartialCoverage},
		"pack version":    {"  signatures: {not-older-than: 1}\n", func(j *job) { j.pack = old }, OldSignatures},
		"pinned rules":    {fmt.Sprintf("  signatures: {sha256: %s}\n", ours.SHA256()), func(j *job) { j.pack = old }, WrongSignatures},
		"tightness":       {"  intent: {file: wide.yml}\n  min-tightness: {egress: 500}\n", func(j *job) { j.more = []string{uploads} }, LowTightness},
		"power":           {"  power: none\n", func(j *job) { j.uid = 0 }, PowerTaken},
		"ungranted power": {own + "  power: granted\n", func(j *job) { j.uid = 0 }, PowerTaken},
		"silence":         {"", func(j *job) { j.silence = 3 * second }, Silence},
		"unsigned chain":  {"", func(j *job) { j.keys = nil }, ChainUnsigned},
		"a job":           {"  jobs: [build]\n", func(j *job) { j.env["GITHUB_JOB"] = "lint" }, JobMissing},
		"pinned intent":   {fmt.Sprintf("  intent: {sha256: %s}\n", digest(resolve(t, strict).Canonical())), func(j *job) { j.intent = "version: 1\negress: [\"*:*\"]\n" }, WrongIntent},
	} {
		t.Run(name, func(t *testing.T) {
			p := policy(c.require)
			for _, bad := range []bool{false, true} {
				dir := recorded(t, func(j *job) {
					if j.intent = strict; bad {
						c.bad(j)
					}
				})
				sign(t, dir, by, statement(t, dir))
				d := decide(t, p, nil, dir)
				if bad {
					refuses(t, d, c.reason)
				} else {
					passes(t, d, E1)
				}
			}
		})
	}
}

func TestWhatTheGatesIntentSuppressesDoesNotCount(t *testing.T) {
	by, public := newKey(t)
	dir := t.TempDir()
	put(t, filepath.Join(dir, "pub.pem"), public)
	put(t, filepath.Join(dir, "posture.yml"), []byte("version: 1\nsuppress: [{rule: d17-runner-registered, reason: we set up runners, owner: mona, until: 2999-12-31}]\n"))
	const policy = "version: 1\nrequire: {level: E1, no-findings: high, intent: {file: posture.yml}}\nidentities: [{key: pub.pem}]\n"
	run := recorded(t, func(j *job) { j.more = []string{registers} })
	sign(t, run, by, statement(t, run))
	passes(t, decide(t, load(t, dir, policy), nil, run), E1)
	put(t, filepath.Join(dir, "posture.yml"), []byte("version: 1\n"))
	refuses(t, decide(t, load(t, dir, policy), nil, run), HasFinding)
}

func TestTheIntentIsNeverTheEvidences(t *testing.T) {
	by, public := newKey(t)
	dir := t.TempDir()
	put(t, filepath.Join(dir, "pub.pem"), public)
	put(t, filepath.Join(dir, "posture.yml"), []byte("version: 1\negress: []\n"))
	p := load(t, dir, "version: 1\nrequire: {level: E1, verdict: pass, intent: {file: posture.yml}}\nidentities: [{key: pub.pem}]\n")
	generous := recorded(t, func(j *job) {
		j.intent, j.more = "version: 1\negress: [\"*:*\"]\n", []string{uploads}
	})
	sign(t, generous, by, statement(t, generous))
	refuses(t, decide(t, p, nil, generous), BadVerdict)

	// Nor are the rules.
	blind := recorded(t, func(j *job) { j.pack, j.more = otherRules(t), []string{registers} })
	sign(t, blind, by, statement(t, blind))
	refuses(t, decide(t, keyPolicy(t, public, "  no-findings: high\n"), nil, blind), HasFinding)

	// What the job calls itself does not choose the section that holds.
	put(t, filepath.Join(dir, "jobs.yml"), []byte("version: 1\negress: []\njobs:\n  build: {}\n  publish: {egress: [\"*:*\"]}\n"))
	p = load(t, dir, "version: 1\nrequire: {level: E1, verdict: pass, intent: {file: jobs.yml, job: build}}\nidentities: [{key: pub.pem}]\n")
	for name, want := range map[string]Reason{"build": BadVerdict, "publish": WrongIntent} {
		dir := recorded(t, func(j *job) { j.more, j.env["GITHUB_JOB"] = []string{uploads}, name })
		sign(t, dir, by, statement(t, dir))
		refuses(t, decide(t, p, nil, dir), want)
	}
}

func TestAnIdentityIsHeldAgainstTheWholeCertificate(t *testing.T) {
	rig := sigstore.Start(t, sigstore.Options{})
	by := keyless(t, rig)
	policy := workflowPolicy(t, rig, "", "")
	dir := recorded(t, nil)
	sign(t, dir, by, statement(t, dir))
	passes(t, decide(t, policy, nil, dir), E2)
	honest := get(t, filepath.Join(dir, "attestation.json"))

	for name, c := range map[string]struct {
		claims sigstore.Claims
		reason Reason
	}{
		"a fork": {sigstore.Claims{"repository": "mallory/app", "repository_id": "9", "repository_owner_id": "8", "repository_owner": "mallory",
			"job_workflow_ref": "mallory/app/.github/workflows/release.yml@refs/heads/main", "workflow_ref": "mallory/app/.github/workflows/release.yml@refs/heads/main"}, WrongIdentity},
		"the repository made anew under its name": {sigstore.Claims{"repository_id": "9999"}, WrongRepository},
		"the owner made anew":                     {sigstore.Claims{"repository_owner_id": "9999"}, WrongRepository},
		"another workflow of the repository": {sigstore.Claims{"job_workflow_ref": "octo/app/.github/workflows/lint.yml@refs/heads/main",
			"workflow_ref": "octo/app/.github/workflows/lint.yml@refs/heads/main"}, WrongIdentity},
		"the workflow on another branch": {sigstore.Claims{"job_workflow_ref": "octo/app/.github/workflows/release.yml@refs/heads/feature",
			"workflow_ref": "octo/app/.github/workflows/release.yml@refs/heads/feature"}, WrongIdentity},
		"called by another workflow": {sigstore.Claims{"workflow_ref": "octo/app/.github/workflows/lint.yml@refs/heads/main"}, WrongIdentity},
		"pull_request_target":        {sigstore.Claims{"event_name": "pull_request_target"}, WrongTrigger},
		"issue_comment":              {sigstore.Claims{"event_name": "issue_comment"}, WrongTrigger},
		"another commit":             {sigstore.Claims{"sha": strings.Repeat("a", 40)}, OtherCommit},
		"another attempt":            {sigstore.Claims{"run_attempt": "2"}, OtherRun},
	} {
		t.Run(name, func(t *testing.T) {
			rig.Issuer.Set(c.claims)
			defer rig.Issuer.Set(sigstore.Job())
			sign(t, dir, by, statement(t, dir))
			refuses(t, decide(t, policy, nil, dir), c.reason)
		})
	}
	put(t, filepath.Join(dir, "attestation.json"), honest)

	t.Run("a commit that is not the one to release", func(t *testing.T) {
		passes(t, decide(t, policy, func(in *Input) { in.Commit = commit }, dir), E2)
		refuses(t, decide(t, policy, func(in *Input) { in.Commit = strings.Repeat("b", 40) }, dir), OtherCommit)
	})
	t.Run("a look-alike issuer", func(t *testing.T) {
		like := *policy
		like.Identities = slices.Clone(policy.Identities)
		like.Identities[0].Issuer = strings.Replace(rig.Issuer.URL, "127.0.0.1", "127.0.0.1.", 1)
		refuses(t, decide(t, &like, nil, dir), WrongIdentity)
	})
	t.Run("a recording of another repository", func(t *testing.T) {
		for name, reason := range map[string]Reason{"GITHUB_REPOSITORY": OtherRun, "GITHUB_SHA": OtherCommit, "GITHUB_RUN_ATTEMPT": OtherRun} {
			other := recorded(t, func(j *job) { j.env[name] = "7" })
			sign(t, other, by, statement(t, other))
			refuses(t, decide(t, policy, nil, other), reason)
		}
	})
	t.Run("a branch that may not be released", func(t *testing.T) {
		passes(t, decide(t, workflowPolicy(t, rig, "", "    ref: [refs/heads/*]\n"), nil, dir), E2)
		refuses(t, decide(t, workflowPolicy(t, rig, "", "    ref: [refs/tags/v*]\n"), nil, dir), WrongIdentity)
	})
	t.Run("a runner of one's own", func(t *testing.T) {
		refuses(t, decide(t, workflowPolicy(t, rig, "", "    runner: self-hosted\n"), nil, dir), WrongRunner)
	})
	t.Run("a certificate without a time", func(t *testing.T) {
		late := folders(t, dir)
		put(t, filepath.Join(late, "attestation.json"), edit(t, honest, func(b map[string]any) {
			delete(b["verificationMaterial"].(map[string]any), "timestampVerificationData")
		}))
		refuses(t, decide(t, policy, nil, late), Expired)
	})
	t.Run("a key", func(t *testing.T) {
		key, _ := newKey(t)
		keyed := folders(t, dir)
		sign(t, keyed, key, statement(t, keyed))
		refuses(t, decide(t, policy, nil, keyed), WrongIdentity)
	})
	t.Run("another root", func(t *testing.T) {
		other := *policy
		other.Trust.root = attest.PublicRoot()
		other.Trust.LogOptional, other.Trust.SCTOptional = true, true
		// Its authorities know neither the time nor the certificate.
		refuses(t, decide(t, &other, nil, dir), Expired)
	})
	t.Run("a second statement of the same run", func(t *testing.T) {
		forged := recorded(t, nil)
		sign(t, forged, by, statement(t, forged))
		refuses(t, decide(t, policy, nil, dir, forged), TwoStatements)
	})
	t.Run("a second one that calls itself another job", func(t *testing.T) {
		forged := recorded(t, func(j *job) { j.env["GITHUB_JOB"] = "build2" })
		sign(t, forged, by, statement(t, forged))
		refuses(t, decide(t, policy, nil, dir, forged), TwoStatements)
		// Both are wanted: each is about what it made.
		both := workflowPolicy(t, rig, "  jobs: [build, build2]\n", "")
		passes(t, decide(t, both, nil, dir, forged), E2)
	})
	t.Run("an older run", func(t *testing.T) {
		rig.Issuer.Set(sigstore.Claims{"run_id": "8000"})
		defer rig.Issuer.Set(sigstore.Job())
		older := recorded(t, nil)
		sign(t, older, by, statement(t, older))
		run := "https://github.com/octo/app/actions/runs/9001/attempts/1"
		named := func(in *Input) { in.Run = run }
		refuses(t, decide(t, policy, named, older), OtherRun)
		refuses(t, decide(t, policy, nil, older, dir), OtherRun)
		d := decide(t, policy, named, older, dir)
		if passes(t, d, E2); len(d.SetAside) != 1 {
			t.Errorf("set aside: %v", d.SetAside)
		}
	})
	t.Run("more than can be had", func(t *testing.T) {
		higher := *policy
		higher.Require.Level = E3
		d := decide(t, &higher, nil, dir)
		if d.Outcome != Refused || d.Level != E2 || !slices.Contains(d.Reasons, LowLevel) {
			t.Errorf("E3 asked:\n%s", text(t, d))
		}
	})
}

func TestAPartialRerunTakesTheAttemptInWhichAJobRan(t *testing.T) {
	rig := sigstore.Start(t, sigstore.Options{})
	by := keyless(t, rig)
	policy := workflowPolicy(t, rig, "  every-job: {except: [gate]}\n", "")
	dir := recorded(t, nil)
	sign(t, dir, by, statement(t, dir)) // of attempt 1
	second := "https://github.com/octo/app/actions/runs/9001/attempts/2"
	jobs := func(list ...Job) func(*Input) {
		return func(in *Input) {
			in.Run = second
			in.Jobs = func(context.Context, string) ([]Job, error) { return list, nil }
		}
	}
	kept := Job{ID: 1, Name: "build", Attempt: 1, Status: "completed", Conclusion: "success"}
	gate := Job{ID: 2, Name: "gate", Attempt: 2, Status: "in_progress"}
	passes(t, decide(t, policy, jobs(kept, gate), dir), E2)

	again := kept
	again.Attempt = 2
	refuses(t, decide(t, policy, jobs(again, gate), dir), OtherRun)
	failed := kept
	failed.Conclusion = "failure"
	refuses(t, decide(t, policy, jobs(failed, gate), dir), JobFailed)
	refuses(t, decide(t, policy, jobs(Job{ID: 4, Name: "lint", Attempt: 2, Status: "completed", Conclusion: "skipped"}, gate), dir), OtherRun)
	first := func(in *Input) {
		jobs(gate, Job{ID: 4, Name: "lint", Attempt: 1, Status: "completed", Conclusion: "skipped"})(in)
		in.Run = ""
	}
	refuses(t, decide(t, policy, first, dir), JobUnknown)
	lint := Job{ID: 3, Name: "lint", Attempt: 2, Status: "completed", Conclusion: "success"}
	refuses(t, decide(t, policy, jobs(kept, lint, gate), dir), JobMissing)
	d := decide(t, policy, func(in *Input) {
		in.Jobs = func(context.Context, string) ([]Job, error) { return nil, attest.ErrUnavailable }
	}, dir)
	if d.ExitCode() != 4 {
		t.Errorf("nobody can be asked:\n%s", text(t, d))
	}
	d = decide(t, policy, func(in *Input) {
		in.Run = second
		in.Jobs = func(context.Context, string) ([]Job, error) { return nil, attest.ErrUnavailable }
	}, dir)
	if d.ExitCode() != 4 {
		t.Errorf("whether it was kept is not known:\n%s", text(t, d))
	}
	refuses(t, decide(t, policy, nil, dir), JobsUnknown)
}
