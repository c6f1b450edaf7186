// Package indicator holds what known attacks left: hosts, addresses, package
// versions and files that were executed, each with the incident, its source and its date. Rules tell
// behaviour and outlive an attack; an indicator is right until its attackers
// move, and is a second, separate kind.
package indicator

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"unicode"

	"gopkg.in/yaml.v3"

	"github.com/org/edamame-posture/pkg/event"
)

// Severities an entry may have, the first where it says none.
var severities = []string{"critical", "high", "medium", "low"}

// Entry is what one incident left.
type Entry struct {
	Incident  string   `json:"incident"`
	Source    string   `json:"source,omitempty"`
	Date      string   `json:"date,omitempty"`     // of the incident, 2006-01-02
	Severity  string   `json:"severity,omitempty"` // critical, high, medium or low
	Hosts     []string `json:"hosts,omitempty"`    // and everything below them
	Addresses []string `json:"addresses,omitempty"`
	// Packages are package URLs (purl-spec) with a version, or without one where
	// every version is bad: pkg:npm/axios@1.14.1.
	Packages []string `json:"packages,omitempty"`
	// SHA256 are digests of files, as sha256sum(1) prints them. They are looked
	// for in what is executed, programs and scripts, and in no other file.
	SHA256 []string `json:"sha256,omitempty"`
}

// Set is what is looked for, of one or several lists.
type Set struct {
	entries  []*Entry
	hosts    map[string]*Entry
	prefixes []prefix
	addrs    map[netip.Addr]*Entry
	packages map[string]*Entry // by canonical package URL, with and without version
	files    map[event.SHA256]*Entry
}

type prefix struct {
	netip.Prefix
	entry *Entry
}

// Bounds of a list.
const (
	MaxBytes   = 64 << 20 // of a list in JSON
	maxYAML    = 4 << 20
	maxEntries = 1 << 20
	maxText    = 512
)

// New returns an empty Set.
func New() *Set {
	return &Set{hosts: map[string]*Entry{}, addrs: map[netip.Addr]*Entry{}, packages: map[string]*Entry{}, files: map[event.SHA256]*Entry{}}
}

// keys are the members of an entry, as a list writes them.
var keys = map[string]func(e *Entry) any{
	"incident": func(e *Entry) any { return &e.Incident }, "source": func(e *Entry) any { return &e.Source },
	"date": func(e *Entry) any { return &e.Date }, "severity": func(e *Entry) any { return &e.Severity },
	"hosts": func(e *Entry) any { return &e.Hosts }, "addresses": func(e *Entry) any { return &e.Addresses },
	"packages": func(e *Entry) any { return &e.Packages }, "sha256": func(e *Entry) any { return &e.SHA256 },
}

// Add reads a list, in YAML or, for long ones, JSON, and adds it. name is that
// of the file, for errors, which say the line.
func (s *Set) Add(name string, data []byte) error {
	if first := bytes.TrimLeft(data, " \t\r\n"); len(first) > 0 && first[0] == '{' {
		return s.addJSON(name, data)
	}
	if len(data) > maxYAML {
		return fmt.Errorf("%s: %d bytes, a list of indicators in YAML has at most %d: write a longer one in JSON", name, len(data), maxYAML)
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc yaml.Node
	if err := dec.Decode(&doc); err != nil {
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("%s:1: the list is empty: it begins with `version: 1`", name)
		}
		return fmt.Errorf("%s: %w", name, err)
	}
	root := doc.Content[0]
	bad := func(n *yaml.Node, format string, args ...any) error {
		return fmt.Errorf("%s:%d:%d: %s", name, n.Line, n.Column, fmt.Sprintf(format, args...))
	}
	if root.Kind != yaml.MappingNode {
		return bad(root, "a list of indicators is a mapping with `version: 1` and `indicators:`")
	}
	var list *yaml.Node
	version := ""
	for i := 0; i+1 < len(root.Content); i += 2 {
		k, v := root.Content[i], root.Content[i+1]
		switch k.Value {
		case "version":
			version = v.Value
		case "indicators":
			list = v
		case "description", "date", "source":
		default:
			return bad(k, "%.80q is no key of a list: version, description, date, source, indicators", k.Value)
		}
	}
	if version != "1" {
		return bad(root, "version is %.40q, want 1", version)
	}
	if list == nil || list.Kind != yaml.SequenceNode {
		return bad(root, "there is no sequence `indicators:`")
	}
	if len(s.entries)+len(list.Content) > maxEntries {
		return bad(list, "more than %d entries", maxEntries)
	}
	for _, n := range list.Content {
		e, err := readEntry(n, bad)
		if err != nil {
			return err
		}
		if err := s.add(e); err != nil {
			return bad(n, "%v", err)
		}
	}
	return nil
}

