package signature

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/org/edamame-posture/pkg/event"
)

// Bounds of the list of brands, and of what is remembered of hosts.
const (
	maxBrandBytes = 256 << 10
	maxBrands     = 1000
	maxAffixes    = 200
	maxLooked     = 4096 // hosts; when there are more all are forgotten
	maxReached    = 256  // registrable domains of the job's own
	maxLabel      = 63   // bytes of a label (RFC 1035, 2.3.4)
)

// brand is a name that others imitate.
type brand struct {
	Word    string   `yaml:"word"`
	Domains []string `yaml:"domains"`
	Typo    *bool    `yaml:"typo"`
	Top     *bool    `yaml:"top"`
	Source  string   `yaml:"source"`

	drawn string // of the word, by drawnAlike
}

// brands is the list of policies/brands.yml, or that of a stored pack.
type brands struct {
	Version int      `yaml:"version"`
	Affixes []string `yaml:"affixes"`
	Others  []string `yaml:"others"`
	Brands  []brand  `yaml:"brands"`

	text  string
	known map[string]bool // domains that are what they seem
}

func readBrands(name, text string) (*brands, error) {
	if len(text) > maxBrandBytes {
		return nil, fmt.Errorf("%s:1: %d bytes; a list of brands has at most %d", name, len(text), maxBrandBytes)
	}
	b := &brands{text: text, known: map[string]bool{}}
	dec := yaml.NewDecoder(bytes.NewReader([]byte(text)))
	dec.KnownFields(true)
	if err := dec.Decode(b); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: something follows the list", name)
	}
	if b.Version != 1 {
		return nil, fmt.Errorf("%s: version %d; this program reads 1", name, b.Version)
	}
	if len(b.Brands) > maxBrands || len(b.Affixes) > maxAffixes {
		return nil, fmt.Errorf("%s: more than %d brands or %d affixes", name, maxBrands, maxAffixes)
	}
	for _, w := range b.Affixes {
		if w == "" {
			return nil, fmt.Errorf("%s: affixes holds an empty word", name)
		}
	}
	for i := range b.Brands {
		e := &b.Brands[i]
		if len(e.Word) < 3 || len(e.Word) > maxLabel || len(e.Domains) == 0 || e.Source == "" {
			return nil, fmt.Errorf("%s: brand %d, %q: word needs 3 to %d letters, and domains and source must be there", name, i+1, e.Word, maxLabel)
		}
		e.drawn = drawnAlike.Replace(e.Word)
		for _, d := range e.Domains {
			b.known[d] = true
		}
	}
	for _, d := range b.Others {
		b.known[d] = true
	}
	return b, nil
}

// likeness says whom a host imitates and how: "typo", "affix" or "top-level"
// of a brand, or "reached", a typing error away from what was reached before,
// or "owner", of the owner of the action that acts.
type likeness struct{ of, how string }

// lookalikes tells look-alikes of brands and of what the job itself reached.
type lookalikes struct {
	brands   *brands
	suffixes *suffixes
	looked   map[string]likeness
	// reached are the labels of registrable domains, as they are read, each
	// with its domain, in the order in which they came.
	reached []reachedDomain
	// granted are registrable domains that the policy names.
	granted map[string]bool
}

type reachedDomain struct{ label, domain string }

func newLookalikes(b *brands, s *suffixes) *lookalikes {
	return &lookalikes{brands: b, suffixes: s, looked: map[string]likeness{}, granted: map[string]bool{}}
}

// lookalike returns whom the event's destination imitates.
func (v *view) lookalike() likeness {
	var host string
	switch {
	case v.in.Event.Kind == event.Accept:
		return likeness{}
	case v.in.Event.Kind == event.DNS:
		host = v.get(queryName, true)
	default:
		host = v.get(destinationHostname, true)
	}
	host = strings.TrimSuffix(host, ".")
	if host == "" || v.look.brands == nil {
		return likeness{}
	}
	l := v.look.host(host)
	if l.of == "" && v.in.Node != nil {
		l = v.look.owner(host, v.in.Node.Action.String())
	}
	return l
}

func (l *lookalikes) host(host string) likeness {
	if r, ok := l.looked[host]; ok {
		return r
	}
	r := l.look(host)
	if len(l.looked) >= maxLooked {
		clear(l.looked)
	}
	l.looked[strings.Clone(host)] = r
	return r
}

