package attest

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// maxWalk bounds how many names are looked at for a pattern with **.
const maxWalk = 1_000_000

// maxList bounds the runner's list of artifacts, in bytes.
const maxList = 4 << 20

// ErrNoSubject is a pattern that no file fits: whoever wrote it expects one.
var ErrNoSubject = errors.New("no file fits")

// Files takes the SHA-256 of the files that fit patterns of [path.Match], in
// which ** stands for any folders, below the folder workspace. Their names are
// relative to it. A pattern that no file fits, a link, and whatever leads out
// of the folder are errors.
func Files(workspace string, patterns []string) ([]Subject, error) {
	if len(patterns) == 0 {
		return nil, nil
	}
	dir, err := os.OpenRoot(workspace)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	var out []Subject
	seen := map[string]bool{}
	for _, p := range patterns {
		clean, err := inside(workspace, p)
		if err != nil {
			return nil, err
		}
		names, err := glob(dir.FS(), clean)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", p, err)
		}
		if len(names) == 0 {
			return nil, fmt.Errorf("%q in %s: %w", p, workspace, ErrNoSubject)
		}
		for _, name := range names {
			if seen[name] {
				continue
			}
			seen[name] = true
			if len(seen) > maxSubjects {
				return nil, fmt.Errorf("%q: more than %d files: sign a list of their digests, or an archive of them", p, maxSubjects)
			}
			sum, err := digest(dir, name)
			if err != nil {
				return nil, err
			}
			out = append(out, Subject{Name: name, Digest: Digest{SHA256: sum}})
		}
	}
	return out, nil
}

// inside returns a name or pattern relative to the workspace.
func inside(workspace, name string) (string, error) {
	if filepath.IsAbs(name) {
		rel, err := filepath.Rel(workspace, name)
		if err != nil {
			return "", err
		}
		name = rel
	}
	clean := path.Clean(name)
	if !filepath.IsLocal(clean) {
		return "", fmt.Errorf("%q is outside of %s: only what lies in it can be a subject", name, workspace)
	}
	return clean, nil
}

