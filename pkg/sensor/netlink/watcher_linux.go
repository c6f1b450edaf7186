package netlink

import (
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	nl "github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/sensor"
)

// watcher looks at the sockets of every network namespace that a process is
// in: it lists them now and then, and hears of each that is freed.
type watcher struct {
	queue  *queue
	table  *table
	counts *counts
	poll   time.Duration
	flows  time.Duration // see Options
	poker  poker
	stop   atomic.Bool
	fresh  atomic.Bool // see joined

	spaces map[uint32]*namespace
	finder finder
	own    uint32 // inode of our own network namespace
	buf    []byte
	text   []byte                // a table of /proc
	lists  [len(families)][]byte // requests
	// refused are the lists that the kernel does not have.
	refused  [len(families)]bool
	unix     *unixSockets
	unixList []byte // the request for their list
	noUnix   bool   // there is none
	first    bool
	// swept is when the namespaces of all processes were last read.
	swept time.Time
	// moved is when more of them than that of the network were.
	moved time.Time
	mover *mover
	procs []process
	// busy: a socket is new, or was freed and no list had shown it.
	busy  bool
	execs uint64 // counted at the last round

	mu       sync.Mutex
	problems map[string]bool
	requests []chan struct{}
}

// namespace is a network namespace with its sockets of sock_diag.
type namespace struct {
	*space
	via      uint32 // a process that is in it
	list     *nl.Conn
	listFD   int
	notice   *receiver
	fallback bool // sock_diag is refused: /proc/PID/net is read
	seen     time.Time
}

// Bounds of the watcher.
const (
	namespaceMax = 64
	pollMin      = 5 * time.Millisecond
	pollMax      = time.Second
	noticeBuffer = 4 << 20
	noticeNap    = 5 * time.Millisecond
	sweepPeriod  = time.Second
	// namespaceBudget is of how many processes all namespaces are read in a sweep.
	namespaceBudget = 256
	tableMax        = 16 << 20 // bytes of a table of /proc
	// share is the part of a processor that looking may take: one in share.
	share = 20
)

func newWatcher(q *queue, t *table, c *counts, tick int64, opt Options) (*watcher, error) {
	p, err := newPoker()
	if err != nil {
		return nil, err
	}
	w := &watcher{
		queue: q, table: t, counts: c, poll: opt.Poll, flows: opt.flows, poker: p,
		spaces: map[uint32]*namespace{}, unixList: listRequest(familyUnix, 0, unixStates), first: true,
		finder:   finder{table: t, wanted: map[uint64]uint32{}, found: map[uint64]owner{}},
		buf:      make([]byte, 64<<10),
		problems: map[string]bool{},
	}
	link, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		return nil, fmt.Errorf("our own network namespace: %w", err)
	}
	w.own = parseNamespace([]byte(link))
	w.mover = &mover{table: t, proc: &w.finder.proc, tick: tick, emit: w.emit}
	w.unix = newUnixSockets(w.emit, func() { w.counts.unowned.Add(1) })
	for i := range families {
		w.lists[i] = listRequest(families[i].family, families[i].proto, everyState)
		if families[i].proto == protoTCP {
			w.lists[i] = oneWalkRequest(everyState, 1<<(diagInfo-1))
		}
		w.refused[i] = opt.noQuietDiag && families[i].quiet
	}
	w.sweep(true)
	w.round(false)
	w.first = false
	return w, nil
}

