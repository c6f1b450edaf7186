package engine

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only what root owns is asked: sudo -E go test ./pkg/engine")
	}
}

// listening has h answer at a socket of that path below a root, and returns the
// root.
func listening(t *testing.T, path string, h http.Handler) string {
	t.Helper()
	needRoot(t)
	root, err := os.MkdirTemp("/tmp", "engine-") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(root) })
	if err := os.MkdirAll(filepath.Dir(root+path), 0o755); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", root+path)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(h)
	s.Listener = l
	s.Start()
	t.Cleanup(s.Close)
	return root
}

const container = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

var (
	imageID  = "sha256:" + strings.Repeat("11", 32)
	baseID   = "sha256:" + strings.Repeat("22", 32)
	inRemote = "sha256:" + strings.Repeat("33", 32)
)

// docker answers as Docker does, of what it has by path.
type docker map[string]any

func (d docker) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v, ok := d[r.URL.Path]
	if !ok || r.Method != http.MethodGet {
		http.Error(w, `{"message":"No such container"}`, http.StatusNotFound)
		return
	}
	_ = json.NewEncoder(w).Encode(v)
}

type object = map[string]any

func TestWhatAnEngineCallsAContainer(t *testing.T) {
	inspected := func(name, image, id string) []object {
		return []object{{"Id": imageID, "Names": []string{"/other"}}, {"Id": container, "Names": []string{"/app/" + name, "/" + name}, "Image": image, "ImageID": id}}
	}
	const at = "/containers/json"
	for _, c := range []struct {
		what   string
		says   docker
		want   Answer
		digest string
	}{
		{"of an image that was built here", docker{
			at: inspected("web", "shop:1.2", imageID), "/images/" + imageID + "/json": object{"Id": imageID, "RepoTags": []string{"shop:1.2"}},
		}, Answer{Name: "web", Image: "shop:1.2"}, imageID},
		{"of an image that was pulled", docker{
			at: inspected("db", "registry.example:5000/a/db:9", imageID),
			"/images/" + imageID + "/json": object{"Id": imageID, "RepoTags": []string{"other:1"},
				"RepoDigests": []string{"other@" + baseID, "registry.example:5000/a/db@" + inRemote}},
		}, Answer{Name: "db", Image: "registry.example:5000/a/db:9", Registry: true}, inRemote},
		{"of an image that was named by its digest", docker{
			at: inspected("db", "db@"+inRemote, imageID), "/images/" + imageID + "/json": object{"Id": imageID},
		}, Answer{Name: "db", Image: "db", Registry: true}, inRemote},
		{"of a step of a build", docker{
			at:                             inspected("eager_bell", imageID, imageID),
			"/images/" + imageID + "/json": object{"Id": imageID, "Parent": baseID},
			"/images/" + baseID + "/json":  object{"Id": baseID, "RepoTags": []string{"base:3"}},
		}, Answer{Name: "eager_bell", Image: "base:3"}, imageID},
		{"of an image that was removed", docker{at: inspected("web", "shop:1.2", imageID)}, Answer{Name: "web", Image: "shop:1.2"}, imageID},
		{"of one that was removed when it ended", docker{
			at:                      []object{},
			"/events":               object{"Type": "container", "Action": "create", "Actor": object{"ID": container, "Attributes": object{"name": "brief", "image": "shop:1.2"}}},
			"/images/shop:1.2/json": object{"Id": imageID},
		}, Answer{Name: "brief", Image: "shop:1.2"}, imageID},
		{"of none whose parent is itself", docker{
			at: inspected("x", imageID, imageID), "/images/" + imageID + "/json": object{"Id": imageID, "Parent": imageID},
		}, Answer{Name: "x"}, imageID},
	} {
		for _, socket := range []string{"/run/docker.sock", "/run/podman/podman.sock", "/srv/here/docker.sock"} {
			t.Run(c.what+" "+socket, func(t *testing.T) {
				e := New(listening(t, socket, c.says))
				e.Saw(socket)
				got, err := e.Ask(t.Context(), container)
				if err != nil {
					t.Fatal(err)
				}
				if d := "sha256:" + hex.EncodeToString(got.Digest[:]); d != c.digest {
					t.Errorf("digest %s, want %s", d, c.digest)
				}
				c.want.Digest = got.Digest
				if got != c.want {
					t.Errorf("%+v, want %+v", got, c.want)
				}
			})
		}
	}
}

