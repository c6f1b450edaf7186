package github

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/org/edamame-posture/pkg/attest"
	"github.com/org/edamame-posture/pkg/evidence"
)

// board stands for GitHub's API of commit statuses: the newest first, ten a
// page, and none is ever taken back.
type board struct {
	*httptest.Server
	list   []map[string]string
	hidden int // looks until what was made is listed
	refuse int // status of the answer to who makes one
}

const head = "3f786850e387550fdab836ed7e6dc881de23001b"

func newBoard(t *testing.T) *board {
	b := new(board)
	mux := http.NewServeMux()
	mux.HandleFunc("POST /repos/octo/app/statuses/"+head, func(w http.ResponseWriter, r *http.Request) {
		if b.refuse != 0 {
			w.WriteHeader(b.refuse)
			return
		}
		if got := r.Header.Get("Authorization"); got != "Bearer job-token" {
			t.Errorf("authorization %q", got)
		}
		var st map[string]string
		if err := json.NewDecoder(r.Body).Decode(&st); err != nil {
			t.Error(err)
		}
		st["created_at"] = time.Now().UTC().Format(time.RFC3339)
		b.list = append([]map[string]string{st}, b.list...)
		w.WriteHeader(http.StatusCreated)
		_ = json.NewEncoder(w).Encode(st)
	})
	mux.HandleFunc("GET /repos/octo/app/commits/"+head+"/statuses", func(w http.ResponseWriter, r *http.Request) {
		page := 1
		_, _ = fmt.Sscan(r.URL.Query().Get("page"), &page)
		list := b.list
		if b.hidden--; b.hidden >= 0 {
			list = nil
		}
		from := min(10*(page-1), len(list))
		to := min(from+10, len(list))
		if to < len(list) {
			w.Header().Set("Link", fmt.Sprintf(`<%s%s?page=%d>; rel="next"`, b.URL, r.URL.Path, page+1))
		}
		_ = json.NewEncoder(w).Encode(list[from:to])
	})
	b.Server = httptest.NewServer(mux)
	t.Cleanup(b.Close)
	return b
}

func (b *board) statuses() *Statuses {
	return &Statuses{API: b.URL, Repository: "octo/app", Commit: head, Token: "job-token"}
}

func started(t *testing.T, boot string) []byte {
	t.Helper()
	claims := &evidence.Claims{Issuer: "https://issuer.example", RepositoryID: "4321", RunID: "9001", RunAttempt: "1", CheckRunID: "555"}
	c := evidence.Commitment{Version: 1, Claims: claims, Slot: claims.Slot(), Origin: "edamame-posture/r", Key: strings.Repeat("A", 43) + "=", Boot: boot}
	b, err := c.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestAStartIsPutOnTheCommitAndReadBack(t *testing.T) {
	b := newBoard(t)
	for i := range 25 {
		b.list = append(b.list, map[string]string{"context": fmt.Sprintf("ci/%d", i), "description": "ok", "state": "success"})
	}
	b.hidden = 1
	mine := started(t, "b-1")
	got, err := b.statuses().Record(t.Context(), mine)
	if err != nil {
		t.Fatal(err)
	}
	if st := b.list[0]; st["context"] != "posture/555" || st["description"] != evidence.Audience(mine) || len(st["description"]) > 140 || st["state"] != "success" {
		t.Errorf("%v", st)
	}
	if !strings.Contains(string(got), evidence.Audience(mine)) || !strings.Contains(string(got), "created_at") {
		t.Errorf("%s", got)
	}
	// Once more is no second one; another start of the same job is.
	if _, err := b.statuses().Record(t.Context(), mine); err != nil {
		t.Error(err)
	}
	if _, err := b.statuses().Record(t.Context(), started(t, "b-2")); !errors.Is(err, ErrRecordedBefore) {
		t.Errorf("another start: %v", err)
	}
}

func TestWhyAStartIsNotOnTheCommitIsTold(t *testing.T) {
	b := newBoard(t)
	b.refuse = http.StatusForbidden
	if _, err := b.statuses().Record(t.Context(), started(t, "b")); err == nil || !strings.Contains(err.Error(), "statuses: write") {
		t.Errorf("without the right: %v", err)
	}
	b.refuse = http.StatusServiceUnavailable
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := b.statuses().Record(ctx, started(t, "b")); !errors.Is(err, attest.ErrUnavailable) {
		t.Errorf("down: %v", err)
	}
	b.refuse, b.hidden = 0, 1<<30
	ctx, cancel = context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := b.statuses().Record(ctx, started(t, "b")); err == nil || !strings.Contains(err.Error(), "does not list it") {
		t.Errorf("taken and not listed: %v", err)
	}
	none := evidence.Commitment{Version: 1, Origin: "edamame-posture/r", Key: strings.Repeat("A", 43) + "="}
	c, err := none.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.statuses().Record(t.Context(), c); err == nil || !strings.Contains(err.Error(), "names no job") {
		t.Errorf("of no job: %v", err)
	}
}
