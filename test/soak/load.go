package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// kind is one part of the load: act is done again and again, with rest between.
type kind struct {
	name string
	rest time.Duration
	act  func(ctx context.Context) error
	// seldom: it comes twelve times as often while the load is quick.
	seldom bool
}

// mixed is what a machine that builds all day does, at a rate that it can keep
// up: what is bounded in the monitor's memory is full after the first minutes.
// Paths and ports come again, since what a job newly does is kept: only
// containers and libraries of one's own are new ones, and few. What is kept of
// each connection's names would take an hour to fill with those over TLS: requests
// in clear do it in six minutes. And what is kept of each container would take two:
// so these come twelve times as often at first.
type mixed struct {
	storm, dir string
	server     *httptest.Server
	plain      net.Listener // answers HTTP in clear
	opened     string       // a file
	sink       string       // takes datagrams
	n          atomic.Uint64
	image      string // of an engine; empty for none
}

// burden makes the load until ctx ends. For the time of quick what comes seldom
// comes twelve times as often. It prints how often each part was done.
func burden(ctx context.Context, storm, dir, image string, quick time.Duration) error {
	began := time.Now()
	m := &mixed{storm: storm, dir: dir, image: image, opened: filepath.Join(dir, ".npmrc")}
	err := os.WriteFile(m.opened, []byte("registry=x\n"), 0o600)
	if err != nil {
		return err
	}
	m.server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, io.LimitReader(r.Body, 1<<20))
		_, _ = io.WriteString(w, "ok")
	}))
	m.server.EnableHTTP2 = true
	m.server.Config.ErrorLog = log.New(io.Discard, "", 0) // connections that say nothing
	m.server.StartTLS()
	defer m.server.Close()
	if m.plain, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return err
	}
	defer m.plain.Close()
	go answer(m.plain)

	sink, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer sink.Close()
	m.sink = sink.LocalAddr().String()

	const seldom = time.Minute
	kinds := []kind{
		{"300 execs", 2 * time.Second, m.run(storm, "exec", "300"), false},
		{"200 TCP connections", 2 * time.Second, m.connects, false},
		{"100 requests in clear", 2 * time.Second, m.requests, false},
		{"50 datagrams", time.Second, m.datagrams, false},
		{"100 names", 3 * time.Second, m.run(storm, "dns", "100"), false},
		{"200 opens of a credential", 2 * time.Second, m.run(storm, "open", "200", m.opened), false},
		{"300 files written and removed", 3 * time.Second, m.files, false},
		{"curl over TLS", time.Second, m.curl("/usr/bin/curl", nil), false},
		{"curl with a library of its own, which goes again", seldom / 4, m.ownLibrary, true},
		{"node over TLS", 10 * time.Second, m.node("node"), false},
		{"node of its own, which goes again", seldom, m.ownNode, true},
	}
	if image != "" {
		kinds = append(kinds, kind{"containers", seldom / 2, m.run("docker", "run", "--rm", "--network", "none", image, "/bin/sh", "-c", "/bin/true; /bin/true"), true})
	}
	var wg sync.WaitGroup
	done := make([]int, len(kinds))
	failed := make([]error, len(kinds))
	for i, k := range kinds {
		wg.Go(func() {
			for ctx.Err() == nil {
				err := k.act(ctx)
				switch {
				case ctx.Err() != nil:
				case errors.Is(err, exec.ErrNotFound):
					failed[i] = err
					return
				case err != nil:
					failed[i] = fmt.Errorf("%s: %w", k.name, err)
				default:
					done[i]++
				}
				rest := k.rest
				if k.seldom && time.Since(began) < quick {
					rest /= 12
				}
				select {
				case <-ctx.Done():
				case <-time.After(rest):
				}
			}
		})
	}
	wg.Wait()
	for i, k := range kinds {
		why := ""
		if failed[i] != nil {
			why = " (" + strings.ReplaceAll(failed[i].Error(), "\n", " ") + ")"
		}
		fmt.Printf("%d x %s%s\n", done[i], k.name, why)
	}
	return nil
}

func output(cmd *exec.Cmd) error {
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %.300s", err, bytes.TrimSpace(out))
	}
	return nil
}

