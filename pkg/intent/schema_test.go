package intent

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"gopkg.in/yaml.v3"
)

func schema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	data, err := os.ReadFile("../../docs/policy.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("policy.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("policy.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// examples returns the YAML blocks of the reference that are whole policies.
func examples(t *testing.T) []string {
	t.Helper()
	data, err := os.ReadFile("../../docs/policy.md")
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for i, block := range strings.Split(string(data), "```") {
		if body, ok := strings.CutPrefix(block, "yaml\n"); ok && i%2 == 1 {
			list = append(list, body)
		}
	}
	if len(list) == 0 {
		t.Fatal("docs/policy.md has no example")
	}
	return list
}

func validates(t *testing.T, s *jsonschema.Schema, policy string) error {
	t.Helper()
	var v any
	if err := yaml.Unmarshal([]byte(policy), &v); err != nil {
		t.Fatal(err)
	}
	return s.Validate(v)
}

func TestTheExamplesOfTheReferenceParseAndValidate(t *testing.T) {
	s := schema(t)
	for _, policy := range append(examples(t), example, "version: 1\njobs: {a: }\nuse: node\nroot: [sudo]\nfail-on: {score: never}\ncredentials: [{class: npm, by: x}, {class: git, to: 'a.example:443'}]") {
		if _, err := Parse("docs/policy.md", []byte(policy)); err != nil {
			t.Errorf("%v\n%s", err, policy)
		}
		if err := validates(t, s, policy); err != nil {
			t.Errorf("%v\n%s", err, policy)
		}
	}
}

func TestWhatTheReaderRefusesTheSchemaRefuses(t *testing.T) {
	s := schema(t)
	for _, policy := range []string{
		"egress: []", "version: 2", "{version: 1, egres: []}", "{version: 1, egress: ['a.example']}", "{version: 1, egress: a}",
		"{version: 1, egress: [{by: [x]}]}", "{version: 1, egress: [{to: 'a:1', by: [/bin/x]}]}", "{version: 1, egress: [{to: 'a:1', upload: 1}]}",
		"{version: 1, credentials: [{class: npm, to: []}]}", "{version: 1, credentials: [{class: npm, to: [a.example]}]}", "{version: 1, exec: [{to: npm, class: npm}]}",
		"{version: 1, suppress: []}", "{version: 1, jobs: {a: {fail-on: never}}}", "{version: 1, fail-on: {score: 0}}", "{version: 1, fail-on: {severity: hi}}",
	} {
		if _, err := Parse("p", []byte(policy)); err == nil {
			t.Errorf("the reader takes %s", policy)
		}
		if validates(t, s, policy) == nil {
			t.Errorf("the schema takes %s", policy)
		}
	}
}
