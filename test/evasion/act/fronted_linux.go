package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"

	"golang.org/x/sys/unix"
)

func must(addr string) netip.AddrPort { return netip.MustParseAddrPort(addr) }

// secure is a server for TLS that answers every request, and the address it
// listens at.
const secure = "198.51.100.7:443"

func serveTLS() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	tpl := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"front.test"}}
	der, err := x509.CreateCertificate(rand.Reader, tpl, tpl, &key.PublicKey, key)
	if err != nil {
		return err
	}
	l, err := tls.Listen("tcp4", secure, &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}})
	if err != nil {
		return err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				if _, err := io.ReadFull(c, make([]byte, 64)); err == nil {
					_, _ = io.WriteString(c, "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
				}
			}()
		}
	}()
	return nil
}

// fronted names one host in the ClientHello and another inside the encryption.
func fronted() error {
	if err := serveTLS(); err != nil {
		return err
	}
	c, err := tls.Dial("tcp4", secure, &tls.Config{ServerName: "front.test", InsecureSkipVerify: true}) //nolint:gosec
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.Write([]byte("POST / HTTP/1.1\r\nHost: hidden.test\r\nContent-Length: 0\r\n\r\n                  "))
	return err
}

// curl asks for hidden.test over TLS, with the library that the file is in place
// of its own: a loader takes one that is there under the same internal name.
func curl(library string, inherits ...*os.File) error {
	cmd := exec.Command("curl", "-sk", "--http1.1", "-H", "X-Padding: 0123456789012345678901234567890123456789",
		"--connect-to", "hidden.test:443:"+secure, "https://hidden.test/inside")
	cmd.Env, cmd.ExtraFiles = append(os.Environ(), "LD_PRELOAD="+library), inherits
	return cmd.Run()
}

// libssl is the library of TLS that curl has.
func libssl() ([]byte, error) {
	found, err := filepath.Glob("/usr/lib/*-linux-gnu/libssl.so.3")
	if err != nil || len(found) == 0 {
		return nil, errors.New("this machine has no libssl.so.3")
	}
	return os.ReadFile(found[0])
}

func init() {
	onLoopback("tls-renamed-library", func(dir string) error {
		lib, err := libssl()
		if err == nil {
			err = serveTLS()
		}
		name := filepath.Join(dir, "harmless.so")
		if err == nil {
			err = os.WriteFile(name, lib, 0o600)
		}
		return errors.Join(err, curl(name))
	})
	onLoopback("tls-library-in-memory", func(string) error {
		lib, err := libssl()
		if err == nil {
			err = serveTLS()
		}
		fd, merr := unix.MemfdCreate("harmless", 0)
		if err = errors.Join(err, merr); err == nil {
			_, err = unix.Write(fd, lib)
		}
		return errors.Join(err, curl("/proc/self/fd/3", os.NewFile(uintptr(fd), "harmless")))
	})
}
