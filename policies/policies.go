// Package policies embeds the data that ships with the program: presets that
// a policy names with `use`, and signatures, the Sigma rules for known attack
// shapes. It imports nothing of this project, so anyone may import it.
//
// A preset is a YAML file of the same name in presets/:
//
//	name: node
//	description: what npm, pnpm and yarn need to install packages
//	source: where the list comes from
//	egress: ["*.npmjs.org:443"]
//
// Package registries stand in it as wildcard domains only.
package policies

import (
	"embed"
	"io/fs"
	"strings"
)

// Version names the state of the data, for the verdict's inputs. It changes
// with every change of a rule or preset.
const Version = "6"

//go:embed presets/*.yml signatures/*.yml actions.yml commands.yml indicators.yml brands.yml suffixes.txt
var data embed.FS

// Presets returns the files of presets/.
func Presets() fs.FS { return sub("presets") }

// Signatures returns the files of signatures/.
func Signatures() fs.FS { return sub("signatures") }

// Preset returns the file of a preset and whether there is one.
func Preset(name string) ([]byte, bool) {
	if strings.ContainsAny(name, "/\\.") {
		return nil, false
	}
	b, err := data.ReadFile("presets/" + name + ".yml")
	return b, err == nil
}

// PresetNames returns the names of all presets, sorted.
func PresetNames() []string {
	entries, err := data.ReadDir("presets")
	if err != nil {
		panic(err) // cannot be: the folder is embedded
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = strings.TrimSuffix(e.Name(), ".yml")
	}
	return names
}

// Actions returns actions.yml, what well-known actions contact.
func Actions() []byte { return mustRead("actions.yml") }

// Commands returns commands.yml, what well-known programs contact.
func Commands() []byte { return mustRead("commands.yml") }

// Indicators returns indicators.yml, what known attacks left.
func Indicators() []byte { return mustRead("indicators.yml") }

// Brands returns brands.yml, names that attacks imitate and who holds them.
func Brands() []byte { return mustRead("brands.yml") }

// Suffixes returns suffixes.txt, below what anybody can register a name.
func Suffixes() []byte { return mustRead("suffixes.txt") }

func mustRead(name string) []byte {
	b, err := data.ReadFile(name)
	if err != nil {
		panic(err) // cannot be: the file is embedded
	}
	return b
}

func sub(dir string) fs.FS {
	f, err := fs.Sub(data, dir)
	if err != nil {
		panic(err) // cannot be: dir is one of two constants
	}
	return f
}
