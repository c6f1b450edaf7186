package event

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/org/edamame-posture/pkg/redact"
)

// MaxLine is the greatest length of a line in bytes, without its newline.
const MaxLine = 1 << 20

// MaxDepth is how deep the value of an unknown member may be nested.
const MaxDepth = 32

// UnmarshalJSON is Decode.
func (e *Event) UnmarshalJSON(b []byte) error { return Decode(b, e) }

// Decode reads one line of a log into e, whose slices' memory is used again.
// It takes white space around values and members in any order, and refuses
// what docs/evidence-format.md §4 says; e is then partly filled. Nothing of
// line is kept.
//
// An error names the byte of the line, counted from 1.
func Decode(line []byte, e *Event) error {
	e.Reset()
	if len(line) > MaxLine {
		return fmt.Errorf("line of %d bytes: the format allows %d", len(line), MaxLine)
	}
	if !utf8.Valid(line) {
		return errors.New("line is not valid UTF-8")
	}
	d := decoder{b: line, e: e}
	if err := d.line(); err != nil {
		return fmt.Errorf("byte %d: %w", min(d.i, len(line))+1, err)
	}
	return nil
}

var (
	errEnd       = errors.New("the line ends too early")
	errInt       = errors.New("want an integer")
	errRange     = errors.New("integer out of range")
	errString    = errors.New("want a string")
	errEscape    = errors.New("bad escape in a string")
	errControl   = errors.New("control character in a string")
	errBool      = errors.New("want true or false")
	errList      = errors.New("want an array")
	errObject    = errors.New("want an object")
	errNext      = errors.New("want a comma or the end")
	errColon     = errors.New("want a colon")
	errAfter     = errors.New("something stands after the object")
	errRequired  = errors.New("seq, time or kind is missing")
	errDuplicate = errors.New("a member stands twice")
	errKind      = errors.New("the kind is empty")
	errInner     = errors.New("unknown member in an inner object")
	errValue     = errors.New("not a JSON value")
	errDepth     = fmt.Errorf("nested deeper than %d", MaxDepth)
	errAddr      = errors.New("want an address without a zone")

	// errWord makes the whole member an unknown one.
	errWord = errors.New("unknown word")
)

// decoder reads one line. i is the next byte.
type decoder struct {
	b    []byte
	i    int
	e    *Event
	seen [memberCount]bool
	next member // where the search for the next name begins
}

func (d *decoder) line() error {
	d.space()
	if d.peek() != '{' {
		return errObject
	}
	d.i++
	d.space()
	for first := true; d.peek() != '}'; first = false {
		if err := d.separator(first); err != nil {
			return err
		}
		raw, err := d.quoted()
		if err != nil {
			return err
		}
		if err := d.colon(); err != nil {
			return err
		}
		m, ok := d.lookup(raw)
		if !ok {
			name, err := unquote(raw)
			if err != nil {
				return err
			}
			// A name may be written with escapes, and be a known one after all.
			if m, ok = memberByName[name]; !ok {
				if err := d.extra(name); err != nil {
					return err
				}
				d.space()
				continue
			}
		}
		if d.seen[m] {
			return errDuplicate
		}
		d.seen[m] = true
		at := d.i
		err = d.member(m)
		if err == errWord {
			d.i = at
			err = d.extra(memberNames[m])
		}
		if err != nil {
			return fmt.Errorf("%s: %w", memberNames[m], err)
		}
		d.space()
	}
	d.i++
	d.space()
	if d.i != len(d.b) {
		return errAfter
	}
	if !d.seen[mSeq] || !d.seen[mTime] || !d.seen[mKind] {
		return errRequired
	}
	extra := d.e.Extra
	slices.SortFunc(extra, func(a, b Member) int { return strings.Compare(a.Name, b.Name) })
	for i := 1; i < len(extra); i++ {
		if extra[i].Name == extra[i-1].Name {
			return errDuplicate
		}
	}
	return nil
}

