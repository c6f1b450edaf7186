package posture

import (
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/org/edamame-posture/pkg/judge"
)

// ssh reads who may log in, and which keys lie about.
func (c *collector) ssh() {
	for _, home := range []string{"/root", c.User.Home} {
		if home == "" || home == "/root" && c.User.Home == "/root" {
			continue
		}
		root := home == "/root"
		take, check, sev := c.usersFile, "authorized-keys", judge.Medium
		if root {
			take, check, sev = c.file, "root-authorized-keys", judge.Medium
		}
		for _, name := range []string{".ssh/authorized_keys", ".ssh/authorized_keys2"} {
			f := take(AuthorizedKeys, path.Join(home, name))
			if f == nil {
				continue
			}
			for _, k := range parseAuthorizedKeys(f.data) {
				what := k.kind + " " + k.fingerprint
				if k.forced {
					what += ", for one command"
				}
				c.item(check, sev, f.path, k.line, what)
			}
		}
	}
	for _, p := range c.homeFiles(".ssh/known_hosts", ".ssh/config", ".ssh/rc", ".ssh/environment") {
		c.usersFile(SSH, p)
	}
	c.file(SSH, "/etc/ssh/ssh_config")
	c.file(SSH, "/etc/ssh/sshd_config")
	c.file(SSH, "/etc/ssh/ssh_known_hosts")
	if c.StateOnly || c.User.Home == "" {
		return
	}
	for _, p := range c.list(path.Join(c.User.Home, ".ssh")) {
		f, err := c.readUsers(p)
		if err == nil && openKey(f.data) {
			c.item("ssh-private-key", judge.High, p, 0, fmt.Sprintf("mode %04o", f.mode))
		}
	}
}

// gitDanger says what a setting of git comes to: the check, or "" for nothing.
func gitDanger(s setting) string {
	section, _, _ := strings.Cut(s.key, ".")
	name := s.key[strings.LastIndexByte(s.key, '.')+1:]
	switch {
	case name == "extraheader" && section == "http":
		return "git-credential"
	case s.key == "credential.helper" || name == "helper" && section == "credential":
		if strings.HasPrefix(s.value, "store") {
			return "git-credential"
		}
		if strings.ContainsAny(s.value, "!/") {
			return "git-runs"
		}
	case slices.Contains([]string{"core.sshcommand", "core.gitproxy", "core.askpass", "core.editor", "core.pager", "core.hookspath", "init.templatedir", "diff.external", "gpg.program"}, s.key),
		s.key == "core.fsmonitor" && s.value != "true" && s.value != "false" && s.value != "",
		section == "alias" && strings.HasPrefix(s.value, "!"),
		name == "textconv", section == "filter" && (name == "clean" || name == "smudge" || name == "process") && !strings.HasPrefix(s.value, "git-lfs"),
		section == "include" || section == "includeif":
		return "git-runs"
	case name == "insteadof", name == "pushinsteadof", name == "proxy", name == "pushurl":
		return "git-redirect"
	case name == "sslverify" && (s.value == "false" || s.value == "0" || s.value == "no" || s.value == "off"), s.key == "safe.directory" && s.value == "*":
		return "git-insecure"
	}
	return ""
}

// marks is the digest of those settings that are dangerous.
func marks(settings []setting, danger func(setting) string) string {
	var b strings.Builder
	for _, s := range settings {
		if d := danger(s); d != "" {
			fmt.Fprintf(&b, "%s\x00%s\x00%s\n", d, s.key, s.value)
		}
	}
	if b.Len() == 0 {
		return ""
	}
	return digest([]byte(b.String()))
}

// settings reads a file of settings and takes it into the state. It returns
// those that are dangerous, with the check that each comes to.
func (c *collector) settings(k Kind, p string, users bool, parse func([]byte) []setting, danger func(setting) string) (*file, []setting) {
	f, err := c.readFor(p, users)
	if err != nil {
		c.unread(p, err)
		return nil, nil
	}
	all := parse(f.data)
	c.keep(k, f, marks(all, danger))
	return f, slices.DeleteFunc(all, func(s setting) bool { return danger(s) == "" })
}

// gitSeverity is how grave each check of git is.
var gitSeverity = map[string]judge.Severity{
	"git-credential": judge.High, "git-runs": judge.Low, "git-redirect": judge.Medium, "git-insecure": judge.Medium,
}

