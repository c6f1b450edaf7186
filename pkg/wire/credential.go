package wire

import (
	"bytes"
	"encoding/base64"
)

// Credential is a header that tells who asks.
type Credential struct {
	Name  string // in lower case, of [credentialHeaders]
	Value []byte
}

// maxCredentials bounds the credentials of one request.
const maxCredentials = 4

// credentialHeaders are the headers that services take a key in.
var credentialHeaders = [...]string{
	"authorization",
	"x-api-key",       // Anthropic and many others
	"api-key",         // Azure OpenAI
	"x-goog-api-key",  // Google
	"private-token",   // GitLab
	"job-token",       // GitLab
	"x-auth-token",    // OpenStack
	"x-vault-token",   // HashiCorp Vault
	"x-figma-token",   // Figma
	"x-auth-key",      // Cloudflare
	"dd-api-key",      // Datadog
	"x-jfrog-art-api", // Artifactory
	"x-nuget-apikey",  // NuGet
	"circle-token",    // CircleCI
	"x-shopify-access-token",
}

// credentialHeader returns the name of a header that holds a credential, or "".
func credentialHeader(name []byte) string {
	for _, h := range credentialHeaders {
		if isHeader(name, h) {
			return h
		}
	}
	return ""
}

// credential notes one, where there is a name and room for it.
func (q *HTTPRequest) credential(name string, value []byte) {
	if name == "" || len(value) == 0 {
		return
	}
	for i := range q.Credentials {
		if q.Credentials[i].Name == "" {
			q.Credentials[i] = Credential{name, value}
			return
		}
	}
}

// Keys returns what of a credential is the key itself: of an Authorization what
// stands behind the scheme, of Basic the password, or the name where the
// password says that it is the token, and of a signature of AWS the id of the
// access key, since its secret is not sent. The second one is nil where there is
// but one reading.
func (c *Credential) Keys() (first, second []byte) {
	if c.Name != "authorization" {
		return c.Value, nil
	}
	scheme, rest, ok := bytes.Cut(c.Value, []byte(" "))
	if rest = trimBlank(rest); !ok || len(rest) == 0 {
		return c.Value, nil
	}
	switch {
	case isHeader(scheme, "basic"):
		b := make([]byte, base64.StdEncoding.DecodedLen(len(rest)))
		n, err := base64.StdEncoding.Decode(b, rest)
		if err != nil {
			return rest, nil
		}
		user, password, _ := bytes.Cut(b[:n], []byte(":"))
		if len(password) == 0 || string(password) == "x-oauth-basic" {
			return user, nil
		}
		return password, user
	case bytes.HasPrefix(scheme, []byte("AWS4-")):
		_, id, found := bytes.Cut(rest, []byte("Credential="))
		if !found {
			return rest, nil
		}
		id, _, _ = bytes.Cut(id, []byte("/"))
		return id, nil
	}
	return rest, nil
}
