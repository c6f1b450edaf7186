package wire

import "net/netip"

// DNS resource record types (IANA DNS parameters) that ParseDNS looks into.
const (
	TypeA     = 1
	TypeNS    = 2
	TypeCNAME = 5
	TypePTR   = 12
	TypeMX    = 15
	TypeTXT   = 16
	TypeAAAA  = 28
	TypeSRV   = 33
	TypeDNAME = 39
	TypeSVCB  = 64
	TypeHTTPS = 65
	TypeANY   = 255
)

// Bounds on what one message may make us keep. What is over them is counted in
// the header's numbers and makes the message Partial.
const (
	MaxQuestions = 8
	MaxAnswers   = 128
)

// DNSMessage is what ParseDNS reads: the header, the questions and the answer
// section. It may be used again and again; names in it are valid until then.
type DNSMessage struct {
	ID       uint16
	Response bool
	Opcode   uint8
	// Truncated is the TC bit: the sender left records out for want of room.
	Truncated bool
	// RCode is the response code of the header, without EDNS's upper bits.
	RCode uint8
	// Counts are those that the header claims: questions, answers, authorities, additional.
	Counts [4]uint16
	// Partial: not all of the questions and answers that the header claims were
	// read, because the bytes end or the bounds are reached.
	Partial   bool
	Questions []Question
	Answers   []Answer

	arena []byte
}

// Question is one question.
type Question struct {
	// Name is in the presentation format of RFC 1035 §5.1, in lower case,
	// without a final dot; the root is ".". A byte that is not a printable
	// character is \DDD in decimal, a dot or backslash within a label has a
	// backslash before it.
	Name        []byte
	Type, Class uint16
}

// Answer is one record of the answer section.
type Answer struct {
	Name        []byte // as in Question
	Type, Class uint16
	TTL         uint32 // seconds
	// Addr is the address of an A or AAAA record, or an address hint of an
	// HTTPS or SVCB record (RFC 9460): each hint is an Answer of its own, after
	// the record's.
	Addr netip.Addr
	Hint bool
	// Target is the name that a CNAME, DNAME, NS, PTR, MX, SRV, HTTPS or SVCB
	// record points to.
	Target []byte
	Port   uint16 // SRV
	// Length is that of the record's data in bytes; for TXT, of its strings
	// without their length bytes.
	Length int
}

// ParseDNS reads b into m. The error is ErrIncomplete where b ends within the
// header or the first question, ErrNotDNS where b cannot be a DNS message;
// then m holds what was read before. A message cut later is no error: m.Partial
// says so.
//
// The answer section is read, the two sections after it are not: they have no
// part in a resolver's answer to a program.
func ParseDNS(b []byte, m *DNSMessage) error {
	*m = DNSMessage{Questions: m.Questions[:0], Answers: m.Answers[:0], arena: m.arena[:0]}
	if len(b) < 12 {
		return ErrIncomplete
	}
	flags := u16(b[2:])
	m.ID = uint16(u16(b))
	m.Response = flags&0x8000 != 0
	m.Opcode = uint8(flags >> 11 & 15)
	m.Truncated = flags&0x0200 != 0
	m.RCode = uint8(flags & 15)
	for i := range m.Counts {
		m.Counts[i] = uint16(u16(b[4+2*i:]))
	}
	at := 12
	for i := range int(m.Counts[0]) {
		if i == MaxQuestions {
			// No program asks so much at once (RFC 9619 allows one).
			m.Partial = true
			return ErrNotDNS
		}
		name, next, err := m.name(b, at)
		if err == nil && next+4 > len(b) {
			err = ErrIncomplete
		}
		if err != nil {
			m.Partial = true
			if err == ErrIncomplete && i > 0 {
				return nil
			}
			return err
		}
		m.Questions = append(m.Questions, Question{Name: name, Type: uint16(u16(b[next:])), Class: uint16(u16(b[next+2:]))})
		at = next + 4
	}
	for i := range int(m.Counts[1]) {
		if i >= MaxAnswers || len(m.Answers) >= MaxAnswers {
			m.Partial = true
			return nil
		}
		next, err := m.answer(b, at)
		if err != nil {
			m.Partial = true
			if err == ErrIncomplete {
				return nil
			}
			return err
		}
		at = next
	}
	return nil
}

// DNSFromStream returns the first message of a TCP stream (RFC 1035 §4.2.2: two
// bytes of length before each) and whether all of it is there.
func DNSFromStream(b []byte) (message []byte, whole bool) {
	if len(b) < 2 {
		return nil, false
	}
	n := u16(b)
	if b = b[2:]; n <= len(b) {
		return b[:n], true
	}
	return b, false
}

