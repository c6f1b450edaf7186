package github

import (
	"context"
	"io/fs"
	"os"

	"github.com/org/edamame-posture/pkg/intent/derive"
	"github.com/org/edamame-posture/pkg/report"
)

// Steps returns where the steps of this job stand in its workflow, by the ids
// that the runner gives them: in the commit that runs, by GitHub's API, else as
// the workspace has the file. A step may have written that, and so this says
// where a reader is to look, and decides nothing. It is nil where nobody has the
// file, or where it does not have the job, as one that is called by another's.
func (r *Runner) Steps(ctx context.Context, token string) map[string]report.Place {
	file, ok := r.workflowFile()
	if !ok {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	var data []byte
	tree, err := r.tree(ctx, token, r.commit())
	if err == nil {
		data, err = fs.ReadFile(tree, file)
	}
	if err != nil {
		root, err := os.OpenRoot(r.Getenv("GITHUB_WORKSPACE"))
		if err != nil {
			return nil
		}
		defer root.Close()
		if data, err = fs.ReadFile(plain{root.FS()}, file); err != nil {
			return nil
		}
	}
	lines, err := derive.Steps(file, data, r.Getenv("GITHUB_JOB"))
	if err != nil {
		return nil
	}
	places := make(map[string]report.Place, len(lines))
	for id, line := range lines {
		places[id] = report.Place{File: file, Line: line}
	}
	return places
}
