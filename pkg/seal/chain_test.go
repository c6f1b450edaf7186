package seal

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
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
		pid := c.now.pid
		text := fmt.Appendf(nil, "text %d\n", i)
		sig, err := c.Sign(t.Context(), text)
		if err != nil {
			t.Fatal(err)
		}
		if !ed25519.Verify(now[:], text, sig[:]) {
			t.Fatalf("signature %d does not fit", i)
		}
		if n := resident(t, pid); n != 0 {
			t.Fatalf("the process of key %d has %d pages of memory", i, n)
		}
		absent(t, pid)
	}
}

// resident returns how many pages of memory a process has; none where it has let
// go of its memory, or is gone.
func resident(t *testing.T, pid int) (pages int) {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
		return 0
	}
	if err == nil {
		_, err = fmt.Sscan(string(b), new(int), &pages)
	}
	if err != nil {
		t.Fatal(err)
	}
	return pages
}

// absent waits for a process to be gone: to be no more than a number that its
// parent has not asked for.
func absent(t *testing.T, pid int) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil || bytes.Contains(b, []byte(") Z ")) || bytes.Contains(b, []byte(") X ")) {
			return
		}
	}
	t.Fatalf("process %d is still there", pid)
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
	if err := syscall.Kill(c.now.pid, syscall.SIGKILL); err != nil {
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
	if err := syscall.Kill(c.now.pid, syscall.SIGSTOP); err != nil {
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
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	conn, other := os.NewFile(uintptr(pair[0]), "key"), os.NewFile(uintptr(pair[1]), "key")
	stays := exec.Command("/proc/self/exe")
	stays.Env = append(os.Environ(), staysEnv+"=1")
	stays.Stdin = other
	if err := stays.Start(); err != nil {
		t.Fatal(err)
	}
	other.Close()
	h := &holder{conn: conn, pid: stays.Process.Pid, key: PublicKey(known[ed25519.SeedSize:])}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if _, err := h.sign(ctx, []byte("text")); err != nil {
		t.Fatal(err)
	}
	if n := resident(t, h.pid); n != 0 {
		t.Errorf("it has %d pages of memory", n)
	}
	if err := stays.Wait(); err == nil || err.Error() != "signal: killed" {
		t.Errorf("it ended otherwise: %v", err)
	}
	if ctx.Err() != nil {
		t.Error("it was waited for")
	}
}

const (
	// staysEnv makes this test program a key that stays when it has signed.
	staysEnv = "POSTURE_TEST_STAYS"
	// fatEnv makes it a process with much memory, which ends when it is told to.
	fatEnv = "POSTURE_TEST_FAT"
)

// known is a key that everybody has.
var known = ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))

func stay() {
	text := make([]byte, maxText)
	for {
		n, err := unix.Read(0, text)
		if errors.Is(err, unix.EAGAIN) {
			time.Sleep(time.Millisecond) // its end of the socket does not block
			continue
		}
		if err != nil || n == 0 {
			return
		}
		if _, err := unix.Write(0, ed25519.Sign(known, text[:n])); err != nil {
			return
		}
		unix.Pause()
	}
}

// fatBytes takes the kernel so long to let go of that an end of a socket before
// it would be seen.
const fatBytes = 256 << 20

func fat() {
	mem, err := unix.Mmap(-1, 0, fatBytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE|unix.MAP_POPULATE)
	if err != nil {
		return
	}
	var b [1]byte
	for {
		if _, err := unix.Read(0, b[:]); err == nil {
			break
		}
		time.Sleep(time.Millisecond)
	}
	mem[0] = b[0]
	syscall.Exit(0)
}

// That a key is gone when its socket is at its end rests on the order in which
// the kernel takes a process apart.
func TestTheEndOfItsSocketSaysThatTheMemoryIsGone(t *testing.T) {
	for range 3 {
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			t.Fatal(err)
		}
		conn, other := os.NewFile(uintptr(pair[0]), "fat"), os.NewFile(uintptr(pair[1]), "fat")
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), fatEnv+"=1")
		cmd.Stdin = other
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		other.Close()
		h := &holder{conn: conn, pid: cmd.Process.Pid}
		for end := time.Now().Add(20 * time.Second); resident(t, h.pid) < fatBytes/os.Getpagesize(); time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal("it did not take its memory")
			}
		}
		if _, err := conn.Write([]byte{1}); err != nil {
			t.Fatal(err)
		}
		if !h.gone(20 * time.Second) {
			t.Fatal("its socket has no end")
		}
		if n := resident(t, h.pid); n != 0 {
			t.Errorf("its socket was at its end, and it had %d pages", n)
		}
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	}
}

func TestAMakerThatDiedIsReplaced(t *testing.T) {
	c, err := NewChain()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	first := Maker()
	if _, _, err := c.Keys(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(int(first), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	// The two keys that were made are good for a text each. One that was asked of
	// the dead may fail: then there is none yet, and the next time there is.
	for signed := 0; signed < 4; {
		if _, _, err := c.Keys(t.Context()); err != nil {
			if t.Context().Err() != nil {
				t.Fatal(err)
			}
			continue
		}
		if _, err := c.Sign(t.Context(), []byte("text")); err != nil {
			t.Fatal(err)
		}
		signed++
	}
	if now := Maker(); now == first || now == 0 {
		t.Errorf("the maker was process %d, and is %d", first, now)
	}
}

func TestTheMakerIsThereWhileThereAreChains(t *testing.T) {
	a, err := NewChain()
	if err != nil {
		t.Fatal(err)
	}
	b, err := NewChain()
	if err != nil {
		t.Fatal(err)
	}
	pid := int(Maker())
	now := b.now.pid
	a.Close()
	if _, err := b.Sign(t.Context(), []byte("text")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := b.Keys(t.Context()); err != nil {
		t.Fatal(err)
	}
	left := []int{now, b.now.pid, b.ahead.pid, forker(t), pid}
	b.Close()
	if Maker() != 0 {
		t.Errorf("the maker is %d after the last chain", Maker())
	}
	for _, pid := range left {
		absent(t, pid)
	}
}

// forker returns the process that the maker has forked, which forks the keys.
func forker(t *testing.T) (pid int) {
	t.Helper()
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", Maker()))
	if err != nil {
		t.Fatal(err)
	}
	for _, list := range lists {
		if b, err := os.ReadFile(list); err == nil && pid == 0 {
			_, _ = fmt.Sscan(string(b), &pid) // most have none
		}
	}
	if pid == 0 {
		t.Fatal("the maker has forked nothing")
	}
	return pid
}

// It collects nothing, so what it left behind for each key would stay.
func TestTheMakerDoesNotGrow(t *testing.T) {
	c, err := NewChain()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	grown := func() int {
		for range 100 {
			if _, err := c.Sign(t.Context(), []byte("text")); err != nil {
				t.Fatal(err)
			}
		}
		return resident(t, forker(t))
	}
	before := grown()
	if after := grown(); after > before+4 {
		t.Errorf("from %d pages to %d by 100 keys", before, after)
	}
}

// The time of keys counts when their maker has ended, so that of its start is in
// it, shared by all: -benchtime 1000x makes that little.
func BenchmarkSign(b *testing.B) {
	text := bytes.Repeat([]byte("x"), 300)
	before := cpu()
	c, err := NewChain()
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := c.Sign(b.Context(), text); err != nil {
			b.Fatal(err)
		}
	}
	c.Close()
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
