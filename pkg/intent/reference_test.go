package intent

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"github.com/org/edamame-posture/pkg/credential"
)

var updateReference = flag.Bool("update", false, "write docs/policy-reference.md anew")

const (
	schemaFile    = "../../docs/policy.schema.json"
	referenceFile = "../../docs/policy-reference.md"
)

// reference writes the page of docs/policy-reference.md from the schema. The
// schema is JSON, and so YAML, whose reader keeps the order of keys.
type reference struct {
	defs *yaml.Node
	b    strings.Builder
}

func member(n *yaml.Node, key string) *yaml.Node {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

func value(n *yaml.Node) string {
	if n == nil {
		return ""
	}
	return n.Value
}

// ref returns what a node says, or what it refers to, and that one's name.
func (r *reference) ref(n *yaml.Node) (*yaml.Node, string) {
	name := strings.TrimPrefix(value(member(n, "$ref")), "#/$defs/")
	if name == "" {
		return n, ""
	}
	return member(r.defs, name), name
}

// form says in a few words what a value looks like.
func (r *reference) form(n *yaml.Node) string {
	if d, name := r.ref(n); name != "" {
		if member(d, "properties") != nil || member(d, "type") == nil || value(member(d, "type")) == "array" || member(d, "pattern") != nil || strings.HasPrefix(name, "credential") {
			return "[" + name + "](#" + strings.ToLower(name) + ")"
		}
		n = d
	}
	if c := member(n, "const"); c != nil {
		return "`" + c.Value + "`"
	}
	if e := member(n, "enum"); e != nil {
		var words []string
		for _, w := range e.Content {
			words = append(words, "`"+w.Value+"`")
		}
		return strings.Join(words, ", ")
	}
	for _, key := range []string{"oneOf", "anyOf"} {
		if list := member(n, key); list != nil {
			var forms []string
			for _, f := range list.Content {
				forms = append(forms, r.form(f))
			}
			return strings.Join(forms, ", or ")
		}
	}
	kind := member(n, "type")
	if kind != nil && kind.Kind == yaml.SequenceNode {
		var forms []string
		for _, k := range kind.Content {
			one := *n
			one.Content = []*yaml.Node{{Kind: yaml.ScalarNode, Value: "type"}, k}
			if p := member(n, "properties"); p != nil {
				one.Content = append(one.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: "properties"}, p)
			}
			forms = append(forms, r.form(&one))
		}
		return strings.Join(forms, ", or ")
	}
	switch value(kind) {
	case "array":
		return "a list, each " + r.form(member(n, "items"))
	case "object":
		if p := member(n, "properties"); p != nil {
			var keys []string
			for i := 0; i < len(p.Content); i += 2 {
				keys = append(keys, "`"+p.Content[i].Value+"`")
			}
			return "a mapping of " + strings.Join(keys, ", ")
		}
		if each := member(n, "additionalProperties"); each != nil && each.Kind == yaml.MappingNode {
			return "a mapping, each value " + r.form(each)
		}
		return "a mapping"
	case "string":
		if p := value(member(n, "pattern")); p != "" {
			return "text like `" + strings.ReplaceAll(p, "|", "\\|") + "`"
		}
		return "text"
	case "integer":
		s := "a number"
		if low := value(member(n, "minimum")); low != "" {
			s += " from " + low
		}
		if high := value(member(n, "maximum")); high != "" {
			s += " to " + high
		}
		return s
	case "null":
		return "nothing"
	}
	return "anything"
}

// properties writes the keys of a mapping, of those below it too, as a table.
func (r *reference) properties(n *yaml.Node) {
	p := member(n, "properties")
	if p == nil {
		return
	}
	needed := map[string]bool{}
	if list := member(n, "required"); list != nil {
		for _, k := range list.Content {
			needed[k.Value] = true
		}
	}
	r.b.WriteString("\n| key | value | meaning |\n|---|---|---|\n")
	for i := 0; i+1 < len(p.Content); i += 2 {
		key, v := p.Content[i].Value, p.Content[i+1]
		means := value(member(v, "description"))
		if d, name := r.ref(v); means == "" && name != "" {
			means = value(member(d, "description"))
		}
		if needed[key] {
			means = strings.TrimSpace("Must be there. " + means)
		}
		if d := member(v, "default"); d != nil {
			means = strings.TrimSpace(means + " `" + d.Value + "` where it is left out.")
		}
		fmt.Fprintf(&r.b, "| `%s` | %s | %s |\n", key, r.form(v), strings.ReplaceAll(means, "|", "\\|"))
	}
}

