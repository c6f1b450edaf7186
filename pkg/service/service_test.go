package service

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/org/edamame-posture/pkg/judge"
	"github.com/org/edamame-posture/pkg/monitor"
)

// put makes a recording of a size that was closed some days ago.
func put(t *testing.T, dir, name string, size int, days float64) {
	t.Helper()
	write(t, filepath.Join(dir, name, "evidence", "log"), strings.Repeat("x", size))
	if days < 0 {
		return // it is not closed
	}
	at := filepath.Join(dir, name, verdictName)
	write(t, at, "")
	when := time.Now().Add(-time.Duration(days * 24 * float64(time.Hour)))
	if err := os.Chtimes(at, when, when); err != nil {
		t.Fatal(err)
	}
}

func TestTheOldestEvidenceGoesFirstAndWhatRunsStays(t *testing.T) {
	for name, c := range map[string]struct {
		keep Keep
		want []string
	}{
		"by age":            {Keep{Days: 3, Size: 1e6}, []string{"b", "c", "open", "running"}},
		"by size":           {Keep{Days: 100, Size: 250}, []string{"b", "c", "open", "running"}},
		"by size, but one":  {Keep{Days: 100, Size: 100}, []string{"c", "open", "running"}},
		"nothing is enough": {Keep{Days: 100, Size: 1}, []string{"open", "running"}},
		"all is kept":       {Keep{Days: 100, Size: 1e6}, []string{"a", "b", "c", "open", "running"}},
	} {
		dir := t.TempDir()
		put(t, dir, "a", 100, 5)
		put(t, dir, "b", 100, 2)
		put(t, dir, "c", 100, 1)
		put(t, dir, "running", 1000, 50)
		put(t, dir, "open", 1000, -1)
		s := &shelf{dir: dir, keep: c.keep}
		removed, err := s.tidy(map[string]bool{"running": true}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		var left []string
		for _, e := range entries {
			left = append(left, e.Name())
		}
		if !slices.Equal(left, c.want) || len(removed) != 5-len(left) {
			t.Errorf("%s: %q are left, want %q; said to be removed: %q", name, left, c.want, removed)
		}
		if st := s.seen(); st.recordings != len(left)-2 || st.bytes != int64(100*(len(left)-2)) {
			t.Errorf("%s: %+v", name, st)
		}
	}
}

// talk is one request and what is answered.
type talk struct {
	io.Reader
	bytes.Buffer
}

func (t *talk) Read(b []byte) (int, error) { return t.Reader.Read(b) }

func TestMetricsAreGivenToWhoAsksForThemAlone(t *testing.T) {
	for ask, want := range map[string]string{
		"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n":   "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
		"HEAD /metrics?x=1 HTTP/1.0\n\n":             "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: 2\r\nConnection: close\r\n\r\n",
		"POST /metrics HTTP/1.1\r\n\r\n":             "HTTP/1.1 405",
		"GET / HTTP/1.1\r\n\r\n":                     "HTTP/1.1 404",
		"GET /metrics HTTP/2\r\n\r\n":                "",
		"GET /metrics\r\n\r\n":                       "",
		"GET /metrics HTTP/1.1\r\n":                  "",
		"GET /" + strings.Repeat("x", maxMetricHead): "",
		"GET /metrics HTTP/1.1\r\nA: " + strings.Repeat("x", maxMetricHead) + "\r\n\r\n": "",
	} {
		c := &talk{Reader: strings.NewReader(ask)}
		err := answerMetrics(c, func() []byte { return []byte("ok") })
		if got := c.String(); !strings.HasPrefix(got, want) || (want == "") != (err != nil && got == "") {
			t.Errorf("%.40q: %q, %v", ask, got, err)
		}
	}
}

func FuzzAnswerMetrics(f *testing.F) {
	f.Add([]byte("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"))
	f.Fuzz(func(t *testing.T, ask []byte) {
		c := &talk{Reader: bytes.NewReader(ask)}
		err := answerMetrics(c, func() []byte { return []byte("figures") })
		if got := c.String(); err == nil && !strings.HasPrefix(got, "HTTP/1.1 ") || strings.Contains(got, "figures") && !bytes.HasPrefix(ask, []byte("GET /metrics")) {
			t.Errorf("%q: %q", ask, got)
		}
	})
}

func TestFiguresAreInTheTextFormatOfPrometheus(t *testing.T) {
	f := newFigures()
	f.ended(&judge.Verdict{Verdict: judge.Fail, Coverage: judge.Coverage{Events: 10, Lost: 2, Gaps: make([]judge.Gap, 3)}})
	f.found(&judge.Finding{Severity: judge.High})
	f.missed()
	f.removed(4)
	text := string(f.text([]monitor.JobStatus{{Events: 5, Lost: 1}}, stock{recordings: 2, bytes: 300, oldest: 90 * time.Second}))
	for _, want := range []string{
		"# TYPE edamame_posture_jobs_running gauge\nedamame_posture_jobs_running 1\n", `edamame_posture_jobs_total{verdict="fail"} 1`,
		`edamame_posture_jobs_total{verdict="pass"} 0`, `edamame_posture_findings_total{severity="high"} 1`, "edamame_posture_events_total 15\n",
		"edamame_posture_events_lost_total 3\n", "edamame_posture_gaps_total 3\n", "edamame_posture_evidence_bytes 300\n",
		"edamame_posture_evidence_oldest_age_seconds 90\n", "edamame_posture_jobs_unrecorded_total 1\n", "edamame_posture_evidence_removed_total 4\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not there:\n%s", want, text)
		}
	}
	seen := map[string]bool{}
	for line := range strings.Lines(text) {
		name, kind, ok := strings.Cut(strings.TrimPrefix(line, "# TYPE "), " ")
		if !strings.HasPrefix(line, "# TYPE ") || !ok {
			continue
		}
		if seen[name] || strings.HasSuffix(name, "_total") != (kind == "counter\n") {
			t.Errorf("%s is a %s", name, kind)
		}
		seen[name] = true
	}
}