// lookup finds a known member. The writer's order makes it the next name or
// one soon after.
func (d *decoder) lookup(raw []byte) (member, bool) {
	name := raw[1 : len(raw)-1]
	for m := d.next; m < memberCount; m++ {
		if string(name) == memberNames[m] {
			d.next = m + 1
			return m, true
		}
	}
	m, ok := memberByName[string(name)]
	return m, ok
}

func (d *decoder) member(m member) (err error) {
	e := d.e
	switch m {
	case mSeq:
		e.Seq, err = d.uint(math.MaxUint64)
	case mTime:
		e.Time, err = d.int()
	case mKind:
		err = d.kind()
	case mActor:
		e.Actor, err = d.actor()
	case mVia:
		var raw []byte
		if raw, err = d.quoted(); err == nil {
			v, ok := viaByName[string(inside(raw))]
			if !ok {
				return errWord
			}
			e.Via = v
		}
	case mParent:
		e.Parent, err = d.actor()
	case mExe:
		err = d.text(&e.Exe)
	case mFilename:
		err = d.text(&e.Filename)
	case mInterp:
		err = d.text(&e.Interp)
	case mArgv:
		return d.list(func() error {
			e.Argv = append(e.Argv, redact.Text{})
			return d.text(&e.Argv[len(e.Argv)-1])
		})
	case mArgvBytes:
		e.ArgvBytes, err = d.plainInt()
	case mArgvCut:
		e.ArgvCut, err = d.bool()
	case mCwd:
		err = d.text(&e.Cwd)
	case mEnv:
		return d.list(func() error {
			e.Env = append(e.Env, Var{})
			v := &e.Env[len(e.Env)-1]
			return d.object(varMembers, func(i int) error {
				if i == 0 {
					return d.text(&v.Name)
				}
				return d.text(&v.Value)
			})
		})
	case mUID:
		e.UID, err = d.uint32()
	case mGID:
		e.GID, err = d.uint32()
	case mCgroup:
		e.Cgroup, err = d.uint(math.MaxUint64)
	case mContainer:
		err = d.text(&e.Container)
	case mNS:
		return d.object(nsMembers, func(i int) (err error) {
			v, err := d.uint32()
			*[...]*uint32{&e.NS.Mount, &e.NS.Net, &e.NS.PID, &e.NS.User}[i] = v
			return err
		})
	case mImage:
		var bits uint8
		bits, err = d.bits(imageWords)
		e.Image = Image(bits)
	case mSession:
		e.Session, err = d.uint32()
	case mCode:
		e.Code, err = d.plainInt()
	case mSignal:
		e.Signal, err = d.plainInt()
	case mTarget:
		e.Target, err = d.actor()
	case mOp:
		var raw []byte
		if raw, err = d.quoted(); err == nil {
			o, ok := opByName[string(inside(raw))]
			if !ok {
				return errWord
			}
			e.Op = o
		}

	case mProto:
		var raw []byte
		if raw, err = d.quoted(); err == nil {
			p, ok := parseProto(string(inside(raw)))
			if !ok {
				return errWord
			}
			e.Proto = p
		}
	case mSrc:
		e.Src, err = d.addrPort()
	case mDst:
		e.Dst, err = d.addrPort()
	case mSock:
		e.Sock, err = d.uint(math.MaxUint64)
	case mSent:
		e.Sent, err = d.uint(math.MaxUint64)
	case mReceived:
		e.Received, err = d.uint(math.MaxUint64)
	case mCount:
		e.Count, err = d.uint(math.MaxUint64)
	case mErr:
		e.Err, err = d.plainInt()
	case mOK:
		e.OK, err = d.bool()

	case mName:
		err = d.text(&e.Name)
	case mQType:
		e.QType, err = d.uint16()
	case mRCode:
		var v uint64
		v, err = d.uint(math.MaxUint8)
		e.RCode = uint8(v)
	case mAnswers:
		return d.list(d.answer)
	case mMethod:
		err = d.text(&e.Method)

	case mPath:
		err = d.text(&e.Path)
	case mNewPath:
		err = d.text(&e.NewPath)
	case mFile:
		return d.object(fileMembers, func(i int) (err error) {
			v, err := d.uint(math.MaxUint64)
			*[...]*uint64{&e.File.Dev, &e.File.Inode}[i] = v
			return err
		})
	case mAccess:
		var bits uint8
		bits, err = d.bits(accessWords)
		e.Access = Access(bits)
	case mMode:
		e.Mode, err = d.uint32()
	case mClass:
		err = d.text(&e.Class)

	case mVersion:
		e.Version, err = d.plainInt()
	case mBoot:
		err = d.text(&e.Boot)
	case mWall:
		e.Wall, err = d.int()
	case mStep:
		e.Step, err = d.int()
	case mHost:
		err = d.text(&e.Host)
	case mJob:
		err = d.text(&e.Job)
	case mTool:
		err = d.text(&e.Tool)
	case mSensor:
		err = d.text(&e.Sensor)
	case mDetail:
		err = d.text(&e.Detail)
	case mFrom:
		e.From, err = d.int()
	case mTo:
		e.To, err = d.int()
	case mLost:
		e.Lost, err = d.uint(math.MaxUint64)
	case mCounts:
		return d.list(func() error {
			e.Counts = append(e.Counts, Count{})
			c := &e.Counts[len(e.Counts)-1]
			return d.object(countMembers, func(i int) (err error) {
				switch i {
				case 0:
					err = d.text(&c.What)
				case 1:
					c.EBPF, err = d.uint(math.MaxUint64)
				case 2:
					c.Netlink, err = d.uint(math.MaxUint64)
				}
				return err
			})
		})
	case mSurvivors:
		return d.list(func() error {
			e.Survivors = append(e.Survivors, Survivor{})
			s := &e.Survivors[len(e.Survivors)-1]
			return d.object(survivorMembers, func(i int) (err error) {
				if i == 0 {
					s.Actor, err = d.actor()
					return err
				}
				return d.text(&s.Exe)
			})
		})
	case mSecrets:
		return d.list(d.secret)
	case mContainerImage:
		err = d.text(&e.ContainerImage)
	case mCTime:
		e.CTime, err = d.int()
	case mSHA256:
		var raw []byte
		if raw, err = d.quoted(); err == nil {
			e.SHA256, err = ParseSHA256(string(inside(raw)))
		}
	case mSize:
		e.Size, err = d.uint(math.MaxUint64)
	case mStepAction:
		err = d.text(&e.StepAction)
	case mStepID:
		err = d.text(&e.StepID)
	case mStepName:
		err = d.text(&e.StepName)
	case mTLS:
		e.TLS, err = d.bool()
	case mToolAgent:
		err = d.text(&e.ToolAgent)
	case mToolCall:
		err = d.text(&e.ToolCall)
	case mToolSession:
		err = d.text(&e.ToolSession)
	case mToolText:
		err = d.text(&e.ToolText)
	}
	return err
}

