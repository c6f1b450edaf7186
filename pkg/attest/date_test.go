package attest

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/sigstore/sigstore-go/pkg/testing/ca"
)

func TestATimestampAuthoritysAnswerIsAboutOneTextAndByOneOfTheRoot(t *testing.T) {
	vs, err := ca.NewVirtualSigstore()
	if err != nil {
		t.Fatal(err)
	}
	other, err := ca.NewVirtualSigstore()
	if err != nil {
		t.Fatal(err)
	}
	text := []byte("edamame-posture/r\n1\n")
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		b, err := vs.TimestampResponse(text)
		if err != nil {
			t.Error(err)
		}
		_, _ = w.Write(b)
	}))
	defer server.Close()
	answer, err := Date(t.Context(), server.URL, text)
	if err != nil {
		t.Fatal(err)
	}
	if at, err := DatedAt(answer, text, vs); err != nil || time.Since(at).Abs() > time.Hour {
		t.Errorf("%v: %v", at, err)
	}
	if _, err := DatedAt(answer, []byte("another text"), vs); !errors.Is(err, ErrTrust) {
		t.Errorf("about another text: %v", err)
	}
	if _, err := DatedAt(answer, text, other); !errors.Is(err, ErrTrust) {
		t.Errorf("by another authority: %v", err)
	}
}

func FuzzDatedAt(f *testing.F) {
	vs, err := ca.NewVirtualSigstore()
	if err != nil {
		f.Fatal(err)
	}
	text := []byte("text")
	good, err := vs.TimestampResponse(text)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte{0x30, 0x80})
	f.Fuzz(func(t *testing.T, b []byte) {
		at, err := DatedAt(b, text, vs)
		if err == nil && at.IsZero() {
			t.Error("an answer without a time is good")
		}
	})
}