// addJSON reads a list as Canonical writes it.
func (s *Set) addJSON(name string, data []byte) error {
	if len(data) > MaxBytes {
		return fmt.Errorf("%s: %d bytes, a list of indicators has at most %d", name, len(data), MaxBytes)
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	bad := func(err error) error {
		return fmt.Errorf("%s:%d: %w", name, 1+bytes.Count(data[:min(dec.InputOffset(), int64(len(data)))], []byte("\n")), err)
	}
	var list struct {
		Version    int     `json:"version"`
		Indicators []Entry `json:"indicators"`
	}
	if err := dec.Decode(&list); err != nil {
		return bad(err)
	}
	if list.Version != 1 {
		return bad(fmt.Errorf("version is %d, want 1", list.Version))
	}
	if len(s.entries)+len(list.Indicators) > maxEntries {
		return bad(fmt.Errorf("more than %d entries", maxEntries))
	}
	for i := range list.Indicators {
		e := &list.Indicators[i]
		err := e.check()
		if err == nil {
			err = s.add(e)
		}
		if err != nil {
			return fmt.Errorf("%s: entry %d: %w", name, i+1, err)
		}
	}
	return nil
}

func readEntry(n *yaml.Node, bad func(*yaml.Node, string, ...any) error) (*Entry, error) {
	if n.Kind != yaml.MappingNode {
		return nil, bad(n, "an entry is a mapping: {incident: NAME, hosts: [HOST]}")
	}
	e := &Entry{}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		field, ok := keys[k.Value]
		switch {
		case !ok:
			return nil, bad(k, "%.80q is no key of an entry: incident, source, date, severity, hosts, addresses, packages, sha256", k.Value)
		case seen[k.Value]:
			return nil, bad(k, "%q stands twice", k.Value)
		}
		seen[k.Value] = true
		switch to := field(e).(type) {
		case *string:
			if v.Kind != yaml.ScalarNode || len(v.Value) > maxText {
				return nil, bad(v, "%s is a text of at most %d bytes", k.Value, maxText)
			}
			*to = v.Value
		case *[]string:
			if v.Kind != yaml.SequenceNode {
				return nil, bad(v, "%s is a sequence: [ONE, OTHER]", k.Value)
			}
			for _, item := range v.Content {
				if item.Kind != yaml.ScalarNode || item.Value == "" || len(item.Value) > maxText {
					return nil, bad(item, "%s holds texts of at most %d bytes", k.Value, maxText)
				}
				*to = append(*to, item.Value)
			}
		}
	}
	if err := e.check(); err != nil {
		return nil, bad(n, "%v", err)
	}
	return e, nil
}

// check tells what an entry lacks.
func (e *Entry) check() error {
	if e.Severity == "" {
		e.Severity = severities[0]
	}
	for _, text := range []string{e.Incident, e.Source, e.Date} {
		if strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
			return fmt.Errorf("%.80q: it is shown to people, and holds a character that does not print", text)
		}
	}
	switch {
	case e.Incident == "" || len(e.Incident) > maxText:
		return fmt.Errorf("the entry does not say of which incident it is, in at most %d bytes: incident: NAME", maxText)
	case !slices.Contains(severities, e.Severity):
		return fmt.Errorf("severity %.40q: want one of %s", e.Severity, strings.Join(severities, ", "))
	case len(e.Hosts)+len(e.Addresses)+len(e.Packages)+len(e.SHA256) == 0:
		return fmt.Errorf("the entry of %.80q has no hosts, addresses, packages or sha256", e.Incident)
	}
	return nil
}

// add puts an entry into the index. What an earlier entry has stays that one's.
func (s *Set) add(e *Entry) error {
	for _, h := range e.Hosts {
		host := strings.ToLower(strings.TrimSuffix(h, "."))
		if host == "" || strings.ContainsAny(host, "*/: \t@") || !strings.Contains(host, ".") {
			return fmt.Errorf("host %.80q: want a name such as evil.example, which stands for all below it too", h)
		}
		if _, err := netip.ParseAddr(host); err == nil {
			return fmt.Errorf("host %.80q is an address: put it into addresses", h)
		}
		put(s.hosts, host, e)
	}
	for _, a := range e.Addresses {
		if p, err := netip.ParsePrefix(a); err == nil {
			if p.Bits() < 8 {
				return fmt.Errorf("address %q: a prefix of less than 8 bits is half the network", a)
			}
			s.prefixes = append(s.prefixes, prefix{p.Masked(), e})
			continue
		}
		addr, err := netip.ParseAddr(a)
		if err != nil {
			return fmt.Errorf("address %.80q: want 203.0.113.7 or 203.0.113.0/24", a)
		}
		put(s.addrs, addr.Unmap(), e)
	}
	for _, p := range e.Packages {
		kind, name, version, err := parsePURL(p)
		if err != nil {
			return err
		}
		put(s.packages, packageKey(kind, name, version), e)
	}
	for _, h := range e.SHA256 {
		d, err := event.ParseSHA256(h)
		if err != nil {
			return fmt.Errorf("sha256 %.80q: %w", h, err)
		}
		put(s.files, d, e)
	}
	s.entries = append(s.entries, e)
	return nil
}

