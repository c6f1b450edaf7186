package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"

	"gopkg.in/yaml.v3"
)

// scenario is one case of a corpus: a job as a runner would do it, the network
// around it, and what must be true afterwards. README.md says what each key is.
type scenario struct {
	ID  string `yaml:"-"`
	Dir string `yaml:"-"`

	Title string `yaml:"title"`
	// Source, Replays and Differs are needed of an attack: where the original is
	// described, what of it is done here, and what is not the same.
	Source  string `yaml:"source"`
	Replays string `yaml:"replays"`
	Differs string `yaml:"differs"`

	Needs     []string          `yaml:"needs"`     // programs that must be on the machine
	Addresses map[string]string `yaml:"addresses"` // what names resolve to; others get one of their own
	Resolvers []string          `yaml:"resolvers"` // further addresses that answer DNS
	Downloads map[string]string `yaml:"downloads"` // host/path -> which stand-in program is served there
	Tools     []string          `yaml:"tools"`     // stand-ins that the machine has from the start
	Steps     []step            `yaml:"steps"`
	Fails     bool              `yaml:"fails"` // the job's last step ends with an error, as the original did

	Findings map[string]string `yaml:"findings"` // rule -> severity that eBPF must give
	Effect   []effect          `yaml:"effect"`
}

// step is a step of the job: a script for bash, as `run:` in a workflow.
type step struct {
	Name    string   `yaml:"name" json:"name"`
	Uses    string   `yaml:"uses" json:"uses"`       // the action that the script stands for, OWNER/REPO@REF
	Secrets []string `yaml:"secrets" json:"secrets"` // names of canary secrets in the step's environment
	Run     string   `yaml:"run" json:"run"`
}

// effect is one thing that shows that the case really did what it says.
type effect struct {
	// Received: a request arrived at this host (name or address); with Canary, a
	// canary was in it, in clear or encoded.
	Received string `yaml:"received"`
	// Connected: a connection to this address and port was made.
	Connected string `yaml:"connected"`
	// Asked: a DNS question was asked for a name that ends so.
	Asked  string `yaml:"asked"`
	Canary bool   `yaml:"canary"`
	// File: it is there after the job; a path of the job's own view. Absent: it
	// is not there any more.
	File   string `yaml:"file"`
	Absent string `yaml:"absent"`
	// Log: the job's log holds this; with Canary alone, it holds a canary.
	Log string `yaml:"log"`
	// LogCanary: the job's log holds a canary, in clear or encoded.
	LogCanary bool `yaml:"log-canary"`
}

// load reads all cases of a corpus: each folder of dir that has the file.
func load(dir, file string) ([]*scenario, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var all []*scenario
	for _, e := range entries {
		at := filepath.Join(dir, e.Name(), file)
		b, err := os.ReadFile(at)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		c := &scenario{ID: e.Name(), Dir: filepath.Join(dir, e.Name())}
		dec := yaml.NewDecoder(bytes.NewReader(b))
		dec.KnownFields(true)
		if err := dec.Decode(c); err != nil && !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("%s: %w", at, err)
		}
		if err := c.check(file == attackFile); err != nil {
			return nil, fmt.Errorf("%s: %w", at, err)
		}
		all = append(all, c)
	}
	return all, nil
}

const (
	attackFile = "attack.yml"
	benignFile = "job.yml"
)

func (c *scenario) check(attack bool) error {
	switch {
	case c.Title == "" || len(c.Steps) == 0:
		return errors.New("title and steps are needed")
	case attack && (c.Source == "" || c.Replays == "" || c.Differs == "" || len(c.Findings) == 0):
		return errors.New("an attack says source, replays, differs and findings")
	case attack && len(c.Effect) == 0:
		return errors.New("no effect shows that the attack ran")
	case !attack && len(c.Findings) > 0:
		return errors.New("a job of the benign corpus expects no findings")
	}
	for i, s := range c.Steps {
		if s.Run == "" {
			return fmt.Errorf("step %d has no run", i+1)
		}
		for _, name := range s.Secrets {
			if _, ok := secrets[name]; !ok {
				return fmt.Errorf("step %d: there is no canary called %s", i+1, name)
			}
		}
	}
	for at, tool := range c.Downloads {
		if !slices.Contains(toolNames, tool) || path.Dir(at) == "." {
			return fmt.Errorf("downloads: %s: %s: want host/path and one of %v", at, tool, toolNames)
		}
	}
	for _, tool := range c.Tools {
		if !slices.Contains(toolNames, tool) {
			return fmt.Errorf("tools: %s: want one of %v", tool, toolNames)
		}
	}
	for _, e := range c.Effect {
		if e == (effect{}) || e == (effect{Canary: true}) {
			return errors.New("an effect says nothing")
		}
	}
	return nil
}
