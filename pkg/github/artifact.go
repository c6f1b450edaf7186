package github

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/org/edamame-posture/pkg/attest"
)

// Artifacts is the store of a run's artifacts, version 4 of its protocol: a
// Twirp service that gives out URLs of a blob store
// (https://github.com/actions/toolkit/tree/main/packages/artifact).
type Artifacts struct {
	URL   string // ACTIONS_RESULTS_URL
	Token string // ACTIONS_RUNTIME_TOKEN
}

// RunArtifacts returns the store that the runner of a step names.
func (r *Runner) RunArtifacts() *Artifacts {
	return &Artifacts{URL: r.Getenv("ACTIONS_RESULTS_URL"), Token: r.Getenv("ACTIONS_RUNTIME_TOKEN")}
}

// Bounds of an upload.
const (
	blockSize    = 4 << 20
	maxArtifact  = 4 << 30
	artifactBase = "twirp/github.actions.results.api.v1.ArtifactService/"
)

// ErrNoArtifacts is a step that is not told where artifacts go.
var ErrNoArtifacts = errors.New("the runner names no store of artifacts (ACTIONS_RESULTS_URL, ACTIONS_RUNTIME_TOKEN)")

// Upload stores a folder as an artifact and returns the name that it got: name,
// or where the run has one of that name already, one that begins with it. Each
// block is sent again by itself where the store did not take it, until ctx
// ends, which should have a deadline.
func (a *Artifacts) Upload(ctx context.Context, name, dir string) (string, error) {
	if a.URL == "" || a.Token == "" {
		return "", ErrNoArtifacts
	}
	run, job, err := backendIDs(a.Token)
	if err != nil {
		return "", err
	}
	packed, err := os.CreateTemp("", "posture-artifact-*.zip")
	if err != nil {
		return "", err
	}
	defer os.Remove(packed.Name())
	defer packed.Close()
	sum, size, err := pack(packed, dir)
	if err != nil {
		return "", fmt.Errorf("packing %s: %w", dir, err)
	}
	ids := map[string]any{"workflow_run_backend_id": run, "workflow_job_run_backend_id": job}
	made, err := a.create(ctx, ids, name)
	if err != nil {
		return "", err
	}
	if err := a.blocks(ctx, made.url, packed, size); err != nil {
		return "", err
	}
	done := map[string]any{"name": made.name, "size": strconv.FormatInt(size, 10), "hash": "sha256:" + hex.EncodeToString(sum)}
	for k, v := range ids {
		done[k] = v
	}
	var answer struct {
		OK bool `json:"ok"`
	}
	if err := a.call(ctx, "FinalizeArtifact", done, &answer); err != nil {
		return "", err
	}
	if !answer.OK {
		return "", errors.New("the store of artifacts did not take what it was sent")
	}
	return made.name, nil
}

// place is where an artifact's content goes.
type place struct{ name, url string }

// create makes an artifact. A name that is taken gets a few digits more: a
// workflow that is called twice has two jobs of one name.
func (a *Artifacts) create(ctx context.Context, ids map[string]any, name string) (place, error) {
	for try := 0; ; try++ {
		at := place{name: name}
		if try > 0 {
			var raw [3]byte
			if _, err := rand.Read(raw[:]); err != nil {
				return at, err
			}
			at.name += "-" + hex.EncodeToString(raw[:])
		}
		ask := map[string]any{"name": at.name, "version": 4}
		for k, v := range ids {
			ask[k] = v
		}
		var answer struct {
			OK    bool   `json:"ok"`
			Snake string `json:"signed_upload_url"`
			Camel string `json:"signedUploadUrl"`
		}
		err := a.call(ctx, "CreateArtifact", ask, &answer)
		if errors.Is(err, errTaken) && try < 3 {
			continue
		}
		if err != nil {
			return at, err
		}
		if at.url = answer.Snake + answer.Camel; at.url == "" {
			return at, errors.New("the store of artifacts does not say where to send the content")
		}
		return at, nil
	}
}

// errTaken is an artifact whose name the run has already.
var errTaken = errors.New("the run has an artifact of that name")

// call asks the service.
func (a *Artifacts) call(ctx context.Context, method string, ask map[string]any, answer any) error {
	body, err := json.Marshal(ask)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimRight(a.URL, "/")+"/"+artifactBase+method, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+a.Token)
	req.Header.Set("Content-Type", "application/json")
	resp, err := blobs(ctx).Do(req)
	if err != nil {
		return bare(err)
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusConflict:
		return errTaken
	default:
		return fmt.Errorf("the store of artifacts answered %s to %s", resp.Status, method)
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(answer); err != nil {
		return fmt.Errorf("the store of artifacts answered %s: %w", method, err)
	}
	return nil
}

