package judge_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/judge"
)

// FuzzJudge gives the judge logs that no monitor would write. It must come to
// a verdict of the schema, the same one twice, and never a pass of a log that
// has no end.
func FuzzJudge(f *testing.F) {
	logs, err := filepath.Glob("testdata/*.jsonl")
	if err != nil || len(logs) == 0 {
		f.Fatal("no logs to begin with")
	}
	logs = append(logs, "../event/testdata/vectors.jsonl")
	for _, name := range logs {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	schema, err := jsonschema.NewCompiler().Compile("../../docs/verdict.schema.json")
	if err != nil {
		f.Fatal(err)
	}
	in, pack := resolved(f, policy), rules(f)
	f.Fuzz(func(t *testing.T, log []byte) {
		var first []byte
		for range 2 {
			j, ended := judge.New(in, pack), false
			var ev event.Event
			for line := range bytes.Lines(log) {
				if event.Decode(bytes.TrimSuffix(line, []byte("\n")), &ev) != nil {
					continue
				}
				ended = ended || ev.Kind == event.End
				j.Apply(&ev)
			}
			v := j.Verdict()
			if v.Verdict == judge.Pass && !ended {
				t.Fatal("a log without end passes")
			}
			b := v.Encode()
			if first == nil {
				first = b
			} else if !bytes.Equal(first, b) {
				t.Fatalf("two verdicts:\n%s\n%s", first, b)
			}
			doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
			if err == nil {
				err = schema.Validate(doc)
			}
			if err != nil {
				t.Fatalf("%v\n%s", err, b)
			}
		}
	})
}
