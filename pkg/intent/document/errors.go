package document

import (
	"fmt"
	"sort"
	"strconv"
	"strings"
)

// Error is one thing that is wrong in a document, and where.
type Error struct {
	File string
	// Line and Column count from 1; 0 where the YAML parser did not say.
	Line, Column int
	// Text is what stands there, at most 80 bytes of it.
	Text    string
	Message string
	// Nearest is a word that may have been meant, or empty.
	Nearest string
}

// Error returns the line for a person: file:line:column: message: "text".
func (e Error) Error() string {
	var b strings.Builder
	b.WriteString(Shown(e.File))
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d", e.Line)
		if e.Column > 0 {
			fmt.Fprintf(&b, ":%d", e.Column)
		}
	}
	b.WriteString(": ")
	b.WriteString(e.Message)
	if e.Text != "" {
		// Quoted: the file may be a pull request's, and the line goes to a terminal.
		b.WriteString(": ")
		b.WriteString(strconv.Quote(e.Text))
	}
	if e.Nearest != "" {
		fmt.Fprintf(&b, " (did you mean %q?)", e.Nearest)
	}
	return b.String()
}

// Errors are all that is wrong in a document, in the order of its lines.
type Errors []Error

// Error returns one line for each.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i := range e {
		lines[i] = e[i].Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap lets errors.As find the first [Error].
func (e Errors) Unwrap() []error {
	list := make([]error, len(e))
	for i := range e {
		list[i] = e[i]
	}
	return list
}

func (e Errors) sorted() Errors {
	sort.SliceStable(e, func(i, j int) bool {
		if e[i].Line != e[j].Line {
			return e[i].Line < e[j].Line
		}
		return e[i].Column < e[j].Column
	})
	return e
}

// Nearest returns the candidate closest to word, or "" where none is close:
// at most one edit for each three letters, where swapping two neighbours is
// one edit.
func Nearest(word string, candidates []string) string {
	best, bestCost := "", len(word)/3+1
	if len(word) > 64 {
		return ""
	}
	for _, c := range candidates {
		if cost := distance(strings.ToLower(word), strings.ToLower(c), bestCost); cost < bestCost || (cost == bestCost && best == "") {
			if cost <= len(word)/3+1 && cost < len(c) {
				best, bestCost = c, cost
			}
		}
	}
	return best
}

// Slip is Nearest where any word is allowed and only a slip is to be found:
// one edit, or two in words of eight letters or more.
func Slip(word string, candidates []string) string {
	near := Nearest(word, candidates)
	limit := 1
	if len(word) >= 8 {
		limit = 2
	}
	if near == "" || distance(strings.ToLower(word), near, limit) > limit {
		return ""
	}
	return near
}

// distance is the optimal string alignment distance, or a number over limit.
func distance(a, b string, limit int) int {
	if d := len(a) - len(b); d > limit || -d > limit {
		return limit + 1
	}
	before, last, next := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		next[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			next[j] = min(last[j]+1, next[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				next[j] = min(next[j], before[j-2]+1)
			}
		}
		before, last, next = last, next, before
	}
	return last[len(b)]
}