// glob returns the names of what fits, but for folders, in order.
func glob(dir fs.FS, pattern string) ([]string, error) {
	want := strings.Split(pattern, "/")
	for _, w := range want {
		if _, err := path.Match(w, ""); err != nil {
			return nil, err
		}
	}
	// Walked from the last folder that has no pattern in its name.
	start := 0
	for start < len(want)-1 && !strings.ContainsAny(want[start], `*?[\`) {
		start++
	}
	var names []string
	looked := 0
	err := fs.WalkDir(dir, path.Join(append([]string{"."}, want[:start]...)...), func(name string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if looked++; looked > maxWalk {
			return fmt.Errorf("more than %d names below it: say more of the path", maxWalk)
		}
		if !e.IsDir() && fits(want, strings.Split(name, "/")) {
			names = append(names, name)
		}
		return nil
	})
	return names, err
}

// fits compares name by name; ** is none or more of them.
func fits(pattern, name []string) bool {
	if len(pattern) == 0 {
		return len(name) == 0
	}
	if pattern[0] == "**" {
		return fits(pattern[1:], name) || len(name) > 0 && fits(pattern, name[1:])
	}
	if len(name) == 0 {
		return false
	}
	ok, _ := path.Match(pattern[0], name[0])
	return ok && fits(pattern[1:], name[1:])
}

// digest reads a regular file, which no link leads to, and which does not
// change meanwhile.
func digest(dir *os.Root, name string) (string, error) {
	for at := name; at != "."; at = path.Dir(at) {
		st, err := dir.Lstat(at)
		if err != nil {
			return "", err
		}
		if st.Mode()&fs.ModeSymlink != 0 {
			return "", fmt.Errorf("%s is a symbolic link, and what it points to can be changed: name the file itself", at)
		}
		if at == name && !st.Mode().IsRegular() {
			return "", fmt.Errorf("%s is not a regular file", at)
		}
	}
	// Not waiting for a writer, should it be a pipe by now.
	f, err := dir.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if err != nil {
		return "", err
	}
	defer f.Close()
	before, err := f.Stat()
	if err != nil {
		return "", err
	}
	if !before.Mode().IsRegular() {
		return "", fmt.Errorf("%s is not a regular file", name)
	}
	h := sha256.New()
	n, err := io.Copy(h, io.LimitReader(f, before.Size()+1))
	if err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	after, err := f.Stat()
	if err != nil {
		return "", err
	}
	if n != before.Size() || after.Size() != before.Size() || !after.ModTime().Equal(before.ModTime()) {
		return "", fmt.Errorf("%s was changed while it was read: something of the job still runs", name)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// RunnerSubjects returns what a GitHub runner says the job made and from what:
// the commit (GITHUB_SHA), and the artifacts of its list
// (GITHUB_ARTIFACTS_LIST). Files of the list are read, and must have the digest
// it says; of an image in a registry there is only its word, as there is of the
// commit, which verifiers compare with the certificate's. Outside of a runner
// there are none. getenv is [os.Getenv].
func RunnerSubjects(workspace string, getenv func(string) string) ([]Subject, error) {
	var out []Subject
	if sha, repo := getenv("GITHUB_SHA"), getenv("GITHUB_REPOSITORY"); sha != "" && repo != "" {
		name := strings.TrimRight(getenv("GITHUB_SERVER_URL"), "/") + "/" + repo
		out = append(out, Subject{Name: short(name), Digest: Digest{GitCommit: strings.ToLower(sha)}})
	}
	file := getenv("GITHUB_ARTIFACTS_LIST")
	if file == "" {
		return out, nil
	}
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return out, nil // nothing was uploaded
	}
	if err != nil {
		return nil, fmt.Errorf("GITHUB_ARTIFACTS_LIST: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxList+1))
	if err != nil {
		return nil, fmt.Errorf("GITHUB_ARTIFACTS_LIST: %w", err)
	}
	listed, err := parseArtifacts(data)
	if err != nil {
		return nil, fmt.Errorf("GITHUB_ARTIFACTS_LIST: %s: %w", file, err)
	}
	if len(listed) == 0 {
		return out, nil
	}
	dir, err := os.OpenRoot(workspace)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	for _, a := range listed {
		sum := strings.TrimPrefix(a.Digest, "sha256:")
		if a.Kind == "file" {
			name, err := inside(workspace, a.Name)
			if err != nil {
				return nil, fmt.Errorf("GITHUB_ARTIFACTS_LIST: %w", err)
			}
			ours, err := digest(dir, name)
			if err != nil {
				return nil, fmt.Errorf("GITHUB_ARTIFACTS_LIST: %w", err)
			}
			if ours != sum {
				return nil, fmt.Errorf("GITHUB_ARTIFACTS_LIST: %.200q has the SHA-256 %s, the list says %.80q: it was changed after it was uploaded", name, ours, sum)
			}
		}
		sub := Subject{Name: a.Name, Digest: Digest{SHA256: sum}}
		if a.Kind != "file" {
			sub.MediaType = ImageType
		}
		out = append(out, sub)
	}
	return out, nil
}

// artifact is an entry of the runner's list.
type artifact struct{ Name, Digest, Kind string }

// parseArtifacts reads the runner's list of artifacts, version 1:
// {"version":1,"subjects":[{"name":…,"digest":"sha256:…","kind":"file"|"oci"}]}.
func parseArtifacts(data []byte) ([]artifact, error) {
	if len(data) > maxList {
		return nil, fmt.Errorf("it has more than %d bytes", maxList)
	}
	if err := checkJSON(data); err != nil {
		return nil, err
	}
	var l struct {
		Version  int
		Subjects []artifact
	}
	if err := json.Unmarshal(data, &l); err != nil {
		return nil, err
	}
	if l.Version != 1 {
		return nil, fmt.Errorf("version is %d, want 1", l.Version)
	}
	if len(l.Subjects) > maxSubjects {
		return nil, fmt.Errorf("it names %d artifacts, %d are allowed", len(l.Subjects), maxSubjects)
	}
	for _, a := range l.Subjects {
		switch {
		case a.Kind != "file" && a.Kind != "oci":
			return nil, fmt.Errorf("%.80q is of kind %.40q, want file or oci", a.Name, a.Kind)
		case a.Name == "" || len(a.Name) > 4096:
			return nil, errors.New("an artifact has no name, or one that is too long")
		case !strings.HasPrefix(a.Digest, "sha256:") || !isHex(a.Digest[7:], 64):
			return nil, fmt.Errorf("%.80q has the digest %.100q, want sha256: and 64 hexadecimal digits in lower case", a.Name, a.Digest)
		}
	}
	return l.Subjects, nil
}
