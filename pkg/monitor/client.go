package monitor

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/org/edamame-posture/pkg/sensor/ebpf"
)

// ErrNoSudo says that the monitor cannot be started for want of privilege, and
// of a way to get it.
var ErrNoSudo = errors.New("watching needs root, and sudo is not there")

// ErrRefused says that there is sudo, and it did not start the monitor.
var ErrRefused = errors.New("watching needs root, and sudo did not give it")

// ErrMonitorDied says that the monitor went away before it answered.
var ErrMonitorDied = errors.New("the monitor died")

// Client is a connection to a monitor that was started for it.
type Client struct {
	k      *conn
	socket string
	asking sync.Mutex // one question at a time
	asked  uint64
	pid    int         // of the monitor, as the kernel says
	proc   *os.Process // nil where the monitor is not our child
	gone   chan struct{}

	memory   *ebpf.Memory // who signalled the monitor last
	noMemory error        // why there is none
}

// LaunchOptions are the settings of [Launch].
type LaunchOptions struct {
	Sensor string
	Sealed bool // as in Options, and so is NoTLS
	NoTLS  bool
	Out    string // for a monitor that must deliver by itself
	Caller Caller
	Stderr io.Writer
	// Args is how this program runs a monitor: its subcommand and flags.
	Args []string
	// Program is what is started instead of this program's file, where the
	// process is root; nil for the file. It may be closed after.
	Program *os.File
}

// Launch starts a monitor, through sudo where the process is not root, and
// connects to it. The monitor is armed when it returns.
func Launch(opt LaunchOptions) (*Client, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	argv := append([]string{self}, opt.Args...)
	if opt.NoTLS {
		argv = append(argv, "--no-tls")
	}
	argv = append(argv, "--sensor", opt.Sensor, "--uid", strconv.Itoa(opt.Caller.UID), "--gid", strconv.Itoa(opt.Caller.GID), "--out", opt.Out)
	if opt.Sealed {
		argv = append(argv, "--seal")
	}
	for _, g := range opt.Caller.Groups {
		argv = append(argv, "--group", strconv.Itoa(g))
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	typed := false // a password could be
	root := os.Geteuid() == 0
	if root {
		if opt.Program != nil {
			cmd.Path = "/proc/self/fd/" + strconv.Itoa(int(opt.Program.Fd()))
		}
		// It has no use for the caller's environment, which holds secrets and can be read.
		cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool {
			name, _, _ := strings.Cut(v, "=")
			return name != "PATH" && name != "GODEBUG"
		})
		// Out of the terminal's reach: Ctrl-C is for the watched command.
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	} else if cmd, typed, err = underSudo(argv); err != nil {
		return nil, err
	}
	// The monitor holds its end of this pipe as long as it lives.
	life, theirs, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd.Stdout, cmd.Stderr = theirs, opt.Stderr
	said := &heard{w: opt.Stderr}
	if !root {
		// Not the file: sudo may give it a terminal that goes away with sudo.
		cmd.Stderr = said
	}
	err = cmd.Start()
	theirs.Close()
	if err != nil {
		life.Close()
		return nil, fmt.Errorf("starting the monitor: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	stop := func() {
		_ = cmd.Process.Kill()
		life.Close()
	}
	hello, err := readHello(life)
	if err != nil {
		stop()
		werr := <-ended
		if !root {
			return nil, refusal(said.String(), typed, werr)
		}
		return nil, fmt.Errorf("%w while it started: %v", ErrMonitorDied, werr)
	}
	if hello.Error != "" {
		life.Close()
		<-ended
		return nil, errors.New(hello.Error)
	}
	c, err := Dial(hello.Socket)
	if err != nil {
		stop()
		return nil, err
	}
	c.gone = make(chan struct{})
	if root {
		c.proc = cmd.Process
	}
	go func() {
		_, _ = io.Copy(io.Discard, life)
		life.Close()
		<-ended
		close(c.gone)
	}()
	return c, nil
}

// underSudo starts a monitor through sudo. sudo stays no longer than until the
// monitor has left its terminal: it would read the terminal's input, and stop
// the monitor when Ctrl-Z stops the watched command.
// typed is whether somebody could type a password.
func underSudo(argv []string) (cmd *exec.Cmd, typed bool, err error) {
	sudo, err := exec.LookPath("sudo")
	if err != nil {
		return nil, false, ErrNoSudo
	}
	how := []string{"-p", "edamame-posture watches from the kernel and needs root. [sudo] password for %p: ", "--"}
	if tty, err := os.Open("/dev/tty"); err == nil {
		tty.Close()
		typed = true
	} else {
		how = append([]string{"-n"}, how...)
	}
	cmd = exec.Command(sudo, append(append(how, argv...), "--leave")...)
	if !typed {
		cmd.Env = append(os.Environ(), "LC_ALL=C") // what it says is read below
	}
	return cmd, typed, nil
}

// refusal says why sudo started no monitor, from what it said and how it ended.
func refusal(said string, typed bool, ended error) error {
	// sudo: "a password is required"; sudo-rs: "interactive authentication is
	// required".
	asked := strings.Contains(said, "password") || strings.Contains(said, "authentication is required")
	switch {
	case asked && !typed:
		return fmt.Errorf("%w: it wants a password, and there is no terminal to type one at: run it as root, or allow sudo without a password (NOPASSWD)", ErrRefused)
	case asked:
		return fmt.Errorf("%w: it wanted a password, and did not get the right one", ErrRefused)
	}
	return fmt.Errorf("%w: it ended without the monitor (%v)", ErrRefused, ended)
}

// heard passes on what a program says and keeps the beginning of it.
type heard struct {
	w io.Writer // nil for nobody

	mu   sync.Mutex
	kept []byte
}

// heardLimit bounds what is kept, in bytes.
const heardLimit = 4 << 10

// Write never fails: whoever speaks must not end for want of a listener.
func (h *heard) Write(b []byte) (int, error) {
	h.mu.Lock()
	h.kept = append(h.kept, b[:min(len(b), heardLimit-len(h.kept))]...)
	h.mu.Unlock()
	if h.w != nil {
		_, _ = h.w.Write(b)
	}
	return len(b), nil
}

// String returns what was kept.
func (h *heard) String() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return string(h.kept)
}

