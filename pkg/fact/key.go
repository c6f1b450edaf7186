package fact

import (
	"slices"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/redact"
)

// A policy may say with which key a destination is used. What the log holds of
// keys are hashes under a key of the recording: those of the declared ones at its
// start, and those of the headers of each request that was read. Another key at
// an allowed host is how data leaves through a service that both sides use.

// maxDeclared bounds the variables of a log that hold keys.
const maxDeclared = 256

// credentialHeader is the pattern of what a request's headers hold.
const credentialHeader = "credential-header"

// Declare takes note of a Key event: the variable of that name holds a key.
func (f *Folder) Declare(ev *event.Event) {
	if f.declared == nil {
		f.declared = make(map[string][]redact.Text)
	}
	if len(f.declared) >= maxDeclared {
		return
	}
	name := ev.Name.String()
	for i := range ev.Secrets {
		f.declared[name] = append(f.declared[name], ev.Secrets[i].Hash)
	}
}

// otherKey makes the fact of a request with a key that is none of those that the
// policy names for where it went. A header whose value can be read in two ways
// (name and password) has the declared key if one of them is it.
func (f *Folder) otherKey(ev *event.Event, c *conn) {
	to := c.fact
	if f.Keys == nil || to == nil || to.Verb != Connect || len(ev.Secrets) == 0 {
		return
	}
	names := f.Keys(to)
	if len(names) == 0 {
		return
	}
	values := 0
	for _, name := range names {
		values += len(f.declared[name])
	}
	for i := range ev.Secrets {
		s := &ev.Secrets[i]
		if !s.Pattern.Is(credentialHeader) || i > 0 && sameHeader(s, &ev.Secrets[i-1]) {
			continue
		}
		known := false
		for j := i; j < len(ev.Secrets) && sameHeader(s, &ev.Secrets[j]); j++ {
			for _, name := range names {
				known = known || slices.Contains(f.declared[name], ev.Secrets[j].Hash)
			}
		}
		if c.asked.noKey = c.asked.noKey || values == 0; known || values == 0 {
			continue
		}
		f.begin(Key, c.lin)
		f.key = append(append(append(f.key, s.Field.String()...), ' '), to.Object.String()...)
		if f.grow(ev) != nil {
			continue
		}
		fact := made(Key, ev, c.node, c.lin)
		fact.To, fact.Host, fact.How, fact.Addr, fact.Proto, fact.Class = to.Object, to.Host, to.How, to.Addr, to.Proto, s.Field
		fact.Object = redact.Concat(redact.Const("another key in "), s.Field, redact.Const(" to "), to.Object)
		f.keep(fact)
	}
}

func sameHeader(a, b *event.Secret) bool {
	return a.Index == b.Index && a.Field == b.Field && a.Pattern == b.Pattern
}
