package posture

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
)

// sudoers is what matters here of a file of sudoers(5).
type sudoers struct {
	rules []sudoRule
	// users are the lists of User_Alias, by name.
	users map[string][]string
	// cmnds are the Cmnd_Alias that stand for every command.
	cmnds map[string]bool
	// open are the lines of Defaults that ask nobody for a password.
	open []int
	// includes are the folders and files of #include and @includedir.
	includes []include
}

// include is a file or folder that is read where its line stands.
type include struct {
	line int
	path string
}

// sudoRule is one user specification.
type sudoRule struct {
	line int
	who  []string
	// free are the commands that need no password; every, that all do not.
	free  []string
	every bool
	// none is a rule that refuses every command, whatever came before it.
	none bool
}

// maxSudoRules bounds the rules of a file.
const maxSudoRules = 4096

// parseSudoers reads a file of sudoers. What it does not understand it leaves
// out, as what is not there grants nothing.
func parseSudoers(data []byte) *sudoers {
	s := &sudoers{users: map[string][]string{}, cmnds: map[string]bool{"ALL": true}}
	number := 0
	for len(data) > 0 && len(s.rules) < maxSudoRules {
		var text strings.Builder
		first := number + 1
		for {
			line, rest, _ := bytes.Cut(data, []byte("\n"))
			data = rest
			number++
			text.Write(bytes.TrimSuffix(line, []byte("\\")))
			if !bytes.HasSuffix(line, []byte("\\")) || len(rest) == 0 {
				break
			}
		}
		s.line(strings.TrimSpace(strings.ReplaceAll(text.String(), "\t", " ")), first)
	}
	return s
}

func (s *sudoers) line(text string, number int) {
	word, rest, _ := strings.Cut(text, " ")
	switch word {
	case "#include", "#includedir", "@include", "@includedir":
		s.includes = append(s.includes, include{number, strings.Trim(strings.TrimSpace(rest), `"`)})
		return
	}
	text = withoutComment(text)
	switch {
	case text == "":
	case strings.HasPrefix(word, "Defaults"):
		for _, d := range strings.Split(rest, ",") {
			if strings.TrimSpace(d) == "!authenticate" {
				s.open = append(s.open, number)
			}
		}
	case word == "User_Alias":
		aliases(text[len(word):], func(name string, list []string) { s.users[name] = list })
	case word == "Cmnd_Alias", word == "Cmd_Alias":
		aliases(text[len(word):], func(name string, list []string) {
			s.cmnds[name] = slices.ContainsFunc(list, func(c string) bool { return s.cmnds[c] })
		})
	case strings.HasSuffix(word, "_Alias"):
	default:
		s.rule(text, number)
	}
}

// withoutComment takes off what follows a # that is not the # of an id.
func withoutComment(s string) string {
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\':
			i++
		case s[i] == '#' && (i+1 == len(s) || s[i+1] < '0' || s[i+1] > '9'):
			return strings.TrimSpace(s[:i])
		}
	}
	return s
}

// aliases reads NAME = a, b : NAME = c.
func aliases(text string, each func(name string, list []string)) {
	for def := range strings.SplitSeq(text, ":") {
		if name, list, ok := strings.Cut(def, "="); ok {
			each(strings.TrimSpace(name), commaList(list))
		}
	}
}

func commaList(s string) []string {
	var out []string
	for e := range strings.SplitSeq(s, ",") {
		if e = strings.TrimSpace(e); e != "" {
			out = append(out, e)
		}
	}
	return out
}

// rule reads users hosts = (runas) TAG: command, command : hosts = …
func (s *sudoers) rule(text string, number int) {
	left, right, ok := strings.Cut(text, "=")
	if !ok {
		return
	}
	// Blanks may stand about the commas of the list of users.
	users := commaList(left)
	if len(users) == 0 {
		return
	}
	r := sudoRule{line: number}
	for _, u := range users {
		name, hosts, more := strings.Cut(u, " ")
		r.who = append(r.who, strings.Trim(name, `"`))
		if more && strings.TrimSpace(hosts) != "" {
			break // the hosts begin
		}
	}
	free := false
	for _, cmd := range splitCommands(right) {
		cmd = strings.TrimSpace(cmd)
		if strings.HasPrefix(cmd, "(") {
			_, after, _ := strings.Cut(cmd, ")")
			cmd = strings.TrimSpace(after)
		}
		for {
			tag, after, ok := strings.Cut(cmd, ":")
			if tag = strings.TrimSpace(tag); !ok || tag == "" || strings.Trim(tag, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_") != "" {
				break
			}
			switch tag {
			case "NOPASSWD":
				free = true
			case "PASSWD":
				free = false
			}
			cmd = strings.TrimSpace(after)
		}
		if cmd == "!ALL" {
			r.free, r.every = nil, false
		}
		r.none = cmd == "!ALL"
		if cmd == "" || cmd[0] == '!' || !free {
			continue
		}
		r.free = append(r.free, cmd)
		r.every = r.every || s.cmnds[cmd]
	}
	s.rules = append(s.rules, r)
}

// splitCommands splits at commas that are not in the parentheses of runas.
func splitCommands(s string) []string {
	var out []string
	depth, from := 0, 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '(':
			depth++
		case ')':
			depth--
		case ',':
			if depth <= 0 {
				out = append(out, s[from:i])
				from = i + 1
			}
		}
	}
	return append(out, s[from:])
}

// person is a user whom rules are held against.
type person struct {
	*User
	member map[string]bool // names of the user's groups
	// aliases are those that were looked at, and whether they name the user; one
	// that leads back to itself names nobody.
	aliases map[string]bool
}

// covers reports whether a list of users names the person.
func (s *sudoers) covers(list []string, p *person) bool {
	named := false
	for _, w := range list {
		name, not := strings.CutPrefix(w, "!")
		if s.names(name, p) {
			named = !not // the last that matches decides
		}
	}
	return named
}

func (s *sudoers) names(w string, p *person) bool {
	switch {
	case w == "ALL", w != "" && w == p.Name:
		return true
	case strings.HasPrefix(w, "%#"):
		n, err := strconv.ParseUint(w[2:], 10, 32)
		return err == nil && slices.Contains(p.Groups, uint32(n))
	case strings.HasPrefix(w, "%"):
		return p.member[w[1:]]
	case strings.HasPrefix(w, "#"):
		n, err := strconv.ParseUint(w[1:], 10, 32)
		return err == nil && uint32(n) == p.UID
	}
	named, looked := p.aliases[w]
	list, ok := s.users[w]
	if looked || !ok {
		return named
	}
	if p.aliases == nil {
		p.aliases = map[string]bool{}
	}
	p.aliases[w] = false
	named = s.covers(list, p)
	p.aliases[w] = named
	return named
}
