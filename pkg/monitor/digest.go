package monitor

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"runtime"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/process"
	"github.com/org/edamame-posture/pkg/redact"
	"github.com/org/edamame-posture/pkg/sensor"
)

// Bounds of digesting what a recording executes. What they cost is told by an
// event without a digest, and no grant by digest explains it.
const (
	maxDigestBytes = 512 << 20 // of one file
	maxDigestRate  = 256 << 20 // bytes a second
	maxDigestAsked = 1 << 14   // files of a recording
	maxDigestQueue = 1024      // files that wait to be opened
	maxDigestOpen  = 64        // opened files that wait to be read
	maxRoots       = 8         // processes whose view of the files is tried
	// digestWithin is how long the end of a recording waits for what is still
	// being read.
	digestWithin = 3 * time.Second
	// digestNice leaves the processors to the job: a tenth of one, where it
	// wants all.
	digestNice = 10
)

// Why a file has no digest. One reason is told for each.
var (
	whyBusy     = redact.Const("too many files were executed at once")
	whyLate     = redact.Const("it was not read in time before the end")
	whyLarge    = redact.Const("the file is larger than 512 MiB")
	whyGone     = redact.Const("its process had ended, and no name leads to the file any more")
	whyOther    = redact.Const("its process had ended, and its path leads to another file now, or to another content")
	whyChanged  = redact.Const("the file was changed after it was executed, or while it was read")
	whyRacy     = redact.Const("the file was changed just before it was executed: two contents could have the same time")
	whyMemory   = redact.Const("the file is on tmpfs, where a write can leave no sign, and nothing kept it from being written")
	whyForeign  = redact.Const("the file is on a file system that need not give everybody the same content")
	whyUnread   = redact.Const("the file could not be read")
	whyNoScript = redact.Const("the script's path leads to no file that can be read")
)

// content says which content of which file is meant.
type content struct {
	file  event.FileID
	ctime int64 // Unix nanoseconds
	size  uint64
}

// executed is a file whose digest is asked for.
type executed struct {
	actor   event.Actor
	via     event.Via
	at      int64 // boot time of the exec
	content       // as it was then; zero for a script, of which nobody knows
	// name is the path to find it by, absolute, in the job's own bytes; nameless
	// says that it had none at the exec.
	name     string
	nameless bool
	script   bool
	roots    []uint32 // processes below whose roots the path is looked for

	exe, filename, cwd redact.Text // for the event
}

// digester finds out what the executed files of a recording hold, beside the
// way of events: one goroutine opens them as soon as it can, before their
// processes are gone, and another reads them. Either may hang on a file system
// that does not answer; then what waits is told at the end.
//
// A digest is told only of a content that is the executed one for certain:
//
//   - The inode was changed last well before the exec, and not since. The time
//     has the resolution of a tick, so what was changed just before could be
//     changed again without a sign; and tmpfs does not tell of writes to memory
//     that is mapped.
//   - Or the process still runs the image: the kernel refuses to write a file
//     that is executed (ETXTBSY).
type digester struct {
	m *Monitor
	r *recording

	// These are guarded by the monitor's lock.
	asked   map[content]bool
	waiting []*executed
	changed chan struct{} // something is no longer waiting
	full    bool
	running bool
	closed  bool

	queue chan *executed
	files chan *openedFile
	stop  chan struct{}

	scripts map[string]content // the opener's: what a path led to when last looked at
}

// openedFile is a file that waits to be read.
type openedFile struct {
	*executed
	content content // as it was when it was opened; of a program, executed
	f       *os.File
	lasting bool // its file system changes the inode's time at each write
}

func newDigester(m *Monitor, r *recording) *digester {
	return &digester{
		m: m, r: r, asked: map[content]bool{}, changed: make(chan struct{}, 1),
		queue: make(chan *executed, maxDigestQueue), files: make(chan *openedFile, maxDigestOpen), stop: make(chan struct{}),
		scripts: map[string]content{},
	}
}

