package ebpf

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"os"
	"path"
	"reflect"
	"strings"
	"testing"

	bpf "github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	"github.com/org/edamame-posture/pkg/carried"
	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/sensor"
)

var update = flag.Bool("update", false, "write testdata/records.txt anew")

// recorded reads the records that TestRecord took from a running kernel.
func recorded(t testing.TB) [][]byte {
	t.Helper()
	b, err := os.ReadFile("testdata/records.bin")
	if err != nil {
		t.Fatal(err)
	}
	var all [][]byte
	for len(b) > 0 {
		n := binary.LittleEndian.Uint32(b)
		all, b = append(all, b[4:4+n]), b[4+n:]
	}
	return all
}

// line writes the fields of a record that are set.
func line(r *sensor.Record) string {
	var s strings.Builder
	s.WriteString(r.Kind.String())
	v := reflect.ValueOf(*r)
	for i := range v.NumField() {
		f, name := v.Field(i), v.Type().Field(i).Name
		if f.IsZero() || name == "Kind" || name == "Payload" && f.Len() == 0 {
			continue
		}
		switch x := f.Interface().(type) {
		case []byte:
			if len(x) == 0 {
				continue
			}
			if len(x) > 80 {
				fmt.Fprintf(&s, " %s=%q…%d", name, x[:80], len(x))
				continue
			}
			fmt.Fprintf(&s, " %s=%q", name, x)
		default:
			fmt.Fprintf(&s, " %s=%v", name, x)
		}
	}
	return s.String() + "\n"
}

func TestRecordsOfARealKernelAreDecoded(t *testing.T) {
	var got bytes.Buffer
	d := newDecoder(64, 128<<10)
	for i, b := range recorded(t) {
		r, err := d.decode(b)
		if err != nil {
			t.Fatalf("record %d: %v", i, err)
		}
		if r != nil {
			got.WriteString(line(r))
		}
	}
	const name = "testdata/records.txt"
	if *update {
		if err := os.WriteFile(name, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), want) {
		t.Errorf("go test -update writes it anew; got\n%s", got.Bytes())
	}
}

func TestARecordThatIsCutIsRefused(t *testing.T) {
	for _, b := range recorded(t) {
		for n := range len(b) {
			d := newDecoder(64, 128<<10)
			if r, err := d.decode(b[:n:n]); err == nil && r != nil && n < headSize {
				t.Fatalf("%d of %d bytes give %s", n, len(b), line(r))
			}
		}
	}
}

func TestDecodingAllocatesNothing(t *testing.T) {
	all := recorded(t)
	d := newDecoder(64, 128<<10)
	run := func() {
		for _, b := range all {
			if _, err := d.decode(b); err != nil {
				t.Fatal(err)
			}
		}
	}
	run() // buffers grow once
	if n := testing.AllocsPerRun(100, run); n != 0 {
		t.Errorf("%v allocations for %d records", n, len(all))
	}
}

func BenchmarkDecode(b *testing.B) {
	all := recorded(b)
	d := newDecoder(64, 128<<10)
	b.ReportAllocs()
	for i := range b.N {
		_, _ = d.decode(all[i%len(all)])
	}
}

func FuzzDecode(f *testing.F) {
	for _, b := range recorded(f) {
		f.Add(b)
	}
	f.Add(openRecord(fUserPath|fWatched, 1, 13, 1, "/root/x"))
	f.Add(openRecord(fUserPath|fWatched|fRest, 1, 13, 5, ""))
	f.Fuzz(func(t *testing.T, b []byte) {
		d := newDecoder(4, 16<<10)
		// Twice: what the first left behind must not break the second.
		for range 2 {
			r, err := d.decode(b)
			if err != nil || r == nil {
				continue
			}
			if r.Kind == event.Unknown || r.Kind.String() == "" {
				t.Fatalf("kind %v", r.Kind)
			}
			for _, p := range [][]byte{r.Path, r.NewPath} {
				if len(p) > len(b) {
					t.Fatalf("a path of %d bytes from %d", len(p), len(b))
				}
			}
			if n := len(r.Exe) + len(r.Filename) + len(r.Interp) + len(r.Cwd) + len(r.Env) + len(r.Payload); n > len(b) {
				t.Fatalf("%d bytes from %d", n, len(b))
			}
			if len(r.Argv) > 16<<10 && len(r.Argv) > len(b) || r.ArgvCut != (len(r.Argv) < r.ArgvBytes) {
				t.Fatalf("argv of %d, cut %v", len(r.Argv), r.ArgvCut)
			}
		}
	})
}

