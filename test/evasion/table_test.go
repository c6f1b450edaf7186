package evasion

import (
	"slices"
	"strconv"
	"strings"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/fact"
	"github.com/org/edamame-posture/pkg/names"
)

// outcome is what the table says of one sensor: seen, or the reason of a miss.
type outcome struct {
	reason string
	// luck: it depends on timing, and is not asserted. The reason says on what.
	luck bool
	// unless says in which scenes it is seen nonetheless.
	unless func(*scene) bool
}

func (o outcome) String() string {
	switch {
	case o.luck:
		return "depends on timing: " + o.reason
	case o.reason != "":
		return "missed: " + o.reason
	}
	return "seen"
}

// seen reports whether the scene must be seen.
func (o outcome) seen(s *scene) bool { return o.reason == "" || o.unless != nil && o.unless(s) }

var (
	shortExec = outcome{reason: "/proc is read after the exec, and the process may be gone by then", luck: true}
	shortLink = outcome{reason: "tables of sockets are read now and then (5 ms to a second apart), and who held one that is gone is not known", luck: true}
	noSocket  = outcome{reason: "no table holds it"}
	rawTo     = outcome{reason: "an open raw socket is told now and then, where it sends to is not"}
	places    = outcome{reason: "namespaces are read at an exec, and now and then", luck: true}
	noPower   = outcome{reason: "no source tells this system call"}
	noWords   = outcome{reason: "it reads no traffic"}
	noFile    = outcome{reason: "it tells no opening of files"}
)

type evasion struct {
	name, tries   string
	event         func(*scene) bool // the right actor and object are in the evidence
	covered       func(*scene) bool // or a gap or tamper event covers the moment
	ebpf, netlink outcome
	alone         bool // disturbs others: a run of its own
	host          bool // with `run --host`, in a run of its own
}

func anyEvent(*event.Event) bool { return true }

func to(addr string) func(*scene) bool {
	return func(s *scene) bool {
		return s.has(event.Connect, func(e *event.Event) bool { return e.Dst.String() == addr })
	}
}

func sends(n int, proto event.Proto, prefix string) func(*scene) bool {
	return func(s *scene) bool {
		return s.count(event.Send, func(e *event.Event) bool { return e.Proto == proto && strings.HasPrefix(e.Dst.String(), prefix) }) >= n
	}
}

func executes(n int, args ...string) func(*scene) bool {
	return func(s *scene) bool {
		return s.count(event.Exec, func(e *event.Event) bool {
			if len(e.Argv) < 1+len(args) {
				return false
			}
			for i, a := range args {
				if !e.Argv[i+1].Is(a) {
					return false
				}
			}
			return true
		}) >= n
	}
}

func all(of ...func(*scene) bool) func(*scene) bool {
	return func(s *scene) bool {
		for _, ok := range of {
			if !ok(s) {
				return false
			}
		}
		return true
	}
}

func image(bit event.Image) func(*scene) bool {
	return func(s *scene) bool { return s.has(event.Exec, func(e *event.Event) bool { return e.Image&bit != 0 }) }
}

// credential: the canary was read by the act's own reader.
func credential(s *scene) bool {
	return s.has(event.Open, func(e *event.Event) bool { return e.Class.Is("npm") && e.Access&event.Read != 0 })
}

// insideTLS: the request is read where it is given to the library.
func insideTLS(s *scene) bool {
	return s.has(event.HTTP, func(e *event.Event) bool { return e.TLS && e.Name.Is("hidden.test") })
}

// untoldTLS: the request is not read, and the recording says that of its program.
func untoldTLS(s *scene) bool {
	return !insideTLS(s) && s.has(event.Note, func(e *event.Event) bool {
		return strings.HasPrefix(e.Detail.String(), "TLS connections whose requests were not read") && e.Exe.Base().Is("curl")
	})
}

// onTarget: another process did one of these, or anything where there are
// none, to the one that the act named.
func onTarget(kind event.Kind, ops ...event.Op) func(*scene) bool {
	return func(s *scene) bool {
		return s.has(kind, func(e *event.Event) bool {
			return e.Target.PID == s.pid() && e.Actor.PID != s.pid() && (len(ops) == 0 || slices.Contains(ops, e.Op))
		})
	}
}

