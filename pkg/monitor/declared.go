package monitor

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/org/edamame-posture/pkg/agent"
	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/process"
	"github.com/org/edamame-posture/pkg/redact"
)

// AgentsFolder holds a socket of each monitor, PID.sock, to which the hooks of
// coding agents declare what an agent is about to do. Anyone may speak there;
// who it is the kernel says, and whose words count the judge.
//
// A client sends one line, "edamame-hook/1 AGENT LENGTH\n", and as many bytes of
// JSON as the agent gave it; or LENGTH 0 and a fourth word, huge, where these
// are too many. It gets "ok\n", or "no " and why, when the declaration has its
// place in the log.
const AgentsFolder = "/run/edamame-posture/agents"

// Bounds of what is declared.
const (
	maxDeclaring   = 16                     // connections at once; each may hold a payload
	maxDeclaringBy = 12                     // of one user
	maxDeclaringOf = 4                      // of one process
	maxDeclaredOf  = 50_000                 // declarations that a recording takes
	maxToldRefused = 256                    // refused and unread ones of these that are told one by one
	maxHookHeader  = 128                    // bytes of the first line
	declareWithin  = 300 * time.Millisecond // honest clients wait for less
	drainForHook   = 100 * time.Millisecond
)

// declarations takes them for a monitor.
type declarations struct {
	m    *Monitor
	l    *net.UnixListener
	path string
	all  sync.WaitGroup
	mu   sync.Mutex
	open []*declaring // the oldest first; guarded by mu
	// draining lets one ask the sensor at a time: who waited meanwhile is served
	// by the next.
	draining sync.Mutex
}

// listenDeclared makes the socket.
func (m *Monitor) listenDeclared() (*declarations, error) {
	if err := socketFolder(AgentsFolder); err != nil {
		return nil, err
	}
	d := &declarations{m: m, path: filepath.Join(AgentsFolder, strconv.Itoa(os.Getpid())+".sock")}
	_ = os.Remove(d.path) // of a monitor before us that had the same pid
	var err error
	if d.l, err = net.ListenUnix("unix", &net.UnixAddr{Name: d.path, Net: "unix"}); err != nil {
		return nil, err
	}
	if err := os.Chmod(d.path, 0o666); err != nil {
		d.l.Close()
		return nil, err
	}
	d.all.Go(d.serve)
	return d, nil
}

// socketFolder makes a folder of sockets to which anyone may connect and where
// root alone makes any, and removes those that no monitor listens at any more.
func socketFolder(dir string) error {
	if err := rootOwned(filepath.Dir(dir)); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	st, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	if sys, ok := st.Sys().(*syscall.Stat_t); !ok || !st.IsDir() || int(sys.Uid) != os.Geteuid() || st.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("%s is not a folder that only uid %d can write: remove it", dir, os.Geteuid())
	}
	if err := os.Chmod(dir, 0o755); err != nil { // whatever the umask is
		return err
	}
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		name := filepath.Join(dir, e.Name())
		if c, err := net.Dial("unix", name); err == nil {
			c.Close()
		} else if errors.Is(err, unix.ECONNREFUSED) {
			_ = os.Remove(name)
		}
	}
	return nil
}

func (d *declarations) close() {
	if d == nil {
		return
	}
	d.l.Close() // which removes the socket
	d.all.Wait()
}

func (d *declarations) serve() {
	for {
		c, err := d.l.AcceptUnix()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(declareWithin / 10) // no descriptors are left: let some end
			continue
		}
		who, err := speakerOf(c)
		if err != nil {
			c.Close()
			continue
		}
		_ = c.SetDeadline(time.Now().Add(declareWithin))
		p := &declaring{c: c, who: who}
		admitted, turned := d.admit(p)
		if turned {
			// Of a flood nobody is told one by one.
			d.m.locked(func() { d.m.turnedAway++ })
		}
		if !admitted {
			who.close()
			c.Close()
			continue
		}
		d.all.Go(func() {
			defer who.close()
			defer c.Close()
			defer d.leave(p)
			d.answer(p)
		})
	}
}

// declaring is a connection on which somebody declares.
type declaring struct {
	c    *net.UnixConn
	who  speaker
	said bool // all of it has come; guarded by declarations.mu
}