// blocks sends a file as blocks of a block blob:
// https://learn.microsoft.com/rest/api/storageservices/put-block.
func (a *Artifacts) blocks(ctx context.Context, at string, f io.ReaderAt, size int64) error {
	u, err := url.Parse(at)
	if err != nil {
		return errors.New("the store of artifacts names no URL for the content")
	}
	put := func(query string, body []byte) error {
		to := *u
		// What is signed stays as it is: encoding it anew would break it.
		to.RawQuery = u.RawQuery + "&" + query
		req, err := http.NewRequestWithContext(ctx, http.MethodPut, to.String(), bytes.NewReader(body))
		if err != nil {
			return errors.New("the store of artifacts names no URL for the content")
		}
		req.Header.Set("Content-Type", "application/octet-stream")
		resp, err := blobs(ctx).Do(req)
		if err != nil {
			return bare(err)
		}
		defer resp.Body.Close()
		if resp.StatusCode >= 300 {
			return fmt.Errorf("the store of artifacts answered %s to the content", resp.Status)
		}
		return nil
	}
	var list struct {
		XMLName xml.Name `xml:"BlockList"`
		Latest  []string
	}
	buf := make([]byte, blockSize)
	for from := int64(0); from < size; from += blockSize {
		part := buf[:min(blockSize, size-from)]
		if _, err := f.ReadAt(part, from); err != nil {
			return err
		}
		id := base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "%08d", len(list.Latest)))
		if err := put("comp=block&blockid="+url.QueryEscape(id), part); err != nil {
			return err
		}
		list.Latest = append(list.Latest, id)
	}
	body, err := xml.Marshal(list)
	if err != nil {
		return err
	}
	return put("comp=blocklist", append([]byte(xml.Header), body...))
}

func blobs(ctx context.Context) *http.Client {
	return &http.Client{Transport: attest.Transport(ctx, "the store of artifacts", nil)}
}

// bare takes the URL off an error: it holds a right of access.
func bare(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// backendIDs reads from the runtime token which job's artifacts it is for: the
// scope Actions.Results:RUN:JOB.
func backendIDs(token string) (run, job string, err error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return "", "", errors.New("ACTIONS_RUNTIME_TOKEN is not a JWT")
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return "", "", errors.New("ACTIONS_RUNTIME_TOKEN is not a JWT")
	}
	var claims struct {
		Scopes string `json:"scp"`
	}
	if err := json.Unmarshal(raw, &claims); err != nil {
		return "", "", errors.New("ACTIONS_RUNTIME_TOKEN is not a JWT")
	}
	for s := range strings.FieldsSeq(claims.Scopes) {
		if p := strings.Split(s, ":"); len(p) == 3 && p[0] == "Actions.Results" {
			return p[1], p[2], nil
		}
	}
	return "", "", errors.New("ACTIONS_RUNTIME_TOKEN has no right to store artifacts")
}

// pack writes the regular files below dir into a zip. What is compressed
// already is stored as it is. It follows no link.
func pack(w io.Writer, dir string) (sum []byte, size int64, err error) {
	h := sha256.New()
	count := &counter{w: io.MultiWriter(w, h)}
	z := zip.NewWriter(count)
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, 0, err
	}
	defer root.Close()
	err = fs.WalkDir(root.FS(), ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		f, err := root.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		method := zip.Deflate
		if filepath.Ext(name) == ".zst" {
			method = zip.Store
		}
		to, err := z.CreateHeader(&zip.FileHeader{Name: name, Method: method})
		if err != nil {
			return err
		}
		_, err = io.Copy(to, f)
		return err
	})
	if err = errors.Join(err, z.Close()); err != nil {
		return nil, 0, err
	}
	return h.Sum(nil), count.n, nil
}

// counter bounds what is written.
type counter struct {
	w io.Writer
	n int64
}

// Write implements [io.Writer].
func (c *counter) Write(b []byte) (int, error) {
	if c.n += int64(len(b)); c.n > maxArtifact {
		return 0, fmt.Errorf("more than %d bytes", int64(maxArtifact))
	}
	return c.w.Write(b)
}

// ArtifactName is the name of a job's artifact: posture-JOB-INDEX, of the signs
// that GitHub allows.
func ArtifactName(job, index string) string {
	name := "posture-" + job
	if index != "" {
		name += "-" + index
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_', r == '.':
			return r
		}
		return '_'
	}, name[:min(len(name), 200)])
}