// ask has the file of an exec digested, once for each content; and its script's
// at each exec, since it is not known what of that was read. ev is the exec's
// event. The monitor's lock is held.
func (d *digester) ask(rec *sensor.Record, p *process.Process, ev *event.Event) {
	if d.closed || p == nil {
		return
	}
	x := executed{actor: p.Actor, via: ev.Via, at: rec.Time, exe: ev.Exe, filename: ev.Filename, cwd: ev.Cwd}
	if rec.Image&event.Script != 0 && len(rec.Filename) > 0 {
		name := string(rec.Filename)
		if name[0] != '/' {
			name = string(rec.Cwd) + "/" + name
		}
		s := x
		s.script, s.name, s.roots = true, name, roots(p)
		d.enqueue(&s)
	}
	c := content{rec.File, rec.CTime, rec.Size}
	if c.ctime == 0 || d.asked[c] {
		return
	}
	if len(d.asked) >= maxDigestAsked {
		if !d.full {
			d.full = true
			d.r.note(redact.Const("more files were executed than are digested: those after them have no digest"), maxDigestAsked)
		}
		return
	}
	d.asked[c] = true
	// Only what is new is copied to the heap.
	program := x
	program.content, program.name, program.roots = c, string(rec.Exe), roots(p)
	program.nameless = rec.Image&(event.Memfd|event.Deleted) != 0
	d.enqueue(&program)
}

// roots are the processes in whose eyes a path is looked for: the one that
// executed it, and those that it came from.
func roots(p *process.Process) []uint32 {
	list := make([]uint32, 0, maxRoots)
	for a := p; a != nil && len(list) < maxRoots; a = a.Parent {
		if a == p || a.Alive {
			list = append(list, a.Actor.PID)
		}
	}
	return list
}

func (d *digester) enqueue(x *executed) {
	if !d.running {
		d.running = true
		go d.open()
		go d.read()
	}
	select {
	case d.queue <- x:
		d.waiting = append(d.waiting, x)
	default:
		d.tell(x, x.content, event.SHA256{}, whyBusy)
	}
}

// tell writes what is known of a file. The monitor's lock is held.
func (d *digester) tell(x *executed, c content, sum event.SHA256, why redact.Text) {
	ev := d.r.blank(event.Digest, boottime())
	ev.Actor, ev.Via, ev.Exe = x.actor, x.via, x.exe
	ev.File, ev.CTime, ev.Size, ev.SHA256, ev.Detail = c.file, c.ctime, c.size, sum, why
	if x.script {
		ev.Image, ev.Filename, ev.Cwd = event.Script, x.filename, x.cwd
	}
	d.r.append(ev)
}

// answer tells what was found out, unless the recording has ended. With neither
// digest nor reason there is nothing new to tell.
func (d *digester) answer(x *executed, c content, sum event.SHA256, why redact.Text) {
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	if d.closed {
		return
	}
	for i := range d.waiting {
		if d.waiting[i] == x {
			d.waiting = append(d.waiting[:i], d.waiting[i+1:]...)
			break
		}
	}
	if !sum.IsZero() || !why.IsZero() {
		d.tell(x, c, sum, why)
	}
	select {
	case d.changed <- struct{}{}:
	default:
	}
}

// wait returns when nothing waits any more, or after digestWithin.
func (d *digester) wait() {
	late := time.NewTimer(digestWithin)
	defer late.Stop()
	for {
		d.m.mu.Lock()
		n := len(d.waiting)
		d.m.mu.Unlock()
		if n == 0 {
			return
		}
		select {
		case <-d.changed:
		case <-late.C:
			return
		}
	}
}

// end tells what is still waiting. The monitor's lock is held.
func (d *digester) end() {
	for _, x := range d.waiting {
		d.tell(x, x.content, event.SHA256{}, whyLate)
	}
	d.closed, d.waiting = true, nil
	close(d.stop)
}

// open is the goroutine that opens what was executed.
func (d *digester) open() {
	defer close(d.files)
	for {
		var x *executed
		select {
		case <-d.stop:
			return
		case x = <-d.queue:
		}
		f, why := d.find(x)
		if f == nil {
			d.answer(x, x.content, event.SHA256{}, why)
			continue
		}
		select {
		case <-d.stop:
			f.f.Close()
			return
		case d.files <- f:
		}
	}
}

