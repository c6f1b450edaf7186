package intent

import (
	"gopkg.in/yaml.v3"

	"github.com/org/edamame-posture/pkg/agent"
	"github.com/org/edamame-posture/pkg/intent/document"
)

// agentIntent is what is said of one coding agent, besides its grants.
type agentIntent struct {
	tools []string        // that it may use; none for any
	own   map[string]bool // programs that its own program starts
}

func (a *agentIntent) add(e *entry) {
	switch {
	case e.Verb == "agent" && e.To != "*":
		a.tools = append(a.tools, e.To)
	case e.Verb == "exec" && e.Own:
		if a.own == nil {
			a.own = make(map[string]bool)
		}
		a.own[e.To] = true
	}
}

// Expects reports whether the intent says anything of an agent. Only then does
// what the agent declares explain what it does.
func (r *Resolved) Expects(agent string) bool { return r.agents[agent] != nil }

// Owns reports whether a program is one that an agent's own program starts.
func (r *Resolved) Owns(agent, program string) bool {
	a := r.agents[agent]
	return a != nil && a.own[program]
}

// UsesTool reports whether an agent may use a tool; listed, whether the intent
// names it.
func (r *Resolved) UsesTool(agent, tool string) (may, listed bool) {
	a := r.agents[agent]
	if a == nil || len(a.tools) == 0 {
		return true, false
	}
	listed = contains(a.tools, tool)
	return listed, listed
}

// agents reads what is said of coding agents. own: it is a preset's, of what
// their makers' programs do.
func (p *parser) agents(s *section, n *yaml.Node, own bool) {
	for _, a := range p.Any(n) {
		if !contains(agent.Names, a.Key) {
			p.FailNear(a.At, document.Nearest(a.Key, agent.Names), "no agent that is known")
			continue
		}
		var part section
		var pairs []document.Pair
		if a.Value.Tag != "!!null" {
			pairs = p.Mapping(a.Value, "tools", "egress", "exec", "write", "listen", "credentials")
		}
		if !own && len(pairs) == 0 {
			p.entry(s, a.At, entry{Verb: "agent", Agent: a.Key, To: "*"})
		}
		for _, e := range pairs {
			if e.Key != "tools" {
				p.section(&part, []document.Pair{e})
				continue
			}
			for _, t := range p.Strings(e.Value) {
				p.entry(s, t, entry{Verb: "agent", Agent: a.Key, To: t.Value})
			}
		}
		for _, e := range part.entries {
			e.Agent, e.Own = a.Key, own
			s.entries = append(s.entries, e)
		}
	}
}
