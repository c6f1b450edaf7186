package settings

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"
)

// maxDepth bounds how deep a document may be nested.
const maxDepth = 200

// node is a value of a JSON document with its place in the text. What agents
// take besides JSON is read too: comments, commas before a closing bracket, keys
// without quotes and texts in single ones.
type node struct {
	kind       byte // '{', '[', '"', or 'v' for a number or a word
	start, end int  // the value's bytes
	begin      int  // where the element begins: at the key of a member
	comma      int  // the end of the comma after it; 0 where there is none
	key        string
	text       string // of '"' and 'v'
	items      []*node
}

// member returns an object's member, nil where it has none of this name.
func (n *node) member(key string) *node {
	for _, m := range n.items {
		if m.key == key {
			return m
		}
	}
	return nil
}

// fault is what is wrong with a document, and where.
type fault struct {
	line, column int
	what         string
}

func (f *fault) Error() string { return fmt.Sprintf("%d:%d: %s", f.line, f.column, f.what) }

// faultAt makes a fault of a place in a text.
func faultAt(text string, at int, what string) *fault {
	before := text[:min(at, len(text))]
	return &fault{strings.Count(before, "\n") + 1, utf8.RuneCountInString(before[strings.LastIndexByte(before, '\n')+1:]) + 1, what}
}

type reader struct {
	text string
	at   int
}

// read reads a document whose value is an object.
func read(text string) (root *node, err error) {
	r := &reader{text: text}
	defer func() {
		if f, ok := recover().(*fault); ok {
			root, err = nil, f
		}
	}()
	r.at += len(text) - len(strings.TrimPrefix(text, "\ufeff"))
	r.blank()
	if r.peek() != '{' {
		r.fail("want an object: {")
	}
	root = r.value(0)
	r.blank()
	if r.at < len(text) {
		r.fail("want the end of the file")
	}
	return root, nil
}

// fail ends reading; only read recovers.
func (r *reader) fail(what string) { panic(faultAt(r.text, r.at, what)) }

func (r *reader) peek() byte {
	if r.at < len(r.text) {
		return r.text[r.at]
	}
	return 0
}

// blank passes over white space and comments.
func (r *reader) blank() {
	for r.at < len(r.text) {
		rest := r.text[r.at:]
		switch {
		case strings.IndexByte(" \t\r\n", rest[0]) >= 0:
			r.at++
		case strings.HasPrefix(rest, "//"):
			if end := strings.IndexByte(rest, '\n'); end >= 0 {
				r.at += end
			} else {
				r.at = len(r.text)
			}
		case strings.HasPrefix(rest, "/*"):
			end := strings.Index(rest[2:], "*/")
			if end < 0 {
				r.fail("this comment has no end")
			}
			r.at += end + 4
		default:
			return
		}
	}
}

func (r *reader) value(depth int) *node {
	if depth > maxDepth {
		r.fail("nested too deep")
	}
	n := &node{start: r.at, begin: r.at}
	switch c := r.peek(); c {
	case '{', '[':
		n.kind = c
		r.at++
		r.items(n, depth)
	case '"', '\'':
		n.kind, n.text = '"', r.quoted()
	default:
		n.kind, n.text = 'v', r.word()
		if n.text == "" {
			r.fail("want a value")
		}
	}
	n.end = r.at
	return n
}

// items reads what stands between the brackets of n, and the closing one.
func (r *reader) items(n *node, depth int) {
	closing := map[byte]byte{'{': '}', '[': ']'}[n.kind]
	for {
		r.blank()
		if r.peek() == closing {
			r.at++
			return
		}
		if len(n.items) > 0 && n.items[len(n.items)-1].comma == 0 {
			r.fail(fmt.Sprintf("want , or %c", closing))
		}
		begin, key := r.at, ""
		if n.kind == '{' {
			if c := r.peek(); c == '"' || c == '\'' {
				key = r.quoted()
			} else if key = r.word(); key == "" {
				r.fail("want a key or }")
			}
			if n.member(key) != nil {
				r.at = begin
				r.fail(fmt.Sprintf("the key %q stands here twice", key))
			}
			r.blank()
			if r.peek() != ':' {
				r.fail("want :")
			}
			r.at++
			r.blank()
		}
		m := r.value(depth + 1)
		m.begin, m.key = begin, key
		n.items = append(n.items, m)
		r.blank()
		if r.peek() == ',' {
			r.at++
			m.comma = r.at
		}
	}
}