func put[K comparable](m map[K]*Entry, k K, e *Entry) {
	if m[k] == nil {
		m[k] = e
	}
}

// parsePURL reads a package URL without qualifiers: pkg:TYPE/NAMESPACE/NAME@VERSION
// (github.com/package-url/purl-spec).
func parsePURL(s string) (kind, name, version string, err error) {
	wrong := fmt.Errorf("package %.120q: want a package URL such as pkg:npm/axios@1.14.1 or pkg:npm/%%40scope/name", s)
	rest, ok := strings.CutPrefix(s, "pkg:")
	kind, rest, cut := strings.Cut(rest, "/")
	if !ok || !cut || kind == "" || strings.ContainsAny(rest, "?#") {
		return "", "", "", wrong
	}
	// The version follows the last @ behind the last slash.
	slash := strings.LastIndexByte(rest, '/')
	if at := strings.LastIndexByte(rest, '@'); at > slash+1 {
		rest, version = rest[:at], rest[at+1:]
		if version, err = url.PathUnescape(version); err != nil || version == "" {
			return "", "", "", wrong
		}
	}
	if name, err = url.PathUnescape(rest); err != nil || strings.Trim(name, "/") == "" {
		return "", "", "", wrong
	}
	return strings.ToLower(kind), name, version, nil
}

// packageKey is one spelling of a package: PyPI folds case and separators
// (PEP 503).
func packageKey(kind, name, version string) string {
	if kind == "pypi" {
		name = strings.NewReplacer("_", "-", ".", "-").Replace(strings.ToLower(name))
	}
	return kind + "/" + name + "@" + version
}

// Len returns how many entries there are.
func (s *Set) Len() int { return len(s.entries) }

// Host returns the entry of a host, or of a domain that it is below, and which
// of the two is listed; nil where there is none. host is in lower case.
func (s *Set) Host(host string) (e *Entry, listed string) {
	host = strings.TrimSuffix(host, ".")
	for len(s.hosts) > 0 {
		if e := s.hosts[host]; e != nil {
			return e, host
		}
		_, rest, ok := strings.Cut(host, ".")
		if !ok {
			break
		}
		host = rest
	}
	return nil, ""
}

// Addr returns the entry of an address, and the address or prefix that is
// listed; nil where there is none.
func (s *Set) Addr(a netip.Addr) (e *Entry, listed netip.Prefix) {
	a = a.Unmap()
	if e := s.addrs[a]; e != nil {
		return e, netip.PrefixFrom(a, a.BitLen())
	}
	for i := range s.prefixes {
		if s.prefixes[i].Contains(a) {
			return s.prefixes[i].entry, s.prefixes[i].Prefix
		}
	}
	return nil, netip.Prefix{}
}

// Package returns the entry of a package's version, or of the package where all
// of them are bad; nil where there is none. kind is the type of its package URL.
func (s *Set) Package(kind, name, version string) *Entry {
	if len(s.packages) == 0 {
		return nil
	}
	if e := s.packages[packageKey(kind, name, version)]; e != nil {
		return e
	}
	return s.packages[packageKey(kind, name, "")]
}

// File returns the entry of a file that has a digest; nil where there is none.
func (s *Set) File(d event.SHA256) *Entry { return s.files[d] }

// Files reports whether any digest of a file is looked for.
func (s *Set) Files() bool { return s != nil && len(s.files) > 0 }

// Merge adds the entries of another Set.
func (s *Set) Merge(other *Set) error {
	if len(s.entries)+len(other.entries) > maxEntries {
		return fmt.Errorf("more than %d entries", maxEntries)
	}
	for _, e := range other.entries {
		if err := s.add(e); err != nil {
			return err
		}
	}
	return nil
}

// Canonical returns all entries in one spelling, as evidence keeps them.
func (s *Set) Canonical() []byte {
	b, err := json.Marshal(struct {
		Version    int      `json:"version"`
		Indicators []*Entry `json:"indicators"`
	}{1, s.entries})
	if err != nil {
		panic(err) // cannot be: texts alone
	}
	return b
}

// Read reads what Canonical wrote.
func Read(canonical []byte) (*Set, error) {
	s := New()
	return s, s.Add("indicators", canonical)
}
