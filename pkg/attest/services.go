package attest

import (
	"bytes"
	"context"
	"crypto"
	_ "embed" // the instances below
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-openapi/runtime"
	openapi "github.com/go-openapi/runtime/client"
	"github.com/go-openapi/strfmt"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	tiles "github.com/sigstore/rekor-tiles/v2/pkg/generated/protobuf"
	rekor "github.com/sigstore/rekor/pkg/generated/client"
	"github.com/sigstore/rekor/pkg/generated/client/entries"
	"github.com/sigstore/rekor/pkg/generated/models"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/sign"
	"google.golang.org/protobuf/encoding/protojson"
)

// Services are the servers that keyless signing asks.
type Services struct {
	Fulcio     string // base URL of the certificate authority
	Timestamps []string
	Logs       []Log
}

// Log is a transparency log.
type Log struct {
	URL     string // base
	Version uint32 // of Rekor's API, 1 or 2
}

//go:embed instances/public.signing_config.json
var publicConfig []byte

//go:embed instances/github.signing_config.json
var gitHubConfig []byte

// PublicServices are those of the public good instance of Sigstore, whose
// logs everybody can read: names of repositories and workflows stand there.
func PublicServices() *Services { return embedded(publicConfig) }

// GitHubServices are GitHub's own for private repositories: no public log.
func GitHubServices() *Services { return embedded(gitHubConfig) }

func embedded(config []byte) *Services {
	s, err := LoadServices(config, time.Now())
	if err != nil {
		panic("attest: the embedded signing configuration: " + err.Error())
	}
	return s
}

// LoadServices chooses, from a Sigstore signing configuration (v0.2), what
// signs at the time given.
func LoadServices(config []byte, now time.Time) (*Services, error) {
	c, err := root.NewSigningConfigFromJSON(config)
	if err != nil {
		return nil, fmt.Errorf("signing configuration: %w", err)
	}
	var s Services
	if list := c.FulcioCertificateAuthorityURLs(); len(list) > 0 {
		ca, err := root.SelectService(list, sign.FulcioAPIVersions, now)
		if err != nil {
			return nil, fmt.Errorf("signing configuration: certificate authority: %w", err)
		}
		s.Fulcio = strings.TrimRight(ca.URL, "/")
	}
	if list := c.TimestampAuthorityURLs(); len(list) > 0 {
		chosen, err := root.SelectServices(list, c.TimestampAuthorityURLsConfig(), sign.TimestampAuthorityAPIVersions, now)
		if err != nil {
			return nil, fmt.Errorf("signing configuration: timestamp authorities: %w", err)
		}
		for _, t := range chosen {
			s.Timestamps = append(s.Timestamps, t.URL)
		}
	}
	if list := c.RekorLogURLs(); len(list) > 0 {
		chosen, err := root.SelectServices(list, c.RekorLogURLsConfig(), sign.RekorAPIVersions, now)
		if err != nil {
			return nil, fmt.Errorf("signing configuration: transparency logs: %w", err)
		}
		for _, l := range chosen {
			s.Logs = append(s.Logs, Log{strings.TrimRight(l.URL, "/"), l.MajorAPIVersion})
		}
	}
	return &s, s.check()
}

func (s *Services) check() error {
	urls := append([]string{}, s.Timestamps...)
	for _, l := range s.Logs {
		urls = append(urls, l.URL)
		if l.Version == 2 && len(s.Timestamps) == 0 {
			return errors.New("signing configuration: Rekor v2 gives no time, and there is no timestamp authority: add one, or the signature cannot be checked once the certificate has expired")
		}
	}
	if s.Fulcio != "" {
		urls = append(urls, s.Fulcio)
	}
	for _, u := range urls {
		if p, err := url.Parse(u); err != nil || p.Host == "" || p.Scheme != "https" && p.Scheme != "http" {
			return fmt.Errorf("signing configuration: %.200q is not an http URL", u)
		}
	}
	if s.Fulcio != "" && len(s.Timestamps)+len(s.Logs) == 0 {
		return errors.New("signing configuration: there is neither a timestamp authority nor a transparency log: the signature could not be checked once the certificate has expired")
	}
	return nil
}

// timestampAuthorities are clients of the services that say when.
func (s *Services) timestampAuthorities(ctx context.Context) []*sign.TimestampAuthority {
	var out []*sign.TimestampAuthority
	for _, u := range s.Timestamps {
		out = append(out, sign.NewTimestampAuthority(&sign.TimestampAuthorityOptions{
			URL: u, Timeout: -1, Transport: Transport(ctx, "timestamp authority", nil),
		}))
	}
	return out
}

