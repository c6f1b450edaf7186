package signature

import (
	"fmt"
	"strings"

	"github.com/org/edamame-posture/pkg/intent/document"
)

// conditionError tells what is wrong at which byte of a condition.
type conditionError struct {
	offset  int
	message string
}

func (e *conditionError) Error() string { return e.message }

// maxNesting bounds parentheses and nots of a condition.
const maxNesting = 64

// conditionParser reads a condition: selections joined by and, or, not and
// parentheses, "1 of pattern" and "all of pattern" (Sigma specification 2,
// section "condition"). Not binds closest, then and, then or.
type conditionParser struct {
	text       string
	tokens     []token
	at         int
	depth      int
	selections map[string]expr
	order      []string // names of the selections, in the file's order
	used       map[string]bool
}

type token struct {
	text   string
	offset int
}

func parseCondition(text string, selections map[string]expr, order []string) (expr, map[string]bool, error) {
	p := &conditionParser{text: text, selections: selections, order: order, used: map[string]bool{}}
	if len(text) > 4096 {
		return nil, nil, &conditionError{0, "the condition is longer than 4096 bytes"}
	}
	for i := 0; i < len(text); {
		switch c := text[i]; {
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
			i++
		case c == '(' || c == ')':
			p.tokens = append(p.tokens, token{text[i : i+1], i})
			i++
		case c == '|':
			return nil, nil, &conditionError{i, "aggregations after | are not supported; write a correlation"}
		case wordByte(c) || c == '*':
			j := i
			for j < len(text) && (wordByte(text[j]) || text[j] == '*') {
				j++
			}
			p.tokens = append(p.tokens, token{text[i:j], i})
			i = j
		default:
			return nil, nil, &conditionError{i, fmt.Sprintf("the condition has %q, which means nothing here", string(rune(c)))}
		}
	}
	e, err := p.or()
	if err != nil {
		return nil, nil, err
	}
	if p.at < len(p.tokens) {
		return nil, nil, p.fail(`want "and" or "or" here`)
	}
	return e, p.used, nil
}

func wordByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-' || c == '.'
}

func (p *conditionParser) fail(format string, args ...any) error {
	at := len(p.text)
	if p.at < len(p.tokens) {
		at = p.tokens[p.at].offset
	}
	return &conditionError{at, fmt.Sprintf(format, args...)}
}

// word reports whether the next token is a keyword, and takes it.
func (p *conditionParser) word(w string) bool {
	if p.at < len(p.tokens) && strings.EqualFold(p.tokens[p.at].text, w) {
		p.at++
		return true
	}
	return false
}

func (p *conditionParser) or() (expr, error) {
	var list orExpr
	for {
		e, err := p.and()
		if err != nil {
			return nil, err
		}
		list = append(list, e)
		if !p.word("or") {
			break
		}
	}
	if len(list) == 1 {
		return list[0], nil
	}
	return list, nil
}

func (p *conditionParser) and() (expr, error) {
	var list andExpr
	for {
		e, err := p.not()
		if err != nil {
			return nil, err
		}
		list = append(list, e)
		if !p.word("and") {
			break
		}
	}
	if len(list) == 1 {
		return list[0], nil
	}
	return list, nil
}

func (p *conditionParser) not() (expr, error) {
	if p.depth++; p.depth > maxNesting {
		return nil, p.fail("the condition nests deeper than %d", maxNesting)
	}
	defer func() { p.depth-- }()
	if p.word("not") {
		e, err := p.not()
		if err != nil {
			return nil, err
		}
		return notExpr{e}, nil
	}
	if p.word("(") {
		e, err := p.or()
		if err != nil {
			return nil, err
		}
		if !p.word(")") {
			return nil, p.fail(`want ")" here`)
		}
		return e, nil
	}
	return p.atom()
}

func (p *conditionParser) atom() (expr, error) {
	if p.at == len(p.tokens) {
		return nil, p.fail("the condition ends where the name of a selection should stand")
	}
	t := p.tokens[p.at].text
	if p.at+1 < len(p.tokens) && strings.EqualFold(p.tokens[p.at+1].text, "of") {
		all := strings.EqualFold(t, "all")
		if !all && t != "1" && !strings.EqualFold(t, "any") {
			return nil, p.fail(`not supported: Sigma has "1 of" and "all of" only`)
		}
		p.at += 2
		return p.of(all)
	}
	switch strings.ToLower(t) {
	case "and", "or", ")", "of", "them":
		return nil, p.fail("want the name of a selection here")
	}
	e, ok := p.selections[t]
	if !ok {
		if strings.Contains(t, "*") {
			return nil, p.fail(`write "1 of %s" or "all of %s"`, t, t)
		}
		return nil, p.fail("there is no selection %q", t)
	}
	p.used[t] = true
	p.at++
	return e, nil
}

// of reads what follows "1 of" and "all of".
func (p *conditionParser) of(all bool) (expr, error) {
	if p.at == len(p.tokens) {
		return nil, p.fail(`want "them" or a pattern such as selection_* here`)
	}
	pattern := p.tokens[p.at].text
	var list []expr
	for _, name := range p.order {
		// A name that begins with _ is meant to be left out of "them".
		if strings.EqualFold(pattern, "them") && !strings.HasPrefix(name, "_") || document.MatchStars(pattern, name) {
			list = append(list, p.selections[name])
			p.used[name] = true
		}
	}
	if len(list) == 0 {
		return nil, p.fail("no selection is called %q", pattern)
	}
	p.at++
	switch {
	case len(list) == 1:
		return list[0], nil
	case all:
		return andExpr(list), nil
	}
	return orExpr(list), nil
}
