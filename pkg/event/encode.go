package event

import (
	"net/netip"
	"strconv"
	"unicode/utf8"

	"github.com/org/edamame-posture/pkg/redact"
)

// AppendJSON appends the event's line, without a newline, and returns the
// extended slice. The same event gives the same bytes everywhere, and it
// allocates nothing where b has room.
//
// Where memory is not counted, json.Marshal does too, but it escapes more
// than docs/evidence-format.md says: only AppendJSON gives the bytes that are
// hashed.
func (e *Event) AppendJSON(b []byte) []byte {
	b = append(b, `{"seq":`...)
	b = strconv.AppendUint(b, e.Seq, 10)
	b = append(b, `,"time":`...)
	b = strconv.AppendInt(b, e.Time, 10)
	b = append(b, `,"kind":`...)
	switch {
	case e.Kind == Unknown && !e.KindName.IsZero():
		b = appendString(b, e.KindName.String())
	case e.Kind < kindCount:
		b = appendString(b, kindNames[e.Kind])
	default:
		b = appendString(b, kindNames[Unknown])
	}
	b = actorMember(b, mActor, e.Actor)
	if e.Via != ViaLineage && e.Via < viaCount {
		b = appendString(appendName(b, mVia), viaNames[e.Via])
	}

	b = actorMember(b, mParent, e.Parent)
	b = textMember(b, mExe, e.Exe)
	b = textMember(b, mFilename, e.Filename)
	b = textMember(b, mInterp, e.Interp)
	if len(e.Argv) > 0 {
		b = appendName(b, mArgv)
		for i, a := range e.Argv {
			b = appendString(separate(b, '[', i), a.String())
		}
		b = append(b, ']')
	}
	b = intMember(b, mArgvBytes, int64(e.ArgvBytes))
	b = boolMember(b, mArgvCut, e.ArgvCut)
	b = textMember(b, mCwd, e.Cwd)
	if len(e.Env) > 0 {
		b = appendName(b, mEnv)
		for i, v := range e.Env {
			b = append(separate(b, '[', i), `{"name":`...)
			b = appendString(b, v.Name.String())
			b = append(b, `,"value":`...)
			b = appendString(b, v.Value.String())
			b = append(b, '}')
		}
		b = append(b, ']')
	}
	b = uintMember(b, mUID, uint64(e.UID))
	b = uintMember(b, mGID, uint64(e.GID))
	b = uintMember(b, mCgroup, e.Cgroup)
	b = textMember(b, mContainer, e.Container)
	if e.NS != (Namespaces{}) {
		b = appendNamespaces(appendName(b, mNS), e.NS)
	}
	b = bitsMember(b, mImage, uint8(e.Image), imageWords)
	b = uintMember(b, mSession, uint64(e.Session))
	b = intMember(b, mCode, int64(e.Code))
	b = intMember(b, mSignal, int64(e.Signal))
	b = actorMember(b, mTarget, e.Target)
	if e.Op != OpNone {
		b = appendString(appendName(b, mOp), e.Op.String())
	}

	if e.Proto != ProtoNone {
		b = appendName(b, mProto)
		if w := e.Proto.word(); w != "" {
			b = appendString(b, w)
		} else {
			b = append(b, '"')
			b = strconv.AppendUint(b, uint64(e.Proto), 10)
			b = append(b, '"')
		}
	}
	b = addrMember(b, mSrc, e.Src)
	b = addrMember(b, mDst, e.Dst)
	b = uintMember(b, mSock, e.Sock)
	b = uintMember(b, mSent, e.Sent)
	b = uintMember(b, mReceived, e.Received)
	b = uintMember(b, mCount, e.Count)
	b = intMember(b, mErr, int64(e.Err))
	b = boolMember(b, mOK, e.OK)

	b = textMember(b, mName, e.Name)
	b = uintMember(b, mQType, uint64(e.QType))
	b = uintMember(b, mRCode, uint64(e.RCode))
	if len(e.Answers) > 0 {
		b = appendName(b, mAnswers)
		for i := range e.Answers {
			b = appendAnswer(separate(b, '[', i), &e.Answers[i])
		}
		b = append(b, ']')
	}
	b = textMember(b, mMethod, e.Method)

	b = textMember(b, mPath, e.Path)
	b = textMember(b, mNewPath, e.NewPath)
	if e.File != (FileID{}) {
		b = append(appendName(b, mFile), `{"dev":`...)
		b = strconv.AppendUint(b, e.File.Dev, 10)
		b = append(b, `,"inode":`...)
		b = strconv.AppendUint(b, e.File.Inode, 10)
		b = append(b, '}')
	}
	b = bitsMember(b, mAccess, uint8(e.Access), accessWords)
	b = uintMember(b, mMode, uint64(e.Mode))
	b = textMember(b, mClass, e.Class)

	b = intMember(b, mVersion, int64(e.Version))
	b = textMember(b, mBoot, e.Boot)
	b = intMember(b, mWall, e.Wall)
	b = intMember(b, mStep, e.Step)
	b = textMember(b, mHost, e.Host)
	b = textMember(b, mJob, e.Job)
	b = textMember(b, mTool, e.Tool)
	b = textMember(b, mSensor, e.Sensor)
	b = textMember(b, mDetail, e.Detail)
	b = intMember(b, mFrom, e.From)
	b = intMember(b, mTo, e.To)
	b = uintMember(b, mLost, e.Lost)
	if len(e.Counts) > 0 {
		b = appendName(b, mCounts)
		for i, c := range e.Counts {
			b = append(separate(b, '[', i), `{"what":`...)
			b = appendString(b, c.What.String())
			b = append(b, `,"ebpf":`...)
			b = strconv.AppendUint(b, c.EBPF, 10)
			b = append(b, `,"netlink":`...)
			b = strconv.AppendUint(b, c.Netlink, 10)
			b = append(b, '}')
		}
		b = append(b, ']')
	}
	if len(e.Survivors) > 0 {
		b = appendName(b, mSurvivors)
		for i, s := range e.Survivors {
			b = append(separate(b, '[', i), `{"actor":`...)
			b = appendActor(b, s.Actor)
			if !s.Exe.IsZero() {
				b = append(b, `,"exe":`...)
				b = appendString(b, s.Exe.String())
			}
			b = append(b, '}')
		}
		b = append(b, ']')
	}
	if len(e.Secrets) > 0 {
		b = appendName(b, mSecrets)
		for i := range e.Secrets {
			b = appendSecret(separate(b, '[', i), &e.Secrets[i])
		}
		b = append(b, ']')
	}
	b = textMember(b, mContainerImage, e.ContainerImage)
	b = intMember(b, mCTime, e.CTime)
	if !e.SHA256.IsZero() {
		b = append(appendName(b, mSHA256), '"')
		b = append(e.SHA256.AppendHex(b), '"')
	}
	b = uintMember(b, mSize, e.Size)
	b = textMember(b, mStepAction, e.StepAction)
	b = textMember(b, mStepID, e.StepID)
	b = textMember(b, mStepName, e.StepName)
	b = boolMember(b, mTLS, e.TLS)
	b = textMember(b, mToolAgent, e.ToolAgent)
	b = textMember(b, mToolCall, e.ToolCall)
	b = textMember(b, mToolSession, e.ToolSession)
	b = textMember(b, mToolText, e.ToolText)
	for _, m := range e.Extra {
		b = appendString(append(b, ','), m.Name)
		b = append(append(b, ':'), m.Value...)
	}
	return append(b, '}')
}

