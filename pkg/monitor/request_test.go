package monitor

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"testing"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/evidence"
	"github.com/org/edamame-posture/pkg/judge"
	"github.com/org/edamame-posture/pkg/process"
	"github.com/org/edamame-posture/pkg/redact"
	"github.com/org/edamame-posture/pkg/sensor"
	"github.com/org/edamame-posture/pkg/wire"
)

// said feeds what a client writes on one connection, each piece a segment as the
// programs in the kernel tell it, and returns the requests that come of it.
func said(t *testing.T, limited bool, pieces ...string) []string {
	t.Helper()
	r := &recording{
		spool: t.TempDir(), red: redact.New([32]byte{1}, redact.Options{}), judge: judge.New(nil, nil),
		streams: wire.NewStreams(maxStreams), containers: &containers{}, requests: limited,
	}
	var err error
	if r.log, err = evidence.Create(filepath.Join(r.spool, evidenceDir), evidence.Options{Run: "x"}); err != nil {
		t.Fatal(err)
	}
	start := r.blank(event.Start, 1)
	start.Version = event.Version
	r.append(start)
	p := &process.Process{Actor: event.Actor{PID: 9, Start: 10, Image: 1}, Alive: true}
	rec := sensor.Record{Proto: event.ProtoTCP, Dst: netip.MustParseAddrPort("203.0.113.9:80"), Sock: 7}
	at := uint32(0)
	for _, piece := range pieces {
		s := rec
		s.Kind, s.Payload, s.PayloadLen, s.Offset = event.HTTP, []byte(piece), len(piece), at
		at += uint32(len(piece))
		r.record(&s, p, nil, event.ViaLineage)
	}
	s := rec
	s.Kind, s.OK, s.Sent = event.Flow, true, uint64(at)
	r.record(&s, p, nil, event.ViaLineage)
	r.append(r.blank(event.End, 2))
	if _, err := r.log.Close(evidence.Closing{}); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, ev := range events(t, r) {
		if ev.Kind == event.HTTP {
			got = append(got, fmt.Sprintf("%s %s %s %d %s", ev.Method.String(), ev.Name.String(), ev.Path.String(), ev.Size, ev.Detail.String()))
		}
	}
	return got
}

func TestARequestIsToldWithWhereItEnds(t *testing.T) {
	const get, post = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n", "POST /b HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello"
	for _, tt := range []struct {
		what    string
		limited bool
		pieces  []string
		want    []string
	}{
		{"one", false, []string{get}, []string{"GET h /a 28 "}},
		{"two in one piece", false, []string{get + post}, []string{"GET h /a 28 ", "POST h /b 53 "}},
		{"the second cut in its target", false, []string{get + "GET /secret"}, []string{"GET h /a 28 ", "GET  /secret 0 not whole"}},
		{"the second cut in its head", false, []string{get + "GET /b HTTP/1.1\r\nHo"}, []string{"GET h /a 28 ", "GET  /b 0 "}},
		{"no request behind the first", false, []string{get + "\x00\x01"}, []string{"GET h /a 28 "}},
		{"a body that comes later", false, []string{post[:48]}, []string{"POST h /b 53 "}},
		{"two hosts", false, []string{"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"}, []string{"GET a / 36 two hosts"}},
		{"a head in two, of which the host is in the first", false, []string{get[:26], get[26:]}, []string{"GET h /a 0 "}},
		{"the same where requests are limited", true, []string{get[:26], get[26:]}, []string{"GET h /a 28 "}},
		{"byte by byte where requests are limited", true, slices.Collect(func(yield func(string) bool) {
			for i := range get {
				if !yield(get[i : i+1]) {
					return
				}
			}
		}), []string{"GET h /a 28 "}},
		{"a head without an end where requests are limited", true, []string{get[:26]}, []string{"GET h /a 0 "}},
		{"no request where requests are limited", true, []string{"GET /\x00"}, nil},
	} {
		if got := said(t, tt.limited, tt.pieces...); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.what, got, tt.want)
		}
	}
}
