package monitor

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/fact"
	"github.com/org/edamame-posture/pkg/judge"
	"github.com/org/edamame-posture/pkg/process"
)

// Bounds of those who watch. The watched job is most often the same user as
// who watches, so each costs the monitor little, however it behaves.
const (
	maxWatchers   = 4                      // of the recording's owner at once, and as many of root's
	maxUnshown    = 4096                   // lines that wait for one; later ones are counted, not kept
	maxSnapshot   = 2000                   // processes that who comes later is told of
	maxSightText  = 512                    // bytes of one text
	watchPause    = time.Second            // between two that come
	watchEnd      = 300 * time.Millisecond // how long the end waits for who still reads
	watchInterval = time.Second            // between two lines of status
	watchWithin   = 5 * time.Second        // who does not read for so long is let go
)

// watchFolder holds a socket of each recording that can be watched.
const watchFolder = "/run/edamame-posture/watch"

// Sight is one line that who watches a recording is told, as JSON. Texts come
// from the watched job, without secrets: they are to be escaped before they are
// shown.
type Sight struct {
	Kind string `json:"kind"` // begin, process, exit, step, connect, listen, credential, finding, status, lost, end
	Time int64  `json:"time"` // CLOCK_BOOTTIME in nanoseconds

	// The image that it is about, and the process that it came from.
	Actor   event.Actor `json:"actor,omitzero"`
	Parent  event.Actor `json:"parent,omitzero"`
	Program string      `json:"program,omitempty"`
	Command string      `json:"command,omitempty"` // its arguments, by blanks
	Step    string      `json:"step,omitempty"`
	Ended   bool        `json:"ended,omitempty"` // a process that had ended when this was told
	Code    int         `json:"code,omitempty"`  // of an exit: 128+n for signal n

	// Object is a destination, a file or what a finding is about.
	Object   string `json:"object,omitempty"`
	Rule     string `json:"rule,omitempty"`
	Title    string `json:"title,omitempty"`
	Severity string `json:"severity,omitempty"`

	Status *Status `json:"status,omitempty"`
	Lost   uint64  `json:"lost,omitempty"` // lines that this watcher was too slow for
}

// audience is who watches a recording. Nothing in it waits for anybody.
type audience struct {
	count atomic.Int32 // of watchers, so that where there is none an event costs one load
	mu    sync.Mutex
	here  []*watcher
	over  bool
}

type watcher struct {
	lines chan Sight
	lost  atomic.Uint64
}

// say gives each watcher a line that has room for it.
func (a *audience) say(s Sight) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, w := range a.here {
		select {
		case w.lines <- s:
		default:
			w.lost.Add(1)
		}
	}
}

func (a *audience) join(first []Sight) *watcher {
	w := &watcher{lines: make(chan Sight, maxUnshown+len(first))}
	for _, s := range first {
		w.lines <- s
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.over {
		close(w.lines)
		return w
	}
	a.here = append(a.here, w)
	a.count.Add(1)
	return w
}

func (a *audience) leave(w *watcher) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if i := slices.Index(a.here, w); i >= 0 {
		a.here = slices.Delete(a.here, i, i+1)
		a.count.Add(-1)
	}
}

// end lets every watcher go when it has what was said.
func (a *audience) end() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.over = true
	for _, w := range a.here {
		close(w.lines)
	}
	a.here = nil
	a.count.Store(0)
}

// finding is told of each finding. It must not wait for anybody.
func (a *audience) finding(f *judge.Finding) {
	if a.count.Load() > 0 {
		a.say(sightOf(f))
	}
}

func sightOf(f *judge.Finding) Sight {
	return Sight{
		Kind: "finding", Time: f.Last, Actor: event.Actor{PID: f.Actor.PID, Start: f.Actor.Start, Image: f.Actor.Image}, Program: short(filepath.Base(f.Actor.Exe)),
		Step: short(f.Scope.Step), Rule: f.Rule, Title: short(f.Title), Severity: string(f.Severity), Object: short(f.Object),
	}
}

