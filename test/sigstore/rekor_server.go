package sigstore

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// The programs of a real Rekor v1, as make rekor-v1 leaves them, and the tables
// that Trillian keeps its trees in.
const (
	rekorV1Program   = "rekor-server-v1.5.4"
	logServerProgram = "trillian_log_server-v1.7.3"
	logSignerProgram = "trillian_log_signer-v1.7.3"
	treeTables       = "trillian-v1.7.3.sql"
)

// startRekorV1 starts a real Rekor v1 that runs until the test ends, and what it
// stands on: Trillian's log server and signer, and a MariaDB of its own for the
// trees and for the index.
func startRekorV1(t testing.TB) *LogV1 {
	t.Helper()
	at := map[string]string{}
	for _, name := range []string{rekorV1Program, logServerProgram, logSignerProgram, treeTables} {
		at[name] = filepath.Join(tools(), name)
		if _, err := os.Stat(at[name]); err != nil {
			t.Skipf("%s is not built: run make rekor-v1", name)
		}
	}
	for _, name := range []string{"mariadb-install-db", "mariadbd", "mariadb"} {
		path, err := exec.LookPath(name)
		if err != nil {
			t.Skipf("%v: apt-get install mariadb-server", err)
		}
		at[name] = path
	}
	dir, err := os.MkdirTemp("", "rekor-") // the socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	data, socket := filepath.Join(dir, "data"), filepath.Join(dir, "s")
	if out, err := exec.Command(at["mariadb-install-db"], "--no-defaults", "--datadir="+data, "--user=root",
		"--auth-root-authentication-method=normal", "--skip-test-db").CombinedOutput(); err != nil {
		t.Fatalf("MariaDB: %v: %s", err, out)
	}
	query := func(ctx context.Context, database, text string) error {
		cmd := exec.CommandContext(ctx, at["mariadb"], "--no-defaults", "--socket="+socket, "--user=root", database)
		cmd.Stdin = bytes.NewReader([]byte(text))
		out, err := cmd.CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	}
	t.Cleanup(launch(t, "MariaDB", func([]string) *exec.Cmd {
		return exec.Command(at["mariadbd"], "--no-defaults", "--datadir="+data, "--socket="+socket, "--user=root",
			"--skip-networking", "--pid-file="+filepath.Join(dir, "pid"), "--innodb-flush-log-at-trx-commit=0")
	}, func(exited <-chan struct{}) error {
		return await(exited, func(ctx context.Context) bool { return query(ctx, "mysql", "SELECT 1") == nil })
	}))
	tables, err := os.ReadFile(at[treeTables])
	if err == nil {
		err = query(t.Context(), "mysql", "CREATE DATABASE trees; CREATE DATABASE found")
	}
	if err == nil {
		err = query(t.Context(), "trees", string(tables))
	}
	if err != nil {
		t.Fatalf("the tables of Trillian: %v", err)
	}
	trees := "root@unix(" + socket + ")/trees"
	rpc := ""
	start := func(what, health string, command func(p []string) *exec.Cmd) string {
		url, end := serve(t, what, health, command)
		t.Cleanup(end)
		return url
	}
	start("Trillian's log server", "/healthz", func(p []string) *exec.Cmd {
		rpc = p[1]
		return exec.Command(at[logServerProgram], "--storage_system=mysql", "--quota_system=noop", "--mysql_uri="+trees,
			"--http_endpoint=127.0.0.1:"+p[0], "--rpc_endpoint=127.0.0.1:"+p[1])
	})
	start("Trillian's signer", "/healthz", func(p []string) *exec.Cmd {
		return exec.Command(at[logSignerProgram], "--storage_system=mysql", "--quota_system=noop", "--mysql_uri="+trees,
			"--http_endpoint=127.0.0.1:"+p[0], "--rpc_endpoint=127.0.0.1:"+p[1], "--force_master")
	})
	// It wants port 2112 too, which the timestamp authority has, and does without.
	l := &LogV1{URL: start("Rekor v1", "/ping", func(p []string) *exec.Cmd {
		return exec.Command(at[rekorV1Program], "serve", "--rekor_server.address=127.0.0.1", "--port="+p[0], "--rekor_server.hostname=rekor.localhost",
			"--trillian_log_server.address=127.0.0.1", "--trillian_log_server.port="+rpc, "--rekor_server.signer=memory",
			"--search_index.storage_provider=mysql", "--search_index.mysql.dsn=root@unix("+socket+")/found")
	})}
	text, err := get(l.URL + "/api/v1/log/publicKey")
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	if block == nil {
		t.Fatalf("the key of Rekor v1: %s", text)
	}
	if l.Key, err = x509.ParsePKIXPublicKey(block.Bytes); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(block.Bytes)
	l.id = hex.EncodeToString(sum[:])
	return l
}

// Await returns when the log finds n entries about a SHA-256, in hex: a real one
// writes its index beside its answer.
func (l *LogV1) Await(t testing.TB, sum string, n int) {
	t.Helper()
	var found []string
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		resp, err := http.Post(l.URL+"/api/v1/index/retrieve", "application/json", bytes.NewReader([]byte(`{"hash":"sha256:`+sum+`"}`)))
		if err != nil {
			t.Fatal(err)
		}
		err = json.NewDecoder(resp.Body).Decode(&found)
		resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		if len(found) >= n {
			return
		}
	}
	t.Fatalf("the log finds %d entries about %s, want %d", len(found), sum, n)
}
