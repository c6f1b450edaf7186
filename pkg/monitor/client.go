package monitor

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"
)

// ErrNoRoot says that the monitor cannot be started for want of privilege.
var ErrNoRoot = errors.New("watching needs root, and sudo is not there")

// ErrMonitorDied says that the monitor went away before it answered.
var ErrMonitorDied = errors.New("the monitor died")

// Client is a connection to a monitor that was started for it.
type Client struct {
	k      *conn
	socket string
	proc   *exec.Cmd // nil where the monitor is not our child
	gone   chan struct{}
}

// LaunchOptions are the settings of [Launch].
type LaunchOptions struct {
	Sensor string
	Out    string // for a monitor that must deliver by itself
	Caller Caller
	Stderr io.Writer
	// Args is how this program runs a monitor: its subcommand and flags.
	Args []string
}

// Launch starts a monitor, through sudo where the process is not root, and
// connects to it. The monitor is armed when it returns.
func Launch(opt LaunchOptions) (*Client, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	argv := append([]string{self}, opt.Args...)
	argv = append(argv, "--sensor", opt.Sensor, "--uid", strconv.Itoa(opt.Caller.UID), "--gid", strconv.Itoa(opt.Caller.GID), "--out", opt.Out)
	for _, g := range opt.Caller.Groups {
		argv = append(argv, "--group", strconv.Itoa(g))
	}
	attr := &syscall.SysProcAttr{}
	if os.Geteuid() == 0 {
		// Out of the terminal's reach: Ctrl-C is for the watched command.
		attr.Setsid = true
	} else {
		sudo, err := exec.LookPath("sudo")
		if err != nil {
			return nil, ErrNoRoot
		}
		argv = append([]string{sudo, "-p", "edamame-posture watches from the kernel and needs root. [sudo] password for %p: ", "--"}, argv...)
		if tty, err := os.Open("/dev/tty"); err == nil {
			tty.Close()
		} else {
			argv = append([]string{sudo, "-n"}, argv[1:]...)
		}
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.SysProcAttr = attr
	cmd.Stderr = opt.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting the monitor: %w", err)
	}
	hello, err := readHello(out)
	if err != nil {
		_ = cmd.Process.Kill()
		werr := cmd.Wait()
		if os.Geteuid() != 0 {
			return nil, fmt.Errorf("%w: sudo did not start the monitor (%v)", ErrNoRoot, werr)
		}
		return nil, fmt.Errorf("%w while it started: %v", ErrMonitorDied, werr)
	}
	if hello.Error != "" {
		_ = cmd.Wait()
		return nil, errors.New(hello.Error)
	}
	c, err := Dial(hello.Socket)
	if err != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		return nil, err
	}
	c.proc, c.gone = cmd, make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(c.gone)
	}()
	return c, nil
}

// Dial connects to a monitor that is there.
func Dial(socket string) (*Client, error) {
	uc, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("connecting to the monitor: %w", err)
	}
	c := &Client{k: newConn(uc), socket: socket}
	if cred, err := c.k.peer(); err != nil || cred.Uid != 0 {
		c.Close()
		return nil, fmt.Errorf("what answers at %s is not root's: not trusted", socket)
	}
	if _, err := c.ask(Request{Op: "hello", Version: ProtocolVersion}, 5*time.Second); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
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
	if err := c.k.c.SetDeadline(time.Now().Add(within)); err != nil {
		return a, err
	}
	if err := c.k.write(q); err != nil {
		return a, fmt.Errorf("%w: %v", ErrMonitorDied, err)
	}
	if err := c.k.read(&a); err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return a, fmt.Errorf("the monitor did not answer %q within %v", q.Op, within)
		}
		return a, fmt.Errorf("%w: %v", ErrMonitorDied, err)
	}
	if a.Error != "" {
		return a, errors.New(a.Error)
	}
	return a, nil
}

// Open begins a recording of what this process starts from now on.
func (c *Client) Open(o Opening) (*Opened, error) {
	a, err := c.ask(Request{Op: "open", Open: &o}, 10*time.Second)
	if err != nil {
		return nil, err
	}
	if a.Opened == nil {
		return nil, errors.New("the monitor's answer to open is empty")
	}
	return a.Opened, nil
}

// Status looks at the recording.
func (c *Client) Status() (*Status, error) {
	a, err := c.ask(Request{Op: "status"}, 5*time.Second)
	if err != nil {
		return nil, err
	}
	return a.Status, nil
}

// Finish ends the recording. The folder it returns belongs to the caller.
func (c *Client) Finish(end Closing) (*Closed, error) {
	a, err := c.ask(Request{Op: "close", Close: &end}, time.Minute)
	if err != nil {
		return nil, err
	}
	if a.Closed == nil {
		return nil, errors.New("the monitor's answer to close is empty")
	}
	return a.Closed, nil
}

// Discard lets the monitor remove its copy, after the caller has theirs.
func (c *Client) Discard() error {
	_, err := c.ask(Request{Op: "discard"}, 10*time.Second)
	return err
}

// Gone is closed when the monitor has ended.
func (c *Client) Gone() <-chan struct{} { return c.gone }

// Close hangs up and waits until the monitor has gone, so that nothing stays
// attached when it returns.
func (c *Client) Close() {
	c.k.c.Close()
	if c.proc == nil {
		return
	}
	select {
	case <-c.gone:
	case <-time.After(10 * time.Second):
		_ = c.proc.Process.Kill()
		<-c.gone
	}
}
