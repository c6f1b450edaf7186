package signature

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/org/edamame-posture/pkg/intent/document"
	"github.com/org/edamame-posture/policies"
	"gopkg.in/yaml.v3"
)

// Error is one thing that is wrong in a rule, and where.
type Error = document.Error

// Errors are all that is wrong in a set of rules; the error of [Load].
type Errors = document.Errors

// Bounds of a pack.
const (
	maxFiles = 10_000
	maxRules = 20_000
)

// place is where a rule stands.
type place struct {
	file string
	line int
}

// compiled is a rule that looks at one event.
type compiled struct {
	Rule
	category category
	expr     expr
	test     test
	// silent: the rule only feeds correlations.
	silent bool
	// feeds are the correlations that it is a part of.
	feeds []feed
}

// feed says which part of which correlation a rule is.
type feed struct {
	correlation int
	part        int
}

// Default returns the rules that ship with the program.
func Default() (*Pack, error) {
	p, err := Load(policies.Signatures())
	if err != nil {
		return nil, err
	}
	p.name, p.version = "default", policies.Version
	return p, nil
}

// Load reads and compiles all rules of a file system: files that end in .yml
// or .yaml, in the order of their paths. The error, where rules are wrong, is
// of type [Errors] and tells all that is.
func Load(fsys fs.FS) (*Pack, error) {
	var files []file
	err := fs.WalkDir(fsys, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() || !strings.HasSuffix(path, ".yml") && !strings.HasSuffix(path, ".yaml") {
			return nil
		}
		if len(files) == maxFiles {
			return fmt.Errorf("more than %d files", maxFiles)
		}
		data, err := fs.ReadFile(fsys, path)
		if err != nil {
			return err
		}
		files = append(files, file{path, string(data)})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read signatures: %w", err)
	}
	return build("files", "", files)
}

// build compiles files to a pack.
func build(name, version string, files []file) (*Pack, error) {
	l := &loader{pack: &Pack{name: name, version: version, files: files}, names: map[string]string{}, seen: map[string]place{}}
	for _, f := range files {
		src, docs := document.Parse(f.Name, []byte(f.Text))
		l.Source = src
		if len(docs) == 0 && !src.Failed() {
			l.errs = append(l.errs, Error{File: f.Name, Line: 1, Column: 1, Message: "the file holds no rule"})
		}
		for _, n := range docs {
			l.document(n)
		}
		l.keepErrors()
	}
	l.resolve()
	if len(l.errs) > 0 {
		return nil, l.errs
	}
	p := l.pack
	for i, r := range p.rules {
		r.index = i
		r.test = r.expr.compile()
		p.byCategory[r.category].add(i, r.expr)
	}
	for i, c := range p.correlations {
		c.index = len(p.rules) + i
	}
	return p, nil
}

type loader struct {
	*document.Source
	pack    *Pack
	errs    Errors
	names   map[string]string // name or UUID -> rule ID
	seen    map[string]place
	pending []pendingCorrelation
}

// keepErrors moves the errors of the current file to those of the pack.
func (l *loader) keepErrors() {
	var list Errors
	if errors.As(l.Err(), &list) {
		l.errs = append(l.errs, list...)
	}
}

// ruleKeys are the keys of a rule in the SigmaHQ schema, and "do", which is
// ours: one line on what to do now.
var ruleKeys = []string{
	"title", "id", "name", "related", "status", "description", "license", "references", "author", "date", "modified",
	"tags", "scope", "taxonomy", "logsource", "detection", "correlation", "fields", "falsepositives", "level", "do",
}

var (
	levels   = []string{"informational", "low", "medium", "high", "critical"}
	statuses = []string{"stable", "test", "experimental", "deprecated", "unsupported"}

	uuidForm      = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)
	nameForm      = regexp.MustCompile(`^[a-z0-9][a-z0-9_.-]{0,99}$`)
	techniqueForm = regexp.MustCompile(`^attack\.(t[0-9]{4}(\.[0-9]{3})?)$`)
)

// document reads one rule or correlation.
func (l *loader) document(n *yaml.Node) {
	if len(l.pack.rules)+len(l.pending) >= maxRules {
		l.Fail(n, "more than %d rules", maxRules)
		return
	}
	r := &compiled{}
	r.origin = place{l.File, n.Line}
	at := map[string]document.Pair{}
	for _, e := range l.Mapping(n, ruleKeys...) {
		at[e.Key] = e
	}
	l.head(n, &r.Rule, at)
	detection, hasDetection := at["detection"]
	corr, hasCorrelation := at["correlation"]
	source, hasSource := at["logsource"]
	switch {
	case hasCorrelation && (hasDetection || hasSource):
		l.Fail(corr.At, "a correlation has no logsource and detection of its own")
	case hasCorrelation:
		l.correlation(r.Rule, corr.Value)
	case !hasDetection || !hasSource:
		l.Fail(n, "a rule has a logsource and a detection, or a correlation")
	default:
		l.logsource(r, source.Value)
		r.expr = l.detection(r.category, detection.Value)
		l.pack.rules = append(l.pack.rules, r)
	}
}