// run looks until it is stopped. It has a thread of its own, so that what a
// look costs can be told from the time it waited for a processor: on a busy
// machine that would make looks rare just when there is much to see.
func (w *watcher) run() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	next := time.Now().Add(w.poll)
	for !w.stop.Load() {
		if wait := time.Until(next); wait > 0 {
			w.listen(wait)
			if w.heard() > 0 {
				// Notices come in crowds: one wake-up for many.
				time.Sleep(noticeNap)
			}
		}
		requests := w.asked()
		if w.fresh.Swap(false) || time.Since(w.swept) > sweepPeriod || len(requests) > 0 {
			w.sweep(len(requests) > 0 || time.Since(w.moved) >= sweepPeriod/2)
		}
		if len(requests) == 0 && time.Now().Before(next) && !w.stop.Load() {
			continue
		}
		if len(requests) > 0 {
			w.mark()
		}
		began := clock(unix.CLOCK_THREAD_CPUTIME_ID)
		w.heard()
		w.round(len(requests) > 0)
		cost := time.Duration(clock(unix.CLOCK_THREAD_CPUTIME_ID) - began)
		for _, r := range requests {
			close(r)
		}
		next = time.Now().Add(w.interval(cost))
	}
	w.mark()
	w.heard()
	w.round(true)
	for _, r := range w.asked() {
		close(r)
	}
	w.close()
}

func (w *watcher) close() {
	for _, ns := range w.spaces {
		ns.close()
	}
	_ = unix.Close(w.poker.fd)
}

// interval returns how long to wait for the next round: short while
// something goes on, since who holds a socket can be found only while it is
// held, and so long that looking stays cheap.
func (w *watcher) interval(cost time.Duration) time.Duration {
	execs := w.counts.execs.Load()
	wait := w.poll
	if w.busy || execs != w.execs {
		wait = min(wait, pollMin)
	}
	w.busy, w.execs = false, execs
	return min(max(wait, share*cost), pollMax)
}

// look makes a round at once and returns when it is over.
func (w *watcher) look() <-chan struct{} {
	done := make(chan struct{})
	w.mu.Lock()
	w.requests = append(w.requests, done)
	w.mu.Unlock()
	w.poker.poke()
	return done
}

func (w *watcher) asked() []chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := w.requests
	w.requests = nil
	return r
}

// listen waits for a notice, a request, or the time of the next round.
func (w *watcher) listen(wait time.Duration) {
	fds := make([]unix.PollFd, 1, 1+len(w.spaces))
	fds[0] = unix.PollFd{Fd: int32(w.poker.fd), Events: unix.POLLIN}
	for _, ns := range w.spaces {
		if ns.notice != nil {
			fds = append(fds, unix.PollFd{Fd: int32(ns.notice.fd), Events: unix.POLLIN})
		}
	}
	_, _ = unix.Poll(fds, int(wait/time.Millisecond)+1)
	if fds[0].Revents != 0 {
		w.poker.clear()
	}
}

// heard takes all notices that wait, and returns how many.
func (w *watcher) heard() (total int) {
	var s socket
	for _, ns := range w.spaces {
		if ns.notice == nil {
			continue
		}
		for {
			n, err := ns.notice.receive()
			if errors.Is(err, unix.ENOBUFS) {
				w.counts.deaf.Add(1)
				ns.deaf = true
				it := w.queue.get()
				now := bootNow()
				it.kind = itemRecord
				it.record = sensor.Record{Kind: event.SensorGap, Time: now, From: now, To: now, Lost: 1,
					Detail: "sock_diag: notices of closed sockets did not fit into the kernel's buffer for us"}
				w.queue.put(it)
				continue
			}
			if err != nil || n == 0 {
				break
			}
			now := bootNow()
			for i := range n {
				b, kernel := ns.notice.message(i)
				if !kernel {
					w.counts.forged.Add(1)
					continue
				}
				total++
				_, _, err := messages(b, func(kind uint16, p []byte) {
					if kind != sockDiagByFamily {
						return
					}
					if err := decodeSocket(p, 0, &s); err != nil {
						w.counts.undecoded.Add(1)
						return
					}
					if _, known := ns.flows[keyOf(&s)]; !known {
						w.busy = true
					}
					ns.freed(&s, now)
				})
				if err != nil {
					w.counts.undecoded.Add(1)
				}
			}
		}
	}
	return total
}

