// Package document reads YAML files that people write, so that every error
// names its file, line and column.
//
// Decoding into structs would be shorter, but the errors of yaml.v3 have no
// column and stop at the first; here the tree of nodes is walked, each key must
// be known, and everything that is wrong is told at once.
//
//	src, docs := document.Parse("posture.yml", data)
//	for _, pair := range src.Mapping(docs[0], "version", "egress") {
//		…
//	}
//	if err := src.Err(); err != nil { … }
//
// Files may come from a pull request, so size, depth, aliases and the number
// of nodes are bounded.
package document

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// Bounds of a file.
const (
	MaxBytes     = 1 << 20
	maxNodes     = 100_000 // after aliases were put in
	maxDepth     = 32
	maxErrors    = 50
	maxDocuments = 256
	maxText      = 80
)

// Source is a file that is being read, and what was wrong in it so far.
type Source struct {
	File  string
	lines []string
	errs  Errors
	wrong int
	nodes int
}

// Pair is one entry of a mapping.
type Pair struct {
	Key   string
	At    *yaml.Node // the key
	Value *yaml.Node
}

// Parse reads all documents of a file. Aliases are replaced by what they stand
// for. Where the file is not YAML the list is empty and [Source.Err] says why.
func Parse(file string, data []byte) (*Source, []*yaml.Node) {
	s := &Source{File: file}
	if len(data) > MaxBytes {
		s.add(Error{Line: 1, Column: 1, Message: fmt.Sprintf("the file is longer than %d bytes, which are read at most", MaxBytes)})
		return s, nil
	}
	if i := invalidUTF8(data); i >= 0 {
		line := 1 + bytes.Count(data[:i], []byte("\n"))
		s.add(Error{Line: line, Column: i - bytes.LastIndexByte(data[:i], '\n'), Message: "not UTF-8"})
		return s, nil
	}
	s.lines = strings.Split(string(data), "\n")
	if at := s.tooDeep(); at > 0 {
		s.add(Error{Line: at, Column: 1, Message: fmt.Sprintf("nested deeper than %d levels", maxDepth)})
		return s, nil
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var docs []*yaml.Node
	for {
		var n yaml.Node
		err := dec.Decode(&n)
		if errors.Is(err, io.EOF) {
			return s, docs
		}
		if err != nil {
			s.syntax(err)
			return s, nil
		}
		if len(docs) == maxDocuments {
			s.Fail(&n, "more than %d documents in one file", maxDocuments)
			return s, nil
		}
		if len(n.Content) == 0 {
			continue
		}
		c := s.expand(n.Content[0], 0)
		if c == nil {
			return s, nil
		}
		docs = append(docs, c)
	}
}

// tooDeep returns the line where flow collections nest too deep, or 0. The
// parser's own bound is 10,000 levels, each of which costs a stack frame.
func (s *Source) tooDeep() int {
	depth := 0
	for i, l := range s.lines {
		for _, c := range []byte(l) {
			switch c {
			case '[', '{':
				// An over-count (brackets in text) is undone by its partner;
				// what is left is far above what a policy or a rule needs.
				if depth++; depth > 16*maxDepth {
					return i + 1
				}
			case ']', '}':
				if depth > 0 {
					depth--
				}
			}
		}
	}
	return 0
}

func invalidUTF8(data []byte) int {
	for i := 0; i < len(data); {
		r, n := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && n == 1 {
			return i
		}
		i += n
	}
	return -1
}

// expand copies the tree and puts in what aliases stand for. It returns nil
// after an error that ends the reading.
func (s *Source) expand(n *yaml.Node, depth int) *yaml.Node {
	if s.nodes++; s.nodes > maxNodes {
		s.Fail(n, "more than %d values", maxNodes)
		return nil
	}
	if depth > maxDepth {
		s.Fail(n, "nested deeper than %d levels", maxDepth)
		return nil
	}
	if n.Kind == yaml.AliasNode {
		if n.Alias == nil {
			s.Fail(n, "unknown alias")
			return nil
		}
		return s.expand(n.Alias, depth+1)
	}
	c := *n
	c.Content = make([]*yaml.Node, 0, len(n.Content))
	for _, m := range n.Content {
		e := s.expand(m, depth+1)
		if e == nil {
			return nil
		}
		c.Content = append(c.Content, e)
	}
	return &c
}

var yamlLine = regexp.MustCompile(`line (\d+): `)

// syntax turns an error of the YAML parser into one with a place and, for the
// two mistakes that policies invite, with what to do.
func (s *Source) syntax(err error) {
	msg := strings.TrimPrefix(err.Error(), "yaml: ")
	e := Error{Message: msg}
	if m := yamlLine.FindStringSubmatchIndex(msg); m != nil {
		e.Line, _ = strconv.Atoi(msg[m[2]:m[3]])
		e.Message = msg[:m[0]] + msg[m[1]:]
	}
	// yaml.v3 counts from 0 for some errors and from 1 for others, so the line
	// before and after are looked at too.
	for _, l := range []int{e.Line, e.Line + 1, e.Line - 1} {
		if l < 1 || l > len(s.lines) {
			continue
		}
		if col := bareStar(s.lines[l-1]); col > 0 && (strings.Contains(msg, "alphabetic or numeric") || strings.Contains(msg, "unknown anchor")) {
			e.Line, e.Column, e.Text = l, col, cut(strings.TrimSpace(s.lines[l-1][col-1:]))
			e.Message = `a value that begins with * must stand in quotes`
			break
		}
	}
	if e.Line == 0 {
		e.Line = 1
	}
	if e.Column == 0 {
		e.Column = 1
		if e.Line <= len(s.lines) {
			l := s.lines[e.Line-1]
			e.Column = 1 + len(l) - len(strings.TrimLeft(l, " \t"))
			e.Text = cut(strings.TrimSpace(l))
		}
		e.Message = "not YAML: " + e.Message
		if e.Line <= len(s.lines) && strings.Contains(s.lines[e.Line-1][:e.Column-1], "\t") {
			e.Message += "; a tab does not indent: use spaces"
		}
	}
	s.add(e)
}

// bareStar returns the column of a value that begins with *, or 0.
func bareStar(line string) int {
	for i := 0; i < len(line); i++ {
		if line[i] != '*' {
			continue
		}
		before := strings.TrimRight(line[:i], " \t")
		if before == "" || strings.HasSuffix(before, "-") || strings.HasSuffix(before, ":") ||
			strings.HasSuffix(before, "[") || strings.HasSuffix(before, ",") {
			return i + 1
		}
	}
	return 0
}

func cut(s string) string {
	if len(s) <= maxText {
		return s
	}
	n := maxText
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}

func (s *Source) add(e Error) {
	s.wrong++
	if len(s.errs) >= maxErrors {
		if len(s.errs) == maxErrors {
			s.errs = append(s.errs, Error{File: s.File, Line: e.Line, Column: e.Column, Message: "and more; only the first are told"})
		}
		return
	}
	e.File = s.File
	s.errs = append(s.errs, e)
}

// Fail notes that what stands at n is wrong.
func (s *Source) Fail(n *yaml.Node, format string, args ...any) {
	s.FailNear(n, "", format, args...)
}

// FailNear is Fail with a word that may have been meant.
func (s *Source) FailNear(n *yaml.Node, nearest, format string, args ...any) {
	s.add(Error{Line: n.Line, Column: n.Column, Text: text(n), Message: fmt.Sprintf(format, args...), Nearest: nearest})
}

// FailAt is Fail for a place inside a scalar, offset bytes into its text.
func (s *Source) FailAt(n *yaml.Node, offset int, format string, args ...any) {
	line, col := n.Line, n.Column
	if n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) == 0 {
		if n.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle) != 0 {
			col++
		}
		col += offset
	}
	s.add(Error{Line: line, Column: col, Text: text(n), Message: fmt.Sprintf(format, args...)})
}

