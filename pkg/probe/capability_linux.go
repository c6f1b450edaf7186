package probe

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Capabilities is a set of capabilities as /proc/PID/status shows it.
type Capabilities uint64

// Has reports whether c holds the capability, one of unix.CAP_*.
func (c Capabilities) Has(capability int) bool { return c>>capability&1 != 0 }

// wanted are the capabilities that the monitor uses.
var wanted = []struct {
	number int
	name   string
	use    string
}{
	{unix.CAP_SYS_ADMIN, "CAP_SYS_ADMIN", "fanotify, other processes' namespaces"},
	{unix.CAP_BPF, "CAP_BPF", "eBPF"},
	{unix.CAP_PERFMON, "CAP_PERFMON", "eBPF tracing"},
	{unix.CAP_NET_ADMIN, "CAP_NET_ADMIN", "proc connector, cgroup programs, big receive buffers"},
	{unix.CAP_SYS_PTRACE, "CAP_SYS_PTRACE", "/proc of other users' processes"},
	{unix.CAP_DAC_READ_SEARCH, "CAP_DAC_READ_SEARCH", "digests of files that others own"},
	{unix.CAP_SYS_RESOURCE, "CAP_SYS_RESOURCE", "memory for maps on kernels before 5.11"},
}

var capabilityQuestion = question{"capabilities", "capabilities of this process", func() Result {
	have, err := EffectiveCapabilities()
	if err != nil {
		return Result{Detail: err.Error(), Get: "mount /proc"}
	}
	return judgeCapabilities(have)
}}

func judgeCapabilities(have Capabilities) Result {
	var missing, lost []string
	for _, w := range wanted {
		if !have.covers(w.number) {
			missing = append(missing, w.name)
			lost = append(lost, w.use)
		}
	}
	if missing == nil {
		return Result{OK: true, Detail: "all that are used"}
	}
	return Result{
		Detail: "missing " + strings.Join(missing, ", "),
		Lost:   strings.Join(lost, "; "),
		Get:    "run it as root (sudo), or give the container these capabilities",
	}
}

// covers is Has, but for CAP_BPF and CAP_PERFMON, which CAP_SYS_ADMIN holds
// within it (capabilities(7)).
func (c Capabilities) covers(capability int) bool {
	if c.Has(capability) {
		return true
	}
	return (capability == unix.CAP_BPF || capability == unix.CAP_PERFMON) && c.Has(unix.CAP_SYS_ADMIN)
}

// EffectiveCapabilities returns what this process may do now.
func EffectiveCapabilities() (Capabilities, error) {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	return parseCapEff(b)
}

func parseCapEff(status []byte) (Capabilities, error) {
	for line := range bytes.Lines(status) {
		if v, ok := bytes.CutPrefix(line, []byte("CapEff:")); ok {
			n, err := strconv.ParseUint(string(bytes.TrimSpace(v)), 16, 64)
			if err != nil {
				return 0, fmt.Errorf("CapEff in /proc/self/status: %w", err)
			}
			return Capabilities(n), nil
		}
	}
	return 0, fmt.Errorf("/proc/self/status has no line CapEff")
}
