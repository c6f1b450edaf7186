// Edamame-release makes of a checkout with built programs what a release has:
// it writes their SHA-256 into the action's shim, and a list of what each is
// made of.
//
//	go run ./cmd/edamame-release -version 1.2.3
//
// It reads bin/linux-amd64/edamame-posture and bin/linux-arm64/edamame-posture,
// changes action/shim.js, and writes bin/linux-ARCH.cdx.json (CycloneDX 1.6).
// The same programs give the same bytes.
package main

import (
	"bytes"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// archs are the processors that a release has programs for, as the shim names
// them.
var archs = []string{"amd64", "arm64"}

func main() {
	version := flag.String("version", "", "`X.Y.Z` that is released")
	root := flag.String("root", ".", "`FOLDER` of the checkout")
	flag.Parse()
	if err := release(*root, *version); err != nil {
		fmt.Fprintln(os.Stderr, "edamame-release:", err)
		os.Exit(1)
	}
}

var number = regexp.MustCompile(`^(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)(-[0-9a-z.]+)?$`)

func release(root, version string) error {
	if !number.MatchString(version) {
		return fmt.Errorf("version %q: want X.Y.Z, without a v", version)
	}
	sums := map[string]string{}
	for _, arch := range archs {
		program, err := os.ReadFile(filepath.Join(root, "bin", "linux-"+arch, "edamame-posture"))
		if err != nil {
			return err
		}
		sum := sha256.Sum256(program)
		sums[arch] = hex.EncodeToString(sum[:])
		info, err := buildinfo.Read(bytes.NewReader(program))
		if err != nil {
			return fmt.Errorf("linux-%s: %w", arch, err)
		}
		if got := setting(info, "GOARCH"); got != arch {
			return fmt.Errorf("bin/linux-%s holds a program for %s", arch, got)
		}
		list, err := materials(info, version, sums[arch])
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(root, "bin", "linux-"+arch+".cdx.json"), list, 0o644); err != nil {
			return err
		}
	}
	shim := filepath.Join(root, "action", "shim.js")
	text, err := os.ReadFile(shim)
	if err != nil {
		return err
	}
	text, err = table(text, version, sums)
	if err != nil {
		return fmt.Errorf("%s: %w", shim, err)
	}
	return os.WriteFile(shim, text, 0o644)
}

func setting(info *buildinfo.BuildInfo, key string) string {
	for _, s := range info.Settings {
		if s.Key == key {
			return s.Value
		}
	}
	return ""
}

// line is what the shim has for the table, of a release or of none.
var line = regexp.MustCompile(`(?m)^const RELEASE = \{ version: '[^'\n]*', sha256: \{[^}\n]*\} \};$`)

// table writes version and digests into the shim's text.
func table(shim []byte, version string, sums map[string]string) ([]byte, error) {
	at := line.FindAllIndex(shim, -1)
	if len(at) != 1 {
		return nil, errors.New("it must have one line `const RELEASE = { version: '', sha256: {} };`")
	}
	var entries []string
	for _, arch := range archs {
		entries = append(entries, fmt.Sprintf("%s: '%s'", arch, sums[arch]))
	}
	made := fmt.Sprintf("const RELEASE = { version: '%s', sha256: { %s } };", version, strings.Join(entries, ", "))
	return bytes.Join([][]byte{shim[:at[0][0]], []byte(made), shim[at[0][1]:]}, nil), nil
}

// The parts of CycloneDX that are used: https://cyclonedx.org/docs/1.6/json/.
type (
	bom struct {
		Format     string      `json:"bomFormat"`
		Spec       string      `json:"specVersion"`
		Version    int         `json:"version"`
		Metadata   metadata    `json:"metadata"`
		Components []component `json:"components"`
	}
	metadata struct {
		Component component `json:"component"`
	}
	component struct {
		Type    string `json:"type"`
		Ref     string `json:"bom-ref"`
		Name    string `json:"name"`
		Version string `json:"version"`
		PURL    string `json:"purl"`
		Hashes  []hash `json:"hashes,omitempty"`
	}
	hash struct {
		Alg     string `json:"alg"`
		Content string `json:"content"`
	}
)

// materials lists what a program was built from, as the Go linker has written
// it into the program.
func materials(info *buildinfo.BuildInfo, version, sum string) ([]byte, error) {
	if info.Main.Path == "" {
		return nil, errors.New("the program does not say what it was built from: build it with modules")
	}
	b := bom{Format: "CycloneDX", Spec: "1.6", Version: 1, Components: []component{}}
	b.Metadata.Component = module("application", info.Main.Path, "v"+version)
	b.Metadata.Component.Hashes = []hash{{"SHA-256", sum}}
	b.Components = append(b.Components, module("library", "std", strings.TrimPrefix(info.GoVersion, "go")))
	for _, d := range info.Deps {
		if d.Replace != nil {
			d = d.Replace
		}
		b.Components = append(b.Components, module("library", d.Path, d.Version))
	}
	out, err := json.MarshalIndent(b, "", " ")
	return append(out, '\n'), err
}

func module(kind, path, version string) component {
	purl := "pkg:golang/" + (&url.URL{Path: path}).EscapedPath() + "@" + url.QueryEscape(version)
	return component{Type: kind, Ref: purl, Name: path, Version: version, PURL: purl}
}
