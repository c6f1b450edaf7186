package witness

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	cosign "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"

	"github.com/org/edamame-posture/pkg/evidence"
)

// Client asks a witness. It believes nothing that is not signed with a pinned
// key.
type Client struct {
	url       string
	records   note.Verifiers
	cosigners note.Verifiers

	// HTTP sends the requests. It is there from NewClient on.
	HTTP *http.Client
	// Budget is how long one call may take with all its tries; 0 means 5 s.
	Budget time.Duration
}

// Bounds of trying again.
const (
	defaultBudget = 5 * time.Second
	maxTries      = 4
	firstPause    = 100 * time.Millisecond
)

// ErrDown is what an error wraps when a witness did not answer, or said that
// it cannot now. Nothing follows from it about the evidence.
var ErrDown = errors.New("the service does not answer")

// ErrNone says that the witness has no record of the slot or log.
var ErrNone = errors.New("the witness has no first record")

// SizeError says that the witness's last checkpoint of a log is of another
// size than the caller takes it to be, or that what was sent is not what it
// knows: it was asked out of order, or the log has two histories.
type SizeError struct{ Size uint64 }

// Error says what the witness knows.
func (e *SizeError) Error() string {
	return fmt.Sprintf("the witness knows another history of this log, of size %d", e.Size)
}

// ConflictError says that the slot, or the log's name, has a first record
// already, which is another.
type ConflictError struct{ Record *Record }

// Error says what there is.
func (e *ConflictError) Error() string {
	f := e.Record.First
	return fmt.Sprintf("the witness has another first record: slot %s, log %s, commitment %s, of %s",
		e.Record.Slot, f.Origin, f.Commitment, time.Unix(f.Time, 0).UTC().Format(time.RFC3339))
}

// RefusedError is any other answer: the witness does not take what was sent.
type RefusedError struct {
	Code int // of HTTP
	Why  string
}

// Error says why, in the witness's words.
func (e *RefusedError) Error() string {
	return fmt.Sprintf("the witness refuses (%d): %s", e.Code, e.Why)
}

// NewClient makes a client of the witness at a URL, with the keys that may sign
// for it (verifier keys as witness keygen prints them first): one, or two while
// a key is changed.
func NewClient(base string, keys ...string) (*Client, error) {
	u, err := url.Parse(base)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.RawQuery != "" {
		return nil, fmt.Errorf("witness %.200q: want a URL such as https://witness.example.org", base)
	}
	if len(keys) == 0 {
		return nil, errors.New("witness: without its key nothing it says counts")
	}
	var records, cosigners []note.Verifier
	for _, k := range keys {
		r, c, err := verifiersOf(k)
		if err != nil {
			return nil, err
		}
		records, cosigners = append(records, r), append(cosigners, c)
	}
	return &Client{
		url: strings.TrimSuffix(base, "/"), records: note.VerifierList(records...), cosigners: note.VerifierList(cosigners...),
		HTTP: &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	}, nil
}

// FirstRecord makes a log known and returns what the witness then holds: also
// where the same was sent before, and the answer lost. Where there is another
// first record the error is a *[ConflictError].
func (c *Client) FirstRecord(ctx context.Context, f FirstRecord) (*Record, error) {
	body, err := json.Marshal(f)
	if err != nil {
		return nil, err
	}
	code, answer, err := c.ask(ctx, http.MethodPost, "/first-record", body, f.Token, maxRecord)
	if err != nil {
		return nil, err
	}
	switch code {
	case http.StatusOK, http.StatusConflict:
	default:
		return nil, refused(code, answer)
	}
	r, err := c.open(answer)
	if err != nil {
		return nil, err
	}
	commitment := evidence.Hash(sha256.Sum256(f.Commitment))
	if code == http.StatusConflict {
		return nil, &ConflictError{r}
	}
	if r.First.Commitment != commitment || r.First.Checkpoint != f.Checkpoint {
		return nil, &ConflictError{r}
	}
	return r, nil
}

// AddCheckpoint has the last of notes cosigned. old is the size of the last
// checkpoint that was cosigned, path the proof from it to this one (see
// [evidence.Growth]), and notes are all signed checkpoints after it, in order. It returns
// the cosignature's line and its time.
//
// Where the outcome is not known, since no answer came, the same is to be sent
// again before anything further. A *[SizeError] says that the witness holds
// something else.
func (c *Client) AddCheckpoint(ctx context.Context, old uint64, path []evidence.Hash, notes [][]byte) (string, time.Time, error) {
	if len(notes) == 0 {
		return "", time.Time{}, errors.New("witness: there is no checkpoint to add")
	}
	r := request{old: old, notes: notes}
	for i := range path {
		r.proof = append(r.proof, path[i][:])
	}
	last := notes[len(notes)-1]
	line, at, err := c.add(ctx, &r, last)
	var size *SizeError
	if !errors.As(err, &size) {
		return line, at, err
	}
	// It may have been taken, and the answer lost.
	cp, bad := parseCheckpoint(last)
	if bad != nil || cp.size != size.Size {
		return "", time.Time{}, err
	}
	return c.add(ctx, &request{old: cp.size, notes: [][]byte{last}}, last)
}

