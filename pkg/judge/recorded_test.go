package judge_test

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/intent"
	"github.com/org/edamame-posture/pkg/judge"
	"github.com/org/edamame-posture/pkg/signature"
)

// The folders hold evidence of real commands, as `run` left it: the log, the
// inputs that it was judged with, and the verdict that the judge of that time
// gave. What stood around the commands was renamed.
//
//	npm-install  npm install of express, pass
//	go-build     go build of a program with fmt, and a write that its policy forgot, review
//	attack       npm install of a package whose script reads a key and sends it away, fail
//
// They are never written anew: a change of the judge that gives other bytes for
// any of them is a new version of it, and the version that they name stays.
func TestRecordedEvidenceKeepsItsVerdict(t *testing.T) {
	verdicts, err := filepath.Glob("testdata/recorded/*/verdict.json")
	if err != nil || len(verdicts) < 3 {
		t.Fatalf("%d recordings, %v", len(verdicts), err)
	}
	for _, name := range verdicts {
		dir := filepath.Dir(name)
		t.Run(filepath.Base(dir), func(t *testing.T) {
			read := func(name string) []byte {
				b, err := os.ReadFile(filepath.Join(dir, name))
				if err != nil {
					t.Fatal(err)
				}
				return b
			}
			in, err := intent.ReadResolved(read("intent.json"))
			if err != nil {
				t.Fatal(err)
			}
			pack, err := signature.ReadPack(read("signatures.json"))
			if err != nil {
				t.Fatal(err)
			}
			want := read("verdict.json")
			var kept struct {
				Inputs struct {
					Judge struct{ Name, Version string }
				}
				Coverage struct{ Events uint64 }
			}
			if err := json.Unmarshal(want, &kept); err != nil {
				t.Fatal(err)
			}
			j, err := judge.NewVersion(kept.Inputs.Judge.Name+"/"+kept.Inputs.Judge.Version, in, pack)
			if err != nil {
				t.Fatal(err)
			}
			var ev event.Event
			for line := range bytes.Lines(unpacked(t, filepath.Join(dir, "log.jsonl.zst"))) {
				if err := event.Decode(bytes.TrimSuffix(line, []byte("\n")), &ev); err != nil {
					t.Fatal(err)
				}
				j.Apply(&ev)
			}
			v := j.Verdict()
			if v.Coverage.Events < 30 {
				t.Errorf("a log of %d events", v.Coverage.Events)
			}
			if diff := cmp.Diff(string(want), string(v.Encode())); diff != "" {
				t.Errorf("-kept +now\n%s", diff)
			}
		})
	}
}

// unpacked reads the lines of a log.
func unpacked(tb testing.TB, name string) []byte {
	tb.Helper()
	f, err := os.Open(name)
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	d, err := zstd.NewReader(f)
	if err != nil {
		tb.Fatal(err)
	}
	defer d.Close()
	log, err := io.ReadAll(d)
	if err != nil {
		tb.Fatal(err)
	}
	return log
}

func TestAVersionThatIsNotThereIsNotGuessed(t *testing.T) {
	for _, version := range []string{"judge/999", "judge/", "", "1"} {
		if _, err := judge.NewVersion(version, nil, nil); err == nil || !strings.Contains(err.Error(), "cannot be computed again") {
			t.Errorf("%q: %v", version, err)
		}
	}
	if _, err := judge.NewVersion(judge.Version, nil, nil); err != nil {
		t.Error(err)
	}
}
