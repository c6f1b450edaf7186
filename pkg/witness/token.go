package witness

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	// Takes no name twice, and none by another case: what two readers would
	// read differently must not be signed for.
	strict "github.com/go-jose/go-jose/v4/json"
	"github.com/go-jose/go-jose/v4/jwt"
)

// Issuer says which jobs may make their logs known with an OIDC token. The
// keys come from a file, so that no decision waits for a network.
type Issuer struct {
	URL  string // as in the tokens, exactly
	JWKS string // file with the issuer's keys (RFC 7517); read again when it changes
	// Owners and Repositories are the numbers of repository owners and of
	// repositories whose jobs are taken. One of them must be named.
	Owners       []string
	Repositories []string
}

// Times of a token, by the witness's clock.
const (
	tokenAge    = 10 * time.Minute // since it was issued
	tokenLeeway = time.Minute
)

// tokenAlgorithms are those that OIDC issuers sign with. None is symmetric.
var tokenAlgorithms = []jose.SignatureAlgorithm{jose.RS256, jose.ES256}

// keptClaims are the claims that a record keeps. What else a token says is
// dropped.
var keptClaims = []string{
	"repository", "repository_id", "repository_owner", "repository_owner_id", "repository_visibility",
	"run_id", "run_attempt", "run_number", "check_run_id", "event_name", "ref", "sha", "workflow_ref", "workflow_sha",
	"job_workflow_ref", "job_workflow_sha", "runner_environment", "environment",
}

// claims are those members of a JSON object that are short strings or whole
// numbers.
type claims map[string]string

// UnmarshalJSON passes other members over.
func (c *claims) UnmarshalJSON(b []byte) error {
	var all map[string]json.RawMessage
	if err := strict.Unmarshal(b, &all); err != nil {
		return err
	}
	*c = claims{}
	for name, raw := range all {
		var v string
		if _, err := parseCount(string(raw)); err == nil {
			v = string(raw)
		} else if json.Unmarshal(raw, &v) != nil {
			continue
		}
		if len(v) <= maxClaim {
			(*c)[name] = v
		}
	}
	return nil
}

// maxClaim bounds one claim that is kept, in bytes.
const maxClaim = 1 << 10

// errToken is what a token that is not taken wraps.
var errToken = errors.New("the token is not taken")

// errKeys says that the witness has no keys to check a token with.
var errKeys = errors.New("the issuer's keys")

// ErrNoKey says that none of the keys at hand is the one that a token names.
var ErrNoKey = errors.New("none of the issuer's keys at hand is the one that the token names")

// errNotAllowed is what a token of a job that is none of ours wraps.
var errNotAllowed = errors.New("the witness does not serve this job")

// job is who made a log known.
type job struct {
	slot    Slot
	claims  map[string]string
	issued  int64  // Unix time; 0 where no token was given
	service string // name of the enrolled service, else ""
}

// party is what limits are counted by.
func (j *job) party() string {
	if j.service != "" {
		return ServiceIssuer(j.service)
	}
	return j.slot.Issuer + "\n" + j.slot.RepositoryID
}

// keyFile is a JWKS file that is read again when it was replaced.
type keyFile struct {
	path string
	log  *log.Logger

	mu   sync.Mutex
	keys jose.JSONWebKeySet
	info os.FileInfo
}

// maxJWKS bounds a JWKS file, in bytes.
const maxJWKS = 1 << 20

// load returns the keys. A file that cannot be read leaves the keys that were
// read before, and the operator is told.
func (k *keyFile) load() (*jose.JSONWebKeySet, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	info, err := os.Stat(k.path)
	if err == nil && k.info != nil && os.SameFile(info, k.info) && info.ModTime().Equal(k.info.ModTime()) && info.Size() == k.info.Size() {
		keys := k.keys
		return &keys, nil
	}
	if err == nil {
		var keys jose.JSONWebKeySet
		if keys, err = readJWKS(k.path); err == nil {
			k.keys, k.info = keys, info
		}
	}
	if k.info == nil {
		return nil, err
	}
	if err != nil {
		k.log.Printf("the keys of before are used, since the new ones cannot be: %v", err)
	}
	keys := k.keys
	return &keys, nil
}

func readJWKS(path string) (jose.JSONWebKeySet, error) {
	f, err := os.Open(path)
	if err != nil {
		return jose.JSONWebKeySet{}, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxJWKS+1))
	if err != nil {
		return jose.JSONWebKeySet{}, err
	}
	keys, err := ParseJWKS(b)
	if err != nil {
		return keys, fmt.Errorf("%s: %w", path, err)
	}
	return keys, nil
}

