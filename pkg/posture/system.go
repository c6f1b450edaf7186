package posture

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/org/edamame-posture/pkg/judge"
)

// accounts reads who there is, and which of the groups are the user's.
func (c *collector) accounts() {
	c.groups, c.member = map[string]uint32{}, map[string]bool{}
	if f := c.file(Accounts, "/etc/passwd"); f != nil && c.User.Name == "" {
		c.User.byID(f.data)
	}
	if f := c.file(Accounts, "/etc/group"); f != nil {
		for line := range bytes.Lines(f.data) {
			part := strings.Split(strings.TrimSpace(string(line)), ":")
			if len(part) != 4 {
				continue
			}
			gid, err := strconv.ParseUint(part[2], 10, 32)
			if err != nil {
				continue
			}
			c.groups[part[0]] = uint32(gid)
			if slices.Contains(c.User.Groups, uint32(gid)) {
				c.member[part[0]] = true
			} else if c.User.Name != "" && slices.Contains(strings.Split(part[3], ","), c.User.Name) {
				c.member[part[0]] = true
				c.User.Groups = append(slices.Clip(c.User.Groups), uint32(gid))
			}
		}
	}
	if c.User.UID == 0 {
		c.item("runs-as-root", judge.High, "", 0, "jobs run with user id 0")
	}
}

// byID takes the name and the first group of a user from passwd(5).
func (u *User) byID(passwd []byte) {
	for line := range bytes.Lines(passwd) {
		part := strings.Split(string(line), ":")
		if len(part) < 4 || part[2] != strconv.FormatUint(uint64(u.UID), 10) {
			continue
		}
		u.Name = part[0]
		if gid, err := strconv.ParseUint(part[3], 10, 32); err == nil {
			u.Groups = append(slices.Clip(u.Groups), uint32(gid))
		}
		return
	}
}

// rootOnly tells of a file of root's that the user may write.
func (c *collector) rootOnly(f *file) {
	if c.User.UID != 0 && c.User.mayWrite(f) {
		c.item("root-file-writable", judge.Critical, f.path, 0, fmt.Sprintf("mode %04o, user %d, group %d", f.mode, f.uid, f.gid))
	}
}

// sudo reads sudoers and what it includes, once each.
func (c *collector) sudo() {
	// rules are all of them in sudo's own order, by which the last that matches
	// decides.
	type placed struct {
		sudoRule
		path string
	}
	var rules []placed
	all := &sudoers{users: map[string][]string{}}
	seen := map[string]bool{}
	var read func(p string)
	read = func(p string) {
		if seen[p] || len(seen) > maxEntries {
			return
		}
		seen[p] = true
		f := c.file(Sudoers, p)
		if f == nil {
			return
		}
		c.rootOnly(f)
		s := parseSudoers(f.data)
		for name, list := range s.users {
			all.users[name] = list
		}
		for _, line := range s.open {
			if c.User.UID != 0 {
				c.item("sudo-no-authentication", judge.High, f.path, line, "Defaults !authenticate")
			}
		}
		for _, inc := range s.includes {
			for len(s.rules) > 0 && s.rules[0].line < inc.line {
				rules, s.rules = append(rules, placed{s.rules[0], f.path}), s.rules[1:]
			}
			if !path.IsAbs(inc.path) {
				inc.path = path.Join(path.Dir(p), inc.path)
			}
			// A folder's names with a dot or a final ~ are left out by sudo.
			if st, err := c.stat(inc.path); err == nil && !st.regular {
				for _, name := range c.list(inc.path) {
					if b := path.Base(name); !strings.Contains(b, ".") && !strings.HasSuffix(b, "~") {
						read(name)
					}
				}
			} else {
				read(inc.path)
			}
		}
		for _, r := range s.rules {
			rules = append(rules, placed{r, f.path})
		}
	}
	read("/etc/sudoers")
	if c.User.UID == 0 {
		return // who is root needs no rule
	}
	who := &person{User: &c.User, member: c.member}
	refused := -1 // the last rule that takes everything from the user
	for i, r := range rules {
		if r.none && all.covers(r.who, who) {
			refused = i
		}
	}
	for i, r := range rules {
		if len(r.free) == 0 || slices.Equal(r.who, []string{"root"}) {
			continue
		}
		sev, what := judge.Medium, fmt.Sprintf("%s may run %d commands", strings.Join(r.who, ", "), len(r.free))
		if r.every {
			what = strings.Join(r.who, ", ") + " may run every command"
		}
		if i > refused && all.covers(r.who, who) {
			what += ", and that is the user of jobs"
			if r.every {
				sev = judge.High
			}
		} else {
			sev = judge.Low
		}
		c.item("sudo-nopasswd", sev, r.path, r.line, what)
	}
}

