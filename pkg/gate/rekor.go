package gate

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"github.com/sigstore/sigstore-go/pkg/fulcio/certificate"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/tlog"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/sigstore/sigstore/pkg/signature"

	"github.com/org/edamame-posture/pkg/attest"
)

// maxAboutJob bounds what a log has about one job. Anybody can put more there;
// then nobody can tell any more.
const maxAboutJob = 64

// logEntry is a statement in a transparency log.
type logEntry struct {
	payload string            // SHA-256 of the statement, hex
	cert    *x509.Certificate // of who signed; nil where a key did
	at      time.Time         // when it was logged, as the log says
	raw     *loggedEntry
}

// loggedEntry is an entry as Rekor v1 answers it:
// https://github.com/sigstore/rekor/blob/main/openapi.yaml, LogEntry.
type loggedEntry struct {
	Body         []byte `json:"body"`
	Time         int64  `json:"integratedTime"`
	Index        int64  `json:"logIndex"`
	Log          string `json:"logID"` // hex
	Verification struct {
		Proof *struct {
			Checkpoint string   `json:"checkpoint"`
			Hashes     []string `json:"hashes"`
			Index      int64    `json:"logIndex"`
			Root       string   `json:"rootHash"`
			Size       int64    `json:"treeSize"`
		} `json:"inclusionProof"`
		Promise []byte `json:"signedEntryTimestamp"`
	} `json:"verification"`
}

// proven checks that one of the logs of the policy's root promised the entry,
// with its time, and has it in a tree that it signed: what the server says in
// words anybody could say who stands between.
func (e *loggedEntry) proven(logs map[string]*root.TransparencyLog) error {
	log := logs[e.Log]
	id, err := hex.DecodeString(e.Log)
	p := e.Verification.Proof
	switch {
	case err != nil || log == nil:
		return fmt.Errorf("it is in the log %.64q, which the trusted root does not have", e.Log)
	case len(e.Verification.Promise) == 0 || p == nil:
		return errors.New("the log gives no promise, or no proof, that it has the entry")
	}
	proof := &protorekor.InclusionProof{LogIndex: p.Index, TreeSize: p.Size, Checkpoint: &protorekor.Checkpoint{Envelope: p.Checkpoint}}
	if proof.RootHash, err = hex.DecodeString(p.Root); err != nil {
		return fmt.Errorf("its proof of inclusion: root: %w", err)
	}
	for _, h := range p.Hashes {
		raw, err := hex.DecodeString(h)
		if err != nil {
			return fmt.Errorf("its proof of inclusion: %w", err)
		}
		proof.Hashes = append(proof.Hashes, raw)
	}
	entry, err := tlog.ParseTransparencyLogEntry(&protorekor.TransparencyLogEntry{
		LogIndex: e.Index, LogId: &protocommon.LogId{KeyId: id}, KindVersion: &protorekor.KindVersion{Kind: "dsse", Version: "0.0.1"}, IntegratedTime: e.Time,
		InclusionPromise: &protorekor.InclusionPromise{SignedEntryTimestamp: e.Verification.Promise}, InclusionProof: proof, CanonicalizedBody: e.Body,
	})
	if err != nil {
		return err
	}
	if err := tlog.VerifySET(entry, logs); err != nil {
		return fmt.Errorf("its promise: %w", err)
	}
	verifier, err := signature.LoadVerifier(log.PublicKey, log.SignatureHashFunc)
	if err != nil {
		return fmt.Errorf("the log's key: %w", err)
	}
	if err := tlog.VerifyInclusion(entry, verifier); err != nil {
		return fmt.Errorf("its proof of inclusion: %w", err)
	}
	return nil
}

// entriesAbout asks a log (Rekor v1, which finds the entries of a statement by
// the digests of its subjects; v2 does not) for the statements about a SHA-256,
// in hex. Entries of other kinds are left out.
func entriesAbout(ctx context.Context, base, sha256 string) ([]logEntry, error) {
	client := &http.Client{Transport: attest.Transport(ctx, "transparency log", nil)}
	ask := func(method, path string, body, answer any) error {
		b, err := json.Marshal(body)
		if err != nil {
			return err
		}
		req, err := http.NewRequestWithContext(ctx, method, base+path, bytes.NewReader(b))
		if err != nil {
			return err
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Accept", "application/json")
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if b, err = io.ReadAll(resp.Body); err != nil {
			return err
		}
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("transparency log (%s): it answered %s", base, resp.Status)
		}
		return json.Unmarshal(b, answer)
	}
	var ids []string
	if err := ask(http.MethodPost, "/api/v1/index/retrieve", map[string]string{"hash": "sha256:" + sha256}, &ids); err != nil {
		return nil, err
	}
	if len(ids) > maxAboutJob {
		return nil, fmt.Errorf("transparency log (%s): %d entries about sha256 %s, more than the %d that are looked at", base, len(ids), sha256, maxAboutJob)
	}
	var out []logEntry
	for _, id := range ids {
		var answer map[string]json.RawMessage
		if err := ask(http.MethodGet, "/api/v1/log/entries/"+url.PathEscape(id), nil, &answer); err != nil {
			return nil, err
		}
		if len(answer) != 1 {
			return nil, fmt.Errorf("transparency log (%s): %d entries of the number %.100q", base, len(answer), id)
		}
		for _, raw := range answer {
			if e, ok := parseEntry(raw); ok {
				out = append(out, e)
			}
		}
	}
	return out, nil
}

