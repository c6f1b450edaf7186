package intent

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/fact"
	"github.com/org/edamame-posture/pkg/redact"
)

// The index must never hide a grant: with it and without, the answers are the
// same for facts and grants of few words, so that they meet often.
func TestTheIndexOfGrantsHidesNone(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	pick := func(list ...string) string { return list[r.IntN(len(list))] }
	host := func() string {
		h := pick("a", "b1", "b2", "com", "x")
		for range r.IntN(3) {
			h += "." + pick("a", "b1", "com", "x")
		}
		return h
	}
	dir := func() string {
		p := pick("dist", "src", "a", "node")
		for range r.IntN(3) {
			p += "/" + pick("dist", "node", "a", "b.js")
		}
		return pick("", "/", "/usr/") + p
	}
	class := func() string { return pick("npm", "aws", "git") }
	by := func() string { return pick("", "", ", by: [npm]", ", by: [node, sh]") }
	var policy strings.Builder
	policy.WriteString("version: 1\negress:\n")
	for i := range 120 {
		upload := ", upload: 1KB"
		if i%20 == 0 {
			upload = ""
		}
		h := pick("", "*.", "**.") + host()
		switch r.IntN(12) {
		case 0:
			h = "*"
		case 1:
			h = "10.0.0.0/8"
		case 2:
			h = "b*." + host()
		}
		fmt.Fprintf(&policy, "  - {to: \"%s:%s\"%s%s}\n", h, pick("443", "443", "*"), by(), upload)
	}
	policy.WriteString("listen: [\"127.0.0.1:*\", \"*:80\"]\nexec:\n")
	for range 60 {
		fmt.Fprintf(&policy, "  - {to: \"%s\"%s}\n", pick(pick("node", "a", "sh", "b.js"), "n*", dir(), dir()+"/**", "**/a"), by())
	}
	policy.WriteString("write:\n")
	for range 60 {
		fmt.Fprintf(&policy, "  - {to: \"%s\"%s}\n", pick(dir(), dir()+"/**", dir()+"/*", "**/a", "/*/a", "/**"), by())
	}
	policy.WriteString("credentials: [npm, {class: aws, by: [node], to: [\"**.com:443\"]}, {class: git, to: [\"a.com:443\"]}]\nroot: [sh]\ndeny:\n  egress:\n")
	for range 20 {
		fmt.Fprintf(&policy, "  - \"%s%s\"\n", pick("", "*.", "**."), host())
	}
	p, err := Parse("posture.yml", []byte(policy.String()))
	if err != nil {
		t.Fatal(err)
	}
	in, err := p.Resolve("")
	if err != nil {
		t.Fatal(err)
	}
	plain := func(list []grant, f *fact.Fact) (found *Grant) {
		for i := range list {
			if g := &list[i]; g.covers(f) && (found == nil || g.Specificity > found.Specificity) {
				found = &g.Grant
			}
		}
		return found
	}
	explained, denied, budgeted := 0, 0, 0
	for range 20_000 {
		f := &fact.Fact{
			Verb: fact.Verb(1 + r.IntN(int(fact.Chain))), Who: []redact.Text{text(pick("npm", "node", "sh", "make"))}, Proto: event.ProtoTCP,
			Addr: netip.AddrPortFrom(netip.MustParseAddr(pick("203.0.113.7", "10.1.2.3", "127.0.0.1")), uint16(443+r.IntN(2))),
		}
		switch f.Verb {
		case fact.Connect, fact.Resolve, fact.Chain:
			if r.IntN(5) > 0 {
				f.Host = text(host())
			}
			f.Taint = text(class())
		case fact.Exec, fact.Write, fact.Delete:
			d := dir()
			if r.IntN(5) == 0 {
				d += "/**"
			}
			f.Object, f.Path = text(d), text(d)
			if f.Place = fact.System; d[0] != '/' {
				f.Place = fact.Workspace
			}
		case fact.Credential:
			f.Class = text(class())
		}
		if got, want := in.Explain(f), plain(in.grants[explainedBy(f.Verb)], f); got != want {
			t.Fatalf("%+v is explained by %+v, want %+v", f, got, want)
		} else if got != nil {
			explained++
		}
		var want *Grant
		if f.Verb == fact.Connect || f.Verb == fact.Resolve {
			want = plain(in.denies, f)
		}
		if got := in.Denied(f); got != want {
			t.Fatalf("%+v is denied by %+v, want %+v", f, got, want)
		} else if got != nil {
			denied++
		}
		var all []*Grant
		if f.Verb == fact.Connect {
			for i := range in.grants[fact.Connect] {
				if g := &in.grants[fact.Connect][i]; g.covers(f) {
					all = append(all, &g.Grant)
					if g.Upload == 0 {
						all = nil
						break
					}
				}
			}
		}
		got := in.Budgeted(nil, f)
		if fmt.Sprint(got) != fmt.Sprint(all) {
			t.Fatalf("%+v counts for %v, want %v", f, got, all)
		}
		if len(got) > 0 {
			budgeted++
		}
	}
	if explained < 4000 || denied < 500 || budgeted < 50 {
		t.Errorf("%d explained, %d denied, %d held against a budget: too few to tell", explained, denied, budgeted)
	}
}
