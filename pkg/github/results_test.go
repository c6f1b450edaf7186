package github

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/org/edamame-posture/pkg/attest"
)

// packed is a zip of named files; a name that ends in @ is a link.
func packed(t *testing.T, names ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, n := range names {
		h := &zip.FileHeader{Name: strings.TrimSuffix(n, "@")}
		if strings.HasSuffix(n, "@") {
			h.SetMode(0o777 | fs.ModeSymlink)
		}
		w, err := z.CreateHeader(h)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(w, "/etc/passwd")
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// runServer stands for GitHub with the artifacts of run 9001, and its store.
func runServer(t *testing.T, zips map[int][]byte, list string, fail func(path string) int) *Run {
	t.Helper()
	var s *httptest.Server
	s = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if status := fail(req.URL.Path); status != 0 {
			http.Error(w, `{"message":"no"}`, status)
			return
		}
		var id int
		switch n, _ := fmt.Sscanf(req.URL.Path, "/repos/octo/app/actions/artifacts/%d/zip", &id); {
		case req.URL.Path == "/repos/octo/app/actions/runs/9001/artifacts" && req.Header.Get("Authorization") == "Bearer t0ken":
			fmt.Fprint(w, list)
		case n == 1 && req.Header.Get("Authorization") == "Bearer t0ken":
			http.Redirect(w, req, fmt.Sprintf("%s/blob/%d?sig=x", s.URL, id), http.StatusFound)
		default:
			if _, err := fmt.Sscanf(req.URL.Path, "/blob/%d", &id); err != nil || zips[id] == nil || req.Header.Get("Authorization") != "" {
				http.Error(w, `{"message":"Not Found"}`, http.StatusNotFound)
				return
			}
			_, _ = w.Write(zips[id])
		}
	}))
	t.Cleanup(s.Close)
	return &Run{API: s.URL, Repository: "octo/app", ID: 9001, Token: "t0ken"}
}

func never(string) int { return 0 }

func TestTheResultsOfARunAreFetchedTheNewestOfAName(t *testing.T) {
	tries := 0
	run := runServer(t, map[int][]byte{
		1: packed(t, "verdict.json"), 5: packed(t, "verdict.json", "evidence/manifest.json"), 3: packed(t, "x"), 4: packed(t, "y"),
	}, `{"total_count":5,"artifacts":[{"id":1,"name":"posture-build-0"},{"id":5,"name":"posture-build-0"},{"id":3,"name":"dist"},{"id":4,"name":"posture-test-0"},{"id":6,"name":"posture-old","expired":true}]}`,
		func(path string) int {
			// The store is down once.
			if path == "/blob/5" {
				if tries++; tries == 1 {
					return 503
				}
			}
			return 0
		})
	dir := t.TempDir()
	names, err := run.Fetch(t.Context(), dir)
	if err != nil || strings.Join(names, " ") != "posture-build-0 posture-test-0" {
		t.Fatal(names, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "posture-build-0", "evidence", "manifest.json")); err != nil {
		t.Error(err)
	}
}

func TestAnArtifactThatIsATrapIsRefused(t *testing.T) {
	for _, name := range []string{"../outside", "/etc/posture-test", "a/../../x", "link@", `a\b/../c`} {
		run := runServer(t, map[int][]byte{1: packed(t, "fine", name)}, `{"total_count":1,"artifacts":[{"id":1,"name":"posture-build-0"}]}`, never)
		dir := t.TempDir()
		if _, err := run.Fetch(t.Context(), filepath.Join(dir)); err == nil {
			t.Errorf("%q was unpacked", name)
		}
		entries, err := os.ReadDir(dir)
		if err != nil || len(entries) > 1 {
			t.Errorf("%q: beside the artifact's folder stands more: %v %v", name, entries, err)
		}
	}
	// Twice the same name.
	run := runServer(t, map[int][]byte{1: packed(t, "same", "same")}, `{"total_count":1,"artifacts":[{"id":1,"name":"posture-build-0"}]}`, never)
	if _, err := run.Fetch(t.Context(), t.TempDir()); !errors.Is(err, fs.ErrExist) {
		t.Errorf("the same name twice: %v", err)
	}
}

func TestWhyThereAreNoResultsIsTold(t *testing.T) {
	const one = `{"total_count":1,"artifacts":[{"id":1,"name":"posture-build-0"}]}`
	for _, c := range []struct {
		name, list string
		fail       func(string) int
		is         error
	}{
		{"none were stored", `{"total_count":1,"artifacts":[{"id":1,"name":"dist"}]}`, never, ErrNoResults},
		{"the right is missing", one, func(string) int { return 403 }, attest.ErrRefused},
		{"GitHub is down", one, func(string) int { return 500 }, attest.ErrUnavailable},
		{"the store refuses", one, func(p string) int { return map[bool]int{true: 403}[strings.HasPrefix(p, "/blob")] }, attest.ErrRefused},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			run := runServer(t, map[int][]byte{1: packed(t, "x")}, c.list, c.fail)
			if _, err := run.Fetch(ctx, t.TempDir()); !errors.Is(err, c.is) || strings.Contains(fmt.Sprint(err), "sig=") {
				t.Errorf("%v, want %v", err, c.is)
			}
		})
	}
}

func FuzzUnpack(f *testing.F) {
	f.Add([]byte("PK\x05\x06" + strings.Repeat("\x00", 18)))
	f.Fuzz(func(t *testing.T, b []byte) {
		dir := t.TempDir()
		_ = unpack(bytes.NewReader(b), int64(len(b)), filepath.Join(dir, "in"))
		if entries, err := os.ReadDir(dir); err != nil || len(entries) > 1 {
			t.Errorf("outside: %v %v", entries, err)
		}
	})
}