func TestAnEngineIsAskedUpToNowAndNotLater(t *testing.T) {
	var until string
	e := New(listening(t, "/run/docker.sock", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/events" {
			until = r.URL.Query().Get("until")
			return
		}
		fmt.Fprint(w, "[]")
	})))
	if _, err := e.Ask(t.Context(), container); !errors.Is(err, ErrUnknown) {
		t.Errorf("%v", err)
	}
	var s, ns int64
	if _, err := fmt.Sscanf(until, "%d.%d", &s, &ns); err != nil || time.Until(time.Unix(s, ns)) > 0 {
		t.Errorf("until %q: an engine waits for what is still to come", until)
	}
}

func TestOnlyWhatRootOwnsIsAsked(t *testing.T) {
	asked := 0
	h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked++
		_ = json.NewEncoder(w).Encode([]object{{"Id": container, "Names": []string{"/evil"}}})
	})
	for what, change := range map[string]func(path string) error{
		"a socket of somebody's": func(path string) error { return os.Chown(path, 1000, 1000) },
		"a link to a socket": func(path string) error {
			return errors.Join(os.Rename(path, path+".real"), os.Symlink(path+".real", path))
		},
		"a file": func(path string) error { return errors.Join(os.Remove(path), os.WriteFile(path, nil, 0o600)) },
	} {
		t.Run(what, func(t *testing.T) {
			root := listening(t, "/run/docker.sock", h)
			if err := change(root + "/run/docker.sock"); err != nil {
				t.Fatal(err)
			}
			if a, err := New(root).Ask(t.Context(), container); !errors.Is(err, ErrUnknown) || a != (Answer{}) {
				t.Errorf("%+v, %v", a, err)
			}
		})
	}
	if asked != 0 {
		t.Errorf("%d requests were made", asked)
	}
}

func TestAnswersAreBoundedInSizeAndTime(t *testing.T) {
	long := strings.Repeat("\u00e9\xff", 4000)
	for what, h := range map[string]http.HandlerFunc{
		"a long name": func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(w, `[{"Id":"%s","Names":["/%s"],"Image":"%s"}]`, container, long, long)
		},
		"no end": func(w http.ResponseWriter, _ *http.Request) {
			for {
				if _, err := w.Write([]byte(strings.Repeat(" ", 1<<16))); err != nil {
					return
				}
			}
		},
		"nothing": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"no JSON": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") },
	} {
		t.Run(what, func(t *testing.T) {
			e := New(listening(t, "/run/docker.sock", h))
			ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
			defer cancel()
			a, err := e.Ask(ctx, container)
			if what != "a long name" {
				if !errors.Is(err, ErrUnknown) {
					t.Errorf("%+v, %v", a, err)
				}
				return
			}
			if err != nil || len(a.Name) > maxText || len(a.Image) > maxText || !utf8.ValidString(a.Name+a.Image) || len(a.Name) < maxText/2 {
				t.Errorf("%d and %d bytes, %v", len(a.Name), len(a.Image), err)
			}
		})
	}
}

func TestWhatIsNoIDIsNotAsked(t *testing.T) {
	e := New(listening(t, "/run/docker.sock", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("asked for %s", r.URL)
	})))
	for _, id := range []string{"", "3s7kd2jx9qz81mfh4tbn06wyc", strings.Repeat("a", 63), container[:62] + "/x", strings.ToUpper(container)} {
		if _, err := e.Ask(t.Context(), id); !errors.Is(err, ErrUnknown) {
			t.Errorf("%q: %v", id, err)
		}
	}
}

func TestSocketsThatClientsConnectTo(t *testing.T) {
	e := New("")
	for _, p := range []string{"/var/run/docker.sock", "/run/docker.sock", "/run/podman/podman.sock", "docker.sock", "/x/other.sock", "/" + strings.Repeat("x", 200) + "/docker.sock", "/srv/docker.sock", "/srv/docker.sock"} {
		e.Saw(p)
	}
	if len(e.seen) != 1 || e.seen[0] != "/srv/docker.sock" {
		t.Errorf("%q", e.seen)
	}
	for i := range 100 {
		e.Saw(fmt.Sprintf("/s%d/docker.sock", i))
	}
	if len(e.seen) != maxSockets {
		t.Errorf("%d sockets are kept", len(e.seen))
	}
}