// parseEntry reads an entry of the kind dsse 0.0.1, with one signature; false
// for any other: https://github.com/sigstore/rekor/blob/main/pkg/types/dsse/v0.0.1/dsse_v0_0_1_schema.json.
func parseEntry(raw []byte) (e logEntry, ok bool) {
	entry := new(loggedEntry)
	var body struct {
		Kind string `json:"kind"`
		Spec struct {
			Payload struct {
				Algorithm string `json:"algorithm"`
				Value     string `json:"value"`
			} `json:"payloadHash"`
			Signatures []struct {
				Verifier []byte `json:"verifier"`
			} `json:"signatures"`
		} `json:"spec"`
	}
	if json.Unmarshal(raw, entry) != nil || json.Unmarshal(entry.Body, &body) != nil {
		return e, false
	}
	if s := &body.Spec; body.Kind != "dsse" || s.Payload.Algorithm != "sha256" || len(s.Signatures) != 1 {
		return e, false
	}
	e.payload, e.at, e.raw = body.Spec.Payload.Value, time.Unix(entry.Time, 0), entry
	if block, _ := pem.Decode(body.Spec.Signatures[0].Verifier); block != nil && block.Type == "CERTIFICATE" {
		e.cert, _ = x509.ParseCertificate(block.Bytes)
	}
	return e, true
}

// firstLogged checks that a transparency log has one commitment of the job by
// an identity of its run, which is this one. The log finds it by the slot's
// digest, which the commitment's statement is about.
func (x *examined) firstLogged(ctx context.Context, issued time.Time) {
	const name = "first record"
	trust := &x.in.Policy.Trust
	entries, err := entriesAbout(ctx, trust.Rekor, x.commit.Slot)
	if err != nil {
		x.add(Check{Name: name, Level: E3, Reason: WrongRecord, Want: "what the log has about the job", Do: "the log must be a Rekor v1, which finds entries by what they are about"}.unlessSilent(err))
		return
	}
	payload, err := attest.DescribeStart(x.opening.committed, nil)
	if err != nil {
		x.refuse(E3, name, WrongEvidence, "a commitment", err.Error(), "it is not one that a monitor makes")
		return
	}
	ours := digest(payload)
	var at time.Time
	for _, e := range entries {
		if e.cert == nil || x.otherRun(e.cert) {
			continue // anybody may put something there
		}
		if e.payload != ours {
			x.refuse(E3, name, SecondCommitment, "one commitment of the job", "another at "+clock(e.at),
				"two recordings of one job were begun: some step made evidence of its own, or the monitor was started twice. Look for who asked for an identity token, and build anew")
			return
		}
		if logs := trust.root.RekorLogs(); len(logs) > 0 {
			if err := e.raw.proven(logs); err != nil {
				x.refuse(E3, name, WrongRecord, "an entry of a log of the trusted root", err.Error(), "another server answers, or the log is another than the root's: name the root that has it")
				return
			}
		}
		if at.IsZero() || e.at.Before(at) {
			at = e.at
		}
	}
	switch {
	case at.IsZero():
		x.refuse(E3, name, NoFirstRecord, "the start statement in "+trust.Rekor, "not found by the job's slot", "sign with a configuration that has this log; it may take a while until what was logged is found")
	case at.Before(issued.Add(-clockLeeway)) || at.Sub(issued) > recordWithin:
		x.refuse(E3, name, LateStart, fmt.Sprintf("within %v of the token, %s", recordWithin, clock(issued)), clock(at), "the log heard of the commitment when the job had long begun")
	default:
		x.pass(E3, name, fmt.Sprintf("the only commitment of the job, at %s, in %s", clock(at), trust.Rekor))
	}
}

// otherRun reports whether a certificate is of another run than the one that
// signed, or of nobody whom the policy's root knows.
func (x *examined) otherRun(c *x509.Certificate) bool {
	if _, err := verify.VerifyLeafCertificate(c.NotBefore, c, x.in.Policy.Trust.root); err != nil {
		return true
	}
	s, err := certificate.SummarizeCertificate(c)
	return err != nil || s.RunInvocationURI != x.run || s.Issuer != x.res.Certificate.Issuer
}
