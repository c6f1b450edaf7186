package main

import (
	"bufio"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	peer  = "198.51.100.7:7001"
	other = "203.0.113.9:7002"
)

// network makes loopback answer for the addresses that acts speak to.
func network() error {
	cmd := exec.Command("ip", "-batch", "-")
	cmd.Stdin = strings.NewReader(`link set lo up
addr add 198.51.100.7/32 dev lo
addr add 203.0.113.9/32 dev lo
addr add 203.0.113.21/32 dev lo
addr add 203.0.113.22/32 dev lo
addr add 203.0.113.23/32 dev lo
addr add 10.9.8.7/32 dev lo
addr add 169.254.169.254/32 dev lo
addr add 168.63.129.16/32 dev lo
addr add 2001:db8::7/128 dev lo nodad
addr add fe80::7/64 dev lo nodad
route add 192.0.2.0/24 dev lo
`)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("ip: %w: %s", err, out)
	}
	return nil
}

// serve takes connections and reads them to their end.
func serve(network, addr string) {
	l, err := net.Listen(network, addr)
	if err != nil {
		fatal(err)
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				b := make([]byte, 64<<10)
				for {
					if _, err := c.Read(b); err != nil {
						return
					}
				}
			}()
		}
	}()
}

// stay is how long lasts what does not hide by being short: long enough for a
// sensor that looks each second at least.
func stay() { time.Sleep(2 * time.Second) }

func connectTo(addr, done string) error {
	if err := dial("tcp", addr)(""); err != nil {
		return err
	}
	return os.WriteFile(done, nil, 0o600)
}

// onLoopback is an act that needs the addresses and a listener.
func onLoopback(name string, f func(dir string) error) {
	acts[name] = func(dir string) error {
		if err := network(); err != nil {
			return err
		}
		serve("tcp4", peer)
		return f(dir)
	}
}

func sockaddr(addr string) *unix.SockaddrInet4 {
	a := net.UDPAddrFromAddrPort(must(addr))
	sa := &unix.SockaddrInet4{Port: a.Port}
	copy(sa.Addr[:], a.IP.To4())
	return sa
}

func raw4(addr string) []byte {
	sa := sockaddr(addr)
	b := make([]byte, 16)
	binary.NativeEndian.PutUint16(b, unix.AF_INET)
	binary.BigEndian.PutUint16(b[2:], uint16(sa.Port))
	copy(b[4:], sa.Addr[:])
	return b
}

// drained ends a connection when the peer has read all of it.
func drained(c net.Conn) error {
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, c)
	return err
}

func dial(network, addr string) func(string) error {
	return func(string) error {
		c, err := net.Dial(network, addr)
		if err != nil {
			return err
		}
		stay()
		return c.Close()
	}
}