func (d *decoder) kind() error {
	at := d.i
	raw, err := d.quoted()
	if err != nil {
		return err
	}
	if k, ok := kindByName[string(inside(raw))]; ok {
		d.e.Kind = k
		return nil
	}
	d.i = at
	if err := d.text(&d.e.KindName); err != nil {
		return err
	}
	// A word may be written with escapes, and be a known one after all.
	if k, ok := kindByName[d.e.KindName.String()]; ok {
		d.e.Kind, d.e.KindName = k, redact.Text{}
	} else if d.e.KindName.IsZero() {
		return errKind
	}
	return nil
}

func (d *decoder) actor() (Actor, error) {
	var a Actor
	err := d.object(actorMembers, func(i int) (err error) {
		switch i {
		case 0:
			a.PID, err = d.uint32()
		case 1:
			a.Start, err = d.int()
		case 2:
			a.Image, err = d.uint32()
		}
		return err
	})
	return a, err
}

func (d *decoder) answer() error {
	d.e.Answers = append(d.e.Answers, Answer{})
	a := &d.e.Answers[len(d.e.Answers)-1]
	return d.object(answerMembers, func(i int) (err error) {
		switch i {
		case 0:
			err = d.text(&a.Name)
		case 1:
			a.Type, err = d.uint16()
		case 2:
			var raw []byte
			if raw, err = d.quoted(); err != nil {
				return err
			}
			if a.Addr, err = netip.ParseAddr(string(inside(raw))); err != nil || a.Addr.Zone() != "" {
				return errAddr
			}
		case 3:
			err = d.text(&a.Target)
		case 4:
			a.TTL, err = d.uint32()
		}
		return err
	})
}

