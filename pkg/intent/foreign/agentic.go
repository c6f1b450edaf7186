package foreign

import (
	"fmt"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/org/edamame-posture/pkg/fact"
	"github.com/org/edamame-posture/pkg/intent"
	"github.com/org/edamame-posture/policies"
)

// ecosystems of gh-aw for which the presets have their list, by the same name.
// Others are told.
var ecosystems = []string{
	"bazel", "containers", "dart", "deno", "dotnet", "elixir", "go", "haskell", "java", "julia", "latex", "linux-distros",
	"node", "perl", "php", "playwright", "python", "r", "ruby", "rust", "swift", "terraform",
}

// agentic reads the front matter of a gh-aw workflow.
func agentic(r *reader, n *yaml.Node) {
	r.out.Format = "gh-aw"
	if n.Kind != yaml.MappingNode {
		r.Fail(n, "the front matter is no mapping")
		return
	}
	p := &r.out.Top
	network := value(n, "network")
	switch {
	case network == nil && value(n, "on") == nil && value(n, "engine") == nil:
		r.Fail(n, "the front matter has none of on, engine and network: this is no gh-aw workflow")
	case network == nil, network.Tag == "!!null":
		at := n
		if network != nil {
			at = network
		}
		allowed(r, p, "defaults", at)
	case network.Kind == yaml.ScalarNode:
		allowed(r, p, network.Value, network)
	default:
		for _, e := range r.Any(network) {
			switch e.Key {
			case "allowed":
				for _, a := range r.Strings(e.Value) {
					allowed(r, p, a.Value, a)
				}
			case "blocked":
				for _, b := range r.Strings(e.Value) {
					blocked(r, p, b.Value, b)
				}
			case "firewall":
				r.note(p, e.At, "firewall", "settings of its firewall; a policy has no list of URLs and opens no TLS")
			default:
				r.note(p, e.At, "network."+e.Key, "no equal: what callers add at run time is not known here")
			}
		}
	}
	if engine := value(n, "engine"); engine != nil {
		r.note(p, engine, "engine: "+short(engine), "the hosts of the engine are allowed without being listed; here they are not: add use: [ai]")
	}
	if r.out.Top.uses() {
		r.note(p, n, "ecosystems", "the presets of the same names; some also let their programs read the credentials that are theirs")
	}
}

func (p *Part) uses() bool {
	return slices.ContainsFunc(p.Grants, func(g intent.Declared) bool { return g.Key == "use" })
}

// isEcosystem reports whether gh-aw takes a word for an ecosystem: a single
// word, [a-z][a-z0-9-]*.
func isEcosystem(s string) bool {
	return s != "" && s[0] >= 'a' && s[0] <= 'z' && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}

func allowed(r *reader, p *Part, s string, at *yaml.Node) {
	why := "gh-aw network.allowed"
	if isExpression(s) {
		r.note(p, at, short(at), "made at run time, so what it allows is not known here")
		return
	}
	if !isEcosystem(s) {
		for _, d := range domains(s) {
			r.grant(p, "egress", d, at, why)
		}
		return
	}
	why += ": " + s
	switch {
	case s == "defaults":
		r.grant(p, "use", "pki", at, why)
		r.note(p, at, s, "of it, certificate services are granted; add use: [apt] where packages of the system are installed")
	case s == "github":
		for _, d := range []string{"github.com", "github.blog", "githubusercontent.com"} {
			r.grant(p, "egress", "**."+d+":443", at, why)
		}
	case s == "local":
		r.grant(p, "egress", "127.0.0.1:*", at, why)
		r.grant(p, "egress", "[::1]:*", at, why)
	case slices.Contains(ecosystems, s):
		r.grant(p, "use", s, at, why)
	default:
		r.note(p, at, s, "there is no preset for it: write the hosts that are used under egress")
	}
}

// domains are the destinations of a domain. gh-aw takes in all names below it,
// and HTTP and HTTPS unless one of them is written in front; a star at the
// beginning changes nothing ("Wildcard Domain Patterns").
func domains(s string) []string {
	ports := []string{"443", "80"}
	if rest, ok := strings.CutPrefix(s, "https://"); ok {
		s, ports = rest, ports[:1]
	} else if rest, ok := strings.CutPrefix(s, "http://"); ok {
		s, ports = rest, ports[1:]
	}
	s = strings.TrimPrefix(s, "*.")
	if strings.Trim(s, "0123456789.") != "" {
		s = "**." + s
	}
	var list []string
	for _, port := range ports {
		list = append(list, s+":"+port)
	}
	return list
}

func blocked(r *reader, p *Part, s string, at *yaml.Node) {
	why := "gh-aw network.blocked"
	if isExpression(s) {
		r.Fail(at, "what is blocked is made at run time; write it out, since a policy without it would allow more")
		return
	}
	if !isEcosystem(s) {
		for _, d := range domains(s) {
			host := d[:strings.LastIndexByte(d, ':')]
			r.deny(p, host, at, why)
		}
		return
	}
	hosts, err := presetHosts(s)
	if err != nil {
		r.Fail(at, "there is no preset for it whose hosts could be forbidden; write its domains under blocked, since a policy without them would allow more")
		return
	}
	r.note(p, at, s, "what is forbidden is the hosts of the preset of that name")
	for _, h := range hosts {
		r.deny(p, h, at, why+": "+s)
	}
}

// presetHosts are the hosts of a preset, as deny has them.
func presetHosts(name string) ([]string, error) {
	if !slices.Contains(ecosystems, name) || !slices.Contains(policies.PresetNames(), name) {
		return nil, fmt.Errorf("no preset %q", name)
	}
	p, err := intent.Parse(name, []byte("version: 1\nuse: ["+name+"]\n"))
	if err != nil {
		return nil, err
	}
	in, err := p.Resolve("")
	if err != nil {
		return nil, err
	}
	var hosts []string
	for _, e := range in.Entries() {
		if e.Verb != fact.Connect {
			continue
		}
		host := e.To[:strings.LastIndexByte(e.To, ':')]
		// gh-aw blocks what is below a domain too.
		if strings.Trim(host, "0123456789./") != "" && !strings.HasPrefix(host, "[") && !strings.Contains(host, "*") {
			host = "**." + host
		}
		if !slices.Contains(hosts, host) {
			hosts = append(hosts, host)
		}
	}
	return hosts, nil
}