func text(n *yaml.Node) string {
	if n.Kind == yaml.ScalarNode {
		return cut(n.Value)
	}
	return ""
}

// Err returns all that was wrong as [Errors], or nil.
func (s *Source) Err() error {
	if len(s.errs) == 0 {
		return nil
	}
	return s.errs.sorted()
}

// Wrong returns how often something was wrong so far, also where [Source.Err]
// does not tell it.
func (s *Source) Wrong() int { return s.wrong }

// Failed reports whether anything was wrong so far.
func (s *Source) Failed() bool { return len(s.errs) > 0 }

// Mapping returns the entries of n in their order. A key that is not known
// or stands there twice is an error, and so is a value that is no mapping.
func (s *Source) Mapping(n *yaml.Node, known ...string) []Pair {
	pairs := s.Any(n)
	kept := pairs[:0]
	for _, p := range pairs {
		found := false
		for _, k := range known {
			found = found || k == p.Key
		}
		if !found {
			s.FailNear(p.At, Nearest(p.Key, known), "unknown key")
			continue
		}
		kept = append(kept, p)
	}
	return kept
}

// Any is Mapping where every key is allowed.
func (s *Source) Any(n *yaml.Node) []Pair {
	if n.Kind != yaml.MappingNode {
		s.Fail(n, "want a mapping (key: value), have %s", Kind(n))
		return nil
	}
	seen := make(map[string]int, len(n.Content)/2)
	pairs := make([]Pair, 0, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		k := n.Content[i]
		switch {
		case k.Kind != yaml.ScalarNode:
			s.Fail(k, "a key must be a word, not %s", Kind(k))
			continue
		case k.Tag == "!!merge":
			s.Fail(k, "merge keys are not read; write the entries out")
			continue
		}
		if line, ok := seen[k.Value]; ok {
			s.Fail(k, "the key stands already in line %d", line)
			continue
		}
		seen[k.Value] = k.Line
		pairs = append(pairs, Pair{Key: k.Value, At: k, Value: n.Content[i+1]})
	}
	return pairs
}

