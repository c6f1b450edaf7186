package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"

	"github.com/spf13/cobra"

	"github.com/org/edamame-posture/pkg/attest"
	"github.com/org/edamame-posture/pkg/evidence"
	"github.com/org/edamame-posture/pkg/monitor"
)

// startBudget is how long the command waits for others to hear of the
// recording before it is started. Without them it starts all the same.
const startBudget = 5 * time.Second

// startAsked is what the signing process is given, as JSON.
type startAsked struct {
	Commitment []byte `json:"commitment,omitempty"` // empty: only who we are is asked
}

// startSaid is what it answers.
type startSaid struct {
	Claims *evidence.Claims `json:"claims,omitempty"`
	TSA    string           `json:"tsa,omitempty"` // timestamp authority of the signing servers
	Token  []byte           `json:"token,omitempty"`
	Bundle []byte           `json:"bundle,omitempty"`
	Errors []string         `json:"errors,omitempty"`
}

// commitCommand signs the beginning of a recording as the caller. run starts it.
func commitCommand() *cobra.Command {
	var s signing
	cmd := &cobra.Command{
		Use:    "commit",
		Short:  "Sign the beginning of a recording; started by run",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var asked startAsked
			if err := json.NewDecoder(io.LimitReader(cmd.InOrStdin(), 4<<20)).Decode(&asked); err != nil {
				return err
			}
			return json.NewEncoder(cmd.OutOrStdout()).Encode(s.start(cmd.Context(), asked))
		},
	}
	s.flags(cmd.Flags())
	cmd.Flags().StringVar(&s.workspace, "workspace", "", "what subjects are relative to")
	return cmd
}

// start says who the job is, or has a commitment signed by whoever signs the
// statement at the end, and by the issuer of the job's tokens.
func (s *signing) start(ctx context.Context, asked startAsked) (said startSaid) {
	ctx, cancel := context.WithTimeout(ctx, min(startBudget, s.budget))
	defer cancel()
	failed := func(what string, err error) { said.Errors = append(said.Errors, fmt.Sprintf("%s: %v", what, err)) }
	token := attest.JobToken(os.Getenv)
	if asked.Commitment == nil {
		if s.keyless && s.token == "" {
			jwt, err := token(ctx, attest.Audience)
			if err == nil {
				said.Claims, err = attest.SlotClaims(jwt)
				said.TSA = s.authority(jwt)
			}
			if err != nil {
				failed("who the job is", err)
			}
		}
		return said
	}
	if s.keyless && s.token == "" {
		if jwt, err := token(ctx, evidence.Audience(asked.Commitment)); err != nil {
			failed("the start token", err)
		} else {
			said.Token = []byte(jwt)
		}
	}
	payload, err := attest.DescribeStart(asked.Commitment, nil)
	if err == nil {
		var by attest.Signer
		if by, err = s.signer(ctx); err == nil {
			said.Bundle, err = attest.SignPayload(ctx, payload, by)
		}
	}
	if err != nil {
		failed("the start statement", err)
	}
	return said
}

// asking has a process of the caller's do what start does.
func (s *signing) asking(c monitor.Caller, asked startAsked) (said startSaid, err error) {
	if !c.Sudo {
		return s.start(context.Background(), asked), nil
	}
	in, err := json.Marshal(asked)
	if err != nil {
		return said, err
	}
	cmd := exec.Command("/proc/self/exe", append([]string{"commit"}, s.args()...)...)
	cmd.Stdin, cmd.Stderr, cmd.Env, cmd.SysProcAttr = bytes.NewReader(in), os.Stderr, c.Environ(), c.Attr()
	cmd.WaitDelay = time.Second
	stop := time.AfterFunc(startBudget+time.Second, func() { _ = cmd.Process.Kill() })
	defer stop.Stop()
	out, err := cmd.Output()
	if err != nil {
		return said, err
	}
	return said, json.Unmarshal(out, &said)
}

// authority is the timestamp authority of the servers that sign for the holder
// of an identity token; empty where they have none.
func (s *signing) authority(jwt string) string {
	servers, err := loadServices(s.config)
	if err == nil && servers == nil {
		var claims *attest.Claims
		if claims, err = attest.ReadClaims(jwt); err == nil {
			servers, err = claims.ServicesFor()
		}
	}
	if err != nil || len(servers.Timestamps) == 0 {
		return "" // what is wrong with them the signature tells
	}
	return servers.Timestamps[0]
}

// identify returns which job it is, for the commitment, and who can date it:
// nothing where nobody says.
func (s *signing) identify(c monitor.Caller) (said startSaid) {
	if !s.keyless || s.token != "" {
		return said
	}
	said, err := s.asking(c, startAsked{})
	s.complain(said.Errors, err)
	return said
}

// commit lets others hear of the recording before anything of it runs. It
// returns the start token, where there is one.
func (s *signing) commit(c monitor.Caller, client *monitor.Client, opened *monitor.Opened) (token []byte) {
	if !s.wanted() {
		return nil
	}
	said, err := s.asking(c, startAsked{opened.Commitment})
	for _, f := range []struct {
		name string
		data []byte
	}{{evidence.StartTokenFile, said.Token}, {evidence.StartBundleFile, said.Bundle}} {
		if err == nil && len(f.data) > 0 {
			err = client.Attach(f.name, f.data)
		}
	}
	s.complain(said.Errors, err)
	return said.Token
}

// complain tells what the start lacks. That is no reason not to start.
func (s *signing) complain(errs []string, err error) {
	if err != nil {
		errs = append(errs, err.Error())
	}
	for _, e := range errs {
		fmt.Fprintf(os.Stderr, "edamame-posture: nobody else heard of the start: %s\n", e)
	}
}
