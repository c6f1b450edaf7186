package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/org/edamame-posture/pkg/attest"
	"github.com/org/edamame-posture/pkg/monitor"
)

const (
	// dateEvery is how often a timestamp authority is asked.
	dateEvery = time.Minute
	// maxDated bounds what is dated, a checkpoint, in bytes.
	maxDated = 64 << 10
)

// dating says which timestamp authority (RFC 3161) dates the log as it grows.
type dating struct {
	tsa   string
	every time.Duration

	stop func() (answers bool) // nil where nobody is asked
}

func (d *dating) flags(fl *pflag.FlagSet) {
	fl.StringVar(&d.tsa, "tsa", "", "`URL` of a timestamp authority that dates the log as it grows; left out, with --keyless and no witness, the one of the signing servers")
	fl.DurationVar(&d.every, "tsa-every", dateEvery, "how often it is asked")
}

func (d *dating) check() error {
	if u, err := url.Parse(d.tsa); d.tsa != "" && (err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http") {
		return fmt.Errorf("--tsa: %.200q is not the URL of a timestamp authority, such as https://timestamp.example.org/api/v1/timestamp", d.tsa)
	}
	if d.every < time.Second {
		return fmt.Errorf("--tsa-every %v: a second at least", d.every)
	}
	return nil
}

// dateCommand asks a timestamp authority. A monitor that nobody stays with
// starts it as the caller.
func dateCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "date URL",
		Short:  "Have what stands on stdin dated; started by the monitor",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			text, err := io.ReadAll(io.LimitReader(cmd.InOrStdin(), maxDated))
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), monitor.DateWithin)
			defer cancel()
			answer, err := attest.Date(ctx, args[0], text)
			if err != nil {
				return exit(exitNoAnswer, err)
			}
			_, err = cmd.OutOrStdout().Write(answer)
			return err
		},
	}
}

// begin has the log dated from now on. Where said is empty and none was named,
// nobody is asked.
func (d *dating) begin(client *monitor.Client, said string, w *witnessing) {
	if d.tsa == "" && !w.wanted() {
		d.tsa = said
	}
	if d.tsa == "" {
		return
	}
	quit, done := make(chan struct{}), make(chan bool)
	go func() {
		answers := true
		defer func() { done <- answers }()
		t := time.NewTicker(d.every)
		defer t.Stop()
		for {
			select {
			case <-quit:
				return
			case <-client.Gone():
				answers = false
				return
			case <-t.C:
			}
			ctx, cancel := context.WithTimeout(context.Background(), monitor.DateWithin)
			go func() {
				select {
				case <-quit:
					cancel()
				case <-ctx.Done():
				}
			}()
			err := d.date(ctx, client)
			answers = err == nil || errors.Is(ctx.Err(), context.Canceled)
			cancel()
			if !answers {
				d.complain(client, err)
			}
		}
	}()
	d.stop = func() bool { close(quit); return <-done }
}

// end has the log dated once more before it ends, unless the authority gave no
// answer the last time.
func (d *dating) end(client *monitor.Client) {
	if d.stop == nil || !d.stop() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), monitor.LastDateWithin)
	defer cancel()
	if err := d.date(ctx, client); err != nil {
		d.complain(client, err)
	}
}

// date has the newest checkpoint dated.
func (d *dating) date(ctx context.Context, client *monitor.Client) error {
	text, err := client.Newest()
	if err != nil {
		return err
	}
	answer, err := attest.Date(ctx, d.tsa, text)
	if err != nil {
		return err
	}
	return client.Dated(monitor.Dated{Answer: answer})
}

// complain tells that the log was not dated, in the log too. That is no reason
// to stop.
func (d *dating) complain(client *monitor.Client, err error) {
	fmt.Fprintf(os.Stderr, "edamame-posture: the log was not dated: %v\n", err)
	_ = client.Dated(monitor.Dated{}) // where it does not work, the monitor has gone
}