// head reads what is said about a rule.
func (l *loader) head(n *yaml.Node, r *Rule, at map[string]document.Pair) {
	get := func(key string) string {
		e, ok := at[key]
		if !ok {
			return ""
		}
		s, _ := l.String(e.Value)
		return s
	}
	r.Title, r.uuid, r.ID, r.Level, r.Do = get("title"), get("id"), get("name"), get("level"), get("do")
	for _, key := range []string{"description", "author", "license", "date", "modified"} {
		get(key)
	}
	for _, key := range []string{"title", "id", "level"} {
		if _, ok := at[key]; !ok {
			l.Fail(n, "%q is missing", key)
		}
	}
	if e, ok := at["id"]; ok && !uuidForm.MatchString(r.uuid) {
		l.Fail(e.Value, "want a UUID in lower case")
	}
	if e, ok := at["name"]; ok && !nameForm.MatchString(r.ID) {
		l.Fail(e.Value, "a name has a-z, 0-9, _, . and - only, and 100 bytes at most")
	}
	if e, ok := at["level"]; ok && !slices.Contains(levels, r.Level) {
		l.FailNear(e.Value, document.Nearest(r.Level, levels), "want %s", strings.Join(levels, ", "))
	}
	if e, ok := at["status"]; ok {
		if s, _ := l.String(e.Value); !slices.Contains(statuses, s) {
			l.FailNear(e.Value, document.Nearest(s, statuses), "want %s", strings.Join(statuses, ", "))
		}
	}
	for _, key := range []string{"title", "do"} {
		if e, ok := at[key]; ok && (strings.ContainsAny(e.Value.Value, "\n\r") || len(e.Value.Value) > 300) {
			l.Fail(e.Value, "want one line of 300 bytes at most")
		}
	}
	for _, key := range []string{"references", "falsepositives", "fields", "scope"} {
		if e, ok := at[key]; ok {
			l.Strings(e.Value)
		}
	}
	if e, ok := at["tags"]; ok {
		for _, t := range l.Strings(e.Value) {
			if m := techniqueForm.FindStringSubmatch(strings.ToLower(t.Value)); m != nil {
				r.Technique = append(r.Technique, strings.ToUpper(m[1]))
			} else if strings.HasPrefix(strings.ToLower(t.Value), "attack.t") && len(t.Value) > 8 && t.Value[8] >= '0' && t.Value[8] <= '9' {
				l.Fail(t, "an ATT&CK technique is written attack.t1234 or attack.t1234.001")
			}
		}
	}
	if r.ID == "" {
		r.ID = r.uuid
	}
	for i, id := range []string{r.uuid, r.ID} {
		if id == "" || i == 1 && id == r.uuid {
			continue
		}
		if first, ok := l.seen[id]; ok && first != r.origin {
			key := at["id"]
			if id != r.uuid {
				key = at["name"]
			}
			l.Fail(key.Value, "the same stands in %s:%d", first.file, first.line)
			continue
		}
		l.seen[id] = r.origin
		l.names[id] = r.ID
	}
}

func (l *loader) logsource(r *compiled, n *yaml.Node) {
	category := ""
	var at *yaml.Node
	for _, e := range l.Mapping(n, "category", "product", "service", "definition") {
		v, ok := l.String(e.Value)
		if !ok {
			continue
		}
		switch e.Key {
		case "category":
			category, at = v, e.Value
		case "product":
			if v != "linux" {
				l.Fail(e.Value, "rules for linux are read")
			}
		case "service":
			l.Fail(e.Value, "a service is a log that is not read here; want a category")
		}
	}
	if category == "" {
		l.Fail(n, `"category" is missing`)
		return
	}
	for i, name := range categoryNames {
		if name == category {
			r.category = categoryOf(i)
			return
		}
	}
	l.FailNear(at, document.Nearest(category, categoryNames[:]), "the category is not known; there are %s", strings.Join(categoryNames[:], ", "))
}

func categoryOf(i int) category { return category(i) }

// detection reads the selections and the condition.
func (l *loader) detection(cat category, n *yaml.Node) expr {
	selections := map[string]expr{}
	nodes := map[string]*yaml.Node{}
	var order []string
	var condition *yaml.Node
	for _, e := range l.Any(n) {
		switch e.Key {
		case "condition":
			condition = e.Value
			continue
		case "timeframe":
			l.Fail(e.At, "timeframe is not supported; write a correlation")
			continue
		}
		selections[e.Key] = l.selection(cat, e.Value, 0)
		nodes[e.Key] = e.At
		order = append(order, e.Key)
	}
	if condition == nil {
		l.Fail(n, `"condition" is missing`)
		return nil
	}
	if condition.Kind == yaml.SequenceNode {
		l.Fail(condition, "a list of conditions is not supported; join them with or")
		return nil
	}
	text, ok := l.String(condition)
	if !ok {
		return nil
	}
	e, used, err := parseCondition(text, selections, order)
	if err != nil {
		var ce *conditionError
		if errors.As(err, &ce) {
			l.FailAt(condition, ce.offset, "%s", ce.message)
		}
		return nil
	}
	for _, name := range order {
		if !used[name] {
			l.Fail(nodes[name], "the condition never names this selection")
		}
	}
	return e
}

