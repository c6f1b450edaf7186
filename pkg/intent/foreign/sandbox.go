package foreign

import (
	"path"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/org/edamame-posture/pkg/intent/document"
)

// sandbox reads settings of sandbox-runtime (srt), which are JSON.
func sandbox(r *reader, n *yaml.Node) {
	r.out.Format = "sandbox-runtime"
	p := &r.out.Top
	network, files := value(n, "network"), value(n, "filesystem")
	if network == nil && files == nil {
		r.Fail(n, "neither network nor filesystem stands here: these are no settings of sandbox-runtime")
		return
	}
	for _, e := range r.Any(n) {
		switch e.Key {
		case "network":
			sandboxNetwork(r, p, e.Value)
		case "filesystem":
			sandboxFiles(r, p, e.Value)
		default:
			r.note(p, e.At, e.Key, "no equal: a setting of the sandbox itself")
		}
	}
}

func sandboxNetwork(r *reader, p *Part, n *yaml.Node) {
	anyPort := false
	// Listening on the machine is forbidden unless it is allowed.
	binds := false
	for _, e := range r.Any(n) {
		switch e.Key {
		case "allowedDomains":
			for _, d := range r.Strings(e.Value) {
				to := d.Value
				if host, _, _ := strings.Cut(to, ":"); strings.HasPrefix(host, "*") && strings.Count(host, ".") < 2 {
					r.note(p, d, to, "sandbox-runtime itself takes nothing so wide")
					continue
				}
				if !hasPort(to) {
					to, anyPort = to+":443", true
				}
				r.grant(p, "egress", to, d, "srt network.allowedDomains")
			}
		case "deniedDomains":
			for _, d := range r.Strings(e.Value) {
				to := d.Value
				// To forbid the domain itself with what is below it is tighter.
				if strings.HasPrefix(to, "*.") {
					to = "*" + to
				}
				r.deny(p, to, d, "srt network.deniedDomains")
			}
		case "allowLocalBinding":
			if binds = e.Value.Value == "true"; binds {
				r.note(p, e.At, e.Key+": true", "listening on loopback is free here as long as no list listen stands; beyond loopback it needs a grant")
			}
		case "allowUnixSockets", "allowAllUnixSockets":
			r.note(p, e.At, e.Key, "no equal: sockets of Unix are no destinations here")
		case "deniedDomainReasons":
		default:
			r.note(p, e.At, "network."+e.Key, "no equal: a setting of the sandbox's proxy")
		}
	}
	if anyPort {
		r.note(p, n, "a domain without a port", "any port there; 443 is granted here, write another where it is needed")
	}
	if !binds {
		p.Limits = append(p.Limits, "listen")
	}
}

// hasPort reports whether a domain pattern ends in a port: of an IPv6 address
// only behind its bracket.
func hasPort(s string) bool {
	if i := strings.LastIndexByte(s, ']'); i >= 0 {
		s = s[i:]
	}
	return strings.Contains(s, ":")
}

func sandboxFiles(r *reader, p *Part, n *yaml.Node) {
	p.Limits = append(p.Limits, "write") // what is not listed is not written
	var denied []*yaml.Node
	if d := value(n, "denyWrite"); d != nil {
		denied = r.Strings(d)
	}
	for _, e := range r.Any(n) {
		switch e.Key {
		case "allowWrite":
			for _, a := range r.Strings(e.Value) {
				sandboxWrite(r, p, a, denied)
			}
		case "denyWrite":
			r.note(p, e.At, e.Key, "a policy takes no file out of what is granted; folders that hold such a file are not granted")
		case "denyRead", "allowRead":
			r.note(p, e.At, e.Key, "no equal: reading is not limited, except that of credentials, which needs a grant")
		default:
			r.note(p, e.At, "filesystem."+e.Key, "no equal")
		}
	}
}

// sandboxWrite grants what is below a path, unless a part of it is denied.
func sandboxWrite(r *reader, p *Part, a *yaml.Node, denied []*yaml.Node) {
	clean, why := sandboxPath(a.Value)
	if why != "" {
		r.note(p, a, a.Value, why)
		return
	}
	for _, d := range denied {
		below, why := sandboxPath(d.Value)
		// What cannot be placed may lie anywhere.
		if why != "" || within(clean, below) || within(below, clean) {
			r.note(p, a, a.Value, "not granted: "+document.Quote(d.Value)+" of denyWrite lies in it or may; list the folders beside that one")
			return
		}
	}
	pattern := "**"
	switch {
	case clean == "/":
		pattern = "/**"
	case clean != ".":
		pattern = clean + "/**"
	}
	r.grant(p, "write", pattern, a, "srt filesystem.allowWrite")
}

// sandboxPath returns a path in its shortest form, or why it has none here.
func sandboxPath(s string) (clean, why string) {
	switch {
	case s == "":
		return "", "empty"
	case strings.HasPrefix(s, "~"):
		return "", "~ is not read in a policy: write the path of the home folder"
	case strings.ContainsAny(s, "*?[]{}!"):
		return "", "a pattern: on Linux the sandbox takes none here, so it grants nothing"
	case strings.Contains(s, `\`):
		return "", "a path of Windows"
	}
	clean = path.Clean(s)
	if clean == ".." || strings.HasPrefix(clean, "../") {
		return "", "it lies above the workspace: write the absolute path"
	}
	return clean, ""
}

// within reports whether a path is another or lies below it. A relative one and
// an absolute one may meet, since where the workspace lies is not known.
func within(folder, p string) bool {
	if path.IsAbs(folder) != path.IsAbs(p) {
		return true
	}
	return folder == "." || folder == "/" || p == folder || strings.HasPrefix(p, folder+"/")
}
