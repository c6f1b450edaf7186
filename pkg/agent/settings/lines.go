package settings

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// lines are what we want in a TOML file: lines that belong together. They stand
// at its top, where a key is nobody's table's, or at its end between two marks.
type lines struct {
	text   string
	atEnd  bool
	key    string   // at the top: the key that they set
	events []string // at the end: the tables that they add to
}

const (
	beginMark = "# edamame-posture hook: begin\n"
	endMark   = "# edamame-posture hook: end\n"
)

// holds reports whether the lines are there.
func (l *lines) holds(text string) bool {
	if l.atEnd {
		return strings.Contains(text, beginMark+l.text+strings.TrimSuffix(endMark, "\n"))
	}
	return strings.HasPrefix(text, l.text)
}

// errKept says that a person's own setting stands where ours would.
var errKept = errors.New("it has a value of its own, which stays")

// add puts the lines into a text that has none of ours.
func (l *lines) add(text string) (string, error) {
	if !l.atEnd {
		top := text
		if table := regexp.MustCompile(`(?m)^[ \t]*\[`).FindStringIndex(text); table != nil {
			top = text[:table[0]]
		}
		if at := regexp.MustCompile(`(?m)^[ \t]*"?` + regexp.QuoteMeta(l.key) + `"?[ \t]*=`).FindStringIndex(top); at != nil {
			return text, fmt.Errorf("%d: %s: %w", strings.Count(text[:at[0]], "\n")+1, l.key, errKept)
		}
		return l.text + text, nil
	}
	inline := `(?m)^[ \t]*(hooks(\.(` + strings.Join(l.events, "|") + `))?|` + strings.Join(l.events, "|") + `)[ \t]*=`
	if at := regexp.MustCompile(inline).FindStringIndex(text); at != nil {
		return "", faultAt(text, at[0], "hooks stand here as a value, to which no table can be added: write them as [[hooks.EVENT]]")
	}
	if text != "" && !strings.HasSuffix(text, "\n") {
		return text + "\n" + beginMark + l.text + strings.TrimSuffix(endMark, "\n"), nil
	}
	return text + beginMark + l.text + endMark, nil
}

// remove takes out what an installation of ours put in.
func (l *lines) remove(text string) (string, error) {
	if !l.atEnd {
		first, rest, _ := strings.Cut(text, "\n")
		if strings.HasPrefix(first, l.key+" = ") && namesOurs(strings.NewReplacer("[", " ", "]", " ", ",", " ").Replace(first)) {
			return rest, nil
		}
		return text, nil
	}
	from := strings.Index(text, beginMark)
	if from < 0 {
		return text, nil
	}
	mark := strings.TrimSuffix(endMark, "\n")
	length := strings.Index(text[from:], mark)
	if length < 0 {
		return "", faultAt(text, from, "our hooks begin here, and the line that ends them is gone: take them out by hand")
	}
	to := from + length + len(mark)
	switch {
	case to < len(text) && text[to] == '\n':
		to++
	case to == len(text) && from > 0:
		from-- // the file had no newline at its end
	}
	return text[:from] + text[to:], nil
}
