package event

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
)

var kindByName = func() map[string]Kind {
	m := make(map[string]Kind, kindCount)
	for k, name := range kindNames {
		m[name] = Kind(k)
	}
	return m
}()

var opByName = func() map[string]Op {
	m := make(map[string]Op, opCount)
	for o, name := range opNames {
		if name != "" {
			m[name] = Op(o)
		}
	}
	return m
}()

var viaByName = func() map[string]Via {
	m := make(map[string]Via, viaCount)
	for v, name := range viaNames {
		m[name] = Via(v)
	}
	return m
}()

// accessWords and imageWords name the bits of Access and Image, lowest first.
var (
	accessWords = []string{"read", "write", "create", "truncate", "append"}
	imageWords  = []string{"memfd", "deleted", "script"}
)

// word returns the protocol's name, or "" where it has none.
func (p Proto) word() string {
	switch p {
	case ProtoICMP:
		return "icmp"
	case ProtoTCP:
		return "tcp"
	case ProtoUDP:
		return "udp"
	case ProtoICMPv6:
		return "icmpv6"
	case ProtoRaw:
		return "raw"
	case ProtoPacket:
		return "packet"
	}
	return ""
}

// String returns what stands in the log: a name, or else the decimal number.
func (p Proto) String() string {
	if w := p.word(); w != "" {
		return w
	}
	return strconv.Itoa(int(p))
}

// parseProto is the reverse of Proto.String; ok is false for anything that
// String does not give.
func parseProto(s string) (p Proto, ok bool) {
	for _, p := range []Proto{ProtoTCP, ProtoUDP, ProtoICMP, ProtoICMPv6, ProtoRaw, ProtoPacket} {
		if s == p.word() {
			return p, true
		}
	}
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || Proto(n).String() != s {
		return 0, false
	}
	return Proto(n), true
}

// String returns the words of the set bits, joined by commas.
func (a Access) String() string { return bitWords(uint8(a), accessWords) }

// String returns the words of the set bits, joined by commas.
func (i Image) String() string { return bitWords(uint8(i), imageWords) }

func bitWords(bits uint8, words []string) string {
	var set []string
	for i, w := range words {
		if bits&(1<<i) != 0 {
			set = append(set, w)
		}
	}
	return strings.Join(set, ",")
}

// Compare orders actors by start time, process id and image, so that a parent
// comes before its children and an image before the next one. The result is as
// of [cmp.Compare].
func (a Actor) Compare(b Actor) int {
	return cmp.Or(cmp.Compare(a.Start, b.Start), cmp.Compare(a.PID, b.PID), cmp.Compare(a.Image, b.Image))
}

// String returns pid@start.image, with image left out where it is 0, as
// [ParseActor] reads it.
func (a Actor) String() string {
	b := make([]byte, 0, 48)
	b = strconv.AppendUint(b, uint64(a.PID), 10)
	b = append(b, '@')
	b = strconv.AppendInt(b, a.Start, 10)
	if a.Image != 0 {
		b = append(b, '.')
		b = strconv.AppendUint(b, uint64(a.Image), 10)
	}
	return string(b)
}

// ParseActor reads what Actor.String gives.
func ParseActor(s string) (Actor, error) {
	pid, rest, ok := strings.Cut(s, "@")
	start, image, hasImage := strings.Cut(rest, ".")
	if !hasImage {
		image = "0"
	}
	p, errPID := strconv.ParseUint(pid, 10, 32)
	t, errStart := strconv.ParseInt(start, 10, 64)
	i, errImage := strconv.ParseUint(image, 10, 32)
	if !ok || errPID != nil || errStart != nil || errImage != nil {
		return Actor{}, fmt.Errorf("actor %.64q: write it as pid@start or pid@start.image, such as 4711@81020301234.1", s)
	}
	return Actor{PID: uint32(p), Start: t, Image: uint32(i)}, nil
}
