package attest

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/sign"
)

// Audience is what an identity token must be made for, that Fulcio takes it.
const Audience = "sigstore"

// A Token returns an OIDC identity token (a JWT) made for an audience.
type Token func(ctx context.Context, audience string) (string, error)

// ErrNoIdentity is a job that has no identity to sign with.
var ErrNoIdentity = errors.New("this job has no identity to sign with")

// maxToken bounds an identity token, in bytes.
const maxToken = 64 << 10

// JobToken asks GitHub for the job's identity, by what the runner says in
// ACTIONS_ID_TOKEN_REQUEST_URL and ACTIONS_ID_TOKEN_REQUEST_TOKEN:
// https://docs.github.com/actions/reference/security/oidc. getenv is
// [os.Getenv].
func JobToken(getenv func(string) string) Token {
	return func(ctx context.Context, audience string) (string, error) {
		at, bearer := getenv("ACTIONS_ID_TOKEN_REQUEST_URL"), getenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN")
		if at == "" || bearer == "" {
			return "", fmt.Errorf("%w: give it 'permissions: id-token: write' in the workflow (a pull request from a fork never has it), or name a token with --identity-token FILE", ErrNoIdentity)
		}
		u, err := url.Parse(at)
		if err != nil || u.Host == "" {
			return "", fmt.Errorf("ACTIONS_ID_TOKEN_REQUEST_URL is %.200q, which is no URL", at)
		}
		q := u.Query() // it has a query already
		q.Set("audience", audience)
		u.RawQuery = q.Encode()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
		if err != nil {
			return "", err
		}
		req.Header.Set("Authorization", "Bearer "+bearer)
		req.Header.Set("Accept", "application/json")
		resp, err := (&http.Client{Transport: Transport(ctx, "identity token service", nil)}).Do(req)
		if err != nil {
			return "", withoutURL(err)
		}
		defer resp.Body.Close()
		var answer struct{ Value string }
		if resp.StatusCode != http.StatusOK {
			return "", &ServiceError{Service: "identity token service", URL: u.Scheme + "://" + u.Host + u.Path, Status: resp.StatusCode, Tries: 1}
		}
		if err := json.NewDecoder(io.LimitReader(resp.Body, maxToken)).Decode(&answer); err != nil || answer.Value == "" {
			return "", errors.New("the identity token service answered without a token")
		}
		return answer.Value, nil
	}
}

// FileToken reads an identity token that was made before from a file.
func FileToken(path string) Token {
	return func(context.Context, string) (string, error) {
		f, err := os.Open(path)
		if err != nil {
			return "", err
		}
		defer f.Close()
		b, err := io.ReadAll(io.LimitReader(f, maxToken+1))
		if err != nil {
			return "", err
		}
		if len(b) > maxToken {
			return "", fmt.Errorf("%s has more than %d bytes, and is no identity token", path, maxToken)
		}
		return strings.TrimSpace(string(b)), nil
	}
}

// withoutURL takes the URL, which may hold a secret in its query, from an
// error of net/http.
func withoutURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// Claims are what a token of GitHub says of the job, as far as signing needs
// it. They are not verified here: Fulcio does that.
type Claims struct {
	Subject    string `json:"sub"`
	Issuer     string `json:"iss"`
	Visibility string `json:"repository_visibility"`
}

// ReadClaims reads a token without checking it.
func ReadClaims(token string) (*Claims, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil, errors.New("the identity token is not a JWT: want three parts with dots between them")
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return nil, errors.New("the identity token is not a JWT: its second part is not base64url")
	}
	var c Claims
	if err := json.Unmarshal(raw, &c); err != nil {
		return nil, errors.New("the identity token is not a JWT: its second part is not JSON")
	}
	return &c, nil
}

// ServicesFor chooses the instance of Sigstore as GitHub's own attestations
// do: the public one for a public repository, GitHub's for others, so that the
// name of a private one never gets into a public log.
func (c *Claims) ServicesFor() (*Services, error) {
	switch c.Visibility {
	case "public":
		return PublicServices(), nil
	case "private", "internal":
		return GitHubServices(), nil
	}
	return nil, fmt.Errorf("the identity token of %.200q does not say whether its repository is public: choose the servers with --signing-config public, github or FILE", c.Issuer)
}

// Keyless signs with a key that is made for one signature, and a certificate
// in which Fulcio says whose identity it was.
type Keyless struct {
	Token Token
	// Services nil is those that fit the token's repository.
	Services *Services
	// Root is what the bundle is checked against before it is returned; nil is
	// no check.
	Root root.TrustedMaterial
}

func (k *Keyless) material(ctx context.Context) (sign.Keypair, sign.BundleOptions, error) {
	var opts sign.BundleOptions
	token, err := k.Token(ctx, Audience)
	if err != nil {
		return nil, opts, fmt.Errorf("getting an identity token: %w", err)
	}
	claims, err := ReadClaims(token)
	if err != nil {
		return nil, opts, err
	}
	services := k.Services
	if services == nil {
		if services, err = claims.ServicesFor(); err != nil {
			return nil, opts, err
		}
	}
	if services.Fulcio == "" {
		return nil, opts, errors.New("the signing configuration names no certificate authority (caUrls), which signing without a key needs")
	}
	pair, err := sign.NewEphemeralKeypair(nil)
	if err != nil {
		return nil, opts, err
	}
	return pair, sign.BundleOptions{
		CertificateProvider: sign.NewFulcio(&sign.FulcioOptions{
			BaseURL: services.Fulcio, Timeout: -1, Transport: Transport(ctx, "Fulcio", nil),
		}),
		CertificateProviderOptions: &sign.CertificateProviderOptions{IDToken: token},
		TimestampAuthorities:       services.timestampAuthorities(ctx),
		TransparencyLogs:           services.logs(ctx),
	}, nil
}

func (k *Keyless) check(bundle []byte) error {
	if k.Root == nil {
		return nil
	}
	_, err := inspect(bundle, &Policy{Root: k.Root})
	return err
}
