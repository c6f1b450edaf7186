package attest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/org/edamame-posture/test/sigstore"
)

// A log may answer anything to who signs: that is an error, and never the end
// of the program.
func TestARekorV1ThatAnswersInPartIsAnError(t *testing.T) {
	rig := sigstore.Start(t, sigstore.Options{RekorV1: true})
	config, err := os.ReadFile(rig.SigningConfig)
	if err != nil {
		t.Fatal(err)
	}
	sign := func(at string) error {
		services, err := LoadServices([]byte(strings.ReplaceAll(string(config), rig.LogV1.URL, at)), time.Now())
		if err != nil {
			t.Fatal(err)
		}
		by := &Keyless{Services: services, Token: func(_ context.Context, audience string) (string, error) { return rig.Issuer.Token(audience) }}
		_, err = SignPayload(t.Context(), []byte(`{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"a","digest":{"sha256":"`+strings.Repeat("0", 64)+`"}}],"predicateType":"https://example.com/x"}`), by)
		return err
	}
	if err := sign(rig.LogV1.URL); err != nil {
		t.Fatal(err)
	}
	const whole = `{"body":"e30=","integratedTime":1,"logID":"` + "0000000000000000000000000000000000000000000000000000000000000000" + `","logIndex":0,"verification":{"inclusionProof":{"checkpoint":"x","hashes":[],"logIndex":0,"rootHash":"00","treeSize":1},"signedEntryTimestamp":"AA=="}}`
	for what, entry := range map[string]string{
		"nothing": "", "no entry": `{}`, "no log": strings.Replace(whole, `"logID"`, `"x"`, 1), "no proof": strings.Replace(whole, `"inclusionProof"`, `"x"`, 1),
		"no verification": strings.Replace(whole, `"verification"`, `"x"`, 1), "no root": strings.Replace(whole, `"rootHash"`, `"x"`, 1), "no body": strings.Replace(whole, `"body"`, `"x"`, 1), "no kind": whole,
	} {
		for _, etag := range []string{"u", ""} {
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				if etag != "" {
					w.Header().Set("ETag", etag)
				}
				w.WriteHeader(http.StatusCreated)
				if entry != "" && json.Valid([]byte(entry)) {
					fmt.Fprintf(w, `{"u":%s}`, entry)
				} else {
					fmt.Fprint(w, "{}")
				}
			}))
			if err := sign(s.URL); err == nil {
				t.Errorf("%s, ETag %q: signed", what, etag)
			}
			s.Close()
		}
	}
}
