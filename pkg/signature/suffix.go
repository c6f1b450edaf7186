package signature

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/org/edamame-posture/policies"
)

// maxSuffixBytes bounds the list of public suffixes.
const maxSuffixBytes = 256 << 10

// maxSuffixLabels bounds of how many labels a suffix is looked for.
const maxSuffixLabels = 6

// suffixes is the list of policies/suffixes.txt, or that of a stored pack.
type suffixes struct {
	text string
	// lines are "uk: ac co gov", in the order of what stands before the colon.
	lines []string
}

// readSuffixes reads a list of public suffixes. name stands in errors.
func readSuffixes(name, text string) (*suffixes, error) {
	if len(text) > maxSuffixBytes {
		return nil, fmt.Errorf("%s:1: %d bytes; a list of suffixes has at most %d", name, len(text), maxSuffixBytes)
	}
	s := &suffixes{text: text}
	n, last := 0, ""
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSuffix(line, "\n")
		if line == "" || line[0] == '#' {
			continue
		}
		below, _, ok := strings.Cut(line, ": ")
		if !ok || below == "" {
			return nil, fmt.Errorf("%s:%d: want a suffix, a colon and what may stand before it", name, n)
		}
		if below <= last {
			return nil, fmt.Errorf("%s:%d: %q is not behind %q in order", name, n, below, last)
		}
		last = below
		s.lines = append(s.lines, line)
	}
	return s, nil
}

// shippedSuffixes are those that ship with the program.
var shippedSuffixes = sync.OnceValue(func() *suffixes {
	s, err := readSuffixes("suffixes.txt", string(policies.Suffixes()))
	if err != nil {
		panic(err) // cannot be: a test reads it
	}
	return s
})

// before returns what may stand before a suffix, with a blank at each side.
func (s *suffixes) before(below string) string {
	i, _ := slices.BinarySearchFunc(s.lines, below, func(line, below string) int {
		return strings.Compare(line[:strings.IndexByte(line, ':')], below)
	})
	if i == len(s.lines) || !strings.HasPrefix(s.lines[i], below) || s.lines[i][len(below)] != ':' {
		return ""
	}
	return s.lines[i][len(below)+1:]
}

// holds reports whether a label is one of those that before returned, or with a
// mark one that stands there behind it.
func holds(list string, mark byte, label string) bool {
	for at := 1; at < len(list); {
		i := strings.Index(list[at:], label)
		if i < 0 {
			return false
		}
		from := at + i
		at = from + len(label)
		if at < len(list) && list[at] != ' ' {
			continue
		}
		if mark == 0 && list[from-1] == ' ' || mark != 0 && list[from-1] == mark && list[from-2] == ' ' {
			return true
		}
	}
	return false
}

// registered splits what somebody registered off a name in lower case, by its
// first label and as a whole: name, of name.co.uk. A suffix of a company, such
// as github.io, is none here: what stands below it is the company's, which says
// nothing of a brand. ok is false for a suffix itself, an address, and what lies
// below no top-level domain that is open to the public.
func (s *suffixes) registered(host string) (label, domain string, ok bool) {
	host = strings.TrimSuffix(host, ".")
	dot := strings.LastIndexByte(host, '.')
	top := host[dot+1:]
	if dot <= 0 || reserved[top] || top == "" || top[0] >= '0' && top[0] <= '9' {
		return "", "", false
	}
	// The longest suffix counts, at first the top-level domain alone.
	suffix := dot + 1 // where it begins
	at := suffix
	for range maxSuffixLabels {
		list := s.before(host[at:])
		if list == "" || at == 0 {
			break
		}
		next := strings.LastIndexByte(host[:at-1], '.') + 1
		name := host[next : at-1]
		if name == "" || strings.ContainsAny(name, " !*") {
			return "", "", false
		}
		if holds(list, '!', name) {
			suffix = at
			break
		}
		if holds(list, 0, name) || holds(list, 0, "*") {
			suffix = next
		}
		at = next
	}
	if suffix == 0 {
		return "", "", false
	}
	from := strings.LastIndexByte(host[:suffix-1], '.') + 1
	label = host[from : suffix-1]
	return label, host[from:], label != "" && len(label) <= maxLabel
}

// reserved are top-level domains below which nothing is registered (RFC 6761,
// RFC 6762, ICANN's internal), and those that networks use as if.
var reserved = map[string]bool{
	"arpa": true, "corp": true, "example": true, "home": true, "internal": true, "invalid": true, "lan": true, "local": true,
	"localdomain": true, "localhost": true, "onion": true, "test": true,
}
