package main

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"regexp"
)

var answered = regexp.MustCompile(`(?m)^\s*(\d+) requests in `)

// serve answers wrk's requests over 32 kept connections for that many seconds.
func serve(seconds int, inTLS bool) error {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "hello\n")
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // wrk ends in the middle
	if inTLS {
		server.StartTLS()
	} else {
		server.Start()
	}
	defer server.Close()
	o, err := exec.Command("wrk", "-t", "1", "-c", "32", "-d", fmt.Sprint(seconds, "s"), server.URL+"/").CombinedOutput()
	if err != nil {
		return fmt.Errorf("wrk: %w: %s", err, o)
	}
	m := answered.FindSubmatch(o)
	if m == nil {
		return fmt.Errorf("wrk gave no number of requests: %s", o)
	}
	fmt.Printf("requests=%s\n", m[1])
	return nil
}
