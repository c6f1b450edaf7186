package ebpf

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	bpf "github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/sensor"
)

// tlsPrefixes are the names of libraries that TLS is written by.
var tlsPrefixes = []string{"libssl.so", "libssl3.so", "libssl-", "libgnutls.so"}

// tlsLibraries are attached to before anything runs: a program may be over soon
// after it was started. tlsNodes are large, and take longer to start than to
// be looked at: a machine may have a dozen of them, and those are attached to
// beside the way, first of all.
var (
	tlsLibraries = []string{
		"/usr/lib/*-linux-gnu/libssl.so.*", "/usr/lib/*-linux-gnu/libgnutls.so.*", "/usr/lib64/libssl.so.*", "/usr/lib64/libgnutls.so.*",
		"/usr/lib/libssl.so.*", "/usr/lib/libgnutls.so.*", "/lib/libssl.so.*", "/usr/local/lib*/libssl.so.*",
	}
	tlsNodes = []string{"/usr/bin/node", "/usr/local/bin/node", "/opt/hostedtoolcache/node/*/*/bin/node", "/home/runner/*/externals*/node*/bin/node"}
)

const (
	maxTLSFiles = 128  // that are probed at once
	maxTLSQueue = 256  // that wait to be looked at
	maxTLSKnown = 4096 // that were looked at
	// tlsAgain is how long a library that was looked at is taken to be the same.
	tlsAgain = time.Second
	// tlsSweep is how often it is looked for files that were removed.
	tlsSweep = 10 * time.Second
)

// tlsPrograms are the programs that are attached to files, by what they stand at.
var tlsPrograms = []string{"on_tls_write", "on_tls_write_ex", "on_tls_written", "on_tls_free", "on_go_write"}

// tlsFile is a file that is or is not probed.
type tlsFile struct {
	links []link.Link
	ids   []kernelObject
	way   *os.File // to the file that is probed (O_PATH): it may be removed
	used  int64    // boot time at which it was last opened or executed
}

// contentID says which content of a file was looked at.
type contentID struct {
	dev, inode  uint64
	ctime, size int64
}

// candidate is a file that was executed, or opened as a library.
type candidate struct {
	pid  uint32
	exec bool
	path string
	file event.FileID
	at   int64
}

// tlsProbes puts the programs of bpf/tls.h where TLS is written, in the files
// that processes execute and map. Each content is looked at once, beside the way
// of records, and attached to for all processes.
type tlsProbes struct {
	progs map[string]*bpf.Program
	multi bool // the kernel attaches to many places by one link (6.6)
	own   *ownObjects
	logf  func(string, ...any)

	queue chan candidate
	stop  chan struct{}
	ended chan struct{}
	// begun is closed when the libraries that were there at the start have been
	// looked at.
	begun chan struct{}

	// asked belongs to the reader: when a file was last asked for.
	asked map[event.FileID]int64

	mu       sync.Mutex // guards files and gone
	files    map[contentID]*tlsFile
	gone     []kernelObject // links that were let go, and may still be named by a record
	attached atomic.Int64
	skipped  atomic.Uint64 // files for which there was no room
}

func newTLSProbes(l *loaded, own *ownObjects, logf func(string, ...any)) *tlsProbes {
	t := &tlsProbes{
		progs: map[string]*bpf.Program{}, multi: l.multi, own: own, logf: logf,
		queue: make(chan candidate, maxTLSQueue), stop: make(chan struct{}), ended: make(chan struct{}), begun: make(chan struct{}),
		asked: map[event.FileID]int64{}, files: map[contentID]*tlsFile{},
	}
	for _, name := range tlsPrograms {
		if t.progs[name] = l.coll.Programs[name]; t.progs[name] == nil {
			return nil
		}
	}
	go t.run()
	return t
}

// lookAt attaches to the files that are there.
func (t *tlsProbes) lookAt(patterns []string) {
	for _, pattern := range patterns {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			continue
		}
		for _, path := range paths {
			select {
			case <-t.stop:
				return
			default:
				t.look(&candidate{path: path, at: boottime()})
			}
		}
	}
}

// see takes note of a file that a record tells of. It is the reader's.
func (t *tlsProbes) see(rec *sensor.Record) {
	switch {
	case rec.File.Inode == 0:
		return
	case rec.Kind == event.Exec:
	case rec.Kind == event.Open && rec.Watched && rec.Err == 0 && isTLSLibrary(rec.Path):
	default:
		return
	}
	if last, ok := t.asked[rec.File]; ok && rec.Time-last < int64(tlsAgain) {
		return
	}
	if len(t.asked) >= maxTLSKnown {
		clear(t.asked)
	}
	t.asked[rec.File] = rec.Time
	c := candidate{pid: rec.PID, exec: rec.Kind == event.Exec, file: rec.File, at: rec.Time}
	if c.exec {
		c.path = string(rec.Exe)
	} else {
		c.path = string(rec.Path)
	}
	select {
	case t.queue <- c:
	default:
		t.skipped.Add(1)
		delete(t.asked, rec.File)
	}
}