// mappings writes the tables of a node and of the mappings inside it.
func (r *reference) mappings(n *yaml.Node) {
	if n == nil {
		return
	}
	r.properties(n)
	for _, key := range []string{"oneOf", "anyOf"} {
		if list := member(n, key); list != nil {
			for _, f := range list.Content {
				r.mappings(f)
			}
		}
	}
	r.mappings(member(n, "items"))
	if p := member(n, "properties"); p != nil {
		for i := 0; i+1 < len(p.Content); i += 2 {
			if v := p.Content[i+1]; member(v, "$ref") == nil && (strings.Contains(r.form(v), "a mapping of")) {
				fmt.Fprintf(&r.b, "\nIn `%s`:\n", p.Content[i].Value)
				r.mappings(v)
			}
		}
	}
}

func writeReference(schema []byte) (string, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(schema, &doc); err != nil {
		return "", err
	}
	root := doc.Content[0]
	r := &reference{defs: member(root, "$defs")}
	r.b.WriteString("# Policy reference\n\nMade from [policy.schema.json](policy.schema.json) by `go test ./pkg/intent -run Reference -update`; [policy.md](policy.md) explains it.\n\n" +
		value(member(root, "description")) + "\n\n## The file\n")
	r.mappings(root)
	for i := 0; i+1 < len(r.defs.Content); i += 2 {
		n := r.defs.Content[i+1]
		fmt.Fprintf(&r.b, "\n## %s\n\n", r.defs.Content[i].Value)
		if d := value(member(n, "description")); d != "" {
			r.b.WriteString(d + "\n\n")
		}
		r.b.WriteString("It is " + r.form(n) + ".\n")
		if e := member(n, "examples"); e != nil {
			var shown []string
			for _, x := range e.Content {
				if x.Kind == yaml.ScalarNode {
					shown = append(shown, "`"+x.Value+"`")
				}
			}
			if len(shown) > 0 {
				r.b.WriteString("\nFor example " + strings.Join(shown, ", ") + ".\n")
			}
		}
		r.mappings(n)
	}
	return r.b.String(), nil
}

func TestThePolicyReferenceIsThatOfTheSchema(t *testing.T) {
	schema, err := os.ReadFile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	want, err := writeReference(schema)
	if err != nil {
		t.Fatal(err)
	}
	if *updateReference {
		if err := os.WriteFile(referenceFile, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(referenceFile)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s is not that of the schema: write it anew with -update", referenceFile)
	}
	for _, word := range []string{"`egress`", "`suppress`", "`fail-on`", "`sha256`", "`upload`"} {
		if !strings.Contains(want, word) {
			t.Errorf("there is no %s", word)
		}
	}
}

// The schema and the page have the classes that there are, and no others.
func TestTheClassesOfCredentialsAreInSchemaAndPage(t *testing.T) {
	text, err := os.ReadFile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	var schema struct {
		Defs struct {
			Class struct{ Enum []string } `json:"credentialClass"`
		} `json:"$defs"`
	}
	if err := json.Unmarshal(text, &schema); err != nil {
		t.Fatal(err)
	}
	want := slices.Sorted(slices.Values(classes()))
	if !slices.Equal(schema.Defs.Class.Enum, want) {
		t.Errorf("the schema has %q, and there are %q", schema.Defs.Class.Enum, want)
	}
	page, err := os.ReadFile("../../docs/policy.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range credential.Classes() {
		if row := fmt.Sprintf("| `%s` | %s |\n", c.Name.String(), c.About); !strings.Contains(string(page), row) {
			t.Errorf("docs/policy.md has no line %q", row)
		}
	}
}
