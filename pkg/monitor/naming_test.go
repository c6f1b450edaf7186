package monitor

import (
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/org/edamame-posture/pkg/engine"
	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/process"
	"github.com/org/edamame-posture/pkg/redact"
)

// engineAt has an engine of root's answer at a socket, and returns how often it
// was asked for a container.
func engineAt(t *testing.T, path string, name func(id string) string) *atomic.Int64 {
	t.Helper()
	needRoot(t)
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	asked := new(atomic.Int64)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/containers/json" {
			http.NotFound(w, r)
			return
		}
		_, id, _ := strings.Cut(r.URL.Query().Get("filters"), `{"id":{"`)
		list := []map[string]any{}
		if id = id[:min(len(id), 64)]; name(id) != "" {
			asked.Add(1)
			list = append(list, map[string]any{"Id": id, "Names": []string{"/" + name(id)}, "Image": "shop:1.2", "ImageID": "sha256:" + strings.Repeat("ab", 32)})
		}
		_ = json.NewEncoder(w).Encode(list)
	}))
	s.Listener = l
	s.Start()
	t.Cleanup(s.Close)
	return asked
}

func TestAContainerIsToldByNameAndImageOnce(t *testing.T) {
	for _, sensor := range []string{"ebpf", "netlink"} {
		t.Run(sensor, func(t *testing.T) {
			m := started(t, sensor)
			defer m.Close()
			dir, err := os.MkdirTemp("/tmp", "engine-")
			if err != nil {
				t.Fatal(err)
			}
			defer os.RemoveAll(dir)
			socket := filepath.Join(dir, "docker.sock")
			known, unknown := strings.Repeat("0a1b2c3d", 8), strings.Repeat("9f8e7d6c", 8)
			asked := engineAt(t, socket, func(id string) string {
				if id == known {
					return "web \x1b[31m\u202eghp_0123456789abcdefghijklmnopqrstuvwxyz"
				}
				return ""
			})
			m.naming.engines.Saw(socket)
			r := opened(t, m, "x")
			for _, id := range []string{known, unknown} {
				folder := cgroup(t, "docker/"+id)
				// netlink reads of a process where it is from /proc: it must live until then.
				leave := stay(t, folder)
				text, _ := redact.HexID(id)
				for until := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
					seen := false
					m.locked(func() { _, seen = r.inContainer[text] })
					if seen {
						break
					}
					if time.Now().After(until) {
						t.Fatal("a container that lives is not told of")
					}
				}
				leave()
				for range 8 {
					enter(t, folder, id[:4])
				}
				removed(t, folder)
			}
			if err := m.settle(); err != nil {
				t.Fatal(err)
			}
			m.finish(r, Closing{}, "")
			tree := process.NewTree(1 << 10)
			paths, answers := 0, 0
			for _, ev := range events(t, r) {
				tree.Apply(&ev)
				if ev.Kind != event.Container {
					continue
				}
				if !ev.OK {
					paths++
					continue
				}
				answers++
				switch ev.Container.String() {
				case known:
					if n := ev.Name.String(); !strings.HasPrefix(n, "web ") || strings.Contains(n, "0123456789abcdefghij") {
						t.Errorf("it is called %q", n)
					}
					if !ev.ContainerImage.Is("shop:1.2") || ev.SHA256.IsZero() || ev.Detail != imageID {
						t.Errorf("image %q, %v, %q", ev.ContainerImage, ev.SHA256, ev.Detail)
					}
				case unknown:
					if !ev.Name.IsZero() || ev.Detail.IsZero() {
						t.Errorf("of what no engine knows: %q, %q", ev.Name, ev.Detail)
					}
				}
			}
			// An engine that answers late is asked again, never for each exec.
			if n := asked.Load(); paths != 2 || answers != 2 || n < 1 || n > int64(1+len(askOnceMore)) {
				t.Errorf("%d containers, %d answers, asked %d times", paths, answers, asked.Load())
			}
			told := 0
			for c := range tree.Containers() {
				if c.Told {
					told++
				}
			}
			if told != 2 {
				t.Errorf("the tree knows what %d are called", told)
			}
		})
	}
}

func TestANamedContainerIsToldAtOnceToALaterRecording(t *testing.T) {
	n := newNaming(t.TempDir())
	id, _ := redact.HexID(strings.Repeat("0a1b2c3d", 8))
	if c := n.of(id); c.asked || len(n.asks) != 1 {
		t.Fatalf("%+v, %d wait", c, len(n.asks))
	}
	n.of(id)
	n.of(id).asked, n.of(id).answer = true, engine.Answer{Name: "web"}
	for i := range 3*maxNamed - 10 {
		other := redact.Concat(redact.Const("x"), redact.Uint(uint64(i)))
		if c := n.of(other); i > maxAsks && !c.asked {
			t.Fatalf("%d: what finds no room to be asked for is waited for", i)
		}
		if i%1000 == 0 && n.of(id).answer.Name != "web" {
			t.Fatalf("after %d others the answer is forgotten", i)
		}
		if len(n.known) > maxNamed || len(n.before) > maxNamed {
			t.Fatalf("%d and %d are kept", len(n.known), len(n.before))
		}
	}
	if len(n.asks) > maxAsks {
		t.Errorf("%d wait", len(n.asks))
	}
}