// admit makes room for a connection; turned says that somebody got none. A hook
// has written all that it says before it is answered, so who holds a connection
// and says nothing gives way: of the process or the user that has as many as one
// may, or of the user who has the most where there is no room at all. So who
// floods the socket does not keep the hooks of others from being heard.
func (d *declarations) admit(p *declaring) (admitted, turned bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	ofProcess, users, most := 0, map[uint32]int{}, p.who.uid
	for _, o := range d.open {
		if o.who.pid == p.who.pid {
			ofProcess++
		}
		if users[o.who.uid]++; users[o.who.uid] > users[most] {
			most = o.who.uid
		}
	}
	var gives func(*declaring) bool
	switch {
	case ofProcess >= maxDeclaringOf:
		gives = func(o *declaring) bool { return o.who.pid == p.who.pid }
	case users[p.who.uid] >= maxDeclaringBy:
		gives = func(o *declaring) bool { return o.who.uid == p.who.uid }
	case len(d.open) >= maxDeclaring:
		gives = func(o *declaring) bool { return o.who.uid == most }
	default:
		d.open = append(d.open, p)
		return true, false
	}
	i := slices.IndexFunc(d.open, func(o *declaring) bool { return !o.said && gives(o) })
	if i < 0 {
		return false, true
	}
	_ = d.open[i].c.SetDeadline(time.Unix(1, 0)) // which ends it
	d.open = append(slices.Delete(d.open, i, i+1), p)
	return true, true
}

// leave ends what admit began. It is no error where the connection gave way.
func (d *declarations) leave(p *declaring) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if i := slices.Index(d.open, p); i >= 0 {
		d.open = slices.Delete(d.open, i, i+1)
	}
}

// speaker is who is at the other end of a connection.
type speaker struct {
	pid, uid, gid uint32
	pidfd         int   // -1 where the kernel gives none
	seen          int64 // when it was there for certain; 0 where that is not known
}

func speakerOf(c *net.UnixConn) (s speaker, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return s, err
	}
	var cred *unix.Ucred
	s.pidfd = -1
	if cerr := raw.Control(func(fd uintptr) {
		if cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err != nil {
			return
		}
		if pidfd, perr := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PEERPIDFD); perr == nil {
			s.pidfd = pidfd
		}
	}); cerr != nil {
		return s, cerr
	}
	if err != nil {
		return s, err
	}
	s.pid, s.uid, s.gid = uint32(cred.Pid), cred.Uid, cred.Gid
	if now := boottime(); s.pidfd >= 0 && s.still() {
		s.seen = now
	}
	return s, nil
}

// still reports whether the process is there, so that its pid is nobody else's.
func (s speaker) still() bool {
	return s.pidfd < 0 || unix.PidfdSendSignal(s.pidfd, 0, nil, 0) == nil
}

// was reports whether the process that last had the pid is the speaker: a hook
// that had waited enough is gone by the time it is asked about.
func (s speaker) was(p *process.Process) bool {
	return s.seen != 0 && !p.Coarse && p.Actor.Start <= s.seen && (p.Alive || p.Ended >= s.seen)
}

func (s speaker) close() {
	if s.pidfd >= 0 {
		unix.Close(s.pidfd)
	}
}

// answer takes one declaration.
func (d *declarations) answer(p *declaring) {
	c := p.c
	name, said, err := readDeclared(c)
	if err == nil {
		if !d.heard(p) {
			return
		}
		err = d.take(p.who, name, said)
	}
	if err != nil {
		_, _ = fmt.Fprintf(c, "no %.200s\n", err)
		return
	}
	_, _ = io.WriteString(c, "ok\n")
}

// heard notes that all of a declaration has come, and reports whether it still
// has its room.
func (d *declarations) heard(p *declaring) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	p.said = true
	return slices.Contains(d.open, p)
}

// readDeclared reads what a client sends. A payload that is too large is nil.
func readDeclared(r io.Reader) (name string, payload []byte, err error) {
	b := bufio.NewReaderSize(r, maxHookHeader)
	line, err := b.ReadSlice('\n')
	if err != nil {
		return "", nil, errors.New("the first line does not end")
	}
	f := strings.Split(strings.TrimSuffix(string(line), "\n"), " ")
	if len(f) < 3 || len(f) > 4 || f[0] != "edamame-hook/1" {
		return "", nil, errors.New("the first line is not: edamame-hook/1 AGENT LENGTH")
	}
	for _, known := range agent.Names {
		if known == f[1] {
			name = known
		}
	}
	n, err := strconv.ParseUint(f[2], 10, 32)
	switch {
	case name == "":
		return "", nil, errors.New("the agent is not known")
	case err != nil || n > agent.MaxPayload:
		return "", nil, errors.New("the length is none, or too much")
	case len(f) == 4 && (f[3] != "huge" || n != 0):
		return "", nil, errors.New("the fourth word is not known")
	case len(f) == 4:
		return name, nil, nil
	}
	payload = make([]byte, n)
	if _, err := io.ReadFull(b, payload); err != nil {
		return "", nil, errors.New("the payload does not come")
	}
	return name, payload, nil
}

