package monitor

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"

	"golang.org/x/sys/unix"

	"github.com/org/edamame-posture/pkg/evidence"
	"github.com/org/edamame-posture/pkg/judge"
	"github.com/org/edamame-posture/pkg/signature"
)

// ProtocolVersion is the version of the control protocol. A client and a
// monitor of different versions do not speak.
const ProtocolVersion = 1

// maxMessage bounds one message in bytes. The largest is an intent.
const maxMessage = 2 << 20

// Request is what a client asks. Op says what; the member of the same name
// holds its arguments.
type Request struct {
	Op      string   `json:"op"`           // hello, open, watched, memory, status, follow, attach, shown, kept, newest, dated, disclosed, ring, close, discard; of a service: job, jobs
	ID      uint64   `json:"id,omitempty"` // comes back in the answer
	Version int      `json:"version,omitempty"`
	Open    *Opening `json:"open,omitempty"`
	Close   *Closing `json:"close,omitempty"`

	Disclosed *Disclosed `json:"disclosed,omitempty"`
	Attach    *Attached  `json:"attach,omitempty"`
	Kept      *Kept      `json:"kept,omitempty"`
	Dated     *Dated     `json:"dated,omitempty"`

	Parent uint32 `json:"parent,omitempty"` // of watched
	Ring   string `json:"ring,omitempty"`   // what [Opened.Ring] was
	// Declared says, in a second ring, that Intent is what the policy of
	// [Response.Later] means, resolved; empty where it means nothing.
	Declared bool   `json:"declared,omitempty"`
	Intent   []byte `json:"intent,omitempty"`
}

// Attached is a file that goes beside the log: what others say of the
// commitment. The log names its hash.
type Attached struct {
	Name string `json:"name"` // evidence.StartTokenFile and the like
	Data []byte `json:"data"`
}

// Disclosed tells of a secret that the command printed. Who reads the output
// tells it: the value stays there.
type Disclosed struct {
	Name string `json:"name"` // what the secret is called
	Form string `json:"form"` // as [steplog.Form] has it
	Line int64  `json:"line"` // of the output, from 1
}

// Opening asks for a recording of what the client's own process starts from
// now on. Which process that is, the kernel says (SO_PEERCRED), not the client.
type Opening struct {
	Command []string `json:"command"`
	Cwd     string   `json:"cwd"`
	Home    string   `json:"home"`
	Job     string   `json:"job,omitempty"`
	// Intent is the canonical form of the resolved intent; empty for none.
	Intent []byte `json:"intent,omitempty"`
	// Indicators are those of the caller's own lists, as [indicator.Set.Canonical]
	// has them; empty for none.
	Indicators json.RawMessage `json:"indicators,omitempty"`
	// Signatures are rules of the caller's own, besides ours; nil for none.
	Signatures *signature.Own `json:"signatures,omitempty"`
	// PolicyFile is where the intent was read, and PolicySHA256 what stood there,
	// in hexadecimal; both empty for none. A change until the end is told: what
	// was read at the start counts.
	PolicyFile   string `json:"policy_file,omitempty"`
	PolicySHA256 string `json:"policy_sha256,omitempty"`
	// Later is the file of a policy that a checkout brings, where there is no
	// intent yet. It counts as the job first had it; empty for none.
	Later string `json:"later,omitempty"`
	// Claims say which job it is, where somebody else can know of it; nil else.
	Claims *evidence.Claims `json:"claims,omitempty"`
	// Witnessed says that the client shows the log to a witness as it grows.
	Witnessed bool `json:"witnessed,omitempty"`
	// Scanned says that the client reads the command's output and tells of secrets in it.
	Scanned bool `json:"scanned,omitempty"`
	// found is told of each finding.
	found func(*judge.Finding)
	// uid is the caller's.
	uid uint32
	// runs is what the run's id begins with, before the recording's own.
	runs string
	// Host asks for everything on the machine, not the lineage alone.
	Host bool `json:"host,omitempty"`
	// Parent names the process whose children are recorded, where that is not
	// the client itself: it must be one of the client's ancestors.
	Parent uint32 `json:"parent,omitempty"`
	// Detach lets the recording outlive the connection.
	Detach bool `json:"detach,omitempty"`
	// Bell says who may end a detached recording; nil for root.
	Bell *Bell `json:"bell,omitempty"`
	// Keys are the values of the variables that the intent names as keys, by name.
	// They stay in the memory of the monitor: the log has their hashes. One that
	// is not set has no value.
	Keys map[string]string `json:"keys,omitempty"`
	// Dating has a detached recording dated as it grows, since nobody stays who
	// could carry the answers; nil for not.
	Dating *Dating `json:"dating,omitempty"`
	// Drop takes the short ways to root from the caller's user; nil for nothing.
	Drop *Drop `json:"drop,omitempty"`
	// Masked are values that must not reach the log in any form.
	Masked []string `json:"masked,omitempty"`
}

// Closing ends the recording of this connection.
type Closing struct {
	// Exit and Signal are what the client's wait gave. The kernel's own exit
	// event counts where there is one.
	Exit   int `json:"exit"`
	Signal int `json:"signal,omitempty"`

	by uint32 // who asks: it and what started it is not left running by the job
}