// preload reads the libraries that the loader puts into every program.
func (c *collector) preload() {
	if f := c.file(Preload, "/etc/ld.so.preload"); f != nil {
		c.rootOnly(f)
		if libs := strings.Fields(string(f.data)); len(libs) > 0 {
			c.item("preload", judge.High, f.path, 0, strings.Join(libs[:min(len(libs), 8)], " "))
		}
	}
}

// sockets are those of daemons that start containers as root.
var sockets = []string{
	"/run/docker.sock", "/run/containerd/containerd.sock", "/run/podman/podman.sock", "/run/crio/crio.sock", "/run/buildkit/buildkitd.sock",
	"/var/snap/lxd/common/lxd/unix.socket", "/var/lib/lxd/unix.socket", "/var/lib/incus/unix.socket", "/run/incus/unix.socket",
}

// docker looks at who may start containers.
func (c *collector) docker() {
	closed := false
	for _, p := range sockets {
		f, err := c.stat(p)
		if err != nil {
			c.unread(p, err)
			continue
		}
		c.keep(DockerSocket, f, "")
		if c.barred(p) {
			closed = true
			continue
		}
		if c.User.mayWrite(f) {
			c.item("docker-socket", judge.High, p, 0, fmt.Sprintf("mode %04o, user %d, group %d", f.mode, f.uid, f.gid))
		}
	}
	for _, group := range []string{"docker", "lxd", "incus-admin"} {
		if c.User.UID == 0 || !c.member[group] {
			continue
		}
		if closed {
			c.item("docker-group", judge.Low, "/etc/group", 0, "group "+group+", to which the socket is closed by its access list")
		} else {
			c.item("docker-group", judge.High, "/etc/group", 0, "group "+group)
		}
	}
}

// barred reports whether the access list of a file says that the user of jobs
// may do nothing with it.
func (c *collector) barred(p string) bool {
	fd, err := c.open(p, unix.O_PATH)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	b, err := accessListOf(fmt.Sprintf("/proc/self/fd/%d", fd))
	list, perr := parseACL(b)
	return err == nil && perr == nil && c.User.UID != 0 && bars(list, c.User.UID)
}

// hosts looks for public names that are given an address here.
func (c *collector) hosts() {
	f := c.file(Hosts, "/etc/hosts")
	if f == nil {
		return
	}
	c.rootOnly(f)
	for _, h := range parseHosts(f.data) {
		for _, name := range h.names {
			if publicName(name) {
				c.item("hosts-override", judge.Medium, f.path, h.line, fmt.Sprintf("%s is %s", name, h.addr))
				break
			}
		}
	}
}

// publicName reports whether a name may be one of the public DNS. The machine's
// own name stands in its hosts too, and reads as one where it has a domain.
func publicName(name string) bool {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	if !strings.Contains(name, ".") {
		return false
	}
	for _, local := range []string{".local", ".localdomain", ".localhost", ".internal", ".lan", ".home", ".corp", ".test", ".invalid", ".arpa", ".cloudapp.net"} {
		if strings.HasSuffix(name, local) {
			return false
		}
	}
	return true
}

// resolver looks at who answers for names.
func (c *collector) resolver() {
	f := c.file(Resolver, "/etc/resolv.conf")
	if f == nil {
		return
	}
	c.rootOnly(f)
	_, bad := parseResolvConf(f.data)
	for _, line := range bad {
		c.item("resolver", judge.Low, f.path, line, "a nameserver line without an address")
	}
}

// trust reads whose certificates are believed.
func (c *collector) trust() {
	for _, p := range []string{"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ca-certificates.conf"} {
		if f := c.file(CAStore, p); f != nil {
			c.rootOnly(f)
		}
	}
	for _, dir := range []string{"/usr/local/share/ca-certificates", "/etc/pki/ca-trust/source/anchors"} {
		for _, p := range c.list(dir) {
			f := c.file(CAStore, p)
			if f == nil {
				continue
			}
			c.rootOnly(f)
			if !c.StateOnly {
				c.item("local-ca", judge.Medium, p, 0, subjectOf(f.data))
			}
		}
	}
}

func subjectOf(data []byte) string {
	block, _ := pem.Decode(data)
	if block == nil {
		return "no certificate in PEM"
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return "a certificate that cannot be read"
	}
	return "certificate of " + cert.Subject.String()
}

