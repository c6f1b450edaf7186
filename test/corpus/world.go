package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"
)

// world is a network namespace in which every address is one of our own, so
// that nothing can leave the machine: names resolve, servers answer on the
// ports that attacks used, and what arrives is kept.
type world struct {
	name   string // of the namespace
	stop   []func()
	caPEM  []byte
	ca     *x509.Certificate
	caKey  *ecdsa.PrivateKey
	leaves sync.Map // host -> *tls.Certificate

	mu       sync.Mutex
	now      *scenario
	tools    string // folder of the stand-ins
	requests []request
	accepted []string // address:port
	asked    []string // names
}

// request is what a server got.
type request struct {
	host string // name, or address where none was given
	addr string // address that was connected to
	all  []byte // request line, header and body
}

var (
	plainPorts = []uint16{80, 3333, 7777, 8000, 8080, 8081, 14444}
	tlsPorts   = []uint16{443, 8443}
)

func newWorld(tools string) (*world, error) {
	w := &world{name: fmt.Sprintf("posture-corpus-%d", os.Getpid()), tools: tools}
	if err := w.authority(); err != nil {
		return nil, err
	}
	if err := ip("netns", "add", w.name); err != nil {
		return nil, err
	}
	w.stop = append(w.stop, func() { _ = ip("netns", "delete", w.name) })
	for _, args := range [][]string{
		{"link", "set", "lo", "up"},
		// Every address is local here: the same server stands for all of them.
		{"route", "add", "local", "0.0.0.0/0", "dev", "lo"},
		{"-6", "route", "add", "local", "::/0", "dev", "lo"},
	} {
		if err := ip(append([]string{"-n", w.name}, args...)...); err != nil {
			w.close()
			return nil, err
		}
	}
	if err := w.listen(); err != nil {
		w.close()
		return nil, err
	}
	return w, nil
}

func ip(args ...string) error {
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

func (w *world) close() {
	for _, f := range slices.Backward(w.stop) {
		f()
	}
}

// inside runs f on a thread that is in the namespace and ends with it.
func (w *world) inside(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread dies with the goroutine
		fd, err := unix.Open("/run/netns/"+w.name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err == nil {
			err = unix.Setns(fd, unix.CLONE_NEWNET)
			unix.Close(fd)
		}
		if err == nil {
			err = f()
		}
		done <- err
	}()
	return <-done
}

func (w *world) listen() error {
	quiet := log.New(io.Discard, "", 0)
	for _, port := range slices.Concat(plainPorts, tlsPorts) {
		var l net.Listener
		if err := w.inside(func() (err error) {
			l, err = net.Listen("tcp", ":"+strconv.Itoa(int(port)))
			return err
		}); err != nil {
			return err
		}
		l = counted{l, w}
		srv := &http.Server{Handler: w, ErrorLog: quiet, ReadHeaderTimeout: 10 * time.Second}
		w.stop = append(w.stop, func() { srv.Close() })
		if slices.Contains(tlsPorts, port) {
			srv.TLSConfig = &tls.Config{GetCertificate: w.certificate}
			go func() { _ = srv.ServeTLS(l, "", "") }()
			continue
		}
		go func() { _ = srv.Serve(l) }()
	}
	return w.resolve("127.0.0.53:53")
}

// counted keeps which address and port each connection was made to.
type counted struct {
	net.Listener
	w *world
}

func (c counted) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	if err == nil {
		c.w.mu.Lock()
		c.w.accepted = append(c.w.accepted, conn.LocalAddr().String())
		c.w.mu.Unlock()
	}
	return conn, err
}

// resolve answers DNS at an address.
func (w *world) resolve(addr string) error {
	var pc net.PacketConn
	if err := w.inside(func() (err error) {
		pc, err = net.ListenPacket("udp4", addr)
		return err
	}); err != nil {
		return err
	}
	w.stop = append(w.stop, func() { pc.Close() })
	go func() {
		b := make([]byte, 4096)
		for {
			n, from, err := pc.ReadFrom(b)
			if err != nil {
				return
			}
			if reply := w.answer(b[:n]); reply != nil {
				_, _ = pc.WriteTo(reply, from)
			}
		}
	}()
	return nil
}

