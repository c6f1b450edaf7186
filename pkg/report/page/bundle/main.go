// Command bundle makes one classic script of the modules of the report's page,
// so that the page needs no loader: each is put into one function after those
// that it imports, without its import lines and the word export. Modules name
// what they share alike everywhere, so nothing else is needed.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"

	"github.com/klauspost/compress/zstd"
)

func main() {
	out := flag.String("out", "", "the `FILE` to write")
	flag.Parse()
	b, err := bundle(flag.Arg(0))
	if err == nil {
		err = os.WriteFile(*out, b, 0o644)
	}
	// What the program carries: it is small that way.
	if err == nil {
		err = pack(*out, *out+".zst")
	}
	if err == nil {
		err = pack(filepath.Join(flag.Arg(0), "report.css"), filepath.Join(filepath.Dir(*out), "report.css.zst"))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bundle:", err)
		os.Exit(1)
	}
}

// pack writes a file compressed to another.
func pack(from, to string) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return err
	}
	defer e.Close()
	return os.WriteFile(to, e.EncodeAll(text, nil), 0o644)
}

var (
	imports  = regexp.MustCompile(`(?m)^import \{[^}]*\} from "\./([a-z]+)\.js";\n`)
	exported = regexp.MustCompile(`(?m)^export `)
)

// bundle returns the script whose entry is main.js in dir.
func bundle(dir string) ([]byte, error) {
	var out bytes.Buffer
	out.WriteString("// Made by page/bundle from the modules beside it: change those.\n(() => {\n\"use strict\";\n")
	seen := map[string]bool{}
	var add func(name string) error
	add = func(name string) error {
		if seen[name] {
			return nil
		}
		seen[name] = true
		src, err := os.ReadFile(filepath.Join(dir, name+".js"))
		if err != nil {
			return err
		}
		for _, m := range imports.FindAllSubmatch(src, -1) {
			if err := add(string(m[1])); err != nil {
				return err
			}
		}
		src = exported.ReplaceAll(imports.ReplaceAll(src, nil), nil)
		if bytes.Contains(bytes.ToLower(src), []byte("</script")) {
			return fmt.Errorf("%s.js would end the element that it stands in", name)
		}
		fmt.Fprintf(&out, "\n// %s.js\n%s", name, bytes.TrimLeft(src, "\n"))
		return nil
	}
	if err := add("main"); err != nil {
		return nil, err
	}
	out.WriteString("})();\n")
	return out.Bytes(), nil
}
