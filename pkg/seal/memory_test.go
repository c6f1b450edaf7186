package seal

import (
	"bufio"
	"bytes"
	"crypto/ed25519"
	"crypto/sha512"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

// scannerEnv makes this test program the scanner: a process that reads the
// memory of others, so that what it looks for stands in none of them.
const scannerEnv = "POSTURE_TEST_SCANNER"

func TestMain(m *testing.M) {
	switch {
	case os.Getenv(scannerEnv) != "":
		scan(os.Stdin, os.Stdout)
		return
	case os.Getenv(staysEnv) != "":
		stay()
		return
	case os.Getenv(fatEnv) != "":
		fat()
		return
	}
	os.Exit(m.Run())
}

// scan answers two requests, each a line: "learn PID KEY" finds the private
// half of a public key in a process, "look PID" counts where it stands.
func scan(in io.Reader, out io.Writer) {
	var keys patterns
	for lines := bufio.NewScanner(in); lines.Scan(); {
		f := strings.Fields(lines.Text())
		found := 0
		parts := memory(f[1])
		if len(parts) == 0 {
			found = -1 // it was not read: nothing is said of it
		}
		for _, part := range parts {
			if f[0] == "learn" {
				key, _ := hex.DecodeString(f[2])
				if seed := seedOf(part, key); seed != nil {
					// As it was drawn, and the halves of its SHA-512: what the scalar is made
					// of, and what is signed with as it is (RFC 8032, 5.1.6).
					expanded := sha512.Sum512(seed)
					keys.add(seed, expanded[:32], expanded[32:])
					found = 1
					break
				}
				continue
			}
			found += keys.in(part)
		}
		fmt.Fprintln(out, found)
	}
}

// patterns are looked for all at once: for a thousand keys one after another it
// would take an hour.
type patterns struct {
	first  [1 << 16]bool // by their first two bytes
	eighth map[uint64][][]byte
}

func (p *patterns) add(all ...[]byte) {
	if p.eighth == nil {
		p.eighth = map[uint64][][]byte{}
	}
	for _, b := range all {
		b = bytes.Clone(b)
		k := binary.LittleEndian.Uint64(b)
		p.first[uint16(k)], p.eighth[k] = true, append(p.eighth[k], b)
	}
}

// in counts where in mem they stand.
func (p *patterns) in(mem []byte) (n int) {
	for i := 0; i+8 <= len(mem); i++ {
		if !p.first[binary.LittleEndian.Uint16(mem[i:])] {
			continue
		}
		for _, b := range p.eighth[binary.LittleEndian.Uint64(mem[i:])] {
			if bytes.HasPrefix(mem[i:], b) {
				n++
			}
		}
	}
	return n
}

func TestTheSearchFindsEachKeyWhereverItStands(t *testing.T) {
	var p patterns
	var all [][]byte
	for i := range 300 {
		k := sha512.Sum512([]byte{byte(i), byte(i >> 8)})
		all = append(all, k[:32])
		p.add(k[:32])
	}
	p.add(append(bytes.Clone(all[0][:8]), make([]byte, 24)...)) // begins as another
	var mem []byte
	for i, k := range all {
		mem = append(append(mem, make([]byte, i%11)...), k...)
		mem = append(mem, k[:31]...) // not whole
	}
	if got := p.in(mem); got != len(all) {
		t.Errorf("%d of %d are found", got, len(all))
	}
	if got := p.in(mem[:len(mem)-32]); got != len(all)-1 {
		t.Errorf("of what is cut %d are found", got)
	}
}

// seedOf finds what a process keeps of its private key: the seed, and behind it
// the public half.
func seedOf(mem, public []byte) []byte {
	for at := 0; ; {
		i := bytes.Index(mem[at:], public)
		if i < 0 {
			return nil
		}
		if at += i; at >= ed25519.SeedSize {
			seed := mem[at-ed25519.SeedSize : at]
			if bytes.Equal(ed25519.NewKeyFromSeed(seed)[ed25519.SeedSize:], public) {
				return bytes.Clone(seed)
			}
		}
		at++
	}
}

// memory reads all that a process can write and has touched: most of what Go
// reserves it never does. Pages of a mapping that lie one after another are one
// part.
func memory(pid string) (parts [][]byte) {
	maps, err := os.ReadFile("/proc/" + pid + "/maps")
	if err != nil {
		return nil
	}
	mem, err := os.Open("/proc/" + pid + "/mem")
	if err != nil {
		return nil
	}
	defer mem.Close()
	pages, err := os.Open("/proc/" + pid + "/pagemap")
	if err != nil {
		return nil
	}
	defer pages.Close()
	page := int64(os.Getpagesize())
	for line := range strings.Lines(string(maps)) {
		var from, to int64
		var mode string
		if _, err := fmt.Sscanf(line, "%x-%x %s", &from, &to, &mode); err != nil || mode[1] != 'w' {
			continue
		}
		const present, swapped = 1 << 63, 1 << 62 // Documentation/admin-guide/mm/pagemap.rst
		entries := make([]byte, (to-from)/page*8)
		n, _ := pages.ReadAt(entries, from/page*8)
		shared := len(mode) > 3 && mode[3] == 's' // its pages need not be in this process's table
		run := int64(0)                           // pages that were touched, up to the one at hand
		for i := int64(0); i <= int64(n)/8; i++ {
			if i < int64(n)/8 && (shared || binary.LittleEndian.Uint64(entries[i*8:])&(present|swapped) != 0) {
				run++
				continue
			}
			for at, end := from+(i-run)*page, from+i*page; at < end; at += page { // past a page that cannot be read
				b := make([]byte, end-at)
				n, err := mem.ReadAt(b, at)
				if n > 0 {
					parts = append(parts, b[:n])
				}
				if at += int64(n) / page * page; err == nil {
					break
				}
			}
			run = 0
		}
	}
	return parts
}

// scanner is the process that scans, seen from here.
type scanner struct {
	in  io.Writer
	out *bufio.Reader
}

func newScanner(t *testing.T) *scanner {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), scannerEnv+"=1")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		_ = cmd.Wait()
	})
	return &scanner{in, bufio.NewReader(out)}
}

