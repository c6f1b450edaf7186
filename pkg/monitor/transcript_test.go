package monitor

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/org/edamame-posture/pkg/agent"
	"github.com/org/edamame-posture/pkg/event"
)

const claudeWrote = `{"type":"assistant","sessionId":"s1","message":{"content":[{"type":"tool_use","id":"t1","name":"Bash","input":{}}]}}
{"type":"user","sessionId":"s1","message":{"content":[{"type":"tool_result","tool_use_id":"t1","content":"x"}]}}
`

// A transcript is read as its user would read it, and only where it is what the
// user's agent wrote.
func TestATranscriptIsReadAsItsUserWould(t *testing.T) {
	needRoot(t)
	const user = 65534
	for name, c := range map[string]struct {
		make func(dir, path string) error
		read bool
		why  string
	}{
		"the user's file":        {func(string, string) error { return nil }, true, ""},
		"only its owner's":       {func(_, path string) error { return os.Chmod(path, 0o600) }, true, ""},
		"none":                   {func(_, path string) error { return os.Remove(path) }, false, "no such file"},
		"another user's":         {func(_, path string) error { return os.Chown(path, 12345, 12345) }, false, "not the file of the user"},
		"under another name too": {func(dir, path string) error { return os.Link(path, filepath.Join(dir, "other")) }, false, "other names"},
		"a link": {func(_, path string) error {
			return replaced(path, func() error { return os.Symlink("/etc/shadow", path) })
		}, false, "regular"},
		"a pipe":                  {func(_, path string) error { return replaced(path, func() error { return syscall.Mkfifo(path, 0o666) }) }, false, "regular"},
		"in a folder that is one": {func(dir, _ string) error { return os.Rename(dir, dir+".d") }, false, "no such file"},
		"behind a linked folder": {func(dir, _ string) error {
			if err := os.Rename(dir, dir+".d"); err != nil {
				return err
			}
			return os.Symlink(dir+".d", dir)
		}, false, "symbolic"},
		"where the user cannot go":  {func(dir, _ string) error { return os.Chmod(dir, 0o700) }, false, "permission denied"},
		"that the user cannot read": {func(_, path string) error { return os.Chmod(path, 0) }, false, "permission denied"},
	} {
		t.Run(name, func(t *testing.T) {
			top, err := os.MkdirTemp("/var/tmp", "posture-transcript-") // the folders of a test are root's alone
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { os.RemoveAll(top) })
			dir := filepath.Join(top, "sessions")
			path := filepath.Join(dir, "s1.jsonl")
			if err := os.Chmod(top, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(claudeWrote), 0o644); err != nil {
				t.Fatal(err)
			}
			if err := os.Chown(path, user, user); err != nil {
				t.Fatal(err)
			}
			if err := c.make(dir, path); err != nil {
				t.Fatal(err)
			}
			w := transcript{agent: "claude-code", session: "s1", path: path, uid: user, gid: user}
			done := make(chan struct{})
			go func() {
				defer close(done)
				runtime.LockOSThread() // it is not used again
				w.read()
			}()
			<-done
			if (w.err == nil) != c.read || w.err != nil && !strings.Contains(w.err.Error(), c.why) {
				t.Errorf("%v, want %q", w.err, c.why)
			}
			if c.read && (len(w.said.Calls) != 1 || w.said.Calls[0] != agent.Written{Call: "t1", Name: "Bash", Done: true}) {
				t.Errorf("%+v", w.said)
			}
		})
	}
}

// replaced removes what is there and makes something else.
func replaced(path string, anew func() error) error {
	if err := os.Remove(path); err != nil {
		return err
	}
	return anew()
}

func TestTranscriptsAreBoundedAndNamedOnce(t *testing.T) {
	var all transcripts
	said := agent.Declaration{Session: "s1", Transcripts: []string{"/a"}}
	for range 3 {
		all.add("codex", &said, event.Actor{}, speaker{uid: 7})
	}
	if len(all.all) != 1 || all.all[0].uid != 7 {
		t.Errorf("%+v", all.all)
	}
	for i := range 2 * maxTranscripts {
		said.Transcripts = []string{"/b" + strings.Repeat("b", i)}
		all.add("codex", &said, event.Actor{}, speaker{})
	}
	if len(all.all) != maxTranscripts || all.left != maxTranscripts+1 {
		t.Errorf("%d, and %d left out", len(all.all), all.left)
	}
}

func TestATranscriptThatIsNotThereIsToldAsThat(t *testing.T) {
	m := started(t, "auto")
	defer m.Close()
	r := opened(t, m, "test")
	m.locked(func() {
		r.transcripts.add("codex", &agent.Declaration{Session: "s1", Transcripts: []string{"/no/such/file"}}, r.parent, speaker{})
	})
	m.finish(r, Closing{}, "")
	told := false
	for _, ev := range events(t, r) {
		told = told || ev.Detail.Is("transcript") && ev.Path.Is("/no/such/file") && ev.Name.Contains("no such file")
	}
	if !told {
		t.Error("the log does not say that it was not read")
	}
}
