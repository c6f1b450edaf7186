package probe

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const cgroupGet = "mount it: mkdir -p /sys/fs/cgroup/unified && mount -t cgroup2 none /sys/fs/cgroup/unified"

var cgroupQuestion = question{"cgroup2", "cgroup v2 hierarchy", func() Result {
	root, err := CgroupRoot()
	if err != nil {
		return Result{Detail: err.Error(), Lost: "DNS, UDP destinations, and containers by their cgroup", Get: cgroupGet}
	}
	return Result{OK: true, Detail: root}
}}

// CgroupRoot returns where the cgroup v2 hierarchy is mounted: /sys/fs/cgroup,
// or /sys/fs/cgroup/unified beside version 1 (hybrid), or wherever it is.
func CgroupRoot() (string, error) {
	mountinfo, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", fmt.Errorf("looking for cgroup v2: %w", err)
	}
	for _, root := range cgroupMounts(mountinfo, "cgroup2", "") {
		if isOf(root, unix.CGROUP2_SUPER_MAGIC) {
			return root, nil
		}
	}
	return "", errors.New("cgroup v2 is not mounted here: " + cgroupGet)
}

// oldControllers are those whose hierarchy of cgroup v1 tells containers apart,
// the best first: engines make a cgroup for each container in all of them.
var oldControllers = []string{"pids", "memory", "devices", "cpu"}

// OldCgroupRoot returns where a hierarchy of cgroup v1 is mounted in which every
// container has a cgroup of its own, and a controller that is in it.
func OldCgroupRoot() (controller, root string, err error) {
	mountinfo, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", "", fmt.Errorf("looking for cgroup v1: %w", err)
	}
	for _, controller := range oldControllers {
		for _, root := range cgroupMounts(mountinfo, "cgroup", controller) {
			if isOf(root, unix.CGROUP_SUPER_MAGIC) {
				return controller, root, nil
			}
		}
	}
	return "", "", errors.New("cgroup v1 is not mounted here")
}

// isOf asks the file system itself, since another mount may lie on top.
func isOf(root string, magic int64) bool {
	var st unix.Statfs_t
	return unix.Statfs(root, &st) == nil && int64(st.Type) == magic
}

// cgroupMounts returns the mount points of whole hierarchies of a kind in a
// proc_pid_mountinfo(5), the usual places first; of version 1, where each
// controller may be in another, those with that controller. A mount of only a
// part of the hierarchy (root other than /) is not one: programs attached there
// miss the rest.
func cgroupMounts(mountinfo []byte, kind, controller string) []string {
	var usual, other []string
	sc := bufio.NewScanner(bytes.NewReader(mountinfo))
	for sc.Scan() {
		// 36 35 98:0 /root /mount options optional... - type source options
		before, after, ok := strings.Cut(sc.Text(), " - ")
		f, fs := strings.Fields(before), strings.Fields(after)
		if !ok || len(f) < 5 || len(fs) == 0 || fs[0] != kind || f[3] != "/" {
			continue
		}
		if controller != "" && !slices.Contains(strings.Split(fs[len(fs)-1], ","), controller) {
			continue
		}
		point := unescapeMount(f[4])
		if point == "/sys/fs/cgroup" || point == "/sys/fs/cgroup/unified" {
			usual = append(usual, point)
		} else {
			other = append(other, point)
		}
	}
	return append(usual, other...)
}

// unescapeMount undoes the octal escapes of mountinfo: \040 is a space.
func unescapeMount(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
