package docker_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/process"
	"github.com/org/edamame-posture/test/docker"
	"github.com/org/edamame-posture/test/rig"
)

var posture string

func TestMain(m *testing.M) {
	os.Exit(rig.Main(m, map[*string]string{&posture: "../../cmd/edamame-posture"}))
}

// job is the script of a job that uses containers in every way. NET and ADDRESS
// are empty where the kernel has no bridges.
const job = `set -u
d() { docker "$@"; }
if [ -n "$NET" ]; then
	d run -d --name alpha --network "$NET" --ip "$ADDRESS" shop:1 /bin/sh -c '/bin/true ALPHA; nc -l -p 8101; /bin/true ALPHA' >/dev/null
	d run --rm --name beta --network "$NET" shop:2 /bin/sh -c "/bin/true BETA; for i in 1 2 3 4 5 6 7 8 9 10; do nc -w 1 $ADDRESS 8101 </dev/null && break; sleep 0.1; done; /bin/true BETA"
fi
d run --rm --name gamma --network host shop:2 /bin/sh -c '/bin/true GAMMA; nc -w 1 127.0.0.1 8103 </dev/null; /bin/true GAMMA'
d run --rm --name delta $PRIVILEGED --pid host --network none shop:1 /bin/sh -c '/bin/true DELTA; /bin/true DELTA'
d run --rm --name brief --network none shop:1 /bin/true BRIEF
d run -d --name joined --network none shop:1 /bin/sh -c '/bin/true JOINED; sleep 600' >/dev/null
d exec joined /bin/true JOINED
d rm -f joined >/dev/null
d build --network none -t built:1 "$CONTEXT"
`

// done is what a job's containers did.
type done struct {
	execs, connects int
}

