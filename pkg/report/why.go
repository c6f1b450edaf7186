package report

import (
	"slices"
	"strconv"
	"strings"

	"github.com/org/edamame-posture/pkg/judge"
)

// why says in one clause what the verdict comes from: the gravest reason
// first, two at most.
func why(v *judge.Verdict) string {
	clauses := []struct {
		reason judge.Reason
		text   func() string
	}{
		{judge.Forbidden, func() string {
			return count(uint64(len(v.Forbidden)), "thing that the policy forbids", "things that the policy forbids")
		}},
		{judge.HasFinding, func() string {
			f := worst(v.Findings)
			if f == nil {
				return "a finding"
			}
			s := string(f.Severity) + ": " + f.Title
			if n := counting(v.Findings) - 1; n > 0 {
				s += " (and " + count(uint64(n), "more finding", "more findings") + ")"
			}
			return s
		}},
		{judge.Undeclared, func() string {
			return count(v.Facts.Undeclared, "thing that no policy declares", "things that no policy declares")
		}},
		{judge.Omission, func() string { return "the record has a hole that nothing explains" }},
		{judge.PartialCoverage, func() string { return "not everything was seen" }},
		{judge.Unsealed, func() string { return "the log was not closed" }},
		{judge.NoIntent, func() string { return "no policy says what it may do" }},
		{judge.LowTightness, func() string { return "the policy allows so much that it says little" }},
	}
	var out []string
	for _, c := range clauses {
		if slices.Contains(v.Reasons, c.reason) && len(out) < 2 {
			out = append(out, c.text())
		}
	}
	if len(out) == 0 {
		if v.Verdict == judge.Pass {
			return "all it did is declared, and nothing it did is known as an attack"
		}
		for _, r := range v.Reasons {
			out = append(out, string(r))
		}
	}
	return strings.Join(out, "; ")
}

// rank orders severities, the gravest first.
func rank(s judge.Severity) int {
	switch s {
	case judge.Critical:
		return 0
	case judge.High:
		return 1
	case judge.Medium:
		return 2
	case judge.Low:
		return 3
	}
	return 4
}

// counting is how many findings are not suppressed.
func counting(fs []judge.Finding) int {
	n := 0
	for i := range fs {
		if fs[i].Suppressed == nil {
			n++
		}
	}
	return n
}

// suppressedBy says in one line by whose word a finding does not count.
func suppressedBy(s *judge.Suppressed) string {
	return "suppressed until " + s.Until + " by " + s.Owner + ": " + s.Reason
}

// worst returns the gravest finding that counts, the first of equals, or nil.
func worst(fs []judge.Finding) *judge.Finding {
	var w *judge.Finding
	for i := range fs {
		if fs[i].Suppressed == nil && (w == nil || rank(fs[i].Severity) < rank(w.Severity)) {
			w = &fs[i]
		}
	}
	return w
}

// sorted returns the findings, the gravest first; equals stay as they are.
func sorted(fs []judge.Finding) []judge.Finding {
	fs = slices.Clone(fs)
	slices.SortStableFunc(fs, func(a, b judge.Finding) int { return rank(a.Severity) - rank(b.Severity) })
	return fs
}

// name is what a destination is called: its host, or its address.
func (d *Destination) name() string {
	host := d.Host
	if host == "" {
		host = d.Addr
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if d.Port == 0 {
		return host
	}
	return host + ":" + strconv.Itoa(int(d.Port))
}

// known says how the name is known, or that there is none, and whether the
// place is a resolver that hides the question.
func (d *Destination) known() string {
	if d.Encrypted == "" {
		return d.named()
	}
	return d.named() + ", " + d.resolver()
}

// resolver says what an encrypted resolver speaks.
func (d *Destination) resolver() string {
	switch d.Encrypted {
	case "doh":
		return "DNS over HTTPS"
	case "dot":
		return "DNS over TLS"
	}
	return "DNS over QUIC"
}

// named says how the name is known, or that there is none.
func (d *Destination) named() string {
	switch d.How {
	case "dns":
		return "name from DNS"
	case "sni":
		return "name from TLS"
	case "http":
		return "name from HTTP"
	case "hosts":
		return "name from /etc/hosts"
	case "", "literal":
		return "no name"
	}
	return "name from " + d.How
}

// chain shows a lineage, the doer last, as a path that led there.
func chain(who []string) string {
	w := slices.Clone(who)
	slices.Reverse(w)
	return strings.Join(w, " > ")
}
