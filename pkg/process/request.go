package process

import "bytes"

// Kind is a kind of daemon that does what others ask of it. What it then
// starts has the daemon for a parent, and the client for its reason.
type Kind uint8

// The kinds of daemons.
const (
	NoKind Kind = iota
	// Containers: dockerd, containerd, podman, and what they start shims with.
	Containers
	// Services: systemd, of the system or a user, and D-Bus activation.
	Services
	// At is atd and cron, which run the job of at(1) or the table of crontab(1)
	// whenever it is due. cron runs the machine's own jobs too, so after a
	// crontab(1) one of those may be told as by request.
	At
	// KernelHelper is the kernel itself, which runs programs of its own
	// accord: the handler in /proc/sys/kernel/core_pattern, modprobe, hotplug.
	KernelHelper
	// Resolver looks names up: systemd-resolved, nscd, dnsmasq. It starts
	// nothing; what it asks other resolvers is its clients' doing, see
	// [Table.Resolves].
	Resolver

	kindCount
)

// sticky reports whether a request of the kind stays open until the recording
// ends: the client is long gone when a job of at(1) is due.
func (k Kind) sticky() bool { return k == At || k == KernelHelper }

// kinds is a set of Kind.
type kinds uint8

// window is how long a request stays open after its last client ended or its
// last spawn, in nanoseconds of the records' time. While a client lives it
// may still ask.
const window = 10e9

// role is the part that a program plays in what is done by request.
type role uint8

const (
	noRole role = iota
	containerDaemon
	serviceDaemon
	atDaemon
	atClient
	resolverDaemon
	runnerWorker
)

func (r role) kind() Kind {
	switch r {
	case containerDaemon:
		return Containers
	case serviceDaemon:
		return Services
	case atDaemon:
		return At
	}
	return NoKind
}

// shimPrefix is that of containerd-shim-runc-v2 and its kin.
const shimPrefix = "containerd-shim"

var roles = map[string]role{
	"dockerd": containerDaemon, "containerd": containerDaemon, "buildkitd": containerDaemon, "conmon": containerDaemon,
	"podman": containerDaemon, "crio": containerDaemon, "lxd": containerDaemon, "incusd": containerDaemon,
	"systemd": serviceDaemon, "systemd-executor": serviceDaemon, "dbus-daemon": serviceDaemon, "dbus-broker-launch": serviceDaemon,
	"Runner.Worker": runnerWorker,
	"atd":           atDaemon, "cron": atDaemon, "crond": atDaemon,
	"at": atClient, "batch": atClient, "crontab": atClient,
	"systemd-resolved": resolverDaemon, "nscd": resolverDaemon, "dnsmasq": resolverDaemon, "unbound": resolverDaemon,
	"sssd": resolverDaemon, "sssd_be": resolverDaemon, "sssd_nss": resolverDaemon, "avahi-daemon": resolverDaemon,
}

// KindOfSocket tells which kind of daemon listens at the path of a Unix
// socket; NoKind for any other.
func KindOfSocket(path []byte) Kind {
	base := path[bytes.LastIndexByte(path, '/')+1:]
	switch string(base) {
	case "docker.sock", "podman.sock", "containerd.sock", "buildkitd.sock", "crio.sock", "docker-containerd.sock":
		return Containers
	case "system_bus_socket":
		return Services
	case "bus":
		if bytes.HasPrefix(path, []byte("/run/user/")) || bytes.HasPrefix(path, []byte("/var/run/user/")) {
			return Services
		}
	case "io.systemd.Resolve", "io.systemd.Resolve.Monitor": // nss-resolve(8), by Varlink
		return Resolver
	case "socket":
		if bytes.HasSuffix(path, []byte("/nscd/socket")) || bytes.HasSuffix(path, []byte("/avahi-daemon/socket")) {
			return Resolver
		}
	case "nss":
		if bytes.HasSuffix(path, []byte("/sss/pipes/nss")) {
			return Resolver
		}
	case "private":
		if bytes.HasSuffix(path, []byte("/systemd/private")) {
			return Services
		}
	case "unix.socket":
		if bytes.Contains(path, []byte("/lxd/")) || bytes.Contains(path, []byte("/incus/")) {
			return Containers
		}
	}
	return NoKind
}

