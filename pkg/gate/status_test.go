package gate

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/org/edamame-posture/pkg/evidence"
)

func aFirstRecordIsLookedUpOnTheCommit(t *testing.T, w *world) {
	const at = "/repos/octo/app/commits/" + commit + "/statuses"
	policy := w.policy(t, E3, "", fmt.Sprintf("  jwks: %s\n  commit-status: true\n", w.jwks))
	h := newHub(t)
	said := func([]byte) []byte { return []byte(`{"context":"posture/555"}`) }
	dir := w.record(t, "9701", choices{status: said})
	own := evidence.Audience(get(t, filepath.Join(dir, "evidence", evidence.CommitmentFile)))
	late := w.record(t, "9702", choices{status: said, lateRecord: true})
	lates := evidence.Audience(get(t, filepath.Join(late, "evidence", evidence.CommitmentFile)))
	status := func(context, text string, at time.Time) map[string]any {
		return map[string]any{"context": context, "description": text, "state": "success", "created_at": at.UTC().Format(time.RFC3339)}
	}
	now := time.Now()
	one := status("posture/555", own, now)
	other := evidence.Audience([]byte("another commitment"))
	ask := func(ctx context.Context) func(*Input) {
		return func(in *Input) {
			asked(nil)(in)
			in.Statuses = h.client(t, ctx).Statuses
		}
	}
	for name, c := range map[string]struct {
		dir    string
		pages  [][]map[string]any
		reason Reason
	}{
		"it alone": {dir, [][]map[string]any{{status("ci", "ok", now), one, status("posture/777", other, now)}}, ""},
		"it twice": {dir, [][]map[string]any{{one, one}}, ""},
		// Who may write statuses can add one after it, before it is looked for,
		// or as another page.
		"a later step's after it":       {dir, [][]map[string]any{{status("posture/555", other, now.Add(time.Minute)), one}}, SecondCommitment},
		"a later step's, in capitals":   {dir, [][]map[string]any{{status("Posture/555", other, now.Add(time.Minute)), one}}, SecondCommitment},
		"another's on the next page":    {dir, [][]map[string]any{{one}, {status("posture/555", other, now)}}, SecondCommitment},
		"another's alone":               {dir, [][]map[string]any{{status("posture/555", other, now)}}, SecondCommitment},
		"none":                          {dir, [][]map[string]any{{status("ci", "ok", now)}}, NoFirstRecord},
		"it, under another job's name":  {dir, [][]map[string]any{{status("posture/777", own, now)}}, NoFirstRecord},
		"long after the start":          {dir, [][]map[string]any{{status("posture/555", own, now.Add(5*time.Minute))}}, LateStart},
		"the log names it when it runs": {late, [][]map[string]any{{status("posture/555", lates, now)}}, LateStart},
	} {
		t.Run(name, func(t *testing.T) {
			h.answer[at] = func(w http.ResponseWriter, r *http.Request) {
				page := 0
				_, _ = fmt.Sscan(r.URL.Query().Get("page"), &page)
				if page+1 < len(c.pages) {
					w.Header().Set("Link", fmt.Sprintf(`<%s%s?page=%d>; rel="next"`, h.server.URL, at, page+1))
				}
				_ = json.NewEncoder(w).Encode(c.pages[page])
			}
			d := decide(t, policy, ask(t.Context()), c.dir)
			if c.reason == "" {
				passes(t, d, E3)
				return
			}
			holds(t, d, "first record", E3, Refused, c.reason)
			if d.ExitCode() != 1 || d.Level > E2 {
				t.Errorf("taken:\n%s", text(t, d))
			}
		})
	}
	t.Run("more than are looked at", func(t *testing.T) {
		h.answer[at] = func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Link", fmt.Sprintf(`<%s%s?page=0>; rel="next"`, h.server.URL, at))
			_ = json.NewEncoder(w).Encode(make([]CommitStatus, 100))
		}
		holds(t, decide(t, policy, ask(t.Context()), dir), "first record", E3, Refused, WrongRecord)
	})
	t.Run("GitHub is down", func(t *testing.T) {
		h.answer[at] = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		d := decide(t, policy, ask(ctx), dir)
		holds(t, d, "first record", E3, Unknown, ServiceDown)
		if d.ExitCode() != 4 {
			t.Errorf("exit code %d", d.ExitCode())
		}
	})
	t.Run("nobody can be asked", func(t *testing.T) {
		d := decide(t, policy, asked(nil), dir)
		if c := named(t, d, "first record"); c.Status != Unchecked || !strings.Contains(c.Got, "--github") || d.Level > E2 {
			t.Errorf("%+v", c)
		}
	})
}
