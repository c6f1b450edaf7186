// Package sigstore starts a whole Sigstore of its own on loopback for a test:
// the real Fulcio, timestamp authority and transparency log (Rekor v2), with an
// identity provider in the manner of GitHub's and a certificate log of ours.
//
//	rig := sigstore.Start(t, sigstore.Options{})
//	rig.Setenv(t)
//
// The programs are built by `make tools`; where they are missing, the test is
// skipped, and says so.
package sigstore

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The programs, as make tools leaves them.
const (
	fulcioProgram = "fulcio-v1.8.8"
	tsaProgram    = "timestamp-server-v2.1.3"
	rekorProgram  = "rekor-posix-v2.3.0"
)

// Options choose what there is.
type Options struct {
	Rekor   bool // a transparency log too, which takes a second for each entry
	RekorV1 bool // in its place one with the API of Rekor v1
	// RealRekorV1 is RekorV1 by the real programs: Rekor, Trillian and MariaDB.
	RealRekorV1 bool
}

// Rig is a Sigstore that runs until the test ends.
type Rig struct {
	Issuer *Issuer

	// TokenURL and RequestToken are what a runner gives to its job, as
	// ACTIONS_ID_TOKEN_REQUEST_URL and ACTIONS_ID_TOKEN_REQUEST_TOKEN.
	TokenURL, RequestToken string
	// Fulcio, TSA and Rekor are base URLs; Rekor is empty without one.
	Fulcio, TSA, Rekor string
	// LogV1 is the log with the API of Rekor v1, nil without one.
	LogV1 *LogV1

	// TrustedRoot and SigningConfig are files for clients, and RootNoLog and
	// ConfigNoLog the same without Rekor.
	TrustedRoot, SigningConfig string
	RootNoLog, ConfigNoLog     string
}

// Setenv gives this process what a runner gives a job to ask for its identity.
func (r *Rig) Setenv(t testing.TB) {
	t.Setenv("ACTIONS_ID_TOKEN_REQUEST_URL", r.TokenURL)
	t.Setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", r.RequestToken)
}

// Start starts the servers and waits until each says that it is ready.
func Start(t testing.TB, o Options) *Rig {
	t.Helper()
	programs := map[string]string{}
	for _, name := range []string{fulcioProgram, tsaProgram, rekorProgram} {
		path := filepath.Join(tools(), name)
		if _, err := os.Stat(path); err != nil {
			t.Skipf("%s is not built: run make tools", name)
		}
		programs[name] = path
	}
	dir := t.TempDir()
	issuer, err := newIssuer()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(issuer.close)
	ct, err := newCertificateLog()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ct.close)
	r := &Rig{Issuer: issuer, TokenURL: issuer.TokenURL(), RequestToken: issuer.RequestToken}

	config := filepath.Join(dir, "fulcio.yaml")
	if err := os.WriteFile(config, []byte(strings.ReplaceAll(fulcioConfig, "ISSUER", issuer.URL)), 0o600); err != nil {
		t.Fatal(err)
	}
	start := func(what, health string, command func([]string) *exec.Cmd) string {
		url, stop := serve(t, what, health, command)
		t.Cleanup(stop)
		return url
	}
	r.Fulcio = start("Fulcio", "/healthz", func(p []string) *exec.Cmd {
		return exec.Command(programs[fulcioProgram], "serve", "--host=127.0.0.1", "--port="+p[0],
			"--grpc-host=127.0.0.1", "--grpc-port="+p[1], "--metrics-port="+p[2],
			"--legacy-unix-domain-socket="+filepath.Join(dir, "fulcio-"+p[0]+".sock"),
			"--ca=ephemeralca", "--config-path="+config, "--ct-log-url="+ct.URL)
	})
	r.TSA = startTimestamps(t, programs[tsaProgram])
	var log ed25519.PublicKey
	if o.Rekor {
		public, private, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		der, err := x509.MarshalPKCS8PrivateKey(private)
		if err != nil {
			t.Fatal(err)
		}
		key := filepath.Join(dir, "rekor.pem")
		if err := os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		log = public
		r.Rekor = start("Rekor", "/healthz", func(p []string) *exec.Cmd {
			return exec.Command(programs[rekorProgram], "serve", "--hostname="+rekorOrigin,
				"--http-address=127.0.0.1", "--http-port="+p[0], "--grpc-address=127.0.0.1", "--grpc-port="+p[1],
				"--http-metrics-port="+p[2], "--signer-filepath="+key, "--storage-dir="+filepath.Join(dir, "log-"+p[0]),
				"--checkpoint-interval=1s", "--batch-max-age=50ms")
		})
		// The host of the log's URL must be its origin.
		r.Rekor = strings.Replace(r.Rekor, "127.0.0.1", rekorOrigin, 1)
	}
	switch {
	case o.RealRekorV1:
		r.LogV1 = startRekorV1(t)
	case o.RekorV1:
		r.LogV1 = StartLogV1(t)
	}
	if err := r.write(dir, ct.key.Public(), log); err != nil {
		t.Fatal(err)
	}
	return r
}

