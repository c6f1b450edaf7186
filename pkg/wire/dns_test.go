package wire

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

func captured(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// brief writes a message in one line.
func brief(m *DNSMessage) string {
	var b strings.Builder
	for _, q := range m.Questions {
		fmt.Fprintf(&b, "%s %d", q.Name, q.Type)
	}
	for _, a := range m.Answers {
		fmt.Fprintf(&b, " | %s %d", a.Name, a.Type)
		if a.Addr.IsValid() {
			fmt.Fprintf(&b, " %s", a.Addr)
		}
		if a.Target != nil {
			fmt.Fprintf(&b, " %s", a.Target)
		}
		if a.Port != 0 {
			fmt.Fprintf(&b, ":%d", a.Port)
		}
		if a.Hint {
			b.WriteString(" hint")
		}
		if a.Type == TypeTXT {
			fmt.Fprintf(&b, " %d bytes", a.Length)
		}
	}
	return b.String()
}

func TestMessagesOfRealResolversAreRead(t *testing.T) {
	for _, c := range []struct{ file, want string }{
		{"dns-getent-A-query", "getent.client.example 1"},
		{"dns-getent-A-answer", "getent.client.example 1 | getent.client.example 5 alias.client.example | alias.client.example 1 192.0.2.1 | alias.client.example 1 192.0.2.2"},
		{"dns-getent-AAAA-answer", "getent.client.example 28 | getent.client.example 28 2001:db8::1"},
		{"dns-node-TXT-answer", "node.client.example 16 | node.client.example 16 18 bytes"},
		{"dns-node-SRV-answer", "node.client.example 33 | node.client.example 33 alias.client.example:8443"},
		{"dns-node-MX-answer", "node.client.example 15 | node.client.example 15 alias.client.example"},
		{"dns-go-A-query", "go.client.example 1"},
		{"dns-go-A-answer", "go.client.example 1 | go.client.example 5 alias.client.example | alias.client.example 1 192.0.2.1 | alias.client.example 1 192.0.2.2"},
		{"dns-curl-AAAA-query", "curl.client.example 28"},
	} {
		var m DNSMessage
		if err := ParseDNS(captured(t, c.file+".bin"), &m); err != nil {
			t.Errorf("%s: %v", c.file, err)
		}
		if got := brief(&m); got != c.want {
			t.Errorf("%s:\n%s\nnot\n%s", c.file, got, c.want)
		}
		if m.Partial || m.Truncated || m.Response != strings.HasSuffix(c.file, "answer") || m.RCode != 0 {
			t.Errorf("%s: %+v", c.file, m)
		}
	}
}

func TestAMessageCutAnywhereIsReadAsFarAsItGoes(t *testing.T) {
	whole := captured(t, "dns-getent-A-answer.bin")
	var m, full DNSMessage
	if err := ParseDNS(whole, &full); err != nil {
		t.Fatal(err)
	}
	last := 0
	for n := range whole {
		err := ParseDNS(whole[:n], &m)
		switch {
		case n < 39: // header and question
			if !errors.Is(err, ErrIncomplete) {
				t.Errorf("%d bytes: %v", n, err)
			}
		case err != nil || !m.Partial:
			t.Errorf("%d bytes: %v, partial %v", n, err, m.Partial)
		}
		if len(m.Answers) < last {
			t.Errorf("%d bytes: %d answers after %d", n, len(m.Answers), last)
		}
		last = len(m.Answers)
		for i, a := range m.Answers {
			if string(a.Name) != string(full.Answers[i].Name) || a.Addr != full.Answers[i].Addr {
				t.Errorf("%d bytes: answer %d differs", n, i)
			}
		}
	}
}

// message puts a header before parts.
func message(questions, answers int, response bool, parts ...string) []byte {
	flags := byte(1)
	if response {
		flags = 0x81
	}
	return []byte("\x12\x34" + string([]byte{flags, 0x80, byte(questions >> 8), byte(questions), byte(answers >> 8), byte(answers), 0, 0, 0, 0}) + strings.Join(parts, ""))
}

const (
	wwwExample = "\x03www\x07example\x00" // at 12
	inA        = "\x00\x01\x00\x01"
)

func TestServiceRecordsGiveTargetAndHints(t *testing.T) {
	https := "\x00\x41\x00\x01"
	rdata := "\x00\x01" + "\x02ep\x07example\x00" + "\x00\x01\x00\x03\x02h2" + "\x00\x04\x00\x08\xc0\x00\x02\x01\xc0\x00\x02\x02" + "\x00\x06\x00\x10\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01"
	b := message(1, 1, true, wwwExample, https, "\xc0\x0c", https, "\x00\x00\x00\x3c\x00", string([]byte{byte(len(rdata))}), rdata)
	var m DNSMessage
	if err := ParseDNS(b, &m); err != nil {
		t.Fatal(err)
	}
	want := "www.example 65 | www.example 65 ep.example | www.example 65 192.0.2.1 hint | www.example 65 192.0.2.2 hint | www.example 65 2001:db8::1 hint"
	if got := brief(&m); got != want {
		t.Errorf("%s\nnot\n%s", got, want)
	}
}

func TestNamesAreLowerCaseAndEscaped(t *testing.T) {
	for in, want := range map[string]string{
		"\x00":                   ".",
		"\x03WwW\x07ExAmple\x00": "www.example",
		"\x05a.b\\c\x00":         `a\.b\\c`,
		"\x04a\x00\n\xff\x00":    `a\000\010\255`,
		"\x02 _\x00":             `\032_`,
		"\x01\x7f\x00":           `\127`,
		"\x3f" + strings.Repeat("x", 63) + "\x00": strings.Repeat("x", 63),
	} {
		var m DNSMessage
		if err := ParseDNS(message(1, 0, false, in, inA), &m); err != nil {
			t.Errorf("%q: %v", in, err)
		} else if got := string(m.Questions[0].Name); got != want {
			t.Errorf("%q: %q, not %q", in, got, want)
		}
	}
}

func TestWhatIsNoMessageIsRefused(t *testing.T) {
	answer := func(rtype, rdata string) []byte {
		return message(1, 1, true, wwwExample, inA, "\xc0\x0c", rtype, "\x00\x01\x00\x00\x00\x3c\x00", string([]byte{byte(len(rdata))}), rdata)
	}
	for name, b := range map[string][]byte{
		"pointer to itself":                message(1, 0, false, "\xc0\x0c", inA),
		"pointer forward":                  message(1, 0, false, "\xc0\x20", inA, strings.Repeat("\x00", 32)),
		"pointer into the header":          message(1, 0, false, "\xc0\x00", inA),
		"two pointers in a circle":         message(1, 0, false, "\x01a\xc0\x10\x01b\xc0\x0c", inA),
		"reserved label type":              message(1, 0, false, "\x40abc\x00", inA),
		"name over 255 bytes":              message(1, 0, false, strings.Repeat("\x3f"+strings.Repeat("x", 63), 4)+"\x00", inA),
		"more questions than anyone asks":  message(9, 0, false, strings.Repeat("\x00"+inA, 9)),
		"A record of five bytes":           answer("\x00\x01", "12345"),
		"AAAA record of four bytes":        answer("\x00\x1c", "1234"),
		"CNAME that ends early":            answer("\x00\x05", "\x03abc"),
		"CNAME with bytes behind it":       answer("\x00\x05", "\x00x"),
		"SRV that is too short":            answer("\x00\x21", "123456"),
		"TXT whose string is too long":     answer("\x00\x10", "\x05abc"),
		"HTTPS with a cut parameter":       answer("\x00\x41", "\x00\x01\x00\x00\x04\x00\x08abc"),
		"HTTPS with a hint of five bytes":  answer("\x00\x41", "\x00\x01\x00\x00\x04\x00\x05abcde"),
		"HTTPS whose target is not closed": answer("\x00\x41", "\x00\x01\x03ab"),
	} {
		var m DNSMessage
		if err := ParseDNS(b, &m); !errors.Is(err, ErrNotDNS) {
			t.Errorf("%s: %v", name, err)
		}
	}
	var m DNSMessage
	if err := ParseDNS([]byte("GET / HTTP/1."), &m); err == nil {
		t.Error("an HTTP request is taken for a message")
	}
}

func TestAnswersAreBounded(t *testing.T) {
	record := "\xc0\x0c" + inA + "\x00\x00\x00\x3c\x00\x04\x7f\x00\x00\x01"
	var m DNSMessage
	if err := ParseDNS(message(1, 1000, true, wwwExample, inA, strings.Repeat(record, 1000)), &m); err != nil {
		t.Fatal(err)
	}
	if len(m.Answers) != MaxAnswers || !m.Partial || m.Counts[1] != 1000 {
		t.Errorf("%d answers, partial %v, %d claimed", len(m.Answers), m.Partial, m.Counts[1])
	}
}

func TestStreamsCarryMessagesBehindTheirLength(t *testing.T) {
	msg := captured(t, "dns-go-A-query.bin")
	stream := append([]byte{0, byte(len(msg))}, msg...)
	if got, whole := DNSFromStream(append(stream, "next"...)); !whole || string(got) != string(msg) {
		t.Errorf("%q, %v", got, whole)
	}
	if got, whole := DNSFromStream(stream[:20]); whole || len(got) != 18 {
		t.Errorf("%d bytes, %v", len(got), whole)
	}
	if got, whole := DNSFromStream([]byte{0}); whole || got != nil {
		t.Errorf("%q, %v", got, whole)
	}
}

func TestParsingAgainAllocatesNothing(t *testing.T) {
	var m DNSMessage
	for _, file := range []string{"dns-getent-A-answer.bin", "dns-go-A-query.bin", "dns-node-SRV-answer.bin"} {
		b := captured(t, file)
		ParseDNS(b, &m)
		if n := testing.AllocsPerRun(100, func() {
			if ParseDNS(b, &m) != nil {
				t.Error(file)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", file, n)
		}
	}
}

// FuzzDNS holds the parser against golang.org/x/net/dns/dnsmessage: what that
// one takes, ours takes and reads the same, within the bounds that differ by intent.
func FuzzDNS(f *testing.F) {
	files, _ := filepath.Glob("testdata/dns-*.bin")
	for _, file := range files {
		f.Add(captured(f, filepath.Base(file)))
	}
	f.Add(message(1, 1, true, wwwExample, inA, "\xc0\x0c", "\x00\x41\x00\x01", "\x00\x00\x00\x3c\x00\x0d", "\x00\x01\x00\x00\x04\x00\x04\x7f\x00\x00\x01"))
	var m DNSMessage
	f.Fuzz(func(t *testing.T, b []byte) {
		err := ParseDNS(b, &m)
		for _, q := range m.Questions {
			checkName(t, b, q.Name)
		}
		for _, a := range m.Answers {
			checkName(t, b, a.Name)
			if a.Target != nil {
				checkName(t, b, a.Target)
			}
		}
		if len(m.Questions) > MaxQuestions || len(m.Answers) > MaxAnswers {
			t.Errorf("%d questions, %d answers", len(m.Questions), len(m.Answers))
		}
		var p dnsmessage.Parser
		h, theirs := p.Start(b)
		if theirs != nil {
			return
		}
		if h.ID != m.ID || h.Response != m.Response || h.Truncated != m.Truncated || uint8(h.RCode) != m.RCode {
			t.Errorf("header %+v, %+v", h, m)
		}
		questions, theirs := p.AllQuestions()
		if theirs != nil || len(questions) > MaxQuestions {
			return
		}
		if !forward(b) && len(m.Questions) != len(questions) {
			t.Fatalf("%x: %d questions, not %d: %v", b, len(m.Questions), len(questions), err)
		}
		for i, q := range m.Questions {
			if uint16(questions[i].Type) != q.Type || uint16(questions[i].Class) != q.Class || plain(questions[i].Name) && name(questions[i].Name) != string(q.Name) {
				t.Errorf("question %v, not %v", q, questions[i])
			}
		}
		answers, theirs := p.AllAnswers()
		if theirs != nil || forward(b) || len(answers) > MaxAnswers {
			return
		}
		k := 0
		for _, a := range answers {
			for k < len(m.Answers) && m.Answers[k].Hint {
				k++
			}
			if k == len(m.Answers) {
				if err == nil && !m.Partial {
					t.Errorf("%x: an answer is missing: %v", b, a)
				}
				// Records of a kind that we look into deeper may be refused.
				return
			}
			ours := m.Answers[k]
			k++
			if uint16(a.Header.Type) != ours.Type || a.Header.TTL != ours.TTL || plain(a.Header.Name) && name(a.Header.Name) != string(ours.Name) {
				t.Errorf("%x: answer %v, not %v", b, ours, a)
			}
			switch body := a.Body.(type) {
			case *dnsmessage.AResource:
				if ours.Addr != netip.AddrFrom4(body.A) {
					t.Errorf("%v, not %v", ours.Addr, body)
				}
			case *dnsmessage.AAAAResource:
				if ours.Addr != netip.AddrFrom16(body.AAAA) {
					t.Errorf("%v, not %v", ours.Addr, body)
				}
			case *dnsmessage.CNAMEResource:
				if plain(body.CNAME) && name(body.CNAME) != string(ours.Target) {
					t.Errorf("%s, not %v", ours.Target, body)
				}
			case *dnsmessage.SRVResource:
				if ours.Port != body.Port || plain(body.Target) && name(body.Target) != string(ours.Target) {
					t.Errorf("%s:%d, not %v", ours.Target, ours.Port, body)
				}
			case *dnsmessage.TXTResource:
				if n := len(strings.Join(body.TXT, "")); n != ours.Length {
					t.Errorf("%d bytes of text, not %d", ours.Length, n)
				}
			}
		}
	})
}

// forward reports whether b holds what may be a pointer that does not point
// back to before its name, which dnsmessage follows (ten times) and we refuse.
// It errs to the safe side: any pointer byte not among the usual counts.
func forward(b []byte) bool {
	for i := 12; i+1 < len(b); i++ {
		if b[i] >= 0xc0 && (int(b[i]&0x3f)<<8|int(b[i+1]) >= i-1 || b[i] != 0xc0 || b[i+1] != 12) {
			return true
		}
	}
	return false
}

// plain reports whether the name has no characters that we escape.
func plain(n dnsmessage.Name) bool {
	for _, c := range n.Data[:n.Length] {
		if c <= ' ' || c >= 0x7f || c == '\\' {
			return false
		}
	}
	return true
}

func name(n dnsmessage.Name) string {
	s := strings.ToLower(n.String())
	if s == "." {
		return s
	}
	return strings.TrimSuffix(s, ".")
}

func checkName(t *testing.T, b, name []byte) {
	t.Helper()
	if len(name) == 0 || len(name) > 4*255 {
		t.Errorf("%x: name of %d bytes", b, len(name))
	}
	for _, c := range name {
		if c <= ' ' || c >= 0x7f || c >= 'A' && c <= 'Z' {
			t.Errorf("%x: name %q", b, name)
		}
	}
}

func BenchmarkParseDNS(b *testing.B) {
	msg := captured(b, "dns-getent-A-answer.bin")
	var m DNSMessage
	b.ReportAllocs()
	for b.Loop() {
		if err := ParseDNS(msg, &m); err != nil {
			b.Fatal(err)
		}
	}
}
