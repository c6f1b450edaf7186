package evidence

import (
	"fmt"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/intent"
	"github.com/org/edamame-posture/pkg/judge"
	"github.com/org/edamame-posture/pkg/signature"
)

// Names of the inputs of a verdict.
const (
	IntentInput     = "intent.json"
	SignaturesInput = "signatures.json"
)

// Inputs are what a log is judged with, besides itself.
type Inputs struct {
	Intent     *intent.Resolved
	Signatures *signature.Pack
}

// Inputs reads the inputs that the folder holds. One that is not there, as in
// a recording that was cut off, is nil.
func (e *Evidence) Inputs() (in Inputs, err error) {
	if e.has(IntentInput) {
		b, err := e.Input(IntentInput)
		if err != nil {
			return in, err
		}
		if in.Intent, err = intent.ReadResolved(b); err != nil {
			return in, &Fault{File: inputsDir + "/" + IntentInput, Err: err}
		}
	}
	if e.has(SignaturesInput) {
		b, err := e.Input(SignaturesInput)
		if err != nil {
			return in, err
		}
		if in.Signatures, err = signature.ReadPack(b); err != nil {
			return in, &Fault{File: inputsDir + "/" + SignaturesInput, Err: err}
		}
	}
	return in, nil
}

// has reports whether the folder has the input: as its manifest says, or where
// it has none, as it looks.
func (e *Evidence) has(name string) bool {
	path := inputsDir + "/" + name
	if e.partial {
		_, err := e.root.Lstat(path)
		return err == nil
	}
	return e.manifest.File(path) != nil
}

// ReplayNow judges the log of the folder with in and this program's own judge.
func (e *Evidence) ReplayNow(in Inputs) (*judge.Judge, error) {
	return e.judge(judge.New(in.Intent, in.Signatures))
}

// Replay judges the log of the folder with in and the version of the judge that
// its manifest names: the same code that judged it live, so the same inputs give
// the same bytes.
func (e *Evidence) Replay(in Inputs) (*judge.Judge, error) {
	j := judge.New(in.Intent, in.Signatures)
	if e.manifest.Judge != "" {
		var err error
		if j, err = judge.NewVersion(e.manifest.Judge, in.Intent, in.Signatures); err != nil {
			return nil, fmt.Errorf("replay: %w", err)
		}
	}
	return e.judge(j)
}

func (e *Evidence) judge(j *judge.Judge) (*judge.Judge, error) {
	if err := e.Each(func(_ []byte, ev *event.Event) error {
		j.Apply(ev)
		return nil
	}); err != nil {
		return nil, fmt.Errorf("replay: %w", err)
	}
	return j, nil
}
