package intent

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"time"

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

// examples returns the YAML blocks of the reference that are whole policies;
// one with cases is the tests of one.
func examples(t *testing.T) []string {
	t.Helper()
	data, err := os.ReadFile("../../docs/policy.md")
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for i, block := range strings.Split(string(data), "```") {
		if body, ok := strings.CutPrefix(block, "yaml\n"); ok && i%2 == 1 && !strings.Contains(body, "\ncases:\n") {
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
	return s.Validate(asText(v))
}

// asText has the days of a policy as the text that they are to the reader and
// to editors; yaml.v3 makes times of them.
func asText(v any) any {
	switch v := v.(type) {
	case time.Time:
		return v.Format(time.DateOnly)
	case []any:
		for i := range v {
			v[i] = asText(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = asText(v[k])
		}
	}
	return v
}

func TestTheExamplesOfTheReferenceParseAndValidate(t *testing.T) {
	s := schema(t)
	for _, policy := range append(examples(t), example, "version: 1\njobs: {a: }\nuse: node\nroot: [sudo]\nfail-on: {score: never}\ncredentials: [{class: npm, by: x}, {class: git, to: 'a.example:443'}]\negress: [{to: 'a:1', upload: 5 MiB}, {to: 'b:1', upload: 7}, {to: 'c:1', http: GET}, {to: 'd:1', http: ['* /a/*', 'M-SEARCH /**']}]\nsuppress: [{rule: x, reason: y, owner: z, until: 2027-03-01}]", "{version: 1, exec: [{to: x, sha256: "+digests(10)[0]+"}, {to: y, sha256: ["+digests(10)[0]+"]}]}") {
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
		"{version: 1, egress: [{by: [x]}]}", "{version: 1, egress: [{to: 'a:1', by: [/bin/x]}]}", "{version: 1, egress: [{to: 'a:1', upload: 1XB}]}", "{version: 1, egress: [{to: 'a:1', upload: 0}]}", "{version: 1, listen: [{to: '127.0.0.1:1', upload: 1}]}",
		"{version: 1, egress: [{to: 'a:1', http: []}]}", "{version: 1, egress: [{to: 'a:1', http: [/v1]}]}", "{version: 1, egress: [{to: 'a:1', http: ['GET /v1?x']}]}", "{version: 1, egress: [{to: 'a:1', http: get}]}", "{version: 1, write: [{to: x, http: GET}]}", "{version: 1, egress: [{to: 'a:1', key: [sk-1]}]}", "{version: 1, egress: [{to: 'a:1', key: []}]}", "{version: 1, write: [{to: x, key: T}]}",
		"{version: 1, credentials: [{class: npm, to: []}]}", "{version: 1, credentials: [{class: npm, to: [a.example]}]}", "{version: 1, exec: [{to: npm, class: npm}]}",
		"{version: 1, exec: [{to: x, sha256: abc}]}", "{version: 1, exec: [{to: x, sha256: []}]}", "{version: 1, write: [{to: x, sha256: " + digests(1)[0] + "}]}", "{version: 1, exec: [{to: x, sha256: [" + strings.ToUpper(digests(10)[0]) + "]}]}",
		"{version: 1, agents: {claude: {}}}", "{version: 1, agents: {codex: {root: [sudo]}}}", "{version: 1, suppress: [{rule: x}]}", "{version: 1, suppress: [{rule: x, reason: y, owner: z, until: tomorrow}]}", "{version: 1, jobs: {a: {suppress: []}}}", "{version: 1, jobs: {a: {fail-on: never}}}", "{version: 1, fail-on: {score: 0}}", "{version: 1, fail-on: {severity: hi}}",
	} {
		if _, err := Parse("p", []byte(policy)); err == nil {
			t.Errorf("the reader takes %s", policy)
		}
		if validates(t, s, policy) == nil {
			t.Errorf("the schema takes %s", policy)
		}
	}
}