func (s *Services) logs(ctx context.Context) []sign.Transparency {
	var out []sign.Transparency
	for _, l := range s.Logs {
		client := &http.Client{Transport: Transport(ctx, "transparency log", nil)}
		opts := &sign.RekorOptions{BaseURL: l.URL, Version: l.Version, Timeout: -1}
		if l.Version == 2 {
			opts.ClientV2 = &tileLog{l.URL, client}
		} else {
			u, _ := url.Parse(l.URL) // was checked
			rt := openapi.NewWithClient(u.Host, "/"+strings.Trim(u.Path, "/"), []string{u.Scheme}, client)
			rt.Consumers["application/json"], rt.Producers["application/json"] = runtime.JSONConsumer(), runtime.JSONProducer()
			opts.Client = wholeEntries{rekor.New(rt, strfmt.Default).Entries}
		}
		out = append(out, sign.NewRekor(opts))
	}
	return out
}

// wholeEntries is a client of Rekor v1 that gives no entry in which something is
// missing: sigstore-go takes what a server left out for there.
type wholeEntries struct{ sign.RekorClient }

// CreateLogEntry implements [sign.RekorClient].
func (c wholeEntries) CreateLogEntry(p *entries.CreateLogEntryParams, o ...entries.ClientOption) (*entries.CreateLogEntryCreated, error) {
	made, err := c.RekorClient.CreateLogEntry(p, o...)
	if err != nil {
		return nil, err
	}
	e, there := made.Payload[made.ETag]
	if !there {
		return nil, errors.New("the transparency log took the statement, and does not say as what (ETag)")
	}
	return made, wholeEntry(&e)
}

// GetLogEntryByUUID implements [sign.RekorClient].
func (c wholeEntries) GetLogEntryByUUID(p *entries.GetLogEntryByUUIDParams, o ...entries.ClientOption) (*entries.GetLogEntryByUUIDOK, error) {
	got, err := c.RekorClient.GetLogEntryByUUID(p, o...)
	if err != nil {
		return nil, err
	}
	if len(got.Payload) != 1 {
		return nil, fmt.Errorf("the transparency log gives %d entries of one number", len(got.Payload))
	}
	for _, e := range got.Payload {
		err = wholeEntry(&e)
	}
	return got, err
}

func wholeEntry(e *models.LogEntryAnon) error {
	err := e.Validate(strfmt.Default)
	if err == nil && (e.Verification == nil || e.Verification.InclusionProof == nil) {
		err = errors.New("it has no proof of inclusion")
	}
	if err != nil {
		return fmt.Errorf("the transparency log's entry is not whole: %w", err)
	}
	return nil
}

// tileLog is a client of Rekor v2: sigstore's own takes no transport.
type tileLog struct {
	base   string
	client *http.Client
}

// Add implements [sign.RekorV2Client].
func (l *tileLog) Add(ctx context.Context, entry any) (*protorekor.TransparencyLogEntry, error) {
	h, isHash := entry.(*tiles.HashedRekordRequestV002)
	if !isHash {
		return nil, fmt.Errorf("a log entry of type %T", entry)
	}
	body, err := protojson.Marshal(&tiles.CreateEntryRequest{Spec: &tiles.CreateEntryRequest_HashedRekordRequestV002{HashedRekordRequestV002: h}})
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, l.base+"/api/v2/log/entries", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := l.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	switch resp.StatusCode {
	case http.StatusCreated, http.StatusOK:
	case http.StatusConflict:
		// The answer to an earlier try was lost on its way.
		return nil, errLogged
	default:
		return nil, &ServiceError{Service: "transparency log", URL: l.base, Status: resp.StatusCode, Answer: string(answer), Tries: 1}
	}
	var e protorekor.TransparencyLogEntry
	if err := protojson.Unmarshal(answer, &e); err != nil {
		return nil, fmt.Errorf("transparency log (%s): its answer cannot be read: %w", l.base, err)
	}
	return &e, nil
}

// errLogged says that the log has the very same entry. It gives no proof of
// it then; a new signature is a new entry.
var errLogged = errors.New("the transparency log has this signature already")

// supportedByLogs reports a key that no log of the services takes.
func (s *Services) supportedByLogs(pub crypto.PublicKey) error {
	for _, l := range s.Logs {
		if l.Version == 2 && isEd25519(pub) {
			return errors.New("the transparency log (Rekor v2) takes no Ed25519 key: use ECDSA on P-256, or a signing configuration without it")
		}
	}
	return nil
}
