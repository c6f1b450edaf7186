package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/org/edamame-posture/pkg/evidence"
	"github.com/org/edamame-posture/pkg/judge"
)

// maxVerdict bounds a verdict.json that is read, in bytes.
const maxVerdict = 64 << 20

func replayCommand() *cobra.Command {
	var intentFile, job, out string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "replay DIR",
		Short: "Compute the verdict again from the evidence, and compare",
		Long: `Computes the verdict again from the evidence in a folder of results and compares
it with the verdict.json there. The inputs are those of the evidence, unless
another intent is given: then there is nothing to compare, and the new verdict
is told.

Exit code: 0 the same, 1 different (the first difference is named), 2 unreadable,
5 there is no evidence. With --intent: 0 the new verdict is pass or review, 1 it is fail.`,
		Example: "  edamame-posture replay .posture\n  edamame-posture replay --intent stricter.yml --json .posture",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if job != "" && intentFile == "" {
				return errors.New("--job is one of the policy that --intent names, which is not given")
			}
			dir := args[0]
			ev := filepath.Join(dir, evidenceDir)
			if _, err := os.Stat(ev); errors.Is(err, os.ErrNotExist) {
				return exit(exitNothing, fmt.Errorf("there is no evidence in %s", dir))
			}
			e, err := openAny(ev)
			if err != nil {
				return err
			}
			defer e.Close()
			in, err := e.Inputs()
			if err != nil {
				return err
			}
			if intentFile != "" {
				read, err := readPolicy(intentFile, job, false)
				if err != nil {
					return err
				}
				in.Intent = read.Resolved
			}
			j, err := e.Replay(in)
			if err != nil {
				return err
			}
			got := j.Verdict().Encode()
			if out != "" {
				if err := writeNew(out, got); err != nil {
					return err
				}
			}
			w := cmd.OutOrStdout()
			if asJSON {
				if _, err := w.Write(got); err != nil {
					return err
				}
			}
			if intentFile != "" {
				v := j.Verdict()
				if !asJSON {
					fmt.Fprintf(w, "%s, score %d, with %s\n", v.Verdict, v.Score, intentFile)
				}
				if v.Verdict == judge.Fail {
					return exit(exitNo, nil)
				}
				return nil
			}
			want, err := evidence.ReadResult(filepath.Join(dir, verdictFile), maxVerdict)
			if err != nil {
				return err
			}
			if bytes.Equal(got, want) {
				if !asJSON {
					fmt.Fprintf(w, "the same verdict, byte for byte: %s (%s, %d events)\n", j.Verdict().Verdict, cmp.Or(e.Manifest().Judge, judge.Version), e.Manifest().Tree.Size)
				}
				return nil
			}
			return exit(exitNo, fmt.Errorf("the verdict in %s is not what the evidence comes to: %s", dir, firstDifference(want, got)))
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&intentFile, "intent", "", "judge with the policy in `FILE` instead")
	fl.StringVar(&job, "job", "", "name of the job in that policy")
	fl.StringVar(&out, "out", "", "write the verdict to this new `FILE`")
	fl.BoolVar(&asJSON, "json", false, "print the verdict that was computed")
	return cmd
}

// firstDifference names the first member in which two verdicts differ.
func firstDifference(want, got []byte) string {
	var a, b any
	if err := json.Unmarshal(want, &a); err != nil {
		return fmt.Sprintf("%s there is no JSON: %v", verdictFile, err)
	}
	if err := json.Unmarshal(got, &b); err != nil {
		return err.Error()
	}
	if d := differs("", a, b); d != "" {
		return d
	}
	return "the members are the same, the bytes are not"
}

func differs(at string, a, b any) string {
	switch x := a.(type) {
	case map[string]any:
		y, ok := b.(map[string]any)
		if !ok {
			break
		}
		for _, k := range memberOrder(x, y) {
			if d := differs(strings.TrimPrefix(at+"."+k, "."), x[k], y[k]); d != "" {
				return d
			}
		}
		return ""
	case []any:
		y, ok := b.([]any)
		if !ok {
			break
		}
		for i := range min(len(x), len(y)) {
			if d := differs(fmt.Sprintf("%s[%d]", at, i), x[i], y[i]); d != "" {
				return d
			}
		}
		if len(x) != len(y) {
			return fmt.Sprintf("%s has %d elements there and %d when computed", at, len(x), len(y))
		}
		return ""
	default:
		if a == b {
			return ""
		}
	}
	return fmt.Sprintf("%s is %s there and %s when computed", cmp.Or(at, "all of it"), short(a), short(b))
}

func short(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return "unreadable"
	}
	if len(b) > 120 {
		b = append(b[:117:117], "..."...)
	}
	return string(b)
}

// memberOrder returns the names of both objects, those a reader looks for
// first in front.
func memberOrder(a, b map[string]any) []string {
	names := maps.Clone(a)
	maps.Copy(names, b)
	var out []string
	for _, first := range []string{"version", "verdict", "reasons", "score"} {
		if _, ok := names[first]; ok {
			out = append(out, first)
			delete(names, first)
		}
	}
	return append(out, slices.Sorted(maps.Keys(names))...)
}

// readBounded reads a file of at most limit bytes, or a pipe.
func readBounded(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("%s is longer than %d bytes, more than a file of its kind can have", path, limit)
	}
	return b, err
}
