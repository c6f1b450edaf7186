package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"regexp"
)

var answered = regexp.MustCompile(`(?m)^\s*(\d+) requests in `)

// serve answers wrk's requests over 32 kept connections for that many seconds.
func serve(seconds int) error {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "hello\n")
	})}
	go func() { _ = server.Serve(l) }()
	o, err := exec.Command("wrk", "-t", "1", "-c", "32", "-d", fmt.Sprint(seconds, "s"), fmt.Sprintf("http://%s/", l.Addr())).CombinedOutput()
	if err != nil {
		return fmt.Errorf("wrk: %w: %s", err, o)
	}
	m := answered.FindSubmatch(o)
	if m == nil {
		return fmt.Errorf("wrk gave no number of requests: %s", o)
	}
	fmt.Printf("requests=%s\n", m[1])
	return server.Close()
}