func init() {
	roles["connect"] = func(a []string) error { return connectTo(a[0], a[1]) }
	onLoopback("short-connection", func(string) error {
		c, err := net.Dial("tcp", peer)
		if err != nil {
			return err
		}
		return c.Close()
	})
	onLoopback("private-range", func(string) error { serve("tcp4", "10.9.8.7:7001"); return dial("tcp", "10.9.8.7:7001")("") })
	onLoopback("metadata-address", func(string) error { serve("tcp4", "169.254.169.254:80"); return dial("tcp", "169.254.169.254:80")("") })
	onLoopback("azure-address", func(string) error {
		serve("tcp4", "168.63.129.16:32526")
		return dial("tcp", "168.63.129.16:32526")("")
	})
	onLoopback("connect-flood", func(dir string) error {
		for range 3000 {
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
			if err != nil {
				return err
			}
			if err := unix.Connect(fd, sockaddr(peer)); err != nil {
				return err
			}
			unix.Close(fd)
		}
		serve("tcp4", other)
		return self("connect", other, filepath.Join(dir, "done")).Run()
	})
	onLoopback("allowed-upload", func(string) error {
		serve("tcp4", "203.0.113.9:443")
		c, err := net.Dial("tcp", "203.0.113.9:443")
		if err != nil {
			return err
		}
		if err := greet(c, "allowed.test"); err != nil {
			return err
		}
		for range 100 {
			if _, err := c.Write(make([]byte, 20000)); err != nil {
				return err
			}
		}
		return drained(c)
	})
	onLoopback("shared-address", func(string) error {
		resolver("198.51.100.7:53")
		for _, name := range []string{"declared.test", "undeclared.test"} {
			if err := ask("198.51.100.7:53", name); err != nil { // both lead to 203.0.113.9
				return err
			}
		}
		serve("tcp4", "203.0.113.9:443")
		return hello("203.0.113.9:443", "undeclared.test")
	})
	acts["existing-connection"] = func(dir string) error {
		fd, err := given(filepath.Join(dir, "daemon.sock"))
		if err != nil {
			return err
		}
		if _, err := unix.Write(fd, make([]byte, 5000)); err != nil {
			return err
		}
		stay()
		return unix.Close(fd)
	}
	onLoopback("handed-to-daemon", func(dir string) error {
		c, err := net.Dial("tcp", peer)
		if err != nil {
			return err
		}
		f, err := c.(*net.TCPConn).File()
		if err != nil {
			return err
		}
		c.Close()
		d, err := net.Dial("unix", filepath.Join(dir, "daemon.sock"))
		if err != nil {
			return err
		}
		if _, _, err := d.(*net.UnixConn).WriteMsgUnix([]byte("x"), unix.UnixRights(int(f.Fd())), nil); err != nil {
			return err
		}
		f.Close()
		_, err = bufio.NewReader(d).ReadString('\n') // it has written
		return err
	})
	acts["daemon-sends"] = acts["handed-to-daemon"]
	// A daemon of before that has a connection open, and gives it to who asks.
	roles["connected"] = func(a []string) error {
		if err := network(); err != nil {
			return err
		}
		serve("tcp4", peer)
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
		if err != nil {
			return err
		}
		if err := unix.Connect(fd, sockaddr(peer)); err != nil {
			return err
		}
		l, err := net.Listen("unix", a[0])
		if err != nil {
			return err
		}
		fmt.Println("ready")
		c, err := l.Accept()
		if err != nil {
			return err
		}
		_, _, err = c.(*net.UnixConn).WriteMsgUnix([]byte("x"), unix.UnixRights(fd), nil)
		unix.Close(fd)
		_, _ = io.Copy(io.Discard, c)
		return err
	}
	// A daemon of before that takes a connection and sends on it.
	roles["sends"] = func(a []string) error {
		l, err := net.Listen("unix", a[0])
		if err != nil {
			return err
		}
		fmt.Println("ready")
		c, err := l.Accept()
		if err != nil {
			return err
		}
		oob := make([]byte, 64)
		_, n, _, _, err := c.(*net.UnixConn).ReadMsgUnix(make([]byte, 1), oob)
		if err != nil {
			return err
		}
		fd, err := right(oob[:n])
		if err != nil {
			return err
		}
		if _, err := unix.Write(fd, make([]byte, 5000)); err != nil {
			return err
		}
		unix.Close(fd)
		_, err = c.Write([]byte("done\n"))
		return err
	}
	onLoopback("ipv6", func(string) error { serve("tcp6", "[2001:db8::7]:7001"); return dial("tcp6", "[2001:db8::7]:7001")("") })
	onLoopback("ipv6-link-local", func(string) error { serve("tcp6", "[fe80::7%lo]:7001"); return dial("tcp6", "[fe80::7%lo]:7001")("") })
	onLoopback("v4-mapped", func(string) error {
		fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM, 0)
		if err != nil {
			return err
		}
		sa := &unix.SockaddrInet6{Port: 7001}
		copy(sa.Addr[:], net.ParseIP("198.51.100.7").To16())
		defer stay()
		return unix.Connect(fd, sa)
	})
	onLoopback("nonblocking-connect", func(string) error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return err
		}
		if err := unix.Connect(fd, sockaddr(peer)); err != nil && err != unix.EINPROGRESS {
			return err
		}
		return nil // at once away: nobody waits for the handshake
	})
	onLoopback("refused-connect", func(string) error {
		if err := dial("tcp", other)(""); err == nil {
			return fmt.Errorf("somebody listens")
		}
		return nil
	})
	onLoopback("uring-connect", func(string) error {
		u, err := newURing()
		if err != nil {
			return err
		}
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
		if err != nil {
			return err
		}
		defer stay()
		return u.must(16, int32(fd), cstr(string(raw4(peer))), 16, 0, 0, 0)
	})
	onLoopback("uring-accept", func(string) error {
		l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(198, 51, 100, 7), Port: 7009})
		if err != nil {
			return err
		}
		defer l.Close()
		f, err := l.File()
		if err != nil {
			return err
		}
		defer f.Close()
		u, err := newURing()
		if err != nil {
			return err
		}
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			return err
		}
		defer c.Close()
		return u.must(13, int32(f.Fd()), 0, 0, 0, 0, 0)
	})
	onLoopback("uring-send", func(string) error {
		u, err := newURing()
		if err != nil {
			return err
		}
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
		if err != nil {
			return err
		}
		msg, _ := message(raw4("198.51.100.7:7003"), []byte("canary"))
		kept = append(kept, unsafe.Slice((*byte)(unsafe.Pointer(msg)), 1))
		return u.must(9, int32(fd), uintptr(unsafe.Pointer(msg)), 0, 1, 0, 0)
	})
	onLoopback("uring-unix", func(dir string) error {
		path := filepath.Join(dir, "u.sock")
		l, err := net.Listen("unix", path)
		if err != nil {
			return err
		}
		defer l.Close()
		u, err := newURing()
		if err != nil {
			return err
		}
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
		if err != nil {
			return err
		}
		b := make([]byte, 2)
		binary.NativeEndian.PutUint16(b, unix.AF_UNIX)
		b = append(append(b, path...), 0)
		return u.must(16, int32(fd), cstr(string(b)), uintptr(len(b)), 0, 0, 0)
	})
	onLoopback("tcp-fastopen", func(string) error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
		if err != nil {
			return err
		}
		defer stay()
		return unix.Sendto(fd, []byte("canary"), unix.MSG_FASTOPEN, sockaddr(peer))
	})
	onLoopback("udp-sendto", func(string) error {
		return datagrams(func(fd int) error { return unix.Sendto(fd, []byte("canary"), 0, sockaddr("198.51.100.7:7003")) })
	})
	onLoopback("udp-sendmsg", func(string) error {
		return datagrams(func(fd int) error { return unix.Sendmsg(fd, []byte("canary"), nil, sockaddr("198.51.100.7:7003"), 0) })
	})
	onLoopback("udp-sendmmsg", func(string) error {
		return datagrams(func(fd int) error {
			var msgs [20]struct {
				hdr unix.Msghdr
				n   uint32
				_   [4]byte
			}
			for i := range msgs {
				m, _ := message(raw4(fmt.Sprintf("192.0.2.%d:7003", i+1)), []byte("canary"))
				msgs[i].hdr = *m
			}
			n, _, e := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(&msgs[0])), uintptr(len(msgs)), 0, 0, 0)
			if e != 0 || n != 20 {
				return fmt.Errorf("sendmmsg sent %d: %w", n, e)
			}
			return nil
		})
	})
	onLoopback("raw-ipv4", func(string) error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW, 253)
		if err != nil {
			return err
		}
		return unix.Sendto(fd, []byte("canary"), 0, sockaddr("198.51.100.7:0"))
	})
	onLoopback("raw-own-header", func(string) error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_RAW)
		if err != nil {
			return err
		}
		return unix.Sendto(fd, ipv4(253, []byte("canary")), 0, sockaddr("198.51.100.7:0"))
	})
	onLoopback("packet-socket", func(string) error { return packet(false) })
	onLoopback("packet-bypass", func(string) error { return packet(true) })
	acts["vsock"] = func(string) error {
		fd, err := unix.Socket(unix.AF_VSOCK, unix.SOCK_STREAM, 0)
		if err != nil {
			return nil // a kernel without: the attempt counts
		}
		_ = unix.SetNonblock(fd, true)
		_ = unix.Connect(fd, &unix.SockaddrVM{CID: 2, Port: 4242})
		return nil
	}
	acts["unix-abstract"] = func(dir string) error {
		l, err := net.Listen("unix", "@posture-evasion-abstract")
		if err != nil {
			return err
		}
		defer l.Close()
		return dial("unix", "@posture-evasion-abstract")("")
	}
	acts["docker-socket"] = func(dir string) error {
		// A daemon of our own at docker.sock: the request is what a client can do.
		path := filepath.Join(dir, "docker.sock")
		l, err := net.Listen("unix", path)
		if err != nil {
			return err
		}
		defer l.Close()
		return dial("unix", path)("")
	}
	onLoopback("fd-passed", func(dir string) error {
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
		if err != nil {
			return err
		}
		cmd := self("taker", filepath.Join(dir, "done"))
		cmd.Stdin = os.NewFile(uintptr(pair[1]), "")
		if err := cmd.Start(); err != nil {
			return err
		}
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
		if err != nil {
			return err
		}
		if err := unix.Connect(fd, sockaddr(peer)); err != nil {
			return err
		}
		if err := unix.Sendmsg(pair[0], []byte("x"), unix.UnixRights(fd), nil, 0); err != nil {
			return err
		}
		unix.Close(fd)
		return cmd.Wait()
	})
	roles["taker"] = func(a []string) error {
		fd, err := taken(0)
		if err != nil {
			return err
		}
		defer stay()
		_, err = unix.Write(fd, make([]byte, 5000))
		return err
	}
	onLoopback("socket-across-exec", func(string) error {
		c, err := net.Dial("tcp", peer)
		if err != nil {
			return err
		}
		f, err := c.(*net.TCPConn).File()
		if err != nil {
			return err
		}
		c.Close()
		cmd := self("writer")
		cmd.ExtraFiles = []*os.File{f}
		if err := cmd.Start(); err != nil {
			return err
		}
		f.Close()
		return cmd.Wait()
	})
	roles["writer"] = func([]string) error {
		defer stay()
		_, err := unix.Write(3, make([]byte, 5000))
		return err
	}
	onLoopback("bytes-of-open-connection", func(string) error {
		c, err := net.Dial("tcp", peer)
		if err != nil {
			return err
		}
		for range 100 {
			if _, err := c.Write(make([]byte, 10000)); err != nil {
				return err
			}
		}
		return drained(c)
	})
	onLoopback("dns-label-tunnel", func(string) error {
		resolver("198.51.100.7:53")
		for i := range 200 {
			if err := ask("198.51.100.7:53", fmt.Sprintf("%032x.tunnel.test", i)); err != nil {
				return err
			}
		}
		return nil
	})
	onLoopback("dns-stub", func(string) error {
		// Docker's resolver for containers has this address in their namespace.
		resolver("127.0.0.11:53")
		for i := range 200 {
			if err := ask("127.0.0.11:53", fmt.Sprintf("%032x.stub.test", i)); err != nil {
				return err
			}
		}
		return nil
	})
	// Each is an answer of its own for an address of its own.
	for act, forged := range map[string]struct {
		at, asked, name string
		leads           byte
	}{
		"dns-forged-answer":     {"203.0.113.9:53", "203.0.113.9:53", "allowed.test", 21},
		"dns-forged-stub":       {"127.0.0.1:53", "127.0.0.1:53", "stubbed.test", 22},
		"dns-forged-everywhere": {"0.0.0.0:53", "127.0.0.53:53", "everywhere.test", 23},
	} {
		onLoopback(act, func(string) error {
			leads = forged.leads
			if act == "dns-forged-everywhere" {
				everywhere()
			} else {
				resolver(forged.at)
			}
			if err := ask(forged.asked, forged.name); err != nil {
				return err
			}
			to := fmt.Sprintf("203.0.113.%d:7002", leads)
			serve("tcp4", to)
			return dial("tcp", to)("")
		})
	}
	onLoopback("dns-over-tcp", func(string) error { return askTCP("tcp-dns.test", false) })
	onLoopback("dns-over-tcp-split", func(string) error { return askTCP("split-dns.test", true) })
	onLoopback("dns-over-tcp-long", func(string) error {
		// The name comes after more than is read of a stream.
		serve("tcp4", "198.51.100.7:53")
		c, err := net.Dial("tcp", "198.51.100.7:53")
		if err != nil {
			return err
		}
		defer c.Close()
		q := question("padding.test")
		q = append([]byte{0, byte(len(q))}, q...)
		for range 20<<10/len(q) + 1 {
			if _, err := c.Write(q); err != nil {
				return err
			}
		}
		q = question("late.test")
		if _, err := c.Write(append([]byte{0, byte(len(q))}, q...)); err != nil {
			return err
		}
		return drained(c)
	})
	onLoopback("dns-other-port", func(string) error {
		resolver("198.51.100.7:5300")
		return ask("198.51.100.7:5300", "odd-port.test")
	})
	onLoopback("dns-over-tcp-other-port", func(string) error {
		serve("tcp4", "198.51.100.7:5301")
		c, err := net.Dial("tcp", "198.51.100.7:5301")
		if err != nil {
			return err
		}
		defer c.Close()
		q := question("odd-tcp.test")
		if _, err := c.Write(append([]byte{0, byte(len(q))}, q...)); err != nil {
			return err
		}
		return drained(c)
	})
	onLoopback("doh", func(string) error { serve("tcp4", "198.51.100.7:443"); return hello("198.51.100.7:443", "dns.google") })
	onLoopback("dot", func(string) error {
		serve("tcp4", "198.51.100.7:853")
		return hello("198.51.100.7:853", "one.one.one.one")
	})
	onLoopback("sni-of-allowed-name", func(string) error { serve("tcp4", "203.0.113.9:443"); return hello("203.0.113.9:443", "allowed.test") })
	onLoopback("domain-fronting", func(string) error { return fronted() })
	onLoopback("http-other-host", func(string) error {
		c, err := net.Dial("tcp", peer)
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.Write([]byte("POST /collect HTTP/1.1\r\nHost: allowed.test\r\nContent-Length: 0\r\n\r\n"))
		return err
	})
	onLoopback("address-rewritten", func(string) error { return rewrittenAddress() })
	acts["bridge"] = func(dir string) error {
		// Two more namespaces on a bridge of our own, as compose makes them.
		if err := network(); err != nil {
			return err
		}
		hold := self("bridged", filepath.Join(dir, "done"))
		hold.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
		go1, err := hold.StdinPipe()
		if err != nil {
			return err
		}
		if err := hold.Start(); err != nil {
			return err
		}
		cmd := exec.Command("ip", "-batch", "-")
		cmd.Stdin = strings.NewReader(fmt.Sprintf(`link add br-own type bridge
addr add 10.88.0.1/24 dev br-own
link set br-own up
link add veth-own type veth peer name eth0 netns %d
link set veth-own master br-own
link set veth-own up
`, hold.Process.Pid))
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("ip: %w: %s", err, out)
		}
		serve("tcp4", "10.88.0.1:7001")
		go1.Close()
		return hold.Wait()
	}
	roles["bridged"] = func(a []string) error {
		if err := roles["wait"](nil); err != nil {
			return err
		}
		cmd := exec.Command("ip", "-batch", "-")
		cmd.Stdin = strings.NewReader("addr add 10.88.0.2/24 dev eth0\nlink set eth0 up\n")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("ip: %w: %s", err, out)
		}
		return connectTo("10.88.0.1:7001", a[0])
	}
}

