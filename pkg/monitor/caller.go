package monitor

import (
	"bytes"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// Caller is the person who typed the command, also when it was typed under
// sudo: the watched command runs as them, and the results are theirs.
type Caller struct {
	UID, GID int
	Groups   []int
	User     string
	Home     string
	Path     string
	// Sudo says that the process is root and the caller is not: what runs for
	// the caller must be given their identity.
	Sudo bool
}

// FindCaller tells who the caller is from the process's own ids and, under
// sudo(8), from what sudo says in the environment.
func FindCaller() (Caller, error) {
	c := Caller{UID: os.Getuid(), GID: os.Getgid(), Home: os.Getenv("HOME"), User: os.Getenv("USER")}
	var set bool
	if c.Path, set = os.LookupEnv("PATH"); !set {
		c.Path = "/bin:/usr/bin" // as execvp(3)
	}
	sudoUID, under := os.LookupEnv("SUDO_UID")
	if os.Geteuid() != 0 || !under || sudoUID == "0" {
		return c, nil
	}
	uid, err := strconv.Atoi(sudoUID)
	if err != nil || uid < 0 {
		return c, fmt.Errorf("SUDO_UID is %q, which is not a user id: run it with sudo again", sudoUID)
	}
	u, err := user.LookupId(sudoUID)
	if err != nil {
		return c, fmt.Errorf("who called sudo: %w", err)
	}
	gid, err := strconv.Atoi(u.Gid)
	if err != nil {
		return c, fmt.Errorf("group of %s: %w", u.Username, err)
	}
	c = Caller{UID: uid, GID: gid, User: u.Username, Home: u.HomeDir, Path: pathBeforeSudo(), Sudo: true}
	ids, err := u.GroupIds()
	if err != nil {
		return c, fmt.Errorf("groups of %s: %w", u.Username, err)
	}
	for _, id := range ids {
		if n, err := strconv.Atoi(id); err == nil {
			c.Groups = append(c.Groups, n)
		}
	}
	return c, nil
}

// pathBeforeSudo returns the PATH that the caller's shell had exported. sudo
// replaces it in our environment (secure_path), but its own process was
// started with it.
func pathBeforeSudo() string {
	pid := os.Getppid()
	for range 4 { // sudo may stand there more than once, with use_pty
		dir := filepath.Join("/proc", strconv.Itoa(pid))
		exe, err := os.Readlink(filepath.Join(dir, "exe"))
		if err != nil || filepath.Base(exe) != "sudo" {
			break
		}
		env, err := os.ReadFile(filepath.Join(dir, "environ"))
		if err != nil {
			break
		}
		for v := range bytes.SplitSeq(env, []byte{0}) {
			if p, ok := bytes.CutPrefix(v, []byte("PATH=")); ok {
				return string(p)
			}
		}
		stat, err := os.ReadFile(filepath.Join(dir, "stat"))
		if err != nil {
			break
		}
		rest := stat[bytes.LastIndexByte(stat, ')')+1:]
		f := strings.Fields(string(rest))
		if len(f) < 2 {
			break
		}
		if pid, err = strconv.Atoi(f[1]); err != nil {
			break
		}
	}
	return os.Getenv("PATH")
}

// credential returns what a child of the caller's must be started with, nil
// where the process already is the caller.
func (c Caller) credential() *syscall.Credential {
	if !c.Sudo {
		return nil
	}
	groups := make([]uint32, len(c.Groups))
	for i, g := range c.Groups {
		groups[i] = uint32(g)
	}
	return &syscall.Credential{Uid: uint32(c.UID), Gid: uint32(c.GID), Groups: groups}
}

// Attr returns the attributes with which a process of ours runs as the caller.
func (c Caller) Attr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: c.credential()}
}

// initialEnviron returns the environment that the process was started with.
// [os.Environ] leaves out the second of two variables of one name.
func initialEnviron() []string {
	env := os.Environ()
	raw, err := os.ReadFile("/proc/self/environ")
	if err != nil || len(raw) == 0 {
		return env
	}
	whole := strings.Split(strings.TrimSuffix(string(raw), "\x00"), "\x00")
	seen := map[string]bool{}
	once := slices.DeleteFunc(slices.Clone(whole), func(v string) bool {
		name, _, ok := strings.Cut(v, "=")
		again := ok && seen[name]
		seen[name] = true
		return again
	})
	if !slices.Equal(once, env) {
		return env // somebody has set something since
	}
	return whole
}

// Environ returns the caller's environment: the process's own, with the
// caller's HOME, USER, LOGNAME and PATH where sudo had changed them, and
// without sudo's own variables.
func (c Caller) Environ() []string {
	env := initialEnviron()
	if !c.Sudo {
		return env
	}
	out := env[:0:0]
	for _, v := range env {
		name, _, _ := strings.Cut(v, "=")
		switch name {
		case "HOME", "USER", "LOGNAME", "PATH", "SUDO_UID", "SUDO_GID", "SUDO_USER", "SUDO_COMMAND", "MAIL":
		default:
			out = append(out, v)
		}
	}
	return append(out, "HOME="+c.Home, "USER="+c.User, "LOGNAME="+c.User, "PATH="+c.Path)
}
