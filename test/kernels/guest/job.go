package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os/exec"
	"time"
)

// requests are made over requestsFor: a program is looked at beside the way, so
// the first of them may go by before its TLS is read.
const (
	requests    = 40
	requestsFor = 10 * time.Second
)

// job takes the way to root, and asks a server of its own over TLS.
func job() error {
	// A setuid program, by the name: before it the monitor holds the exec up.
	if out, err := exec.Command("/usr/bin/sudo", "now").CombinedOutput(); err != nil {
		return fmt.Errorf("sudo: %w: %s", err, out)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	cert := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"guest.example"},
		NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, cert, cert, &key.PublicKey, key)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler:      http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello\n") }),
		TLSConfig:    &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}},
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){},
	}
	go func() { _ = server.ServeTLS(l, "", "") }()
	defer server.Close()
	// The certificate is nobody's business here: what is asked for is read anyway.
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true, ServerName: "guest.example"}}}
	for i := range requests {
		r, err := client.Get(fmt.Sprintf("https://%s/r%d", l.Addr(), i))
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, r.Body)
		r.Body.Close()
		if err != nil {
			return err
		}
		time.Sleep(requestsFor / requests)
	}
	return nil
}