// right reads the descriptor that a control message holds.
func right(oob []byte) (int, error) {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return -1, err
	}
	if len(msgs) == 0 {
		return -1, fmt.Errorf("no descriptor came")
	}
	fds, err := unix.ParseUnixRights(&msgs[0])
	if err != nil {
		return -1, err
	}
	return fds[0], nil
}

// taken receives a descriptor over a Unix socket.
func taken(sock int) (int, error) {
	oob := make([]byte, 64)
	_, n, _, _, err := unix.Recvmsg(sock, make([]byte, 1), oob, 0)
	if err != nil {
		return -1, err
	}
	return right(oob[:n])
}

// given asks a daemon for its descriptor.
func given(path string) (int, error) {
	sock, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return -1, err
	}
	if err := unix.Connect(sock, &unix.SockaddrUnix{Name: path}); err != nil {
		return -1, err
	}
	return taken(sock)
}

func datagrams(f func(fd int) error) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	return f(fd)
}

func message(name, data []byte) (*unix.Msghdr, *unix.Iovec) {
	iov := &unix.Iovec{Base: &data[0], Len: uint64(len(data))}
	m := &unix.Msghdr{Name: &name[0], Namelen: uint32(len(name)), Iov: iov, Iovlen: 1}
	messages = append(messages, m)
	return m, iov
}