// round lists the sockets of every namespace, finds their owners and tells.
func (w *watcher) round(hurry bool) {
	for _, ns := range w.spaces {
		now := bootNow()
		ns.begin()
		w.listAll(ns, now)
		ns.end(now)
		clear(w.finder.wanted)
		ns.want(func(inode uint64, uid uint32) { w.finder.wanted[inode] = uid })
		w.busy = w.busy || len(w.finder.wanted) > 0
		w.finder.find(ns.inode)
		ns.tell(w.finder.found, bootNow(), hurry)
	}
	w.unixRound(hurry)
}

// families are the lists that are read. Those of quiet sockets come by modules
// of their own, which a kernel need not have: then a table of /proc stands in,
// which says as much of them.
var families = [...]struct {
	family, proto byte
	file          string
	quiet         bool
}{
	{familyInet, protoTCP, "/net/tcp", false}, {familyInet6, protoTCP, "/net/tcp6", false},
	{familyInet, protoUDP, "/net/udp", false}, {familyInet6, protoUDP, "/net/udp6", false},
	{familyInet, protoRaw, "/net/raw", true}, {familyInet6, protoRaw, "/net/raw6", true},
	{familyPacket, 0, "/net/packet", true},
}

// everyState but TIME_WAIT and NEW_SYN_RECV, which are no full sockets.
const everyState = 1<<13 - 1&^(1<<tcpTimeWait|1<<12)

func (w *watcher) listAll(ns *namespace, now int64) {
	for i := range families {
		f := &families[i]
		if !ns.fallback && f.proto == protoTCP && f.family == familyInet6 {
			continue // with those of IPv4, in one walk of the kernel's table: it is what costs
		}
		if !ns.fallback && !w.refused[i] {
			err := w.dump(ns, w.lists[i], func(p []byte) {
				var s socket
				var err error
				switch {
				case f.family == familyPacket:
					err = decodePacket(p, &s)
				case f.proto == protoRaw:
					err = decodeRaw(p, &s)
				default:
					err = decodeSocket(p, event.Proto(f.proto), &s)
				}
				if err != nil {
					w.counts.undecoded.Add(1)
					return
				}
				ns.listed(&s, now)
			})
			switch {
			case err == nil:
				continue
			case f.quiet:
				if !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.EPERM) {
					continue // the next round asks again
				}
				// Asked again, the kernel would look for the module each time.
				w.refused[i] = true
			case f.family == familyInet6:
				continue // a kernel without IPv6
			default:
				w.problem(fmt.Sprintf("netlink: sock_diag is refused (%v): /proc/net is read, without byte counts and without connects to Unix sockets", err))
				ns.fallback = true
			}
		}
		w.text, _ = w.finder.proc.readPath(w.text[:0], w.finder.proc.pidPath(ns.via, f.file), tableMax)
		add := func(s *socket) { ns.listed(s, now) }
		if f.family == familyPacket {
			w.counts.undecoded.Add(uint64(parsePacketTable(w.text, add)))
		} else {
			w.counts.undecoded.Add(uint64(parseNetTable(w.text, event.Proto(f.proto), add)))
		}
	}
}

// dump asks for a list and calls f with each entry.
func (w *watcher) dump(ns *namespace, request []byte, f func([]byte)) error {
	return dump(ns.listFD, w.buf, w.counts, request, func(p []byte) bool { f(p); return true })
}

