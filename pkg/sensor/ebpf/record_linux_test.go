package ebpf

import (
	"encoding/binary"
	"flag"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"
)

var recording = flag.Bool("record", false, "write testdata/records.bin anew, from the running kernel")

// TestRecord writes what the decoding tests read: the bytes of the rings while
// a few programs run. It is not a test; go test -run TestRecord -record
func TestRecord(t *testing.T) {
	if !*recording {
		t.Skip("writes test data only with -record")
	}
	l, err := load(Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	var rings []*ring
	for _, name := range []string{"priority", "files"} {
		r, err := newRing(l.coll.Maps[name].FD(), int(l.coll.Maps[name].MaxEntries()))
		if err != nil {
			t.Fatal(err)
		}
		defer r.close()
		rings = append(rings, r)
	}
	if err := l.attach(); err != nil {
		t.Fatal(err)
	}

	const dir = "/tmp/records"
	if err := os.MkdirAll(dir+"/mnt", 0o755); err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	ours := map[uint32]bool{}
	play := func(role string, args ...string) {
		t.Helper()
		// /tmp/records/sensor, so that no path of the building machine gets in.
		cmd := exec.Command("/proc/self/exe", args...)
		cmd.Env = []string{roleVariable + "=" + role, "CI=true", "GITHUB_JOB=build", "TOKEN=not here"}
		cmd.Dir, cmd.Stderr = "/", os.Stderr
		if err := cmd.Run(); err != nil {
			t.Fatalf("%s: %v", role, err)
		}
		ours[uint32(cmd.Process.Pid)] = true
	}
	sleeper := exec.Command("/bin/sleep", "60")
	sleeper.Dir, sleeper.Env = "/", []string{}
	if err := sleeper.Start(); err != nil {
		t.Fatal(err)
	}
	ours[uint32(sleeper.Process.Pid)] = true
	run := func(args ...string) {
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Dir, cmd.Env = "/", []string{"CI=true"}
		_ = cmd.Run()
		ours[uint32(cmd.Process.Pid)] = true
	}
	if err := os.WriteFile(dir+"/script", []byte("#!/bin/sh -e\nexit 3\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	run(dir+"/script", "argument")
	run("/bin/true", string(make5000()))
	run("/bin/sh", "-c", "kill -9 $$")
	play("exchange", serve(t, "tcp4", "127.0.0.1:0", func(c net.Conn) {
		_, _ = io.ReadFull(c, make([]byte, 11))
		_, _ = io.WriteString(c, "abc")
		c.Close()
	}))
	play("refused", "[::1]:1")
	answering(t)
	play("ask", resolver, "example.com")
	play("datagrams", "127.0.0.1:9", "3")
	play("request", serve(t, "tcp4", "127.0.0.1:0", func(c net.Conn) {
		_, _ = io.ReadFull(c, make([]byte, 9))
		c.Close()
	}), "474554202f0d0a0d0a")
	play("files", dir)
	unixl, err := net.Listen("unix", dir+"/sock")
	if err != nil {
		t.Fatal(err)
	}
	defer unixl.Close()
	play("power", strconv.Itoa(sleeper.Process.Pid), dir)
	for _, folder := range []string{testCgroup(t, 2), testCgroup(t, 1)} {
		run("/bin/mkdir", "-p", folder+"/docker")
		run("/bin/sh", "-c", "echo $$ >"+folder+"/docker/cgroup.procs; exec /bin/true in a cgroup")
	}
	_ = sleeper.Process.Kill()
	_ = sleeper.Wait()
	time.Sleep(100 * time.Millisecond) // for the last records to be written

	var out []byte
	for _, r := range rings {
		for {
			b, state := r.head()
			if state != headReady {
				break
			}
			if ours[u32(b, atPID)] {
				out = binary.LittleEndian.AppendUint32(out, uint32(len(b)))
				out = append(out, b...)
			}
			r.advance(len(b))
		}
	}
	if err := os.MkdirAll("testdata", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("testdata/records.bin", out, 0o644); err != nil {
		t.Fatal(err)
	}
}

func make5000() []byte {
	b := make([]byte, 5000)
	for i := range b {
		b[i] = 'a' + byte(i%26)
	}
	return b
}