// find opens the file that was executed, and no other.
func (d *digester) find(x *executed) (*openedFile, redact.Text) {
	if x.script {
		return d.findScript(x)
	}
	why := whyOther
	if fd, err := unix.Open("/proc/"+strconv.FormatUint(uint64(x.actor.PID), 10)+"/exe", wayFlags, 0); err == nil {
		st, magic, err := stat(fd)
		if err == nil && x.same(&st, magic) {
			return read(x, x.content, fd, magic)
		}
		unix.Close(fd)
		if errors.Is(err, errForeign) {
			why = whyForeign
		}
	}
	if x.nameless {
		return nil, whyGone
	}
	for _, pid := range append(x.roots, 0) {
		fd, err := openBelow(pid, x.name)
		if err != nil {
			continue
		}
		st, magic, err := stat(fd)
		if err == nil && x.same(&st, magic) && x.is(&st) {
			return read(x, x.content, fd, magic)
		}
		unix.Close(fd)
		if errors.Is(err, errForeign) {
			why = whyForeign
		}
	}
	return nil, why
}

// findScript opens the file that a script's path leads to, in the eyes of its
// process or, where that has ended, of what it came from.
func (d *digester) findScript(x *executed) (*openedFile, redact.Text) {
	for _, pid := range append(x.roots, 0) {
		fd, err := openBelow(pid, x.name)
		if err != nil {
			continue
		}
		st, magic, err := stat(fd)
		if err != nil {
			unix.Close(fd)
			if errors.Is(err, errForeign) {
				return nil, whyForeign
			}
			continue
		}
		c := content{event.FileID{Dev: uint64(st.Dev), Inode: st.Ino}, st.Ctim.Nano(), uint64(st.Size)}
		if d.scripts[x.name] == c && c.settled(x.at) && lasting[magic] {
			unix.Close(fd)
			return nil, redact.Text{} // as it was told
		}
		if len(d.scripts) >= maxDigestAsked {
			clear(d.scripts)
		}
		d.scripts[x.name] = c
		return read(x, c, fd, magic)
	}
	return nil, whyNoScript
}

// same reports whether an opened file is the inode that is meant.
func (c *content) same(st *unix.Stat_t, magic int64) bool {
	// Over these, stat(2) gives another device than the kernel's own.
	layered := magic == unix.BTRFS_SUPER_MAGIC || magic == unix.OVERLAYFS_SUPER_MAGIC
	return st.Ino == c.file.Inode && (uint64(st.Dev) == c.file.Dev || layered)
}

// is reports whether the inode has not been changed since.
func (c *content) is(st *unix.Stat_t) bool {
	return st.Ctim.Nano() == c.ctime && uint64(st.Size) == c.size
}

// settled reports whether the inode was changed last so long before a boot time
// that another change after that would have another time.
func (c *content) settled(at int64) bool { return c.ctime+int64(tick()) < at+wallOffset() }

// tick is how far apart two changes of an inode are that have different times
// for certain: four times the resolution that the kernel tells, since on a
// virtual machine a tick may come late.
var tick = sync.OnceValue(func() time.Duration {
	var res unix.Timespec
	if err := unix.ClockGetres(unix.CLOCK_REALTIME_COARSE, &res); err != nil || res.Nano() <= 0 {
		res = unix.NsecToTimespec(int64(10 * time.Millisecond))
	}
	return time.Duration(4 * res.Nano())
})

const (
	// wayFlags open the way to a file, not the file: to open a device can do
	// something, and a file of FUSE may never answer.
	wayFlags = unix.O_PATH | unix.O_CLOEXEC
	// readFlags open a file to read it, without waiting and without a trace.
	readFlags = unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NONBLOCK | unix.O_NOATIME
)

// openBelow opens the way to a path below a process's root, 0 for the
// monitor's own.
func openBelow(pid uint32, name string) (int, error) {
	dir := "/"
	if pid != 0 {
		dir = "/proc/" + strconv.FormatUint(uint64(pid), 10) + "/root"
	}
	root, err := unix.Open(dir, wayFlags, 0)
	if err != nil {
		return -1, err
	}
	defer unix.Close(root)
	return unix.Openat2(root, name, &unix.OpenHow{Flags: wayFlags, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS})
}

var errForeign = errors.New("a file system on which nothing is digested")

// stat tells what a descriptor leads to, and on which file system. It fails
// for all but regular files, and asks nobody who serves a file system.
func stat(fd int) (st unix.Stat_t, magic int64, err error) {
	var fs unix.Statfs_t
	if err = unix.Fstatfs(fd, &fs); err != nil {
		return st, 0, err
	}
	if magic = int64(uint32(fs.Type)); !lasting[magic] && !memory[magic] {
		return st, magic, errForeign
	}
	if err = unix.Fstat(fd, &st); err == nil && st.Mode&unix.S_IFMT != unix.S_IFREG {
		err = unix.EINVAL
	}
	return st, magic, err
}

