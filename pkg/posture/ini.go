package posture

import (
	"bytes"
	"strings"
)

// parseINI reads npmrc(5) and the settings of pip: name = value, with sections
// or without. A line that goes on one before (pip) is a value of its own under
// the same key.
func parseINI(data []byte) []setting {
	var out []setting
	section, last, number := "", "", 0
	for len(data) > 0 && len(out) < maxSettings {
		line, rest, _ := bytes.Cut(data, []byte("\n"))
		data = rest
		number++
		raw := strings.TrimRight(string(line), " \t\r")
		s := strings.TrimSpace(raw)
		switch {
		case s == "" || s[0] == '#' || s[0] == ';':
			continue
		case s[0] == '[' && strings.HasSuffix(s, "]"):
			section, last = strings.ToLower(s[1:len(s)-1])+".", ""
			continue
		case last != "" && (raw[0] == ' ' || raw[0] == '\t') && section != "":
			out = append(out, setting{last, s, number})
			continue
		}
		// A colon stands for = in pip; in npm it is a part of //host/:_authToken.
		i := strings.IndexByte(s, '=')
		if section != "" {
			if j := strings.IndexByte(s, ':'); j >= 0 && (i < 0 || j < i) {
				i = j
			}
		}
		name, value := s, ""
		if i >= 0 {
			name, value = s[:i], s[i+1:]
		}
		last = section + strings.ToLower(strings.TrimSuffix(strings.TrimSpace(name), "[]"))
		out = append(out, setting{last, strings.Trim(strings.TrimSpace(value), `"'`), number})
	}
	return out
}