// take puts a declaration into the recordings that its speaker is part of. It
// returns when it stands in their logs, or says why not.
func (d *declarations) take(who speaker, name string, payload []byte) error {
	arrived := boottime()
	said, unread := agent.Declaration{}, error(nil)
	if payload == nil {
		unread = fmt.Errorf("a payload of more than %d bytes", agent.MaxPayload)
	} else if said, unread = agent.Parse(name, payload); unread == nil && said.What == agent.Other {
		return nil
	}
	m := d.m
	// Who speaks was just started: what led to it is read first.
	d.draining.Lock()
	ctx, cancel := context.WithTimeout(context.Background(), drainForHook)
	err := m.catchUp(ctx)
	cancel()
	d.draining.Unlock()
	if err != nil {
		return errors.New("the sensor does not answer")
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.table.Find(who.pid, 0)
	if p == nil || !who.still() && !who.was(p) {
		return errors.New("who speaks is gone")
	}
	part, refused := false, ""
	for bit, r := range m.recs {
		if r == nil || !p.Tags.Has(bit) || p.Via(bit) != event.ViaLineage {
			continue
		}
		part = true
		if why := r.declare(arrived, p.Actor, who, name, &said, unread); why != "" {
			refused = why
		}
	}
	switch {
	case !part:
		return errors.New("the process is not recorded")
	case unread != nil:
		return unread
	case refused != "":
		return errors.New(refused)
	}
	return nil
}

// declare writes what a peer said into the log; refused says why it is not
// believed.
func (r *recording) declare(arrived int64, peer event.Actor, who speaker, name string, said *agent.Declaration, unread error) (refused string) {
	ev := r.blank(event.Agent, boottime())
	root, why := r.judge.Bind(peer, name, r.red.String(said.Session).String())
	if r.declared++; r.declared > maxDeclaredOf {
		return "there were too many declarations"
	}
	if why != "" || unread != nil {
		if r.untold++; r.untold > maxToldRefused {
			return why
		}
	}
	ev.ToolAgent, _ = redact.Pick(agentTexts, name)
	ev.From = arrived
	switch {
	case why != "":
		ev.Actor, ev.Target, ev.Detail, ev.Name = peer, root, event.AgentRefused, r.red.String(why)
		if unread == nil {
			ev.ToolSession = r.red.String(said.Session)
		}
		r.append(ev)
		return why
	case unread != nil:
		ev.Actor, ev.Detail, ev.Name, ev.Count = root, event.AgentUnread, r.red.String(unread.Error()), 1
		r.append(ev)
		return ""
	}
	r.transcripts.add(name, said, root, who)
	ev.Actor, ev.ToolSession, ev.ToolCall, ev.Name = root, r.red.String(said.Session), r.red.String(said.Call), r.red.String(said.Name)
	switch said.What {
	case agent.Session:
		ev.Detail = event.AgentSession
	case agent.Prompt:
		ev.Detail, ev.ToolText, ev.Size = event.AgentPrompt, r.red.Hash([]byte(said.Prompt)), uint64(len(said.Prompt))
	case agent.Call:
		ev.Detail = event.AgentCall
		if said.Background {
			ev.Detail = event.AgentBackground
		}
		for _, e := range said.Effects {
			ev.Argv = append(ev.Argv, r.red.String(e.String()))
		}
		ev.ArgvCut = said.More
	case agent.Result:
		ev.Detail, ev.OK, ev.Code = event.AgentResult, said.OK, said.Code
	case agent.Permission:
		ev.Detail = event.AgentPermission
	case agent.Subagent:
		ev.Detail, ev.OK = event.AgentSub, said.OK
	case agent.Compaction:
		ev.Detail = event.AgentCompact
	case agent.Turn:
		ev.Detail = event.AgentTurn
	case agent.End:
		ev.Detail = event.AgentEnd
	}
	if said.Command != "" {
		// As the arguments of its shell are, among which it is looked for.
		ev.ToolText, r.found = r.red.Find([]byte(strings.TrimSpace(said.Command)), r.found[:0])
		r.secrets(ev, redact.Const("tool_text"))
	}
	r.append(ev)
	return ""
}

var agentTexts = []redact.Text{
	redact.Const("claude-code"), redact.Const("codex"), redact.Const("gemini"), redact.Const("copilot"), redact.Const("openclaw"), redact.Const("cursor"),
}