// argvPiece is one R_ARGV record.
func argvPiece(cpu uint32, time uint64, pid uint32, offset int, s string) []byte {
	b := make([]byte, argvSize, argvSize+len(s))
	native.PutUint64(b[atTime:], time)
	native.PutUint32(b[atCPU:], cpu)
	native.PutUint16(b[atType:], uint16(rArgv))
	native.PutUint32(b[atPID:], pid)
	native.PutUint32(b[argvOffset:], uint32(offset))
	native.PutUint32(b[argvLen:], uint32(len(s)))
	return append(b, s...)
}

// execHead is an R_EXEC record whose arguments came in pieces.
func execHead(cpu uint32, time uint64, pid uint32, argv, sent int) []byte {
	b := make([]byte, execSize)
	native.PutUint64(b[atTime:], time)
	native.PutUint32(b[atCPU:], cpu)
	native.PutUint16(b[atType:], uint16(rExec))
	native.PutUint32(b[atPID:], pid)
	native.PutUint64(b[execArgvBytes:], uint64(argv))
	native.PutUint32(b[execArgvSent:], uint32(sent))
	return b
}

func TestPiecesOfArguments(t *testing.T) {
	for _, c := range []struct {
		what    string
		records [][]byte
		argv    string
		cut     bool
		missing bool
		errs    int
	}{
		{"in order are joined", [][]byte{argvPiece(0, 1, 9, 0, "ab"), argvPiece(0, 1, 9, 2, "cd"), execHead(0, 1, 9, 4, 4)}, "abcd", false, false, 0},
		{"of two CPUs do not mix", [][]byte{argvPiece(0, 1, 9, 0, "ab"), argvPiece(1, 1, 8, 0, "xy"), argvPiece(0, 1, 9, 2, "cd"), execHead(0, 1, 9, 4, 4)}, "abcd", false, false, 0},
		{"after a lost one are not put in its place", [][]byte{argvPiece(0, 1, 9, 0, "ab"), argvPiece(0, 1, 9, 4, "ef"), execHead(0, 1, 9, 6, 6)}, "ab", true, false, 1},
		{"without their first are left out", [][]byte{argvPiece(0, 1, 9, 2, "cd"), execHead(0, 1, 9, 4, 4)}, "", true, true, 1},
		{"of an exec that was lost are not the next one's", [][]byte{argvPiece(0, 1, 9, 0, "ab"), execHead(0, 2, 7, 4, 0)}, "", true, true, 0},
		{"of an exec that was lost are not those of one with pieces", [][]byte{argvPiece(0, 1, 9, 0, "ab"), argvPiece(0, 2, 7, 0, "cd"), execHead(0, 2, 7, 2, 2)}, "cd", false, false, 0},
		{"of more than is read are marked as cut", [][]byte{argvPiece(0, 1, 9, 0, "ab"), execHead(0, 1, 9, 100, 2)}, "ab", true, false, 0},
	} {
		d := newDecoder(2, 16)
		errs := 0
		var last *sensor.Record
		for _, b := range c.records {
			r, err := d.decode(b)
			if err != nil {
				errs++
			}
			if r != nil {
				last = r
			}
		}
		if last == nil || string(last.Argv) != c.argv || last.ArgvCut != c.cut || last.ArgvMissing != c.missing || errs != c.errs {
			t.Errorf("pieces %s: %+v, %d errors", c.what, last, errs)
		}
	}
}

