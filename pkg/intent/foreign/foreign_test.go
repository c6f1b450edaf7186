package foreign_test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/org/edamame-posture/pkg/intent"
	"github.com/org/edamame-posture/pkg/intent/document"
	"github.com/org/edamame-posture/pkg/intent/foreign"
)

var update = flag.Bool("update", false, "write the expected texts anew")

func TestEachFormatIsKnownByItsContentAndSaysWhereEachLineIsFrom(t *testing.T) {
	files, err := filepath.Glob("testdata/in/*")
	if err != nil || len(files) < 5 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		t.Run(filepath.Base(f), func(t *testing.T) {
			data, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			i, err := foreign.Read(filepath.Base(f), data)
			if err != nil {
				t.Fatal(err)
			}
			got := i.Text()
			golden := filepath.Join("testdata/want", filepath.Base(f)+".yml")
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
				t.Errorf("imported:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}

func TestAnImportIsNeverWiderThanItsSource(t *testing.T) {
	for _, c := range []struct {
		name, in   string
		has, hasNo []string
	}{
		{"audit mode allows nothing that is not listed", "jobs: {a: {steps: [{uses: bullfrogsec/bullfrog@v0}]}}",
			[]string{"egress-policy: audit", "fail-on: never"}, []string{"egress:", `"*`}},
		{"audit mode of all jobs fails none", "jobs: {a: {steps: [{uses: step-security/harden-runner@v2, with: {egress-policy: audit}}]}, b: {steps: [{uses: step-security/harden-runner@v2, with: {egress-policy: audit}}]}}",
			[]string{"\nfail-on: never # "}, nil},
		{"of one job it is no reason to spare the other", "jobs: {a: {steps: [{uses: step-security/harden-runner@v2, with: {egress-policy: audit}}]}, b: {steps: [{uses: step-security/harden-runner@v2}]}}",
			nil, []string{"fail-on"}},
		{"a domain without a port gets 443", `{"network": {"allowedDomains": ["a.example"]}}`,
			[]string{`- "a.example:443"`, "any port there"}, []string{":*"}},
		{"what its own program refuses is not granted", `{"network": {"allowedDomains": ["*", "*:443", "*.com", "*.a.example"]}}`,
			[]string{`- "*.a.example:443"`, "takes nothing so wide"}, []string{`"*:443"`, `"*.com`}},
		{"no domains are no hosts", `{"network": {}, "filesystem": {}}`, []string{"write: []", "listen: []"}, []string{"egress"}},
		{"a folder that holds what is denied is not granted", `{"filesystem": {"allowWrite": ["."], "denyWrite": [".env"]}}`,
			[]string{"write: []", `not granted`}, []string{"- "}},
		{"nor one where it may lie", `{"filesystem": {"allowWrite": ["src"], "denyWrite": ["**/secret"]}}`, []string{"write: []"}, []string{"- "}},
		{"a folder beside it is", `{"filesystem": {"allowWrite": ["src"], "denyWrite": ["srcs", "/etc"]}}`, []string{"write: []"}, []string{"- src"}},
		{"what is made at run time is not known", "jobs: {a: {steps: [{uses: step-security/harden-runner@v2, with: {allowed-endpoints: '${{ x }}'}}]}}",
			[]string{"made at run time"}, []string{"egress:"}},
		{"gh-aw without network gets its defaults", "---\non: push\n---\n", []string{"- pki"}, []string{"egress:"}},
		{"and with an empty one nothing", "---\non: push\nnetwork: {}\n---\n", nil, []string{"use:", "egress:"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			i, err := foreign.Read("f", []byte(c.in))
			if err != nil {
				t.Fatal(err)
			}
			text := string(i.Text())
			// Comments may say what could be added.
			var lines []string
			for _, l := range strings.Split(text, "\n") {
				before, _, _ := strings.Cut(l, "#")
				lines = append(lines, before)
			}
			for _, h := range c.has {
				if !strings.Contains(text, h) {
					t.Errorf("lacks %q:\n%s", h, text)
				}
			}
			for _, h := range c.hasNo {
				if strings.Contains(strings.Join(lines, "\n"), h) {
					t.Errorf("has %q:\n%s", h, text)
				}
			}
		})
	}
}

func TestWhatCannotBeReadIsToldWithWhatToDo(t *testing.T) {
	for name, c := range map[string]struct{ in, want string }{
		"a workflow without a guard": {"jobs: {a: {steps: []}}", "intent derive"},
		"other JSON":                 {`{"a": 1}`, "no settings of sandbox-runtime"},
		"other Markdown":             {"---\ntitle: x\n---\ntext\n", "no gh-aw workflow"},
		"empty":                      {"", "want one document"},
		"a deny that cannot be said": {"---\non: push\nnetwork: {allowed: [a.example], blocked: [fonts]}\n---\n", "write its domains under blocked"},
		"too long":                   {strings.Repeat("a", document.MaxBytes+1), "are read at most"},
	} {
		if _, err := foreign.Read("f", []byte(c.in)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// Whatever is read: it ends without panic, and what comes out is a policy.
func FuzzRead(f *testing.F) {
	files, _ := filepath.Glob("testdata/in/*")
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		i, err := foreign.Read("f", data)
		if err != nil {
			return
		}
		p, err := intent.Parse("f", i.Text())
		if err != nil {
			t.Fatalf("%v\n%s", err, i.Text())
		}
		granted := 0
		for _, part := range append(i.Jobs, i.Top) {
			granted += len(part.Grants)
		}
		for _, job := range append(p.Jobs(), "") {
			in, err := p.Resolve(job)
			if err != nil {
				t.Fatal(err)
			}
			if granted == 0 && len(in.Entries()) > len(i.Top.Denies) {
				t.Fatalf("grants appear from nowhere:\n%s", i.Text())
			}
		}
	})
}
