// Runnersim runs a workflow as GitHub's self-hosted runner would, for tests:
//
//	go run ./test/runnersim [flags] WORKFLOW.yml
//
// It prints what each job's steps printed and how it ended, and its exit code
// is 1 where one did not succeed. Package runner says what it knows.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"

	"github.com/org/edamame-posture/test/runnersim/runner"
)

func main() {
	code, is := runner.Main()
	if !is {
		code = command()
	}
	os.Exit(code)
}

func command() int {
	o := runner.Options{Actions: map[string]string{}, Stderr: os.Stderr}
	flag.StringVar(&o.Root, "root", "", "`FOLDER` for the runners, which stays; left out, a temporary one")
	flag.IntVar(&o.Runners, "runners", 1, "how many runners there are")
	flag.StringVar(&o.User, "user", "", "user that the runners run as")
	flag.StringVar(&o.Network, "network", "", "the containers' network; left out, a new one for each job")
	flag.StringVar(&o.Source, "source", ".", "`FOLDER` that a checkout copies")
	flag.Func("action", "OWNER/REPO@REF=`FOLDER` that holds the action", func(s string) error {
		uses, dir, ok := strings.Cut(s, "=")
		if !ok {
			return fmt.Errorf("%q is not OWNER/REPO@REF=FOLDER", s)
		}
		o.Actions[uses] = dir
		return nil
	})
	flag.Func("env", "`NAME=VALUE` of the runner's .env file, such as a job hook", func(s string) error {
		o.Env = append(o.Env, s)
		return nil
	})
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "one workflow file is needed: runnersim [flags] WORKFLOW.yml")
		return 2
	}
	jobs, err := runner.Read(flag.Arg(0))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	if o.Root == "" {
		dir, err := os.MkdirTemp("", "runnersim-")
		if err == nil {
			err = os.Chmod(dir, 0o755)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		o.Root = dir
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	results, err := runner.Run(ctx, jobs, o)
	code := 0
	for _, r := range results {
		fmt.Printf("== %s: %s\n%s", r.Job, r.Conclusion, r.Log)
		if r.Conclusion != "Succeeded" {
			code = 1
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	return code
}