func opens(name string, access event.Access) func(*scene) bool {
	return func(s *scene) bool {
		return s.has(event.Open, func(e *event.Event) bool { return strings.HasSuffix(e.Path.String(), name) && e.Access&access != 0 })
	}
}

func unixTo(name string) func(*scene) bool {
	return func(s *scene) bool {
		return s.has(event.Unix, func(e *event.Event) bool { return strings.HasSuffix(e.Path.String(), name) })
	}
}

func asks(n int, suffix string) func(*scene) bool {
	return func(s *scene) bool {
		names := map[string]bool{}
		for i := range s.mine {
			if e := &s.mine[i]; e.Kind == event.DNS && strings.HasSuffix(e.Name.String(), suffix) {
				names[e.Name.String()] = true
			}
		}
		return len(names) >= n
	}
}

// claimed: the act's own answer for a name was asked for, and the connection
// to where it leads is of an address that some resolver claims has that name.
func claimed(name, dst string) func(*scene) bool {
	return func(s *scene) bool {
		return asks(1, name)(s) && s.has(event.Connect, func(e *event.Event) bool {
			n := s.judge.Names().Lookup(e.Actor, e.Dst.Addr(), e.Sock)
			return e.Dst.String() == dst && n.How == names.ClaimedDNS && n.Name.Is(name) && !n.Backed
		}) && slices.ContainsFunc(s.judge.Facts(), func(f *fact.Fact) bool {
			return f.Verb == fact.Connect && f.Object.Is(dst) && f.How.Is("literal")
		}) && !slices.ContainsFunc(s.judge.Facts(), func(f *fact.Fact) bool { return f.Object.Is(name + ":7002") })
	}
}

func hello(dst, name string) func(*scene) bool {
	return func(s *scene) bool {
		return s.has(event.TLS, func(e *event.Event) bool { return e.Dst.String() == dst && e.Name.Is(name) })
	}
}

func power(kind event.Kind, ops ...event.Op) func(*scene) bool {
	return func(s *scene) bool {
		return s.has(kind, func(e *event.Event) bool { return slices.Contains(ops, e.Op) })
	}
}

// onItsObjects: a bpf(2) call that is about the monitor's own objects.
func onItsObjects(op event.Op) func(*scene) bool {
	return func(s *scene) bool {
		up := slices.IndexFunc(s.all, func(e event.Event) bool { return e.Kind == event.SensorUp })
		return up >= 0 && s.has(event.BPF, func(e *event.Event) bool { return e.Op == op && e.Target.PID == s.all[up].Actor.PID })
	}
}

// heldBy: the connection is told as that of the image in this role.
func heldBy(role, dst string) func(*scene) bool {
	return func(s *scene) bool {
		actors := map[event.Actor]bool{}
		for i := range s.mine {
			if e := &s.mine[i]; e.Kind == event.Exec && len(e.Argv) > 1 && e.Argv[1].Is(role) {
				actors[e.Actor] = true
			}
		}
		return s.has(event.Connect, func(e *event.Event) bool { return actors[e.Actor] && e.Dst.String() == dst })
	}
}

func moved(bytes uint64) func(*scene) bool { return movedTo(peer, bytes) }

func movedTo(dst string, bytes uint64) func(*scene) bool {
	return func(s *scene) bool {
		return s.has(event.Flow, func(e *event.Event) bool { return e.Dst.String() == dst && e.Sent >= bytes })
	}
}

// told: a gap in the log, of a span in which the act was at work, says so in
// one of these words.
func told(words ...string) func(*scene) bool {
	return func(s *scene) bool {
		if len(s.mine) == 0 {
			return false
		}
		first, last := s.mine[0].Time, s.mine[len(s.mine)-1].Time
		for i := range s.gaps {
			g := &s.gaps[i]
			if g.From > last || g.To < first {
				continue
			}
			for _, w := range words {
				if strings.Contains(g.Detail.String(), w) {
					return true
				}
			}
		}
		return false
	}
}

