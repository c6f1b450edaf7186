// Package rig is what the tests share that watch with the real programs: it
// builds them, and reads what they left.
package rig

import (
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/evidence"
	"github.com/org/edamame-posture/pkg/judge"
	"github.com/org/edamame-posture/pkg/witness"
)

// Main is the body of a TestMain: it builds each package, given by its path,
// writes where its program is to the string beside it, and runs the tests. The
// folder of the programs is one that other users may go through. Without root
// it says so and runs none. The result is for os.Exit.
func Main(m *testing.M, programs map[*string]string) int {
	if os.Geteuid() != 0 {
		here, _ := os.Getwd()
		name := "./test/" + filepath.Base(here)
		fmt.Printf("SKIP %s: watching from the kernel needs root: sudo -E go test %s\n", name, name)
		return 0
	}
	if signal.Ignored(syscall.SIGHUP) {
		// As under nohup, and all that tests start would inherit it: what is caught is
		// not ignored after an exec.
		signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP)
	}
	dir, err := os.MkdirTemp("", "posture-test-")
	if err != nil {
		return failed(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		return failed(err)
	}
	for program, pkg := range programs {
		*program = filepath.Join(dir, filepath.Base(pkg))
		build := exec.Command("go", "build", "-o", *program, pkg)
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			return failed(fmt.Errorf("building %s: %w\n%s", pkg, err, out))
		}
	}
	return m.Run()
}

func failed(err error) int {
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// Events returns what a folder of evidence holds, also where its log was not
// closed.
func Events(dir string) (all []event.Event, err error) {
	e, err := evidence.OpenPartial(dir)
	if err != nil {
		return nil, err
	}
	defer e.Close()
	err = e.Each(func(_ []byte, ev *event.Event) error {
		all = append(all, *ev.Clone())
		return nil
	})
	return all, err
}

// Verify returns why a folder of evidence is not whole: it has no end, or is
// not as it was written.
func Verify(dir string) error {
	e, err := evidence.Open(dir)
	if err != nil {
		return err
	}
	defer e.Close()
	return e.Verify()
}

// Judge returns the judge that has seen all events of a folder of evidence,
// with what was declared when they were recorded.
func Judge(dir string) (*judge.Judge, error) {
	e, err := evidence.OpenPartial(dir)
	if err != nil {
		return nil, err
	}
	defer e.Close()
	in, err := e.Inputs()
	if err != nil {
		return nil, err
	}
	return e.Replay(in)
}

// Sudo lets a user run programs as root without a password until the test ends.
// name is of the test, "ALL" among programs for all.
func Sudo(t testing.TB, user, name string, programs ...string) {
	t.Helper()
	file := "/etc/sudoers.d/posture-test-" + name
	if err := os.WriteFile(file, []byte(user+" ALL=(root) NOPASSWD: "+strings.Join(programs, ", ")+"\n"), 0o440); err != nil {
		t.Skipf("sudo cannot be allowed for the test: %v", err)
	}
	t.Cleanup(func() { _ = os.Remove(file) })
}

// Witness starts a witness that takes the jobs of an issuer of identities, and
// returns its URL, its key, and a file with the issuer's keys.
func Witness(t testing.TB, issuer string) (url, key, jwks string) {
	t.Helper()
	dir := t.TempDir()
	signer, key, _, err := witness.NewKey("witness.example")
	if err != nil {
		t.Fatal(err)
	}
	jwks = filepath.Join(dir, "jwks.json")
	if err := witness.SaveJWKS(t.Context(), issuer, jwks); err != nil {
		t.Fatal(err)
	}
	server, err := witness.Open(witness.Config{
		Dir: filepath.Join(dir, "records"), Key: signer, Issuers: []witness.Issuer{{URL: issuer, JWKS: jwks, Repositories: []string{"4321"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	at := httptest.NewServer(server)
	t.Cleanup(func() { at.Close(); server.Close() })
	return at.URL, key, jwks
}
