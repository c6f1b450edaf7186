package credential

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/org/edamame-posture/pkg/redact"
)

const home = "/home/runner"

func TestPathsAreOfTheirClass(t *testing.T) {
	for _, c := range []struct{ path, class string }{
		{"/home/runner/.ssh/id_ed25519", "ssh"}, {"/root/.ssh/id_rsa", "ssh"}, {"/root/.ssh/config", "ssh"}, {"/tmp/other/.ssh/deploy.pem", "ssh"},
		{"/home/runner/work/r/r/.git/config", "git"}, {"/w/.git/modules/sub/config", "git"}, {"/w/.git/modules/a/b/config", "git"}, {"/root/.git-credentials", "git"},
		{"/home/runner/work/_temp/git-credentials-0a1b.config", "git"}, {"/root/.config/gh/hosts.yml", "git"}, {"/home/x/.gitconfig", "git"},
		{"/home/runner/.netrc", "netrc"}, {"/root/.aws/credentials", "aws"}, {"/root/.aws/sso/cache/0123.json", "aws"},
		{"/root/.config/gcloud/application_default_credentials.json", "gcloud"}, {"/root/.config/gcloud/legacy_credentials/me@example.com/adc.json", "gcloud"}, {"/w/gha-creds-0a1b.json", "gcloud"},
		{"/root/.azure/msal_token_cache.json", "azure"}, {"/root/.azure/msal_token_cache.bin", "azure"}, {"/root/.config/doctl/config.yaml", "cloud"},
		{"/root/.terraform.d/credentials.tfrc.json", "terraform"}, {"/w/infra/terraform.tfstate", "terraform"},
		{"/root/.kube/config", "kube"}, {"/run/secrets/kubernetes.io/serviceaccount/token", "kube"}, {"/run/secrets/kubernetes.io/serviceaccount/..2026_11_23/token", "kube"},
		{"/var/run/secrets/eks.amazonaws.com/serviceaccount/token", "kube"}, {"/root/.docker/config.json", "docker"}, {"/run/user/1000/containers/auth.json", "docker"},
		{"/root/.npmrc", "npm"}, {"/home/runner/work/r/r/.npmrc", "npm"}, {"/root/.yarnrc.yml", "npm"}, {"/root/.pypirc", "pypi"}, {"/etc/pip.conf", "pypi"}, {"/root/.cargo/credentials.toml", "cargo"},
		{"/root/.gem/credentials", "gem"}, {"/root/.m2/settings.xml", "maven"}, {"/root/.gradle/gradle.properties", "maven"}, {"/root/.nuget/NuGet/NuGet.Config", "nuget"}, {"/root/.config/composer/auth.json", "composer"},
		{"/root/.vault-token", "vault"}, {"/root/.config/sops/age/keys.txt", "vault"}, {"/w/.env", "app"}, {"/w/packages/api/.env.production", "app"}, {"/root/.pgpass", "app"},
		{"/root/.cache/huggingface/token", "ml"}, {"/root/.claude.json", "ai-agent"}, {"/root/.claude/.credentials.json", "ai-agent"}, {"/root/.codex/auth.json", "ai-agent"}, {"/root/.openclaw/.env", "ai-agent"},
		{"/root/.bash_history", "history"}, {"/root/.config/google-chrome/Default/Login Data", "browser"}, {"/root/.config/google-chrome/Profile 1/Network/Cookies", "browser"}, {"/root/.mozilla/firefox/x.default/key4.db", "browser"},
		{"/root/.config/solana/id.json", "wallet"}, {"/root/.ethereum/keystore/UTC--2026", "wallet"}, {"/etc/shadow", "host"}, {"/etc/ssh/ssh_host_ed25519_key", "ssh"}, {"/tmp/krb5cc_1000", "host"},
		{"/opt/actions-runner/.credentials", "runner"}, {"/opt/actions-runner/.credentials_rsaparams", "runner"}, {"/opt/actions-runner/.runner", "runner"}, {"/w/_temp/_runner_file_commands/set_env_0a1b", "runner"},
		{"/proc/1234/mem", "memory"}, {"/proc/1234/environ", "memory"}, {"/proc/1234/task/1235/mem", "memory"},
		{"/root/.gnupg/private-keys-v1.d", "gpg"}, {"/root/.gnupg/secring.gpg", "gpg"},
		// The home folder itself may lie where packages do.
		{"/usr/share/jenkins/.aws/credentials", ""},
	} {
		got, ok := Classify(c.path, home)
		if ok != (c.class != "") || got.Name.String() != c.class {
			t.Errorf("%s: %q, not %q", c.path, got.Name, c.class)
		}
	}
	if c, ok := Classify("/usr/share/jenkins/.aws/credentials", "/usr/share/jenkins"); !ok || !c.Name.Is("aws") {
		t.Error("a home folder below /usr/share is not looked at")
	}
}

