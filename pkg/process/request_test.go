package process

import (
	"fmt"
	"strings"
	"testing"

	"github.com/org/edamame-posture/pkg/event"
)

// machine is a table with a job (pid 100, recording 0), another job (pid 200,
// recording 1), a stranger (pid 300) and the daemons, none of them tagged.
func machine() *Table {
	t := NewTable(1000)
	for pid, exe := range map[uint32]string{
		10: "/usr/bin/dockerd", 11: "/usr/bin/containerd", 12: "/usr/lib/systemd/systemd", 13: "/usr/sbin/atd", 14: "/usr/bin/containerd-shim-runc-v2",
		15: "/usr/sbin/cron",
	} {
		fork(t, pid, 7, 1, 7)
		exec(t, pid, 7, 7, exe)
	}
	for pid, bit := range map[uint32]int{100: 0, 200: 1, 300: -1} {
		t.Tag(fork(t, pid, second+7, 1, 7), bit, event.ViaLineage)
	}
	return t
}

func TestWhatADaemonStartsAtTheJobsRequest(t *testing.T) {
	const at = 10 * second
	tests := []struct {
		name   string
		daemon uint32
		before func(*Table)
		after  int64 // seconds between the request and the spawn
		tags   Set
		unsure bool
	}{
		{"a container", 11, func(t *Table) { t.Request(t.Find(100, 0), Containers, at) }, 1, 1, false},
		{"a process in a running container", 14, func(t *Table) { t.Request(t.Find(100, 0), Containers, at) }, 1, 1, false},
		{"nobody asked", 11, func(t *Table) {}, 1, 0, false},
		{"a stranger asked", 11, func(t *Table) { t.Request(t.Find(300, 0), Containers, at) }, 1, 0, false},
		{"another kind was asked", 12, func(t *Table) { t.Request(t.Find(100, 0), Containers, at) }, 1, 0, false},
		{"a pull takes minutes while the client waits", 11, func(t *Table) { t.Request(t.Find(100, 0), Containers, at) }, 300, 1, false},
		{"the client has ended a moment ago", 12, func(t *Table) {
			t.Request(t.Find(100, 0), Services, at)
			exit(t, 100, second+7, at+1)
		}, 5, 1, false},
		{"the client has ended long ago", 12, func(t *Table) {
			t.Request(t.Find(100, 0), Services, at)
			exit(t, 100, second+7, at+1)
		}, 30, 0, false},
		{"the client left its connection to a child", 12, func(t *Table) {
			t.Request(t.Find(100, 0), Services, at)
			fork(t, 101, at+1, 100, second+7)
			exit(t, 100, second+7, at+2)
		}, 30, 1, false},
		{"the job of at runs tomorrow", 13, func(t *Table) {
			exec(t, 100, second+7, at, "/usr/bin/at")
			exit(t, 100, second+7, at+1)
		}, 86400, 1, false},
		{"the table of crontab is due every night", 15, func(t *Table) {
			exec(t, 100, second+7, at, "/usr/bin/crontab")
			exit(t, 100, second+7, at+1)
		}, 86400, 1, false},
		{"cron was asked nothing", 15, func(t *Table) {}, 60, 0, false},
		{"the recording has ended", 13, func(t *Table) {
			exec(t, 100, second+7, at, "/usr/bin/at")
			t.Untag(0)
		}, 1, 0, false},
		{"two recordings asked", 11, func(t *Table) {
			t.Request(t.Find(100, 0), Containers, at)
			t.Request(t.Find(200, 0), Containers, at)
		}, 1, 3, true},
		{"a stranger asked too", 11, func(t *Table) {
			t.Request(t.Find(300, 0), Containers, at)
			t.Request(t.Find(100, 0), Containers, at)
		}, 1, 1, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tb := machine()
			tt.before(tb)
			when := at + tt.after*second
			p := fork(tb, 500, when, tt.daemon, 7)
			if p.Tags != tt.tags {
				t.Fatalf("tags %b, want %b", p.Tags, tt.tags)
			}
			child := fork(tb, 501, when+1, 500, when)
			exec(tb, 501, when+1, when+2, "/bin/sh")
			if child.Tags != tt.tags {
				t.Errorf("its child has tags %b", child.Tags)
			}
			for bit := range 2 {
				if !tt.tags.Has(bit) {
					continue
				}
				if p.Via(bit) != event.ViaRequest || child.Via(bit) != event.ViaRequest {
					t.Errorf("via %v and %v", p.Via(bit), child.Via(bit))
				}
				if p.Ambiguous(bit) != tt.unsure || child.Ambiguous(bit) != tt.unsure {
					t.Errorf("ambiguous %v and %v", p.Ambiguous(bit), child.Ambiguous(bit))
				}
			}
			if tb.Find(tt.daemon, 7).Tags != 0 {
				t.Error("the daemon itself was tagged")
			}
			check(t, tb)
		})
	}
}

func TestADaemonThatTheJobStartedIsOfTheJobByLineage(t *testing.T) {
	tb := machine()
	fork(tb, 400, 5*second, 100, second+7)
	exec(tb, 400, 5*second, 5*second, "/usr/bin/dockerd")
	tb.Request(tb.Find(100, 0), Containers, 6*second)
	if p := fork(tb, 401, 7*second, 400, 5*second); p.Via(0) != event.ViaLineage || !p.Tags.Has(0) {
		t.Errorf("tags %b, via %v", p.Tags, p.Via(0))
	}
}