var messages []*unix.Msghdr // the kernel reads them by address

func ipv4(proto byte, data []byte) []byte {
	b := make([]byte, 20, 20+len(data))
	b[0], b[8], b[9] = 0x45, 64, proto
	copy(b[12:], []byte{198, 51, 100, 7})
	copy(b[16:], []byte{198, 51, 100, 7})
	return append(b, data...)
}

func packet(bypass bool) error {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	if bypass {
		const qdiscBypass = 20
		if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, qdiscBypass, 1); err != nil {
			return err
		}
	}
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		return err
	}
	return unix.Sendto(fd, ipv4(253, []byte("canary")), 0, &unix.SockaddrLinklayer{Protocol: 0x0008, Ifindex: lo.Index, Halen: 6})
}

func resolver(addr string) {
	pc, err := net.ListenPacket("udp4", addr)
	if err != nil {
		fatal(err)
	}
	go func() {
		b := make([]byte, 512)
		for {
			n, from, err := pc.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = pc.WriteTo(answer(b[:n]), from)
		}
	}()
}

// everywhere is a resolver on all addresses, which answers from the one that
// it was asked at.
func everywhere() {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err == nil {
		err = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
	}
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrInet4{Port: 53})
	}
	if err != nil {
		fatal(err)
	}
	go func() {
		b, oob := make([]byte, 512), make([]byte, 64)
		for {
			n, on, _, from, err := unix.Recvmsg(fd, b, oob, 0)
			if err != nil {
				return
			}
			_ = unix.Sendmsg(fd, answer(b[:n]), oob[:on], from, 0)
		}
	}()
}