// saw tells who watches of an event, which the judge has by now.
func (a *audience) saw(ev *event.Event, j *judge.Judge) {
	if a.count.Load() == 0 {
		return
	}
	s := Sight{Time: ev.Time, Actor: ev.Actor}
	n := j.Tree().Get(ev.Actor)
	switch ev.Kind {
	case event.Exec:
		if n == nil {
			return
		}
		a.say(processSight(n))
		return
	case event.Exit:
		s.Kind, s.Code = "exit", ev.Code
		if ev.Signal != 0 {
			s.Code = 128 + ev.Signal
		}
	case event.Step:
		s.Kind, s.Step, s.Title = "step", short(ev.StepID.String()), short(ev.StepName.String())
	case event.Connect, event.Send:
		if ev.Via == event.ViaMonitor || !ev.Dst.IsValid() {
			return
		}
		s.Kind, s.Object = "connect", destination(j, ev)
	case event.Listen:
		s.Kind, s.Object = "listen", ev.Src.String()
	case event.Open:
		if ev.Class.IsZero() {
			return
		}
		s.Kind, s.Object = "credential", short(ev.Class.String()+" "+ev.Path.String())
	default:
		return
	}
	if n != nil {
		s.Program = short(n.Name())
		if s.Step == "" {
			s.Step = short(n.Step.String())
		}
	}
	a.say(s)
}

// destination is where an event went to, by the name that is known by now.
func destination(j *judge.Judge, ev *event.Event) string {
	name := j.Names().Lookup(ev.Actor, ev.Dst.Addr(), ev.Sock).Name.String()
	to := ev.Dst.String()
	if name != "" {
		to = fmt.Sprintf("%s:%d", name, ev.Dst.Port())
	}
	if ev.Proto == event.ProtoUDP {
		to += "/udp"
	}
	return short(to)
}

func processSight(n *process.Node) Sight {
	s := Sight{Kind: "process", Time: n.Born, Actor: n.Actor, Program: short(n.Name()), Step: short(n.Step.String()), Ended: n.Ended != 0, Code: n.Code}
	if n.Parent != nil {
		s.Parent = n.Parent.Actor
	}
	var b strings.Builder
	for _, arg := range n.Argv {
		if b.Len() > maxSightText {
			break
		}
		b.WriteString(arg.String())
		b.WriteByte(' ')
	}
	s.Command = short(strings.TrimSuffix(b.String(), " "))
	return s
}

// short bounds a text. What is cut in the middle of a character is replaced
// when it is encoded.
func short(s string) string {
	if len(s) <= maxSightText {
		return s
	}
	return s[:maxSightText-3] + "..."
}

// stage is where a recording is watched: a socket, which goes when the recording
// has ended.
type stage struct {
	audience
	l       *net.UnixListener
	shut    chan struct{} // closed at the end
	serving sync.WaitGroup
}

// openStage lets root and the user uid watch r. That it cannot be watched is no
// reason not to record it.
func (s *server) openStage(r *recording, st *stage) error {
	if err := socketFolder(watchFolder); err != nil {
		return err
	}
	path := filepath.Join(watchFolder, r.id+".sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return err
	}
	if err := os.Chmod(path, 0o666); err != nil { // who it is, the kernel says
		return errors.Join(err, l.Close())
	}
	st.l, st.shut = l, make(chan struct{})
	s.m.locked(func() { r.audience = &st.audience })
	st.serving.Go(func() { s.receive(r, st) })
	return nil
}

// receive lets watchers in until the stage is closed.
func (s *server) receive(r *recording, st *stage) {
	var owners, roots atomic.Int32
	for {
		c, err := st.l.AcceptUnix()
		if err != nil {
			return
		}
		k := newConn(c)
		cred, err := k.peer()
		if err != nil || cred.Uid != 0 && cred.Uid != r.uid {
			c.Close()
			continue
		}
		places := &owners
		if cred.Uid == 0 {
			places = &roots
		}
		if places.Load() >= maxWatchers {
			c.Close()
			continue
		}
		places.Add(1)
		var w *watcher
		s.m.locked(func() { w = st.join(s.soFar(r)) })
		st.serving.Go(func() {
			defer places.Add(-1)
			defer c.Close()
			defer st.leave(w)
			s.showTo(r, w, c)
		})
		// Looking back takes the lock: who comes again and again takes little.
		select {
		case <-st.shut:
			return
		case <-time.After(watchPause):
		}
	}
}