func (r *reader) quoted() string {
	start, quote := r.at, r.text[r.at]
	for r.at++; r.at < len(r.text); r.at++ {
		switch c := r.text[r.at]; {
		case c == '\\':
			r.at++
		case c == '\n':
			r.fail("this text has no end")
		case c == quote:
			r.at++
			raw := r.text[start:r.at]
			var s string
			if json.Unmarshal([]byte(raw), &s) != nil { // of JSON's wider forms: as it stands
				s = raw[1 : len(raw)-1]
			}
			return s
		}
	}
	r.fail("this text has no end")
	return ""
}

func (r *reader) word() string {
	start := r.at
	for r.at < len(r.text) && strings.IndexByte(" \t\r\n{}[]:,\"'/", r.text[r.at]) < 0 {
		r.at++
	}
	return r.text[start:r.at]
}

// Each change below takes text of a document and gives text, and changes no
// byte but those that it is about. What is put into a container that was there
// and empty stands behind a space; a container that we made has none there. So
// taking out again knows which containers to take with it.

// entry is what we want in a document: a member, or an element of a list.
type entry struct {
	path  []string
	value string // JSON, on one line
	// list says that value is an element of the list at path, and not the member.
	list bool
	// ifThere says that a list that is not there is not made: where it is left
	// out all is allowed, and it would forbid the rest.
	ifThere bool
}

// style is how a document is written.
type style struct{ newline, indent string }

func styleOf(text string, root *node) style {
	s := style{"\n", "  "}
	if strings.Contains(text, "\r\n") {
		s.newline = "\r\n"
	}
	if len(root.items) > 0 {
		before := text[:root.items[0].begin]
		line := before[strings.LastIndexByte(before, '\n')+1:]
		if line != "" && strings.Trim(line, " \t") == "" {
			s.indent = line
		}
	}
	return s
}

// add puts an entry into a document.
func add(text string, e entry) (string, error) {
	root, err := read(text)
	if err != nil {
		return "", err
	}
	st := styleOf(text, root)
	at := root
	for depth, key := range e.path {
		last := depth == len(e.path)-1
		next := at.member(key)
		if next == nil {
			if e.ifThere {
				return text, nil
			}
			return insert(text, at, st, depth, made(e, st, depth)), nil
		}
		want := byte('{')
		if last && e.list {
			want = '['
		}
		if last && !e.list {
			return "", faultAt(text, next.begin, fmt.Sprintf("%s is there already, and is not ours", strings.Join(e.path, ".")))
		}
		if next.kind != want {
			return "", faultAt(text, next.start, fmt.Sprintf("want %c: %s is to hold our hooks", want, strings.Join(e.path[:depth+1], ".")))
		}
		at = next
	}
	return insert(text, at, st, len(e.path), e.value), nil
}

// made is the member for the path of an entry from depth on, with all in it.
func made(e entry, st style, depth int) string {
	key, _ := json.Marshal(e.path[depth])
	switch {
	case depth < len(e.path)-1:
		inner := st.newline + strings.Repeat(st.indent, depth+2)
		return string(key) + ": {" + inner + made(e, st, depth+1) + st.newline + strings.Repeat(st.indent, depth+1) + "}"
	case e.list:
		return string(key) + ": [" + e.value + "]"
	}
	return string(key) + ": " + e.value
}

// insert puts a new last item into a container that is depth deep.
func insert(text string, in *node, st style, depth int, item string) string {
	at, lead := in.start+1, " "
	if depth == 0 { // the document itself is never taken out
		lead = st.newline + st.indent
	}
	if n := len(in.items); n > 0 {
		at, lead = in.items[n-1].end, ", "
		if between := text[in.start:in.items[0].begin]; strings.Contains(between, "\n") {
			lead = "," + st.newline + strings.Repeat(st.indent, depth+1)
		}
	}
	return text[:at] + lead + item + text[at:]
}