func TestAMessageToTheJournalIsOneLine(t *testing.T) {
	var b bytes.Buffer
	j := NewJournal(&b)
	j.Info("job %q ends\n<0>forged\x1b[31m\u2028", "x\ny")
	j.Error("%s", strings.Repeat("y", 2*maxMessage))
	j.Close()
	lines := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
	if len(lines) != 2 || lines[0] != `<6>job "x\ny" ends <0>forged [31m ` || !strings.HasPrefix(lines[1], "<3>y") || len(lines[1]) > maxMessage+3 {
		t.Errorf("%.200q", lines)
	}
}

// stuck is a journal that takes nothing until it is let go.
type stuck struct{ release chan struct{} }

func (s stuck) Write(b []byte) (int, error) { <-s.release; return len(b), nil }

func TestAJournalThatIsStuckHoldsNobodyUp(t *testing.T) {
	s := stuck{make(chan struct{})}
	j := NewJournal(s)
	for i := range 3 * maxLines { // it would not return
		j.Info("%d", i)
	}
	if n := j.dropped.Load(); n < 2*maxLines-1 {
		t.Errorf("%d messages are counted as dropped", n)
	}
	close(s.release)
	j.Close()
}

func TestSystemdIsToldWhereItAsks(t *testing.T) {
	at := filepath.Join(t.TempDir(), "n")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: at, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	env := map[string]string{"NOTIFY_SOCKET": at, "WATCHDOG_USEC": "3000000"}
	n, err := newNotifier(func(k string) string { return env[k] })
	if err != nil || n.every() != time.Second {
		t.Fatalf("%v, every %v", err, n.every())
	}
	n.tell("READY=1")
	buf := make([]byte, 64)
	if k, err := l.Read(buf); err != nil || string(buf[:k]) != "READY=1" {
		t.Errorf("%q, %v", buf[:k], err)
	}
	env["WATCHDOG_USEC"] = "soon"
	if _, err := newNotifier(func(k string) string { return env[k] }); err == nil {
		t.Error("a time that is none was taken")
	}
	if n, err := newNotifier(func(string) string { return "" }); err != nil || n.every() != noWatchdog {
		t.Errorf("where nobody asks: %v, %v", n, err)
	} else {
		n.tell("READY=1")
	}
}

func TestAHookTellsAndFailsOnlyWhereItIsAskedTo(t *testing.T) {
	job := &monitor.JobStatus{Sensor: "ebpf", Events: 7}
	job.ID = "0123456789abcdef"
	for i := range 12 {
		job.Found = append(job.Found, monitor.Found{Rule: "r", Severity: "medium", Title: "T", Object: fmt.Sprintf("%d%%\n::set-output name=x::y", i)})
	}
	for name, c := range map[string]struct {
		s         Settings
		completed bool
		err       error
		ok        bool
		want      string
	}{
		"first":               {Settings{}, false, nil, true, "recording 0123456789abcdef, sensor ebpf"},
		"last":                {Settings{}, true, nil, true, "::warning title=Posture::medium: T: 0%25%0A::set-output"},
		"last, less grave":    {Settings{FailOn: judge.High}, true, nil, true, "::warning"},
		"last, grave":         {Settings{FailOn: judge.Medium}, true, nil, false, "::error"},
		"no answer":           {Settings{}, false, errors.New("a\nb"), true, "::warning title=Posture::This job is not known to be recorded: a%0Ab\n"},
		"no answer, required": {Settings{Require: true}, false, errors.New("x"), false, "::error"},
		"no answer, at last":  {Settings{Require: true}, true, errors.New("x"), true, "::warning"},
		"nor any findings":    {Settings{Require: true, FailOn: "high"}, true, errors.New("x"), false, "::error"},
	} {
		var b bytes.Buffer
		if ok := Hook(&b, &c.s, c.completed, job, c.err); ok != c.ok || !strings.Contains(b.String(), c.want) {
			t.Errorf("%s: %v\n%s", name, ok, b.String())
		}
		if n := strings.Count("\n"+b.String(), "\n::"); n > maxAnnotations {
			t.Errorf("%s: %d annotations", name, n)
		}
		if strings.Contains(b.String(), "\n::set-output") {
			t.Errorf("%s: a command of the job's:\n%s", name, b.String())
		}
	}
}
