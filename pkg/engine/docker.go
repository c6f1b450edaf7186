package engine

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// maxBody bounds what is read of one answer in bytes.
	maxBody = 1 << 20
	// within is how long one answer may take.
	within = 2 * time.Second
	// maxBuilt bounds the layers of a build that are gone through for a name.
	maxBuilt = 32
	// longAgo is how far back an engine is asked for what it has forgotten since.
	// dockerd keeps its last 256 events (daemon/events).
	longAgo = 10 * time.Minute
)

var (
	errNotRoots = errors.New("the socket is not root's")
	errGone     = errors.New("not there")
)

// overSocket asks one engine by Docker's API.
func (e *Engines) overSocket(ctx context.Context, path, id string) (Answer, error) {
	s := e.root + path
	// To ask for one container (GET /containers/ID/json) would wait until it is
	// started: dockerd holds its lock so long.
	var list []listed
	if err := get(ctx, s, "/containers/json?"+url.Values{"all": {"true"}, "filters": {`{"id":{"` + id + `":true}}`}}.Encode(), &list); err != nil {
		return Answer{}, err
	}
	var a Answer
	ref := ""
	if i := slices.IndexFunc(list, func(c listed) bool { return c.ID == id }); i >= 0 {
		a.Name, a.Image, ref = list[i].name(), list[i].Image, list[i].ImageID
	} else {
		// It lived for a moment, and was removed when it ended.
		var err error
		if a.Name, a.Image, err = past(ctx, s, id); err != nil {
			return Answer{}, err
		}
	}
	if ref == "" {
		ref = a.Image
	}
	if ref == "" {
		return a, nil
	}
	image, err := inspect(ctx, s, ref)
	if err != nil {
		a.Digest, _ = digest(ref)
		return a, nil
	}
	a.Digest, _ = digest(image.ID)
	if _, nameless := digest(a.Image); nameless || a.Image == "" {
		a.Image = named(ctx, s, image)
	}
	// name@sha256:… says nothing that Digest does not.
	if name, pinned, ok := strings.Cut(a.Image, "@"); ok {
		if d, ok := digest(pinned); ok {
			a.Image, a.Digest, a.Registry = name, d, true
			return a, nil
		}
	}
	for _, r := range image.RepoDigests {
		if name, d, ok := strings.Cut(r, "@"); ok && name == repository(a.Image) {
			if d, ok := digest(d); ok {
				a.Digest, a.Registry = d, true
				break
			}
		}
	}
	return a, nil
}

// listed is what an engine says of a container in its list.
type listed struct {
	ID             string `json:"Id"`
	Names          []string
	Image, ImageID string
}

// name returns the container's own name: the others are those that links to it
// have, /OTHER/NAME.
func (c *listed) name() string {
	for _, n := range c.Names {
		if n = strings.TrimPrefix(n, "/"); n != "" && !strings.Contains(n, "/") {
			return n
		}
	}
	return ""
}

// image is what an engine says of an image.
type image struct {
	ID                    string `json:"Id"`
	Parent                string
	RepoTags, RepoDigests []string
}

func inspect(ctx context.Context, socket, ref string) (i image, err error) {
	return i, get(ctx, socket, "/images/"+url.PathEscape(ref)+"/json", &i)
}

// named returns a name of an image, or of the nearest that it was built on.
func named(ctx context.Context, socket string, i image) string {
	for range maxBuilt {
		if len(i.RepoTags) > 0 {
			return i.RepoTags[0]
		}
		if i.Parent == "" {
			break
		}
		up, err := inspect(ctx, socket, i.Parent)
		if err != nil {
			break
		}
		i = up
	}
	return ""
}

// repository returns an image's name without its tag.
func repository(name string) string {
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		return name[:i]
	}
	return name
}

// digest reads "sha256:" and 64 digits.
func digest(s string) (d [32]byte, ok bool) {
	s, ok = strings.CutPrefix(s, "sha256:")
	if !ok || len(s) != 64 {
		return d, false
	}
	b, err := hex.DecodeString(s)
	copy(d[:], b)
	return d, err == nil
}

// past asks what an engine remembers of a container that is there no more.
func past(ctx context.Context, socket, id string) (name, image string, err error) {
	now := time.Now()
	q := url.Values{
		"since":   {strconv.FormatInt(now.Add(-longAgo).Unix(), 10)},
		"until":   {fmt.Sprintf("%d.%09d", now.Unix(), now.Nanosecond())}, // a later one is waited for
		"filters": {`{"container":{"` + id + `":true}}`},
	}
	body, err := fetch(ctx, socket, "/events?"+q.Encode())
	if err != nil {
		return "", "", err
	}
	name, image, ok := pastOf(body, id)
	if !ok {
		return "", "", errGone
	}
	return name, image, nil
}

