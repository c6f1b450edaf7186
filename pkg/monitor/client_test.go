package monitor

import (
	"errors"
	"net"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestWhySudoStartedNothingIsSaid(t *testing.T) {
	ended := errors.New("exit status 1")
	for _, c := range []struct {
		said  string
		typed bool
		want  string
	}{
		{"sudo: a password is required\n", false, "no terminal"},
		{"sudo: interactive authentication is required\n", false, "no terminal"},
		{"Sorry, try again.\nsudo: 3 incorrect password attempts\n", true, "did not get the right one"},
		{"nobody is not in the sudoers file.\n", true, "exit status 1"},
		{"", false, "exit status 1"},
	} {
		err := refusal(c.said, c.typed, ended)
		if !errors.Is(err, ErrRefused) || errors.Is(err, ErrNoSudo) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v, want %q", c.said, err, c.want)
		}
	}
	t.Setenv("PATH", t.TempDir())
	if _, _, err := underSudo(nil); !errors.Is(err, ErrNoSudo) {
		t.Errorf("without sudo: %v", err)
	}
}

func TestWhatAProgramSaysIsPassedOnWholeAndKeptInPart(t *testing.T) {
	var all strings.Builder
	h := heard{w: &all}
	for range 3 {
		if n, err := h.Write([]byte(strings.Repeat("x", 3000))); n != 3000 || err != nil {
			t.Fatal(n, err)
		}
	}
	if all.Len() != 9000 || len(h.String()) != heardLimit {
		t.Errorf("%d bytes were passed on, %d kept", all.Len(), len(h.String()))
	}
}

// A monitor that is killed before it has read what it was asked resets the
// connection, which is an error and no reason to panic.
func TestAMonitorThatIsKilledWithAQuestionUnreadIsAnError(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fds[0]), "client")
	c, err := net.FileConn(f)
	f.Close()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	uc := c.(*net.UnixConn)
	if _, err := uc.Write([]byte("a question\n")); err != nil {
		t.Fatal(err)
	}
	unix.Close(fds[1]) // with the question in it
	k := newTaker(uc)
	var a Response
	if err := k.read(&a); err == nil {
		t.Fatal("an answer came from nobody")
	}
}