const rekorOrigin = "localhost"

// tools is the folder of the programs, .tools/bin of this checkout.
func tools() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "..", "..", ".tools", "bin")
}

// starts is how often a server is started anew where another program took one
// of its ports between our look and its.
const starts = 5

// serve starts a server and returns its URL, once its health endpoint says yes,
// and what stops it. command gets three free ports, of which the first is for
// HTTP.
func serve(t testing.TB, what, health string, command func(ports []string) *exec.Cmd) (url string, end func()) {
	t.Helper()
	end = launch(t, what, func(ports []string) *exec.Cmd {
		url = "http://127.0.0.1:" + ports[0]
		return command(ports)
	}, func(exited <-chan struct{}) error { return ready(url+health, exited) })
	return url, end
}

// launch is serve for a server of any kind: up returns once it can be used.
func launch(t testing.TB, what string, command func(ports []string) *exec.Cmd, up func(exited <-chan struct{}) error) (end func()) {
	t.Helper()
	var last error
	for range starts {
		ports, err := freePorts(3)
		if err != nil {
			t.Fatal(err)
		}
		cmd := command(ports)
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		// Its parent is the thread that starts it: the signal comes when that
		// thread ends.
		started, exited := make(chan error, 1), make(chan struct{})
		go func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			defer close(exited)
			err := cmd.Start()
			started <- err
			if err == nil {
				_ = cmd.Wait()
			}
		}()
		if err := <-started; err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if last = up(exited); last == nil {
			return func() { stop(cmd, exited) }
		}
		stop(cmd, exited)
		last = fmt.Errorf("%w: %s", last, out.Bytes()[max(0, out.Len()-2000):])
	}
	t.Fatalf("%s does not start: %v", what, last)
	return nil
}

func stop(cmd *exec.Cmd, exited <-chan struct{}) {
	_ = cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-exited:
	case <-time.After(5 * time.Second):
		_ = cmd.Process.Kill()
		<-exited
	}
}

// ready asks until the answer is 200, the server has ended, or a minute is
// over.
func ready(url string, exited <-chan struct{}) error {
	return await(exited, func(ctx context.Context) bool {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return false
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
}

// await asks until the answer is yes, the server has ended, or a minute is over.
func await(exited <-chan struct{}, yes func(context.Context) bool) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if yes(ctx) {
			return nil
		}
		select {
		case <-exited:
			return errors.New("it ended")
		case <-ctx.Done():
			return errors.New("it is not ready after a minute")
		case <-tick.C:
		}
	}
}

// freePorts returns ports that nobody listens on, held all at once so that
// they differ.
func freePorts(n int) ([]string, error) {
	var ports []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		ports = append(ports, strconv.Itoa(l.Addr().(*net.TCPAddr).Port))
	}
	return ports, nil
}

func get(url string) ([]byte, error) {
	resp, err := http.Get(url)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", url, resp.Status, b)
	}
	return b, err
}
