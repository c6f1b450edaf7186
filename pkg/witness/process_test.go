package witness

import (
	"bufio"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// builtIn is the folder that built made.
var builtIn string

// built is the command, built once.
var built = sync.OnceValues(func() (path string, err error) {
	if builtIn, err = os.MkdirTemp("", "witness-command-"); err != nil {
		return "", err
	}
	path = filepath.Join(builtIn, "edamame-posture")
	cmd := exec.Command("go", "build", "-o", path, "../../cmd/edamame-posture")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return path, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if builtIn != "" {
		os.RemoveAll(builtIn)
	}
	os.Exit(code)
}

// process is the command as an operator runs it.
type process struct {
	cmd    *exec.Cmd
	addr   string
	stderr *strings.Builder
	read   chan struct{} // closed when stderr has ended
}

func command(t testing.TB, args ...string) *exec.Cmd {
	t.Helper()
	path, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return exec.Command(path, append([]string{"witness"}, args...)...)
}

func startProcess(t testing.TB, args ...string) *process {
	t.Helper()
	p := &process{cmd: command(t, args...), stderr: new(strings.Builder), read: make(chan struct{})}
	pipe, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.cmd.Process.Kill()
		<-p.read
		p.cmd.Wait()
	})
	addr := make(chan string, 1)
	go func() {
		defer close(p.read)
		defer close(addr)
		for sc := bufio.NewScanner(pipe); sc.Scan(); {
			p.stderr.WriteString(sc.Text() + "\n")
			if _, a, ok := strings.Cut(sc.Text(), " listens on "); ok {
				addr <- a
			}
		}
	}()
	var ok bool
	if p.addr, ok = <-addr; !ok {
		<-p.read
		t.Fatalf("it did not start: %s", p.stderr)
	}
	return p
}

// operator is a folder with what the command needs.
type operator struct {
	dir, vkey string
	issuer    *testIssuer
	args      []string
}

func newOperator(t testing.TB) *operator {
	t.Helper()
	o := &operator{dir: t.TempDir(), issuer: newIssuer()}
	key, jwks := filepath.Join(o.dir, "witness.key"), filepath.Join(o.dir, "jwks.json")
	out, err := command(t, "keygen", "--name", "witness.example/w1", "--key", key).Output()
	if err != nil {
		t.Fatal(err)
	}
	o.vkey, _, _ = strings.Cut(string(out), "\n")

	mux := http.NewServeMux()
	provider := httptest.NewServer(mux)
	defer provider.Close()
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		json.NewEncoder(w).Encode(map[string]string{"issuer": provider.URL, "jwks_uri": provider.URL + "/keys"})
	})
	mux.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) { w.Write(o.issuer.jwks(t)) })
	if out, err := command(t, "jwks", "--issuer", provider.URL, "--out", jwks).CombinedOutput(); err != nil {
		t.Fatalf("jwks: %v\n%s", err, out)
	}
	o.args = []string{"--dir", filepath.Join(o.dir, "records"), "--key", key, "--listen", "127.0.0.1:0",
		"--issuer", issuerURL, "--jwks", jwks, "--owner-id", "9"}
	return o
}

func (o *operator) client(t testing.TB, p *process) *Client {
	t.Helper()
	c, err := NewClient("http://"+p.addr, o.vkey)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// A witness that is killed after a first record is on the disk, and before it
// answered, holds that record when it is started again, and no other.
func TestAWitnessKilledBeforeItsAnswerHoldsWhatItWrote(t *testing.T) {
	o := newOperator(t)
	unanswered := 0
	for n := 0; n < 60 && unanswered < 3; n++ {
		p := startProcess(t, o.args...)
		l := newLog(fmt.Sprintf("run-%d", n))
		f := o.issuer.first(t, l, n)
		path := filepath.Join(o.dir, "records", fileName(slotOfJob(n)))
		// The kill comes as soon as the file has its line.
		killed := make(chan struct{})
		go func() {
			defer close(killed)
			for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
				if b, err := os.ReadFile(path); err == nil && len(b) > 0 && b[len(b)-1] == '\n' {
					break
				}
			}
			p.cmd.Process.Kill()
		}()
		c := o.client(t, p)
		_, err := c.FirstRecord(t.Context(), f)
		<-killed
		<-p.read
		p.cmd.Wait()

		p = startProcess(t, o.args...)
		c = o.client(t, p)
		rival := o.issuer.first(t, newLog(fmt.Sprintf("rival-%d", n)), n)
		var conflict *ConflictError
		if _, err := c.FirstRecord(t.Context(), rival); !errors.As(err, &conflict) || conflict.Record.First.Checkpoint != f.Checkpoint {
			t.Fatalf("another after the restart: %v", err)
		}
		rec, errAgain := c.FirstRecord(t.Context(), f)
		if errAgain != nil || len(rec.Conflicts) != 1 {
			t.Fatalf("the same after the restart: %+v, %v", rec, errAgain)
		}
		if err != nil {
			unanswered++
		}
		p.cmd.Process.Kill()
		<-p.read
		p.cmd.Wait()
	}
	if unanswered == 0 {
		t.Fatal("each was answered before the kill: the test shows nothing")
	}
}