func (d *decoder) secret() error {
	d.e.Secrets = append(d.e.Secrets, Secret{})
	s := &d.e.Secrets[len(d.e.Secrets)-1]
	return d.object(secretMembers, func(i int) (err error) {
		switch i {
		case 0:
			err = d.text(&s.Field)
		case 1:
			s.Index, err = d.plainInt()
		case 2:
			err = d.text(&s.Pattern)
		case 3:
			s.Length, err = d.plainInt()
		case 4:
			s.Layers, err = d.plainInt()
		case 5:
			err = d.text(&s.Hash)
		}
		return err
	})
}

// bits reads an array of words. An unknown word gives errWord, and no bit.
func (d *decoder) bits(words []string) (uint8, error) {
	var bits uint8
	err := d.list(func() error {
		raw, err := d.quoted()
		if err != nil {
			return err
		}
		for i, w := range words {
			if string(inside(raw)) == w {
				bits |= 1 << i
				return nil
			}
		}
		return errWord
	})
	if err != nil {
		return 0, err
	}
	return bits, nil
}

func (d *decoder) addrPort() (netip.AddrPort, error) {
	raw, err := d.quoted()
	if err != nil {
		return netip.AddrPort{}, err
	}
	a, err := netip.ParseAddrPort(string(inside(raw)))
	if err != nil || a.Addr().Zone() != "" {
		return netip.AddrPort{}, errAddr
	}
	return a, nil
}

func (d *decoder) text(t *redact.Text) error {
	raw, err := d.quoted()
	if err != nil {
		return err
	}
	return t.UnmarshalJSON(raw)
}

// extra keeps the value that comes next under name.
func (d *decoder) extra(name string) error {
	at := d.i
	if err := d.skip(0); err != nil {
		return err
	}
	var value bytes.Buffer
	if err := json.Compact(&value, d.b[at:d.i]); err != nil {
		return errValue
	}
	d.e.Extra = append(d.e.Extra, Member{Name: name, Value: value.Bytes()})
	return nil
}

// skip passes over one value, whose grammar json.Compact checks: it only has
// to find the end.
func (d *decoder) skip(depth int) error {
	switch c := d.peek(); c {
	case '"':
		_, err := d.quoted()
		return err
	case '{', '[':
		if depth == MaxDepth {
			return errDepth
		}
		d.i++
		for {
			switch d.peek() {
			case '}', ']':
				d.i++
				return nil
			case ',', ':', ' ', '\t', '\n', '\r':
				d.i++
			default:
				if err := d.skip(depth + 1); err != nil {
					return err
				}
			}
		}
	case 0:
		return errEnd
	}
	at := d.i
	for d.i < len(d.b) && !strings.ContainsRune(",:{}[]\" \t\n\r", rune(d.b[d.i])) {
		d.i++
	}
	if d.i == at {
		return errValue
	}
	return nil
}

// list reads an array; each reads one element.
func (d *decoder) list(each func() error) error {
	if d.peek() != '[' {
		return errList
	}
	d.i++
	d.space()
	for first := true; d.peek() != ']'; first = false {
		if err := d.separator(first); err != nil {
			return err
		}
		if err := each(); err != nil {
			return err
		}
		d.space()
	}
	d.i++
	return nil
}

// object reads an inner object; each reads the value of names[i].
func (d *decoder) object(names []string, each func(i int) error) error {
	if d.peek() != '{' {
		return errObject
	}
	d.i++
	d.space()
	seen := 0
	for first := true; d.peek() != '}'; first = false {
		if err := d.separator(first); err != nil {
			return err
		}
		raw, err := d.quoted()
		if err != nil {
			return err
		}
		if err := d.colon(); err != nil {
			return err
		}
		i := 0
		for i < len(names) && string(inside(raw)) != names[i] {
			i++
		}
		if i == len(names) {
			return errInner
		}
		if seen&(1<<i) != 0 {
			return errDuplicate
		}
		seen |= 1 << i
		if err := each(i); err != nil {
			return err
		}
		d.space()
	}
	d.i++
	return nil
}

