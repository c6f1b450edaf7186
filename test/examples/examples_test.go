// Package examples checks that what we show people works as shown.
package examples

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/org/edamame-posture/pkg/intent"
)

func TestEveryPolicyWeShowCanBeUsed(t *testing.T) {
	files, err := filepath.Glob("../../examples/intents/*.yml")
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