// openRecord is an R_OPEN record by name: with an error its inode is a hash.
func openRecord(flags uint16, hash uint64, err int, count uint64, path string) []byte {
	b := make([]byte, fileSize, fileSize+len(path))
	native.PutUint16(b[atType:], uint16(rOpen))
	native.PutUint16(b[atFlags:], flags)
	native.PutUint64(b[fileInode:], hash)
	native.PutUint64(b[fileCount:], count)
	native.PutUint64(b[fileTargetStart:], uint64(err))
	native.PutUint32(b[filePath:], uint32(len(path)))
	return append(b, path...)
}

func TestTheRestOfRefusedOpensHasTheNameThatWasToldBefore(t *testing.T) {
	d := newDecoder(1, 16)
	const first, rest = fUserPath | fWatched, fUserPath | fWatched | fRest
	for i, c := range []struct {
		record []byte
		path   string // empty for no record
		count  uint64
		again  uint64 // in all
	}{
		{openRecord(rest, 1, 13, 5, ""), "", 0, 0},
		{openRecord(first, 1, 13, 1, "/root/x"), "/root/x", 0, 0},
		{openRecord(first, 2, 13, 1, "/root/y"), "/root/y", 0, 0},
		{openRecord(rest, 1, 13, 5, ""), "/root/x", 5, 5},
		{openRecord(rest, 2, 13, 1, ""), "/root/y", 0, 6},
		{openRecord(first, 2, 13, 4, "/root/y"), "/root/y", 4, 9}, // itself and three
		{openRecord(rest, 3, 13, 5, ""), "", 0, 9},
	} {
		r, err := d.decode(c.record)
		if err != nil {
			t.Fatal(err)
		}
		if r == nil {
			r = &sensor.Record{}
		}
		if string(r.Path) != c.path || r.Count != c.count || r.File != (event.FileID{}) || d.again != c.again {
			t.Errorf("record %d: %q %d times, file %v, %d held back, want %q %d times, %d", i, r.Path, r.Count, r.File, d.again, c.path, c.count, c.again)
		}
	}
}

func TestNamesOfRefusedOpensAreBounded(t *testing.T) {
	var n refusedNames
	for i := range uint64(3 * maxRefusedNames) {
		n.learn(i, []byte(fmt.Sprintf("/root/%d", i)))
		n.learn(i, []byte(fmt.Sprintf("/root/%d", i))) // is known
	}
	if len(n.paths) > maxRefusedNames || len(n.paths) == 0 {
		t.Errorf("%d names are kept", len(n.paths))
	}
	long := bytes.Repeat([]byte("n"), 4096)
	for i := range uint64(3 * maxRefusedNames) {
		n.learn(i, long)
		kept := 0
		for _, p := range n.paths {
			kept += len(p)
		}
		if i%512 == 0 && (n.bytes > maxRefusedBytes || kept > n.bytes) {
			t.Fatalf("%d bytes of %d are kept", kept, n.bytes)
		}
	}
}

func TestRecordsThatNoKernelWritesAreRefused(t *testing.T) {
	head := func(t recordType, cpu uint32, n int) []byte {
		b := make([]byte, n)
		native.PutUint16(b[atType:], uint16(t))
		native.PutUint32(b[atCPU:], cpu)
		return b
	}
	for _, c := range []struct {
		what string
		b    []byte
		want error
	}{
		{"nothing", nil, errShort},
		{"no type", head(rNone, 0, 200), errType},
		{"a type of a later version", head(recordTypes, 0, 200), errType},
		{"a CPU that is not there", head(rFork, 99, 200), errNoCPU},
		{"an address of no family", head(rConnect, 0, 200), errAddress},
		{"a fork without its parent", head(rFork, 0, headSize), errShort},
	} {
		if _, err := newDecoder(4, 16).decode(c.b); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.what, err, c.want)
		}
	}
}