// Dial connects to a monitor that is there.
func Dial(socket string) (*Client, error) {
	uc, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("connecting to the monitor: %w", err)
	}
	c := &Client{k: newTaker(uc), socket: socket}
	cred, err := c.k.peer()
	if err != nil || cred.Uid != 0 {
		c.Close()
		return nil, fmt.Errorf("what answers at %s is not root's: not trusted", socket)
	}
	c.pid = int(cred.Pid)
	c.wake()
	if _, err := c.ask(Request{Op: "hello", Version: ProtocolVersion}, 5*time.Second); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// wake lets a monitor go on that a job with root has stopped (SIGSTOP), where
// we may. What happened meanwhile is in the rings, as far as they reach, and
// the gap is told.
func (c *Client) wake() {
	if c.pid <= 1 || os.Geteuid() != 0 {
		return
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", c.pid))
	if err == nil && bytes.Contains(stat, []byte(") T ")) {
		_ = syscall.Kill(c.pid, syscall.SIGCONT)
	}
}

// Socket returns where the monitor listens.
func (c *Client) Socket() string { return c.socket }

// HangUp ends the connection and leaves the monitor to itself.
func (c *Client) HangUp() { c.k.c.Close() }

// helloLimit bounds the monitor's first line in bytes.
const helloLimit = 4096

func readHello(r io.Reader) (Hello, error) {
	var h Hello
	line, err := bufio.NewReader(io.LimitReader(r, helloLimit)).ReadBytes('\n')
	if err != nil {
		return h, err
	}
	return h, json.Unmarshal(line, &h)
}

// ask sends a request and waits for its answer.
func (c *Client) ask(q Request, within time.Duration) (Response, error) {
	var a Response
	c.asking.Lock()
	defer c.asking.Unlock()
	if err := c.k.c.SetDeadline(time.Now().Add(within)); err != nil {
		return a, err
	}
	c.asked++
	q.ID = c.asked
	if err := c.k.write(q); err != nil {
		return a, fmt.Errorf("%w: %v", ErrMonitorDied, err)
	}
	// An earlier question that was given up may be answered only now.
	for a.ID != q.ID {
		a = Response{}
		if err := c.k.read(&a); err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				return a, fmt.Errorf("the monitor did not answer %q within %v", q.Op, within)
			}
			return a, fmt.Errorf("%w: %v", ErrMonitorDied, err)
		}
	}
	if a.Error != "" {
		return a, errors.New(a.Error)
	}
	return a, nil
}

// Open begins a recording of what this process starts from now on.
func (c *Client) Open(o Opening) (*Opened, error) {
	o.Command = bounded(o.Command)
	a, err := c.ask(Request{Op: "open", Open: &o}, 10*time.Second)
	if err != nil {
		return nil, err
	}
	if a.Opened == nil {
		return nil, errors.New("the monitor's answer to open is empty")
	}
	if !o.Detach {
		c.share()
	}
	return a.Opened, nil
}

// commandLimit bounds the command that is named at the start of a log, in
// bytes. The whole of it is in the kernel's own event of its execution.
const commandLimit = 64 << 10

