package attest

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"unicode/utf8"

	"github.com/org/edamame-posture/pkg/evidence"
	"github.com/org/edamame-posture/pkg/judge"
)

// Bounds of what stands in the statement itself.
const (
	maxArgs      = 64
	maxArgBytes  = 4096
	maxNetwork   = 64
	maxRules     = 256
	maxText      = 256
	maxPowerWays = 16
	maxFile      = 64 << 20
	// roomForSubjects is left for the artifacts that are added later.
	roomForSubjects = 30_000
)

// Describe makes the statement about a folder of results, which holds
// verdict.json and evidence/. It reads the evidence's files against their
// manifest first. tool is the version of the program that signs.
func Describe(dir, tool string) (*Statement, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	ev, err := evidence.Open(dir + "/evidence")
	if err != nil {
		return nil, err
	}
	opened := ev.Manifest()
	sealing, err := sealingOf(ev)
	if err := errors.Join(err, ev.Close()); err != nil {
		return nil, err
	}
	manifest, err := readFile(root, ManifestName)
	if err != nil {
		return nil, err
	}
	verdict, err := readFile(root, "verdict.json")
	if err != nil {
		return nil, err
	}
	s, err := Make(manifest, verdict, tool)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	if got := s.Predicate.EventLog; got.Size != opened.Tree.Size || got.Root != opened.Tree.Root.String() {
		return nil, fmt.Errorf("%s: %s changed while it was read", dir, ManifestName)
	}
	s.Predicate.Sealing = sealing
	return s, s.fit()
}

// sealingOf reads how the log was begun and signed.
func sealingOf(ev *evidence.Evidence) (s Sealing, err error) {
	chain, err := ev.ReadChain()
	if err != nil {
		return s, err
	}
	s.Checkpoints, s.Signed, s.Ended = chain.Signed+chain.Unsigned, chain.Signed, chain.Ended
	if chain.Signed > 0 {
		s.FirstKey = base64.StdEncoding.EncodeToString(chain.First[:])
	}
	b, err := ev.Attached(evidence.CommitmentFile)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return s, err
	}
	c, err := evidence.ParseCommitment(b)
	if err != nil {
		return s, err
	}
	sum := sha256.Sum256(b)
	s.Commitment, s.Slot = hex.EncodeToString(sum[:]), c.Slot
	return s, nil
}

// readFile reads a regular file of the folder.
func readFile(root *os.Root, name string) ([]byte, error) {
	st, err := root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s is missing: %s holds no finished recording", name, root.Name())
	}
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%s in %s is not a regular file", name, root.Name())
	}
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(b) > maxFile {
		err = fmt.Errorf("%s has more than %d bytes", name, maxFile)
	}
	return b, err
}

// Make makes the statement from the bytes of manifest.json and verdict.json.
func Make(manifest, verdict []byte, tool string) (*Statement, error) {
	var m evidence.Manifest
	if err := json.Unmarshal(manifest, &m); err != nil {
		return nil, fmt.Errorf("manifest.json: %w", err)
	}
	dec := json.NewDecoder(bytes.NewReader(verdict))
	var v judge.Verdict
	if err := dec.Decode(&v); err != nil {
		return nil, fmt.Errorf("verdict.json: %w", err)
	}
	if m.Run == "" || v.Verdict == "" {
		return nil, errors.New("manifest.json or verdict.json is not of this program")
	}
	sum := sha256.Sum256(manifest)
	vsum := sha256.Sum256(verdict)
	s := &Statement{
		Type: StatementType, PredicateType: PredicateType,
		Subject: []Subject{{Name: ManifestName, Digest: Digest{SHA256: hex.EncodeToString(sum[:])}}},
		Predicate: Predicate{
			Monitor:          Monitor{Type: MonitorType, Version: tool},
			MonitoredProcess: MonitoredProcess{HostID: short(v.Run.Host), Type: CommandType, Event: m.Run},
			MonitorLog:       MonitorLog{Process: []Process{process(&v.Run.Command)}},
			Metadata:         &Metadata{Started: v.Run.Started, Finished: v.Run.Ended},
			Verdict:          flat(&v),
			Coverage: Coverage{
				State: v.Coverage.State, Sensor: v.Coverage.Sensor, Witness: v.Coverage.Witness,
				Events: v.Coverage.Events, Lost: v.Coverage.Lost, Gaps: len(v.Coverage.Gaps),
			},
			EventLog: EventLog{Hash: "rfc6962-sha256", Size: m.Tree.Size, Root: m.Tree.Root.String(), Lost: m.Lost},
			Inputs: Inputs{
				Judge:      v.Inputs.Judge.Version,
				IntentName: short(v.Inputs.Intent.Name), IntentSHA256: v.Inputs.Intent.SHA256,
				SignaturesName: short(v.Inputs.Signatures.Name), SignaturesSHA256: v.Inputs.Signatures.SHA256,
			},
		},
	}
	p := &s.Predicate
	if v.Power != nil {
		p.Power = &Power{State: string(v.Power.State), First: v.Power.First, Ways: []string{}, Held: v.Power.Held, Missed: v.Power.Missed}
		for _, way := range v.Power.Ways[:min(len(v.Power.Ways), maxPowerWays)] {
			p.Power.Ways = append(p.Power.Ways, short(way))
		}
	}
	p.MonitorLog.Network, p.MonitorLog.NetworkOmitted = network(&v)
	if p.MonitoredProcess.HostID == "" {
		p.MonitoredProcess.HostID = "unknown"
	}
	if v.Run.Repository != "" {
		p.MonitoredProcess.Type = JobType
	}
	if v.Inputs.Intent.SHA256 != "" {
		p.Monitor.TracePolicy = &Reference{"evidence/inputs/" + evidence.IntentInput, Digest{SHA256: v.Inputs.Intent.SHA256}}
	}
	p.Verdict.SHA256 = hex.EncodeToString(vsum[:])
	return s, s.fit()
}

