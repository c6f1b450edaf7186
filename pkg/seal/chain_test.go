package seal

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/org/edamame-posture/pkg/warden"
)

func TestEachKeySignsOnceAndItsProcessIsGone(t *testing.T) {
	c, err := NewChain()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var promised PublicKey
	for i := range 20 {
		now, next, err := c.Keys(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if i > 0 && now != promised {
			t.Fatalf("key %d is not the one that was promised", i)
		}
		if now == next {
			t.Fatalf("key %d is used twice", i)
		}
		promised = next
		pid := c.now.PID
		text := fmt.Appendf(nil, "text %d\n", i)
		sig, err := c.Sign(t.Context(), text)
		if err != nil {
			t.Fatal(err)
		}
		if !ed25519.Verify(now[:], text, sig[:]) {
			t.Fatalf("signature %d does not fit", i)
		}
		if err := syscall.Kill(pid, 0); err != syscall.ESRCH {
			t.Fatalf("the process of key %d is still there: %v", i, err)
		}
	}
}

func TestAChainWhoseProcessDiedSignsNoMore(t *testing.T) {
	c, err := NewChain()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, _, err := c.Keys(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(c.now.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Sign(t.Context(), []byte("x")); err == nil {
		t.Fatal("a dead process signed")
	}
	if _, err := c.Sign(t.Context(), []byte("x")); err == nil {
		t.Fatal("the chain went on after a key was lost")
	}
}

func TestATextMustHaveALength(t *testing.T) {
	for _, n := range []int{0, maxText + 1} {
		c, err := NewChain()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Sign(t.Context(), make([]byte, n)); err == nil {
			t.Errorf("%d bytes were signed", n)
		}
		c.Close()
	}
}

func TestAStoppedKeyDelaysNoLongerThanItIsGiven(t *testing.T) {
	c, err := NewChain()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, _, err := c.Keys(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(c.now.PID, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.Sign(ctx, []byte("x")); err == nil {
		t.Fatal("a stopped process signed")
	}
}

// A process that was stopped right after it signed does not end by itself.
func TestAKeyThatSignedAndStaysIsEnded(t *testing.T) {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	stays := exec.Command("sleep", "60")
	if err := stays.Start(); err != nil {
		t.Fatal(err)
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	other := os.NewFile(uintptr(pair[1]), "key")
	defer other.Close()
	go func() {
		text := make([]byte, maxText)
		n, err := other.Read(text)
		if err == nil {
			_, err = other.Write(ed25519.Sign(private, text[:n]))
		}
		if err != nil {
			t.Error(err)
		}
	}()
	h := &holder{Warden: &warden.Warden{Conn: os.NewFile(uintptr(pair[0]), "warden"), PID: stays.Process.Pid}, key: PublicKey(public)}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, err := h.sign(ctx, []byte("text")); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(stays.Process.Pid, 0); err != syscall.ESRCH {
		t.Errorf("it is still there: %v", err)
	}
	if ctx.Err() != nil {
		t.Error("it was waited for")
	}
}

func BenchmarkSign(b *testing.B) {
	c, err := NewChain()
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	text := bytes.Repeat([]byte("x"), 300)
	before := cpu()
	for b.Loop() {
		if _, err := c.Sign(b.Context(), text); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(cpu()-before)/float64(b.N)/1e6, "cpu-ms/op")
}

// cpu is the processor time of this process and its children, in nanoseconds.
func cpu() (ns int64) {
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var ru syscall.Rusage
		if syscall.Getrusage(who, &ru) == nil {
			ns += ru.Utime.Nano() + ru.Stime.Nano()
		}
	}
	return ns
}