func TestDeviceNumbersAreThoseOfStat(t *testing.T) {
	for _, c := range []struct {
		kernel uint32
		stat   uint64
	}{
		{8<<20 | 1, 0x801}, {259 << 20, 0x10300}, {0<<20 | 0x12345, 0x12300045}, {0xfff<<20 | 0xfffff, 0xffffffff},
	} {
		if got := device(c.kernel); got != c.stat {
			t.Errorf("device %#x is %#x, want %#x", c.kernel, got, c.stat)
		}
	}
}

func TestPathsAreCleanedAsPathCleanDoes(t *testing.T) {
	for _, p := range []string{"/", "//", "/.", "/..", "/../..", "/a", "/a/", "/a//b", "/a/./b", "/a/../b", "/a/b/../../c", "/a/b/..", "/...", "/..a/.b", "/a/../../b/"} {
		if got, want := string(appendClean([]byte("kept"), []byte(p))), "kept"+path.Clean(p); got != want {
			t.Errorf("%q gives %q, want %q", p, got, want)
		}
	}
	for _, p := range []string{"", "a/../b", "@abstract"} {
		if got := string(appendClean(nil, []byte(p))); got != p {
			t.Errorf("%q gives %q, want it as it is", p, got)
		}
	}
}

func FuzzDecodeLastAct(f *testing.F) {
	b := make([]byte, lastSize)
	b[lastTime], b[lastPID], b[lastExeLen], b[lastExe] = 1, 7, 1, '/'
	b[lastAbove+abovePID] = 6
	f.Add(b)
	f.Add(b[:lastSize-1])
	f.Fuzz(func(t *testing.T, b []byte) {
		a, ok, err := decodeLastAct(b)
		if ok && (err != nil || a.Time == 0 || len(a.Exe) > lastSize || len(a.Comm) > 16 || len(a.Above) > 16) {
			t.Errorf("%+v, %v", a, err)
		}
	})
}

func FuzzClean(f *testing.F) {
	f.Add("/a/../b//c/.")
	f.Fuzz(func(t *testing.T, p string) {
		p = "/" + p
		if got, want := string(appendClean(nil, []byte(p))), path.Clean(p); got != want {
			t.Errorf("%q gives %q, want %q", p, got, want)
		}
	})
}

func TestRingsAreSizedAsTheKernelWants(t *testing.T) {
	for n, want := range map[int]int{0: 8 << 20, -1: 8 << 20, 1: 64 << 10, 65536: 64 << 10, 65537: 128 << 10, 8 << 20: 8 << 20, 1 << 40: 256 << 20} {
		if got := (Options{RingBytes: n}).ringBytes(); got != want {
			t.Errorf("%d gives %d, want %d", n, got, want)
		}
	}
}

func TestANameUnderAPrefixKeepsWhatThePrefixSays(t *testing.T) {
	w := newWatchTable(sensor.Watch{Names: []string{"id_rsa"}, Prefixes: []string{"env"}})
	if got := w.names[wholeKey("environ")]; got != 0 && got&fProcEnviron == 0 {
		t.Errorf("environ %b", got)
	}
	w = newWatchTable(sensor.Watch{Prefixes: []string{"env"}})
	if got := w.names[wholeKey("environ")]; got != fProcEnviron|fWatched {
		t.Errorf("environ %b", got)
	}
	if w.names[wholeKey("mem")] != fProcMem || w.names[prefixKey("env")] != fWatched {
		t.Errorf("%v", w.names)
	}
	if w.first['e']>>3&1 == 0 || w.first['e']>>20&1 == 0 || w.first['e']>>2&1 != 0 || w.first['i'] != 0 {
		t.Errorf("lengths of e %b", w.first['e'])
	}
}

// TestTheLayoutIsThatOfTheObject compares layout.go with the type information
// of the programs of each processor.
func TestTheLayoutIsThatOfTheObject(t *testing.T) {
	for _, machine := range []string{"amd64", "arm64"} {
		t.Run(machine, func(t *testing.T) {
			packed, err := os.ReadFile("bpf/sensor_" + machine + ".o.zst")
			if err != nil {
				t.Fatal(err)
			}
			object, err := carried.Unpack(packed)
			if err != nil {
				t.Fatal(err)
			}
			theLayoutIsThatOf(t, object)
		})
	}
}