func TestEveryExecAndConnectionIsUnderItsContainer(t *testing.T) {
	bridges := true
	e, err := docker.Start(true)
	if errors.Is(err, docker.ErrNone) {
		t.Logf("without networks, since: %v", err)
		bridges = false
		e = engine(t, false)
	} else if err != nil {
		t.Fatal(err)
	} else {
		t.Cleanup(e.Stop)
	}
	links := []string{"sh", "true", "nc", "sleep"}
	for _, image := range []string{"shop:1", "shop:2"} {
		if err := e.Busybox(image, links, map[string][]byte{"name": []byte(image)}); errors.Is(err, docker.ErrNone) {
			t.Skip(err)
		} else if err != nil {
			t.Fatal(err)
		}
	}
	net, address := "", ""
	if bridges {
		if out, err := e.Docker(nil, "network", "create", "--subnet", "10.213.7.0/24", "shops"); err != nil {
			t.Logf("no user-defined bridge on this kernel: %v %s", err, out)
		} else {
			net, address = "shops", "10.213.7.10"
		}
	}
	privileged := "--privileged"
	if out, err := e.Docker(nil, "run", "--rm", "--privileged", "--network", "none", "shop:1", "/bin/true"); err != nil {
		t.Logf("nothing can be privileged on this machine: %v %s", err, out)
		privileged = ""
	}
	context := t.TempDir()
	if err := os.WriteFile(filepath.Join(context, "Dockerfile"), []byte("FROM shop:1\nRUN /bin/true BUILT\nRUN /bin/true BUILT\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "out")
	cmd := exec.Command(posture, "run", "--out", out, "--", "/bin/sh", "-c", job)
	cmd.Env = append(append(os.Environ(), e.Env()...), "NET="+net, "ADDRESS="+address, "PRIVILEGED="+privileged, "CONTEXT="+context)
	var summary bytes.Buffer
	cmd.Stderr = &summary
	said, err := cmd.Output()
	t.Logf("%s\n%s", said, summary.String())
	if err != nil {
		t.Fatal(err)
	}

	evs, err := rig.Events(filepath.Join(out, "evidence"))
	if err != nil {
		t.Fatal(err)
	}
	// All is known at the end: what an engine answers holds for what was before.
	tree := process.NewTree(1 << 14)
	type seen struct {
		ev   event.Event
		node *process.Node
	}
	var all []seen
	for i := range evs {
		all = append(all, seen{evs[i], tree.Apply(&evs[i])})
	}
	digests := map[string]string{}
	for _, image := range []string{"shop:1", "shop:2"} {
		id, err := e.Docker(nil, "image", "inspect", "--format", "{{.Id}}", image)
		if err != nil {
			t.Fatal(err)
		}
		digests[image] = strings.TrimSpace(strings.TrimPrefix(id, "sha256:"))
	}
	want := map[string]string{"gamma": "shop:2", "delta": "shop:1", "brief": "shop:1", "joined": "shop:1"}
	if net != "" {
		want["alpha"], want["beta"] = "shop:1", "shop:2"
	}
	did := map[string]*done{}
	built := 0
	for _, s := range all {
		argv := make([]string, len(s.ev.Argv))
		for i, a := range s.ev.Argv {
			argv[i] = a.String()
		}
		inside := s.ev.Kind == event.Exec && strings.HasSuffix(s.ev.Exe.String(), "/busybox")
		connect := s.ev.Kind == event.Connect && slices.Contains([]uint16{8101, 8103}, s.ev.Dst.Port())
		if !inside && !connect {
			continue
		}
		c := s.node.In()
		if c == nil {
			t.Errorf("%v %q %v is in no container", s.ev.Kind, argv, s.ev.Dst)
			continue
		}
		name := c.Name.String()
		if slices.Contains(argv, "BUILT") {
			built++
			if c.Image.String() != "shop:1" || name == "" {
				t.Errorf("a step of the build is in %q of %q (%s)", name, c.Image, c.Of)
			}
			continue
		}
		if did[name] == nil {
			did[name] = new(done)
		}
		if connect {
			did[name].connects++
			if by := map[uint16]string{8101: "beta", 8103: "gamma"}[s.ev.Dst.Port()]; name != by {
				t.Errorf("a connection of %s's is under %q", by, name)
			}
			continue
		}
		did[name].execs++
		if mark := argv[len(argv)-1]; argv[0] == "/bin/true" {
			if len(argv) == 2 && strings.ToLower(mark) != name {
				t.Errorf("an exec of %s is under %q", mark, name)
			}
		}
		if image, ours := want[name]; ours && (c.Image.String() != image || hex.EncodeToString(c.Digest[:]) != digests[image]) {
			t.Errorf("%s runs %q with %x, not %s with %s", name, c.Image, c.Digest, image, digests[image])
		}
	}
	least := map[string]done{"alpha": {3, 0}, "beta": {4, 1}, "gamma": {4, 1}, "delta": {3, 0}, "brief": {1, 0}, "joined": {3, 0}}
	for name := range want {
		d := did[name]
		if d == nil {
			t.Errorf("of %s nothing was seen", name)
			continue
		}
		if d.execs < least[name].execs || d.connects < least[name].connects {
			t.Errorf("of %s %d execs and %d connections were seen, not %+v", name, d.execs, d.connects, least[name])
		}
	}
	if built < 2 {
		t.Errorf("%d execs of the build were seen", built)
	}
	shown := summary.String()
	md, err := os.ReadFile(filepath.Join(out, "summary.md"))
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(out, "report.html"))
	if err != nil {
		t.Fatal(err)
	}
	for name, image := range want {
		if !strings.Contains(string(md), "<code>"+name+"</code>") || !strings.Contains(string(md), digests[image]) {
			t.Errorf("summary.md does not name %s and its image", name)
		}
		if !strings.Contains(string(page), fmt.Sprintf("%s (%s)", name, image)) {
			t.Errorf("report.html does not name %s and its image", name)
		}
	}
	if !strings.Contains(shown, "containers") || !strings.Contains(shown, "shop:1 sha256:"+digests["shop:1"][:12]) {
		t.Errorf("the terminal does not name the containers")
	}
}