// noEntry: the kernel ended the process that made a 32-bit call, since it has none.
func noEntry(s *scene) bool {
	return s.truth == "no entry" && s.has(event.Exit, func(e *event.Event) bool { return e.Signal != 0 })
}

func unclosed(s *scene) bool { return !s.closed }

func killed(signal int) func(*scene) bool {
	return func(s *scene) bool {
		return s.has(event.Kill, func(e *event.Event) bool { return e.Target.PID == s.pid() && e.Signal == signal })
	}
}

// requested: what the daemon started is told, with the act for its reason.
func requested(s *scene) bool { return s.works(event.ViaRequest) }

func hostWork(s *scene) bool { return s.works(event.ViaHost) }

// works reports whether what a daemon did for the act is in the evidence, for
// this reason.
func (s *scene) works(via event.Via) bool {
	return slices.ContainsFunc(s.all, func(e event.Event) bool {
		return e.Kind == event.Exec && e.Via == via && len(e.Argv) > 2 && e.Argv[len(e.Argv)-1].Is("by-daemon") &&
			(e.Argv[1].Is("stays") || e.Argv[2].Is(s.dir+"/done"))
	})
}

// made gives the inode that the act made under a name.
func (s *scene) made(name string) (id event.FileID) {
	for i := range s.mine {
		if e := &s.mine[i]; e.Kind == event.Open && e.Access&event.Create != 0 && e.Path.Is(s.dir+"/"+name) {
			id = e.File
		}
	}
	return id
}

// writesTo: an inode that was made as source.go is opened for writing under
// another name.
func writesTo(name string) func(*scene) bool {
	return func(s *scene) bool {
		source := s.made("source.go")
		return source != event.FileID{} && s.has(event.Open, func(e *event.Event) bool {
			return e.File == source && e.Access&event.Write != 0 && strings.HasSuffix(e.Path.String(), "/"+name)
		})
	}
}

const peer = "198.51.100.7:7001"