func TestLookAlikesAreOfNoClass(t *testing.T) {
	for _, p := range []string{
		"", "/", ".npmrc", "relative/.aws/credentials", "/usr/share/doc/awscli/examples/credentials", "/usr/share/doc/x/.aws/credentials", "/usr/lib/python3/dist-packages/x/.env",
		"/w/node_modules/pkg/.npmrc", "/w/node_modules/pkg/.env", "/root/go/pkg/mod/example.com/x@v1.0.0/.env", "/w/.venv/lib/python3.12/site-packages/dotenv/.env", "/root/.cargo/registry/src/x/.env",
		"/w/.env.example", "/w/.env.sample", "/w/.env.template", "/w/.env.dist", "/w/.env.local.example", "/root/.ssh/id_rsa.pub", "/root/.ssh/known_hosts", "/root/.ssh/authorized_keys", "/etc/ssh/ssh_host_ed25519_key.pub",
		"/w/config", "/w/src/config", "/etc/config", "/w/credentials", "/w/git/config", "/w/x.git/config", "/w/.github/config", "/w/.gitignore", "/w/kube/config", "/w/docs/token", "/w/config.json", "/w/auth.json", "/w/settings.xml",
		"/w/id_card.png", "/w/environ", "/proc/meminfo", "/proc/self/maps", "/proc/1/status", "/proc/sys/kernel/mem", "/proc/1/net/mem", "/w/Cookies", "/tmp/profile/Login Data", "/etc/passwd", "/etc/hosts", "/w/.environment", "/w/.envoy", "/w/x.env",
		"/root/.aws/credentials/deeper", "/root/.aws/credentials~", "/root/.awsx/credentials", "/root/x.aws/credentials", "/w/.git/config.lock", "/w/shadow", "/home/etc/shadow", "/root/.docker/config.json.bak",
		"/" + strings.Repeat("a/", 3000) + ".npmrc",
	} {
		if c, ok := Classify(p, home); ok {
			t.Errorf("%.80q is of class %s", p, c.Name)
		}
	}
}

func TestOwnersReadTheirClassAndNoOther(t *testing.T) {
	for _, c := range []struct {
		class, program string
		want           bool
	}{
		{"npm", "npm", true}, {"npm", "node", false}, {"npm", "curl", false}, {"aws", "terraform", true}, {"ssh", "ssh", true}, {"ssh", "python3", false}, {"runner", "Runner.Worker", true}, {"git", "git", true}, {"git", "", false},
		{"history", "python3.12", true}, {"history", "python3", true}, {"pypi", "pip3.12", true}, {"pypi", "pip4", false}, {"npm", "npm.evil", false}, {"npm", ".12", false}, {"npm", "npm.", true},
	} {
		cl, ok := Lookup(c.class)
		if !ok {
			t.Fatalf("no class %s", c.class)
		}
		if got := cl.OwnedBy(c.program); got != c.want {
			t.Errorf("%s.OwnedBy(%q) = %v", c.class, c.program, got)
		}
	}
}

func TestSettingsAreReadByThoseWhoNeedThem(t *testing.T) {
	for _, c := range []struct {
		class, path, program string
		want                 bool
	}{
		{"git", "/root/.gitconfig", "npm", true}, {"git", "/home/x/.config/git/config", "git", true}, {"npm", "/usr/etc/npmrc", "npm", true},
		{"git", "/root/.gitconfig", "node", false}, {"git", "/root/.gitconfig", "install.js", false}, {"git", "/root/.gitconfig", "", false},
		{"git", "/root/.git-credentials", "npm", false}, {"git", "/w/.git/config", "git", false}, {"npm", "/root/.npmrc", "npm", false}, {"npm", "/w/etc/npmrc", "npm", false},
		{"aws", "/root/.aws/config", "aws", false}, {"git", "", "npm", false}, {"git", ".gitconfig", "npm", false},
	} {
		cl, ok := Lookup(c.class)
		if !ok {
			t.Fatalf("no class %s", c.class)
		}
		if got := cl.Settings(c.path, c.program); got != c.want {
			t.Errorf("%s.Settings(%q, %q) = %v", c.class, c.path, c.program, got)
		}
	}
}

