package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/org/edamame-posture/pkg/event"
)

// A credential is one under any name.
func TestACredentialIsKnownByAnyName(t *testing.T) {
	need(t, "unshare", "mount")
	home, in := t.TempDir(), t.TempDir()
	npmrc := filepath.Join(home, ".npmrc")
	if err := os.WriteFile(npmrc, []byte("canary\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	// A hard link from before: nothing in the recording tells of it.
	if err := os.Link(npmrc, filepath.Join(in, "before")); err != nil {
		t.Fatal(err)
	}
	w := run(t, options{in: in, env: []string{"HOME=" + home}}, "sh", "-c", strings.Join([]string{
		"cat before >/dev/null",
		"ln " + npmrc + " during; head -c 1 during >/dev/null",
		"touch bound; unshare -m sh -c 'mount --bind " + npmrc + " bound && tail -c 1 bound' >/dev/null",
		"cp " + npmrc + " .npmrc; mv .npmrc renamed; wc -c renamed >/dev/null",
	}, "\n"))
	w.complete()
	seen := map[string]bool{}
	for _, e := range w.events {
		if e.Kind == event.Open && e.Class.Is("npm") && e.Access&event.Read != 0 {
			seen[filepath.Base(e.Path.String())] = true
		}
		if e.Kind == event.Link && e.Class.Is("npm") {
			seen["link"] = true
		}
	}
	for _, want := range []string{"before", "during", "bound", "renamed", "link"} {
		w.must(seen[want], "%s is not told as a credential: %v", want, seen)
	}
}

func TestACredentialThatWasOpenBeforeIsTold(t *testing.T) {
	home := t.TempDir()
	npmrc := filepath.Join(home, ".npmrc")
	if err := os.WriteFile(npmrc, []byte("canary\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	w := run(t, options{argv0: []string{"bash", "-c", "exec 7<" + npmrc + "; exec \"$@\"", "bash"}, env: []string{"HOME=" + home}}, "sh", "-c", "cat <&7 >/dev/null")
	told := false
	for _, e := range w.events {
		told = told || e.Kind == event.Open && e.Class.Is("npm") && e.Detail.Is("was open before")
	}
	w.must(told, "the descriptor that was inherited is not told")
}