func (s *scanner) ask(t *testing.T, format string, args ...any) (found int) {
	t.Helper()
	fmt.Fprintf(s.in, format+"\n", args...)
	if _, err := fmt.Fscanln(s.out, &found); err != nil {
		t.Fatal(err)
	}
	return found
}

// signaturesEnv is how many keys are looked for; the long form takes 1,000.
const signaturesEnv = "POSTURE_SIGNATURES"

func TestAKeyThatSignedIsInNoMemoryOfOurs(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("reading the memory of another process needs root")
	}
	c, err := NewChain()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s := newScanner(t)
	signatures := 12
	if n, err := strconv.Atoi(os.Getenv(signaturesEnv)); err == nil {
		signatures = n
	}
	for i := range signatures {
		now, _, err := c.Keys(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		pid := c.now.pid
		if s.ask(t, "learn %d %x", pid, now) != 1 {
			t.Fatalf("key %d was not found in the process that holds it: the search finds nothing", i)
		}
		if s.ask(t, "look %d", pid) <= 0 {
			t.Fatalf("key %d is not where it was just found", i)
		}
		if _, err := c.Sign(t.Context(), []byte("text")); err != nil {
			t.Fatal(err)
		}
		if _, _, err := c.Keys(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, other := range []int{os.Getpid(), int(Maker()), forker(t), c.now.pid, c.ahead.pid} {
			if n := s.ask(t, "look %d", other); n != 0 {
				t.Fatalf("after %d signatures process %d of ours holds %d copies of keys that signed (-1: its memory cannot be read)", i+1, other, n)
			}
		}
	}
}