// cron reads what is started at a time.
func (c *collector) cron() {
	c.mine(Cron, "/etc/crontab")
	for _, dir := range []string{"/etc/cron.d", "/etc/cron.hourly", "/etc/cron.daily", "/etc/cron.weekly", "/etc/cron.monthly"} {
		c.mine(Cron, c.list(dir)...)
	}
	for _, spool := range []struct {
		kind Kind
		dir  string
	}{{Cron, "/var/spool/cron/crontabs"}, {Cron, "/var/spool/cron"}, {At, "/var/spool/cron/atjobs"}, {At, "/var/spool/at"}} {
		for _, p := range c.list(spool.dir) {
			st, err := c.stat(p)
			if err != nil || !st.regular || strings.HasPrefix(path.Base(p), ".") {
				continue
			}
			c.file(spool.kind, p)
			if st.uid != 0 || path.Base(p) != "root" {
				c.item("user-cron", judge.Medium, p, 0, fmt.Sprintf("%s of user %d", spool.kind, st.uid))
			}
		}
	}
}

// mine takes root's own files, and tells of those that the user may write.
func (c *collector) mine(k Kind, paths ...string) {
	for _, p := range paths {
		if f := c.file(k, p); f != nil {
			c.rootOnly(f)
		}
	}
}

// units reads what systemd starts, but for what packages bring below /usr.
func (c *collector) units() {
	c.unitsIn(Unit, "/etc/systemd/system", c.file)
	c.unitsIn(Unit, "/etc/systemd/user", c.file)
	if c.User.Home != "" && c.User.UID != 0 {
		n := c.unitsIn(UserUnit, path.Join(c.User.Home, ".config/systemd/user"), c.usersFile)
		if n > 0 {
			c.item("user-unit", judge.Medium, path.Join(c.User.Home, ".config/systemd/user"), 0, fmt.Sprintf("%d units", n))
		}
	}
	if c.User.Name == "" || c.User.UID == 0 {
		return
	}
	p := path.Join("/var/lib/systemd/linger", path.Base(c.User.Name))
	if f, err := c.stat(p); err == nil {
		c.keep(UserUnit, f, "")
		c.item("linger", judge.Medium, p, 0, "log-in is kept for "+c.User.Name)
	}
}

// unitsIn takes the units of a folder and of the folders in it, and returns how
// many there are.
func (c *collector) unitsIn(k Kind, dir string, take func(Kind, string) *file) int {
	n := 0
	for _, p := range c.list(dir) {
		inside := []string{p}
		if st, err := c.stat(p); err == nil && !st.regular && (strings.HasSuffix(p, ".wants") || strings.HasSuffix(p, ".requires") || strings.HasSuffix(p, ".d")) {
			inside = c.list(p)
		}
		for _, unit := range inside {
			kind := k
			// What a package brings is switched on by a link to it.
			if to := c.linkAt(unit); k == Unit && (strings.HasPrefix(to, "/usr/lib/") || strings.HasPrefix(to, "/lib/") || to == "/dev/null") {
				kind = UnitLink
				c.keep(kind, &file{path: unit, link: to}, "")
				n++
				continue
			}
			if f := take(kind, unit); f != nil {
				n++
				if k == Unit {
					c.rootOnly(f)
				}
			}
		}
	}
	return n
}

// injecting are variables by which a shell's start file makes other programs
// load or run something.
var injecting = []string{"LD_PRELOAD", "LD_AUDIT", "BASH_ENV", "PROMPT_COMMAND", "NODE_OPTIONS", "PYTHONSTARTUP", "PERL5OPT", "RUBYOPT", "JAVA_TOOL_OPTIONS", "GIT_SSH_COMMAND"}

// shells reads what every shell runs when it starts.
func (c *collector) shells() {
	system := []string{"/etc/profile", "/etc/bash.bashrc", "/etc/bashrc", "/etc/environment", "/etc/zsh/zshenv", "/etc/zshenv", "/etc/zsh/zshrc"}
	c.mine(ShellRC, append(system, c.list("/etc/profile.d")...)...)
	for _, p := range append(system, c.homeFiles(".bashrc", ".bash_profile", ".bash_login", ".profile", ".bash_logout", ".zshenv", ".zshrc", ".zprofile", ".config/fish/config.fish", ".pam_environment")...) {
		f, err := c.readUsers(p)
		if err != nil {
			if !slices.Contains(system, p) {
				c.unread(p, err)
			}
			continue
		}
		if !slices.Contains(system, p) {
			c.keep(ShellRC, f, "")
		}
		number := 0
		for line := range bytes.Lines(f.data) {
			number++
			for _, v := range injecting {
				if assigns(string(line), v) {
					c.item("shell-injects", judge.Medium, p, number, "sets "+v)
				}
			}
		}
	}
}

