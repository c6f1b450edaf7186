package attest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxDepth bounds how deep objects and lists may stand in one another.
const maxDepth = 32

// checkJSON refuses what two programs could read in two ways: a name twice in
// one object, in whatever case, since Go takes the last and does not look at
// case; text that is not UTF-8; anything after the end. And what is too deep.
func checkJSON(data []byte) error {
	if !utf8.Valid(data) {
		return errors.New("it is not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	type level struct {
		names map[string]bool // nil in a list
		value bool            // a value comes next, not a name
	}
	var stack []level
	for first := true; first || len(stack) > 0; first = false {
		t, err := d.Token()
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
		top := len(stack) - 1
		if delim, is := t.(json.Delim); is && (delim == '}' || delim == ']') {
			stack = stack[:top]
			continue
		}
		if top >= 0 && stack[top].names != nil {
			if !stack[top].value {
				name, folded := t.(string), strings.Map(fold, t.(string))
				if stack[top].names[folded] {
					return fmt.Errorf("the name %.80q stands twice in one object", name)
				}
				stack[top].names[folded] = true
				stack[top].value = true
				continue
			}
			stack[top].value = false
		}
		switch t {
		case json.Delim('{'):
			stack = append(stack, level{names: map[string]bool{}})
		case json.Delim('['):
			stack = append(stack, level{})
		}
		if len(stack) > maxDepth {
			return fmt.Errorf("it is more than %d levels deep", maxDepth)
		}
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something stands after its end")
	}
	return nil
}

// fold is the case folding of encoding/json.
func fold(r rune) rune {
	for {
		next := unicode.SimpleFold(r)
		if next <= r {
			return next
		}
		r = next
	}
}
