package ebpf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unsafe"

	bpf "github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/sensor"
)

// programIDs returns the programs of ours that the kernel holds.
func programIDs(t *testing.T) (ids []bpf.ProgramID) {
	t.Helper()
	for id := bpf.ProgramID(0); ; {
		next, err := bpf.ProgramGetNextID(id)
		if err != nil {
			return ids
		}
		id = next
		p, err := bpf.NewProgramFromID(id)
		if err != nil {
			continue
		}
		if info, err := p.Info(); err == nil && strings.HasPrefix(info.Name, "on_") {
			ids = append(ids, id)
		}
		p.Close()
	}
}

func mapIDs(t *testing.T) (ids []bpf.MapID) {
	t.Helper()
	for id := bpf.MapID(0); ; {
		next, err := bpf.MapGetNextID(id)
		if err != nil {
			return ids
		}
		id = next
		ids = append(ids, id)
	}
}

func TestCloseLeavesNothingInTheKernel(t *testing.T) {
	s, _ := arm(t, Options{}, nil)
	var ours []bpf.ProgramID
	var maps []bpf.MapID
	var links []link.ID
	names := map[bpf.MapID]string{}
	for _, p := range s.l.coll.Programs {
		info, err := p.Info()
		if err != nil {
			t.Fatal(err)
		}
		id, _ := info.ID()
		ours = append(ours, id)
	}
	for _, m := range s.l.coll.Maps {
		info, err := m.Info()
		if err != nil {
			t.Fatal(err)
		}
		id, _ := info.ID()
		maps = append(maps, id)
		names[id] = info.Name
	}
	for _, a := range s.l.links {
		links = append(links, a.id)
	}
	if s.l.living != nil {
		info, err := s.l.living.Info()
		if err != nil {
			t.Fatal(err)
		}
		links = append(links, info.ID)
	}
	// Those that read TLS are attached to files, each to any number of them.
	inFiles := 0
	if s.tls != nil {
		inFiles = len(tlsPrograms)
		s.tls.mu.Lock()
		for _, f := range s.tls.files {
			for _, l := range f.links {
				info, err := l.Info()
				if err != nil {
					t.Fatal(err)
				}
				links = append(links, info.ID)
			}
		}
		s.tls.mu.Unlock()
	}
	if len(ours) == 0 || len(maps) == 0 || len(links) < len(ours)-inFiles {
		t.Fatalf("%d programs, %d of them in files, %d maps, %d links", len(ours), inFiles, len(maps), len(links))
	}
	for _, id := range ours {
		if !slices.Contains(programIDs(t), id) {
			t.Fatalf("program %d is not there while armed", id)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	// The kernel frees programs and maps after a grace period of RCU.
	deadline := time.Now().Add(10 * time.Second)
	for {
		var left []string
		for _, id := range programIDs(t) {
			if slices.Contains(ours, id) {
				left = append(left, "program "+strconv.Itoa(int(id)))
			}
		}
		for _, id := range mapIDs(t) {
			if slices.Contains(maps, id) {
				left = append(left, "map "+strconv.Itoa(int(id))+" "+names[id])
			}
		}
		for _, id := range links {
			if l, err := link.NewFromID(id); err == nil {
				left = append(left, "link "+strconv.Itoa(int(id)))
				l.Close()
			}
		}
		if len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(left)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestALinkThatWasDetachedByForceIsFoundAndArmedAgain(t *testing.T) {
	s, _ := arm(t, Options{}, nil)
	if lines := s.Check(); len(lines) != 0 {
		t.Fatalf("%q", lines)
	}
	for _, a := range s.l.links {
		if a.hook.program != "on_egress" {
			continue
		}
		l, err := link.NewFromID(a.id)
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Detach(); err != nil {
			t.Skipf("detaching: %v", err)
		}
		l.Close()
	}
	lines := s.Check()
	if len(lines) != 1 || !strings.Contains(lines[0], "on_egress was detached") || !strings.HasSuffix(lines[0], sensor.ArmedAgain) {
		t.Errorf("%q", lines)
	}
	if lines := s.Check(); len(lines) != 0 {
		t.Errorf("after it was armed again: %q", lines)
	}
}

func TestATracingLinkCannotBeDetached(t *testing.T) {
	s, _ := arm(t, Options{}, nil)
	for _, a := range s.l.links {
		if a.hook.tracepoint == "" {
			continue
		}
		l, err := link.NewFromID(a.id)
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Detach(); !errors.Is(err, link.ErrNotSupported) {
			t.Errorf("%s: %v", a.hook.program, err)
		}
		l.Close()
	}
}

func TestNobodyCanWriteTheMaps(t *testing.T) {
	s, _ := arm(t, Options{}, nil)
	for name, m := range s.l.coll.Maps {
		if m.Type() == bpf.RingBuf {
			continue
		}
		info, err := m.Info()
		if err != nil {
			t.Fatal(err)
		}
		if !info.Frozen() {
			t.Errorf("map %s is not frozen", name)
		}
	}
	if err := s.l.coll.Maps["watched"].Put(wholeKey("mem"), uint16(0)); err == nil {
		t.Error("the watch list was written")
	}
	if err := s.l.coll.Maps["folds"].Put(make([]byte, 32), make([]byte, 16)); err == nil {
		t.Error("a fold was written: a file event can be held back so")
	}
}

func TestARingThatIsTooSmallLosesNothingUncounted(t *testing.T) {
	block := make(chan struct{})
	s := New(Options{RingBytes: 1, FileRingBytes: 1})
	if os.Geteuid() != 0 {
		t.Skip("loading programs needs root")
	}
	first := true
	err := s.Start(t.Context(), func(*sensor.Record) {
		if first {
			first = false
			<-block // the reader stands still until the storm is over
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	addr := serve(t, "tcp4", "127.0.0.1:0", hangUp)
	perform(t, "connect", addr, "2000")
	numbered := func() (n uint64) {
		var all []counters
		if err := s.counts.Lookup(uint32(0), &all); err != nil {
			t.Fatal(err)
		}
		for _, c := range all {
			n += c.Seq[0] + c.Seq[1] + c.Busy // those have no number
		}
		return n
	}
	before := numbered()
	close(block)
	drain(t, s)
	st := s.Stats()
	after := numbered()
	if st.Stolen != 0 {
		t.Errorf("%d records count as stolen: nobody else reads the ring", st.Stolen)
	}
	if st.Lost == 0 || st.Records+st.Lost < before || st.Records+st.Lost > after {
		t.Errorf("%d to %d numbered, %d came, %d lost", before, after, st.Records, st.Lost)
	}
	if len(s.Check()) != 0 {
		t.Errorf("%q", s.Check())
	}
}

func TestASecondReaderOfARingIsNoticed(t *testing.T) {
	s, _ := arm(t, Options{}, nil)
	// A second reader of the priority ring, as root can open one by the map's
	// id, moves the position past what is there.
	m := s.l.coll.Maps["priority"]
	thief, err := newRing(m.FD(), int(m.MaxEntries()))
	if err != nil {
		t.Fatal(err)
	}
	defer thief.close()
	addr := serve(t, "tcp4", "127.0.0.1:0", hangUp)
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
			}
			thief.at = *thief.producer
			thief.told = 0
			thief.release()
		}
	}()
	perform(t, "connect", addr, "3000")
	close(stop)
	<-done
	deadline := time.Now().Add(10 * time.Second)
	for len(s.Check()) == 0 {
		if time.Now().After(deadline) {
			t.Fatalf("nothing was noticed; %+v", s.Stats())
		}
		time.Sleep(20 * time.Millisecond)
	}
	if lines := s.Check(); !strings.Contains(lines[0], "somebody else reads the priority ring") {
		t.Errorf("%q", lines)
	}
}

func TestASensorIsStartedOnceAndClosedTwice(t *testing.T) {
	s, _ := arm(t, Options{}, nil)
	if err := s.Start(t.Context(), func(*sensor.Record) {}); err == nil {
		t.Error("it was started twice")
	}
	for range 2 {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	if s.Stats().Forks+s.Stats().Records == 0 && s.Stats().Missing == nil {
		t.Error("the totals are gone after Close")
	}
	if err := s.Drain(t.Context()); err == nil {
		t.Error("a closed sensor was drained")
	}
	if len(s.Check()) == 0 {
		t.Error("a closed sensor has nothing to say")
	}
}

func init() {
	// bpf-touch takes hold of a map, a program and a link by their ids, writes
	// to the map and detaches the link.
	roles["bpf-touch"] = func(a []string) error {
		call := func(cmd uintptr, words ...uint32) (int, unix.Errno) {
			attr := make([]byte, 64)
			for i, w := range words {
				binary.NativeEndian.PutUint32(attr[4*i:], w)
			}
			fd, _, errno := unix.Syscall(unix.SYS_BPF, cmd, uintptr(unsafe.Pointer(&attr[0])), uintptr(len(attr)))
			return int(fd), errno
		}
		var fds [3]int
		for i, cmd := range []uintptr{unix.BPF_MAP_GET_FD_BY_ID, unix.BPF_PROG_GET_FD_BY_ID, unix.BPF_LINK_GET_FD_BY_ID} {
			id, err := strconv.ParseUint(a[i], 10, 32)
			if err != nil {
				return err
			}
			var errno unix.Errno
			if fds[i], errno = call(cmd, uint32(id)); errno != 0 {
				return fmt.Errorf("object %d: %w", i, errno)
			}
		}
		if len(a) == 3 {
			return nil
		}
		key, value := make([]byte, 64), make([]byte, 4096)
		k, v := uint64(uintptr(unsafe.Pointer(&key[0]))), uint64(uintptr(unsafe.Pointer(&value[0])))
		if _, errno := call(unix.BPF_MAP_UPDATE_ELEM, uint32(fds[0]), 0, uint32(k), uint32(k>>32), uint32(v), uint32(v>>32)); errno != unix.EPERM {
			return fmt.Errorf("a frozen map was written: %w", errno)
		}
		if _, errno := call(unix.BPF_LINK_DETACH, uint32(fds[2])); errno == 0 {
			return errors.New("a tracing link was detached")
		}
		runtime.KeepAlive(key)
		runtime.KeepAlive(value)
		return nil
	}
}

func TestWhoTakesHoldOfTheSensorsOwnObjectsIsToldSo(t *testing.T) {
	s, rec := arm(t, Options{}, nil)
	ids := func(m *bpf.Map, p *bpf.Program, l link.Link) []string {
		t.Helper()
		mi, err := m.Info()
		if err != nil {
			t.Fatal(err)
		}
		pi, err := p.Info()
		if err != nil {
			t.Fatal(err)
		}
		li, err := l.Info()
		if err != nil {
			t.Fatal(err)
		}
		mid, _ := mi.ID()
		pid, _ := pi.ID()
		return []string{strconv.Itoa(int(mid)), strconv.Itoa(int(pid)), strconv.Itoa(int(li.ID))}
	}
	var tracing link.Link
	for _, a := range s.l.links {
		if a.hook.program == "on_fork" {
			tracing = a.link
		}
	}
	pid, _ := perform(t, "bpf-touch", append(ids(s.l.coll.Maps["watched"], s.l.coll.Programs["on_fork"], tracing), "act")...)

	// Another sensor's are none of its own.
	other, _ := arm(t, Options{}, nil)
	var lk link.Link
	for _, a := range other.l.links {
		if a.hook.program == "on_fork" {
			lk = a.link
		}
	}
	stranger, _ := perform(t, "bpf-touch", ids(other.l.coll.Maps["watched"], other.l.coll.Programs["on_fork"], lk)...)
	drain(t, s)
	got := map[event.Op]int{}
	for _, r := range rec.find(func(r *sensor.Record) bool { return r.Kind == event.BPF && r.PID == pid }) {
		if !r.OwnObject || r.TargetPID != 0 {
			t.Errorf("%+v", r)
		}
		got[r.Op]++
	}
	if want := map[event.Op]int{event.OpObject: 3, event.OpMapUpdate: 1, event.OpDetach: 1}; !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	n := 0
	for _, r := range rec.find(func(r *sensor.Record) bool { return r.Kind == event.BPF && r.PID == stranger }) {
		if n++; r.OwnObject {
			t.Errorf("another sensor's object counts as this one's: %+v", r)
		}
	}
	if n != 3 {
		t.Errorf("%d acts on the other sensor, want 3", n)
	}
}