func (l *lookalikes) look(host string) likeness {
	label, domain, ok := l.suffixes.registered(host)
	if !ok || l.brands.known[domain] || l.granted[domain] {
		return likeness{}
	}
	seen := asRead(label)
	drawn := drawnAlike.Replace(seen)
	for i := range l.brands.Brands {
		b := &l.brands.Brands[i]
		if how := l.brands.resembles(b, label, seen, drawn); how != "" {
			return likeness{b.Domains[0], how}
		}
	}
	for _, r := range l.reached {
		if r.domain == domain {
			return likeness{}
		}
		if near(seen, r.label, 8, 12) || seen == r.label && seen != label && len(seen) >= 8 {
			return likeness{r.domain, "reached"}
		}
	}
	if len(l.reached) < maxReached {
		l.reached = append(l.reached, reachedDomain{strings.Clone(seen), strings.Clone(domain)})
	}
	return likeness{}
}

// owner looks at a host as an action's: its owner's name misspelt.
func (l *lookalikes) owner(host, action string) likeness {
	name, _, ok := strings.Cut(action, "/")
	if !ok || len(name) < 7 || len(name) > maxLabel {
		return likeness{}
	}
	label, domain, ok := l.suffixes.registered(host)
	if !ok || l.brands.known[domain] || l.granted[domain] {
		return likeness{}
	}
	if seen, name := asRead(label), lowerText(name); !near(seen, name, 7, 10) && (seen != name || seen == label) {
		return likeness{}
	}
	return likeness{name, "owner"}
}

// resembles says how a label imitates the brand's word: it is read as seen, and
// drawn as others are that [drawnAlike] makes the same of.
func (b *brands) resembles(e *brand, label, seen, drawn string) string {
	typo := e.Typo == nil || *e.Typo
	switch {
	case label == e.Word:
		if e.Top == nil || *e.Top {
			return "top-level"
		}
		return ""
	case drawn == e.drawn:
		return "typo"
	case b.affixed(e.Word, seen), typo && strings.TrimRight(seen, digits) == e.Word:
		return "affix"
	case typo && near(seen, e.Word, 6, 10):
		return "typo"
	}
	return ""
}

const digits = "0123456789"

// affixed reports whether the label is the word with one or two affixes
// around it, with hyphens or numbers between them or without.
func (b *brands) affixed(word, label string) bool {
	at := strings.Index(label, word)
	if at < 0 {
		return false
	}
	before, after := strings.TrimRight(label[:at], "-"), strings.TrimLeft(label[at+len(word):], "-")
	n, ok := b.affixWords(before, 2)
	if !ok {
		return false
	}
	m, ok := b.affixWords(after, 2-n)
	return ok && n+m > 0
}

// affixWords returns of how many affixes s is made, at most most.
func (b *brands) affixWords(s string, most int) (n int, ok bool) {
	if s == "" {
		return 0, true
	}
	if most <= 0 {
		return 0, false
	}
	for _, w := range b.Affixes {
		if rest, has := strings.CutPrefix(s, w); has {
			if n, ok := b.affixWords(strings.TrimLeft(rest, "-"+digits), most-1); ok {
				return n + 1, true
			}
		}
	}
	return 0, false
}

// near reports whether a is b with one typing error, where b has at least as
// many letters as one says, or with up to two, where it has as many as two says. Names that differ in
// digits or an s at the end alone are numbered or plural on purpose.
func near(a, b string, one, two int) bool {
	if a == "" || a == b || len(b) < one || a[0] != b[0] || a == b+"s" || a+"s" == b {
		return false
	}
	most := 1
	if len(b) >= two {
		most = 2
	}
	if len(a)-len(b) > most || len(b)-len(a) > most || strings.ContainsAny(a+b, digits) && digitsApart(a, b) {
		return false
	}
	return distance(a, b) <= most
}

// digitsApart reports whether two names are the same but for their digits.
func digitsApart(a, b string) bool {
	return slices.Equal(withoutDigits(a), withoutDigits(b))
}

func withoutDigits(s string) []byte {
	return slices.DeleteFunc([]byte(s), func(c byte) bool { return c >= '0' && c <= '9' })
}

// distance is the number of insertions, deletions, substitutions and exchanges
// of neighbours that make b of a (optimal string alignment). Both have at most
// maxLabel bytes.
func distance(a, b string) int {
	var rows [3][maxLabel + 1]int
	for j := range len(b) + 1 {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		row, up, up2 := &rows[i%3], &rows[(i+2)%3], &rows[(i+1)%3]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			d := min(up[j]+1, row[j-1]+1, up[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d = min(d, up2[j-2]+1)
			}
			row[j] = d
		}
	}
	return rows[len(a)%3][len(b)]
}
