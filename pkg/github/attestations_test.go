package github

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/s2"

	"github.com/org/edamame-posture/pkg/attest"
)

// store stands for GitHub's API of attestations.
type store struct {
	*httptest.Server
	faults  []int // what it answers first, to whatever is asked
	byURL   bool  // names bundles by URL, as newer versions of the API do
	loses   bool
	slow    int // looks until it finds what it has
	bundles []json.RawMessage
}

func newStore(t *testing.T) *store {
	s := &store{}
	mux := http.NewServeMux()
	answer := func(f http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if len(s.faults) > 0 {
				code := s.faults[0]
				s.faults = s.faults[1:]
				http.Error(w, `{"message":"`+http.StatusText(code)+`"}`, code)
				return
			}
			if got := r.Header.Get("Authorization"); got != "Bearer job-token" && !strings.HasPrefix(r.URL.Path, "/blob/") {
				t.Errorf("%s with authorization %q", r.URL, got)
			}
			f(w, r)
		}
	}
	mux.HandleFunc("POST /repos/octo/app/attestations", answer(func(w http.ResponseWriter, r *http.Request) {
		var body struct{ Bundle json.RawMessage }
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil || len(body.Bundle) == 0 {
			t.Errorf("body: %v", err)
		}
		if !s.loses {
			s.bundles = append(s.bundles, body.Bundle)
		}
		w.WriteHeader(http.StatusCreated)
		fmt.Fprint(w, `{"id":4711}`)
	}))
	mux.HandleFunc("GET /repos/octo/app/attestations/{digest}", answer(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("predicate_type") != attest.PredicateType || r.PathValue("digest") != "sha256:"+strings.Repeat("ab", 32) {
			t.Errorf("asked for %s", r.URL)
		}
		if s.slow--; s.slow >= 0 || len(s.bundles) == 0 {
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprint(w, `{"message":"Not Found"}`)
			return
		}
		list := []map[string]any{{"bundle": json.RawMessage(`{"dsseEnvelope":{"payload":"e30="}}`)}}
		for i, b := range s.bundles {
			if s.byURL {
				list = append(list, map[string]any{"bundle": nil, "bundle_url": fmt.Sprintf("%s/blob/%d", s.URL, i)})
			} else {
				list = append(list, map[string]any{"bundle": b})
			}
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"attestations": list})
	}))
	mux.HandleFunc("GET /blob/{n}", answer(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			t.Error("the token was sent to another place than the API")
		}
		_, _ = w.Write(s2.EncodeSnappy(nil, s.bundles[0]))
	}))
	s.Server = httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s
}

func bundle() []byte {
	payload := `{"subject":[{"name":"commit","digest":{"gitCommit":"00"}},{"name":"a","digest":{"sha256":"` + strings.Repeat("ab", 32) + `"}}]}`
	return fmt.Appendf(nil, `{"dsseEnvelope":{"payload":%q}}`, base64.StdEncoding.EncodeToString([]byte(payload)))
}

func TestAnAttestationIsStoredAndReadBack(t *testing.T) {
	for name, set := range map[string]func(*store){
		"at once":                          func(*store) {},
		"after the API was down":           func(s *store) { s.faults = []int{502, 503, 500} },
		"that the API names by URL":        func(s *store) { s.byURL = true },
		"that the store finds a bit later": func(s *store) { s.slow = 1 },
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			set(s)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			id, err := (&Attestations{API: s.URL, Repository: "octo/app", Token: "job-token"}).Store(ctx, bundle())
			if err != nil || id != 4711 {
				t.Errorf("%d, %v", id, err)
			}
		})
	}
}

func TestAnAttestationThatIsNotStoredIsToldWithWhatToDo(t *testing.T) {
	for name, c := range map[string]struct {
		set  func(*store)
		repo string
		kind error
		says string
	}{
		"no permission": {func(s *store) { s.faults = []int{403} }, "octo/app", attest.ErrRefused, "attestations: write"},
		"no token":      {func(s *store) { s.faults = []int{401} }, "octo/app", attest.ErrRefused, "attestations: write"},
		"too large":     {func(s *store) { s.faults = []int{422} }, "octo/app", attest.ErrRefused, "422"},
		"down":          {func(s *store) { s.faults = []int{503, 503, 503, 503, 503, 503, 503, 503} }, "octo/app", attest.ErrUnavailable, "503"},
		"lost":          {func(s *store) { s.loses = true }, "octo/app", ErrNotStored, ""},
		"no repository": {func(*store) {}, "octo", nil, "want OWNER/REPO"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			c.set(s)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, err := (&Attestations{API: s.URL, Repository: c.repo, Token: "job-token"}).Store(ctx, bundle())
			if err == nil || c.kind != nil && !errors.Is(err, c.kind) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("error is %v, want one that is %v and says %q", err, c.kind, c.says)
			}
		})
	}
}

func FuzzSubject(f *testing.F) {
	f.Add(bundle())
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if digest, _, err := subject(b); err == nil && len(digest) != 64 {
			t.Errorf("digest %q", digest)
		}
	})
}
