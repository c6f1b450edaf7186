package intent

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/org/edamame-posture/pkg/fact"
)

// canonical is inputs/intent.json of the evidence. It holds the entries as
// they were written, presets written out, so that a later version of a preset
// changes no old verdict.
type canonical struct {
	Version int       `json:"version"`
	Present bool      `json:"present"`
	Job     string    `json:"job,omitempty"`
	Limits  []string  `json:"limits"`
	FailOn  canonFail `json:"fail_on"`
	Grants  []entry   `json:"grants"`
	Denies  []entry   `json:"denies"`
	// Suppress is left out where there is none, as it was before there were any.
	Suppress []Suppression `json:"suppress,omitempty"`
}

type canonFail struct {
	Never    bool   `json:"never,omitempty"`
	Severity string `json:"severity,omitempty"`
	Score    int    `json:"score,omitempty"`
	Coverage bool   `json:"coverage,omitempty"`
}

// Canonical returns the resolved intent as JSON, the same bytes for the same
// intent on every machine, with a final newline.
func (r *Resolved) Canonical() []byte {
	c := canonical{Version: Version, Present: r.present, Job: r.job, FailOn: canonFail(r.failOn),
		Limits: []string{}, Grants: []entry{}, Denies: []entry{}, Suppress: r.suppress}
	for v := range r.limited {
		if r.limited[v] {
			c.Limits = append(c.Limits, fact.Verb(v).String())
		}
	}
	for v := range r.grants {
		for i := range r.grants[v] {
			c.Grants = append(c.Grants, r.grants[v][i].entry)
		}
	}
	for i := range r.denies {
		c.Denies = append(c.Denies, r.denies[i].entry)
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	if err := enc.Encode(c); err != nil {
		panic(err) // cannot be: strings, numbers and lists
	}
	return b.Bytes()
}

// ReadResolved reads what [Resolved.Canonical] wrote.
func ReadResolved(data []byte) (*Resolved, error) {
	if len(data) > 16<<20 {
		return nil, fmt.Errorf("read resolved intent: %d bytes are more than one can have", len(data))
	}
	var c canonical
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&c); err != nil {
		return nil, fmt.Errorf("read resolved intent: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("read resolved intent: something follows the object")
	}
	if c.Version != Version {
		return nil, fmt.Errorf("read resolved intent: it has version %d; this program reads %d", c.Version, Version)
	}
	if c.FailOn.Score < 0 || c.FailOn.Score > 100 || c.FailOn.Severity != "" && !contains(severity, c.FailOn.Severity) {
		return nil, errors.New("read resolved intent: fail_on holds a score or severity that is none")
	}
	r := &Resolved{present: c.Present, job: c.Job, failOn: FailOn(c.FailOn)}
	for _, name := range c.Limits {
		known := false
		for v := range r.limited {
			if v > 0 && fact.Verb(v).String() == name {
				r.limited[v], known = true, true
			}
		}
		if !known {
			return nil, fmt.Errorf("read resolved intent: limits holds %q, which is no verb", name)
		}
	}
	// What any intent limits is not the file's to leave out.
	if limits := r.limited; c.Present {
		r.limit("")
		if r.limited != limits {
			return nil, errors.New("read resolved intent: limits leaves out what every intent limits")
		}
	} else if len(c.Limits)+len(c.Grants)+len(c.Denies)+len(c.Suppress) > 0 {
		return nil, errors.New("read resolved intent: it says that nothing was declared, and holds declarations")
	}
	if len(c.Suppress) > maxSuppressions {
		return nil, errors.New("read resolved intent: it has more suppressions than one can have")
	}
	for i := range c.Suppress {
		if err := c.Suppress[i].check(); err != nil {
			return nil, fmt.Errorf("read resolved intent: suppression: %w", err)
		}
	}
	r.suppress = c.Suppress
	for i, list := range [][]entry{c.Grants, c.Denies} {
		for _, e := range list {
			if e.Deny != (i == 1) || e.Deny && e.Verb != "connect" {
				return nil, fmt.Errorf("read resolved intent: an entry %q stands in the wrong list", e.To)
			}
			if !contains(kinds, e.Kind) {
				return nil, fmt.Errorf("read resolved intent: the origin kind %q is not known", e.Kind)
			}
			if err := r.add(e); err != nil {
				return nil, fmt.Errorf("read resolved intent: %w", err)
			}
		}
	}
	return r, nil
}
