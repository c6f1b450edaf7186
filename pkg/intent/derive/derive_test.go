package derive

import (
	"bytes"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/org/edamame-posture/pkg/intent"
)

var update = flag.Bool("update", false, "write the expected texts anew")

func repository(t *testing.T, name string) *Derivation {
	t.Helper()
	file := ".github/workflows/" + name
	tree := os.DirFS("testdata/repo")
	data, err := os.ReadFile("testdata/repo/" + file)
	if err != nil {
		t.Fatal(err)
	}
	d, err := Workflow(file, data, tree)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestWorkflowsOfManyKindsDeriveWhatIsExpected(t *testing.T) {
	files, err := filepath.Glob("testdata/repo/.github/workflows/*.yml")
	if err != nil || len(files) < 20 {
		t.Fatalf("%d workflows, %v; want 20 at least", len(files), err)
	}
	for _, f := range files {
		name := filepath.Base(f)
		t.Run(name, func(t *testing.T) {
			d := repository(t, name)
			got := d.Text()
			golden := filepath.Join("testdata", "derived", name)
			if *update {
				if err := os.WriteFile(golden, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("derived:\n%s\nwant:\n%s", got, want)
			}
			// What is printed is a policy that says the same.
			written, err := intent.Parse(name, got)
			if err != nil {
				t.Fatalf("what was derived does not parse: %v\n%s", err, got)
			}
			derived, err := d.Policy()
			if err != nil {
				t.Fatal(err)
			}
			for _, job := range derived.Jobs() {
				a, err := derived.Resolve(job)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := intent.ReadResolved(a.Canonical()); err != nil {
					t.Errorf("job %s: the evidence could not hold it: %v", job, err)
				}
				if _, err := written.Resolve(job); err != nil {
					t.Errorf("job %s: %v", job, err)
				}
			}
		})
	}
}

func TestNothingIsGrantedForWhatIsNotUnderstood(t *testing.T) {
	d := repository(t, "hostile.yml")
	for _, g := range d.Jobs[0].Grants {
		for _, never := range []string{"one.example.org", "two.example.org", "collector.example.net", "*"} {
			if g.Key == "egress" && strings.HasPrefix(g.Object, never) {
				t.Errorf("%s was granted: %s", never, g.Line())
			}
		}
	}
	whys := map[string]string{}
	for _, l := range d.Jobs[0].Left {
		whys[l.Text] += l.Why
	}
	for text, why := range map[string]string{
		"acme/unknown@v1":      "not in the catalogue",
		"| bash":               "comes in by the pipe",
		"https://.../x":        "at run time",
		"if then":              "not a script",
		"| sh":                 "comes in by the pipe",
		"python3 -c import os": "not looked at",
	} {
		if !strings.Contains(whys[text], why) {
			t.Errorf("%q: told %q, want %q; all: %q", text, whys[text], why, whys)
		}
	}
}

func TestFilesOfTheRepositoryAreFollowedOnce(t *testing.T) {
	d := repository(t, "composite.yml")
	text := string(d.Text())
	for _, want := range []string{
		`{to: "dl.example.com:443", by: [wget]}`, `{to: "mirror.example.com:443", by: [curl]}`,
		".github/actions/prepare/action.yml:9", "scripts/build.sh:3", "it leads back to itself",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
}

func TestWithoutTheRepositoryItsFilesAreListed(t *testing.T) {
	d, err := Workflow("w.yml", []byte("on: push\njobs:\n  a:\n    steps:\n    - uses: ./x\n    - run: ./y.sh\n  b: {uses: ./z.yml}\n"), nil)
	if err != nil {
		t.Fatal(err)
	}
	left := len(d.Jobs[0].Left) + len(d.Jobs[1].Left)
	if left != 3 {
		t.Errorf("%d parts are listed, want 3: %+v", left, d.Jobs)
	}
}

func TestVariablesThatNameAMirrorGrantIt(t *testing.T) {
	d, err := Workflow("w.yml", []byte(`on: push
env: {GOPROXY: "https://go.example.com/mod,direct"}
jobs:
  a:
    env: {HTTPS_PROXY: "http://user:pw@proxy.example.com:3128"}
    steps:
      - env: {npm_config_registry: "https://npm.example.com/"}
        run: |
          export PIP_INDEX_URL=https://pip.example.com:8443/simple
          export UV_INDEX_URL=https://${{ vars.HOST }}/
`), nil)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, g := range d.Jobs[0].Grants {
		if g.Key == "egress" {
			got = append(got, g.Object)
		}
	}
	slices.Sort(got)
	want := []string{"go.example.com:443", "npm.example.com:443", "pip.example.com:8443", "proxy.example.com:3128"}
	if !slices.Equal(got, want) {
		t.Errorf("granted %q, want %q", got, want)
	}
	if len(d.Jobs[0].Left) != 1 || !strings.Contains(d.Jobs[0].Left[0].Why, "at run time") {
		t.Errorf("listed: %+v", d.Jobs[0].Left)
	}
}

// Ways to say a thing that are easily misread.
func TestWhatShellsMeanIsUnderstood(t *testing.T) {
	for script, want := range map[string]struct{ granted, told string }{
		"sudo env A=b timeout 5 apt-get update":            {"root apt-get", ""},
		"sudo nohup bash -c true":                          {"", "power for bash"},
		"sudo find / -exec curl https://a.example/x {} +":  {"egress a.example:443", "power for find"},
		`find . -name x -exec wget http://b.example/{} \;`: {"egress b.example:80", ""},
		"bash -euo pipefail -c 'curl https://c.example/'":  {"egress c.example:443", ""},
		"awk 'BEGIN { system(\"curl x\") }'":               {"", "not looked at"},
		"echo ${{ x; curl https://d.example/":              {"egress d.example:443", ""},
		"(cd scripts && true); ./scripts/build.sh":         {"egress mirror.example.com:443", ""},
		"x=$(cd scripts && pwd); ./scripts/build.sh":       {"egress mirror.example.com:443", ""},
		"cd scripts; ./build.sh":                           {"egress mirror.example.com:443", ""},
		"(cd scripts; ./build.sh)":                         {"egress mirror.example.com:443", ""},
	} {
		cat, err := known()
		if err != nil {
			t.Fatal(err)
		}
		b := &builder{cat: cat, tree: os.DirFS("testdata/repo")}
		b.run("w.yml", &step{run: script}, nil)
		var granted, told []string
		for _, g := range b.grants {
			granted = append(granted, g.Key+" "+g.Object)
		}
		for _, l := range b.left {
			told = append(told, l.Why)
		}
		if want.granted != "" && !slices.Contains(granted, want.granted) {
			t.Errorf("%s: granted %q, want %s; listed %q", script, granted, want.granted, told)
		}
		if want.granted == "" && len(granted) > 0 {
			t.Errorf("%s: granted %q", script, granted)
		}
		if want.told != "" && !strings.Contains(strings.Join(told, "; "), want.told) {
			t.Errorf("%s: listed %q, want %q", script, told, want.told)
		}
	}
}

func TestEachCatalogueRowCanStandInAPolicy(t *testing.T) {
	cat, err := known()
	if err != nil {
		t.Fatal(err)
	}
	if len(cat.actions) < 60 {
		t.Errorf("%d actions, want 60 at least", len(cat.actions))
	}
	rows := 0
	check := func(name string, r need, by []string) {
		b := &builder{cat: cat}
		b.needs(&r, name, by, intent.Origin{File: "f", Line: 1, Kind: workflowKind})
		for _, l := range b.left {
			t.Errorf("%s: %s: %s", name, l.Text, l.Why)
		}
		rows++
	}
	for name, r := range cat.actions {
		check(name, r, nil)
	}
	for name, list := range cat.commands {
		for _, r := range list {
			check(strings.Join(r.words, " "), r, []string{name})
			if cat.harmless[name] {
				t.Errorf("%s is in both lists", name)
			}
		}
	}
	if rows < 200 {
		t.Errorf("%d rows were looked at", rows)
	}
}

func TestPlacesOfErrorsAreTold(t *testing.T) {
	for text, want := range map[string]string{
		"on: push\n":                            `w.yml:1:1: no "jobs"`,
		"on: push\njobs: [a]\n":                 "w.yml:2:7",
		"on: push\njobs:\n  a:\n    steps: x\n": "w.yml:4:12",
		"":                                      "want one document",
		"jobs:\n  a: {}\n  a: {}\n":             "w.yml:3:3",
	} {
		_, err := Workflow("w.yml", []byte(text), nil)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

// Whatever stands in a workflow: no panic, and what is printed is a policy.
func FuzzWorkflow(f *testing.F) {
	files, _ := filepath.Glob("testdata/repo/.github/workflows/*.yml")
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	tree := os.DirFS("testdata/repo")
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := Workflow("w.yml", data, tree)
		if err != nil {
			return
		}
		if _, err := d.Policy(); err != nil {
			t.Fatalf("the policy: %v", err)
		}
		text := d.Text()
		if len(d.Jobs) == 0 {
			return
		}
		if _, err := intent.Parse("derived", text); err != nil && len(text) < 1<<20 {
			t.Fatalf("%v\n%s", err, text)
		}
	})
}

func TestStepsStandWhereTheRunnersIdsSay(t *testing.T) {
	const text = "on: push\njobs:\n  one:\n    runs-on: x\n    steps:\n      - uses: actions/checkout@v5\n      - run: make\n      - {id: test, run: make test}\n" +
		"      - run: make more\n      - uses: ./here\n      - uses: docker://alpine:3\n  two:\n    runs-on: x\n    steps: [{run: x}]\n"
	got, err := Steps("ci.yml", []byte(text), "one")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]int{"__actions_checkout": 6, "__run": 7, "test": 8, "__run_2": 9, "__self": 10, "__alpine_3": 11, "0": 6, "1": 7, "2": 8, "3": 9, "4": 10, "5": 11}
	if !maps.Equal(got, want) {
		t.Errorf("steps are %v, want %v", got, want)
	}
	for _, job := range []string{"", "three"} {
		if got, err := Steps("ci.yml", []byte(text), job); err != nil || len(got) > 0 {
			t.Errorf("job %q: %v, %v", job, got, err)
		}
	}
	if _, err := Steps("ci.yml", []byte("version: 1\n"), ""); err == nil || !strings.Contains(err.Error(), "ci.yml:1:1") {
		t.Errorf("what is no workflow: %v", err)
	}
}

// Scripts are read apart, where the fuzzer meets them sooner.
func FuzzScript(f *testing.F) {
	for _, s := range []string{"curl https://a.example/x | sh", "A=b; ssh $A", "for x in a; do sudo -u y apt-get z > /etc/q; done", "eval 'wget http://[::1]:80/'", "cat <<E\nE\nbash -c 'x'"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		cat, err := known()
		if err != nil {
			t.Fatal(err)
		}
		b := &builder{cat: cat}
		b.run("w.yml", &step{run: s, block: true}, map[string]string{"E": "${{ x }}"})
		for _, g := range b.grants {
			if err := g.Check(); err != nil {
				t.Fatalf("%s: %v", g.Line(), err)
			}
		}
	})
}