// never stands in for a selection that was wrong; the rule is not used.
type never struct{}

func (never) compile() test       { return func(*view) bool { return false } }
func (never) keys() ([]key, bool) { return nil, true }

// selection reads a mapping, whose entries must all match, or a list of
// mappings, of which one must.
func (l *loader) selection(cat category, n *yaml.Node, depth int) expr {
	switch n.Kind {
	case yaml.MappingNode:
		var list andExpr
		for _, e := range l.Any(n) {
			list = append(list, l.item(cat, e))
		}
		if len(list) == 0 {
			l.Fail(n, "an empty selection")
			return never{}
		}
		return list
	case yaml.SequenceNode:
		var list orExpr
		for _, m := range n.Content {
			if m.Kind != yaml.MappingNode {
				l.Fail(m, "keywords (texts without a field) are not supported; name the field")
				return never{}
			}
			list = append(list, l.selection(cat, m, depth+1))
		}
		if len(list) == 0 {
			l.Fail(n, "an empty selection")
			return never{}
		}
		return list
	}
	l.Fail(n, "keywords (texts without a field) are not supported; name the field")
	return never{}
}

// item reads FIELD|modifiers: values.
func (l *loader) item(cat category, e document.Pair) expr {
	words := strings.Split(e.Key, "|")
	f, ok := findField(words[0])
	if !ok {
		if words[0] == "" {
			l.Fail(e.At, "keywords (texts without a field) are not supported; name the field")
			return never{}
		}
		l.FailNear(e.At, document.Nearest(words[0], fieldNames()), "the field is not known")
		return never{}
	}
	if fields[f].in&(1<<cat) == 0 {
		l.Fail(e.At, "the field has no value in %s, so the rule would never match", categoryNames[cat])
		return never{}
	}
	m, bad, err := parseModifiers(words[1:], f)
	if err != nil {
		near := ""
		if bad != "" && !unsupported[bad] {
			near = document.Nearest(bad, modifierNames)
		}
		l.FailNear(e.At, near, "%s", err)
		return never{}
	}
	values := []*yaml.Node{e.Value}
	if e.Value.Kind == yaml.SequenceNode {
		values = e.Value.Content
		if len(values) == 0 {
			l.Fail(e.Value, "an empty list matches nothing")
			return never{}
		}
	}
	if m.all && len(values) < 2 {
		l.Fail(e.At, "all is for a list of two or more")
		return never{}
	}
	return l.values(f, m, values)
}

func (l *loader) values(f field, m modifiers, values []*yaml.Node) expr {
	it := &item{field: f, mods: m}
	var nets []netip.Prefix
	var alternatives orExpr // what is no plain text
	for _, n := range values {
		if n.Kind != yaml.ScalarNode {
			l.Fail(n, "want a text or number, have %s", document.Kind(n))
			return never{}
		}
		switch {
		case m.exists:
			if n.Tag != "!!bool" || len(values) > 1 {
				l.Fail(n, "exists takes true or false")
				return never{}
			}
			return existsExpr{f, strings.EqualFold(n.Value, "true")}
		case n.Tag == "!!null":
			if m != (modifiers{}) {
				l.Fail(n, "null stands without modifiers")
				return never{}
			}
			alternatives = append(alternatives, existsExpr{f, false})
			continue
		case m.cidr:
			p, err := netip.ParsePrefix(n.Value)
			if err != nil {
				l.Fail(n, "not a network such as 10.0.0.0/8")
				return never{}
			}
			nets = append(nets, p.Masked())
			continue
		}
		list, err := newMatcher(f, m, n.Value)
		if err != nil {
			l.Fail(n, "%s", err)
			return never{}
		}
		if m.all && len(list) > 1 {
			// A list of forms of which one must match, inside a list of which all must.
			forms := list
			list = []matcher{{match: func(s string) bool {
				for i := range forms {
					if forms[i].match(s) {
						return true
					}
				}
				return false
			}}}
		}
		it.values = append(it.values, list...)
	}
	if m.cidr {
		if m.all {
			l.Fail(values[0], "all is for lists of texts")
			return never{}
		}
		return cidrExpr{nets}
	}
	if len(it.values) > 0 {
		alternatives = append(alternatives, it)
	}
	if len(alternatives) == 1 {
		return alternatives[0]
	}
	return alternatives
}