// assigns reports whether a line of a shell gives the variable a value.
func assigns(line, name string) bool {
	line = strings.TrimSpace(line)
	for _, word := range []string{"export ", "set -gx ", "set -x "} {
		line = strings.TrimSpace(strings.TrimPrefix(line, word))
	}
	rest, ok := strings.CutPrefix(line, name)
	return ok && rest != "" && (rest[0] == '=' || rest[0] == ' ')
}

// homeFiles returns paths below the user's home, none where it is not known.
func (c *collector) homeFiles(names ...string) []string {
	if c.User.Home == "" {
		return nil
	}
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = path.Join(c.User.Home, n)
	}
	return out
}

// sysctls are settings of the kernel, and the values that are weak.
var sysctls = []struct {
	name, check string
	weak        []string // nil: told of by other means
	severity    judge.Severity
}{
	{"kernel/yama/ptrace_scope", "ptrace", []string{"0"}, judge.Medium},
	{"kernel/unprivileged_bpf_disabled", "kernel", []string{"0"}, judge.Medium},
	{"kernel/kptr_restrict", "kernel", []string{"0"}, judge.Low},
	{"kernel/dmesg_restrict", "kernel", []string{"0"}, judge.Low},
	{"kernel/randomize_va_space", "aslr", []string{"0", "1"}, judge.Medium},
	{"kernel/unprivileged_userns_clone", "kernel", []string{"1"}, judge.Info},
	{"kernel/apparmor_restrict_unprivileged_userns", "kernel", []string{"0"}, judge.Info},
	{"user/max_user_namespaces", "kernel", nil, judge.Info},
	{"kernel/core_pattern", "core-pattern", nil, judge.Info},
	{"kernel/modprobe", "kernel", nil, judge.Info},
	{"fs/suid_dumpable", "suid-dump", []string{"1"}, judge.Medium},
	{"fs/protected_symlinks", "kernel", []string{"0"}, judge.Medium},
	{"fs/protected_hardlinks", "kernel", []string{"0"}, judge.Medium},
}

// kernel reads settings that keep processes apart.
func (c *collector) kernel() {
	for _, s := range sysctls {
		f := c.file(Kernel, "/proc/sys/"+s.name)
		if f == nil {
			continue
		}
		v := strings.TrimSpace(string(f.data))
		if slices.Contains(s.weak, v) {
			c.item(s.check, s.severity, f.path, 0, strings.ReplaceAll(s.name, "/", ".")+" is "+v)
		}
		program, piped := strings.CutPrefix(v, "|")
		if s.check != "core-pattern" || !piped {
			continue
		}
		program, _, _ = strings.Cut(program, " ")
		sev := judge.Info
		if st, err := c.stat(program); err == nil && c.User.UID != 0 && c.User.mayWrite(st) {
			sev = judge.Critical
		} else if err != nil && !strings.HasPrefix(program, "/usr/") && !strings.HasPrefix(program, "/lib/") {
			sev = judge.High
		}
		c.item(s.check, sev, f.path, 0, "starts "+program)
	}
}

// path looks at where the job's programs come from.
func (c *collector) path() {
	if c.Getenv == nil || c.StateOnly || c.User.UID == 0 {
		return
	}
	dirs := strings.Split(c.Getenv("PATH"), ":")
	for i, d := range dirs {
		if len(dirs) == 1 && d == "" {
			return
		}
		if !path.IsAbs(d) {
			c.item("path-relative", judge.High, "", 0, fmt.Sprintf("%q in PATH", d))
			continue
		}
		st, err := c.stat(d)
		if err != nil || !c.User.mayWrite(st) {
			continue
		}
		// Behind the system's folders it adds programs, and hides none.
		sev := judge.Low
		if slices.ContainsFunc(dirs[i+1:], func(d string) bool { return d == "/usr/bin" || d == "/bin" }) {
			sev = judge.Medium
		}
		c.item("path-writable", sev, d, 0, fmt.Sprintf("mode %04o, user %d, group %d", st.mode, st.uid, st.gid))
	}
}

var errNoSettings = errors.New("it is no object of JSON")