// drop takes the item at i out of a container.
func drop(text string, in *node, i int) string {
	it := in.items[i]
	from, to := in.start+1, max(it.end, it.comma)
	switch {
	case i > 0:
		from, to = in.items[i-1].end, it.end
	case len(in.items) > 1:
		from, to = it.begin, in.items[1].begin
	}
	return text[:from] + text[to:]
}

// remove takes out all that is ours of an entry, and the containers that were
// made for it.
func remove(text string, e entry) (string, error) {
	for {
		root, err := read(text)
		if err != nil {
			return "", err
		}
		way := []*node{root}
		for _, key := range e.path {
			next := way[len(way)-1].member(key)
			if next == nil {
				return text, nil
			}
			way = append(way, next)
		}
		leaf := way[len(way)-1]
		if e.list {
			in, i := findOurs(leaf)
			if in == nil {
				return text, nil
			}
			if in != leaf || len(leaf.items) > 1 || text[leaf.start+1] == ' ' {
				text = drop(text, in, i)
				continue
			}
		}
		// The member goes, and each container above that was made for it alone.
		up := len(way) - 2
		for up > 0 && len(way[up].items) == 1 && text[way[up].start+1] != ' ' {
			up--
		}
		for i, m := range way[up].items {
			if m == way[up+1] {
				return drop(text, way[up], i), nil
			}
		}
	}
}

// findOurs returns an item that is ours in a list: of the list itself, or a
// handler among others in one of its groups.
func findOurs(list *node) (in *node, index int) {
	for i, it := range list.items {
		group := it.member("hooks")
		if group == nil || group.kind != '[' {
			if isOurs(it) {
				return list, i
			}
			continue
		}
		count, first := 0, -1
		for j, handler := range group.items {
			if isOurs(handler) {
				count++
				if first < 0 {
					first = j
				}
			}
		}
		switch {
		case count > 0 && count == len(group.items):
			return list, i
		case count > 0:
			return group, first
		}
	}
	return nil, 0
}

// isOurs reports whether a handler starts our hook, or a text names our plugin.
func isOurs(n *node) (ours bool) {
	if n.kind == '"' {
		return namesOurs(n.text)
	}
	for _, key := range []string{"command", "bash"} {
		if m := n.member(key); m != nil && m.kind == '"' {
			ours = ours || namesOurs(m.text)
		}
	}
	return ours
}

// namesOurs reports whether a command line, or the path of a plugin, is one that
// an installation of ours wrote.
func namesOurs(s string) bool {
	for _, word := range strings.FieldsFunc(s, func(c rune) bool { return strings.ContainsRune(" \t;|&'\"", c) }) {
		switch word[strings.LastIndexByte(word, '/')+1:] {
		case hookName, pluginName:
			return true
		}
	}
	return false
}

// holds reports whether a document has exactly the entry, once.
func holds(text string, e entry) (bool, error) {
	root, err := read(text)
	if err != nil {
		return false, err
	}
	at := root
	for _, key := range e.path {
		if at = at.member(key); at == nil {
			return e.ifThere, nil
		}
	}
	want, err := read(`{"v":` + e.value + `}`)
	if err != nil {
		return false, err
	}
	if !e.list {
		return same(at, want.items[0]), nil
	}
	found := 0
	for _, it := range at.items {
		if same(it, want.items[0]) {
			found++
		}
	}
	return found == 1, nil
}

// same reports whether two values say the same, whatever the order of members.
func same(a, b *node) bool {
	if a.kind != b.kind || a.text != b.text || len(a.items) != len(b.items) {
		return false
	}
	for i, m := range a.items {
		other := b.items[i]
		if a.kind == '{' {
			if other = b.member(m.key); other == nil {
				return false
			}
		}
		if !same(m, other) {
			return false
		}
	}
	return true
}
