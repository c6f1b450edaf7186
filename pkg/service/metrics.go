package service

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/org/edamame-posture/pkg/judge"
	"github.com/org/edamame-posture/pkg/monitor"
)

// figures count what the service has seen since it began.
type figures struct {
	mu       sync.Mutex
	verdicts map[judge.Outcome]uint64
	findings map[judge.Severity]uint64
	events   uint64
	lost     uint64
	gaps     uint64
	unseen   uint64 // jobs that were not recorded
	gone     uint64 // recordings that were removed
}

func newFigures() *figures {
	return &figures{
		verdicts: map[judge.Outcome]uint64{judge.Pass: 0, judge.Review: 0, judge.Fail: 0},
		findings: map[judge.Severity]uint64{judge.Info: 0, judge.Low: 0, judge.Medium: 0, judge.High: 0, judge.Critical: 0},
	}
}

func (f *figures) ended(v *judge.Verdict) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.verdicts[v.Verdict]++
	f.events += v.Coverage.Events
	f.lost += v.Coverage.Lost
	f.gaps += uint64(len(v.Coverage.Gaps))
}

func (f *figures) found(x *judge.Finding) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.findings[x.Severity]++
}

func (f *figures) missed() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.unseen++
}

func (f *figures) removed(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.gone += uint64(n)
}

// text is what Prometheus reads: text format 0.0.4. No label holds anything of a
// job's.
func (f *figures) text(running []monitor.JobStatus, s stock) []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	events, lost := f.events, f.lost
	for i := range running {
		events += running[i].Events
		lost += running[i].Lost
	}
	var b strings.Builder
	family := func(name, kind, help string) {
		fmt.Fprintf(&b, "# HELP edamame_posture_%s %s\n# TYPE edamame_posture_%s %s\n", name, help, name, kind)
	}
	one := func(name, kind, help string, v any) {
		family(name, kind, help)
		fmt.Fprintf(&b, "edamame_posture_%s %v\n", name, v)
	}
	one("jobs_running", "gauge", "Jobs that are recorded now.", len(running))
	family("jobs_total", "counter", "Jobs whose recording was closed, by verdict.")
	for _, v := range slices.Sorted(maps.Keys(f.verdicts)) {
		fmt.Fprintf(&b, "edamame_posture_jobs_total{verdict=%q} %d\n", v, f.verdicts[v])
	}
	one("jobs_unrecorded_total", "counter", "Jobs that began and could not be recorded.", f.unseen)
	family("findings_total", "counter", "Findings, by severity, when they were made.")
	for _, s := range slices.Sorted(maps.Keys(f.findings)) {
		fmt.Fprintf(&b, "edamame_posture_findings_total{severity=%q} %d\n", s, f.findings[s])
	}
	one("events_total", "counter", "Events in the logs of jobs.", events)
	one("events_lost_total", "counter", "Events that are known to be missing.", lost)
	one("gaps_total", "counter", "Gaps in the coverage of closed recordings.", f.gaps)
	one("evidence_bytes", "gauge", "Bytes of evidence of closed recordings.", s.bytes)
	one("evidence_recordings", "gauge", "Closed recordings that are kept.", s.recordings)
	one("evidence_oldest_age_seconds", "gauge", "Age of the oldest closed recording, 0 where there is none.", int64(s.oldest/time.Second))
	one("evidence_removed_total", "counter", "Recordings that were removed by age or size.", f.gone)
	return []byte(b.String())
}

// listenMetrics listens where the settings say.
func listenMetrics(at string) (net.Listener, error) {
	if path, ok := strings.CutPrefix(at, "unix:"); ok {
		return listenUnix(path, 0o600)
	}
	l, err := net.Listen("tcp", at)
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	return l, nil
}

// Bounds of one request for metrics.
const (
	maxMetricRequests = 4
	maxMetricHead     = 8 << 10 // bytes
	metricWithin      = 5 * time.Second
)

// serveMetrics answers requests for /metrics until ctx ends. It is as much of
// HTTP/1 as that takes: any job may speak to a root process here.
func serveMetrics(ctx context.Context, l net.Listener, text func() []byte) error {
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	var serving sync.WaitGroup
	defer serving.Wait()
	free := make(chan struct{}, maxMetricRequests)
	for {
		c, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("metrics: %w", err)
		}
		select {
		case free <- struct{}{}:
		default:
			c.Close()
			continue
		}
		serving.Go(func() {
			defer func() { <-free }()
			defer c.Close()
			if c.SetDeadline(time.Now().Add(metricWithin)) == nil {
				_ = answerMetrics(c, text)
			}
		})
	}
}

// answerMetrics reads one request and answers it.
func answerMetrics(c io.ReadWriter, text func() []byte) error {
	r := bufio.NewReader(io.LimitReader(c, maxMetricHead))
	line, err := r.ReadString('\n')
	if err != nil {
		return err
	}
	for { // of the head nothing matters but its end
		l, err := r.ReadString('\n')
		if err != nil {
			return err
		}
		if l == "\n" || l == "\r\n" {
			break
		}
	}
	status, body := "200 OK", []byte(nil)
	method, rest, _ := strings.Cut(strings.TrimRight(line, "\r\n"), " ")
	target, version, ok := strings.Cut(rest, " ")
	path, _, _ := strings.Cut(target, "?")
	switch {
	case !ok || !strings.HasPrefix(version, "HTTP/1."):
		return errors.New("no request of HTTP/1")
	case path != "/metrics":
		status, body = "404 Not Found", []byte("metrics are at /metrics\n")
	case method != "GET" && method != "HEAD":
		status, body = "405 Method Not Allowed", []byte("GET /metrics\n")
	default:
		body = text()
	}
	head := fmt.Sprintf("HTTP/1.1 %s\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: %d\r\nConnection: close\r\n\r\n", status, len(body))
	if method == "HEAD" {
		body = nil
	}
	_, err = c.Write(append([]byte(head), body...))
	return err
}