// ParseJWKS reads a set of keys and refuses one that cannot serve: no keys, or
// one that is secret.
func ParseJWKS(b []byte) (jose.JSONWebKeySet, error) {
	var keys jose.JSONWebKeySet
	if len(b) > maxJWKS {
		return keys, fmt.Errorf("more than %d bytes of keys", maxJWKS)
	}
	if err := json.Unmarshal(b, &keys); err != nil {
		return keys, fmt.Errorf("not a set of keys (JWKS): %w", err)
	}
	if len(keys.Keys) == 0 {
		return keys, errors.New("there is no key in the set (JWKS)")
	}
	for _, k := range keys.Keys {
		if !k.Valid() || !k.IsPublic() {
			return keys, fmt.Errorf("key %.80q is not a public key", k.KeyID)
		}
	}
	return keys, nil
}

// issuer is an Issuer with its keys.
type issuer struct {
	Issuer
	file keyFile
}

// Token is what an OIDC issuer says of a job. That a key of the issuer's signed
// it was checked, and nothing else.
type Token struct {
	Issuer    string
	Audiences []string
	Issued    time.Time         // zero where it does not say
	Claims    map[string]string // those that are short strings or whole numbers

	times jwt.Claims
}

// OpenToken checks that one of the keys signed a token (RFC 7519), and reads
// it. Whom it is for, and whether it is still good, is for the caller to ask.
// The error is [ErrNoKey] where the key that it names is not among these.
func OpenToken(token string, keys *jose.JSONWebKeySet) (*Token, error) {
	if len(token) > maxToken {
		return nil, fmt.Errorf("a token of %d bytes, %d are allowed", len(token), maxToken)
	}
	signed, err := jwt.ParseSigned(token, tokenAlgorithms)
	if err != nil {
		return nil, err
	}
	// Of an archive several may have the same name.
	err = ErrNoKey
	for _, k := range keys.Key(signed.Headers[0].KeyID) {
		t, all := new(Token), claims{}
		if err = signed.Claims(k.Key, &t.times, &all); err != nil {
			continue
		}
		t.Issuer, t.Audiences, t.Claims = t.times.Issuer, t.times.Audience, all
		if t.times.IssuedAt != nil {
			t.Issued = t.times.IssuedAt.Time()
		}
		return t, nil
	}
	return nil, err
}

// check says which job a token is of: one that was signed by the issuer, for
// this audience, just now.
func (i *issuer) check(token, audience string, now time.Time) (*job, error) {
	keys, err := i.file.load()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errKeys, err)
	}
	t, err := OpenToken(token, keys)
	if err != nil {
		return nil, fmt.Errorf("%w: no key of %s signed it, or the key is newer than the file of keys (%w)", errToken, i.URL, err)
	}
	switch {
	case t.Issuer != i.URL:
		return nil, fmt.Errorf("%w: its issuer is %.200q, want %q", errToken, t.Issuer, i.URL)
	case len(t.Audiences) != 1 || t.Audiences[0] != audience:
		return nil, fmt.Errorf("%w: its audience is %.200q, want %q alone", errToken, t.Audiences, audience)
	case t.times.IssuedAt == nil || t.times.Expiry == nil:
		return nil, fmt.Errorf("%w: it does not say when it was issued and when it ends", errToken)
	case now.Sub(t.Issued) > tokenAge:
		return nil, fmt.Errorf("%w: it was issued at %s, more than %v ago", errToken, t.Issued.UTC().Format(time.RFC3339), tokenAge)
	}
	if err := t.times.ValidateWithLeeway(jwt.Expected{Time: now}, tokenLeeway); err != nil {
		return nil, fmt.Errorf("%w: %w", errToken, err)
	}
	j := &job{claims: map[string]string{}, issued: t.Issued.Unix()}
	for _, name := range keptClaims {
		if v := t.Claims[name]; v != "" {
			j.claims[name] = v
		}
	}
	if j.slot, err = slotOf(i.URL, j.claims); err != nil {
		return nil, fmt.Errorf("%w: %w", errToken, err)
	}
	if !slices.Contains(i.Owners, j.claims["repository_owner_id"]) && !slices.Contains(i.Repositories, j.claims["repository_id"]) {
		return nil, fmt.Errorf("%w: repository %s of owner %s is on no list", errNotAllowed, j.claims["repository_id"], j.claims["repository_owner_id"])
	}
	return j, nil
}

// slotOf makes the slot of what an issuer, or an enrolled service, claims.
func slotOf(issuer string, claims map[string]string) (Slot, error) {
	var v [len(slotClaims)]string
	for i, name := range slotClaims {
		v[i] = claims[name]
		if v[i] == "" || strings.Trim(v[i], "0123456789") != "" || len(v[i]) > 20 {
			return Slot{}, fmt.Errorf("claim %s is %.40q: want a number", name, v[i])
		}
	}
	return Slot{issuer, v[0], v[1], v[2], v[3]}, nil
}
