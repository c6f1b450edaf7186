// Package redact is the only maker of text that may reach the log.
//
// Everything a job controls (arguments, paths, names, URLs, payloads) can hold
// a secret, so no such string is stored as it came. A [Text] can be made in
// four ways only: by a [Redactor], which replaces secrets; by [Const], which
// takes nothing but a constant of our own source code; from other texts, numbers
// and addresses, such as by [Join] and [Uint]; and by decoding a log, whose texts
// were redacted when they were written. The fields of
// [github.com/org/edamame-posture/pkg/event.Event] are of this type, so the
// compiler keeps the rule.
//
// The package imports nothing else of this project.
package redact

import "encoding/json"

// Text is a string that holds no secret known to the redactor that made it.
// The zero value is the empty text. Texts are comparable and may be map keys.
type Text struct{ s string }

// String returns the redacted string.
func (t Text) String() string { return t.s }

// IsZero reports whether t is empty; encoding/json uses it for omitzero.
func (t Text) IsZero() bool { return t.s == "" }

// Len returns the length of the text in bytes.
func (t Text) Len() int { return len(t.s) }

// MarshalJSON encodes the text as a JSON string.
func (t Text) MarshalJSON() ([]byte, error) { return json.Marshal(t.s) }

// UnmarshalJSON decodes a text from a log. It is meant for reading evidence
// back, never for making text from what a job said.
//
// A string without escapes, as nearly all of a log are, is copied as it is.
func (t *Text) UnmarshalJSON(b []byte) error {
	if len(b) < 2 || b[0] != '"' || b[len(b)-1] != '"' {
		return json.Unmarshal(b, &t.s)
	}
	inside := b[1 : len(b)-1]
	for _, c := range inside {
		if c < 0x20 || c >= 0x7f || c == '"' || c == '\\' {
			return json.Unmarshal(b, &t.s)
		}
	}
	t.s = string(inside)
	return nil
}

// constant cannot be named outside this package, so only untyped constants
// convert to it: a string that was computed at run time does not compile.
type constant string

// Const returns the text of a constant of our own source code.
func Const(s constant) Text { return Text{string(s)} }
