package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net/netip"
)

func must(addr string) netip.AddrPort { return netip.MustParseAddrPort(addr) }

// fronted names one host in the ClientHello and another inside the encryption.
func fronted() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	tpl := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"front.test"}}
	der, err := x509.CreateCertificate(rand.Reader, tpl, tpl, &key.PublicKey, key)
	if err != nil {
		return err
	}
	l, err := tls.Listen("tcp4", "198.51.100.7:443", &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}})
	if err != nil {
		return err
	}
	go func() {
		if c, err := l.Accept(); err == nil {
			_, _ = io.ReadFull(c, make([]byte, 64))
			c.Close()
		}
	}()
	c, err := tls.Dial("tcp4", "198.51.100.7:443", &tls.Config{ServerName: "front.test", InsecureSkipVerify: true}) //nolint:gosec
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.Write([]byte("POST / HTTP/1.1\r\nHost: hidden.test\r\nContent-Length: 0\r\n\r\n                  "))
	return err
}
