package judge

import (
	"path"
	"strings"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/fact"
	"github.com/org/edamame-posture/pkg/indicator"
	"github.com/org/edamame-posture/pkg/process"
)

// indicator finds in an event what known attacks left.
func (j *Judge) indicator(ev *event.Event, n *process.Node, f *fact.Fact) {
	set := j.pack.Indicators()
	if set == nil {
		return
	}
	switch ev.Kind {
	case event.Connect, event.Send:
		host := j.input.Host
		if f != nil && !f.Host.IsZero() {
			host = f.Host.String()
		}
		if e, at := set.Addr(ev.Dst.Addr()); e != nil {
			j.indicated(e, strings.TrimSuffix(strings.TrimSuffix(at.String(), "/32"), "/128"), ev, n)
		} else if e, at := set.Host(host); e != nil {
			j.indicated(e, at, ev, n)
		}
	case event.DNS, event.TLS, event.HTTP:
		// What is listed is the object: there may be any number of names below it.
		if e, at := set.Host(strings.ToLower(ev.Name.String())); e != nil {
			j.indicated(e, at, ev, n)
		}
	case event.Exec:
		j.packages(set, ev, n)
	case event.Digest:
		if e := set.File(ev.SHA256); e != nil {
			j.indicated(e, "sha256:"+ev.SHA256.String(), ev, n)
		}
	}
}

// packages finds a package of a known attack: one whose script runs (npm says
// its name and version), or that a package manager is told to install.
func (j *Judge) packages(set *indicator.Set, ev *event.Event, n *process.Node) {
	name, version := "", ""
	for i := range ev.Env {
		switch {
		case ev.Env[i].Name.Is("npm_package_name"):
			name = ev.Env[i].Value.String()
		case ev.Env[i].Name.Is("npm_package_version"):
			version = ev.Env[i].Value.String()
		}
	}
	if name != "" {
		if e := set.Package("npm", name, version); e != nil {
			j.indicated(e, "npm "+name+"@"+version, ev, n)
		}
	}
	kind := ""
	for i := range ev.Argv[:min(len(ev.Argv), maxArgv)] {
		arg := ev.Argv[i].String()
		if kind == "" {
			if i < 3 { // the interpreter, its option, the program
				kind = managers[strings.TrimSuffix(path.Base(arg), ".js")]
			}
			continue
		}
		name, version, ok := strings.Cut(arg, "==")
		if !ok {
			at := strings.LastIndexByte(arg, '@')
			if at < 1 {
				continue
			}
			name, version = arg[:at], arg[at+1:]
		}
		if e := set.Package(kind, name, version); e != nil {
			j.indicated(e, kind+" "+name+"@"+version, ev, n)
		}
	}
}

// managers are the package managers whose arguments are read, and the type of
// package URL of what they install.
var managers = map[string]string{
	"npm": "npm", "npm-cli": "npm", "npx": "npm", "npx-cli": "npm", "pnpm": "npm", "yarn": "npm", "bun": "npm", "bunx": "npm",
	"pip": "pypi", "pip3": "pypi", "pipx": "pypi", "uv": "pypi", "uvx": "pypi", "poetry": "pypi", "gem": "gem", "go": "golang", "composer": "composer",
}

func (j *Judge) indicated(e *indicator.Entry, object string, ev *event.Event, n *process.Node) {
	source := e.Source
	if e.Date != "" {
		source += ", " + e.Date
	}
	j.find(&Finding{
		Rule: "indicator", Title: "Known from an attack: " + e.Incident, Severity: Severity(e.Severity),
		Technique: []string{"T1195"}, Object: object,
		First: ev.Time, Last: ev.Time, Count: 1, Leaves: []uint64{ev.Seq},
		Do: "Take every secret that this machine could read as stolen, and find out what brought it here. Known by: " + source + ".",
	}, n)
}
