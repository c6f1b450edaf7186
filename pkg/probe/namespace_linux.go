package probe

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// The first namespaces have fixed inode numbers, include/linux/proc_ns.h:
// PROC_PID_INIT_INO and PROC_USER_INIT_INO. The first network namespace has
// none before kernel 6.18, so it is known by its files.
const (
	initialPID  = 0xEFFFFFFC
	initialUser = 0xEFFFFFFD
)

var pidNamespaceQuestion = question{"pid-namespace", "initial pid namespace", func() Result {
	return initial("pid", initialPID, "every process id would be one of the container, so the kernel's events could not be matched with /proc")
}}

var userNamespaceQuestion = question{"user-namespace", "initial user namespace", func() Result {
	return initial("user", initialUser, "root here is not root on the machine: no eBPF, no proc connector")
}}

var netNamespaceQuestion = question{"net-namespace", "initial network namespace", func() Result {
	if initialNetNS(os.DirFS("/proc")) {
		return Result{OK: true}
	}
	return Result{
		Detail: "this is another network namespace (or one that /proc/sys does not tell of)",
		Lost:   "the proc connector: no netlink sensor, no second witness",
		Get:    "start the monitor outside containers, unshare -n and ip netns; a container needs --network=host",
	}
}}

func initial(kind string, want uint64, lost string) Result {
	ino, err := namespace(os.DirFS("/proc"), kind)
	switch {
	case err != nil:
		return Result{Detail: err.Error(), Lost: lost, Get: "mount /proc"}
	case ino != want:
		return Result{
			Detail: fmt.Sprintf("%s:[%d], the first one is %d", kind, ino, want), Lost: lost,
			Get: "start the monitor on the machine itself, not in a container; a container needs --pid=host --userns=host",
		}
	}
	return Result{OK: true, Detail: fmt.Sprintf("%s:[%d]", kind, ino)}
}

// namespace returns the inode number of one of our own namespaces. proc is
// the file system at /proc.
func namespace(proc fs.FS, kind string) (uint64, error) {
	link, err := fs.ReadLink(proc, "self/ns/"+kind)
	if err != nil {
		return 0, err
	}
	return parseNamespace(link, kind)
}

func parseNamespace(link, kind string) (uint64, error) {
	var ino uint64
	rest, ok := strings.CutPrefix(link, kind+":[")
	if !ok {
		return 0, fmt.Errorf("/proc/self/ns/%s is %q, which names no namespace", kind, link)
	}
	if _, err := fmt.Sscanf(rest, "%d]", &ino); err != nil {
		return 0, fmt.Errorf("/proc/self/ns/%s is %q, which names no namespace", kind, link)
	}
	return ino, nil
}

// initialNetNS reports whether we are in the first network namespace: only
// there does the kernel register net_core_table, which holds this file
// (net/core/sysctl_net_core.c).
func initialNetNS(proc fs.FS) bool {
	_, err := fs.Stat(proc, "sys/net/core/netdev_max_backlog")
	return err == nil || !errors.Is(err, fs.ErrNotExist)
}