// fit takes out of the statement what can be long, and tells how much, until
// it has room to be signed: a job that uses long names must not make its
// evidence impossible to sign. Destinations go first, those with the fewest
// bytes sent before others, then rules, then arguments; all of it is in the
// evidence.
func (s *Statement) fit() error {
	p := &s.Predicate
	for {
		b, err := json.Marshal(s)
		if err != nil {
			return err
		}
		network, rules, args := len(p.MonitorLog.Network), len(p.Verdict.Rules), len(p.MonitorLog.Process[0].Argv)
		switch {
		case len(b) <= maxStatement-roomForSubjects || network+rules+args == 0:
			return s.check()
		case network > 0:
			keep := network * 3 / 4
			p.MonitorLog.Network = p.MonitorLog.Network[:keep]
			p.MonitorLog.NetworkOmitted += network - keep
		case rules > 0:
			keep := rules * 3 / 4
			p.Verdict.Rules = p.Verdict.Rules[:keep]
			p.Verdict.RulesOmitted += rules - keep
		default:
			p.MonitorLog.Process[0].Argv = p.MonitorLog.Process[0].Argv[:args*3/4]
			p.MonitorLog.Process[0].Cut = true
		}
	}
}

func process(c *judge.Command) Process {
	p := Process{Argv: []string{}, Exit: c.Exit}
	room := maxArgBytes
	for _, a := range c.Argv {
		if len(p.Argv) == maxArgs || len(a) > room {
			p.Cut = true
			break
		}
		room -= len(a)
		p.Argv = append(p.Argv, a)
	}
	return p
}

// network lists what the intent does not explain, those with most bytes sent
// where there are too many, and how many are left out.
func network(v *judge.Verdict) (list []Network, omitted int) {
	var out []Network
	add := func(fs []judge.Fact, standing string) {
		for _, f := range fs {
			if f.Verb != "connect" {
				continue
			}
			who := make([]string, 0, 4)
			for _, w := range f.Who[:min(len(f.Who), 4)] {
				who = append(who, short(w))
			}
			out = append(out, Network{"outbound", short(f.Object), who, standing, f.Sent, f.Received, f.Leaf})
		}
	}
	add(v.Forbidden, "forbidden")
	add(v.Undeclared, "undeclared")
	slices.SortStableFunc(out, func(a, b Network) int {
		switch {
		case a.Standing != b.Standing:
			return len(a.Standing) - len(b.Standing) // forbidden is the shorter word
		case a.Sent > b.Sent:
			return -1
		case a.Sent < b.Sent:
			return 1
		}
		return 0
	})
	n := min(len(out), maxNetwork)
	return out[:n], len(out) - n
}

func flat(v *judge.Verdict) Verdict {
	out := Verdict{
		Verdict: string(v.Verdict), Reasons: []string{}, Score: v.Score, Rules: []string{},
		Facts: v.Facts.Total, Undeclared: v.Facts.Undeclared, Forbidden: len(v.Forbidden),
	}
	for _, r := range v.Reasons {
		out.Reasons = append(out.Reasons, string(r))
	}
	for _, f := range v.Findings {
		switch f.Severity {
		case judge.Critical:
			out.Critical++
		case judge.High:
			out.High++
		case judge.Medium:
			out.Medium++
		case judge.Low:
			out.Low++
		default:
			out.Info++
		}
		out.Rules = append(out.Rules, short(f.Rule))
	}
	slices.Sort(out.Rules)
	out.Rules = slices.Compact(out.Rules)
	out.RulesOmitted = max(len(out.Rules)-maxRules, 0)
	out.Rules = out.Rules[:len(out.Rules)-out.RulesOmitted]
	return out
}

// short cuts what the job may have named.
func short(s string) string {
	if len(s) <= maxText {
		return s
	}
	end := maxText
	for end > 0 && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end]
}

// Resume takes over the subjects of a statement that was made and not signed.
// It must be what this one says, which was made from the evidence now, but for
// its other subjects and the version of the program that made it.
func (s *Statement) Resume(payload []byte) error {
	kept, err := ParseStatement(payload)
	if err != nil {
		return err
	}
	for _, sub := range kept.Subject[1:] {
		if err := s.AddSubject(sub); err != nil {
			return err
		}
	}
	s.Predicate.Monitor.Version = kept.Predicate.Monitor.Version
	was, err := json.Marshal(kept.Predicate)
	if err != nil {
		return err
	}
	now, err := json.Marshal(s.Predicate)
	if err != nil {
		return err
	}
	if kept.Subject[0] != s.Subject[0] || !bytes.Equal(was, now) {
		return fmt.Errorf("%w: it is not what the evidence here comes to; remove it to sign what the evidence says now", ErrSubject)
	}
	return nil
}
