package attest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestAServiceThatComesBackIsAskedAgain(t *testing.T) {
	for name, fault := range map[string]func(http.ResponseWriter, *http.Request){
		"500": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) },
		"429 with a wait": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "0")
			w.WriteHeader(http.StatusTooManyRequests)
		},
		"403 with a wait, as GitHub limits": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "0")
			w.WriteHeader(http.StatusForbidden)
		},
		"a connection that breaks": func(w http.ResponseWriter, _ *http.Request) { hangUp(w) },
		"an answer that breaks off": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, "half")
			w.(http.Flusher).Flush()
			hangUp(w)
		},
	} {
		t.Run(name, func(t *testing.T) {
			var asked atomic.Int32
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				if string(body) != "question" {
					t.Errorf("try %d brought %q", asked.Load(), body)
				}
				if asked.Add(1) <= 2 {
					fault(w, r)
					return
				}
				_, _ = io.WriteString(w, "answer")
			}))
			defer srv.Close()
			c := http.Client{Transport: Transport(within(t, time.Minute), "test service", nil)}
			resp, err := c.Post(srv.URL, "text/plain", strings.NewReader("question"))
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if got, _ := io.ReadAll(resp.Body); string(got) != "answer" || asked.Load() != 3 {
				t.Errorf("got %q after %d tries", got, asked.Load())
			}
		})
	}
}

func hangUp(w http.ResponseWriter) {
	c, _, err := w.(http.Hijacker).Hijack()
	if err == nil {
		c.Close()
	}
}

func TestAServiceThatStaysAwayIsGivenUpInTimeAndNamed(t *testing.T) {
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refused := "http://" + nobody.Addr().String()
	nobody.Close()
	for name, c := range map[string]struct {
		serve  http.HandlerFunc
		status int
		says   string
		kind   error
	}{
		"nobody listens": {nil, 0, "connection refused", ErrUnavailable},
		"it hangs": {func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body) // else the server does not see that the client has gone
			<-r.Context().Done()
		}, 0, "did not answer", ErrUnavailable},
		"503": {func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "overloaded", http.StatusServiceUnavailable)
		}, 503, "overloaded", ErrUnavailable},
		"it limits for an hour": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "3600")
			w.WriteHeader(429)
		}, 429, "asks to wait 1h0m0s", ErrUnavailable},
		"403, nothing is left for an hour": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-RateLimit-Remaining", "0")
			w.Header().Set("X-RateLimit-Reset", strconv.FormatInt(time.Now().Add(time.Hour).Unix(), 10))
			w.WriteHeader(403)
		}, 403, "asks to wait", ErrUnavailable},
		"403, and until when is not said": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-RateLimit-Remaining", "0")
			w.WriteHeader(403)
		}, 403, "no time is left", ErrUnavailable},
		"403 for want of a right": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-RateLimit-Remaining", "17")
			w.WriteHeader(403)
		}, 403, "refused", ErrRefused},
		"it says no": {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "not you", 400) }, 400, "not you", ErrRefused},
	} {
		t.Run(name, func(t *testing.T) {
			url := refused
			var asked atomic.Int32
			if c.serve != nil {
				srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { asked.Add(1); c.serve(w, r) }))
				defer srv.Close()
				url = srv.URL
			}
			ctx, cancel := context.WithTimeout(t.Context(), 700*time.Millisecond)
			defer cancel()
			client := http.Client{Transport: Transport(ctx, "test service", nil)}
			// Like sigstore-go's, the request knows of no deadline.
			_, err := client.Post(url+"/path?secret=1", "text/plain", strings.NewReader("x"))
			var e *ServiceError
			if !errors.As(err, &e) {
				t.Fatalf("error is %T: %v", err, err)
			}
			if e.Status != c.status || !errors.Is(err, c.kind) || errors.Is(err, ErrUnavailable) == errors.Is(err, ErrRefused) {
				t.Errorf("status %d, kind %v: %v", e.Status, c.kind, err)
			}
			if text := e.Error(); !strings.Contains(text, c.says) || !strings.Contains(text, "test service") || strings.Contains(text, "secret") {
				t.Errorf("error is %q, want it to say %q", text, c.says)
			}
			if c.kind == ErrRefused && asked.Load() != 1 {
				t.Errorf("it was asked %d times", asked.Load())
			}
		})
	}
}

func TestRetryAfterIsReadInBothForms(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for v, want := range map[string]time.Duration{
		"":                     -1,
		"0":                    0,
		"120":                  2 * time.Minute,
		"-1":                   -1,
		"99999999999999999999": -1,
		now.Add(90 * time.Second).Format(http.TimeFormat):  90 * time.Second,
		now.Add(-90 * time.Second).Format(http.TimeFormat): 0,
		"soon": -1,
	} {
		h := http.Header{}
		if v != "" {
			h.Set("Retry-After", v)
		}
		got, said := retryAfter(&http.Response{Header: h}, now)
		if !said {
			got = -1
		}
		if got != want {
			t.Errorf("%q is %s, want %s", v, got, want)
		}
	}
}

// Each of the servers in turn is down, and each time that one is named, as
// what it is: no word on the evidence.
func TestSigningNamesTheServerThatIsDown(t *testing.T) {
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	down := "http://" + nobody.Addr().String()
	nobody.Close()
	hold := keys(t)["ECDSA"]
	for name, c := range map[string]struct {
		by      Signer
		service string
	}{
		"identity": {&Keyless{Token: JobToken(func(n string) string {
			return map[string]string{"ACTIONS_ID_TOKEN_REQUEST_URL": down + "/?a=b", "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "t"}[n]
		})}, "identity token service"},
		"Fulcio": {&Keyless{
			Token:    func(context.Context, string) (string, error) { return unsignedToken, nil },
			Services: &Services{Fulcio: down, Timestamps: []string{down}},
		}, "Fulcio"},
		"timestamps": {&Key{Signer: hold, Services: &Services{Timestamps: []string{down}}}, "timestamp authority"},
		"Rekor v1":   {&Key{Signer: hold, Services: &Services{Logs: []Log{{down, 1}}}}, "transparency log"},
		"Rekor v2":   {&Key{Signer: hold, Services: &Services{Logs: []Log{{down, 2}}}}, "transparency log"},
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := statement(t)
			_, err := Sign(within(t, 500*time.Millisecond), s, c.by)
			var e *ServiceError
			if !errors.As(err, &e) || !errors.Is(err, ErrUnavailable) {
				t.Fatalf("error is %v", err)
			}
			if e.Service != c.service || e.Tries < 2 {
				t.Errorf("%s after %d tries, want %s after some", e.Service, e.Tries, c.service)
			}
		})
	}
}

// unsignedToken is what a token looks like before anybody checks it.
const unsignedToken = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJyZXBvOm9jdG8vYXBwIiwiaXNzIjoiaHR0cHM6Ly9leGFtcGxlLmNvbSJ9.x"

func TestARefusalOfFulcioIsNotAsked(t *testing.T) {
	var asked atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprint(w, `{"message":"There was an error processing the identity token"}`)
	}))
	defer srv.Close()
	s, _ := statement(t)
	_, err := Sign(within(t, time.Minute), s, &Keyless{
		Token:    func(context.Context, string) (string, error) { return unsignedToken, nil },
		Services: &Services{Fulcio: srv.URL, Timestamps: []string{srv.URL}},
	})
	if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "processing the identity token") || asked.Load() != 1 {
		t.Errorf("after %d tries: %v", asked.Load(), err)
	}
}
