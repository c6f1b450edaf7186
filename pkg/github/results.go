package github

import (
	"archive/zip"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/go-github/v62/github"

	"github.com/org/edamame-posture/pkg/attest"
)

// Bounds of what is fetched of a run.
const (
	maxResults     = 500 // artifacts
	maxResultFiles = 4096
	maxResultBytes = 4 << 30 // of one artifact, unpacked
	fetchTries     = 3
)

// ErrNoResults is a run that stored no results of ours.
var ErrNoResults = errors.New("the run has no artifact whose name begins with posture-: did its jobs use the action, with upload-evidence, and has the token actions: read?")

// Run is a run of a workflow at GitHub, of which results are fetched.
type Run struct {
	API        string // base URL; empty is api.github.com
	Repository string // OWNER/REPO
	ID         int64
	Name       string // of the one artifact that is wanted; empty for all
	Token      string // actions: read
}

// Fetch puts each of the run's artifacts that the action has made into a folder
// of its own below dir, which must be empty, and returns their names. Of two
// attempts' artifacts of one name the newest counts. What is in them is whatever
// the watched job stored there: it is to be checked.
func (r *Run) Fetch(ctx context.Context, dir string) ([]string, error) {
	c, err := (&Attestations{API: r.API, Repository: r.Repository, Token: r.Token}).client(ctx)
	if err != nil {
		return nil, err
	}
	owner, repo, _ := strings.Cut(r.Repository, "/")
	newest := map[string]*github.Artifact{}
	for page, seen := 1, 0; page > 0; {
		list, resp, err := c.Actions.ListWorkflowRunArtifacts(ctx, owner, repo, r.ID, &github.ListOptions{Page: page, PerPage: 100})
		if err != nil {
			return nil, fmt.Errorf("the run's artifacts: %w", bare(err))
		}
		if seen += len(list.Artifacts); seen > maxResults {
			return nil, fmt.Errorf("the run has more than %d artifacts: name those that count", maxResults)
		}
		for _, a := range list.Artifacts {
			name := a.GetName()
			if r.Name != "" && name != r.Name {
				continue
			}
			if strings.HasPrefix(name, "posture-") && ArtifactName(strings.TrimPrefix(name, "posture-"), "") == name && !a.GetExpired() && a.GetID() > newest[name].GetID() {
				newest[name] = a
			}
		}
		page = resp.NextPage
	}
	if len(newest) == 0 {
		return nil, ErrNoResults
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	names := slices.Sorted(maps.Keys(newest))
	for _, name := range names {
		at, _, err := c.Actions.DownloadArtifact(ctx, owner, repo, newest[name].GetID(), 1)
		if err != nil {
			return nil, fmt.Errorf("artifact %s: %w", name, bare(err))
		}
		if err := fetchZip(ctx, at, filepath.Join(dir, name)); err != nil {
			return nil, fmt.Errorf("artifact %s: %w", name, err)
		}
	}
	return names, nil
}

// fetchZip unpacks what stands at a URL into a new folder. The URL has a right
// of its own, so no token goes there.
func fetchZip(ctx context.Context, at *url.URL, dir string) error {
	packed, err := os.CreateTemp("", "posture-artifact-*.zip")
	if err != nil {
		return err
	}
	defer os.Remove(packed.Name())
	defer packed.Close()
	for try := 1; ; try++ {
		if err = fetchOnce(ctx, at, packed); err == nil {
			break
		}
		var refused *attest.ServiceError
		if try == fetchTries || ctx.Err() != nil || errors.As(err, &refused) && errors.Is(err, attest.ErrRefused) {
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Duration(try) * time.Second):
		}
	}
	size, err := packed.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	return unpack(packed, size, dir)
}

// fetchOnce writes what stands at a URL to the beginning of a file.
func fetchOnce(ctx context.Context, at *url.URL, to *os.File) error {
	if err := to.Truncate(0); err != nil {
		return err
	}
	if _, err := to.Seek(0, io.SeekStart); err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at.String(), nil)
	if err != nil {
		return errors.New("GitHub names no place of it")
	}
	resp, err := http.DefaultClient.Do(req)
	failed := &attest.ServiceError{Service: "GitHub's store of artifacts", URL: at.Scheme + "://" + at.Host + at.Path, Tries: 1}
	if err != nil {
		failed.Err = bare(err)
		return failed
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		failed.Status = resp.StatusCode
		return failed
	}
	n, err := io.Copy(to, io.LimitReader(resp.Body, maxArtifact+1))
	if err != nil {
		failed.Err = err
		return failed
	}
	if n > maxArtifact {
		return fmt.Errorf("more than %d bytes", int64(maxArtifact))
	}
	return nil
}

// unpack writes the regular files of a zip below a new folder, and refuses one
// that holds anything else: whoever made it may have been attacked.
func unpack(f io.ReaderAt, size int64, dir string) error {
	z, err := zip.NewReader(f, size)
	if err != nil {
		return err
	}
	if len(z.File) > maxResultFiles {
		return fmt.Errorf("it has more than %d files", maxResultFiles)
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	left := int64(maxResultBytes)
	for _, entry := range z.File {
		if entry.Mode().IsDir() && fs.ValidPath(path.Clean(entry.Name)) {
			continue
		}
		if !entry.Mode().IsRegular() || !fs.ValidPath(entry.Name) {
			return fmt.Errorf("%.200q is no file that results have", entry.Name)
		}
		if err := root.MkdirAll(path.Dir(entry.Name), 0o755); err != nil {
			return err
		}
		n, err := unpackOne(root, entry, left)
		if err != nil {
			return fmt.Errorf("%.200q: %w", entry.Name, err)
		}
		left -= n
	}
	return nil
}

func unpackOne(root *os.Root, entry *zip.File, limit int64) (int64, error) {
	from, err := entry.Open()
	if err != nil {
		return 0, err
	}
	defer from.Close()
	to, err := root.OpenFile(entry.Name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return 0, err
	}
	n, err := io.Copy(to, io.LimitReader(from, limit+1))
	if err == nil && n > limit {
		err = fmt.Errorf("all of it is more than %d bytes", int64(maxResultBytes))
	}
	return n, cmp.Or(err, to.Close())
}
