// Command worker stands for GitHub's Runner.Worker, and is built under that
// name: it keeps the job's secrets in its memory, starts the steps as the real
// one does, and reads what processes are left at the end.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// job is what the listener hands over.
type job struct {
	Variables map[string]variable `json:"variables"`
	Steps     []step              `json:"steps"`
}

type variable struct {
	Value    string `json:"value"`
	IsSecret bool   `json:"isSecret"`
}

type step struct {
	Name    string   `json:"name"`
	Uses    string   `json:"uses"`
	Secrets []string `json:"secrets"`
	Run     string   `json:"run"`
}

func main() {
	if err := work(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "##[error]", err)
		os.Exit(1)
	}
}

func work(message string) error {
	text, err := os.ReadFile(message)
	if err != nil {
		return err
	}
	if err := os.Remove(message); err != nil {
		return err
	}
	var j job
	if err := json.Unmarshal(text, &j); err != nil {
		return err
	}
	before, _ := filepath.Glob("/proc/[0-9]*/environ")
	for i, s := range j.Steps {
		if err := j.step(i, s); err != nil {
			return fmt.Errorf("step %d, %s: %w", i+1, s.Name, err)
		}
	}
	// The real one looks in each new process's environ for one that was left.
	after, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, f := range after {
		if !slices.Contains(before, f) {
			_, _ = os.ReadFile(f)
		}
	}
	runtime.KeepAlive(text) // the message with its secrets, as the real one has it
	return nil
}

// step runs a script of bash with the context that a step gets.
func (j *job) step(i int, s step) error {
	temp := os.Getenv("RUNNER_TEMP")
	script := filepath.Join(temp, fmt.Sprintf("5f2b7c1e-0a4d-4e6b-9c3f-%012d.sh", i))
	if err := os.WriteFile(script, []byte(s.Run), 0o644); err != nil {
		return err
	}
	cmd := exec.Command("/usr/bin/bash", "--noprofile", "--norc", "-e", "-o", "pipefail", script)
	cmd.Dir = os.Getenv("GITHUB_WORKSPACE")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stdout
	action := fmt.Sprintf("__run_%d", i+1)
	env := os.Environ()
	if repository, ref, ok := strings.Cut(s.Uses, "@"); ok {
		action = "__" + strings.ReplaceAll(repository, "/", "_")
		env = append(env, "GITHUB_ACTION_REPOSITORY="+repository, "GITHUB_ACTION_REF="+ref,
			"GITHUB_ACTION_PATH="+filepath.Join("/home/runner/work/_actions", repository, ref))
	}
	env = append(env, "GITHUB_ACTION="+action)
	for _, name := range s.Secrets {
		env = append(env, name+"="+j.Variables[name].Value)
	}
	cmd.Env = env
	return cmd.Run()
}
