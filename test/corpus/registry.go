package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// npmRegistry stands for a registry of npm: a package is a folder of dir with
// a package.json, packed when it is asked for. What is published is accepted
// and kept nowhere but among the requests.
func npmRegistry(rw http.ResponseWriter, r *http.Request, dir string) {
	path, err := url.PathUnescape(r.URL.EscapedPath())
	if err != nil || strings.Contains(path, "..") {
		http.NotFound(rw, r)
		return
	}
	rw.Header().Set("Content-Type", "application/json")
	switch {
	case r.Method == http.MethodPut:
		rw.WriteHeader(http.StatusCreated)
		fmt.Fprintln(rw, `{"ok":true}`)
		return
	case strings.HasPrefix(path, "/-/whoami"):
		fmt.Fprintln(rw, `{"username":"canary"}`)
		return
	case strings.HasPrefix(path, "/-/"):
		fmt.Fprintln(rw, `{}`)
		return
	}
	name, file, tarball := strings.Cut(strings.TrimPrefix(path, "/"), "/-/")
	text, err := os.ReadFile(filepath.Join(dir, name, "package.json"))
	if err != nil {
		http.NotFound(rw, r)
		return
	}
	packed, err := pack(filepath.Join(dir, name), "package")
	if err != nil {
		http.Error(rw, err.Error(), http.StatusInternalServerError)
		return
	}
	if tarball {
		_ = file
		_, _ = rw.Write(packed)
		return
	}
	var manifest map[string]any
	if err := json.Unmarshal(text, &manifest); err != nil {
		http.Error(rw, err.Error(), http.StatusInternalServerError)
		return
	}
	version, _ := manifest["version"].(string)
	sum := sha512.Sum512(packed)
	manifest["dist"] = map[string]any{
		"tarball":   fmt.Sprintf("http://registry.test/%s/-/%s-%s.tgz", name, filepath.Base(name), version),
		"integrity": "sha512-" + base64.StdEncoding.EncodeToString(sum[:]),
	}
	if scripts, ok := manifest["scripts"].(map[string]any); ok {
		for _, s := range []string{"preinstall", "install", "postinstall"} {
			if scripts[s] != nil {
				manifest["hasInstallScript"] = true
			}
		}
	}
	if _, err := os.Stat(filepath.Join(dir, name, "binding.gyp")); err == nil {
		manifest["gypfile"], manifest["hasInstallScript"] = true, true
		manifest["scripts"] = map[string]string{"install": "node-gyp rebuild"}
	}
	_ = json.NewEncoder(rw).Encode(map[string]any{
		"name": name, "dist-tags": map[string]string{"latest": version}, "versions": map[string]any{version: manifest},
	})
}

// pack returns a folder as a tar.gz whose files are below root.
func pack(dir, root string) ([]byte, error) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	t := tar.NewWriter(z)
	err := each(dir, func(name string, mode fs.FileMode, text []byte) error {
		if err := t.WriteHeader(&tar.Header{Name: root + "/" + name, Mode: int64(mode.Perm()), Size: int64(len(text))}); err != nil {
			return err
		}
		_, err := t.Write(text)
		return err
	})
	if err == nil {
		err = t.Close()
	}
	if err == nil {
		err = z.Close()
	}
	return b.Bytes(), err
}

func each(dir string, do func(name string, mode fs.FileMode, text []byte) error) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		return do(name, info.Mode(), text)
	})
}

// pythonIndex stands for an index of Python packages (PEP 503): NAME-VERSION
// is a folder of dir, a source distribution where it has a setup.py, else what
// a wheel holds.
func pythonIndex(rw http.ResponseWriter, r *http.Request, dir string) {
	folders, _ := os.ReadDir(dir)
	for _, f := range folders {
		name, version, _ := strings.Cut(f.Name(), "-")
		from := filepath.Join(dir, f.Name())
		file, build := f.Name()+"-py3-none-any.whl", func() ([]byte, error) { return wheel(from, name, version) }
		if _, err := os.Stat(filepath.Join(from, "setup.py")); err == nil {
			file, build = f.Name()+".tar.gz", func() ([]byte, error) { return pack(from, f.Name()) }
		}
		switch strings.Trim(r.URL.Path, "/") {
		case "simple/" + strings.ReplaceAll(name, "_", "-"):
			fmt.Fprintf(rw, "<!DOCTYPE html><html><body><a href=\"/files/%s\">%[1]s</a></body></html>\n", file)
			return
		case "files/" + file:
			b, err := build()
			if err != nil {
				http.Error(rw, err.Error(), http.StatusInternalServerError)
				return
			}
			_, _ = rw.Write(b)
			return
		}
	}
	http.NotFound(rw, r)
}

// wheel packs a folder as a wheel (PEP 427).
func wheel(dir, name, version string) ([]byte, error) {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	info := name + "-" + version + ".dist-info/"
	record := ""
	add := func(path string, text []byte) error {
		f, err := z.Create(path)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(text)
		record += path + ",sha256=" + base64.RawURLEncoding.EncodeToString(sum[:]) + fmt.Sprintf(",%d\n", len(text))
		_, err = f.Write(text)
		return err
	}
	err := each(dir, func(path string, _ fs.FileMode, text []byte) error { return add(path, text) })
	for _, f := range [][2]string{
		{"METADATA", "Metadata-Version: 2.1\nName: " + name + "\nVersion: " + version + "\n"},
		{"WHEEL", "Wheel-Version: 1.0\nGenerator: corpus\nRoot-Is-Purelib: true\nTag: py3-none-any\n"},
	} {
		if err == nil {
			err = add(info+f[0], []byte(f[1]))
		}
	}
	if err == nil {
		record += info + "RECORD,,\n"
		err = add(info+"RECORD", []byte(record))
	}
	if err == nil {
		err = z.Close()
	}
	return b.Bytes(), err
}
