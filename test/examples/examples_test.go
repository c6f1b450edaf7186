// Package examples checks that what we show people works as shown.
package examples

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/org/edamame-posture/pkg/intent"
	"github.com/org/edamame-posture/pkg/signature"
)

func TestEveryPolicyWeShowCanBeUsed(t *testing.T) {
	files, err := filepath.Glob("../../examples/intent/*.yml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no examples: %v", err)
	}
	for _, f := range append(files, "../../.github/posture.yml") {
		t.Run(filepath.Base(f), func(t *testing.T) {
			data, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			p, err := intent.Parse(f, data)
			if err != nil {
				t.Fatal(err)
			}
			for _, job := range append(p.Jobs(), "") {
				if job == "" && len(p.Jobs()) > 0 {
					continue
				}
				r, err := p.Resolve(job)
				if err != nil {
					t.Errorf("job %q: %v", job, err)
					continue
				}
				if !r.Present() {
					t.Errorf("job %q declares nothing", job)
				}
			}
		})
	}
}

// full.yml is the one that has them all.
func TestTheFullExampleHasEveryKey(t *testing.T) {
	var schema any
	b, err := os.ReadFile("../../docs/policy.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &schema); err != nil {
		t.Fatal(err)
	}
	keys := map[string]bool{}
	properties(schema, keys)
	if len(keys) < 20 {
		t.Fatalf("the schema has %d keys", len(keys))
	}
	full, err := os.ReadFile("../../examples/intent/full.yml")
	if err != nil {
		t.Fatal(err)
	}
	for k := range keys {
		if !regexp.MustCompile(`(?m)(^|[ {])` + regexp.QuoteMeta(k) + `:`).Match(full) {
			t.Errorf("%s: is in the schema and not in the example", k)
		}
	}
	p, err := intent.Parse("full.yml", full)
	if err != nil {
		t.Fatal(err)
	}
	pack, err := signature.Default()
	if err != nil {
		t.Fatal(err)
	}
	var rules []string
	for _, r := range pack.Rules() {
		rules = append(rules, r.ID)
	}
	day := time.Date(2026, 11, 25, 0, 0, 0, 0, time.UTC)
	if err := p.CheckSuppressions(day.UnixNano(), rules); err != nil {
		t.Error(err)
	}
}

// properties gathers the names of all properties of a JSON Schema.
func properties(v any, into map[string]bool) {
	switch v := v.(type) {
	case map[string]any:
		for k, inner := range v {
			if p, ok := inner.(map[string]any); ok && k == "properties" {
				for name := range p {
					into[name] = true
				}
			}
			properties(inner, into)
		}
	case []any:
		for _, inner := range v {
			properties(inner, into)
		}
	}
}