func TestTheStateOfEnginesThatCannotBeAsked(t *testing.T) {
	needRoot(t)
	cri := `{"ociVersion":"1.1.0","annotations":{"io.kubernetes.cri.container-type":"container","io.kubernetes.cri.container-name":"app","io.kubernetes.cri.image-name":"registry.example/app:4@` + inRemote + `"}}`
	list := `[{"id":"` + strings.Repeat("f", 64) + `","names":["other"]},{"id":"` + container + `","names":["web"],"image":"` + strings.Repeat("11", 32) + `","metadata":"{\"name\":\"web\",\"image-name\":\"docker.io/library/web:1\"}"}]`
	for _, c := range []struct {
		what, path, text string
		mode             os.FileMode
		want             Answer
		known            bool
	}{
		{"containerd under Kubernetes", containerdTasks + "/k8s.io/" + container + "/config.json", cri, 0o600, Answer{Name: "app", Image: "registry.example/app:4", Registry: true}, true},
		{"its sandbox", containerdTasks + "/k8s.io/" + container + "/config.json", `{"annotations":{"io.kubernetes.cri.container-type":"sandbox","io.kubernetes.cri.sandbox-name":"pod-1"}}`, 0o600, Answer{Name: "sandbox of pod-1"}, true},
		{"nerdctl", containerdTasks + "/default/" + container + "/config.json", `{"annotations":{"nerdctl/name":"web"}}`, 0o644, Answer{Name: "web"}, true},
		{"CRI-O", runStorage + "/overlay-containers/" + container + "/userdata/config.json", `{"annotations":{"io.kubernetes.container.name":"app","io.kubernetes.cri-o.ImageName":"q/app:1"}}`, 0o600, Answer{Name: "app", Image: "q/app:1"}, true},
		{"Podman", store + "/overlay-containers/containers.json", list, 0o600, Answer{Name: "web", Image: "docker.io/library/web:1"}, true},
		{"Podman with --rm", store + "/vfs-containers/volatile-containers.json", list, 0o600, Answer{Name: "web", Image: "docker.io/library/web:1"}, true},
		{"without annotations", containerdTasks + "/moby/" + container + "/config.json", `{}`, 0o600, Answer{}, false},
		{"no JSON", containerdTasks + "/moby/" + container + "/config.json", `{`, 0o600, Answer{}, false},
		{"what others can write", containerdTasks + "/k8s.io/" + container + "/config.json", cri, 0o666, Answer{}, false},
	} {
		t.Run(c.what, func(t *testing.T) {
			root := t.TempDir()
			file := root + c.path
			if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(c.text), 0o600), os.Chmod(file, c.mode)); err != nil {
				t.Fatal(err)
			}
			got, err := New(root).Ask(t.Context(), container)
			got.Digest = [32]byte{}
			if got != c.want || (err == nil) != c.known {
				t.Errorf("%+v, %v, want %+v", got, err, c.want)
			}
			if err := os.Chown(file, 1000, 1000); err != nil {
				t.Fatal(err)
			}
			if got, err := New(root).Ask(t.Context(), container); err == nil {
				t.Errorf("of a file of somebody's: %+v", got)
			}
		})
	}
}

// What is read may be anything.
func FuzzAnswer(f *testing.F) {
	f.Add([]byte("HTTP/1.0 200 OK\r\nA: b\r\n\r\n{}"))
	f.Add([]byte("HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n"))
	f.Add([]byte(`{"Type":"container","Actor":{"ID":"` + container + `","Attributes":{"name":"x","image":"y"}}}{"Type":`))
	f.Add([]byte(`{"annotations":{"nerdctl/name":"web","io.kubernetes.cri.image-name":"x@sha256:00"}}`))
	f.Add([]byte(`[{"id":"` + container + `","names":["w"],"metadata":"{","image":"00"}]`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var list []listed
		if json.Unmarshal(b, &list) == nil {
			for i := range list {
				_ = list[i].name()
			}
		}
		if status, body, err := response(b); err == nil && (status < 100 || status > 999 || len(body) > len(b)) {
			t.Errorf("status %d, %d bytes", status, len(body))
		}
		if name, _, ok := pastOf(b, container); ok && name == "" {
			t.Error("an event without a name")
		}
		for _, read := range []func() (Answer, bool){
			func() (Answer, bool) { return inSpec(b) },
			func() (Answer, bool) { return inList(b, container) },
		} {
			a, ok := read()
			if a = a.bounded(); ok && (a.Name == "" || len(a.Name) > maxText || len(a.Image) > maxText || !utf8.ValidString(a.Name+a.Image)) {
				t.Errorf("%+v", a)
			}
		}
	})
}
