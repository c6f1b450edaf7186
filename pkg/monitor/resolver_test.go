package monitor

import (
	"encoding/hex"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/org/edamame-posture/pkg/event"
)

// resolvedVariable makes this test's own binary a stand-in for
// systemd-resolved: it listens on the Unix socket that the variable names, and
// sends what it hears there to the resolver that its argument names.
const resolvedVariable = "POSTURE_TEST_RESOLVED"

func resolveFor(socket, resolver string) error {
	l, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	os.Stdout.Close() // the test waits for it
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		question, err := io.ReadAll(c)
		if err != nil {
			return err
		}
		up, err := net.Dial("udp", resolver)
		if err != nil {
			return err
		}
		if _, err := up.Write(question); err != nil {
			return err
		}
		answer := make([]byte, 512)
		n, err := up.Read(answer)
		if err != nil {
			return err
		}
		_, _ = c.Write(answer[:n])
		up.Close()
		c.Close()
	}
}

func TestWhatAResolverDaemonAsksForTheJobIsTheJobs(t *testing.T) {
	m := payloads(t)
	upstream, err := net.ListenPacket("udp4", "127.53.53.56:53")
	if err != nil {
		t.Skipf("port 53 of a loopback address: %v", err)
	}
	defer upstream.Close()
	go func() {
		b := make([]byte, 512)
		for {
			_, from, err := upstream.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = upstream.WriteTo(dnsMessage("hidden.example.com", [4]byte{192, 0, 2, 9})[2:], from)
		}
	}()

	dir := t.TempDir()
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	exe, socket := filepath.Join(dir, "systemd-resolved"), filepath.Join(dir, "io.systemd.Resolve")
	if err := os.WriteFile(exe, self, 0o700); err != nil {
		t.Fatal(err)
	}
	daemon := exec.Command(exe, upstream.LocalAddr().String())
	daemon.Env = append(os.Environ(), resolvedVariable+"="+socket)
	out, err := daemon.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = daemon.Process.Kill()
		_ = daemon.Wait()
	}()
	if _, err := io.ReadAll(out); err != nil {
		t.Fatal(err)
	}
	question := hex.EncodeToString(dnsMessage("hidden.example.com")[2:])

	for _, c := range []struct {
		what string
		asks bool
		want int
	}{{"nobody of the recording asks", false, 0}, {"the job asks", true, 2}} {
		t.Run(c.what, func(t *testing.T) {
			r := opened(t, m, "x")
			if c.asks {
				client := exec.Command("/proc/self/exe", socket, question)
				client.Env = append(os.Environ(), piecesVariable+"=1")
				if out, err := client.CombinedOutput(); err != nil {
					t.Errorf("%v %s", err, out)
				}
			} else if err := writePieces(socket, []string{question}); err != nil {
				t.Error(err)
			}
			m.finish(r, Closing{}, "")
			n := 0
			for _, e := range events(t, r) {
				if e.Kind != event.DNS || e.Dst.String() != upstream.LocalAddr().String() {
					continue
				}
				if n++; e.Via != event.ViaRequest || e.Actor.PID != uint32(daemon.Process.Pid) || e.Name.String() != "hidden.example.com" || !e.Detail.IsZero() {
					t.Errorf("%+v", e)
				}
			}
			if n != c.want {
				t.Errorf("%d events, want %d", n, c.want)
			}
		})
	}
}
