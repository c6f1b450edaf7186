package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/org/edamame-posture/pkg/evidence"
	"github.com/org/edamame-posture/pkg/github"
	"github.com/org/edamame-posture/pkg/monitor"
	"github.com/org/edamame-posture/pkg/witness"
)

// showEvery is how often a witness is shown how the log grew. A gate wants it
// each minute at least.
const showEvery = 20 * time.Second

// showWithin is how long a witness may take.
const showWithin = 10 * time.Second

// witnessing says which witness is shown the log.
type witnessing struct {
	url    string
	keys   []string
	status bool // the start is put on the commit at GitHub, where no witness has it

	client *witness.Client
	stop   func()
}

func (w *witnessing) flags(fl *pflag.FlagSet) {
	fl.StringVar(&w.url, "witness", "", "`URL` of a witness that is shown the log as it grows; its key with --witness-key")
	fl.BoolVar(&w.status, "commit-status", false, "put the start on the commit at GitHub as a status, with GITHUB_TOKEN (statuses: write), where no witness has it")
	fl.StringArrayVar(&w.keys, "witness-key", nil, "key of the witness, as 'witness keygen' prints it, or a `FILE` that holds it")
}

func (w *witnessing) wanted() bool { return w.url != "" }

// check finds mistakes before anything is started.
func (w *witnessing) check(s *signing) error {
	if w.status && !s.keyless {
		return errors.New("--commit-status: the status is found by the job's identity: add --keyless")
	}
	if !w.wanted() {
		if len(w.keys) > 0 {
			return errors.New("--witness-key says what a witness signs with, and --witness URL which it is: the URL is missing")
		}
		return nil
	}
	if !s.keyless {
		return errors.New("--witness: the witness takes a first record by the job's identity: add --keyless")
	}
	keys := make([]string, len(w.keys))
	for i, k := range w.keys {
		if !strings.Contains(k, "+") {
			b, err := readBounded(k, 4096)
			if err != nil {
				return fmt.Errorf("--witness-key: %w", err)
			}
			k = strings.TrimSpace(string(b))
		}
		keys[i] = k
	}
	var err error
	w.client, err = witness.NewClient(w.url, keys...)
	return err
}

// begin makes the recording known to the witness before anything of it runs,
// and shows it the log from then on. That the witness does not take it is told,
// and is no reason not to start.
func (w *witnessing) begin(client *monitor.Client, opened *monitor.Opened, token []byte) {
	w.stop = func() {}
	if !w.wanted() {
		w.onCommit(client, opened)
		return
	}
	fail := func(err error) {
		fmt.Fprintf(os.Stderr, "edamame-posture: no witness has the start: %v\n", err)
		w.onCommit(client, opened)
	}
	if len(token) == 0 {
		fail(errors.New("there is no start token"))
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), startBudget)
	defer cancel()
	shown, err := client.Shown()
	var record []byte
	if err == nil {
		record, err = w.first(ctx, opened.Commitment, opened.Checkpoint, token)
	}
	if err == nil {
		err = errors.Join(client.Kept(monitor.Kept{Size: shown.Size}), client.Attach(evidence.RecordFile, record))
	}
	if err != nil {
		fail(err)
		return
	}
	quit, done := make(chan struct{}), make(chan struct{})
	w.stop = func() { close(quit); <-done }
	go func() {
		defer close(done)
		t := time.NewTicker(showEvery)
		defer t.Stop()
		for told := false; ; {
			select {
			case <-quit:
				return
			case <-client.Gone():
				return
			case <-t.C:
			}
			if _, err := w.show(client); err != nil && !told {
				told = true
				fmt.Fprintf(os.Stderr, "edamame-posture: the witness was not shown the log: %v\n", err)
			}
		}
	}()
}

// onCommit puts the start of a recording on the commit at GitHub, if that was
// asked for.
func (w *witnessing) onCommit(client *monitor.Client, opened *monitor.Opened) {
	if !w.status {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), startBudget)
	defer cancel()
	answer, err := jobStatuses(os.Getenv("GITHUB_TOKEN")).Record(ctx, opened.Commitment)
	if err == nil {
		err = client.Attach(evidence.RecordFile, answer)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "edamame-posture: the start is not on the commit: %v\n", err)
	}
}

// jobStatuses are those of the commit that this job's run was started for.
func jobStatuses(token string) *github.Statuses {
	return &github.Statuses{API: os.Getenv("GITHUB_API_URL"), Repository: os.Getenv("GITHUB_REPOSITORY"), Commit: os.Getenv("GITHUB_SHA"), Token: token}
}

// first makes the recording known to the witness, and returns what that holds of
// its slot then.
func (w *witnessing) first(ctx context.Context, commitment []byte, checkpoint string, token []byte) ([]byte, error) {
	if _, err := w.client.FirstRecord(ctx, witness.FirstRecord{Commitment: commitment, Checkpoint: checkpoint, Token: string(token)}); err != nil {
		return nil, err
	}
	return w.record(ctx, commitment)
}

// record is what the witness holds of the recording's slot, signed by it.
func (w *witnessing) record(ctx context.Context, commitment []byte) ([]byte, error) {
	c, err := evidence.ParseCommitment(commitment)
	if err != nil {
		return nil, err
	}
	var id witness.ID
	if _, err := hex.Decode(id[:], []byte(c.Slot)); err != nil || len(c.Slot) != 2*len(id) {
		return nil, errors.New("the commitment names no slot: nobody said which job this is")
	}
	_, signed, err := w.client.Slot(ctx, id)
	return signed, err
}

// show shows the witness how the log grew, once, and returns the size that it
// keeps then.
func (w *witnessing) show(client *monitor.Client) (size uint64, err error) {
	shown, err := client.Shown()
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), showWithin)
	defer cancel()
	line, _, err := w.client.AddCheckpoint(ctx, shown.Old, shown.Path, shown.Notes)
	if err != nil {
		return 0, err
	}
	return shown.Size, client.Kept(monitor.Kept{Size: shown.Size, Cosignature: line})
}

// end shows the witness the end of the log. What was not kept yet comes first:
// the monitor bounds in how many parts.
func (w *witnessing) end(client *monitor.Client) {
	if !w.wanted() || w.stop == nil {
		return
	}
	for {
		before, err := client.Shown()
		if err == nil && len(before.Notes) == 0 {
			return
		}
		if err == nil {
			_, err = w.show(client)
		}
		if err != nil {
			fmt.Fprintf(os.Stderr, "edamame-posture: the witness was not shown the end of the log: %v\n", err)
			return
		}
	}
}