// sweep reads which namespace each process is in, opens the new ones and
// closes those that nobody is in any more. Of most processes only the network
// namespace is read: that it is entered must not wait. With more all of them
// are, of some processes.
func (w *watcher) sweep(more bool) {
	w.swept = time.Now()
	w.procs = w.table.pids(w.procs[:0])
	w.enter(w.own, uint32(os.Getpid()))
	budget := 0
	if more {
		// It is the same for every sweep, however many processes there are. They
		// come in another order each time, those that were never read first.
		w.moved, budget = w.swept, namespaceBudget
		n := 0
		for i := range w.procs {
			if !w.procs[i].own {
				w.procs[n], w.procs[i] = w.procs[i], w.procs[n]
				n++
			}
		}
	}
	for i := range w.procs {
		p := &w.procs[i]
		var ns event.Namespaces
		at := bootNow()
		if budget > 0 {
			budget--
			ns = w.finder.proc.namespacesOf(p.pid)
		} else {
			ns = event.Namespaces{Net: w.finder.proc.namespaceOf(p.pid)}
		}
		if ns.Net == 0 {
			continue
		}
		switch {
		case elsewhere(p.ns, ns):
			if ns = w.mover.living(*p); ns.Net == 0 {
				continue // the number is another's by now
			}
			w.mover.read(*p, ns, at, bootNow())
		case p.ns.Net == 0 || !p.own && ns.Mount != 0:
			w.table.inside(p.pid, p.start, ns, at)
		}
		w.enter(ns.Net, p.pid)
	}
	for inode, ns := range w.spaces {
		if time.Since(ns.seen) > 2*sweepPeriod {
			ns.begin()
			ns.notices = false
			ns.end(bootNow()) // an empty list: all is over
			ns.close()
			delete(w.spaces, inode)
		}
	}
}

// joined is called by the dispatcher where a process is in a namespace that it
// has not seen before, so that one that lives shortly is entered.
func (w *watcher) joined() {
	w.fresh.Store(true)
	w.poker.poke()
}

// enter makes sure that a namespace is watched.
func (w *watcher) enter(inode, pid uint32) {
	if ns := w.spaces[inode]; ns != nil {
		ns.seen, ns.via = time.Now(), pid
		return
	}
	if len(w.spaces) >= namespaceMax {
		w.problem(fmt.Sprintf("netlink: more than %d network namespaces: the sockets of the rest are not seen", namespaceMax))
		return
	}
	ns, err := w.openNamespace(inode, pid)
	if err != nil {
		// A process that ended meanwhile is no problem.
		if !errors.Is(err, os.ErrNotExist) && !errors.Is(err, unix.ESRCH) {
			w.problem(fmt.Sprintf("netlink: the sockets of a network namespace are not seen: %v", err))
		}
		return
	}
	w.spaces[inode] = ns
}

func (w *watcher) openNamespace(inode, pid uint32) (*namespace, error) {
	netns := 0
	if inode != w.own {
		f, err := os.Open("/proc/" + strconv.Itoa(int(pid)) + "/ns/net")
		if err != nil {
			return nil, err
		}
		defer f.Close()
		var st unix.Stat_t
		if err := unix.Fstat(int(f.Fd()), &st); err != nil {
			return nil, err
		}
		if uint32(st.Ino) != inode {
			return nil, os.ErrNotExist // it has moved on; the next sweep sees where
		}
		netns = int(f.Fd())
	}
	ns := &namespace{space: newSpace(inode, w.emit, func() { w.counts.unowned.Add(1) }, func() { w.counts.blank.Add(1) }), via: pid, seen: time.Now()}
	// Sockets of a namespace that is new to us are not old, but those that
	// were there when the sensor started.
	ns.first = w.first
	ns.period = int64(w.flows)
	ns.ports()
	conn, fd, err := dial(unix.NETLINK_SOCK_DIAG, 0, 0, netns)
	if err != nil {
		if netns == 0 {
			w.problem(fmt.Sprintf("netlink: sock_diag is refused (%v): /proc/net is read, without byte counts and without connects to Unix sockets", err))
		}
		ns.fallback = true
		return ns, nil
	}
	ns.list, ns.listFD = conn, fd
	heard, fd, err := dial(unix.NETLINK_SOCK_DIAG, 0, noticeBuffer, netns)
	if err == nil {
		for _, group := range []uint32{tcpDestroy, udpDestroy, tcp6Destroy, udp6Destroy} {
			if err = heard.JoinGroup(group); err != nil {
				break
			}
		}
		if err == nil {
			ns.notice, ns.notices = newReceiver(heard, fd), true
			return ns, nil
		}
		heard.Close()
	}
	w.problem(fmt.Sprintf("netlink: no notices of closed sockets (%v): connections shorter than the poll are not seen", err))
	return ns, nil
}

