package signature

import "io/fs"

// Checked is what [Check] found out about one rule.
type Checked struct {
	// File and Line are where the rule begins.
	File string
	Line int
	// ID and Title name it, as far as they could be read.
	ID, Title string
	// Product, Category and Service are its log source; empty for a
	// correlation.
	Product, Category, Service string
	// Supported: its log source is one whose events are told here.
	Supported bool
	// Unreadable: the file is not YAML, or holds no rule.
	Unreadable bool
	// Errors say what of it is not supported, or wrong.
	Errors Errors

	wrong bool
}

// Usable reports whether the rule can be used.
func (c *Checked) Usable() bool { return !c.wrong && !c.Unreadable }

// Correlation reports whether it is a rule over others.
func (c *Checked) Correlation() bool {
	return !c.Unreadable && c.Product == "" && c.Category == "" && c.Service == ""
}

// Check reads all rules of a file system, each for itself, and says of each
// what is not supported. The error is of reading files only.
func Check(fsys fs.FS, o Options) ([]Checked, error) {
	o.Lenient = true
	l, err := readAll(fsys, o)
	if err != nil {
		return nil, err
	}
	byFile := map[string][]*Checked{}
	for i := range l.found {
		c := &l.found[i]
		byFile[c.File] = append(byFile[c.File], c)
	}
	for _, e := range l.errs {
		// The rule is the last one that begins before the error.
		var at *Checked
		for _, c := range byFile[e.File] {
			if at == nil || c.Line <= e.Line {
				at = c
			}
		}
		if at != nil {
			at.Errors = append(at.Errors, e)
		}
	}
	return l.found, nil
}