// git reads its settings, hooks and kept credentials.
func (c *collector) git() {
	type place struct {
		path  string
		users bool
	}
	files := []place{{"/etc/gitconfig", false}}
	for _, p := range c.homeFiles(".gitconfig", ".config/git/config") {
		files = append(files, place{p, true})
	}
	if c.Workspace != "" {
		files = append(files, place{path.Join(c.Workspace, ".git/config"), true})
	}
	for _, at := range files {
		f, list := c.settings(GitConfig, at.path, at.users, parseGitConfig, gitDanger)
		for _, s := range list {
			check := gitDanger(s)
			// The value of a credential is never told, not even redacted.
			what := s.key
			if check != "git-credential" {
				what += " = " + s.value
			}
			c.item(check, gitSeverity[check], f.path, s.line, what)
		}
	}
	for _, p := range c.homeFiles(".git-credentials", ".config/git/credentials") {
		if f, err := c.stat(p); err == nil && f.regular && f.size > 0 {
			c.keep(GitConfig, f, "")
			c.item("git-credential", judge.High, p, 0, fmt.Sprintf("%d bytes, mode %04o", f.size, f.mode))
		}
	}
	dirs := []string{"/usr/share/git-core/templates/hooks"}
	if c.Workspace != "" {
		dirs = append(dirs, path.Join(c.Workspace, ".git/hooks"))
	}
	for i, dir := range dirs {
		for _, p := range c.list(dir) {
			if strings.HasSuffix(p, ".sample") {
				continue
			}
			if f := c.take(GitHook, p, i > 0); f != nil && f.mode&0o111 != 0 {
				c.item("git-hook", judge.Medium, p, 0, fmt.Sprintf("%d bytes, mode %04o", f.size, f.mode))
			}
		}
	}
}

// npmDanger is gitDanger for npm.
func npmDanger(s setting) string {
	key := s.key[strings.LastIndexByte(s.key, ':')+1:]
	switch {
	case key == "_authtoken" || key == "_auth" || key == "_password":
		if strings.Contains(s.value, "${") || s.value == "" {
			return ""
		}
		return "npm-token"
	case key == "registry":
		if publicRegistry(s.value) {
			return ""
		}
		return "registry"
	case key == "strict-ssl" && s.value == "false":
		return "tls-off"
	case key == "script-shell", key == "node-options", key == "git", key == "globalconfig", key == "onload-script", key == "init-module":
		return "npm-runs"
	case key == "proxy", key == "https-proxy", key == "ca",
		key == "cafile" && !strings.HasPrefix(s.value, "/etc/ssl/certs/") && !strings.HasPrefix(s.value, "/etc/pki/"):
		return "registry"
	}
	return ""
}

// publicRegistry reports whether an address is npm's own registry, over TLS.
func publicRegistry(value string) bool {
	u, err := url.Parse(value)
	return err == nil && u.Scheme == "https" && strings.HasSuffix(u.Hostname(), ".npmjs.org")
}

// npm reads its settings.
func (c *collector) npm() {
	c.registries(NPMConfig, npmDanger, []string{"/etc/npmrc", "/usr/etc/npmrc", "/usr/local/etc/npmrc"}, []string{".npmrc"}, []string{".npmrc"})
}

// pipDanger is gitDanger for pip.
func pipDanger(s setting) string {
	key := s.key[strings.IndexByte(s.key, '.')+1:]
	switch key {
	case "extra-index-url", "find-links":
		return "extra-index"
	case "index-url", "index", "proxy":
		if u, err := url.Parse(s.value); err == nil && u.User != nil {
			return "url-credential"
		}
		return "registry"
	case "trusted-host":
		return "tls-off"
	}
	return ""
}

// pip reads its settings.
func (c *collector) pip() {
	c.registries(PipConfig, pipDanger, []string{"/etc/pip.conf", "/etc/xdg/pip/pip.conf"}, []string{".config/pip/pip.conf", ".pip/pip.conf"}, nil)
}

// registrySeverity is how grave each check of a package manager is.
var registrySeverity = map[string]judge.Severity{
	"npm-token": judge.High, "registry": judge.Low, "tls-off": judge.High, "npm-runs": judge.Medium, "extra-index": judge.Medium, "url-credential": judge.High,
}

// registries reads the settings of a package manager.
func (c *collector) registries(k Kind, danger func(setting) string, system, home, work []string) {
	one := func(p string, users bool) {
		f, list := c.settings(k, p, users, parseINI, danger)
		for _, s := range list {
			check := danger(s)
			what := s.key
			if check != "npm-token" && check != "url-credential" {
				what += " = " + s.value
			}
			c.item(check, registrySeverity[check], f.path, s.line, what)
		}
	}
	for _, p := range system {
		one(p, false)
	}
	for _, p := range c.homeFiles(home...) {
		one(p, true)
	}
	if c.Workspace != "" {
		for _, name := range work {
			one(path.Join(c.Workspace, name), true)
		}
	}
}
