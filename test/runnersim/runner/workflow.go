// Package runner stands in for GitHub's self-hosted runner in tests, where
// the real one cannot be had: a Runner.Listener that starts a Runner.Worker for
// each job, and a Worker that runs the job's steps in processes which look to
// the kernel as those of actions/runner 2.336 do, by name, arguments,
// environment, order, descent and end.
//
// It reads a part of the workflow language: env, container (an image),
// strategy.matrix, and steps with run, uses (JavaScript, composite and docker
// actions), with, env, if, shell,
// working-directory, continue-on-error, background and wait-all. What it does
// not know is an error, so that no test believes to have run it.
//
// [Run] sets runners up and runs a workflow on them; the program that holds it
// is copied and started again by the names of the two processes, see [Main].
package runner

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// Job is what a Worker is told: one job of a workflow, with its matrix filled
// in.
type Job struct {
	// ID is the job's key in the workflow, Name that with the matrix' values.
	ID, Name string
	Matrix   map[string]string
	Index    int // among the jobs of the matrix, from 0
	Env      map[string]string
	Steps    []Step
	// Workflow is the workflow's name, Repository OWNER/REPO, Source the folder
	// that a checkout copies.
	Workflow, Repository, Source string
	// Actions says which folder holds OWNER/REPO@REF.
	Actions map[string]string
	// Container is the image that the job's steps run in; empty for none. Network
	// is its network, a new one where it is empty.
	Container, Network string
	// Work is the name of the folder for this job below the runner's root.
	Work string
	// RunID stands for the number of the run.
	RunID string
	// API is the URL of GitHub's API.
	API string
}

// Step is one step as the workflow says it.
type Step struct {
	ID         string            `yaml:"id"`
	Name       string            `yaml:"name"`
	If         string            `yaml:"if"`
	Uses       string            `yaml:"uses"`
	Run        string            `yaml:"run"`
	Shell      string            `yaml:"shell"`
	Directory  string            `yaml:"working-directory"`
	With       map[string]string `yaml:"with"`
	Env        map[string]string `yaml:"env"`
	Continue   bool              `yaml:"continue-on-error"`
	Background bool              `yaml:"background"`
	WaitAll    bool              `yaml:"wait-all"`
}

type workflow struct {
	Name string            `yaml:"name"`
	On   any               `yaml:"on"`
	Env  map[string]string `yaml:"env"`
	Jobs yaml.Node         `yaml:"jobs"`
}

type workflowJob struct {
	Name     string            `yaml:"name"`
	RunsOn   any               `yaml:"runs-on"`
	Image    string            `yaml:"container"`
	Env      map[string]string `yaml:"env"`
	Steps    []Step            `yaml:"steps"`
	Strategy struct {
		Matrix map[string][]string `yaml:"matrix"`
	} `yaml:"strategy"`
}

// Read returns the jobs of a workflow file in its order, those of a matrix one
// by one.
func Read(file string) ([]Job, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var w workflow
	if err := strict(data, &w); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	var jobs []Job
	for i := 0; i+1 < len(w.Jobs.Content); i += 2 {
		id := w.Jobs.Content[i].Value
		body, err := yaml.Marshal(w.Jobs.Content[i+1])
		if err != nil {
			return nil, err
		}
		var j workflowJob
		if err := strict(body, &j); err != nil {
			return nil, fmt.Errorf("%s: job %s: %w", file, id, err)
		}
		for _, s := range j.Steps {
			if (s.Run != "") == (s.Uses != "") && !s.WaitAll {
				return nil, fmt.Errorf("%s: job %s: a step has either run or uses", file, id)
			}
		}
		for i, m := range combinations(j.Strategy.Matrix) {
			env := maps.Clone(w.Env)
			if env == nil {
				env = map[string]string{}
			}
			maps.Copy(env, j.Env)
			name := cmp.Or(j.Name, id)
			if len(m) > 0 {
				var values []string
				for _, k := range slices.Sorted(maps.Keys(m)) {
					values = append(values, m[k])
				}
				name += " (" + strings.Join(values, ", ") + ")"
			}
			jobs = append(jobs, Job{
				ID: id, Name: name, Matrix: m, Index: i, Env: env, Steps: j.Steps, Container: j.Image,
				Workflow: cmp.Or(w.Name, filepath.Base(file)),
			})
		}
	}
	if len(jobs) == 0 {
		return nil, fmt.Errorf("%s has no jobs", file)
	}
	return jobs, nil
}

func strict(data []byte, to any) error {
	d := yaml.NewDecoder(bytes.NewReader(data))
	d.KnownFields(true)
	if err := d.Decode(to); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

// combinations returns every choice of one value for each key, the last key
// changing fastest.
func combinations(matrix map[string][]string) []map[string]string {
	all := []map[string]string{{}}
	for _, k := range slices.Sorted(maps.Keys(matrix)) {
		var next []map[string]string
		for _, m := range all {
			for _, v := range matrix[k] {
				c := maps.Clone(m)
				c[k] = v
				next = append(next, c)
			}
		}
		all = next
	}
	return all
}

// action is what an action.yml says.
type action struct {
	dir    string
	local  bool
	Inputs map[string]struct {
		Default string `yaml:"default"`
	} `yaml:"inputs"`
	Runs struct {
		Using  string `yaml:"using"`
		Pre    string `yaml:"pre"`
		PreIf  string `yaml:"pre-if"`
		Main   string `yaml:"main"`
		Post   string `yaml:"post"`
		PostIf string `yaml:"post-if"`
		Steps  []Step `yaml:"steps"`

		Image          string   `yaml:"image"`
		PreEntrypoint  string   `yaml:"pre-entrypoint"`
		Entrypoint     string   `yaml:"entrypoint"`
		PostEntrypoint string   `yaml:"post-entrypoint"`
		Args           []string `yaml:"args"`
	} `yaml:"runs"`
	image string // that was fetched or built
}

func (a *action) pre() string  { return cmp.Or(a.Runs.Pre, a.Runs.PreEntrypoint) }
func (a *action) post() string { return cmp.Or(a.Runs.Post, a.Runs.PostEntrypoint) }

func readAction(dir string) (*action, error) {
	data, err := os.ReadFile(filepath.Join(dir, "action.yml"))
	if errors.Is(err, os.ErrNotExist) {
		data, err = os.ReadFile(filepath.Join(dir, "action.yaml"))
	}
	if err != nil {
		return nil, err
	}
	a := &action{dir: dir}
	if err := yaml.Unmarshal(data, a); err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	switch a.Runs.Using {
	case "node20", "node24", "composite", "docker":
		return a, nil
	}
	return nil, fmt.Errorf("%s: runs.using %q is not known here", dir, a.Runs.Using)
}