// Killed at any moment, it has all that it answered, in order.
func TestAWitnessKilledAtAnyMomentHasAllThatItAnswered(t *testing.T) {
	o := newOperator(t)
	p := startProcess(t, o.args...)
	l := newLog("run-1")
	if _, err := o.client(t, p).FirstRecord(t.Context(), o.issuer.first(t, l, 1)); err != nil {
		t.Fatal(err)
	}
	accept(t, l)
	answered := uint64(0)
	for round := range 8 {
		c := o.client(t, p)
		c.Budget = 300 * time.Millisecond
		timer := time.AfterFunc(time.Duration(5+round*7)*time.Millisecond, func() { p.cmd.Process.Kill() })
		var notes [][]byte
		for i := 0; ; i++ {
			l.grow(t, 1)
			notes = append(notes[:0:0], l.checkpoint(t))
			if _, _, err := c.AddCheckpoint(t.Context(), l.growth.Old(), proofOf(t, l), notes); err != nil {
				if !errors.Is(err, ErrDown) {
					t.Fatal(err)
				}
				break
			}
			accept(t, l)
			answered++
		}
		timer.Stop()
		p.cmd.Process.Kill() // it may only have said that it is asked too often
		<-p.read
		p.cmd.Wait()
		p = startProcess(t, o.args...)
		// The same once more, as the outcome is not known.
		if _, _, err := o.client(t, p).AddCheckpoint(t.Context(), l.growth.Old(), proofOf(t, l), notes); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		accept(t, l)
		answered++
	}
	rec, _, err := o.client(t, p).Slot(t.Context(), slotOfJob(1))
	if err != nil {
		t.Fatal(err)
	}
	if uint64(len(rec.Cosigned)) != answered+1 || rec.Last().Seq != answered || len(rec.Conflicts) != 0 {
		t.Errorf("%d answered, record: %d cosigned, last %+v, conflicts %v", answered, len(rec.Cosigned), rec.Last(), rec.Conflicts)
	}
}

func TestAWitnessThatIsToldToStopAnswersFirst(t *testing.T) {
	o := newOperator(t)
	p := startProcess(t, o.args...)
	l := newLog("run-1")
	f := o.issuer.first(t, l, 1)
	body := marshal(t, f)
	conn, err := net.Dial("tcp", p.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST /first-record HTTP/1.1\r\nHost: w\r\nConnection: close\r\nExpect: 100-continue\r\n"+
		"Authorization: Bearer %s\r\nContent-Length: %d\r\n\r\n", f.Token, len(body))
	// That it may go on says that the request is being served.
	reader := bufio.NewReader(conn)
	if line, err := reader.ReadString('\n'); err != nil || !strings.Contains(line, " 100 ") {
		t.Fatalf("%q, %v", line, err)
	}
	if _, err := reader.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write(body); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(reader)
	if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 200 ") {
		t.Errorf("the request under way: %v, %.200q", err, answer)
	}
	<-p.read
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("it ended with %v: %s", err, p.stderr)
	}
}

func TestTheCommandServesTLS(t *testing.T) {
	o := newOperator(t)
	pub, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, pub, key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile := filepath.Join(o.dir, "cert.pem"), filepath.Join(o.dir, "key.pem")
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if err := errors.Join(os.WriteFile(certFile, certPEM, 0o600),
		os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), 0o600)); err != nil {
		t.Fatal(err)
	}
	p := startProcess(t, append(o.args, "--tls-cert", certFile, "--tls-key", keyFile)...)
	c, err := NewClient("https://"+p.addr, o.vkey)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(certPEM)
	c.HTTP.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
	defer c.HTTP.CloseIdleConnections()
	if _, err := c.FirstRecord(t.Context(), o.issuer.first(t, newLog("run-1"), 1)); err != nil {
		t.Fatal(err)
	}
}

func TestTheCommandSaysWhatIsWrong(t *testing.T) {
	o := newOperator(t)
	open := filepath.Join(o.dir, "open.key")
	b, err := os.ReadFile(filepath.Join(o.dir, "witness.key"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(open, b, 0o644); err != nil {
		t.Fatal(err)
	}
	with := func(flag, value string) []string {
		args := append([]string{}, o.args...)
		for i := range args {
			if args[i] == flag {
				args[i+1] = value
			}
		}
		return args
	}
	down := httptest.NewServer(http.NotFoundHandler())
	defer down.Close()
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{nil, 2, "--dir, --key and --listen"},
		{with("--key", open), 2, "chmod 600"},
		{with("--key", filepath.Join(o.dir, "jwks.json")), 2, "key"},
		{with("--jwks", filepath.Join(o.dir, "none.json")), 2, "no such file"},
		{with("--owner-id", "9")[:8], 2, "--issuer and --jwks go together"},
		{o.args[:10], 2, "name owners or repositories"},
		{append(o.args, "--tls-cert", "x"), 2, "go together"},
		{append(o.args, "--services", filepath.Join(o.dir, "jwks.json")), 2, "line 1"},
		{with("--listen", "nowhere:x"), 2, "--listen"},
		{[]string{"keygen", "--name", "w", "--key", open}, 2, "exists"},
		{[]string{"keygen", "--name", "a b", "--key", filepath.Join(o.dir, "new")}, 2, "no spaces"},
		{[]string{"jwks", "--issuer", down.URL, "--out", filepath.Join(o.dir, "jwks.json")}, 4, "404"},
		{[]string{"jwks", "--issuer", "http://example.com", "--out", filepath.Join(o.dir, "jwks.json")}, 2, "want https"},
	} {
		out, err := command(t, c.args...).CombinedOutput()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != c.code || !strings.Contains(string(out), c.says) {
			t.Errorf("%q: %v %s; want %d, %q", c.args, err, out, c.code, c.says)
		}
	}
	// A fetch that failed left the keys as they were.
	if p := startProcess(t, o.args...); p.addr == "" {
		t.Error("no address")
	}
}