func (ns *namespace) close() {
	if ns.list != nil {
		ns.list.Close()
	}
	if ns.notice != nil {
		ns.notice.conn.Close()
	}
}

// ports reads which ports the kernel chooses itself. Other namespaces may have
// another range; theirs is rarely changed.
func (ns *namespace) ports() {
	b, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		return
	}
	f := strings.Fields(string(b))
	if len(f) != 2 {
		return
	}
	low, err1 := strconv.ParseUint(f[0], 10, 16)
	high, err2 := strconv.ParseUint(f[1], 10, 16)
	if err1 == nil && err2 == nil && low <= high {
		ns.lowPort, ns.highPort = uint16(low), uint16(high)
	}
}

// emit hands a record over. Path is copied.
func (w *watcher) emit(r *sensor.Record) {
	it := w.queue.get()
	it.kind, it.record = itemRecord, *r
	if len(r.Path) > 0 {
		it.bytes = append(it.bytes[:0], r.Path...)
		it.record.Path = it.bytes
	}
	w.counts.sockets.Add(1)
	w.queue.put(it)
}

// unixRound lists the Unix sockets of every namespace and tells of new
// connections to named ones. Both ends of one are in the namespace of who
// connected; the name of where datagrams go to may be in another.
func (w *watcher) unixRound(hurry bool) {
	w.unix.begin()
	for _, ns := range w.spaces {
		if ns.fallback || w.noUnix {
			continue // told as a problem
		}
		room := true
		err := w.dump(ns, w.unixList, func(p []byte) {
			var s socket
			if err := decodeUnix(p, &s); err != nil {
				w.counts.undecoded.Add(1)
				return
			}
			room = w.unix.listed(&s, w.first) && room
		})
		switch {
		case err == nil && room:
		case err == nil:
			w.problem(fmt.Sprintf("netlink: more than %d Unix sockets: connects to the rest are not seen", unixMax))
		case errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EPERM):
			w.noUnix = true
			w.problem(fmt.Sprintf("netlink: sock_diag of Unix sockets is refused (%v): no connect to one is seen", err))
		default:
			return // what this list lacks is not gone
		}
	}
	w.unix.end(bootNow())
	clear(w.finder.wanted)
	w.unix.want(func(inode uint64, uid uint32) { w.finder.wanted[inode] = uid })
	w.busy = w.busy || len(w.finder.wanted) > 0
	w.finder.find(0)
	w.unix.tell(w.finder.found, bootNow(), hurry)
}

// mark frees a socket of our own and waits for its notice, so that the notices
// of what was freed before are heard too. The kernel sends them from a work
// queue, so it is nearly, not quite, in order.
func (w *watcher) mark() {
	ns := w.spaces[w.own]
	if ns == nil || !ns.notices {
		return
	}
	conn, err := net.DialUDP("udp4", nil, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9})
	if err != nil {
		return
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		conn.Close()
		return
	}
	var cookie uint64
	_ = raw.Control(func(fd uintptr) { cookie, _ = unix.GetsockoptUint64(int(fd), unix.SOL_SOCKET, unix.SO_COOKIE) })
	if cookie != 0 {
		ns.ignore[cookie] = true
	}
	conn.Close()
	for deadline := time.Now().Add(100 * time.Millisecond); ns.ignore[cookie] && time.Now().Before(deadline); {
		w.listen(time.Until(deadline))
		w.heard()
	}
}

func (w *watcher) problem(line string) {
	w.mu.Lock()
	w.problems[line] = true
	w.mu.Unlock()
}

func (w *watcher) check() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var lines []string
	for p := range w.problems {
		lines = append(lines, p)
	}
	return lines
}
