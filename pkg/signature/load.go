package signature

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/org/edamame-posture/pkg/indicator"
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
	maxFiles  = 10_000
	maxRules  = 20_000
	maxValues = 10_000 // of one list
)

// Options say how rules are read. The zero value is strict: one wrong rule,
// and nothing is loaded.
type Options struct {
	// Lenient leaves out what is wrong, with the correlations that need it,
	// and loads the rest; [Pack.Skipped] tells what.
	Lenient bool
	// Placeholders are the values of the names that the modifier expand
	// replaces.
	Placeholders map[string][]string
	// Parts makes rules that only feed correlations tell of their own matches
	// too, for those who write them.
	Parts bool
}

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
	p.indicators = indicator.New()
	if err := p.indicators.Add("indicators.yml", policies.Indicators()); err != nil {
		return nil, err
	}
	return p, nil
}

// Load reads and compiles all rules of a file system: files that end in .yml
// or .yaml, in the order of their paths. The error, where rules are wrong, is
// of type [Errors] and tells all that is.
func Load(fsys fs.FS) (*Pack, error) { return LoadWith(fsys, Options{}) }

// LoadWith is [Load] with options.
func LoadWith(fsys fs.FS, o Options) (*Pack, error) {
	l, err := readAll(fsys, o)
	if err != nil {
		return nil, err
	}
	return l.withBrands()
}

// LoadFile is LoadWith for one file. name stands in errors.
func LoadFile(name string, data []byte, o Options) (*Pack, error) {
	return read("files", "", []file{{Name: name, Text: string(data)}}, o).withBrands()
}

// readAll reads the rules of a file system.
func readAll(fsys fs.FS, o Options) (*loader, error) {
	files, err := collect(fsys)
	if err != nil {
		return nil, err
	}
	return read("files", "", files, o), nil
}

// collect returns the rule files of a file system, in the order of their paths.
func collect(fsys fs.FS) ([]file, error) {
	var files []file
	total := int64(0)
	err := fs.WalkDir(fsys, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() || !strings.HasSuffix(path, ".yml") && !strings.HasSuffix(path, ".yaml") {
			return nil
		}
		info, err := fs.Stat(fsys, path)
		if err != nil {
			return err
		}
		if total += info.Size(); len(files) == maxFiles || total > maxPack/2 {
			return fmt.Errorf("%s:1: too much: a pack has at most %d files and %d MiB", path, maxFiles, maxPack>>21)
		}
		data, err := readFile(fsys, path)
		if err != nil {
			return err
		}
		files = append(files, file{Name: path, Text: data})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read signatures: %w", err)
	}
	return files, nil
}

// readFile reads a file up to one byte more than a rule file may have: then
// its error is that of a file that is too long.
func readFile(fsys fs.FS, path string) (string, error) {
	f, err := fsys.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, document.MaxBytes+1))
	return string(b), err
}

// read reads the rules of files.
func read(name, version string, files []file, o Options) *loader {
	l := &loader{
		pack: &Pack{name: name, version: version, files: files, lenient: o.Lenient, placeholders: o.Placeholders},
		opts: o, names: map[string]string{}, seen: map[string]place{}, own: map[string]bool{},
	}
	for _, f := range files {
		l.own[f.Name] = f.Own
		src, docs := document.Parse(f.Name, []byte(f.Text))
		l.Source = src
		if len(docs) == 0 {
			if !src.Failed() {
				l.errs = append(l.errs, Error{File: f.Name, Line: 1, Column: 1, Message: "the file holds no rule"})
			}
			l.found = append(l.found, Checked{File: f.Name, Line: 1, Unreadable: true})
		}
		for _, n := range docs {
			l.document(n)
		}
		l.keepErrors()
	}
	l.resolve()
	return l
}

// withBrands is finish with the lists of brands and suffixes that ship with the
// program.
func (l *loader) withBrands() (*Pack, error) {
	p, err := l.finish()
	if err != nil {
		return nil, err
	}
	p.suffixes = shippedSuffixes()
	p.brands, err = readBrands("brands.yml", string(policies.Brands()))
	return p, err
}