// separator passes over the comma before every element but the first.
func (d *decoder) separator(first bool) error {
	if first {
		return nil
	}
	switch d.peek() {
	case ',':
		d.i++
		d.space()
		return nil
	case 0:
		return errEnd
	}
	return errNext
}

func (d *decoder) colon() error {
	d.space()
	if d.peek() != ':' {
		return errColon
	}
	d.i++
	d.space()
	return nil
}

func (d *decoder) space() {
	for d.i < len(d.b) {
		switch d.b[d.i] {
		case ' ', '\t', '\n', '\r':
			d.i++
		default:
			return
		}
	}
}

// peek returns the next byte, or 0 at the end.
func (d *decoder) peek() byte {
	if d.i < len(d.b) {
		return d.b[d.i]
	}
	return 0
}

// quoted returns the string that comes next with its quotes, checked to be a
// JSON string.
func (d *decoder) quoted() ([]byte, error) {
	if d.peek() != '"' {
		return nil, errString
	}
	at := d.i
	for d.i++; d.i < len(d.b); d.i++ {
		switch c := d.b[d.i]; {
		case c == '"':
			d.i++
			return d.b[at:d.i], nil
		case c < 0x20:
			return nil, errControl
		case c == '\\':
			d.i++
			switch d.peek() {
			case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
			case 'u':
				for range 4 {
					d.i++
					switch c := d.peek(); {
					case '0' <= c && c <= '9', 'a' <= c && c <= 'f', 'A' <= c && c <= 'F':
					default:
						return nil, errEscape
					}
				}
			default:
				return nil, errEscape
			}
		}
	}
	return nil, errEnd
}

// inside takes the quotes off. Words hold no escapes, so they are compared as
// they stand.
func inside(quoted []byte) []byte { return quoted[1 : len(quoted)-1] }

func unquote(quoted []byte) (string, error) {
	if bytes.IndexByte(quoted, '\\') < 0 {
		return string(inside(quoted)), nil
	}
	var s string
	err := json.Unmarshal(quoted, &s)
	return s, err
}

func (d *decoder) bool() (bool, error) {
	rest := d.b[d.i:]
	switch {
	case bytes.HasPrefix(rest, []byte("true")):
		d.i += len("true")
		return true, nil
	case bytes.HasPrefix(rest, []byte("false")):
		d.i += len("false")
		return false, nil
	}
	return false, errBool
}

// uint reads an integer from 0 to limit.
func (d *decoder) uint(limit uint64) (uint64, error) {
	at := d.i
	var v uint64
	for d.i < len(d.b) && '0' <= d.b[d.i] && d.b[d.i] <= '9' {
		digit := uint64(d.b[d.i] - '0')
		if v > (math.MaxUint64-digit)/10 {
			return 0, errRange
		}
		v = v*10 + digit
		d.i++
	}
	switch c := d.peek(); {
	case d.i == at, c == '.', c == 'e', c == 'E':
		return 0, errInt
	case d.b[at] == '0' && d.i > at+1:
		return 0, errInt
	case v > limit:
		return 0, errRange
	}
	return v, nil
}

func (d *decoder) int() (int64, error) {
	if d.peek() != '-' {
		v, err := d.uint(math.MaxInt64)
		return int64(v), err
	}
	d.i++
	v, err := d.uint(1 << 63)
	if err == nil && v == 0 {
		return 0, errInt
	}
	return -int64(v), err
}

// plainInt reads an int, which has 32 bits on some machines.
func (d *decoder) plainInt() (int, error) {
	v, err := d.int()
	if err == nil && int64(int(v)) != v {
		return 0, errRange
	}
	return int(v), err
}

func (d *decoder) uint32() (uint32, error) {
	v, err := d.uint(math.MaxUint32)
	return uint32(v), err
}

func (d *decoder) uint16() (uint16, error) {
	v, err := d.uint(math.MaxUint16)
	return uint16(v), err
}