// soFar is what who comes later is told: the processes, the destinations and
// the findings that are known by now. The monitor's lock is held.
func (s *server) soFar(r *recording) (first []Sight) {
	first = append(first, Sight{Kind: "begin", Time: r.opened, Object: short(r.cwd)})
	for n := range r.judge.Tree().Walk() {
		if n.Execed && n.Via != event.ViaMonitor {
			if len(first) == maxSnapshot {
				first = append(first, Sight{Kind: "lost", Lost: uint64(r.judge.Tree().Len() - len(first))})
				break
			}
			first = append(first, processSight(n))
		}
	}
	for _, f := range r.judge.Facts() {
		if f.Verb == fact.Connect && len(first) < 2*maxSnapshot {
			s := Sight{Kind: "connect", Time: f.First, Object: short(f.Object.String()), Step: short(f.Step.String())}
			if f.Node != nil {
				s.Actor, s.Program = f.Node.Actor, short(f.Node.Name())
			}
			first = append(first, s)
		}
	}
	found, _ := s.feed.from(0)
	for _, f := range found {
		first = append(first, Sight{Kind: "finding", Time: f.Time, Program: short(filepath.Base(f.Program)), Rule: f.Rule, Title: short(f.Title), Severity: f.Severity, Object: short(f.Object)})
	}
	return first
}

// showTo writes to one watcher what is said, and each second how far the
// recording has come.
func (s *server) showTo(r *recording, w *watcher, c net.Conn) {
	out := bufio.NewWriter(c)
	enc := json.NewEncoder(out)
	tell := func(l Sight) error {
		if err := c.SetWriteDeadline(time.Now().Add(watchWithin)); err != nil {
			return err
		}
		return enc.Encode(l)
	}
	status := time.NewTicker(watchInterval)
	defer status.Stop()
	for {
		if n := w.lost.Swap(0); n > 0 {
			if tell(Sight{Kind: "lost", Time: boottime(), Lost: n}) != nil {
				return
			}
		}
		if len(w.lines) == 0 && out.Flush() != nil {
			return
		}
		select {
		case l, ok := <-w.lines:
			if !ok {
				_ = tell(Sight{Kind: "end", Time: boottime()})
				_ = out.Flush()
				return
			}
			if tell(l) != nil {
				return
			}
		case <-status.C:
			if tell(Sight{Kind: "status", Time: boottime(), Status: s.m.status(r)}) != nil || out.Flush() != nil {
				return
			}
		}
	}
}

// close lets all watchers go and removes the socket. Who has not read by then
// what was said does not hold the end up.
func (st *stage) close() {
	if st.l == nil {
		return
	}
	st.l.Close()
	close(st.shut)
	st.end()
	gone := make(chan struct{})
	go func() {
		st.serving.Wait()
		close(gone)
	}()
	select {
	case <-gone:
	case <-time.After(watchEnd):
	}
}

// Watchable returns the sockets of the recordings that can be watched on this
// machine, by root and by who began them. They are read from proc_net_unix(5),
// which says who listens.
func Watchable() ([]string, error) {
	b, err := os.ReadFile("/proc/net/unix")
	if err != nil {
		return nil, err
	}
	return watchSockets(string(b)), nil
}

func watchSockets(table string) (found []string) {
	for line := range strings.Lines(table) {
		// Num RefCount Protocol Flags Type St Inode Path; flags 10000 is that it listens.
		f := strings.Fields(line)
		if len(f) != 8 || f[3] != "00010000" || filepath.Dir(f[7]) != watchFolder || slices.Contains(found, f[7]) {
			continue
		}
		found = append(found, f[7])
	}
	slices.Sort(found)
	return found
}

// ErrNotYours says that the monitor lets nobody of this user watch, or no more.
var ErrNotYours = errors.New("the monitor lets only root and who began the recording watch, 4 of each")

// Watch reads from a monitor's socket what it sees, and calls f with each line
// until the recording has ended or f returns an error, which it returns.
func Watch(socket string, f func(*Sight) error) error {
	c, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		return fmt.Errorf("connecting to the monitor: %w", err)
	}
	defer c.Close()
	if cred, err := newConn(c).peer(); err != nil || cred.Uid != 0 {
		return fmt.Errorf("what answers at %s is not root's: not trusted", socket)
	}
	lines := bufio.NewScanner(c)
	lines.Buffer(nil, maxMessage)
	any := false
	for lines.Scan() {
		any = true
		var s Sight
		if err := json.Unmarshal(lines.Bytes(), &s); err != nil {
			return fmt.Errorf("the monitor said what is no line of it: %w", err)
		}
		if err := f(&s); err != nil {
			return err
		}
		if s.Kind == "end" {
			return nil
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("reading from the monitor: %w", err)
	}
	if !any {
		return ErrNotYours
	}
	return errors.New("the monitor went away: what it had recorded tells why")
}
