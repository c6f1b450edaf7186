package sigstore

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"sync"
	"time"
)

// Claims of a job, as GitHub's tokens have them:
// https://docs.github.com/actions/reference/security/oidc#oidc-token-claims.
type Claims map[string]any

// Job returns the claims of the job that the rig's tokens are for unless a test
// changes them: a release of octo/app.
func Job() Claims {
	return Claims{
		"sub":                   "repo:octo/app:ref:refs/heads/main",
		"repository":            "octo/app",
		"repository_id":         "4321",
		"repository_owner":      "octo",
		"repository_owner_id":   "77",
		"repository_visibility": "public",
		"ref":                   "refs/heads/main",
		"ref_type":              "branch",
		"sha":                   "3f786850e387550fdab836ed7e6dc881de23001b",
		"event_name":            "push",
		"workflow":              "release",
		"workflow_ref":          "octo/app/.github/workflows/release.yml@refs/heads/main",
		"workflow_sha":          "3f786850e387550fdab836ed7e6dc881de23001b",
		"job_workflow_ref":      "octo/app/.github/workflows/release.yml@refs/heads/main",
		"job_workflow_sha":      "3f786850e387550fdab836ed7e6dc881de23001b",
		"run_id":                "9001",
		"run_number":            "12",
		"run_attempt":           "1",
		"check_run_id":          "555",
		"actor":                 "mona",
		"runner_environment":    "github-hosted",
	}
}

// Issuer is an identity provider that makes tokens as GitHub does.
type Issuer struct {
	URL string
	// RequestToken is what a job must show to get an identity token.
	RequestToken string

	server *httptest.Server
	key    *rsa.PrivateKey

	mu     sync.Mutex
	claims Claims
	asked  []string
}

func newIssuer() (*Issuer, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	i := &Issuer{key: key, RequestToken: rand.Text(), claims: Job()}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, map[string]any{
			"issuer": i.URL, "jwks_uri": i.URL + "/jwks",
			"subject_types_supported":               []string{"public"},
			"response_types_supported":              []string{"id_token"},
			"id_token_signing_alg_values_supported": []string{"RS256"},
		})
	})
	mux.HandleFunc("GET /jwks", func(w http.ResponseWriter, _ *http.Request) {
		b64 := base64.RawURLEncoding.EncodeToString
		reply(w, map[string]any{"keys": []any{map[string]any{
			"kty": "RSA", "use": "sig", "alg": "RS256", "kid": keyID,
			"n": b64(key.N.Bytes()), "e": b64(big.NewInt(int64(key.E)).Bytes()),
		}}})
	})
	mux.HandleFunc("GET /token", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+i.RequestToken {
			http.Error(w, "no such job", http.StatusUnauthorized)
			return
		}
		audience := r.URL.Query().Get("audience")
		i.mu.Lock()
		i.asked = append(i.asked, audience)
		i.mu.Unlock()
		token, err := i.Token(audience)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		reply(w, map[string]any{"count": 1, "value": token})
	})
	i.server = httptest.NewServer(mux)
	i.URL = i.server.URL
	return i, nil
}

const keyID = "rig"

func (i *Issuer) close() { i.server.Close() }

// TokenURL is where a job asks; it has a query already, as GitHub's has.
func (i *Issuer) TokenURL() string { return i.URL + "/token?api-version=2.0" }

// Set changes claims of all tokens from now on.
func (i *Issuer) Set(c Claims) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.claims = maps.Clone(i.claims)
	maps.Copy(i.claims, c)
}

// Audiences returns for whom tokens were asked.
func (i *Issuer) Audiences() []string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return append([]string{}, i.asked...)
}

// Token makes a token for an audience (RFC 7519, RS256).
func (i *Issuer) Token(audience string) (string, error) {
	now := time.Now()
	i.mu.Lock()
	c := maps.Clone(i.claims)
	i.mu.Unlock()
	maps.Copy(c, Claims{
		"iss": i.URL, "aud": audience, "jti": rand.Text(),
		"iat": now.Unix(), "nbf": now.Add(-time.Minute).Unix(), "exp": now.Add(5 * time.Minute).Unix(),
	})
	head, err := json.Marshal(map[string]any{"alg": "RS256", "typ": "JWT", "kid": keyID})
	if err != nil {
		return "", err
	}
	body, err := json.Marshal(c)
	if err != nil {
		return "", err
	}
	b64 := base64.RawURLEncoding.EncodeToString
	text := b64(head) + "." + b64(body)
	sum := sha256.Sum256([]byte(text))
	sig, err := rsa.SignPKCS1v15(rand.Reader, i.key, crypto.SHA256, sum[:])
	if err != nil {
		return "", err
	}
	return text + "." + b64(sig), nil
}

func reply(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

// fulcioConfig takes ISSUER for GitHub: the templates are what Fulcio's public
// instance makes of GitHub's claims.
const fulcioConfig = `
oidc-issuers:
  ISSUER:
    issuer-url: ISSUER
    client-id: sigstore
    type: ci-provider
    ci-provider: github-workflow
    description: rig
    contact: rig@example.com
ci-issuer-metadata:
  github-workflow:
    default-template-values:
      url: https://github.com
      environment: ""
    extension-templates:
      github-workflow-trigger: event_name
      github-workflow-sha: sha
      github-workflow-name: workflow
      github-workflow-repository: repository
      github-workflow-ref: ref
      build-signer-uri: "{{ .url }}/{{ .job_workflow_ref }}"
      build-signer-digest: job_workflow_sha
      runner-environment: runner_environment
      source-repository-uri: "{{ .url }}/{{ .repository }}"
      source-repository-digest: sha
      source-repository-ref: ref
      source-repository-identifier: repository_id
      source-repository-owner-uri: "{{ .url }}/{{ .repository_owner }}"
      source-repository-owner-identifier: repository_owner_id
      build-config-uri: "{{ .url }}/{{ .workflow_ref }}"
      build-config-digest: workflow_sha
      build-trigger: event_name
      run-invocation-uri: "{{ .url }}/{{ .repository }}/actions/runs/{{ .run_id }}/attempts/{{ .run_attempt }}"
      source-repository-visibility-at-signing: repository_visibility
    subject-alternative-name-template: "{{ .url }}/{{ .job_workflow_ref }}"
`
