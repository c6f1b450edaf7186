package attest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/sign"
)

// maxDate bounds a timestamp authority's answer, in bytes.
const maxDate = 1 << 20

// Date asks a timestamp authority at a URL (RFC 3161) to say that it saw a
// text now. It is shown the text's hash alone. It is asked until ctx ends.
func Date(ctx context.Context, url string, text []byte) ([]byte, error) {
	tsa := sign.NewTimestampAuthority(&sign.TimestampAuthorityOptions{
		URL: url, Timeout: -1, Transport: Transport(ctx, "timestamp authority", nil),
	})
	answer, err := tsa.GetTimestamp(ctx, text)
	if err != nil {
		return nil, withoutURL(err)
	}
	return answer, nil
}

// DatedAt checks that one of the root's timestamp authorities saw a text, and
// returns when, by its answer (TimeStampResp, DER).
func DatedAt(answer, text []byte, trusted root.TrustedMaterial) (time.Time, error) {
	if len(answer) > maxDate {
		return time.Time{}, fmt.Errorf("an answer of %d bytes is none of a timestamp authority", len(answer))
	}
	var errs []error
	for _, a := range trusted.TimestampingAuthorities() {
		t, err := a.Verify(answer, text)
		if err == nil {
			return t.Time, nil
		}
		errs = append(errs, err)
	}
	if errs == nil {
		return time.Time{}, fmt.Errorf("%w: the trusted root names no timestamp authority", ErrTrust)
	}
	return time.Time{}, fmt.Errorf("%w: %w", ErrTrust, errors.Join(errs...))
}