func TestHostsAreCoherentByWholeLabels(t *testing.T) {
	aws, _ := Lookup("aws")
	for host, want := range map[string]bool{
		"sts.amazonaws.com": true, "s3.eu-west-1.amazonaws.com": true, "sts.amazonaws.com.": true, "amazonaws.com": true, "evilamazonaws.com": false, "amazonaws.com.evil.example": false, "": false, "1.2.3.4": false, ".amazonaws.com": false,
	} {
		if got := aws.Coherent(host); got != want {
			t.Errorf("Coherent(%q) = %v", host, got)
		}
	}
	own := Class{Hosts: []string{"*.example.com"}}
	if own.Coherent("example.com") || !own.Coherent("a.example.com") {
		t.Error("*.example.com")
	}
	history, _ := Lookup("history")
	if history.Coherent("example.com") {
		t.Error("a class without hosts is coherent with one")
	}
}

func TestTheTableIsWellFormed(t *testing.T) {
	seen := map[string]string{}
	names := map[string]bool{}
	for _, c := range classes {
		n := c.Name.String()
		if n == "" || names[n] || strings.ToLower(n) != n || c.About == "" || len(c.patterns) == 0 || len(c.Owners) == 0 {
			t.Errorf("class %q", n)
		}
		names[n] = true
		for _, p := range c.settings {
			if !slices.Contains(c.patterns, p) {
				t.Errorf("%s: the settings %q are not among its patterns", n, p)
			}
		}
		for _, p := range c.patterns {
			if other, ok := seen[p]; ok {
				t.Errorf("%s is of %s and %s", p, other, n)
			}
			seen[p] = n
			if strings.Count(p, "**") > 1 || strings.HasSuffix(p, "/") || strings.HasSuffix(p, "**") || strings.Contains(p, "//") {
				t.Errorf("%s: pattern %q", n, p)
			}
			for _, part := range strings.Split(p, "/") {
				if part != "**" && strings.Count(part, "*") > 1 {
					t.Errorf("%s: pattern %q has two stars in one part", n, p)
				}
			}
			// A path made from the pattern is of the class.
			path := strings.NewReplacer("**", "x", "*", "y").Replace(p)
			if strings.HasPrefix(p, "/proc/*") {
				path = strings.NewReplacer("*", "12").Replace(p)
			}
			if path[0] != '/' {
				path = home + "/" + path
			}
			if got, ok := Classify(path, home); !ok || !got.Name.Is(n) {
				// An earlier class may own a narrower case of the same file.
				t.Errorf("%s, made from %s of %s, is of class %q", path, p, n, got.Name)
			}
		}
		for _, h := range c.Hosts {
			if strings.ToLower(h) != h || strings.Contains(strings.TrimPrefix(strings.TrimPrefix(h, "*"), "*."), "*") || strings.Count(h, ".") < 1 {
				t.Errorf("%s: host %q", n, h)
			}
		}
		for _, o := range c.Owners {
			if strings.ContainsAny(o, "/* ") || o == "" {
				t.Errorf("%s: owner %q", n, o)
			}
		}
	}
	if got := Names(); len(got) != len(classes) || !slices.IsSorted(got) {
		t.Errorf("Names() = %q", got)
	}
	if got := Classes(); len(got) != len(classes) || got[0].Name != classes[0].Name {
		t.Error("Classes()")
	}
}

