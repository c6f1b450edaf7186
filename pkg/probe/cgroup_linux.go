package probe

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
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
	for _, root := range cgroupMounts(mountinfo) {
		var st unix.Statfs_t
		// Another mount may lie on top, so the file system itself is asked.
		if err := unix.Statfs(root, &st); err == nil && st.Type == unix.CGROUP2_SUPER_MAGIC {
			return root, nil
		}
	}
	return "", errors.New("cgroup v2 is not mounted here: " + cgroupGet)
}

// cgroupMounts returns the mount points of whole cgroup2 hierarchies in a
// proc_pid_mountinfo(5), the usual places first. A mount of only a part of the
// hierarchy (root other than /) is not one: programs attached there miss the rest.
func cgroupMounts(mountinfo []byte) []string {
	var usual, other []string
	sc := bufio.NewScanner(bytes.NewReader(mountinfo))
	for sc.Scan() {
		// 36 35 98:0 /root /mount options optional... - type source options
		before, after, ok := strings.Cut(sc.Text(), " - ")
		f := strings.Fields(before)
		kind, _, _ := strings.Cut(after, " ")
		if !ok || len(f) < 5 || kind != "cgroup2" || f[3] != "/" {
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