func bounded(argv []string) []string {
	left := commandLimit
	for i, a := range argv {
		if len(a)+1 > left {
			return append(argv[:i:i], a[:max(left-1, 0)])
		}
		left -= len(a) + 1
	}
	return argv
}

// Status looks at the recording.
func (c *Client) Status() (*Status, error) {
	a, err := c.ask(Request{Op: "status"}, 5*time.Second)
	if err != nil {
		return nil, err
	}
	return a.Status, nil
}

// Shown returns what a witness is to be shown now.
func (c *Client) Shown() (*Shown, error) {
	a, err := c.ask(Request{Op: "shown"}, 10*time.Second)
	if err == nil && a.Shown == nil {
		err = errors.New("the monitor's answer to shown is empty")
	}
	return a.Shown, err
}

// Kept says that a witness keeps what it was shown.
func (c *Client) Kept(k Kept) error {
	_, err := c.ask(Request{Op: "kept", Kept: &k}, 5*time.Second)
	return err
}

// Newest returns the text of the newest checkpoint, for a timestamp authority.
func (c *Client) Newest() ([]byte, error) {
	a, err := c.ask(Request{Op: "newest"}, 5*time.Second)
	if err == nil && len(a.Newest) == 0 {
		err = errors.New("the monitor's answer to newest is empty")
	}
	return a.Newest, err
}

// Dated says what a timestamp authority answered about it.
func (c *Client) Dated(d Dated) error {
	_, err := c.ask(Request{Op: "dated", Dated: &d}, 5*time.Second)
	return err
}

// Attach puts a file beside the log.
func (c *Client) Attach(name string, data []byte) error {
	_, err := c.ask(Request{Op: "attach", Attach: &Attached{Name: name, Data: data}}, 5*time.Second)
	return err
}

// Disclosed tells of a secret that the command printed.
func (c *Client) Disclosed(d Disclosed) error {
	_, err := c.ask(Request{Op: "disclosed", Disclosed: &d}, 5*time.Second)
	return err
}

// Finish ends the recording. The folder it returns belongs to the caller.
func (c *Client) Finish(end Closing) (*Closed, error) {
	c.wake()
	a, err := c.ask(Request{Op: "close", Close: &end}, time.Minute)
	if err != nil {
		return nil, err
	}
	if a.Closed == nil {
		return nil, errors.New("the monitor's answer to close is empty")
	}
	return a.Closed, nil
}

// Ring ends a recording that has a [Bell], as Finish does one that is the
// caller's: nonce is what Open gave as Ring. Where a policy was found in the
// workspace, resolve says what it means, in canonical form.
func (c *Client) Ring(nonce string, resolve func(*Later) []byte) (*Closed, error) {
	a, err := c.ask(Request{Op: "ring", Ring: nonce}, time.Minute)
	if err == nil && a.Later != nil {
		a, err = c.ask(Request{Op: "ring", Ring: nonce, Declared: true, Intent: resolve(a.Later)}, time.Minute)
	}
	if err == nil && a.Closed == nil {
		err = errors.New("the monitor's answer to ring is empty")
	}
	return a.Closed, err
}

// Watched returns the recording of the children of a process that a monitor of
// this machine has open; empty where there is none. It needs root.
func Watched(parent uint32) (id string) {
	for _, root := range spoolRoots {
		sockets, err := filepath.Glob(filepath.Join(root, "*", controlName))
		if err != nil || trusted(root) != nil {
			continue
		}
		for _, s := range sockets {
			c, err := Dial(s)
			if err != nil {
				continue // of a monitor that has gone
			}
			a, err := c.ask(Request{Op: "watched", Parent: parent}, 5*time.Second)
			c.HangUp()
			if err == nil && a.Opened != nil {
				return a.Opened.ID
			}
		}
	}
	return ""
}

// Discard lets the monitor remove its copy, after the caller has theirs.
func (c *Client) Discard() error {
	_, err := c.ask(Request{Op: "discard"}, 10*time.Second)
	return err
}

// Gone is closed when the monitor has ended.
func (c *Client) Gone() <-chan struct{} { return c.gone }

// Close hangs up and waits until the monitor has gone, so that nothing stays
// attached when it returns. The error says that it has not gone: one that was
// started through sudo cannot be killed.
func (c *Client) Close() error {
	c.k.c.Close()
	if c.memory != nil {
		_ = c.memory.Close()
		c.memory, c.noMemory = nil, errors.New("the connection was closed")
	}
	if c.gone == nil {
		return nil
	}
	select {
	case <-c.gone:
		return nil
	case <-time.After(10 * time.Second):
	}
	if c.proc == nil {
		return errors.New("the monitor does not end; to end it: sudo pkill -KILL -f 'edamame-posture monitor'")
	}
	_ = c.proc.Kill()
	<-c.gone
	return nil
}