// finish compiles what was read.
func (l *loader) finish() (*Pack, error) {
	p := l.pack
	slices.SortStableFunc(l.errs, func(a, b Error) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	if len(l.errs) > 0 {
		if !p.lenient {
			return nil, l.errs
		}
		p.skipped = l.errs
	}
	for i, r := range p.rules {
		r.index = i
		r.test = r.expr.compile()
		p.byCategory[r.category].add(i, r.expr)
		p.categories |= 1 << r.category
	}
	for i := range p.byCategory {
		p.byCategory[i].ready()
	}
	for i, c := range p.correlations {
		c.index = len(p.rules) + i
	}
	return p, nil
}

type loader struct {
	*document.Source
	pack    *Pack
	opts    Options
	errs    Errors
	names   map[string]string // name or UUID -> rule ID
	seen    map[string]place
	own     map[string]bool // files of the caller
	pending []*pendingCorrelation
	found   []Checked
}

// keepErrors moves the errors of the current file to those of the pack.
func (l *loader) keepErrors() {
	var list Errors
	if errors.As(l.Err(), &list) {
		l.errs = append(l.errs, list...)
	}
}

// ruleKeys are the keys of a rule in the SigmaHQ schema, and "do", which is
// ours: one line on what to do now. The schema allows others of one's own.
var ruleKeys = []string{
	"title", "id", "name", "related", "status", "description", "license", "references", "author", "date", "modified",
	"tags", "scope", "taxonomy", "logsource", "detection", "correlation", "generate", "fields", "falsepositives", "level", "do",
}

// foreignKeys are keys of documents that are no rules.
var foreignKeys = map[string]string{
	"action": "not supported: documents that share parts (action: global) are of Sigma 1; write each rule whole",
	"filter": "not supported: a Sigma filter changes other rules; write the exception into the rule, or suppress it in the policy",
}

var (
	levels   = []string{"informational", "low", "medium", "high", "critical"}
	statuses = []string{"stable", "test", "experimental", "deprecated", "unsupported"}

	uuidForm      = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)
	nameForm      = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$`)
	techniqueForm = regexp.MustCompile(`^attack\.(t[0-9]{4}(\.[0-9]{3})?)$`)
)

// document reads one rule or correlation.
func (l *loader) document(n *yaml.Node) {
	if len(l.pack.rules)+len(l.pending) >= maxRules {
		l.Fail(n, "more than %d rules", maxRules)
		return
	}
	before := l.Wrong()
	r := &compiled{}
	r.origin = place{l.File, n.Line}
	at := map[string]document.Pair{}
	for _, e := range l.Any(n) {
		at[e.Key] = e
		if slices.Contains(ruleKeys, e.Key) {
			continue
		}
		if message, ok := foreignKeys[e.Key]; ok {
			l.Fail(e.At, "%s", message)
		} else if near := document.Slip(e.Key, ruleKeys); near != "" {
			l.FailNear(e.At, near, "unknown key")
		}
	}
	l.found = append(l.found, Checked{File: l.File, Line: n.Line})
	l.head(n, &r.Rule, at)
	detection, hasDetection := at["detection"]
	corr, hasCorrelation := at["correlation"]
	source, hasSource := at["logsource"]
	var pending *pendingCorrelation
	switch {
	case at["action"].Value != nil || at["filter"].Value != nil:
	case hasCorrelation && (hasDetection || hasSource):
		l.Fail(corr.At, "a correlation has no logsource and detection of its own")
	case hasCorrelation:
		pending = l.correlation(r.Rule, corr.Value, at)
	case !hasDetection || !hasSource:
		l.Fail(n, "a rule has a logsource and a detection, or a correlation")
	default:
		if l.logsource(r, source.Value) {
			r.expr = l.detection(r, detection.Value)
		}
	}
	c := &l.found[len(l.found)-1]
	c.ID, c.Title = r.ID, r.Title
	if c.wrong = l.Wrong() > before; c.wrong {
		return
	}
	l.names[r.ID] = r.ID
	if r.uuid != "" {
		l.names[r.uuid] = r.ID
	}
	if pending != nil {
		pending.found = len(l.found) - 1
		l.pending = append(l.pending, pending)
		return
	}
	l.pack.rules = append(l.pack.rules, r)
}

// maxTitle bounds a title in characters (Sigma specification, "title").
const maxTitle = 256

// head reads what is said about a rule.
func (l *loader) head(n *yaml.Node, r *Rule, at map[string]document.Pair) {
	get := func(key string) string {
		e, ok := at[key]
		if !ok || e.Value.Tag == "!!null" {
			return ""
		}
		s, _ := l.String(e.Value)
		return s
	}
	list := func(key string) (texts []string) {
		if e, ok := at[key]; ok && e.Value.Tag != "!!null" {
			for _, m := range l.Strings(e.Value) {
				texts = append(texts, m.Value)
			}
		}
		return texts
	}
	r.Title, r.uuid, r.ID, r.Level, r.Do, r.Status = get("title"), get("id"), get("name"), get("level"), get("do"), get("status")
	for _, key := range []string{"description", "author", "license", "date", "modified"} {
		get(key)
	}
	if r.Title == "" {
		l.Fail(n, `"title" is missing`)
	}
	if r.uuid != "" && !uuidForm.MatchString(r.uuid) {
		l.Fail(at["id"].Value, "want a UUID in lower case")
	}
	if r.ID != "" && !nameForm.MatchString(r.ID) {
		l.Fail(at["name"].Value, "a name has letters, digits, _, . and - only, and 100 bytes at most")
	}
	switch {
	case r.Level == "":
		r.Level = "medium"
	case !slices.Contains(levels, r.Level):
		l.FailNear(at["level"].Value, document.Nearest(r.Level, levels), "want %s", strings.Join(levels, ", "))
	}
	switch {
	case r.Status == "unsupported":
		l.Fail(at["status"].Value, "the rule says of itself that it cannot be used as it is")
	case r.Status != "" && !slices.Contains(statuses, r.Status):
		l.FailNear(at["status"].Value, document.Nearest(r.Status, statuses), "want %s", strings.Join(statuses, ", "))
	}
	if s := get("taxonomy"); s != "" && s != "sigma" {
		l.Fail(at["taxonomy"].Value, "not supported: fields are those of the taxonomy sigma")
	}
	for key, limit := range map[string]int{"title": maxTitle, "do": 300} {
		if e, ok := at[key]; ok && (strings.ContainsAny(e.Value.Value, "\n\r") || utf8.RuneCountInString(e.Value.Value) > limit) {
			l.Fail(e.Value, "want one line of %d characters at most", limit)
		}
	}
	list("references")
	list("fields")
	list("scope")
	r.FalsePositives = list("falsepositives")
	if e, ok := at["tags"]; ok {
		for _, t := range l.Strings(e.Value) {
			tag := strings.ToLower(t.Value)
			r.Tags = append(r.Tags, tag)
			if m := techniqueForm.FindStringSubmatch(tag); m != nil {
				r.Technique = append(r.Technique, strings.ToUpper(m[1]))
			} else if strings.HasPrefix(tag, "attack.t") && len(tag) > 8 && tag[8] >= '0' && tag[8] <= '9' {
				l.Fail(t, "an ATT&CK technique is written attack.t1234 or attack.t1234.001")
			}
		}
	}
	if r.ID == "" {
		r.ID = r.uuid
	}
	if r.ID == "" {
		// Neither is needed by the specification; where it stands names it too.
		r.ID = strings.TrimSuffix(strings.TrimSuffix(l.File, ".yml"), ".yaml") + fmt.Sprintf(":%d", n.Line)
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
	}
}

// logsource reads which events a rule is for, and reports whether they are
// told here.
func (l *loader) logsource(r *compiled, n *yaml.Node) bool {
	c := &l.found[len(l.found)-1]
	var product, service, at *yaml.Node
	for _, e := range l.Mapping(n, "category", "product", "service", "definition") {
		if e.Value.Tag == "!!null" {
			continue
		}
		v, ok := l.String(e.Value)
		if !ok {
			continue
		}
		switch e.Key {
		case "category":
			c.Category, at = v, e.Value
		case "product":
			c.Product, product = v, e.Value
		case "service":
			c.Service, service = v, e.Value
		}
	}
	switch {
	case product != nil && c.Product != "linux":
		l.Fail(product, "rules for linux are read")
	case service != nil:
		l.Fail(service, "a service is a log that is not read here; want a category")
	case at == nil:
		l.Fail(n, `"category" is missing`)
	default:
		known := categoryNames[:dnsAnswer]
		i := slices.Index(known, c.Category)
		if i < 0 {
			l.FailNear(at, document.Nearest(c.Category, known), "the category is not known; there are %s", strings.Join(known, ", "))
			return false
		}
		c.Supported = true
		r.category, r.source = category(i), known[i]
		return true
	}
	return false
}

// detection reads the selections and the condition.
func (l *loader) detection(r *compiled, n *yaml.Node) expr {
	if r.category == dnsQuery && asksAnswer(n) {
		r.category = dnsAnswer
	}
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
		selections[e.Key] = l.selection(r.category, e.Value)
		nodes[e.Key] = e.At
		order = append(order, e.Key)
	}
	if condition == nil {
		l.Fail(n, `"condition" is missing`)
		return nil
	}
	// A list of conditions is a choice.
	conditions := []*yaml.Node{condition}
	if condition.Kind == yaml.SequenceNode {
		conditions = condition.Content
	}
	if len(conditions) == 0 {
		l.Fail(condition, "an empty list matches nothing")
	}
	var list orExpr
	used := map[string]bool{}
	for _, c := range conditions {
		text, ok := l.String(c)
		if !ok {
			return nil
		}
		e, names, err := parseCondition(text, selections, order)
		if err != nil {
			var ce *conditionError
			if errors.As(err, &ce) {
				l.FailAt(c, ce.offset, "%s", ce.message)
			}
			return nil
		}
		list = append(list, e)
		maps.Copy(used, names)
	}
	for _, name := range order {
		if !used[name] {
			l.Fail(nodes[name], "the condition never names this selection")
		}
	}
	return list
}

// asksAnswer reports whether a detection asks for a field that only an answer
// of DNS has.
func asksAnswer(n *yaml.Node) bool {
	if n.Kind == yaml.MappingNode {
		for i := 0; i < len(n.Content); i += 2 {
			name, _, _ := strings.Cut(n.Content[i].Value, "|")
			if f, in, ok := findField(name); ok && in&onDNS == onAnswer && in == fields[f].in {
				return true
			}
		}
	}
	return slices.ContainsFunc(n.Content, asksAnswer)
}

// never stands in for a selection that was wrong; the rule is not used.
type never struct{}

func (never) compile() test { return func(*view) bool { return false } }
func (never) needs() need   { return nil }
func (never) cost() int     { return 0 }

// selection reads a mapping, whose entries must all match, or a list of
// mappings or keywords, of which one must.
func (l *loader) selection(cat category, n *yaml.Node) expr {
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
		var words []*yaml.Node
		for _, m := range n.Content {
			switch m.Kind {
			case yaml.MappingNode:
				list = append(list, l.selection(cat, m))
			case yaml.ScalarNode:
				words = append(words, m)
			default:
				l.Fail(m, "want a mapping or a text, have %s", document.Kind(m))
				return never{}
			}
		}
		if len(words) > 0 {
			list = append(list, l.keywords(cat, modifiers{}, n, words))
		}
		if len(list) == 0 {
			l.Fail(n, "an empty selection")
			return never{}
		}
		return list
	}
	return l.keywords(cat, modifiers{}, n, []*yaml.Node{n})
}

// keywords reads texts without a field.
func (l *loader) keywords(cat category, m modifiers, at *yaml.Node, values []*yaml.Node) expr {
	if !m.text() && m.shape != matching || m.ref || m.neq {
		l.Fail(at, "texts without a field take contains, startswith, endswith, re, all, cased, base64, base64offset, windash and expand")
		return never{}
	}
	x := keywordExpr{mods: m}
	for f := range fields {
		if fields[f].keyword && fields[f].in&(1<<cat) != 0 {
			x.fields = append(x.fields, field(f))
		}
	}
	for _, n := range values {
		list, ok := l.matchers(image, m, n, m.shape == equal)
		if !ok {
			return never{}
		}
		x.values = append(x.values, list...)
	}
	return x
}

// item reads FIELD|modifiers: values.
func (l *loader) item(cat category, e document.Pair) expr {
	words := strings.Split(e.Key, "|")
	f, in, ok := findField(words[0])
	if !ok && words[0] != "" {
		if why, known := unseenFields[words[0]]; known {
			l.Fail(e.At, "the field is not supported: %s", why)
		} else {
			l.FailNear(e.At, document.Nearest(words[0], fieldNames()), "the field is not known")
		}
		return never{}
	}
	if ok && in&(1<<cat) == 0 {
		l.Fail(e.At, "the field has no value in %s, so the rule would never match", categoryNames[cat])
		return never{}
	}
	m, bad, err := parseModifiers(words[1:])
	if err != nil {
		near := ""
		if bad != "" && !slices.Contains(modifierNames, bad) {
			near = document.Nearest(bad, modifierNames)
		}
		l.FailNear(e.At, near, "%s", err)
		return never{}
	}
	values := []*yaml.Node{e.Value}
	if e.Value.Kind == yaml.SequenceNode {
		values = e.Value.Content
	}
	switch {
	case len(values) == 0:
		l.Fail(e.Value, "an empty list matches nothing")
	case len(values) > maxValues:
		l.Fail(e.Value, "more than %d values", maxValues)
	case m.all && e.Value.Kind != yaml.SequenceNode:
		l.Fail(e.At, "all is for a list")
	case words[0] == "":
		return l.keywords(cat, m, e.At, values)
	case m.ref:
		return l.references(cat, f, m, values)
	default:
		return l.values(f, m, e.At, values)
	}
	return never{}
}

// references reads the names of other fields.
func (l *loader) references(cat category, f field, m modifiers, values []*yaml.Node) expr {
	x := refExpr{field: f, mods: m}
	for _, n := range values {
		name, ok := l.String(n)
		if !ok {
			return never{}
		}
		ref, in, ok := findField(name)
		if !ok {
			l.FailNear(n, document.Nearest(name, fieldNames()), "the field is not known")
			return never{}
		}
		if in&(1<<cat) == 0 {
			l.Fail(n, "the field has no value in %s, so the rule would never match", categoryNames[cat])
			return never{}
		}
		x.refs = append(x.refs, ref)
	}
	return x
}

func (l *loader) values(f field, m modifiers, at *yaml.Node, values []*yaml.Node) expr {
	switch m.shape {
	case existing:
		if values[0].Tag != "!!bool" || len(values) > 1 {
			l.Fail(values[0], "exists takes true or false")
			return never{}
		}
		return existsExpr{f, strings.EqualFold(values[0].Value, "true")}
	case network:
		return l.networks(f, m, at, values)
	}
	it := &item{field: f, mods: m}
	var alternatives orExpr // what is no plain text
	for _, n := range values {
		if n.Tag == "!!null" && n.Kind == yaml.ScalarNode {
			if m != (modifiers{}) {
				l.Fail(n, "null stands without modifiers")
				return never{}
			}
			alternatives = append(alternatives, existsExpr{f, false})
			continue
		}
		list, ok := l.matchers(f, m, n, false)
		if !ok {
			return never{}
		}
		it.values = append(it.values, list...)
	}
	if len(it.values) > 0 {
		alternatives = append(alternatives, it)
	}
	return alternatives
}

// matchers reads one value: with placeholders it may become several, of which
// one must match.
func (l *loader) matchers(f field, m modifiers, n *yaml.Node, keyword bool) ([]matcher, bool) {
	if n.Kind != yaml.ScalarNode || n.Tag == "!!null" {
		l.Fail(n, "want a text or number, have %s", document.Kind(n))
		return nil, false
	}
	texts := []string{n.Value}
	if m.expand {
		var err error
		if texts, err = placeholders(n.Value, l.opts.Placeholders); err != nil {
			l.Fail(n, "%s", err)
			return nil, false
		}
	}
	var list []matcher
	for _, s := range texts {
		one, err := newMatcher(f, m, s, keyword)
		if err != nil {
			l.Fail(n, "%s", err)
			return nil, false
		}
		list = append(list, one)
	}
	if m.all {
		list = []matcher{either(list)}
	}
	return list, true
}

// networks reads the values of cidr.
func (l *loader) networks(f field, m modifiers, at *yaml.Node, values []*yaml.Node) expr {
	x := cidrExpr{field: f, neq: m.neq}
	if !fields[f].address {
		l.Fail(at, "cidr is for addresses, and %s is none", fields[f].name)
		return never{}
	}
	for _, n := range values {
		texts := []string{n.Value}
		var err error
		if m.expand {
			texts, err = placeholders(n.Value, l.opts.Placeholders)
		}
		for _, s := range texts {
			p, perr := parseNetwork(s)
			err = errors.Join(err, perr)
			x.nets = append(x.nets, p)
		}
		if err != nil {
			l.Fail(n, "%s", err)
			return never{}
		}
	}
	return x
}
