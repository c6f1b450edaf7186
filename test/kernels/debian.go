package main

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// archive is Debian's, as apt sees it. Nothing of it is installed: packages are
// downloaded and taken apart.
type archive struct {
	env   []string
	cache string // what was taken out of packages
	// suites are those whose lists are kept below cache; nil for the machine's own.
	suites []string
}

// here is the archive by the machine's own sources and lists.
func here(cache string) *archive { return &archive{env: os.Environ(), cache: cache} }

// releases has other releases too, by the mirror of the machine's own sources.
// Its lists and settings are apart from the machine's.
func releases(cache string, suites []string) *archive {
	return &archive{env: append(os.Environ(), "APT_CONFIG="+filepath.Join(cache, "apt/apt.conf")), cache: cache, suites: suites}
}

// listed is how long what a suite has is taken to be the same: getting and
// reading the lists takes longer than booting.
const listed = 24 * time.Hour

func lately(file string) bool {
	st, err := os.Stat(file)
	return err == nil && time.Since(st.ModTime()) < listed
}

// keyring has the keys of Debian's releases (package debian-archive-keyring).
const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// update gets the lists of the suites.
func (a *archive) update(ctx context.Context) error {
	dir := filepath.Join(a.cache, "apt")
	if a.suites == nil || lately(filepath.Join(dir, "updated")) {
		return nil
	}
	mirror, err := mirrorOf(ctx)
	if err != nil {
		return err
	}
	for _, d := range []string{"lists/partial", "archives/partial"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return err
		}
	}
	var sources strings.Builder
	for _, s := range a.suites {
		fmt.Fprintf(&sources, "deb [signed-by=%s arch=amd64,arm64] %s %s main\n", keyring, mirror, s)
	}
	settings := fmt.Sprintf(`APT::Architecture "amd64"; APT::Architectures {"amd64"; "arm64";}; APT::Sandbox::User "root";
Dir::State %[1]q; Dir::State::status "%[1]s/status"; Dir::State::lists "%[1]s/lists"; Dir::Cache %[1]q; Dir::Cache::archives "%[1]s/archives";
Dir::Etc::sourcelist "%[1]s/sources.list"; Dir::Etc::sourceparts "-"; Acquire::Languages "none"; Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
`, dir)
	for name, text := range map[string]string{"apt.conf": settings, "sources.list": sources.String(), "status": ""} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	if _, err := a.do(ctx, "", "apt-get", "update"); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "updated"), nil, 0o644)
}

// mirrorOf is where the machine's own sources get Debian's main archive from.
func mirrorOf(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "apt-get", "indextargets").Output()
	if err != nil {
		return "", fmt.Errorf("apt-get indextargets: %w", err)
	}
	for stanza := range strings.SplitSeq(string(out), "\n\n") {
		field := map[string]string{}
		for line := range strings.Lines(stanza) {
			if k, v, ok := strings.Cut(strings.TrimSpace(line), ": "); ok {
				field[k] = v
			}
		}
		if mirror, _, ok := strings.Cut(field["Base-URI"], "/dists/"); ok && field["Label"] == "Debian" && field["Component"] == "main" {
			return mirror, nil
		}
	}
	return "", errors.New("no source of apt is Debian's main archive: run it on Debian, after apt-get update")
}

func (a *archive) do(ctx context.Context, dir, name string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = dir, a.env
	cmd.WaitDelay = 5 * time.Second
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%s %s: %w: %.500s", name, strings.Join(args, " "), err, errs.String())
	}
	return out.Bytes(), nil
}

// image is a kernel as a package holds it.
type image struct {
	release string // as uname -r will say
	version string // of the package
	kernel  string // path of the file to boot
	modules string // folder of the modules that a trial needs
}

// wantedModules are what sockets are listed by, where the kernel has not built
// it in, in the order in which they need each other.
var wantedModules = []string{"inet_diag", "tcp_diag", "udp_diag", "raw_diag", "unix_diag", "af_packet_diag"}

var (
	concrete = regexp.MustCompile(`linux-image-[0-9][^ ,]*`)
	parts    = regexp.MustCompile(`linux-(?:binary|modules)-[0-9][^ ,]*`)
)