func (m *DNSMessage) answer(b []byte, at int) (next int, err error) {
	name, at, err := m.name(b, at)
	if err != nil {
		return 0, err
	}
	if at+10 > len(b) {
		return 0, ErrIncomplete
	}
	a := Answer{Name: name, Type: uint16(u16(b[at:])), Class: uint16(u16(b[at+2:])), TTL: u32(b[at+4:]), Length: u16(b[at+8:])}
	at += 10
	next = at + a.Length
	if next > len(b) {
		return 0, ErrIncomplete
	}
	data := b[at:next]
	switch a.Type {
	case TypeA:
		if len(data) != 4 {
			return 0, ErrNotDNS
		}
		a.Addr = netip.AddrFrom4([4]byte(data))
	case TypeAAAA:
		if len(data) != 16 {
			return 0, ErrNotDNS
		}
		a.Addr = netip.AddrFrom16([16]byte(data))
	case TypeCNAME, TypeDNAME, TypeNS, TypePTR:
		a.Target, err = m.target(b, at, next, true)
	case TypeMX:
		a.Target, err = m.target(b, at+2, next, true)
	case TypeSRV:
		if len(data) < 7 {
			return 0, ErrNotDNS
		}
		a.Port = uint16(u16(data[4:]))
		a.Target, err = m.target(b, at+6, next, true)
	case TypeTXT:
		n := 0
		for i := 0; i < len(data); i += 1 + int(data[i]) {
			if i+1+int(data[i]) > len(data) {
				return 0, ErrNotDNS
			}
			n += int(data[i])
		}
		a.Length = n
	case TypeHTTPS, TypeSVCB:
		return next, m.service(b, at, next, a)
	}
	if err != nil {
		return 0, err
	}
	m.Answers = append(m.Answers, a)
	return next, nil
}

// target reads the name at b[at:end]. Where it is the last thing of a record it
// must end there.
func (m *DNSMessage) target(b []byte, at, end int, last bool) ([]byte, error) {
	if at >= end {
		return nil, ErrNotDNS
	}
	name, next, err := m.name(b[:end], at)
	if err == ErrIncomplete || err == nil && last && next != end {
		err = ErrNotDNS
	}
	return name, err
}

// service reads an HTTPS or SVCB record, RFC 9460 §2.2, and its address hints.
func (m *DNSMessage) service(b []byte, at, end int, a Answer) error {
	if end-at < 3 {
		return ErrNotDNS
	}
	name, at, err := m.name(b[:end], at+2)
	if err != nil {
		return ErrNotDNS
	}
	a.Target = name
	m.Answers = append(m.Answers, a)
	a.Target, a.Hint = nil, true
	for at < end {
		if at+4 > end {
			return ErrNotDNS
		}
		key, n := u16(b[at:]), u16(b[at+2:])
		at += 4
		if at+n > end {
			return ErrNotDNS
		}
		v := b[at : at+n]
		at += n
		size := 0
		switch key {
		case 4: // ipv4hint
			size = 4
		case 6: // ipv6hint
			size = 16
		default:
			continue
		}
		if n%size != 0 {
			return ErrNotDNS
		}
		for ; len(v) > 0; v = v[size:] {
			if len(m.Answers) >= MaxAnswers {
				m.Partial = true
				return nil
			}
			a.Addr, _ = netip.AddrFromSlice(v[:size])
			m.Answers = append(m.Answers, a)
		}
	}
	return nil
}

// name reads the name at b[at] into the arena and returns the place behind it.
// A compression pointer (RFC 1035 §4.1.4) must point before the labels that led
// to it, so that reading ends.
func (m *DNSMessage) name(b []byte, at int) (name []byte, next int, err error) {
	from := len(m.arena)
	next, bound, wireLen := -1, at, 0
	for {
		if at >= len(b) {
			return nil, 0, ErrIncomplete
		}
		n := int(b[at])
		switch n & 0xc0 {
		case 0xc0:
			if at+2 > len(b) {
				return nil, 0, ErrIncomplete
			}
			to := u16(b[at:]) & 0x3fff
			if next < 0 {
				next = at + 2
			}
			if to >= bound || to < 12 {
				return nil, 0, ErrNotDNS
			}
			at, bound = to, to
			continue
		case 0x40, 0x80: // reserved, RFC 6891 §5
			return nil, 0, ErrNotDNS
		}
		at++
		if wireLen += n + 1; wireLen > 255 {
			return nil, 0, ErrNotDNS
		}
		if n == 0 {
			break
		}
		if at+n > len(b) {
			return nil, 0, ErrIncomplete
		}
		if len(m.arena) > from {
			m.arena = append(m.arena, '.')
		}
		m.arena = appendLabel(m.arena, b[at:at+n])
		at += n
	}
	if next < 0 {
		next = at
	}
	if len(m.arena) == from {
		m.arena = append(m.arena, '.')
	}
	return m.arena[from:len(m.arena):len(m.arena)], next, nil
}

func appendLabel(out, label []byte) []byte {
	for _, c := range label {
		switch {
		case c >= 'A' && c <= 'Z':
			out = append(out, c+'a'-'A')
		case c == '.' || c == '\\':
			out = append(out, '\\', c)
		case c <= ' ' || c >= 0x7f:
			out = append(out, '\\', '0'+c/100, '0'+c/10%10, '0'+c%10)
		default:
			out = append(out, c)
		}
	}
	return out
}
