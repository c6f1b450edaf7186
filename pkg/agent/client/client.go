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

// agents are the agents, each with what it must read on standard output. Gemini
// CLI takes anything but JSON for a fault of the hook, and so does Cursor; an
// empty object decides nothing.
var agents = map[string]string{
	"claude-code": "",
	"codex":       "",
	"gemini":      "{}\n",
	"copilot":     "",
	"openclaw":    "",
	"cursor":      "{}\n",
}

// Agents returns the names of all agents, sorted.
func Agents() []string {
	names := make([]string, 0, len(agents))
	for name := range agents {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Known reports whether there is an agent of this name.
func Known(agent string) bool {
	_, ok := agents[agent]
	return ok
}

// Answers reports whether an agent must read something of its hook.
func Answers(agent string) bool { return agents[agent] != "" }

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
	if answer := agents[agent]; answer != "" {
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
	f, err := os.Open(folder)
	if err != nil {
		return nil
	}
	defer f.Close()
	all, _ := f.Readdirnames(4 * maxNames)
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

// deliver sends a message to the monitors behind names, and waits for each one's
// answer, no longer than patience in all. The patience is for others: what can be
// sent without waiting is sent, however late a busy machine lets us run.
func deliver(folder string, names []string, message []byte, patience time.Duration) {
	deadline := time.Now().Add(patience)
	var waits []chan struct{}
	for _, name := range names {
		if len(waits) == maxMonitors {
			break
		}
		fd := connect(folder+"/"+name, deadline)
		if fd < 0 {
			continue
		}
		sent := 0
		for sent < len(message) {
			n, err := syscall.Write(fd, message[sent:])
			if n <= 0 || err != nil {
				break // it takes no more for now
			}
			sent += n
		}
		f := os.NewFile(uintptr(fd), name)
		done := make(chan struct{})
		waits = append(waits, done)
		go func() {
			defer close(done)
			defer f.Close()
			if f.SetDeadline(deadline) != nil {
				return
			}
			if sent < len(message) {
				if _, err := f.Write(message[sent:]); err != nil {
					return
				}
			}
			// The answer changes nothing here. It says that the declaration has its place in
			// the log, before the agent begins what it declared.
			var answer [256]byte
			for {
				n, err := f.Read(answer[:])
				if err != nil || slices.Contains(answer[:n], '\n') {
					return
				}
			}
		}()
	}
	for _, done := range waits {
		<-done
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
	type piece struct {
		data []byte
		end  bool
	}
	// Standard input may be something that cannot be given a deadline, so it is
	// read beside; the process ends with or without that goroutine.
	pieces := make(chan piece)
	go func() {
		for {
			buf := make([]byte, 64<<10)
			n, err := stdin.Read(buf)
			pieces <- piece{buf[:n], err != nil}
			if err != nil {
				return
			}
		}
	}()
	var data []byte
	var object shape
	over := time.NewTimer(inputWithin)
	defer over.Stop()
	var quiet <-chan time.Time
	for {
		select {
		case p := <-pieces:
			// What is beyond the bound is read too: its writer would else be stopped.
			data = append(data, p.data[:min(len(p.data), MaxPayload+1-len(data))]...)
			if p.end {
				return data
			}
			quiet = nil
			if object.feed(p.data) {
				quiet = time.After(lull)
			}
		case <-quiet:
			return data
		case <-over.C:
			return data
		}
	}
}

// shape follows a JSON text just so far as to know where its first object ends.
type shape struct {
	depth            int
	inText, escaped  bool
	begun, completed bool
}

// feed takes the next bytes and reports whether an object has ended.
func (s *shape) feed(b []byte) bool {
	for _, c := range b {
		switch {
		case s.completed:
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
			s.completed = s.begun && s.depth <= 0
		}
	}
	return s.completed
}