func TestTheWatchListIsSmallAndCoversTheTable(t *testing.T) {
	names, prefixes := WatchNames()
	if len(names) > 256 || len(prefixes) > 32 {
		t.Errorf("%d names and %d prefixes", len(names), len(prefixes))
	}
	unwatched := 0
	for _, c := range classes {
		for _, p := range c.patterns {
			base := p[strings.LastIndexByte(p, '/')+1:]
			literal, _, star := strings.Cut(base, "*")
			if strings.HasPrefix(p, "/proc/*/") {
				if slices.Contains(names, base) {
					t.Errorf("%s is watched by its name: every process reads its own", p)
				}
				continue
			}
			if star && literal == "" {
				unwatched++
				continue
			}
			if !slices.Contains(names, base) && !slices.ContainsFunc(prefixes, func(q string) bool { return strings.HasPrefix(literal, q) }) {
				t.Errorf("%s is not watched", p)
			}
		}
	}
	if unwatched > 12 {
		t.Errorf("%d patterns cannot be watched by base name", unwatched)
	}
	for _, common := range []string{"hosts", "passwd", "package.json", "index.js", "main.go", "maps", "status", "README.md"} {
		if slices.Contains(names, common) || slices.ContainsFunc(prefixes, func(q string) bool { return strings.HasPrefix(common, q) }) {
			t.Errorf("%s is watched: too common", common)
		}
	}
	for _, n := range append(names, prefixes...) {
		if len(n) < 3 || len(n) > 48 {
			t.Errorf("%q", n)
		}
	}
}

func TestProcfsPathsNameTheirProcess(t *testing.T) {
	for path, want := range map[string]uint32{"/proc/12/mem": 12, "/proc/12/task/13/environ": 12, "/proc/self/mem": 0, "/proc/4294967296/mem": 0, "/x/proc/1/mem": 0, "/proc/12": 0, "/proc//mem": 0} {
		pid, ok := Process(path)
		if pid != want || ok != (want != 0) {
			t.Errorf("Process(%q) = %d, %v", path, pid, ok)
		}
	}
}

// TestFilesOfThisMachineAreOfNoClassWhereNoSecretsAre walks what packages
// installed: none of it is anyone's secret.
func TestFilesOfThisMachineAreOfNoClassWhereNoSecretsAre(t *testing.T) {
	if testing.Short() {
		t.Skip("walks /usr")
	}
	n := 0
	filepath.WalkDir("/usr", func(path string, d os.DirEntry, err error) error {
		if err != nil || n > 200000 {
			return filepath.SkipDir
		}
		n++
		if c, ok := Classify(path, "/root"); ok && !strings.HasPrefix(path, "/usr/etc/") && !strings.HasPrefix(path, "/usr/local/etc/") {
			t.Errorf("%s is of class %s", path, c.Name)
		}
		return nil
	})
	if n < 100 {
		t.Skipf("only %d files below /usr", n)
	}
}

func TestClassifyAllocatesNothing(t *testing.T) {
	for _, p := range []string{"/home/runner/work/r/r/.git/config", "/home/runner/work/r/r/src/config", "/root/.config/google-chrome/Default/Login Data", "/w/node_modules/x/.npmrc"} {
		if n := testing.AllocsPerRun(100, func() { Classify(p, home) }); n != 0 {
			t.Errorf("%s: %v allocations", p, n)
		}
	}
}

func FuzzClassify(f *testing.F) {
	for _, c := range classes {
		for _, p := range c.patterns {
			f.Add("/root/"+p, "/root")
		}
	}
	f.Add("//..//.npmrc", "/")
	f.Add("/proc/1/mem\x00", "")
	f.Fuzz(func(t *testing.T, path, home string) {
		c, ok := Classify(path, home)
		if ok == c.IsZero() {
			t.Errorf("%q: %v %v", path, ok, c.Name)
		}
		if !ok {
			return
		}
		// Whatever a name below node_modules is, it is no one's secret.
		if c.patterns[0][0] != '/' {
			base := path[strings.LastIndexByte(path, '/')+1:]
			if _, ok := Classify("/w/node_modules/"+base, "/w"); ok {
				t.Errorf("%q in node_modules", base)
			}
		}
		c.OwnedBy(path)
		c.Coherent(path)
		if _, ok := Lookup(c.Name.String()); !ok || c.Name == (redact.Text{}) {
			t.Errorf("%q: class %q", path, c.Name)
		}
	})
}

func BenchmarkClassify(b *testing.B) {
	for b.Loop() {
		Classify("/home/runner/work/repo/repo/src/config", home)
	}
}
