// Package client hands what a coding agent says in a hook to the monitors of
// this machine. It is all that cmd/edamame-hook is made of, so it takes little
// of the standard library, and never holds an agent up: without a monitor it
// ends at once, and with one after Patience at the latest.
//
// A monitor listens on a socket NUMBER.sock of Folder. The client writes one line
//
//	edamame-hook/1 AGENT LENGTH
//
// and LENGTH bytes of payload as the agent gave it; the monitor answers "ok" or
// "no REASON" in one line. A payload beyond MaxPayload is not sent: LENGTH is 0
// then, and a fourth field says "huge". Who speaks is known by the credentials
// of the connection, never by what is said.
package client

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	// Folder is where monitors listen. It and the one above it must be root's.
	Folder = "/run/edamame-posture/agents"
	// Patience bounds connecting, sending and the answer, over all monitors.
	Patience = 20 * time.Millisecond
	// MaxPayload bounds a payload, in bytes.
	MaxPayload = 1 << 20

	// maxMonitors is how many monitors are told.
	maxMonitors = 8
	// maxNames is how many names of the folder are tried: those of monitors that
	// were killed stay until another one cleans up.
	maxNames = 64
	// inputWithin bounds the wait for an agent that opened a pipe and writes
	// nothing. What an agent takes to write is its own time.
	inputWithin = time.Second
	// lull is how long after a whole payload the end of input is waited for.
	lull = 5 * time.Millisecond
)

// Agents returns the names of all agents, sorted.
func Agents() []string {
	return []string{"claude-code", "codex", "copilot", "cursor", "gemini", "openclaw"}
}

// Known reports whether there is an agent of this name.
func Known(agent string) bool {
	_, ok := Answer(agent)
	return ok
}

// Answer returns what an agent must read on standard output, and whether there is
// one of this name. Gemini CLI takes anything but JSON for a fault of the hook, and
// so does Cursor; an empty object decides nothing.
func Answer(agent string) (answer string, known bool) {
	switch agent {
	case "gemini", "cursor":
		return "{}\n", true
	case "claude-code", "codex", "copilot", "openclaw":
		return "", true
	}
	return "", false
}

// Answers reports whether an agent must read something of its hook.
func Answers(agent string) bool {
	answer, _ := Answer(agent)
	return answer != ""
}

// Main is the whole of the hook: args are the arguments after the program's (or
// the subcommand's) name. It returns when all is done, and there is no error to
// return: an agent would take one for a word on its tool call.
func Main(args []string, stdin, stdout *os.File) { hook(Folder, args, stdin, stdout) }

func hook(folder string, args []string, stdin, stdout *os.File) {
	agent, payload, ok := arguments(args)
	if !ok {
		return
	}
	tell(folder, agent, payload, stdin, Patience)
	if answer, _ := Answer(agent); answer != "" {
		// Not by stdout.Write, which ends the process where nobody reads.
		_, _ = syscall.Write(int(stdout.Fd()), []byte(answer))
	}
}

// arguments reads the command line: an agent, and a payload as the last argument
// where the agent gives it so (Codex's notify).
func arguments(args []string) (agent, payload string, ok bool) {
	if len(args) == 0 || !Known(args[0]) {
		return "", "", false
	}
	if len(args) > 1 {
		payload = args[len(args)-1]
	}
	return args[0], payload, true
}

// tell hands a payload, or what is read from stdin where it is empty, to each
// monitor that listens in a folder.
func tell(folder, agent, payload string, stdin *os.File, patience time.Duration) {
	if !rootsOwn(folder) {
		return
	}
	names := sockets(folder)
	if len(names) == 0 {
		return // nothing is read: agents are used to hooks that do not
	}
	data := []byte(payload)
	if payload == "" {
		data = input(stdin)
	}
	if len(data) == 0 {
		return
	}
	header := "edamame-hook/1 " + agent + " " + strconv.Itoa(len(data)) + "\n"
	if len(data) > MaxPayload {
		data, header = nil, "edamame-hook/1 "+agent+" 0 huge\n"
	}
	deliver(folder, names, append([]byte(header), data...), patience)
}

// rootsOwn reports whether a folder and the one above it belong to root, and
// nobody else can put a socket there.
func rootsOwn(folder string) bool {
	for _, dir := range []string{parent(folder), folder} {
		var st syscall.Stat_t
		if syscall.Lstat(dir, &st) != nil || st.Mode&syscall.S_IFMT != syscall.S_IFDIR || st.Uid != 0 || st.Mode&0o022 != 0 {
			return false
		}
	}
	return true
}

func parent(path string) string { return path[:max(strings.LastIndexByte(path, '/'), 1)] }