func (m *mixed) run(argv ...string) func(context.Context) error {
	return func(ctx context.Context) error { return output(exec.CommandContext(ctx, argv[0], argv[1:]...)) }
}

// connects makes connections of no duration to one port.
func (m *mixed) connects(ctx context.Context) error {
	var d net.Dialer
	for range 200 {
		c, err := d.DialContext(ctx, "tcp", m.server.Listener.Addr().String())
		if err != nil {
			return err
		}
		_ = c.Close()
	}
	return nil
}

// answer answers each connection once and closes it.
func answer(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
			_, _ = io.WriteString(c, "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
		}
		_ = c.Close()
	}
}

// requests makes requests of HTTP in clear, each on a connection of its own.
func (m *mixed) requests(ctx context.Context) error {
	var d net.Dialer
	for range 100 {
		c, err := d.DialContext(ctx, "tcp", m.plain.Addr().String())
		if err != nil {
			return err
		}
		_, err = io.WriteString(c, "GET /clear HTTP/1.1\r\nHost: soak.example\r\n\r\n")
		if err == nil {
			_, err = io.Copy(io.Discard, c)
		}
		if err := errors.Join(err, c.Close()); err != nil {
			return err
		}
	}
	return nil
}

// datagrams sends each from a socket of its own, to one port.
func (m *mixed) datagrams(context.Context) error {
	for range 50 {
		c, err := net.Dial("udp", m.sink)
		if err != nil {
			return err
		}
		_, err = c.Write([]byte("x"))
		if err := errors.Join(err, c.Close()); err != nil {
			return err
		}
	}
	return nil
}

// files writes some, each with a name that comes again every few rounds.
func (m *mixed) files(context.Context) error {
	round := m.n.Add(1) % 8
	for i := range 300 {
		f := filepath.Join(m.dir, fmt.Sprintf("w%d-%d", round, i))
		if err := os.WriteFile(f, []byte("x"), 0o600); err != nil {
			return err
		}
		if err := os.Remove(f); err != nil {
			return err
		}
	}
	return nil
}

// curl asks with one of a few paths.
func (m *mixed) curl(program string, env []string) func(context.Context) error {
	return func(ctx context.Context) error {
		url := m.server.URL + "/p" + strconv.FormatUint(m.n.Add(1)%20, 10)
		cmd := exec.CommandContext(ctx, program, "-sSk", "-H", "Authorization: Bearer soak-soak-soak-soak-soak", "-d", "x=1", url)
		cmd.Env = append(os.Environ(), env...)
		return output(cmd)
	}
}

// ownLibrary gives curl a copy of libssl that no other process has: programs
// are put into it, and taken out when it is gone.
func (m *mixed) ownLibrary(ctx context.Context) error {
	out, err := exec.CommandContext(ctx, "ldd", "/usr/bin/curl").Output()
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		if len(f) < 3 || !strings.HasPrefix(f[0], "libssl.so") {
			continue
		}
		dir := filepath.Join(m.dir, "lib")
		if err := os.Mkdir(dir, 0o700); err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		if err := copyFile(f[2], filepath.Join(dir, f[0])); err != nil {
			return err
		}
		return m.curl("/usr/bin/curl", []string{"LD_LIBRARY_PATH=" + dir})(ctx)
	}
	return errors.New("curl has no libssl")
}

const fetches = `const https = require("https");
let left = 5;
const go = () => https.get(process.argv[1] + "/n" + left, {rejectUnauthorized: false, agent: false}, (r) => { r.resume(); r.on("end", () => { if (--left) go(); }); });
go();`

func (m *mixed) node(program string) func(context.Context) error {
	return func(ctx context.Context) error {
		return output(exec.CommandContext(ctx, program, "-e", fetches, m.server.URL))
	}
}

func (m *mixed) ownNode(ctx context.Context) error {
	node, err := exec.LookPath("node")
	if err != nil {
		return err
	}
	if node, err = filepath.EvalSymlinks(node); err != nil {
		return err
	}
	dir := filepath.Join(m.dir, "node")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	program := filepath.Join(dir, "node")
	if err := copyFile(node, program); err != nil {
		return err
	}
	return m.node(program)(ctx)
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
