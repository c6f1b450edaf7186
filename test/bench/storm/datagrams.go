package main

import (
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"

	"golang.org/x/sys/unix"
)

// sends takes a socket for each datagram, so that no send folds into another.
func sends(n int) error {
	sink, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return err
	}
	defer sink.Close()
	to := &unix.SockaddrInet4{Port: sink.LocalAddr().(*net.UDPAddr).Port, Addr: [4]byte{127, 0, 0, 1}}
	for range n {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		err = unix.Sendto(fd, []byte("x"), 0, to)
		unix.Close(fd)
		if err != nil {
			return fmt.Errorf("sendto: %w", err)
		}
	}
	return nil
}

// lookups asks n names of a responder in a network namespace of their own: port
// 53 of the machine stays as it is. The thread is not given back.
func lookups(n int) error {
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("a network namespace: %w", err)
	}
	if err := loopbackUp(); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	responder := exec.Command(self, "dnsd")
	responder.Stderr = os.Stderr
	ready, err := responder.StdoutPipe()
	if err != nil {
		return err
	}
	if err := responder.Start(); err != nil {
		return err
	}
	defer func() {
		_ = responder.Process.Kill()
		_ = responder.Wait()
	}()
	if _, err := ready.Read(make([]byte, 1)); err != nil {
		return fmt.Errorf("the responder: %w", err)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: 53, Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return err
	}
	answer := make([]byte, 512)
	for i := range n {
		if _, err := unix.Write(fd, question(uint16(i), fmt.Sprintf("n%d", i))); err != nil {
			return err
		}
		if _, err := unix.Read(fd, answer); err != nil {
			return err
		}
	}
	return nil
}

// question asks for the A record of label.bench.example (RFC 1035, 4.1).
func question(id uint16, label string) []byte {
	q := binary.BigEndian.AppendUint16(nil, id)
	q = append(q, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0)
	for _, l := range []string{label, "bench", "example"} {
		q = append(append(q, byte(len(l))), l...)
	}
	return append(q, 0, 0, 1, 0, 1)
}

// respond answers every question with 192.0.2.1.
func respond() error {
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 53})
	if err != nil {
		return err
	}
	fmt.Print("r")
	b := make([]byte, 512)
	for {
		n, from, err := c.ReadFromUDPAddrPort(b)
		if err != nil {
			return err
		}
		if n < 12 {
			continue
		}
		a := append([]byte(nil), b[:n]...)
		a[2], a[3], a[7] = 0x81, 0x80, 1
		a = append(a, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1)
		if _, err := c.WriteToUDPAddrPort(a, from); err != nil {
			return err
		}
	}
}

func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	r, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	r.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, r)
}
