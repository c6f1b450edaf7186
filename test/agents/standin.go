package agents

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/org/edamame-posture/pkg/agent/client"
)

// declaration is what one hook said.
type declaration struct {
	agent   string
	event   string // by the payload's own word
	payload map[string]any
	raw     string
	// callers are the programs of the hook's process and those above it, as the
	// kernel knows the peer.
	callers []string
}

// standIn listens where a monitor does and notes what it is told.
type standIn struct {
	mu  sync.Mutex
	all []declaration
	bad []string // what does not keep to the protocol
}

// listen begins to listen in a folder that is the parent of client.Folder for
// the agent alone, so that nobody else's hooks are heard.
func listen(t *testing.T, folder string) *standIn {
	t.Helper()
	path := filepath.Join(folder, filepath.Base(client.Folder), strconv.Itoa(os.Getpid())+".sock")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	s := &standIn{}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go s.take(c.(*net.UnixConn))
		}
	}()
	return s
}

func (s *standIn) take(c *net.UnixConn) {
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	r := bufio.NewReader(c)
	header, err := r.ReadString('\n')
	var version, agent string
	var length int
	if _, bad := fmt.Sscanf(header, "%s %s %d\n", &version, &agent, &length); err != nil || bad != nil || version != "edamame-hook/1" || length > client.MaxPayload {
		s.mu.Lock()
		s.bad = append(s.bad, header)
		s.mu.Unlock()
		return
	}
	payload := make([]byte, length)
	_, err = io.ReadFull(r, payload)
	d := declaration{agent: agent, raw: string(payload), callers: callers(c)}
	if bad := json.Unmarshal(payload, &d.payload); err != nil || bad != nil {
		s.mu.Lock()
		s.bad = append(s.bad, header+d.raw)
		s.mu.Unlock()
		return
	}
	for _, key := range []string{"hook_event_name", "hookName", "type"} {
		if name, ok := d.payload[key].(string); ok && d.event == "" {
			d.event = name
		}
	}
	s.mu.Lock()
	s.all = append(s.all, d)
	s.mu.Unlock()
	_, _ = io.WriteString(c, "ok\n")
}

// callers reads the programs of the process at the other end and above it; it
// waits for our answer, so it lives.
func callers(c *net.UnixConn) (exes []string) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil
	}
	pid := 0
	_ = raw.Control(func(fd uintptr) {
		if cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			pid = int(cred.Pid)
		}
	})
	for range 12 {
		if pid <= 1 {
			break
		}
		exe, err := os.Readlink("/proc/" + strconv.Itoa(pid) + "/exe")
		if err != nil {
			break
		}
		exes = append(exes, exe)
		stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		if err != nil {
			break
		}
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		pid, _ = strconv.Atoi(fields[1])
	}
	return exes
}

func (s *standIn) said() []declaration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]declaration(nil), s.all...)
}
