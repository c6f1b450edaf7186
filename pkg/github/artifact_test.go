package github

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/org/edamame-posture/pkg/attest"
)

// artifactServer stands for the runner's service and its blob store.
type artifactServer struct {
	*httptest.Server
	mu     sync.Mutex
	taken  map[string]bool
	blocks map[string][]byte
	blobs  map[string][]byte // by name
	asked  int
	// fail answers the nth request, from 1, with a status; 0 for none.
	fail func(n int) int
}

const runtimeScope = `{"scp":"Actions.Other:1 Actions.Results:run-1:job-2"}`

func runtimeToken(claims string) string {
	return "e30." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".sig"
}

func newArtifactServer(t *testing.T) *artifactServer {
	t.Helper()
	s := &artifactServer{taken: map[string]bool{}, blocks: map[string][]byte{}, blobs: map[string][]byte{}}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.asked++
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return
		}
		if s.fail != nil {
			if status := s.fail(s.asked); status != 0 {
				http.Error(w, "no", status)
				return
			}
		}
		if strings.HasPrefix(req.URL.Path, "/blob/") {
			s.blob(w, req, body)
			return
		}
		var ask struct {
			Run     string `json:"workflow_run_backend_id"`
			Job     string `json:"workflow_job_run_backend_id"`
			Name    string
			Version int
			Size    string
			Hash    string
		}
		if err := json.Unmarshal(body, &ask); err != nil || ask.Run != "run-1" || ask.Job != "job-2" || req.Header.Get("Authorization") != "Bearer "+runtimeToken(runtimeScope) {
			http.Error(w, "bad request", http.StatusBadRequest)
			return
		}
		switch req.URL.Path {
		case "/twirp/github.actions.results.api.v1.ArtifactService/CreateArtifact":
			if ask.Version != 4 || s.taken[ask.Name] {
				http.Error(w, "already exists", http.StatusConflict)
				return
			}
			s.taken[ask.Name] = true
			_ = json.NewEncoder(w).Encode(map[string]any{"ok": true, "signed_upload_url": s.URL + "/blob/" + ask.Name + "?sig=a%2Bb%3D&se=1"})
		case "/twirp/github.actions.results.api.v1.ArtifactService/FinalizeArtifact":
			blob := s.blobs[ask.Name]
			sum := sha256.Sum256(blob)
			ok := ask.Size == strconv.Itoa(len(blob)) && ask.Hash == "sha256:"+hex.EncodeToString(sum[:])
			_ = json.NewEncoder(w).Encode(map[string]any{"ok": ok})
		default:
			http.NotFound(w, req)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *artifactServer) blob(w http.ResponseWriter, req *http.Request, body []byte) {
	// The signature is over the query as it was given.
	if !strings.HasPrefix(req.URL.RawQuery, "sig=a%2Bb%3D&se=1&comp=") || req.Header.Get("Authorization") != "" {
		http.Error(w, "the signature does not match", http.StatusForbidden)
		return
	}
	switch req.URL.Query().Get("comp") {
	case "block":
		s.blocks[req.URL.Query().Get("blockid")] = body
	case "blocklist":
		var list struct{ Latest []string }
		if err := xml.Unmarshal(body, &list); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		var whole []byte
		for _, id := range list.Latest {
			whole = append(whole, s.blocks[id]...)
		}
		s.blobs[strings.TrimPrefix(req.URL.Path, "/blob/")] = whole
	}
	w.WriteHeader(http.StatusCreated)
}

// results is a folder that needs several blocks.
func results(t *testing.T) (dir string, want map[string][]byte) {
	t.Helper()
	dir = t.TempDir()
	noise := make([]byte, 2*blockSize+blockSize/2)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(noise)
	want = map[string][]byte{"verdict.json": []byte("{}\n"), "evidence/000000.jsonl.zst": noise}
	for name, data := range want {
		at := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	return dir, want
}

func (s *artifactServer) holds(t *testing.T, name string, want map[string][]byte) {
	t.Helper()
	blob := s.blobs[name]
	z, err := zip.NewReader(bytes.NewReader(blob), int64(len(blob)))
	if err != nil {
		t.Fatal(err)
	}
	if len(z.File) != len(want) {
		t.Errorf("%d files, want %d", len(z.File), len(want))
	}
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		if err != nil || !bytes.Equal(got, want[f.Name]) {
			t.Errorf("%s: %d bytes, %v", f.Name, len(got), err)
		}
	}
}

func TestResultsAreUploadedAlsoWhereEachRequestFailsOnce(t *testing.T) {
	dir, want := results(t)
	for _, c := range []struct {
		name string
		fail func(int) int
	}{
		{"at once", nil},
		{"each second request is answered by 503", func(n int) int { return []int{0, 503}[n%2] }},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newArtifactServer(t)
			s.fail = c.fail
			a := Artifacts{URL: s.URL + "/", Token: runtimeToken(runtimeScope)}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			name, err := a.Upload(ctx, "posture-build-0", dir)
			if err != nil || name != "posture-build-0" {
				t.Fatal(name, err)
			}
			s.holds(t, name, want)
			// A second job of the same name.
			again, err := a.Upload(ctx, "posture-build-0", dir)
			if err != nil || !strings.HasPrefix(again, "posture-build-0-") {
				t.Fatal(again, err)
			}
			s.holds(t, again, want)
		})
	}
}

func TestAStoreThatDoesNotTakeThemIsAnErrorInTime(t *testing.T) {
	dir, _ := results(t)
	s := newArtifactServer(t)
	for _, c := range []struct {
		name   string
		a      Artifacts
		status int
		is     error
	}{
		{"no store is named", Artifacts{}, 0, ErrNoArtifacts},
		{"the token is none", Artifacts{URL: s.URL, Token: "x"}, 0, nil},
		{"the token has no right", Artifacts{URL: s.URL, Token: runtimeToken(`{"scp":"Actions.Other:1"}`)}, 0, nil},
		{"it is forbidden", Artifacts{URL: s.URL, Token: runtimeToken(runtimeScope)}, 403, attest.ErrRefused},
		{"the rate is limited", Artifacts{URL: s.URL, Token: runtimeToken(runtimeScope)}, 429, attest.ErrUnavailable},
		{"it is down", Artifacts{URL: s.URL, Token: runtimeToken(runtimeScope)}, 500, attest.ErrUnavailable},
		{"nobody listens", Artifacts{URL: "http://127.0.0.1:1", Token: runtimeToken(runtimeScope)}, 0, attest.ErrUnavailable},
	} {
		t.Run(c.name, func(t *testing.T) {
			s.fail = func(int) int { return c.status }
			ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
			defer cancel()
			if _, err := c.a.Upload(ctx, "x", dir); err == nil || c.is != nil && !errors.Is(err, c.is) || strings.Contains(err.Error(), "sig=") {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestTheNameOfAnArtifactHasNoSignThatGitHubRefuses(t *testing.T) {
	if got := ArtifactName("a/b:c\"d e", "3"); got != "posture-a_b_c_d_e-3" {
		t.Error(got)
	}
	if got := ArtifactName(strings.Repeat("x", 1000), ""); len(got) > 250 {
		t.Error(len(got))
	}
}