// List returns the items of a sequence.
func (s *Source) List(n *yaml.Node) []*yaml.Node {
	if n.Kind != yaml.SequenceNode {
		s.Fail(n, "want a list ([a, b] or lines that begin with -), have %s", Kind(n))
		return nil
	}
	return n.Content
}

// String returns a scalar's text. Numbers and words that YAML takes for a
// truth value are text as they stand; nothing (null) is not.
func (s *Source) String(n *yaml.Node) (string, bool) {
	switch {
	case n.Kind == yaml.ScalarNode && n.Tag == "!!null":
		s.Fail(n, "nothing stands here; want a text")
	case n.Kind != yaml.ScalarNode:
		s.Fail(n, "want a text, have %s", Kind(n))
	default:
		return n.Value, true
	}
	return "", false
}

// Strings returns a list of texts; one text alone stands for a list of one.
func (s *Source) Strings(n *yaml.Node) []*yaml.Node {
	if n.Kind == yaml.ScalarNode {
		if _, ok := s.String(n); !ok {
			return nil
		}
		return []*yaml.Node{n}
	}
	var list []*yaml.Node
	for _, m := range s.List(n) {
		if _, ok := s.String(m); ok {
			list = append(list, m)
		}
	}
	return list
}

// Kind names what a node is, for a person.
func Kind(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	case yaml.ScalarNode:
		switch n.Tag {
		case "!!null":
			return "nothing"
		case "!!int", "!!float":
			return "a number"
		case "!!bool":
			return "true or false"
		}
		return "a text"
	}
	return "something else"
}

// Quote returns s as a YAML scalar in double quotes. Everything outside
// printable ASCII is escaped, so the line is safe on a terminal too.
func Quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r >= 0x20 && r < 0x7f:
			b.WriteRune(r)
		case r < 0x100:
			fmt.Fprintf(&b, `\x%02x`, r)
		case r < 0x10000:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			fmt.Fprintf(&b, `\U%08x`, r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// Shown returns s as it may stand in a line for a person: as it is where it is
// printable ASCII, else quoted and escaped, so that a terminal obeys nothing of
// it and no line break ends the line.
func Shown(s string) string {
	for i := 0; i < len(s); i++ {
		if s[i] < 0x20 || s[i] > 0x7e {
			return Quote(s)
		}
	}
	return s
}
