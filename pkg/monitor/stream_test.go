package monitor

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/names"
	"github.com/org/edamame-posture/pkg/process"
	"github.com/org/edamame-posture/pkg/sensor"
)

// piecesVariable makes this test's own binary a client: it connects to its
// first argument and writes each further one, which is hex, by a call of its own.
const piecesVariable = "POSTURE_TEST_PIECES"

// The main goroutine keeps the process's first thread: a test that takes its
// thread into another network namespace for good must not take that one, by
// which /proc/self says where the process is.
func init() { runtime.LockOSThread() }

func TestMain(m *testing.M) {
	if socket := os.Getenv(resolvedVariable); socket != "" {
		fmt.Fprintln(os.Stderr, resolveFor(socket, os.Args[1]))
		os.Exit(1)
	}
	if mode := os.Getenv(askVariable); mode != "" {
		if err := askFor(mode, os.Args[1], os.Args[2], os.Args[3]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if user := os.Getenv(floodVariable); user != "" {
		if err := flood(os.Args[1], user); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if os.Getenv(bpfVariable) != "" {
		if err := detachLink(os.Args[1]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if os.Getenv(piecesVariable) != "" {
		if err := writePieces(os.Args[1], os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func writePieces(addr string, pieces []string) error {
	network := "tcp" // with TCP_NODELAY, as package net has it
	if addr[0] == '/' {
		network = "unix"
	}
	c, err := net.Dial(network, addr)
	if err != nil {
		return err
	}
	defer c.Close()
	for _, p := range pieces {
		b, err := hex.DecodeString(p)
		if err != nil {
			return err
		}
		if _, err := c.Write(b); err != nil {
			return err
		}
	}
	if err := c.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, c)
	return err
}

// spoken records a client that writes pieces to addr, and returns the events
// of a kind that it made.
func spoken(t *testing.T, m *Monitor, kind event.Kind, addr string, pieces [][]byte) []event.Event {
	t.Helper()
	all, pid := recorded(t, m, addr, pieces)
	return slices.DeleteFunc(all, func(e event.Event) bool {
		return e.Kind != kind || e.Dst.String() != addr || e.Actor.PID != pid
	})
}

// recorded returns all events of a recording of such a client, and its pid.
func recorded(t *testing.T, m *Monitor, addr string, pieces [][]byte) ([]event.Event, uint32) {
	t.Helper()
	r := opened(t, m, "x")
	args := []string{addr}
	for _, p := range pieces {
		args = append(args, hex.EncodeToString(p))
	}
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), piecesVariable+"=1")
	out, err := cmd.CombinedOutput()
	m.finish(r, Closing{}, "")
	if err != nil {
		t.Fatalf("%v %s", err, out)
	}
	return events(t, r), uint32(cmd.Process.Pid)
}

// cut cuts b in pieces of n bytes.
func cut(b []byte, n int) [][]byte { return slices.Collect(slices.Chunk(b, n)) }

func dnsMessage(name string, answers ...[4]byte) []byte {
	b := []byte{0, 7, 1, 0, 0, 1, 0, byte(len(answers)), 0, 0, 0, 0}
	for l := range strings.SplitSeq(name, ".") {
		b = append(append(b, byte(len(l))), l...)
	}
	b = append(b, 0, 0, 1, 0, 1)
	if len(answers) > 0 {
		b[2] |= 0x80
	}
	for _, a := range answers {
		b = append(b, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4)
		b = append(b, a[:]...)
	}
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...)
}

func TestDNSOverTCPIsToldByTheMessageHoweverItIsCut(t *testing.T) {
	m := payloads(t)
	l, err := net.Listen("tcp4", "127.53.53.54:53")
	if err != nil {
		t.Skipf("port 53 of a loopback address: %v", err)
	}
	defer l.Close()
	names := []string{"one.example.com", "two.example.com", "three.example.com"}
	var questions, answers []byte
	for i, n := range names {
		questions = append(questions, dnsMessage(n)...)
		many := slices.Repeat([][4]byte{{192, 0, 2, byte(i)}}, 60) // more than 512 bytes
		answers = append(answers, dnsMessage(n, many...)...)
	}
	size := len(questions)
	for _, n := range []int{1, 2, 3, 20, 40, size} {
		t.Run(fmt.Sprintf("pieces of %d bytes", n), func(t *testing.T) {
			go func() {
				c, err := l.Accept()
				if err != nil {
					return
				}
				defer c.Close()
				_, _ = io.Copy(io.Discard, c)
				for _, p := range cut(answers, n) {
					_, _ = c.Write(p)
				}
			}()
			var asked, answered []string
			for _, e := range spoken(t, m, event.DNS, l.Addr().String(), cut(questions, n)) {
				if !e.Detail.IsZero() || e.QType != 1 || e.Proto != event.ProtoTCP {
					t.Errorf("%+v", e)
				}
				if !e.OK {
					asked = append(asked, e.Name.String())
					continue
				}
				answered = append(answered, e.Name.String())
				if len(e.Answers) != 60 || e.Answers[59].Addr.String() != fmt.Sprintf("192.0.2.%d", len(answered)-1) {
					t.Errorf("%d answers for %v", len(e.Answers), e.Name)
				}
			}
			if !slices.Equal(asked, names) || !slices.Equal(answered, names) {
				t.Errorf("asked %q, answered %q", asked, answered)
			}
		})
	}
	t.Run("a message that never is whole is told at the end", func(t *testing.T) {
		go func() {
			if c, err := l.Accept(); err == nil {
				_, _ = io.Copy(io.Discard, c)
				c.Close()
			}
		}()
		one := dnsMessage("half.example.com")
		one[1] += 10
		got := spoken(t, m, event.DNS, l.Addr().String(), cut(one, 5))
		if len(got) != 1 || got[0].Name.String() != "half.example.com" || got[0].OK {
			t.Errorf("%+v", got)
		}
	})
}

// What is beyond the first 16 KiB of a direction is not sent to user space: a
// tunnel may begin there.
func TestDNSOverTCPBeyondWhatIsReadIsAGap(t *testing.T) {
	m := payloads(t)
	l, err := net.Listen("tcp4", "127.53.53.57:53")
	if err != nil {
		t.Skipf("port 53 of a loopback address: %v", err)
	}
	defer l.Close()
	one, answer := dnsMessage("padding.example.com"), dnsMessage("padding.example.com", [4]byte{192, 0, 2, 1})
	long := func(message []byte, n int) []byte { return bytes.Repeat(message, n/len(message)+1)[:n] }
	for _, c := range []struct {
		what           string
		sent, received int
		pieces         int
		want           string
		lost           uint64
	}{
		{"as much as is read", 16 << 10, 16 << 10, 1 << 10, "", 0},
		{"a byte more is sent", 16<<10 + 1, 16 << 10, 1 << 10, "1 bytes sent, 0 received", 1},
		{"a byte more is received", 100, 16<<10 + 1, 1 << 10, "0 bytes sent, 1 received", 1},
		{"much more both ways", 100_000, 300_000, 30_000, "83616 bytes sent, 283616 received", 2},
	} {
		t.Run(c.what, func(t *testing.T) {
			go func() {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				defer conn.Close()
				_, _ = io.Copy(io.Discard, conn)
				_, _ = conn.Write(long(answer, c.received))
			}()
			all, pid := recorded(t, m, l.Addr().String(), cut(long(one, c.sent), c.pieces))
			asked := 0
			var gaps []string
			var lost uint64
			for _, e := range all {
				switch {
				case e.Kind == event.DNS && e.Actor.PID == pid && !e.OK && e.Name.String() == "padding.example.com":
					asked++
				case e.Kind == event.SensorGap && strings.Contains(e.Detail.String(), "DNS over TCP"):
					gaps = append(gaps, e.Detail.String())
					lost += e.Lost
				}
			}
			if c.want == "" && len(gaps) != 0 || c.want != "" && (len(gaps) != 1 || !strings.HasSuffix(gaps[0], ": "+c.want)) || lost != c.lost {
				t.Errorf("gaps %q, %d lost, want %q, %d", gaps, lost, c.want, c.lost)
			}
			if want := min(c.sent, 16<<10) / len(one); asked != want {
				t.Errorf("%d questions, want %d", asked, want)
			}
		})
	}
}

func TestWhatIsBeyondIsToldOnceWhileAConnectionLivesAndTheRestAtItsEnd(t *testing.T) {
	m := payloads(t)
	r := opened(t, m, "x")
	rec := sensor.Record{Kind: event.Flow, Proto: event.ProtoTCP, Sock: 7, Dst: netip.MustParseAddrPort("192.0.2.53:53")}
	p := &process.Process{}
	for _, total := range []struct {
		sent, received uint64
		ended          bool
	}{{16384, 0, false}, {16385, 0, false}, {20000, 100, false}, {20000, 16484, false}, {30000, 17384, true}} {
		rec.Sent, rec.Received, rec.OK = total.sent, total.received, total.ended
		m.locked(func() { r.record(&rec, p, nil, event.ViaLineage) })
	}
	if len(r.beyond) != 0 {
		t.Errorf("an ended connection is remembered: %v", r.beyond)
	}
	m.finish(r, Closing{}, "")
	var gaps []string
	for _, e := range events(t, r) {
		if _, bytes, ok := strings.Cut(e.Detail.String(), "was not read: "); ok && e.Kind == event.SensorGap {
			gaps = append(gaps, fmt.Sprintf("%s, %d lost", bytes, e.Lost))
		}
	}
	want := []string{"1 bytes sent, 0 received, 1 lost", "3615 bytes sent, 100 received, 1 lost", "10000 bytes sent, 900 received, 0 lost"}
	if !slices.Equal(gaps, want) {
		t.Errorf("%q, want %q", gaps, want)
	}
}

// clientHello is what crypto/tls says first.
func clientHello(t *testing.T, name string) []byte {
	t.Helper()
	ours, theirs := net.Pipe()
	defer theirs.Close()
	go func() {
		defer ours.Close()
		_ = tls.Client(ours, &tls.Config{ServerName: name}).HandshakeContext(context.Background())
	}()
	head := make([]byte, 5)
	if _, err := io.ReadFull(theirs, head); err != nil {
		t.Fatal(err)
	}
	body := make([]byte, binary.BigEndian.Uint16(head[3:]))
	if _, err := io.ReadFull(theirs, body); err != nil {
		t.Fatal(err)
	}
	return append(head, body...)
}

// records puts a handshake message in TLS records of n bytes (RFC 8446 §5.1).
func records(hello []byte, n int) []byte {
	var out []byte
	for p := range slices.Chunk(hello[5:], n) {
		out = append(binary.BigEndian.AppendUint16(append(out, 22, 3, 1), uint16(len(p))), p...)
	}
	return out
}

func TestAHostIsToldOnceHoweverTheHeadOfAConnectionIsCut(t *testing.T) {
	m := payloads(t)
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, c)
			c.Close()
		}
	}()
	const host = "split.example.com"
	hello := clientHello(t, host)
	middle := strings.Index(string(hello), host) + 5
	after := make([]byte, 3000) // what the client says later
	get := []byte("GET /path HTTP/1.1\r\nUser-Agent: x\r\nHost: " + host + "\r\n\r\n")
	post := []byte("POST /path HTTP/1.1\r\nHost: " + host + "\r\nContent-Length: 5\r\n\r\nhello")
	for _, c := range []struct {
		what   string
		kind   event.Kind
		pieces [][]byte
		name   string
	}{
		{"a hello in one", event.TLS, [][]byte{hello, after, after}, host},
		{"a hello cut in its name", event.TLS, [][]byte{hello[:middle], hello[middle:], after, after}, host},
		{"a hello cut after its first byte", event.TLS, [][]byte{hello[:1], hello[1:], after}, host},
		{"a hello cut in its header", event.TLS, [][]byte{hello[:4], hello[4:7], hello[7:]}, host},
		{"a hello byte by byte", event.TLS, append(cut(hello, 1), after), host},
		{"a hello in records of 7 bytes", event.TLS, [][]byte{records(hello, 7), after}, host},
		{"a hello in small records, each by itself", event.TLS, cut(records(hello, 100), 105), host},
		{"a hello in small records, byte by byte", event.TLS, cut(records(hello, 50), 1), host},
		{"a request in one", event.HTTP, [][]byte{get, get}, host},
		{"a request cut in its host", event.HTTP, [][]byte{get[:50], get[50:], get}, host},
		{"a request byte by byte", event.HTTP, cut(get, 1), host},
		{"a request with a body", event.HTTP, [][]byte{post, after}, host},
		{"a request with a body, byte by byte", event.HTTP, append(cut(post, 1), after), host},
		{"a request without an end", event.HTTP, [][]byte{[]byte("GET /path HT"), []byte("TP/1.1\r\nA: b\r\n")}, ""},
	} {
		t.Run(c.what, func(t *testing.T) {
			got := spoken(t, m, c.kind, l.Addr().String(), c.pieces)
			if len(got) != 1 || got[0].Name.String() != c.name || c.kind == event.HTTP && got[0].Path.String() != "/path" {
				t.Fatalf("%d events: %+v", len(got), got)
			}
		})
	}
	for _, c := range []struct {
		what   string
		pieces [][]byte
	}{
		{"a P that is no request", [][]byte{[]byte("P"), []byte("roto\x00col of its own")}},
		{"something else byte by byte", cut([]byte("SSH-2.0-x\r\n"), 1)},
	} {
		t.Run(c.what, func(t *testing.T) {
			if got := spoken(t, m, event.HTTP, l.Addr().String(), c.pieces); len(got) != 0 {
				t.Errorf("%+v", got)
			}
		})
	}
}

// An answer in the resolver's name is a claim unless its socket asked for it.
func TestAnAnswerThatNobodyAskedForIsToldAsSuch(t *testing.T) {
	m := payloads(t)
	l, err := net.Listen("tcp4", "127.53.53.55:53")
	if err != nil {
		t.Skipf("port 53 of a loopback address: %v", err)
	}
	defer l.Close()
	asked, other := "asked.example.com", "allowed.example.com"
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		_, _ = io.Copy(io.Discard, c)
		_, _ = c.Write(dnsMessage(other, [4]byte{192, 0, 2, 66}))
		_, _ = c.Write(dnsMessage(strings.ToUpper(asked), [4]byte{192, 0, 2, 1}))
	}()
	var got []string
	table := names.New(100)
	table.AddResolver(netip.MustParseAddr("127.53.53.55"))
	for _, e := range spoken(t, m, event.DNS, l.Addr().String(), [][]byte{dnsMessage(asked)}) {
		got = append(got, strings.TrimSpace(fmt.Sprint(e.OK, " ", e.Name, " ", e.Detail)))
		table.Apply(&e)
	}
	want := []string{"false " + asked, "true " + other + " unasked", "true " + asked}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if n := table.Lookup(event.Actor{}, netip.MustParseAddr("192.0.2.66"), 0); n.How != names.ClaimedDNS || n.Backed {
		t.Errorf("the forged answer is believed: %+v", n)
	}
	if n := table.Lookup(event.Actor{}, netip.MustParseAddr("192.0.2.1"), 0); n.How != names.DNS {
		t.Errorf("the true answer is not: %+v", n)
	}
}

func TestOldQuestionsAreForgottenAndNewOnesAreNot(t *testing.T) {
	var a asked
	name := []byte("a.example")
	if a.was(1, name, 1) {
		t.Error("asked before anything was")
	}
	for i := range uint64(3 * maxAsked) {
		a.ask(i, name, 1)
		if !a.was(i, name, 1) || a.was(i, name, 28) || a.was(i+1, name, 1) || a.was(i, name[1:], 1) {
			t.Fatalf("question %d", i)
		}
	}
	if len(a.seen) != maxAsked || a.was(0, name, 1) || !a.was(2*maxAsked, name, 1) {
		t.Errorf("%d are remembered", len(a.seen))
	}
	if n := testing.AllocsPerRun(1000, func() { a.ask(uint64(a.next), name, 1) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