func isTLSLibrary(path []byte) bool {
	name := path
	for i := len(path) - 1; i >= 0; i-- {
		if path[i] == '/' {
			name = path[i+1:]
			break
		}
	}
	for _, p := range tlsPrefixes {
		if len(name) >= len(p) && string(name[:len(p)]) == p {
			return true
		}
	}
	return false
}

func (t *tlsProbes) run() {
	defer close(t.ended)
	t.lookAt(tlsLibraries)
	close(t.begun)
	var nodes sync.WaitGroup
	nodes.Go(func() { t.lookAt(tlsNodes) })
	defer nodes.Wait()
	tick := time.NewTicker(tlsSweep)
	defer tick.Stop()
	for {
		select {
		case <-t.stop:
			return
		case c := <-t.queue:
			t.look(&c)
		case <-tick.C:
			t.sweep("/proc")
		}
	}
}

// sweep lets go of files that were removed and that no process runs or maps any
// more: a probe holds a file, and with it its room on the disk.
func (t *tlsProbes) sweep(proc string) {
	removed := map[uint64]contentID{}
	t.mu.Lock()
	t.own.forget(t.gone...)
	t.gone = nil
	for id, f := range t.files {
		var st unix.Stat_t
		if f.way != nil && f.used < boottime()-int64(tlsSweep/2) && unix.Fstat(int(f.way.Fd()), &st) == nil && st.Nlink == 0 {
			removed[id.inode] = id
		}
	}
	t.mu.Unlock()
	if len(removed) == 0 {
		return
	}
	mapped(proc, func(inode uint64) { delete(removed, inode) })
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, id := range removed {
		f := t.files[id]
		if f == nil || f.used >= boottime()-int64(tlsSweep/2) {
			continue
		}
		t.letGo(f)
		delete(t.files, id)
	}
}

// mapped gives the inodes of the files that processes have mapped, by number
// alone: over some file systems devices have two numbers.
func mapped(proc string, found func(inode uint64)) {
	lists, err := filepath.Glob(proc + "/[0-9]*/maps")
	if err != nil {
		return
	}
	for _, list := range lists {
		b, err := os.ReadFile(list)
		if err != nil {
			continue // it has ended
		}
		for line := range bytes.Lines(b) {
			// address perms offset dev inode path: proc_pid_maps(5)
			f := bytes.Fields(line)
			if len(f) < 6 {
				continue
			}
			if inode, err := strconv.ParseUint(string(f[4]), 10, 64); err == nil && inode != 0 {
				found(inode)
			}
		}
	}
}

func (t *tlsProbes) close() {
	close(t.stop)
	<-t.ended
	t.mu.Lock()
	defer t.mu.Unlock()
	// The kernel waits for each link until no processor is in its program any more,
	// and for several of them in the time of one. Each wait takes a thread.
	var all sync.WaitGroup
	some := make(chan struct{}, 16)
	for _, f := range t.files {
		if len(f.links) > 0 {
			some <- struct{}{}
			all.Go(func() { f.detach(); <-some })
		}
	}
	all.Wait()
	t.files = nil
}

func (f *tlsFile) detach() {
	for _, l := range f.links {
		_ = l.Close()
	}
	f.links = nil
	if f.way != nil {
		_ = f.way.Close()
		f.way = nil
	}
}

// letGo takes the programs out of a file that is no longer probed.
func (t *tlsProbes) letGo(f *tlsFile) {
	if len(f.links) > 0 {
		t.attached.Add(-1)
	}
	f.detach()
	t.gone = append(t.gone, f.ids...)
	f.ids = nil
}

// look opens a file as its process saw it and attaches to it, once for each
// content.
func (t *tlsProbes) look(c *candidate) {
	fd, st, err := c.open()
	if err != nil {
		return
	}
	defer unix.Close(fd)
	id := contentID{uint64(st.Dev), st.Ino, st.Ctim.Nano(), st.Size}
	f := t.note(id, c.at)
	if f == nil {
		return
	}
	path := "/proc/self/fd/" + strconv.Itoa(fd)
	file, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOATIME, 0)
	if err != nil {
		return
	}
	p, err := findPlaces(io.NewSectionReader(file, 0, st.Size))
	file.Close()
	if err != nil || p.none() {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.files[id] != f {
		return // forgotten meanwhile
	}
	if err := t.attach(f, path, &p); err != nil {
		f.detach()
		t.gone = append(t.gone, f.ids...)
		f.ids = nil
		t.logf("TLS of %s is not read: %v", c.path, err)
		return
	}
	t.attached.Add(1)
	if way, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0); err == nil {
		f.way = os.NewFile(uintptr(way), c.path)
	}
}

