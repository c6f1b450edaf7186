package foreign

import (
	"strings"

	"gopkg.in/yaml.v3"
)

// workflow reads the steps of a GitHub workflow that guard its jobs.
func workflow(r *reader, n *yaml.Node) {
	var found []string
	for _, p := range r.Any(n) {
		if p.Key != "jobs" {
			continue
		}
		for _, j := range r.Any(p.Value) {
			if j.Key == "" {
				r.Fail(j.At, "a job has a name")
				continue
			}
			part := Part{Name: j.Key}
			guarded := false
			for _, s := range steps(j.Value) {
				uses, with := guard(s)
				action, _, _ := strings.Cut(strings.ToLower(uses), "@")
				name := ""
				switch action {
				case "step-security/harden-runner":
					name = "harden-runner"
					hardenRunner(r, &part, s, with)
				case "bullfrogsec/bullfrog":
					name = "bullfrog"
					bullfrog(r, &part, s, with)
				default:
					continue
				}
				guarded = true
				if len(found) == 0 || found[len(found)-1] != name {
					found = append(found, name)
				}
			}
			if guarded {
				r.out.Jobs = append(r.out.Jobs, part)
			}
		}
	}
	if len(found) == 0 && !r.Failed() {
		r.Fail(n, "no step uses step-security/harden-runner or bullfrogsec/bullfrog; a policy of what the workflow itself needs is made by intent derive")
	}
	seen := map[string]bool{}
	for _, f := range found {
		if !seen[f] {
			seen[f] = true
			r.out.Format = strings.TrimPrefix(r.out.Format+" and "+f, " and ")
		}
	}
}

func steps(job *yaml.Node) []*yaml.Node {
	if s := value(job, "steps"); s != nil && s.Kind == yaml.SequenceNode {
		return s.Content
	}
	return nil
}

func guard(step *yaml.Node) (uses string, with *yaml.Node) {
	if u := value(step, "uses"); u != nil {
		uses = u.Value
	}
	if with = value(step, "with"); with == nil || with.Kind != yaml.MappingNode {
		with = &yaml.Node{Kind: yaml.MappingNode}
	}
	return uses, with
}

// value returns what stands under a key of a mapping, or nil.
func value(n *yaml.Node, key string) *yaml.Node {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

// line is a word of a text that may have several lines, with its place.
type line struct {
	text string
	at   *yaml.Node
}

// words splits a scalar where cut says so. In a block the place is that of the
// word's line, else that of the whole.
func words(n *yaml.Node, cut func(rune) bool) []line {
	var list []line
	for i, l := range strings.Split(n.Value, "\n") {
		at := *n
		if n.Style&yaml.LiteralStyle != 0 {
			at.Line, at.Column = n.Line+1+i, 1
		}
		for _, w := range strings.FieldsFunc(l, cut) {
			if w = strings.TrimSpace(w); w != "" {
				list = append(list, line{w, &at})
			}
		}
	}
	return list
}

func space(c rune) bool { return c == ' ' || c == '\t' || c == '\r' }

func never(rune) bool { return false }

func isExpression(s string) bool { return strings.Contains(s, "${{") }

// sudo tells what an input says of the power over the machine.
const sudo = "here power needs a grant whoever takes it: list the programs that need it under root, such as root: [apt-get]"

// hardenRunner reads the inputs of step-security/harden-runner.
func hardenRunner(r *reader, p *Part, step, with *yaml.Node) {
	noSudo := false
	for i := 0; i+1 < len(with.Content); i += 2 {
		k, v := with.Content[i], with.Content[i+1]
		switch k.Value {
		case "allowed-endpoints":
			if isExpression(v.Value) {
				r.note(p, v, k.Value+": "+short(v), "made at run time, so what it allows is not known here")
				continue
			}
			for _, w := range words(v, space) {
				to := w.text
				if !strings.Contains(to, ":") {
					to += ":443" // the agent's default
				}
				r.grant(p, "egress", to, w.at, "harden-runner allowed-endpoints")
			}
		case "egress-policy":
			if v.Value != "block" {
				p.audits = v.Value == "audit"
				r.note(p, v, k.Value+": "+short(v), "it lets everything through and reports it; here only what is listed is declared")
			}
		case "disable-sudo", "disable-sudo-and-containers":
			noSudo = noSudo || v.Value == "true"
		case "policy", "use-policy-store":
			if k.Value == "policy" || v.Value != "false" {
				r.note(p, v, k.Value+": "+short(v), "the list is kept by StepSecurity and not in this file: copy its endpoints")
			}
		case "exempt-files", "disable-file-monitoring":
			r.note(p, v, k.Value+": "+short(v), "no equal: list under write what the job may write")
		case "token", "api-key", "disable-telemetry", "deploy-on-self-hosted-vm":
		default:
			r.note(p, k, k.Value+": "+short(v), "an input that is not known here")
		}
	}
	if !noSudo {
		r.note(p, step, "sudo and containers are allowed", sudo)
	}
	r.note(p, step, "what harden-runner and the runner need themselves is allowed without being listed",
		"here it is not: add use: [github-runner, local] for the runner's own traffic and loopback")
}

// bullfrog reads the inputs of bullfrogsec/bullfrog.
func bullfrog(r *reader, p *Part, step, with *yaml.Node) {
	audit, canSudo, ports := true, true, false // the default of egress-policy is audit
	for i := 0; i+1 < len(with.Content); i += 2 {
		k, v := with.Content[i], with.Content[i+1]
		switch k.Value {
		case "allowed-domains", "allowed-ips":
			if isExpression(v.Value) {
				r.note(p, v, k.Value+": "+short(v), "made at run time, so what it allows is not known here")
				continue
			}
			for _, w := range words(v, never) {
				ports = true
				r.grant(p, "egress", w.text+":443", w.at, "bullfrog "+k.Value)
			}
		case "egress-policy":
			audit = v.Value != "block"
		case "dns-policy":
			if v.Value != "allowed-domains-only" {
				r.note(p, v, k.Value+": "+short(v), "no equal: asking the machine's resolver is free here, and any other resolver needs a grant such as \"192.0.2.53:53/udp\"")
			}
		case "enable-sudo":
			canSudo = v.Value != "false"
		case "log-directory", "collect-process-info", "api-token", "github-token":
		default:
			if !strings.HasPrefix(k.Value, "_") {
				r.note(p, k, k.Value+": "+short(v), "an input that is not known here")
			}
		}
	}
	p.audits = audit
	if audit {
		r.note(p, step, "egress-policy: audit", "it lets everything through and reports it; here only what is listed is declared")
	}
	if ports {
		r.note(p, step, "bullfrog asks for no port", "443 is granted; write another where the job needs it")
	}
	if canSudo {
		r.note(p, step, "sudo is allowed", sudo)
	}
	r.note(p, step, "what the runner needs is allowed without being listed",
		"here it is not: add use: [github-runner, local] for the runner's own traffic and loopback")
}