func (w *world) answer(query []byte) []byte {
	var p dnsmessage.Parser
	head, err := p.Start(query)
	if err != nil {
		return nil
	}
	q, err := p.Question()
	if err != nil {
		return nil
	}
	name := strings.TrimSuffix(q.Name.String(), ".")
	w.mu.Lock()
	w.asked = append(w.asked, name)
	addr := w.address(name)
	w.mu.Unlock()
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{ID: head.ID, Response: true, RecursionAvailable: true})
	b.EnableCompression()
	_ = b.StartQuestions()
	_ = b.Question(q)
	_ = b.StartAnswers()
	h := dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 60}
	switch q.Type {
	case dnsmessage.TypeA:
		_ = b.AResource(h, dnsmessage.AResource{A: addr})
	case dnsmessage.TypeTXT:
		_ = b.TXTResource(h, dnsmessage.TXTResource{TXT: []string{"ok"}})
	}
	reply, err := b.Finish()
	if err != nil {
		return nil
	}
	return reply
}

// address returns what a name resolves to: what the case says, else an
// address of a range for tests (RFC 2544), the same each time.
func (w *world) address(name string) [4]byte {
	if w.now != nil {
		if a := net.ParseIP(w.now.Addresses[name]).To4(); a != nil {
			return [4]byte(a)
		}
	}
	h := fnv.New32a()
	_, _ = io.WriteString(h, name)
	n := h.Sum32()
	return [4]byte{198, 18, byte(n >> 8), byte(n)}
}

// begin forgets what was before, and answers as the case says from now on.
func (w *world) begin(c *scenario) error {
	w.mu.Lock()
	w.now, w.requests, w.accepted, w.asked = c, nil, nil, nil
	w.mu.Unlock()
	for _, r := range c.Resolvers {
		if err := w.resolve(r + ":53"); err != nil && !errors.Is(err, unix.EADDRINUSE) {
			return err
		}
	}
	return nil
}

// end kills what is left in the namespace: all of it was started by the case.
func (w *world) end() error {
	for range 100 {
		out, err := exec.Command("ip", "netns", "pids", w.name).Output()
		if err != nil {
			return err
		}
		pids := strings.Fields(string(out))
		left := 0
		for _, p := range pids {
			if pid, _ := strconv.Atoi(p); pid > 0 && pid != os.Getpid() {
				left++
				_ = unix.Kill(pid, unix.SIGKILL)
			}
		}
		if left == 0 {
			return nil
		}
		time.Sleep(10 * time.Millisecond) // until they have gone
	}
	return errors.New("processes of the case cannot be ended")
}

// ServeHTTP keeps the request, and answers with what the case serves there.
func (w *world) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(io.LimitReader(r.Body, 16<<20))
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	got := request{host: host}
	if a, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok {
		got.addr, _, _ = net.SplitHostPort(a.String())
	}
	head := r.Method + " " + r.URL.String() + "\n"
	for k, v := range r.Header {
		head += k + ": " + strings.Join(v, ", ") + "\n"
	}
	got.all = append([]byte(head+"\n"), body...)
	w.mu.Lock()
	w.requests = append(w.requests, got)
	c := w.now
	w.mu.Unlock()
	if c == nil {
		http.NotFound(rw, r)
		return
	}
	switch host {
	case "registry.test":
		npmRegistry(rw, r, filepath.Join(c.Dir, "npm"))
		return
	case "pypi.test":
		pythonIndex(rw, r, filepath.Join(c.Dir, "pypi"))
		return
	}
	if tool, ok := c.Downloads[host+r.URL.Path]; ok {
		http.ServeFile(rw, r, filepath.Join(w.tools, tool))
		return
	}
	path := filepath.Join(c.Dir, "www", host, filepath.Clean("/"+r.URL.Path))
	if info, err := os.Stat(path); err == nil && !info.IsDir() && r.Method == http.MethodGet {
		http.ServeFile(rw, r, path)
		return
	}
	rw.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(rw, "{}\n")
}

// authority makes the certificate authority that the job's machine trusts.
func (w *world) authority() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	t := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "corpus test authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, &key.PublicKey, key)
	if err != nil {
		return err
	}
	if w.ca, err = x509.ParseCertificate(der); err != nil {
		return err
	}
	w.caKey, w.caPEM = key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return nil
}

func (w *world) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	host := hello.ServerName
	if host == "" {
		host, _, _ = net.SplitHostPort(hello.Conn.LocalAddr().String())
	}
	if c, ok := w.leaves.Load(host); ok {
		return c.(*tls.Certificate), nil
	}
	t := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: host},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if a := net.ParseIP(host); a != nil {
		t.IPAddresses = []net.IP{a}
	} else {
		t.DNSNames = []string{host}
	}
	der, err := x509.CreateCertificate(rand.Reader, t, w.ca, &w.caKey.PublicKey, w.caKey)
	if err != nil {
		return nil, err
	}
	c := &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: w.caKey}
	w.leaves.Store(host, c)
	return c, nil
}