// asking is what one recording asks of one kind of daemon.
type asking struct {
	clients int32 // living processes that hold a connection
	until   int64 // open until then without a client; 0 where nobody has asked
	sticky  bool
}

func (a *asking) isOpen(time int64) bool {
	return a.sticky || a.clients > 0 || a.until != 0 && time <= a.until
}

// outside stands in requests for clients of no recording.
const outside = MaxTags

// requests are what is asked of daemons now.
type requests [kindCount][MaxTags + 1]asking

// each calls f for every kind and recording, or for outside where there is no
// recording.
func (r *requests) each(ks kinds, tags Set, f func(*asking)) {
	for k := range kindCount {
		if ks&(1<<k) == 0 {
			continue
		}
		if tags == 0 {
			f(&r[k][outside])
		}
		for left := tags; left != 0; left &= left - 1 {
			f(&r[k][left.first()])
		}
	}
}

func (r *requests) open(ks kinds, tags Set) {
	if ks != 0 {
		r.each(ks, tags, func(a *asking) { a.clients++ })
	}
}

func (r *requests) close(ks kinds, tags Set, time int64) {
	if ks != 0 {
		r.each(ks, tags, func(a *asking) {
			a.clients = max(a.clients-1, 0)
			a.until = max(a.until, time+window)
		})
	}
}

func (r *requests) forget(bit int) {
	for k := range r {
		r[k][bit] = asking{}
	}
}

// Request takes in that a process asked a daemon to do something: it connected
// to the daemon's socket, or ran its client. What the daemon starts from now
// on belongs to the client's recordings, with ViaRequest, as long as the
// client or a child that may hold its connection lives and for 10 s after, and
// with At and KernelHelper until the recording ends. Where two recordings have
// asked, it belongs to both; see [Process.Ambiguous].
func (t *Table) Request(client *Process, kind Kind, time int64) {
	if kind == NoKind || kind >= kindCount || client == nil {
		return
	}
	if time == 0 {
		time = t.now
	}
	if kind.sticky() {
		t.asked.each(1<<kind, client.Tags, func(a *asking) { a.sticky = true })
		return
	}
	t.asked.each(1<<kind, client.Tags, func(a *asking) { a.until = max(a.until, time+window) })
	t.ask(client, 1<<kind)
}

// Resolves returns the recordings that p, a daemon that looks names up, may be
// asking other resolvers for: those of which a process has asked it, as
// [Table.Request] has it. It is empty for any other process. The recordings of
// which p is part itself are not among them.
func (t *Table) Resolves(p *Process, time int64) Set {
	if p.role != resolverDaemon {
		return 0
	}
	var tags Set
	for bit := range MaxTags {
		if t.asked[Resolver][bit].isOpen(time) {
			tags |= bitSet(bit)
		}
	}
	return tags &^ p.Tags
}

// ask notes that a living process holds connections to daemons.
func (t *Table) ask(p *Process, ks kinds) {
	ks &^= p.asks
	if ks == 0 || !p.Alive || p.loose {
		return
	}
	p.asks |= ks
	t.asked.open(ks, p.Tags)
}

// answer gives what a daemon has just started the tags of those who may have
// asked for it.
func (t *Table) answer(p *Process, kind Kind, time int64) {
	if time == 0 {
		time = t.now
	}
	var tags Set
	open := &t.asked[kind]
	for bit := range MaxTags {
		if open[bit].isOpen(time) {
			tags |= bitSet(bit)
			open[bit].until = max(open[bit].until, time+window)
		}
	}
	add := tags &^ p.Tags
	if add == 0 {
		return
	}
	from := Process{viaLow: add}
	if tags.Len() > 1 || open[outside].isOpen(time) {
		from.ambiguous = add
	}
	t.spread(p, add, &from)
}