// sockets returns the names in a folder that monitors have, those with the
// highest numbers first: a machine that gives out pids anew is rare, a monitor
// that died is not.
func sockets(folder string) []string {
	fd, err := syscall.Open(folder, syscall.O_RDONLY|syscall.O_DIRECTORY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer syscall.Close(fd)
	var all []string
	buf := make([]byte, 8<<10)
	for len(all) < 4*maxNames {
		n, err := syscall.ReadDirent(fd, buf)
		if n <= 0 || err != nil {
			break
		}
		_, _, all = syscall.ParseDirent(buf[:n], -1, all)
	}
	var pids []int
	for _, name := range all {
		number, ok := strings.CutSuffix(name, ".sock")
		if pid, err := strconv.Atoi(number); ok && err == nil && pid > 0 && strconv.Itoa(pid) == number {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	slices.Reverse(pids)
	names := make([]string, 0, maxNames)
	for _, pid := range pids[:min(len(pids), maxNames)] {
		names = append(names, strconv.Itoa(pid)+".sock")
	}
	return names
}

// conn is a connection to a monitor, with what was not sent yet.
type conn struct {
	fd   int
	left []byte
}

// deliver sends a message to the monitors behind names, and waits for each one's
// answer, no longer than patience in all. The patience is for others: what can be
// sent without waiting is sent, however late a busy machine lets us run. All of
// it is done by one thread: a second one would cost more than the whole rest.
func deliver(folder string, names []string, message []byte, patience time.Duration) {
	deadline := time.Now().Add(patience)
	var open []conn
	for _, name := range names {
		if len(open) == maxMonitors {
			break
		}
		if c := (conn{connect(folder+"/"+name, deadline), message}); c.fd >= 0 {
			open = append(open, c)
			open[len(open)-1].send() // who is gone is found out below
		}
	}
	for len(open) > 0 {
		var in, out syscall.FdSet
		highest := 0
		for _, c := range open {
			put(&in, c.fd)
			if len(c.left) > 0 {
				put(&out, c.fd)
			}
			highest = max(highest, c.fd)
		}
		if !wait(highest, &in, &out, time.Until(deadline)) {
			break
		}
		rest := open[:0]
		for _, c := range open {
			if len(c.left) > 0 && has(&out, c.fd) && !c.send() || has(&in, c.fd) && c.answered() {
				syscall.Close(c.fd)
				continue
			}
			rest = append(rest, c)
		}
		open = rest
	}
	for _, c := range open {
		syscall.Close(c.fd)
	}
}

// send sends what can be sent without waiting, and reports whether the monitor
// is there.
func (c *conn) send() bool {
	for len(c.left) > 0 {
		n, err := syscall.Write(c.fd, c.left)
		if err == syscall.EINTR {
			continue
		}
		if n <= 0 || err != nil {
			return err == syscall.EAGAIN
		}
		c.left = c.left[n:]
	}
	return true
}

// answered reports whether the answer, or the end, has come. What the answer is
// changes nothing here. It says that the declaration has its place in the log,
// before the agent begins what it declared.
func (c *conn) answered() bool {
	var answer [256]byte
	n, err := syscall.Read(c.fd, answer[:])
	if err == syscall.EAGAIN || err == syscall.EINTR {
		return false
	}
	return n <= 0 || slices.Contains(answer[:n], '\n')
}

// put and has are for sets of descriptors, which hold those below maxFd.
func put(set *syscall.FdSet, fd int)      { set.Bits[fd/64] |= 1 << (fd % 64) }
func has(set *syscall.FdSet, fd int) bool { return set.Bits[fd/64]&(1<<(fd%64)) != 0 }

const maxFd = 1024

// wait waits until one of the descriptors, of which the highest is fd, can be
// read or written. It reports false when the time is over.
func wait(fd int, in, out *syscall.FdSet, within time.Duration) bool {
	end := time.Now().Add(within)
	for {
		left := syscall.NsecToTimeval(max(0, time.Until(end)).Nanoseconds())
		rest, room := *in, *out // select writes into them also where it was interrupted
		n, err := syscall.Select(fd+1, &rest, &room, nil, &left)
		if err == syscall.EINTR {
			continue
		}
		*in, *out = rest, room
		return err == nil && n > 0
	}
}

// connect returns a connection to a socket, -1 where nobody listens. The kernel
// says EAGAIN at once where the monitor's queue is full.
func connect(path string, deadline time.Time) int {
	for {
		fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK, 0)
		if err != nil {
			return -1
		}
		if fd >= maxFd {
			syscall.Close(fd)
			return -1
		}
		if err = syscall.Connect(fd, &syscall.SockaddrUnix{Name: path}); err == nil {
			return fd
		}
		syscall.Close(fd)
		if err != syscall.EAGAIN || time.Until(deadline) < time.Millisecond {
			return -1
		}
		time.Sleep(time.Millisecond)
	}
}

// input reads a payload, of which it keeps one byte more than MaxPayload. It
// returns at the end of input, a moment after a whole JSON object, or when
// inputWithin is over.
func input(stdin *os.File) []byte {
	if stdin == nil {
		return nil
	}
	fd := int(stdin.Fd())
	if fd < 0 || fd >= maxFd {
		return nil
	}
	end := time.Now().Add(inputWithin)
	var data []byte
	var object Shape
	buf := make([]byte, 64<<10)
	for {
		var in, out syscall.FdSet
		put(&in, fd)
		patience := time.Until(end)
		if object.Completed {
			patience = min(patience, lull)
		}
		if !wait(fd, &in, &out, patience) {
			return data
		}
		n, err := syscall.Read(fd, buf)
		if err == syscall.EINTR || err == syscall.EAGAIN {
			continue
		}
		if n <= 0 || err != nil || time.Now().After(end) {
			return data
		}
		// What is beyond the bound is read too: its writer would else be stopped.
		data = append(data, buf[:min(n, MaxPayload+1-len(data))]...)
		object.Feed(buf[:n])
	}
}

// Shape follows a JSON text just so far as to know where its first object ends.
type Shape struct {
	depth           int
	inText, escaped bool
	begun           bool
	// Completed: it has ended.
	Completed bool
}

// Feed takes the next bytes and reports whether an object has ended.
func (s *Shape) Feed(b []byte) bool {
	for _, c := range b {
		switch {
		case s.Completed:
			return true
		case s.escaped:
			s.escaped = false
		case s.inText:
			s.escaped = c == '\\'
			s.inText = c != '"'
		case c == '"':
			s.inText = s.begun
		case c == '{' || c == '[':
			s.depth++
			s.begun = true
		case c == '}' || c == ']':
			s.depth--
			s.Completed = s.begun && s.depth <= 0
		}
	}
	return s.Completed
}