// Response answers a request.
type Response struct {
	ID      uint64  `json:"id,omitempty"`
	Error   string  `json:"error,omitempty"`
	Version int     `json:"version,omitempty"`
	Opened  *Opened `json:"opened,omitempty"`
	Closed  *Closed `json:"closed,omitempty"`
	Later   *Later  `json:"later,omitempty"` // instead of Closed: ring again, and say what it means
	Status  *Status `json:"status,omitempty"`
	Shown   *Shown  `json:"shown,omitempty"`
	Newest  []byte  `json:"newest,omitempty"` // text of a checkpoint
	Found   *Found  `json:"found,omitempty"`  // to who follows, without being asked each time

	Job  *JobStatus  `json:"job,omitempty"`
	Jobs []JobStatus `json:"jobs,omitempty"`
}

// Found is a finding, told when it is made.
type Found struct {
	Rule     string `json:"rule"`
	Severity string `json:"severity"`
	Title    string `json:"title"`
	Object   string `json:"object,omitempty"`
	Program  string `json:"program,omitempty"`
	Time     int64  `json:"time"` // CLOCK_BOOTTIME of the event that decided it, in nanoseconds
}

// Opened says that the recording runs and a first event would be seen.
type Opened struct {
	ID     string `json:"id"`
	Spool  string `json:"spool"` // the root-owned folder that holds the log while it grows
	Sensor string `json:"sensor"`
	// ArmedNs is how long the monitor took from its own start until armed.
	ArmedNs int64 `json:"armed_ns"`
	// Commitment is what was committed to, byte by byte, and Checkpoint the first
	// checkpoint, which its key has signed.
	Commitment []byte `json:"commitment"`
	Checkpoint string `json:"checkpoint"`
	// Ring is what must be said to end a recording that has a [Bell].
	Ring string `json:"ring,omitempty"`
	// NotDropped says which of the ways to root that [Opening.Drop] names the
	// caller's user has still; empty for none.
	NotDropped string `json:"not_dropped,omitempty"`
}

// Closed says where the sealed recording lies. The folder then belongs to the
// caller's uid.
type Closed struct {
	Spool string `json:"spool"`
	// Verdict is the word that the judge came to. It stands in the answer
	// because the file beside the log is the caller's by now.
	Verdict string `json:"verdict"`
}

// Status is a look at the recording while it runs.
type Status struct {
	Processes    int    `json:"processes"` // living
	Events       uint64 `json:"events"`
	Lost         uint64 `json:"lost"`
	Destinations int    `json:"destinations"`
	Findings     int    `json:"findings"`
}

// conn carries messages, one JSON object a line.
type conn struct {
	c      *net.UnixConn
	r      *bufio.Reader
	rights *rights // what came with the messages; nil where nothing is taken
}

func newConn(c *net.UnixConn) *conn { return &conn{c: c, r: bufio.NewReaderSize(c, 4096)} }

// newTaker returns the client's end, which takes the descriptors that a
// monitor sends. The other end's are let go by the kernel.
func newTaker(c *net.UnixConn) *conn {
	in := &rights{c: c}
	return &conn{c: c, r: bufio.NewReaderSize(in, 4096), rights: in}
}

// rights reads a stream and keeps the descriptors that come with it: unix(7),
// SCM_RIGHTS.
type rights struct {
	c   *net.UnixConn
	fds []int
	oob [64]byte
}

// Read is that of the stream.
func (r *rights) Read(b []byte) (int, error) {
	n, oobn, _, _, err := r.c.ReadMsgUnix(b, r.oob[:])
	if oobn > 0 {
		messages, perr := unix.ParseSocketControlMessage(r.oob[:oobn])
		for i := range messages {
			if fds, rerr := unix.ParseUnixRights(&messages[i]); rerr == nil {
				r.fds = append(r.fds, fds...)
			}
		}
		if err == nil && perr != nil {
			err = fmt.Errorf("what came with the message: %w", perr)
		}
	}
	return max(n, 0), err // -1 where the other side was killed before it had read all
}

// take returns the descriptors that came since. They are the caller's to close.
func (r *rights) take() []int {
	fds := r.fds
	r.fds = nil
	return fds
}

func (c *conn) write(v any) error { return c.writeWith(v) }

// writeWith is write, with descriptors.
func (c *conn) writeWith(v any, fds ...int) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if len(b) >= maxMessage {
		return fmt.Errorf("message of %d bytes is over the limit of %d", len(b), maxMessage)
	}
	b = append(b, '\n')
	if len(fds) == 0 {
		_, err = c.c.Write(b)
		return err
	}
	n, _, err := c.c.WriteMsgUnix(b, unix.UnixRights(fds...), nil)
	if err == nil && n < len(b) {
		_, err = c.c.Write(b[n:])
	}
	return err
}

func (c *conn) read(v any) error {
	var line []byte
	for {
		part, err := c.r.ReadSlice('\n')
		line = append(line, part...)
		if err == nil {
			break
		}
		if len(line) > maxMessage {
			return fmt.Errorf("message over the limit of %d bytes", maxMessage)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			if errors.Is(err, io.EOF) && len(line) > 0 {
				return io.ErrUnexpectedEOF
			}
			return err
		}
	}
	return json.Unmarshal(line, v)
}

// peer returns who is at the other end, as the kernel says: unix(7), SO_PEERCRED.
func (c *conn) peer() (*unix.Ucred, error) {
	raw, err := c.c.SyscallConn()
	if err != nil {
		return nil, err
	}
	var cred *unix.Ucred
	var sockErr error
	err = raw.Control(func(fd uintptr) {
		cred, sockErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err == nil {
		err = sockErr
	}
	return cred, err
}
