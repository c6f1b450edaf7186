package judge_test

import (
	"slices"
	"testing"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/fact/facttest"
	"github.com/org/edamame-posture/pkg/indicator"
	"github.com/org/edamame-posture/pkg/judge"
	"github.com/org/edamame-posture/pkg/redact"
	"github.com/org/edamame-posture/pkg/signature"
)

func TestWhatAKnownAttackLeftIsFoundByItsName(t *testing.T) {
	pack := rules(t)
	own := indicator.New()
	if err := own.Add("own.yml", []byte("version: 1\nindicators:\n  - {incident: our own, severity: high, hosts: [bad.example], addresses: [203.0.113.66], sha256: [\""+facttest.Digest(7).String()+"\"]}\n")); err != nil {
		t.Fatal(err)
	}
	pack, err := pack.WithIndicators(own)
	if err != nil {
		t.Fatal(err)
	}
	// What is stored with the evidence finds the same.
	again, err := signature.ReadPack(pack.Canonical())
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		tell func(l *facttest.Log, n event.Actor)
		want []string
	}{
		"a host of the list that ships": {func(l *facttest.Log, n event.Actor) {
			l.Resolve(n, "www.sfrclak.com", "203.0.113.9")
		}, []string{"critical Known from an attack: axios RAT: sfrclak.com"}},
		"a host of one's own list, connected to": {func(l *facttest.Log, n event.Actor) {
			l.Resolve(n, "cdn.bad.example", "203.0.113.9")
			l.Send(n, "203.0.113.9:443", 10)
		}, []string{"high Known from an attack: our own: bad.example"}},
		"an address": {func(l *facttest.Log, n event.Actor) {
			l.Send(n, "203.0.113.66:443", 10)
		}, []string{"high Known from an attack: our own: 203.0.113.66"}},
		"a package that is asked for": {func(l *facttest.Log, n event.Actor) {
			l.Run(n, "/usr/bin/node", "node", "/usr/bin/npm", "install", "axios@1.14.1", "axios@1.14.0")
			l.Run(n, "/usr/bin/python3", "python3", "-m", "pip", "install", "litellm==1.82.8")
		}, []string{"critical Known from an attack: LiteLLM (TeamPCP): pypi litellm@1.82.8", "critical Known from an attack: axios RAT: npm axios@1.14.1"}},
		"a file, executed under any name": {func(l *facttest.Log, n event.Actor) {
			l.Holds(l.Run(n, "/tmp/innocent", "innocent"), 7)
		}, []string{"high Known from an attack: our own: sha256:" + facttest.Digest(7).String()}},
		"a file with another digest, and one without": {func(l *facttest.Log, n event.Actor) {
			l.Holds(l.Run(n, "/tmp/innocent", "innocent"), 8)
			l.Holds(l.Run(n, "/tmp/other", "other"), 0)
		}, nil},
		"names that only look alike": {func(l *facttest.Log, n event.Actor) {
			l.Resolve(n, "notsfrclak.com", "203.0.113.9")
			l.Run(n, "/usr/bin/echo", "echo", "axios@1.14.1")
		}, nil},
	} {
		for _, p := range []*signature.Pack{pack, again} {
			l := facttest.New("/bin/sh", "sh")
			c.tell(l, l.Root)
			l.End(0)
			j := judge.New(nil, p)
			for i := range l.Events {
				j.Apply(&l.Events[i])
			}
			var got []string
			for _, f := range j.Verdict().Findings {
				if f.Rule == "indicator" {
					got = append(got, string(f.Severity)+" "+f.Title+": "+f.Object)
				}
			}
			slices.Sort(got)
			if !slices.Equal(got, c.want) {
				t.Errorf("%s: %q, want %q", name, got, c.want)
			}
		}
	}
}

func TestAPackageOfAKnownAttackIsFoundByItsScript(t *testing.T) {
	l := facttest.New("/bin/sh", "sh")
	l.Run(l.Root, "/bin/sh", "sh", "-c", "node setup.js")
	for i := range l.Events {
		if e := &l.Events[i]; e.Kind == event.Exec && len(e.Argv) == 3 {
			e.Env = []event.Var{{Name: redact.Const("npm_package_name"), Value: redact.Const("plain-crypto-js")},
				{Name: redact.Const("npm_package_version"), Value: redact.Const("4.2.1")}}
		}
	}
	l.End(0)
	j := judge.New(nil, rules(t))
	for i := range l.Events {
		j.Apply(&l.Events[i])
	}
	if !slices.ContainsFunc(j.Verdict().Findings, func(f judge.Finding) bool {
		return f.Rule == "indicator" && f.Object == "npm plain-crypto-js@4.2.1"
	}) {
		t.Errorf("%+v", j.Verdict().Findings)
	}
}
