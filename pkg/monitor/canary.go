package monitor

import (
	"encoding/binary"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/sensor"
)

// A canary is an exec and a connect of the monitor's own, made in each
// interval, that the sensor must report. A sensor that was detached, starved
// or emptied without a trace misses it.
type canary struct {
	image    *os.File
	listener net.Listener
	conn     net.Conn
	accepted chan net.Conn

	pid      uint32 // of the exec that is awaited, 0 for none
	port     uint16 // local port of the connect that is awaited
	to       uint16 // port of the listener
	sawExec  bool
	sawConn  bool
	launched bool
}

// exitZero is machine code of exit(0).
var exitZero = map[string][]byte{
	"amd64": {0x31, 0xff, 0xb8, 0x3c, 0, 0, 0, 0x0f, 0x05},                   // xor edi,edi; mov eax,60; syscall
	"arm64": {0x00, 0x00, 0x80, 0xd2, 0xa8, 0x0b, 0x80, 0xd2, 1, 0, 0, 0xd4}, // mov x0,0; mov x8,93; svc 0
}

// tinyELF is the smallest program that does nothing: an exec of the monitor's
// own binary would cost a hundred times as much each second.
func tinyELF() []byte {
	code := exitZero[runtime.GOARCH]
	if code == nil {
		return nil
	}
	const base, header = 0x400000, 64 + 56
	machine := map[string]uint16{"amd64": 62, "arm64": 183}[runtime.GOARCH]
	b := make([]byte, header, header+len(code))
	copy(b, "\x7fELF\x02\x01\x01")
	le := binary.LittleEndian
	le.PutUint16(b[16:], 2) // ET_EXEC
	le.PutUint16(b[18:], machine)
	le.PutUint32(b[20:], 1)
	le.PutUint64(b[24:], base+header) // entry
	le.PutUint64(b[32:], 64)          // program headers
	le.PutUint16(b[52:], 64)
	le.PutUint16(b[54:], 56)
	le.PutUint16(b[56:], 1)
	p := b[64:]
	le.PutUint32(p[0:], 1) // PT_LOAD
	le.PutUint32(p[4:], 5) // R+X
	le.PutUint64(p[16:], base)
	le.PutUint64(p[24:], base)
	le.PutUint64(p[32:], uint64(header+len(code)))
	le.PutUint64(p[40:], uint64(header+len(code)))
	le.PutUint64(p[48:], 0x1000)
	return append(b, code...)
}

// newCanary makes a canary. Where the machine has no loopback or no memfd, it
// does without the part that needs it.
func newCanary() *canary {
	c := &canary{accepted: make(chan net.Conn, 1)}
	if elf := tinyELF(); elf != nil {
		fd, err := unix.MemfdCreate("posture-canary", unix.MFD_CLOEXEC)
		if err == nil {
			c.image = os.NewFile(uintptr(fd), "posture-canary")
			if _, err := c.image.Write(elf); err != nil {
				c.image.Close()
				c.image = nil
			}
		}
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return c
	}
	c.listener = l
	c.to = uint16(l.Addr().(*net.TCPAddr).Port)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				close(c.accepted)
				return
			}
			select {
			case c.accepted <- conn:
			default:
				conn.Close()
			}
		}
	}()
	return c
}

// run makes the child and the connection. lock keeps the sensors' sink out, so
// that the child's pid is known before its exec is reported.
func (c *canary) run(lock func(func())) {
	lock(func() {
		c.sawExec, c.sawConn, c.pid, c.port, c.launched = c.image == nil, c.listener == nil, 0, 0, true
	})
	if c.image != nil {
		cmd := exec.Command("/proc/self/fd/" + strconv.Itoa(int(c.image.Fd())))
		cmd.Args = []string{"posture-canary"}
		cmd.Env = []string{}
		lock(func() {
			if err := cmd.Start(); err != nil {
				c.sawExec = true // nothing to see: no canary is told apart from a missed one
				return
			}
			c.pid = uint32(cmd.Process.Pid)
		})
		if cmd.Process != nil {
			_ = cmd.Wait()
		}
	}
	if c.listener != nil {
		c.hangUp()
		d := net.Dialer{}
		conn, err := d.Dial("tcp4", c.listener.Addr().String())
		lock(func() {
			if err != nil {
				c.sawConn = true
				return
			}
			c.conn = conn
			c.port = uint16(conn.LocalAddr().(*net.TCPAddr).Port)
		})
	}
}

// hangUp ends the connection of the last round. It is held open in between,
// so that a sensor which polls can see it too.
func (c *canary) hangUp() {
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
		select {
		case a, ok := <-c.accepted:
			if ok {
				a.Close()
			}
		default:
		}
	}
}

// see takes notice of a record of a sensor. It is called under the lock.
func (c *canary) see(rec *sensor.Record, self uint32) {
	switch rec.Kind {
	case event.Exec:
		if c.pid != 0 && rec.PID == c.pid {
			c.sawExec = true
		}
	case event.Connect:
		// A job may connect to this port too, so the maker counts: the pid, or
		// where a sensor does not know it, our side's port.
		if rec.Dst.Port() == c.to && c.to != 0 && (rec.PID == self || rec.PID == 0 && rec.Src.Port() == c.port) {
			c.sawConn = true
		}
	}
}

func (c *canary) close() {
	c.hangUp()
	if c.listener != nil {
		c.listener.Close()
		for a := range c.accepted {
			a.Close()
		}
	}
	if c.image != nil {
		c.image.Close()
	}
}