// MarshalJSON makes encoding/json write the event as the log does, but for
// the escapes that it adds.
func (e Event) MarshalJSON() ([]byte, error) { return e.AppendJSON(nil), nil }

// separate opens a list before its first element and puts a comma before
// every later one.
func separate(b []byte, open byte, i int) []byte {
	if i == 0 {
		return append(b, open)
	}
	return append(b, ',')
}

func appendName(b []byte, m member) []byte {
	b = append(b, `,"`...)
	b = append(b, memberNames[m]...)
	return append(b, `":`...)
}

func textMember(b []byte, m member, t redact.Text) []byte {
	if t.IsZero() {
		return b
	}
	return appendString(appendName(b, m), t.String())
}

func uintMember(b []byte, m member, v uint64) []byte {
	if v == 0 {
		return b
	}
	return strconv.AppendUint(appendName(b, m), v, 10)
}

func intMember(b []byte, m member, v int64) []byte {
	if v == 0 {
		return b
	}
	return strconv.AppendInt(appendName(b, m), v, 10)
}

func boolMember(b []byte, m member, v bool) []byte {
	if !v {
		return b
	}
	return append(appendName(b, m), "true"...)
}

func actorMember(b []byte, m member, a Actor) []byte {
	if a.IsZero() {
		return b
	}
	return appendActor(appendName(b, m), a)
}

// bitsMember leaves out bits that have no word.
func bitsMember(b []byte, m member, bits uint8, words []string) []byte {
	bits &= 1<<len(words) - 1
	if bits == 0 {
		return b
	}
	b = appendName(b, m)
	n := 0
	for i, w := range words {
		if bits&(1<<i) != 0 {
			b = appendString(separate(b, '[', n), w)
			n++
		}
	}
	return append(b, ']')
}