var cases = []evasion{
	// Processes.
	{name: "double-fork", tries: "fork, setsid, fork, parent gone; then connect", event: to(peer)},
	{name: "outlives-parent", tries: "connects when the process that started it, as a step, has ended", event: to(peer)},
	{name: "outlives-recording", tries: "still runs when the command that is watched has ended", event: func(s *scene) bool {
		return slices.ContainsFunc(s.all, func(e event.Event) bool {
			return e.Kind == event.End && slices.ContainsFunc(e.Survivors, func(p event.Survivor) bool {
				return p.Actor.PID == s.pid() && strings.HasSuffix(p.Exe.String(), "/sleep")
			})
		})
	}, alone: true},
	{name: "pid-reuse", tries: "a pid given out again at once (ns_last_pid), another program in it", event: func(s *scene) bool {
		starts := map[int64]string{}
		for i := range s.mine {
			if e := &s.mine[i]; e.Kind == event.Exec && e.Actor.PID == s.pid() && len(e.Argv) == 3 {
				starts[e.Actor.Start] = e.Argv[2].String()
			}
		}
		first, second := false, false
		for _, a := range starts {
			first, second = first || a == "first", second || a == "second"
		}
		return first && second
	}, netlink: shortExec},
	{name: "argv-rewrite", tries: "own argv overwritten, comm set to npm by prctl, PR_SET_MM; then connect", event: func(s *scene) bool { return executes(1, "masked", peer)(s) && to(peer)(s) }, netlink: outcome{reason: "arguments are read after the exec, and may be rewritten by then", luck: true}},
	{name: "argv0-forged", tries: "argv[0] says npm", event: func(s *scene) bool {
		return s.has(event.Exec, func(e *event.Event) bool {
			return len(e.Argv) > 0 && e.Argv[0].Is("npm") && strings.HasSuffix(e.Exe.String(), "/act")
		})
	}},
	{name: "memfd-exec", tries: "a program in a memfd executed", event: image(event.Memfd)},
	{name: "fexecve-deleted", tries: "execveat of an open file whose name is gone", event: image(event.Deleted)},
	{name: "script-stdin", tries: "a script through sh's stdin", event: executes(1, "stays", "from-stdin")},
	{name: "script-image", tries: "a script with #! executed by name", event: image(event.Script)},
	{name: "spawn-storm", tries: "300 processes by vfork, one after the other", event: executes(300, "mark", "storm"), netlink: shortExec},
	{name: "posix-spawn-storm", tries: "300 processes by posix_spawn, all before the first is waited for", event: executes(300, "mark", "spawned"), netlink: shortExec},
	{name: "clone-namespaces", tries: "clone into new pid, mount, net and user namespaces; connect there", event: all(to(peer), power(event.Namespace, event.OpClone, event.OpUnshare)), netlink: places},
	{name: "unshare", tries: "unshare into new mount and net namespaces; connect there", event: all(to(peer), power(event.Namespace, event.OpUnshare)), netlink: places},
	{name: "setns", tries: "setns to another network namespace", event: power(event.Namespace, event.OpSetNS), netlink: outcome{reason: "it leads to where the process is already: /proc shows no change"}},
	{name: "cgroup-migration", tries: "moves itself to another cgroup, then connects", event: to(peer)},
	{name: "forged-environment", tries: "GITHUB_JOB and our own variables forged for a child", event: executes(1, "stays", "forged")},
	{name: "setuid", tries: "becomes nobody, then executes", event: func(s *scene) bool {
		return s.has(event.Exec, func(e *event.Event) bool { return e.UID == 65534 })
	}},
	{name: "long-argv", tries: "an argument of nearly 128 KiB before the one that matters", event: func(s *scene) bool {
		return s.has(event.Exec, func(e *event.Event) bool { return e.ArgvBytes > 128<<10-200 })
	}},
	{name: "odd-names", tries: "invalid UTF-8, terminal escapes, Markdown and newlines in names and arguments", event: func(s *scene) bool {
		for _, n := range []string{"bad-", "esc-", "md-", "line-"} {
			if !s.has(event.Exec, func(e *event.Event) bool { return len(e.Argv) > 2 && strings.HasPrefix(e.Argv[2].String(), n) }) ||
				!s.has(event.Open, func(e *event.Event) bool { return strings.Contains(e.Path.String(), "/"+n) }) {
				return false
			}
		}
		return true
	}, netlink: noFile},

	// Network.
	{name: "short-connection", tries: "connect and close at once", event: to(peer), netlink: shortLink},
	{name: "connect-flood", tries: "3,000 connections one after the other, then one elsewhere by another process", event: all(heldBy("connect", "203.0.113.9:7002"), func(s *scene) bool {
		return s.count(event.Connect, func(e *event.Event) bool { return e.Dst.String() == peer }) >= 3000
	}), covered: told("records lost", "skipped by the kernel"), netlink: shortLink},
	{name: "nonblocking-connect", tries: "connect without waiting, then exit", event: to(peer), netlink: shortLink},
	{name: "refused-connect", tries: "connect to a closed port", event: to("203.0.113.9:7002"), netlink: noSocket},
	{name: "uring-connect", tries: "connect by io_uring", event: to(peer)},
	{name: "uring-accept", tries: "a connection accepted by io_uring", event: func(s *scene) bool {
		return s.has(event.Accept, func(e *event.Event) bool { return e.Src.String() == "198.51.100.7:7009" })
	}, netlink: shortLink},
	{name: "uring-send", tries: "a datagram by io_uring, without connect", event: sends(1, event.ProtoUDP, "198.51.100.7:7003"), netlink: noSocket},
	{name: "uring-unix", tries: "connect to a Unix socket by io_uring", event: unixTo("u.sock"), netlink: shortLink},
	{name: "tcp-fastopen", tries: "data in the SYN: sendto with MSG_FASTOPEN, no connect", event: to(peer)},
	{name: "private-range", tries: "a peer in 10.0.0.0/8", event: to("10.9.8.7:7001")},
	{name: "metadata-address", tries: "the cloud's metadata address 169.254.169.254", event: to("169.254.169.254:80")},
	{name: "azure-address", tries: "the address of Azure's own services, 168.63.129.16", event: to("168.63.129.16:32526")},
	{name: "ipv6", tries: "IPv6", event: to("[2001:db8::7]:7001")},
	{name: "ipv6-link-local", tries: "a link-local IPv6 peer", event: to("[fe80::7]:7001")},
	{name: "v4-mapped", tries: "an IPv4 peer through an IPv6 socket", event: func(s *scene) bool { return to(peer)(s) || to("[::ffff:198.51.100.7]:7001")(s) }},
	{name: "udp-sendto", tries: "sendto without connect", event: sends(1, event.ProtoUDP, "198.51.100.7:7003"), netlink: noSocket},
	{name: "udp-sendmsg", tries: "sendmsg without connect", event: sends(1, event.ProtoUDP, "198.51.100.7:7003"), netlink: noSocket},
	{name: "udp-sendmmsg", tries: "one sendmmsg to 20 peers", event: sends(20, event.ProtoUDP, "192.0.2."), netlink: noSocket},
	{name: "raw-ipv4", tries: "a raw socket of protocol 253", event: func(s *scene) bool {
		return s.has(event.Send, func(e *event.Event) bool { return e.Dst.Addr().String() == "198.51.100.7" })
	}, netlink: rawTo},
	{name: "raw-own-header", tries: "a raw socket with an IP header of its own", event: func(s *scene) bool {
		return s.has(event.Send, func(e *event.Event) bool { return e.Dst.Addr().String() == "198.51.100.7" })
	}, netlink: rawTo},
	{name: "packet-socket", tries: "a frame by a packet socket", event: func(s *scene) bool { return s.has(event.Packet, anyEvent) }, netlink: shortLink},
	{name: "packet-bypass", tries: "the same with PACKET_QDISC_BYPASS", event: func(s *scene) bool { return s.has(event.Packet, anyEvent) }, netlink: shortLink},
	{name: "vsock", tries: "connect to the hypervisor (AF_VSOCK)", event: func(s *scene) bool { return s.has(event.Vsock, anyEvent) }, netlink: noSocket},
	{name: "unix-abstract", tries: "connect to an abstract Unix socket", event: unixTo("posture-evasion-abstract"), netlink: shortLink},
	{name: "docker-socket", tries: "a request to docker.sock (a daemon of our own: no engine here)", event: unixTo("docker.sock"), netlink: shortLink},
	{name: "fd-passed", tries: "a connection's descriptor passed over a Unix socket and used there", event: heldBy("taker", peer)},
	{name: "socket-across-exec", tries: "a connection inherited across fork and exec, and used there", event: all(to(peer), moved(5000))},
	{name: "existing-connection", tries: "a connection of before the recording, taken from another process and used", event: all(heldBy("existing-connection", peer), moved(5000)), netlink: outcome{reason: "it does not tell who is given a descriptor"}},
	{name: "handed-to-daemon", tries: "a connection handed to a daemon of before: the connection, and to whom it was handed", event: all(to(peer), unixTo("daemon.sock")), netlink: shortLink},
	{name: "daemon-sends", tries: "what that daemon then sends on it", event: moved(5000), ebpf: outcome{reason: "the connection is the daemon's from then on, which is not of the watched lineage; it and the handing over are told (handed-to-daemon)"}, netlink: outcome{reason: "the connection is the daemon's from then on"}},
	{name: "bytes-of-open-connection", tries: "a megabyte over one connection", event: moved(1000000), netlink: shortLink},
	{name: "allowed-upload", tries: "two megabytes to a name that may be allowed", event: all(hello("203.0.113.9:443", "allowed.test"), movedTo("203.0.113.9:443", 2000000)), netlink: noWords},
	{name: "address-rewritten", tries: "the address rewritten by another thread during connect", event: func(s *scene) bool {
		want, _ := strconv.Atoi(s.truth)
		return s.count(event.Connect, func(e *event.Event) bool { return e.Dst.String() == "203.0.113.9:7002" }) >= want
	}, netlink: shortLink},
	{name: "bridge", tries: "a second namespace on a bridge of its own, as compose makes", event: to("10.88.0.1:7001")},

	// Names.
	{name: "dns-label-tunnel", tries: "200 lookups with data in their labels", event: asks(200, ".tunnel.test"), netlink: noWords},
	{name: "dns-stub", tries: "the same through the resolver at 127.0.0.11 that Docker gives to containers", event: asks(200, ".stub.test"), netlink: noWords},
	{name: "dns-forged-answer", tries: "an answer for an allowed name by a resolver of one's own, then a connect there: the name is `claimed by` it, not taken", event: claimed("allowed.test", "203.0.113.21:7002"), netlink: noWords},
	{name: "dns-forged-stub", tries: "the same by one at 127.0.0.1, where a machine's own may be", event: claimed("stubbed.test", "203.0.113.22:7002"), netlink: noWords},
	{name: "dns-forged-everywhere", tries: "the same by one that listens on all addresses, asked at the loopback", event: claimed("everywhere.test", "203.0.113.23:7002"), netlink: noWords},
	{name: "dns-over-tcp", tries: "a question over TCP", event: asks(1, "tcp-dns.test"), netlink: noWords},
	{name: "dns-over-tcp-split", tries: "a question over TCP in two segments", event: asks(1, "split-dns.test"), netlink: noWords},
	{name: "dns-over-tcp-long", tries: "a question over TCP behind 20 KiB of others", event: asks(1, "late.test"), covered: told("DNS over TCP"), netlink: noWords, alone: true},
	{name: "dns-other-port", tries: "a question over UDP to port 5300", event: asks(1, "odd-port.test"), netlink: noWords},
	{name: "dns-over-tcp-other-port", tries: "a question over TCP to port 5301", event: asks(1, "odd-tcp.test"),
		ebpf: outcome{reason: "over TCP names are read on port 53 alone, to leave other connections alone once they go on; the connection is told"}, netlink: noWords},
	{name: "doh", tries: "DNS over HTTPS: the name of the resolver is in the ClientHello", event: hello("198.51.100.7:443", "dns.google"), netlink: noWords},
	{name: "dot", tries: "DNS over TLS, port 853", event: to("198.51.100.7:853")},
	{name: "sni-of-allowed-name", tries: "the ClientHello of an allowed name, to another address", event: hello("203.0.113.9:443", "allowed.test"), netlink: noWords},
	{name: "shared-address", tries: "two names lead to one address; the ClientHello of the one that is not declared", event: hello("203.0.113.9:443", "undeclared.test"), netlink: noWords},
	{name: "domain-fronting", tries: "one name in the ClientHello, another in the request inside", event: insideTLS, netlink: noWords},
	{name: "tls-renamed-library", tries: "TLS by a copy of libssl under another name", event: untoldTLS, netlink: noWords},
	{name: "tls-library-in-memory", tries: "TLS by a copy of libssl that is a memfd", alone: true, event: untoldTLS, netlink: noWords},
	{name: "http-other-host", tries: "an allowed name as Host of cleartext HTTP, to another address", event: func(s *scene) bool {
		return s.has(event.HTTP, func(e *event.Event) bool { return e.Name.Is("allowed.test") && e.Dst.String() == peer })
	}, netlink: noWords},

	// Files: a canary .npmrc is read.
	{name: "hard-link", tries: "a credential read through a hard link", event: credential, netlink: noFile},
	{name: "symlink", tries: "through a symbolic link", event: credential, netlink: noFile},
	{name: "bind-mount", tries: "through a bind mount in a mount namespace of its own", event: credential, netlink: noFile},
	{name: "renamed", tries: "renamed first", event: credential, netlink: noFile},
	{name: "proc-root", tries: "through /proc/self/root", event: credential, netlink: noFile},
	{name: "proc-cwd", tries: "through /proc/self/cwd", event: credential, netlink: noFile},
	{name: "chroot", tries: "after chroot", event: credential, netlink: noFile},
	{name: "openat2", tries: "by openat2", event: credential, netlink: noFile},
	{name: "open-by-handle", tries: "by open_by_handle_at", event: credential, netlink: noFile},
	{name: "opath-reopened", tries: "by O_PATH and /proc/self/fd", event: credential, netlink: noFile},
	{name: "mmap", tries: "by mmap", event: credential, netlink: noFile},
	{name: "sendfile", tries: "by sendfile", event: credential, netlink: noFile},
	{name: "copy-file-range", tries: "by copy_file_range", event: credential, netlink: noFile},
	{name: "splice", tries: "by splice, through a pipe into a connection", event: all(credential, moved(4096)), netlink: noFile},
	{name: "tee", tries: "by splice, tee and splice, through two pipes into a connection", event: all(credential, moved(4096)), netlink: noFile},
	{name: "vmsplice", tries: "by mmap, vmsplice and splice into a connection: nothing is read or written", event: all(credential, moved(4096)), netlink: noFile},
	{name: "inherited-fd", tries: "opened by the parent, read by the child", event: credential, netlink: noFile},
	{name: "uring-openat", tries: "opened by io_uring", event: credential, netlink: noFile},
	{name: "uring-direct", tries: "opened by io_uring as a direct descriptor", event: credential, netlink: noFile},
	{name: "int80-open", tries: "opened by the 32-bit call, int $0x80; where the kernel has none, its fault ends the process", event: func(s *scene) bool { return credential(s) || noEntry(s) }, netlink: outcome{reason: "it tells no opening of files; where the kernel has no such call, the fault is told", unless: noEntry}},
	{name: "path-rewritten", tries: "the path rewritten by another thread during open", event: credential, netlink: noFile},
	{name: "deep-path", tries: "a file 5,000 bytes deep", event: opens("/deep-file", event.Create), netlink: noFile},
	{name: "mmap-write", tries: "a source changed through mmap", event: opens("source.go", event.Write), netlink: noFile},
	{name: "copied-over", tries: "a source overwritten by copy_file_range", event: opens("source.go", event.Write), netlink: noFile},
	{name: "spliced-over", tries: "by splice", event: opens("source.go", event.Write), netlink: noFile},
	{name: "hard-link-write", tries: "through a hard link of another name", event: writesTo("innocent"), netlink: noFile},
	{name: "bind-mount-write", tries: "through a bind mount at another name", event: writesTo("new"), netlink: noFile},
	{name: "rename-over", tries: "a source replaced by rename", event: func(s *scene) bool {
		return s.has(event.Rename, func(e *event.Event) bool { return strings.HasSuffix(e.NewPath.String(), "/source.go") })
	}, netlink: noFile},

	// Power over others.
	{name: "ptrace", tries: "another process's memory by ptrace", event: onTarget(event.Ptrace, event.OpAttach, event.OpPeek)},
	{name: "process-vm-readv", tries: "by process_vm_readv", event: onTarget(event.MemAccess, event.OpRead), netlink: noPower},
	{name: "process-vm-writev", tries: "written by process_vm_writev", event: onTarget(event.MemAccess, event.OpWrite), netlink: noPower},
	{name: "proc-mem", tries: "by /proc/PID/mem", event: onTarget(event.MemAccess, event.OpRead), netlink: noFile},
	{name: "proc-environ", tries: "another's environment by /proc/PID/environ", event: onTarget(event.MemAccess, event.OpRead), netlink: noFile},
	{name: "proc-maps", tries: "another's memory map by /proc/PID/maps", event: func(s *scene) bool {
		return s.has(event.Open, func(e *event.Event) bool {
			return e.Path.Is("/proc/"+s.truth+"/maps") && e.Access&event.Read != 0 && e.Target.PID == s.pid() && e.Actor.PID != s.pid()
		})
	}, netlink: noFile},
	{name: "gcore", tries: "gcore", event: func(s *scene) bool { return onTarget(event.Ptrace)(s) || onTarget(event.MemAccess)(s) }},
	{name: "core-dump", tries: "another process made to dump its core (SIGQUIT)", event: killed(3), netlink: noPower},
	{name: "pidfd-getfd", tries: "another's descriptor by pidfd_getfd", event: onTarget(event.Ptrace, event.OpOther), netlink: noPower},

	// Handed to another, who was there before.
	{name: "ask-daemon", tries: "a daemon of before starts the process; the request is what is seen (a build daemon does the same)", event: unixTo("daemon.sock"), netlink: shortLink},
	{name: "daemon-works", tries: "what that daemon then starts", event: func(s *scene) bool {
		return s.works(event.ViaRequest) || s.works(event.ViaLineage) || s.works(event.ViaHost)
	}, ebpf: outcome{reason: "it is not of the watched lineage, nor a daemon that we know: `run --host` tells it (daemon-on-host), and the request is told (ask-daemon)"}, netlink: outcome{reason: "it is not of the watched lineage, nor a daemon that we know"}},
	{name: "ask-tmux", tries: "a tmux server of before runs the command", event: all(unixTo("daemon.sock"), func(s *scene) bool { return s.has(event.Exec, anyEvent) }), netlink: shortLink},
	{name: "daemon-on-host", tries: "the same with `run --host`", event: hostWork, host: true, alone: true},
	{name: "ask-at", tries: "a job of at(1), run by atd", event: requested, netlink: outcome{reason: "the client, which makes the request known, may be gone before it is read", luck: true}},
	{name: "ask-cron", tries: "a table of crontab(1), run by cron", event: requested, netlink: outcome{reason: "the client, which makes the request known, may be gone before it is read", luck: true}},
	{name: "ask-systemd", tries: "systemd-run: a service of the user's systemd", event: requested, netlink: shortLink},
	{name: "ask-dbus", tries: "D-Bus activation", event: requested, netlink: shortLink},
	{name: "ask-spool", tries: "a job put into a spool folder, as at and cron take it", event: opens("/spool", event.Write), netlink: noFile},

	// Against the monitor.
	{name: "files-beyond-folding", tries: "70,000 files, more than the kernel side remembers, then the credential", event: credential, covered: told("records lost"), netlink: noFile, alone: true},
	{name: "flood", tries: "100,000 opens for writing, then a connect", event: to(peer), covered: told("records lost"), alone: true},
	{name: "unmount-tracing", tries: "bpffs and tracefs unmounted in a mount namespace of its own", event: all(executes(1, "mark", "after-unmount"), power(event.Mount, event.OpUnmount)), netlink: noPower, alone: true},
	{name: "stop-monitor", tries: "SIGSTOP to the monitor, work, SIGCONT", event: all(killed(19), executes(1, "mark", "while-stopped")), covered: told("did not run", "stopped", "starved"), alone: true},
	{name: "kill-monitor", tries: "SIGKILL to the monitor, then work", covered: unclosed, alone: true},
	{name: "ptrace-monitor", tries: "ptrace of the monitor", event: onTarget(event.Ptrace, event.OpAttach), alone: true},
	{name: "read-monitor", tries: "the monitor's memory opened", event: onTarget(event.MemAccess), netlink: noPower, alone: true},
	{name: "detach-links", tries: "the monitor's BPF links detached by force, then work", event: all(onItsObjects(event.OpDetach), told("was detached"), executes(1, "mark", "detached"), asks(1, "armed-again.test")), netlink: outcome{reason: "it has no links to detach"}, alone: true},
	{name: "empty-maps", tries: "entries of the monitor's BPF maps deleted, then a credential read", event: all(onItsObjects(event.OpMapUpdate), credential, func(s *scene) bool {
		return s.truth == "0" || told("frozen")(s)
	}), netlink: outcome{reason: "it has no maps"}, alone: true},
	{name: "advance-ring", tries: "the consumer's position of the monitor's rings advanced over 20 executions, then another", event: all(onItsObjects(event.OpObject), func(s *scene) bool {
		return executes(20, "mark", "swallowed")(s) && s.truth == "0" || told("reads the priority ring", "stolen")(s)
	}, executes(1, "mark", "after-the-theft")), netlink: outcome{reason: "it has no rings"}, alone: true},
	{name: "forge-state", tries: "root puts a manifest of its own beside the open log", event: opens("/manifest.json", event.Create), covered: func(s *scene) bool { return !s.valid }, netlink: outcome{reason: "the monitor writes its own in the place of it: the evidence is whole"}, alone: true},
	{name: "forge-log", tries: "root writes into the open log", event: opens(".jsonl.zst", event.Write), covered: func(s *scene) bool { return !s.valid }, netlink: outcome{reason: "the monitor writes over it at its own place: the evidence is whole"}, alone: true},
}