// The file systems whose files can be digested. Of any other, such as FUSE and
// those of a network, it is not certain that the kernel executed what is read
// now. Of lasting ones each write changes the inode's time.
var (
	lasting = map[int64]bool{
		unix.EXT4_SUPER_MAGIC: true, unix.XFS_SUPER_MAGIC: true, unix.BTRFS_SUPER_MAGIC: true, unix.F2FS_SUPER_MAGIC: true,
		unix.OVERLAYFS_SUPER_MAGIC: true, unix.SQUASHFS_MAGIC: true, unix.EROFS_SUPER_MAGIC_V1: true, unix.ISOFS_SUPER_MAGIC: true,
	}
	memory = map[int64]bool{unix.TMPFS_MAGIC: true, unix.RAMFS_MAGIC: true}
)

// read opens a file to be read, by the way to it, or says why it is not.
func read(x *executed, c content, way int, magic int64) (*openedFile, redact.Text) {
	defer unix.Close(way)
	if c.size > maxDigestBytes {
		return nil, whyLarge
	}
	f, err := os.OpenFile("/proc/self/fd/"+strconv.Itoa(way), readFlags, 0)
	if err != nil {
		return nil, whyUnread
	}
	return &openedFile{executed: x, content: c, f: f, lasting: lasting[magic]}, redact.Text{}
}

// read is the goroutine that reads what was opened.
func (d *digester) read() {
	// The thread ends with it: its priority is its own.
	runtime.LockOSThread()
	_ = unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), digestNice)
	buf := make([]byte, 1<<20)
	for x := range d.files {
		sum, why := d.sum(x, buf)
		x.f.Close()
		d.answer(x.executed, x.content, sum, why)
	}
}

// sum digests a file and says why the result would not be of what was executed.
func (d *digester) sum(x *openedFile, buf []byte) (event.SHA256, redact.Text) {
	h := sha256.New()
	began, n := time.Now(), int64(0)
	for {
		select {
		case <-d.stop:
			return event.SHA256{}, whyLate
		default:
		}
		got, err := x.f.Read(buf)
		h.Write(buf[:got])
		n += int64(got)
		if errors.Is(err, io.EOF) {
			break
		}
		switch {
		case err != nil:
			return event.SHA256{}, whyUnread
		case n > maxDigestBytes:
			return event.SHA256{}, whyLarge
		}
		time.Sleep(time.Duration(n)*time.Second/maxDigestRate - time.Since(began))
	}
	if why := d.doubt(x); !why.IsZero() {
		return event.SHA256{}, why
	}
	return event.SHA256(h.Sum(nil)), redact.Text{}
}

// doubt says why what was read may be another content than what was executed,
// or nothing.
func (d *digester) doubt(x *openedFile) redact.Text {
	var st unix.Stat_t
	if err := unix.Fstat(int(x.f.Fd()), &st); err != nil {
		return whyUnread
	}
	unchanged := x.content.is(&st)
	switch {
	case unchanged && x.lasting && x.content.settled(x.at), !x.script && d.held(x.executed):
		return redact.Text{}
	case !unchanged:
		return whyChanged
	case !x.lasting:
		return whyMemory
	}
	return whyRacy
}

// held reports whether the process has run the image from its exec until now,
// and past the tick in which the file was changed: nobody could write it.
func (d *digester) held(x *executed) bool {
	if !refusesWrites() {
		return false
	}
	if rest := x.ctime + int64(tick()) - time.Now().UnixNano(); rest > 0 {
		time.Sleep(min(time.Duration(rest), tick()))
	}
	// All that happened until here is known to the table after this.
	ctx, cancel := context.WithTimeout(context.Background(), digestWithin)
	defer cancel()
	if d.m.catchUp(ctx) != nil {
		return false
	}
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	p := d.m.table.Find(x.actor.PID, x.actor.Start)
	return p != nil && p.Alive && p.Actor == x.actor
}

// refusesWrites reports whether this kernel lets nobody write what is executed.
// From 6.11 on to 6.12 it did.
var refusesWrites = sync.OnceValue(func() bool {
	fd, err := unix.Open("/proc/self/exe", unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err == nil {
		unix.Close(fd)
	}
	return errors.Is(err, unix.ETXTBSY)
})