func TestSocketsOfDaemons(t *testing.T) {
	tests := map[string]Kind{
		"/var/run/docker.sock": Containers, "/run/user/1000/podman/podman.sock": Containers, "/run/containerd/containerd.sock": Containers,
		"/run/systemd/private": Services, "/run/user/1000/systemd/private": Services, "/run/dbus/system_bus_socket": Services,
		"/run/user/1000/bus": Services, "/var/snap/lxd/common/lxd/unix.socket": Containers,
		"/run/systemd/resolve/io.systemd.Resolve": Resolver, "/run/nscd/socket": Resolver, "/var/lib/sss/pipes/nss": Resolver, "/run/avahi-daemon/socket": Resolver,
		"/tmp/bus": NoKind, "/tmp/nss": NoKind, "/run/systemd/journal/socket": NoKind, "": NoKind, "private": NoKind,
	}
	for path, want := range tests {
		if got := KindOfSocket([]byte(path)); got != want {
			t.Errorf("%q is of kind %d, want %d", path, got, want)
		}
	}
}

func TestAResolverAsksForWhoAskedItAndOnlySoLong(t *testing.T) {
	const at = 10 * second
	table := machine()
	fork(table, 20, 7, 1, 7)
	exec(table, 20, 7, 7, "/usr/lib/systemd/systemd-resolved")
	resolved := table.Find(20, 0)
	if got := table.Resolves(resolved, at); got != 0 {
		t.Errorf("before anyone asked: %b", got)
	}
	table.Request(table.Find(300, 0), Resolver, at)
	if got := table.Resolves(resolved, at); got != 0 {
		t.Errorf("for a stranger: %b", got)
	}
	table.Request(table.Find(100, 0), Resolver, at)
	if got := table.Resolves(resolved, at+second); got != 1 {
		t.Errorf("for one recording: %b", got)
	}
	if got := table.Resolves(table.Find(11, 0), at+second); got != 0 {
		t.Errorf("by a daemon that is no resolver: %b", got)
	}
	table.Request(table.Find(200, 0), Resolver, at)
	if got := table.Resolves(resolved, at+second); got != 3 {
		t.Errorf("for both: %b", got)
	}
	table.Tag(resolved, 0, event.ViaLineage)
	if got := table.Resolves(resolved, at+second); got != 2 {
		t.Errorf("a resolver of the job's own: %b", got)
	}
	child := fork(table, 21, 2*second+7, 20, 7)
	if child.Tags.Has(1) {
		t.Error("what a resolver starts is its client's")
	}
	table.Untag(1)
	if got := table.Resolves(resolved, at+second); got != 0 {
		t.Errorf("after the recording: %b", got)
	}
}

func TestContainerID(t *testing.T) {
	id, other := strings.Repeat("0123456789abcdef", 4), strings.Repeat("f", 64)
	tests := []struct{ name, cgroup, want string }{
		{"docker with systemd", "/system.slice/docker-" + id + ".scope", id},
		{"docker with cgroupfs", "/docker/" + id, id},
		{"a cgroup within a container", "/docker/" + id + "/init.scope", id},
		{"docker in docker", "/docker/" + other + "/docker/" + id, id},
		{"podman", "/machine.slice/libpod-" + id + ".scope/container", id},
		{"podman with cgroupfs", "/libpod_parent/libpod-" + id, id},
		{"rootless podman", "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-" + id + ".scope", id},
		{"podman's monitor is not the container", "/machine.slice/libpod-conmon-" + id + ".scope", ""},
		{"kubernetes with containerd", "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1.slice/cri-containerd-" + id + ".scope", id},
		{"kubernetes with cgroupfs", "/kubepods/burstable/pod3d7e/" + id, id},
		{"kubernetes with crio", "/kubepods.slice/kubepods-pod1.slice/crio-" + id + ".scope", id},
		{"containerd's systemd driver in its plain form", "/system.slice/kubepods-pod1.slice:cri-containerd:" + id, id},
		{"a build step of dockerd, by cgroupfs", "/docker/buildkit/" + id[:25], id[:25]},
		{"a build step of dockerd, by systemd", "/system.slice/docker-" + id[:25] + ".scope", id[:25]},
		{"a build step of buildkitd", "/buildkit/3s7kd2jx9qz81mfh4tbn06wyc", "3s7kd2jx9qz81mfh4tbn06wyc"},
		{"a folder of the length of a build step", "/docker/3s7kd2jx9qz81mfh4tbn06wyc", ""},
		{"containerd by nerdctl", "/default/" + id, id},
		{"no container", "/user.slice/user-1000.slice/session-3.scope", ""},
		{"a folder that only looks so", "/user.slice/user-1000.slice/x/" + id, ""},
		{"too short", "/docker/" + id[:63], ""},
		{"too long", "/docker/" + id + "0", ""},
		{"capitals", "/docker/" + strings.ToUpper(id), ""},
		{"the root", "/", ""},
		{"nothing", "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := ContainerID(tt.cgroup); got != tt.want {
				t.Errorf("%s: %q, want %q", tt.cgroup, got, tt.want)
			}
		})
	}
}

func FuzzContainerID(f *testing.F) {
	f.Add("/docker/" + strings.Repeat("a", 64))
	f.Add("/x-:-.scope/:/-/.scope")
	f.Fuzz(func(t *testing.T, cgroup string) {
		if id := ContainerID(cgroup); id != "" && (!isHex64(id) || !strings.Contains(cgroup, id)) {
			t.Errorf("%q gives %q", cgroup, id)
		}
	})
}

func ExampleContainerID() {
	fmt.Println(ContainerID("/system.slice/docker-" + strings.Repeat("ab", 32) + ".scope"))
	// Output: abababababababababababababababababababababababababababababababab
}
