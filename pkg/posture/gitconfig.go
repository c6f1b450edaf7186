package posture

import (
	"bytes"
	"strings"
)

// setting is one line of a file of settings.
type setting struct {
	// key is section.subsection.name, all but the subsection in lower case; of a
	// file without sections it is the name.
	key   string
	value string
	line  int
}

// maxSettings bounds the settings of a file.
const maxSettings = 4096

// parseGitConfig reads a file of git-config(1). Lines that git would refuse are
// left out.
func parseGitConfig(data []byte) []setting {
	var out []setting
	section, number := "", 0
	for len(data) > 0 && len(out) < maxSettings {
		line, rest, _ := bytes.Cut(data, []byte("\n"))
		data = rest
		number++
		s := strings.TrimSpace(string(line))
		if strings.HasPrefix(s, "[") {
			var ok bool
			if section, s, ok = gitSection(s); !ok {
				section = ""
				continue
			}
		}
		if s == "" || s[0] == '#' || s[0] == ';' || section == "" {
			continue
		}
		first := number
		name, value, _ := strings.Cut(s, "=")
		var v strings.Builder
		for gitValue(value, &v) && len(data) > 0 {
			line, rest, _ := bytes.Cut(data, []byte("\n"))
			data = rest
			number++
			value = string(line)
		}
		out = append(out, setting{section + "." + strings.ToLower(strings.TrimSpace(name)), strings.TrimSpace(v.String()), first})
	}
	return out
}

// gitSection reads [section "sub"] and returns what follows it.
func gitSection(s string) (section, rest string, ok bool) {
	quoted := false
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			quoted = !quoted
		case ']':
			if quoted {
				continue
			}
			name, sub, has := strings.Cut(s[1:i], " ")
			name = strings.ToLower(strings.TrimSpace(name))
			if sub = strings.Trim(strings.TrimSpace(sub), `"`); has && sub != "" {
				name += "." + strings.NewReplacer(`\"`, `"`, `\\`, `\`).Replace(sub)
			}
			return name, strings.TrimSpace(s[i+1:]), name != ""
		}
	}
	return "", "", false
}

// gitValue appends a value without quotes and comment, and reports whether it
// goes on in the next line.
func gitValue(s string, v *strings.Builder) bool {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && i+1 == len(s):
			return true
		case c == '\\':
			i++
			switch s[i] {
			case 'n':
				v.WriteByte('\n')
			case 't':
				v.WriteByte('\t')
			default:
				v.WriteByte(s[i])
			}
		case c == '"':
			quoted = !quoted
		case (c == '#' || c == ';') && !quoted:
			return false
		default:
			v.WriteByte(c)
		}
	}
	return false
}