func theLayoutIsThatOf(t *testing.T, object []byte) {
	spec, err := btf.LoadSpecFromReader(bytes.NewReader(object))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		size   int
		fields map[string]int
	}{
		{"head", headSize, map[string]int{"time": atTime, "seq": atSeq, "cpu": atCPU, "type": atType, "flags": atFlags, "pid": atPID, "tid": atTID, "start": atStart, "uid": atUID, "gid": atGID, "cgroup": atCgroup}},
		{"argv_record", argvSize, map[string]int{"time": atTime, "seq": atSeq, "cpu": atCPU, "type": atType, "pid": atPID, "offset": argvOffset, "len": argvLen}},
		{"fork_record", forkSize, map[string]int{"parent_start": forkParentStart, "parent": forkParent}},
		{"number_record", numberSize, map[string]int{"number": numberNumber}},
		{"exec_record", execSize, map[string]int{"inode": execInode, "argv_bytes": execArgvBytes, "dev": execDev, "argv_sent": execArgvSent, "ns": execNS, "exe": execExe, "filename": execFilename, "interp": execInterp, "cwd": execCwd, "argv": execArgv, "env": execEnv, "old_cgroup": execOldCgroup}},
		{"cgroup_record", cgroupSize, map[string]int{"id": cgroupID, "old": cgroupOld, "path": cgroupPath}},
		{"sock_record", sockSize, map[string]int{"cookie": sockCookie, "sent": sockSent, "received": sockReceived, "count": sockCount, "src": sockSrc, "dst": sockDst, "sport": sockSport, "dport": sockDport, "proto": sockProto, "family": sockFamily, "err": sockErr, "wire": sockWire, "len": sockLen, "offset": sockOffset}},
		{"file_record", fileSize, map[string]int{"inode": fileInode, "count": fileCount, "target_start": fileTargetStart, "dev": fileDev, "mode": fileMode, "access": fileAccess, "target": fileTarget, "path": filePath, "new_path": fileNewPath}},
		{"act_record", actSize, map[string]int{"target_start": actTargetStart, "count": actCount, "op": actOp, "arg": actArg, "target": actTarget, "err": actErr, "ns": actNS}},
		{"last_act", lastSize, map[string]int{"time": lastTime, "start": lastStart, "pid": lastPID, "uid": lastUID, "signal": lastSignal, "comm": lastComm, "exe_len": lastExeLen, "above": lastAbove, "exe": lastExe}},
		{"ancestor", aboveSize, map[string]int{"start": aboveStart, "pid": abovePID}},
	} {
		var s *btf.Struct
		if err := spec.TypeByName(c.name, &s); err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if int(s.Size) != c.size {
			t.Errorf("%s has %d bytes, not %d", c.name, s.Size, c.size)
		}
		at := map[string]int{}
		for _, m := range s.Members {
			at[m.Name] = int(m.Offset.Bytes())
		}
		for f, want := range c.fields {
			if got, ok := at[f]; !ok || got != want {
				t.Errorf("%s.%s is at %d, not %d", c.name, f, got, want)
			}
		}
	}
	var types *btf.Enum
	if err := spec.TypeByName("record_type", &types); err != nil {
		t.Fatal(err)
	}
	if len(types.Values) != int(recordTypes) {
		t.Errorf("%d types of records, not %d", len(types.Values), recordTypes)
	}
	last := types.Values[len(types.Values)-1]
	if last.Name != "R_SESSION" || last.Value != uint64(rSession) {
		t.Errorf("the last type is %s=%d", last.Name, last.Value)
	}
	coll, err := bpf.LoadCollectionSpecFromReader(bytes.NewReader(object))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range coll.Maps {
		if m.Name == "scratches" && m.ValueSize > 32<<10 {
			t.Errorf("scratch memory of %d bytes is more than a per-CPU map takes", m.ValueSize)
		}
	}
}
