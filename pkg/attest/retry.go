package attest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Kinds of [ServiceError]: nothing is said of the evidence by either.
var (
	// ErrUnavailable is a service that is down, slow or limits its callers.
	// Later it may do what it was asked.
	ErrUnavailable = errors.New("a service did not answer")
	// ErrRefused is a service that answered and would not: asking again is of
	// no use.
	ErrRefused = errors.New("a service refused")
)

// ServiceError tells which service did not do its part, and why.
type ServiceError struct {
	Service string // what it is for: Fulcio, timestamp authority
	URL     string // without its query
	Status  int    // of the last answer (RFC 9110), 0 where there was none
	Limited bool   // it answered 403 and meant: not so often
	Answer  string // begin of the last answer
	Tries   int
	Took    time.Duration
	Err     error // why there was no answer
}

// Error says what happened, in one line.
func (e *ServiceError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s (%s) ", e.Service, e.URL)
	switch {
	case e.Status == 0:
		fmt.Fprintf(&b, "did not answer: %v", e.Err)
	case e.Is(ErrUnavailable):
		fmt.Fprintf(&b, "is not available: it answered %d %s", e.Status, http.StatusText(e.Status))
	default:
		fmt.Fprintf(&b, "refused: it answered %d %s", e.Status, http.StatusText(e.Status))
	}
	if e.Answer != "" {
		fmt.Fprintf(&b, ", %.300q", e.Answer)
	}
	if e.Status != 0 && e.Err != nil {
		fmt.Fprintf(&b, "; %v", e.Err)
	}
	if e.Tries > 1 {
		fmt.Fprintf(&b, " (%d tries in %s)", e.Tries, e.Took.Round(100*time.Millisecond))
	}
	return b.String()
}

// Unwrap returns the reason why there was no answer.
func (e *ServiceError) Unwrap() error { return e.Err }

// Is tells the two kinds apart.
func (e *ServiceError) Is(target error) bool {
	down := e.Status == 0 || e.Limited || temporary(e.Status)
	return target == ErrUnavailable && down || target == ErrRefused && !down
}

func temporary(status int) bool {
	return status == http.StatusTooManyRequests || status == http.StatusRequestTimeout || status >= 500
}

const (
	// maxTry bounds one try, so that a service which hangs once leaves time
	// for another.
	maxTry = 15 * time.Second
	// firstWait and maxWait bound the time between tries; it doubles.
	firstWait = 200 * time.Millisecond
	maxWait   = 8 * time.Second
	// maxAnswer bounds what is read of an answer, in bytes.
	maxAnswer = 16 << 20
)

// Transport returns a round tripper that asks again where a service is down,
// hangs or limits its callers, until ctx ends. It waits as long as the service
// says (Retry-After, RFC 9110 section 10.2.3), and gives up at once where that
// is longer than ctx has. Whatever is no success is a [*ServiceError], but for
// 404 and 409, which mean something to their callers. next nil is
// [http.DefaultTransport].
func Transport(ctx context.Context, service string, next http.RoundTripper) http.RoundTripper {
	if next == nil {
		next = http.DefaultTransport
	}
	return &transport{ctx, service, next}
}

// transport keeps a context since sigstore-go makes requests without one.
type transport struct {
	ctx     context.Context
	service string
	next    http.RoundTripper
}

// RoundTrip implements [http.RoundTripper].
func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	var body []byte
	if req.Body != nil {
		var err error
		body, err = io.ReadAll(req.Body)
		req.Body.Close()
		if err != nil {
			return nil, err
		}
	}
	begin := time.Now()
	fail := &ServiceError{Service: t.service, URL: req.URL.Scheme + "://" + req.URL.Host + req.URL.Path}
	wait := firstWait
	for {
		fail.Tries++
		resp, err := t.try(req, body)
		fail.Took = time.Since(begin)
		if err != nil {
			fail.Status, fail.Limited, fail.Answer, fail.Err = 0, false, "", err
		} else if ok(resp.StatusCode) {
			return resp, nil
		} else {
			answer, _ := io.ReadAll(io.LimitReader(resp.Body, 512))
			fail.Status, fail.Answer, fail.Err = resp.StatusCode, strings.TrimSpace(string(answer)), nil
		}
		pause := wait/2 + rand.N(wait/2) // not all jobs of a fleet at the same moment
		if resp != nil {
			after, said := retryAfter(resp, time.Now())
			fail.Limited = said && resp.StatusCode == http.StatusForbidden // as GitHub does
			if said {
				pause = after
			} else if !temporary(resp.StatusCode) {
				return nil, fail
			}
		}
		if deadline, limited := t.ctx.Deadline(); limited && time.Until(deadline) < pause {
			why := "no time is left for another try"
			if pause > maxWait {
				why = fmt.Sprintf("it asks to wait %s, and there is not so much time", pause.Round(time.Second))
			}
			fail.Err = errors.Join(fail.Err, errors.New(why))
			if resp != nil {
				fail.Err = errors.New(why)
			}
			return nil, fail
		}
		timer := time.NewTimer(pause)
		select {
		case <-t.ctx.Done():
			timer.Stop()
			fail.Err = errors.Join(fail.Err, t.ctx.Err())
			return nil, fail
		case <-req.Context().Done():
			timer.Stop()
			fail.Err = errors.Join(fail.Err, req.Context().Err())
			return nil, fail
		case <-timer.C:
		}
		wait = min(2*wait, maxWait)
	}
}

// ok reports whether an answer is for the caller to read.
func ok(status int) bool {
	return status < 400 || status == http.StatusNotFound || status == http.StatusConflict
}

// try asks once and reads the whole answer, for a service can hang in the
// middle of it too.
func (t *transport) try(req *http.Request, body []byte) (*http.Response, error) {
	ctx, cancel := context.WithTimeout(t.ctx, maxTry)
	defer cancel()
	stop := context.AfterFunc(req.Context(), cancel)
	defer stop()
	again := req.Clone(ctx)
	if req.Body != nil {
		again.Body = io.NopCloser(bytes.NewReader(body))
		again.ContentLength = int64(len(body))
		again.TransferEncoding = nil
	}
	resp, err := t.next.RoundTrip(again)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return nil, fmt.Errorf("its answer broke off: %w", err)
	}
	if len(answer) > maxAnswer {
		return nil, fmt.Errorf("its answer has more than %d bytes", maxAnswer)
	}
	resp.Body = io.NopCloser(bytes.NewReader(answer))
	return resp, nil
}

// retryAfter reads how long to wait: Retry-After, in seconds or as a date, and
// where GitHub says that nothing is left of what it allows in an hour, when
// that begins anew (docs.github.com, rate limits for the REST API).
func retryAfter(resp *http.Response, now time.Time) (time.Duration, bool) {
	h := resp.Header
	v := h.Get("Retry-After")
	if n, err := strconv.ParseUint(v, 10, 31); err == nil {
		return time.Duration(n) * time.Second, true
	}
	if at, err := http.ParseTime(v); err == nil {
		return max(at.Sub(now), 0), true
	}
	limits := resp.StatusCode == http.StatusForbidden || resp.StatusCode == http.StatusTooManyRequests
	if !limits || h.Get("X-RateLimit-Remaining") != "0" {
		return 0, false
	}
	at, err := strconv.ParseInt(h.Get("X-RateLimit-Reset"), 10, 64)
	if err != nil {
		return maxWait, true
	}
	return max(time.Unix(at, 0).Sub(now), 0), true
}