func addrMember(b []byte, m member, a netip.AddrPort) []byte {
	if !a.Addr().IsValid() {
		return b
	}
	// A zone is an interface's name, which a job can choose, and it is not a
	// redact.Text.
	a = netip.AddrPortFrom(a.Addr().WithZone(""), a.Port())
	b = append(appendName(b, m), '"')
	b = a.AppendTo(b)
	return append(b, '"')
}

func appendActor(b []byte, a Actor) []byte {
	b = append(b, `{"pid":`...)
	b = strconv.AppendUint(b, uint64(a.PID), 10)
	b = append(b, `,"start":`...)
	b = strconv.AppendInt(b, a.Start, 10)
	if a.Image != 0 {
		b = append(b, `,"image":`...)
		b = strconv.AppendUint(b, uint64(a.Image), 10)
	}
	return append(b, '}')
}

func appendNamespaces(b []byte, ns Namespaces) []byte {
	n := 0
	for i, v := range [...]uint32{ns.Mount, ns.Net, ns.PID, ns.User} {
		if v != 0 {
			b = appendString(separate(b, '{', n), nsMembers[i])
			b = strconv.AppendUint(append(b, ':'), uint64(v), 10)
			n++
		}
	}
	return append(b, '}')
}

func appendAnswer(b []byte, a *Answer) []byte {
	b = append(b, `{"name":`...)
	b = appendString(b, a.Name.String())
	b = append(b, `,"type":`...)
	b = strconv.AppendUint(b, uint64(a.Type), 10)
	if a.Addr.IsValid() {
		b = append(b, `,"addr":"`...)
		b = a.Addr.WithZone("").AppendTo(b)
		b = append(b, '"')
	}
	if !a.Target.IsZero() {
		b = append(b, `,"target":`...)
		b = appendString(b, a.Target.String())
	}
	if a.TTL != 0 {
		b = append(b, `,"ttl":`...)
		b = strconv.AppendUint(b, uint64(a.TTL), 10)
	}
	return append(b, '}')
}

func appendSecret(b []byte, s *Secret) []byte {
	b = append(b, `{"field":`...)
	b = appendString(b, s.Field.String())
	if s.Index != 0 {
		b = append(b, `,"index":`...)
		b = strconv.AppendInt(b, int64(s.Index), 10)
	}
	b = append(b, `,"pattern":`...)
	b = appendString(b, s.Pattern.String())
	b = append(b, `,"length":`...)
	b = strconv.AppendInt(b, int64(s.Length), 10)
	if s.Layers != 0 {
		b = append(b, `,"layers":`...)
		b = strconv.AppendInt(b, int64(s.Layers), 10)
	}
	if !s.Hash.IsZero() {
		b = append(b, `,"hash":`...)
		b = appendString(b, s.Hash.String())
	}
	return append(b, '}')
}

const hexDigits = "0123456789abcdef"

// appendString appends s as a JSON string, with the escapes of
// docs/evidence-format.md §1.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	done := 0 // s[:done] was appended
	for i := 0; i < len(s); {
		c := s[i]
		if c >= 0x20 && c < 0x7f && c != '"' && c != '\\' {
			i++
			continue
		}
		r, n := rune(c), 1
		if c >= utf8.RuneSelf {
			r, n = utf8.DecodeRuneInString(s[i:])
			if !(r == utf8.RuneError && n == 1) && !escaped(r) {
				i += n
				continue
			}
		}
		b = append(b, s[done:i]...)
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', c)
		case r == '\b':
			b = append(b, `\b`...)
		case r == '\t':
			b = append(b, `\t`...)
		case r == '\n':
			b = append(b, `\n`...)
		case r == '\f':
			b = append(b, `\f`...)
		case r == '\r':
			b = append(b, `\r`...)
		case r == utf8.RuneError:
			b = utf8.AppendRune(b, r)
		default:
			b = append(b, '\\', 'u', hexDigits[r>>12&0xf], hexDigits[r>>8&0xf], hexDigits[r>>4&0xf], hexDigits[r&0xf])
		}
		i += n
		done = i
	}
	b = append(b, s[done:]...)
	return append(b, '"')
}

// escaped reports whether a character beyond ASCII is escaped: C1 controls,
// which some terminals obey; line and paragraph separators; and the marks
// that turn the direction in which what follows is shown.
func escaped(r rune) bool {
	switch {
	case r <= 0x9f:
		return true
	case r == 0x061c, r == 0x200e, r == 0x200f, r >= 0x2028 && r <= 0x202e, r >= 0x2066 && r <= 0x2069:
		return true
	}
	return false
}
