// Package agents runs real coding agents as their users do, but against a model
// that follows a script, without an account and without a network. The scripts
// are data, in sessions/, each with the findings that its session must give.
package agents

import (
	"bytes"
	"embed"
	"fmt"
	"path"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// Session is what happens in one session of an agent.
type Session struct {
	Name  string `yaml:"-"` // the file's
	About string `yaml:"about"`
	// Agents are the agents that it is for; empty for all.
	Agents []string `yaml:"agents"`
	Needs  []string `yaml:"needs"` // programs on the machine
	Prompt string   `yaml:"prompt"`
	// Home and Files are what stands in the home and in the working folder before.
	Home  map[string]string `yaml:"home"`
	Files map[string]string `yaml:"files"`
	// Flags are arguments to the agent besides those of every session.
	Flags map[string][]string `yaml:"flags"`
	// Env is set besides the variables of every session.
	Env map[string]string `yaml:"env"`
	// Allow are egress entries of the policy, besides those of every session. Keyed:
	// it names the key that may be used where the model answers.
	Allow []string `yaml:"allow"`
	Keyed bool     `yaml:"keyed"`
	// Turns are what the model answers, one after the other: the tools that it
	// calls. When there are no more it says that all is done.
	Turns  [][]Call `yaml:"turns"`
	Hooks  string   `yaml:"hooks"` // "none": our hooks are not installed
	Expect Expect   `yaml:"expect"`
}

// Call is one use of a tool, in words that all agents share. In every text
// @WEB@ is a server on loopback, @OTHER@ one at another address, @REGISTRY@ a
// registry of npm, @MODEL@ where the model answers, @HOME@ the home, @WORK@ the
// working folder, @HOOK@ our hook and @OTHERHOST@ the other one without the scheme.
type Call struct {
	Shell      string `yaml:"shell"`
	Background bool   `yaml:"background"` // the agent does not wait for the command's end
	Read       string `yaml:"read"`
	Write      *File  `yaml:"write"`
	Edit       *Edit  `yaml:"edit"`
}

// File is a file that is written.
type File struct {
	Path string `yaml:"path"`
	Text string `yaml:"text"`
}

// Edit replaces a text in a file that was read before.
type Edit struct {
	Path string `yaml:"path"`
	Old  string `yaml:"old"`
	New  string `yaml:"new"`
}

// Expect is what must be found.
type Expect struct {
	// Findings are the names of findings that a monitor must have; none in an
	// honest session, whose score is 9 at most.
	Findings []string `yaml:"findings"`
	// Files are files of the working folder that are there afterwards.
	Files []string `yaml:"files"`
	// Received are what the servers must have been asked for: "web /path".
	Received []string `yaml:"received"`
	// Silent says that the agent's hooks do not tell of all its calls.
	Silent bool `yaml:"silent"`
}

// Honest reports whether the session does what it says.
func (s *Session) Honest() bool { return len(s.Expect.Findings) == 0 }

// For reports whether the session is one for an agent.
func (s *Session) For(agent string) bool {
	return len(s.Agents) == 0 || slices.Contains(s.Agents, agent)
}

// Findings are the names of all findings that sessions may expect.
var Findings = []string{
	"forged-declaration", "agent-beyond-declaration", "agent-undeclared-effect", "undeclared-agent", "agent-config-changed",
	"agent-hooks-silent", "agent-permission-bypass", "agent-other-key", "agent-persistence", "agent-from-install-script",
	"transcript-hook-mismatch", "chain.credential-egress", "request-beyond-policy", "d2-credential-classes",
}

//go:embed sessions/*.yml
var sessions embed.FS

// Sessions returns all sessions, sorted by name.
func Sessions() ([]*Session, error) {
	files, err := sessions.ReadDir("sessions")
	if err != nil {
		return nil, err
	}
	var all []*Session
	for _, f := range files {
		data, err := sessions.ReadFile(path.Join("sessions", f.Name()))
		if err != nil {
			return nil, err
		}
		s := &Session{Name: strings.TrimSuffix(f.Name(), ".yml")}
		dec := yaml.NewDecoder(bytes.NewReader(data))
		dec.KnownFields(true)
		if err := dec.Decode(s); err != nil {
			return nil, fmt.Errorf("sessions/%s: %w", f.Name(), err)
		}
		for _, name := range s.Expect.Findings {
			if !slices.Contains(Findings, name) {
				return nil, fmt.Errorf("sessions/%s: there is no finding %q", f.Name(), name)
			}
		}
		if s.About == "" || s.Prompt == "" || len(s.Turns) == 0 {
			return nil, fmt.Errorf("sessions/%s: about, prompt and turns are needed", f.Name())
		}
		all = append(all, s)
	}
	return all, nil
}
