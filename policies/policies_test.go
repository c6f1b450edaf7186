package policies

import (
	"io/fs"
	"strings"
	"testing"
)

func TestEveryPresetIsFoundByItsName(t *testing.T) {
	names := PresetNames()
	if len(names) < 5 {
		t.Fatalf("presets: %q, want at least five", names)
	}
	for _, n := range names {
		b, ok := Preset(n)
		if !ok || !strings.HasPrefix(string(b), "name: "+n+"\n") {
			t.Errorf("preset %q: found %v, does not begin with its name", n, ok)
		}
		if !strings.Contains(string(b), "\nsource: ") {
			t.Errorf("preset %q does not say where its list comes from", n)
		}
	}
}

func TestANameThatIsAPathIsNoPreset(t *testing.T) {
	for _, n := range []string{"", "../policies", "presets/node", "node.yml", "absent"} {
		if _, ok := Preset(n); ok {
			t.Errorf("Preset(%q) found something", n)
		}
	}
}

func TestSignaturesAreEmbedded(t *testing.T) {
	m, err := fs.Glob(Signatures(), "*.yml")
	if err != nil || len(m) < 3 {
		t.Fatalf("signatures: %q, %v; want at least three", m, err)
	}
	if m, _ := fs.Glob(Presets(), "*.yml"); len(m) != len(PresetNames()) {
		t.Fatalf("Presets() holds %q, names are %q", m, PresetNames())
	}
}