var leads byte = 9 // the last byte of the address that answers lead to

// answer gives 203.0.113.9, or what leads says, for any question of one name.
func answer(q []byte) []byte {
	r := append([]byte{}, q...)
	r[2], r[3], r[7] = 0x81, 0x80, 1
	return append(r, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 203, 0, 113, leads)
}

func question(name string) []byte {
	q := []byte{0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0}
	for _, l := range strings.Split(name, ".") {
		q = append(append(q, byte(len(l))), l...)
	}
	return append(q, 0, 0, 1, 0, 1)
}

func ask(addr, name string) error {
	c, err := net.Dial("udp4", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(2 * time.Second))
	if _, err := c.Write(question(name)); err != nil {
		return err
	}
	_, err = c.Read(make([]byte, 512))
	return err
}

func askTCP(name string, split bool) error {
	serve("tcp4", "198.51.100.7:53")
	c, err := net.Dial("tcp", "198.51.100.7:53")
	if err != nil {
		return err
	}
	defer c.Close()
	q := question(name)
	q = append([]byte{0, byte(len(q))}, q...)
	if split {
		// Without delay each write is a segment.
		if _, err := c.Write(q[:9]); err != nil {
			return err
		}
		q = q[9:]
		time.Sleep(20 * time.Millisecond)
	}
	if _, err = c.Write(q); err != nil {
		return err
	}
	return drained(c)
}

// hello sends a ClientHello that names a server.
func hello(addr, name string) error {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	if err := greet(c, name); err != nil {
		return err
	}
	stay()
	return c.Close()
}

// greet sends the ClientHello on a connection whose peer does not answer.
func greet(c net.Conn, name string) error {
	if err := c.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		return err
	}
	_ = tls.Client(c, &tls.Config{ServerName: name}).Handshake()
	return c.SetReadDeadline(time.Time{})
}

func rewrittenAddress() error {
	serve("tcp4", other)
	a, b := raw4(peer), raw4(other)
	name := append([]byte{}, a...)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				copy(name[2:8], [2][]byte{a, b}[i&1][2:8])
			}
		}
	}()
	var hits int
	for i := 0; i < 2000 && hits < 20; i++ {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return err
		}
		_, _, _ = unix.Syscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&name[0])), 16)
		if sa, err := unix.Getpeername(fd); err == nil {
			if p, ok := sa.(*unix.SockaddrInet4); ok && p.Port == 7002 && p.Addr == [4]byte{203, 0, 113, 9} {
				hits++
			}
		}
		unix.Close(fd)
	}
	close(stop)
	<-stopped
	return os.WriteFile("truth", []byte(itoa(hits)), 0o600)
}