func (c *Client) add(ctx context.Context, r *request, last []byte) (string, time.Time, error) {
	code, answer, err := c.ask(ctx, http.MethodPost, "/add-checkpoint", r.append(nil), "", maxNote)
	if err != nil {
		return "", time.Time{}, err
	}
	switch code {
	case http.StatusOK:
		return c.cosignature(last, answer)
	case http.StatusConflict:
		size, err := parseCount(strings.TrimSuffix(string(answer), "\n"))
		if err != nil {
			return "", time.Time{}, refused(code, answer)
		}
		return "", time.Time{}, &SizeError{size}
	case http.StatusNotFound:
		return "", time.Time{}, ErrNone
	}
	return "", time.Time{}, refused(code, answer)
}

// cosignature checks the line that was answered over the checkpoint's text.
func (c *Client) cosignature(checkpoint, line []byte) (string, time.Time, error) {
	text, _, _ := bytes.Cut(checkpoint, []byte("\n\n"))
	signed := append(append(text[:len(text):len(text)], "\n\n"...), line...)
	n, err := note.Open(signed, c.cosigners)
	if err != nil {
		return "", time.Time{}, fmt.Errorf("the witness's cosignature is not by a key that is pinned: %w", err)
	}
	sig := n.Sigs[0]
	at, err := cosign.CoSigV1Timestamp(sig)
	return signatureMark + sig.Name + " " + sig.Base64 + "\n", at, err
}

// Slot asks for all that the witness holds of a slot. signed is what it
// signed, to be kept: OpenRecord reads it.
func (c *Client) Slot(ctx context.Context, id ID) (r *Record, signed []byte, err error) {
	code, answer, err := c.ask(ctx, http.MethodGet, "/slot/"+id.String(), nil, "", maxRecord)
	if err != nil {
		return nil, nil, err
	}
	switch code {
	case http.StatusOK:
	case http.StatusNotFound:
		return nil, nil, ErrNone
	default:
		return nil, nil, refused(code, answer)
	}
	if r, err = c.open(answer); err != nil {
		return nil, nil, err
	}
	if r.Slot != id {
		return nil, nil, fmt.Errorf("the witness answered with slot %s, and was asked for %s", r.Slot, id)
	}
	return r, answer, nil
}

func (c *Client) open(answer []byte) (*Record, error) {
	r, err := openRecord(answer, c.records)
	if err == nil {
		err = r.fresh(time.Now())
	}
	return r, err
}

func refused(code int, answer []byte) error {
	return &RefusedError{code, fmt.Sprintf("%.500q", strings.TrimSpace(string(answer)))}
}

// ask sends a request, again where nothing answered or the witness is busy,
// within the budget.
func (c *Client) ask(ctx context.Context, method, path string, body []byte, token string, max int64) (int, []byte, error) {
	budget := c.Budget
	if budget == 0 {
		budget = defaultBudget
	}
	ctx, cancel := context.WithTimeout(ctx, budget)
	defer cancel()
	pause := firstPause
	for try := 1; ; try++ {
		code, answer, wait, err := c.once(ctx, method, path, body, token, max)
		if err == nil && code != http.StatusTooManyRequests && code < 500 {
			return code, answer, nil
		}
		if err == nil {
			err = refused(code, answer)
		}
		if code == http.StatusInsufficientStorage {
			return 0, nil, err
		}
		if try == maxTries {
			return 0, nil, fmt.Errorf("%w, asked %d times: %w", ErrDown, try, err)
		}
		select {
		case <-time.After(pause + wait):
			pause *= 2
		case <-ctx.Done():
			return 0, nil, fmt.Errorf("%w within %v: %w", ErrDown, budget, err)
		}
	}
}

func (c *Client) once(ctx context.Context, method, path string, body []byte, token string, max int64) (code int, answer []byte, wait time.Duration, err error) {
	req, err := http.NewRequestWithContext(ctx, method, c.url+path, bytes.NewReader(body))
	if err != nil {
		return 0, nil, 0, err
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := c.HTTP.Do(req)
	if err != nil {
		return 0, nil, 0, err
	}
	defer resp.Body.Close()
	if answer, err = io.ReadAll(io.LimitReader(resp.Body, max+1)); err != nil {
		return 0, nil, 0, err
	}
	if int64(len(answer)) > max {
		return 0, nil, 0, fmt.Errorf("an answer of more than %d bytes", max)
	}
	if s, err := strconv.ParseUint(resp.Header.Get("Retry-After"), 10, 16); err == nil {
		wait = time.Duration(s) * time.Second
	}
	return resp.StatusCode, answer, wait, nil
}