// fetch gets the newest kernel for virtual machines of a suite, of any where
// that is empty.
func (a *archive) fetch(ctx context.Context, suite, arch string) (*image, error) {
	note := filepath.Join(a.cache, arch, cmp.Or(suite, "here"))
	if lately(note) {
		release, err := os.ReadFile(note)
		if err != nil {
			return nil, err
		}
		return a.kept(arch, string(release))
	}
	if err := a.update(ctx); err != nil {
		return nil, err
	}
	meta := "linux-image-cloud-" + arch + ":" + arch
	offered, err := a.do(ctx, "", "apt-cache", "madison", meta)
	if err != nil {
		return nil, err
	}
	version := ""
	for line := range strings.Lines(string(offered)) {
		f := strings.Split(line, "|")
		if len(f) == 3 && (suite == "" || strings.Contains(f[2], " "+suite+"/")) {
			version = strings.TrimSpace(f[1])
			break
		}
	}
	if version == "" {
		return nil, fmt.Errorf("apt has no %s in %q: apt-get update, or the suite is gone", meta, suite)
	}
	shown, err := a.do(ctx, "", "apt-cache", "show", meta+"="+version)
	if err != nil {
		return nil, err
	}
	name := concrete.FindString(depends(shown))
	if name == "" {
		return nil, fmt.Errorf("%s %s names no kernel", meta, version)
	}
	release := strings.TrimPrefix(name, "linux-image-")
	img, err := a.kept(arch, release)
	if err == nil {
		return img, os.WriteFile(note, []byte(release), 0o644)
	}
	if shown, err = a.do(ctx, "", "apt-cache", "--no-all-versions", "show", name+":"+arch); err != nil {
		return nil, err
	}
	// From 7.0 on the kernel and its modules are packages of their own.
	packages := parts.FindAllString(depends(shown), -1)
	if len(packages) == 0 {
		packages = []string{name}
	}
	dir := filepath.Join(a.cache, arch, release)
	for _, p := range packages {
		if err := a.takeApart(ctx, p+":"+arch, dir); err != nil {
			return nil, err
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "version"), []byte(field(shown, "Version")), 0o644); err != nil {
		return nil, err
	}
	if img, err = a.kept(arch, release); err != nil {
		return nil, err
	}
	return img, os.WriteFile(note, []byte(release), 0o644)
}

// kept is a kernel that was taken out of its packages before.
func (a *archive) kept(arch, release string) (*image, error) {
	dir := filepath.Join(a.cache, arch, release)
	version, err := os.ReadFile(filepath.Join(dir, "version"))
	if err != nil {
		return nil, err
	}
	img := &image{release: release, version: string(version), kernel: filepath.Join(dir, "vmlinuz"), modules: filepath.Join(dir, "modules")}
	_, err = os.Stat(img.kernel)
	return img, err
}

func depends(stanza []byte) string { return field(stanza, "Depends") }

// field is one of a package's description.
func field(stanza []byte, name string) string {
	for line := range strings.Lines(string(stanza)) {
		if v, ok := strings.CutPrefix(line, name+": "); ok {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// takeApart downloads a package and takes the kernel and the wanted modules out
// of it.
func (a *archive) takeApart(ctx context.Context, name, into string) error {
	tmp, err := os.MkdirTemp("", "posture-kernel-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	if _, err := a.do(ctx, tmp, "apt-get", "download", name); err != nil {
		return err
	}
	debs, err := filepath.Glob(filepath.Join(tmp, "*.deb"))
	if err != nil || len(debs) != 1 {
		return fmt.Errorf("apt-get download %s left %d packages (%v)", name, len(debs), err)
	}
	if err := os.MkdirAll(filepath.Join(into, "modules"), 0o755); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "dpkg-deb", "--fsys-tarfile", debs[0])
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	err = pick(ctx, pipe, into)
	_, _ = io.Copy(io.Discard, pipe)
	return errors.Join(err, cmd.Wait())
}

// pick writes what a trial needs of a package's files.
func pick(ctx context.Context, files io.Reader, into string) error {
	for r := tar.NewReader(files); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		base := filepath.Base(h.Name)
		module, packed := strings.CutSuffix(base, ".xz")
		at := slices.Index(wantedModules, strings.TrimSuffix(module, ".ko"))
		var to string
		switch {
		case h.Typeflag != tar.TypeReg:
			continue
		case strings.HasPrefix(base, "vmlinuz"):
			to = filepath.Join(into, "vmlinuz")
		case at >= 0 && strings.HasSuffix(module, ".ko"):
			to = filepath.Join(into, "modules", fmt.Sprintf("%d-%s", at, module))
		default:
			continue
		}
		var b bytes.Buffer
		if _, err := io.Copy(&b, r); err != nil {
			return err
		}
		if packed {
			cmd := exec.CommandContext(ctx, "xz", "-dc")
			cmd.Stdin = bytes.NewReader(b.Bytes())
			plain, err := cmd.Output()
			if err != nil {
				return fmt.Errorf("xz -dc of %s: %w", base, err)
			}
			b = *bytes.NewBuffer(plain)
		}
		if err := os.WriteFile(to, b.Bytes(), 0o644); err != nil {
			return err
		}
	}
}