// pastOf reads events, one JSON object after another, for the name and image
// of a container. It takes what it can of a body that was cut.
func pastOf(body []byte, id string) (name, image string, ok bool) {
	for d := json.NewDecoder(bytes.NewReader(body)); ; {
		var e struct {
			Type  string
			Actor struct {
				ID         string
				Attributes map[string]string
			}
		}
		if d.Decode(&e) != nil {
			return "", "", false
		}
		if e.Type == "container" && e.Actor.ID == id && e.Actor.Attributes["name"] != "" {
			return e.Actor.Attributes["name"], e.Actor.Attributes["image"], true
		}
	}
}

// get asks for a JSON object.
func get(ctx context.Context, socket, path string, v any) error {
	body, err := fetch(ctx, socket, path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, v); err != nil {
		return fmt.Errorf("%s: what it answers cannot be read: %w", socket, err)
	}
	return nil
}

// fetch makes one request. It is HTTP/1.0, so the answer comes as it is and ends
// with the connection, and nothing of net/http is needed in a process of root's.
func fetch(ctx context.Context, socket, path string) ([]byte, error) {
	c, err := dial(ctx, socket)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	end := time.Now().Add(within)
	if d, ok := ctx.Deadline(); ok && d.Before(end) {
		end = d
	}
	if err := c.SetDeadline(end); err != nil {
		return nil, err
	}
	if _, err := fmt.Fprintf(c, "GET %s HTTP/1.0\r\nHost: localhost\r\nUser-Agent: edamame-posture\r\n\r\n", path); err != nil {
		return nil, fmt.Errorf("%s: %w", socket, err)
	}
	b, err := io.ReadAll(io.LimitReader(c, maxBody))
	if err != nil && len(b) == 0 {
		return nil, fmt.Errorf("%s: %w", socket, err)
	}
	status, body, err := response(b)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", socket, err)
	case status == 404:
		return nil, fmt.Errorf("%s: %w", socket, errGone)
	case status != 200:
		return nil, fmt.Errorf("%s: it answers with status %d", socket, status)
	}
	return body, nil
}

// response takes an answer of HTTP/1.0 apart (RFC 1945 §6).
func response(b []byte) (status int, body []byte, err error) {
	head, body, whole := bytes.Cut(b, []byte("\r\n\r\n"))
	line, rest, _ := bytes.Cut(head, []byte("\r\n"))
	version, after, ok := bytes.Cut(line, []byte(" "))
	if !whole || !ok || !bytes.HasPrefix(version, []byte("HTTP/1.")) || len(after) < 3 {
		return 0, nil, errors.New("it does not speak HTTP")
	}
	if status, err = strconv.Atoi(string(after[:3])); err != nil || status < 100 {
		return 0, nil, errors.New("it does not speak HTTP")
	}
	if bytes.Contains(bytes.ToLower(rest), []byte("transfer-encoding:")) {
		return 0, nil, errors.New("it answers in pieces, which HTTP/1.0 has none of")
	}
	return status, body, nil
}

// dial connects to a socket that root owns and at whose other end root is. What
// is looked at is what is connected to: the path may lead elsewhere by then.
func dial(ctx context.Context, path string) (*net.UnixConn, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFSOCK || st.Uid != 0 {
		return nil, fmt.Errorf("%s: %w", path, errNotRoots)
	}
	var d net.Dialer
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	conn, err := d.DialContext(ctx, "unix", "/proc/self/fd/"+strconv.Itoa(fd))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, errors.Unwrap(err))
	}
	c := conn.(*net.UnixConn)
	if uid, err := peer(c); err != nil || uid != 0 {
		_ = c.Close()
		return nil, fmt.Errorf("%s: %w", path, errNotRoots)
	}
	return c, nil
}

// peer returns who made the other end, by SO_PEERCRED (unix(7)).
func peer(c *net.UnixConn) (uid uint32, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	uid = ^uint32(0)
	var asked error
	err = raw.Control(func(fd uintptr) {
		cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
		if asked = err; err == nil {
			uid = cred.Uid
		}
	})
	return uid, errors.Join(err, asked)
}

// readRoots reads a regular file that root owns and nobody else can write.
func readRoots(path string, limit int64) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return nil, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Uid != 0 || st.Mode&0o022 != 0 {
		return nil, fmt.Errorf("%s: not root's", path)
	}
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("%s: more than %d bytes", path, limit)
	}
	return b, err
}
