package derive

import (
	"fmt"
	"strings"
	"sync"

	"gopkg.in/yaml.v3"

	"github.com/org/edamame-posture/pkg/intent/document"
	"github.com/org/edamame-posture/policies"
)

// need is a row of a catalogue: what a program or an action is known to do.
type need struct {
	words                           []string // the program and the words after it
	use, egress, credentials, write []string
	root, urls, hosts, then         bool
	// opaque says where the rest of what it does is written; opaqueWords are
	// the words after which that is so, opaqueFile that its first argument is a
	// program.
	opaque      string
	opaqueWords []string
	opaqueFile  bool
	skip        int
	hostsOf     []string // inputs of an action
}

// catalogue is all that is known of programs and actions.
type catalogue struct {
	commands map[string][]need // by the first word
	actions  map[string]need   // in lower case, as GitHub compares them
	harmless map[string]bool
}

// known reads the catalogues once. They are embedded, so an error in them is
// one of this program, and a test reads them.
var known = sync.OnceValues(func() (*catalogue, error) {
	c := &catalogue{commands: map[string][]need{}, actions: map[string]need{}, harmless: map[string]bool{}}
	src, docs := document.Parse("policies/commands.yml", policies.Commands())
	if len(docs) == 1 {
		for _, p := range src.Mapping(docs[0], "version", "commands", "harmless") {
			switch p.Key {
			case "commands":
				for _, n := range src.List(p.Value) {
					row := readNeed(src, n)
					if len(row.words) == 0 {
						src.Fail(n, `"run" is missing`)
						continue
					}
					c.commands[row.words[0]] = append(c.commands[row.words[0]], row)
				}
			case "harmless":
				for _, n := range src.Strings(p.Value) {
					c.harmless[n.Value] = true
				}
			}
		}
	}
	if err := src.Err(); err != nil {
		return nil, err
	}
	src, docs = document.Parse("policies/actions.yml", policies.Actions())
	if len(docs) == 1 {
		for _, p := range src.Mapping(docs[0], "version", "actions") {
			if p.Key != "actions" {
				continue
			}
			for _, a := range src.Any(p.Value) {
				c.actions[strings.ToLower(a.Key)] = readNeed(src, a.Value)
			}
		}
	}
	if err := src.Err(); err != nil {
		return nil, err
	}
	if len(c.commands) == 0 || len(c.actions) == 0 || len(c.harmless) == 0 {
		return nil, fmt.Errorf("the catalogues of programs and actions are empty")
	}
	return c, nil
})

func readNeed(src *document.Source, n *yaml.Node) need {
	var r need
	for _, p := range src.Mapping(n, "run", "use", "egress", "credentials", "write", "root", "urls", "hosts", "then", "opaque", "opaque-words", "opaque-file", "skip", "hosts-of") {
		switch p.Key {
		case "run":
			s, _ := src.String(p.Value)
			r.words = strings.Fields(s)
		case "opaque":
			r.opaque, _ = src.String(p.Value)
		case "skip":
			s, _ := src.String(p.Value)
			if _, err := fmt.Sscanf(s, "%d", &r.skip); err != nil {
				src.Fail(p.Value, "want a number")
			}
		case "use", "egress", "credentials", "write", "opaque-words", "hosts-of":
			var list []string
			for _, v := range src.Strings(p.Value) {
				list = append(list, v.Value)
			}
			*map[string]*[]string{"use": &r.use, "egress": &r.egress, "credentials": &r.credentials, "write": &r.write,
				"opaque-words": &r.opaqueWords, "hosts-of": &r.hostsOf}[p.Key] = list
		default:
			s, _ := src.String(p.Value)
			*map[string]*bool{"root": &r.root, "urls": &r.urls, "hosts": &r.hosts, "then": &r.then, "opaque-file": &r.opaqueFile}[p.Key] = s == "true"
		}
	}
	return r
}

// rows returns those that hold for a program and its words: npm for npm ci,
// and npm ci too.
func (c *catalogue) rows(words []string) []need {
	var found []need
	for _, r := range c.commands[words[0]] {
		if len(r.words) <= len(words) && equal(r.words, words[:len(r.words)]) {
			found = append(found, r)
		}
	}
	return found
}

func equal(a, b []string) bool {
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// action returns the row of an action by owner/name, with or without the
// folder below it.
func (c *catalogue) action(name string) (need, bool) {
	r, ok := c.actions[strings.ToLower(name)]
	return r, ok
}