// note takes a content down as one that is looked at; nil where it was.
func (t *tlsProbes) note(id contentID, at int64) *tlsFile {
	t.mu.Lock()
	defer t.mu.Unlock()
	if f := t.files[id]; f != nil {
		f.used = at
		return nil
	}
	t.makeRoom()
	f := &tlsFile{used: at}
	t.files[id] = f
	return f
}

// makeRoom forgets the files that were used least lately where there is no room.
func (t *tlsProbes) makeRoom() {
	probed := 0
	for _, f := range t.files {
		if len(f.links) > 0 {
			probed++
		}
	}
	for probed >= maxTLSFiles || len(t.files) >= maxTLSKnown {
		var oldest contentID
		var least *tlsFile
		for id, f := range t.files {
			if probed >= maxTLSFiles && len(f.links) == 0 {
				continue
			}
			if least == nil || f.used < least.used {
				oldest, least = id, f
			}
		}
		if least == nil {
			return
		}
		if len(least.links) > 0 {
			probed--
		}
		t.letGo(least)
		delete(t.files, oldest)
	}
}

// The file systems on which nothing is looked at: who serves them may never
// answer (linux/magic.h).
var unanswering = map[int64]bool{unix.FUSE_SUPER_MAGIC: true, unix.NFS_SUPER_MAGIC: true, 0xff534d42: true, 0xfe534d42: true}

var errOther = errors.New("another file has its path")

// open returns the way to the file (O_PATH), which is the one that the kernel
// saw and no other.
func (c *candidate) open() (fd int, st unix.Stat_t, err error) {
	const flags = unix.O_PATH | unix.O_CLOEXEC
	proc := "/proc/" + strconv.FormatUint(uint64(c.pid), 10)
	var tries []string
	if c.exec {
		tries = append(tries, proc+"/exe")
	}
	if c.pid != 0 {
		tries = append(tries, proc+"/root"+c.path)
	}
	for _, path := range append(tries, c.path) {
		if fd, err = unix.Open(path, flags, 0); err != nil {
			continue
		}
		var fs unix.Statfs_t
		if err = unix.Fstatfs(fd, &fs); err == nil && unanswering[int64(uint32(fs.Type))] {
			err = errOther
		}
		if err == nil {
			err = unix.Fstat(fd, &st)
		}
		layered := int64(uint32(fs.Type)) == unix.BTRFS_SUPER_MAGIC || int64(uint32(fs.Type)) == unix.OVERLAYFS_SUPER_MAGIC
		switch {
		case err != nil:
		case st.Mode&unix.S_IFMT != unix.S_IFREG:
			err = errOther
		case c.file.Inode != 0 && (st.Ino != c.file.Inode || st.Dev != c.file.Dev && !layered):
			err = errOther
		default:
			return fd, st, nil
		}
		unix.Close(fd)
	}
	return -1, st, err
}

// attach puts the programs at their places in a file.
func (t *tlsProbes) attach(f *tlsFile, path string, p *places) error {
	ex, err := link.OpenExecutable(path)
	if err != nil {
		return err
	}
	for _, a := range []struct {
		program string
		at      []uint64
		ret     bool
	}{
		{"on_tls_free", p.free, false},
		{"on_tls_written", append(append([]uint64{}, p.write...), p.writeEx...), true},
		{"on_tls_write", p.write, false},
		{"on_tls_write_ex", p.writeEx, false},
		{"on_go_write", p.goWrite, false},
	} {
		if len(a.at) == 0 {
			continue
		}
		if err := t.hold(f, ex, t.progs[a.program], a.at, a.ret); err != nil {
			return fmt.Errorf("program %s: %w", a.program, err)
		}
	}
	return nil
}

func (t *tlsProbes) hold(f *tlsFile, ex *link.Executable, prog *bpf.Program, at []uint64, ret bool) error {
	keep := func(l link.Link, err error) error {
		if err != nil {
			return err
		}
		f.links = append(f.links, l)
		if info, err := l.Info(); err == nil {
			f.ids = append(f.ids, kernelObject{ofLink, uint32(info.ID)})
			t.own.add(f.ids[len(f.ids)-1])
		}
		return nil
	}
	if t.multi {
		opt := &link.UprobeMultiOptions{Addresses: at}
		if ret {
			return keep(ex.UretprobeMulti(nil, prog, opt))
		}
		return keep(ex.UprobeMulti(nil, prog, opt))
	}
	for _, off := range at {
		opt := &link.UprobeOptions{Address: off}
		attach := ex.Uprobe
		if ret {
			attach = ex.Uretprobe
		}
		if err := keep(attach("", prog, opt)); err != nil {
			return err
		}
	}
	return nil
}

// withTLS adds the names of libraries to a watch list.
func withTLS(w sensor.Watch) sensor.Watch {
	w.Prefixes = append(append([]string{}, w.Prefixes...), tlsPrefixes...)
	return w
}
