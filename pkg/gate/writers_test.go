package gate

import (
	"fmt"
	"strings"
	"testing"
)

// shell is a job of make (pid 20) in which sh (21), npm (22, with tar, 23,
// below it) and evil (24) run.
var shell = []string{
	`{"kind":"fork","actor":{"pid":21,"start":91},"parent":{"pid":20,"start":90,"image":1}}`,
	`{"kind":"exec","actor":{"pid":21,"start":91,"image":1},"exe":"/usr/bin/dash","filename":"/usr/bin/dash","argv":["dash","x.sh"],"argv_bytes":10,"cwd":"/w"}`,
	`{"kind":"fork","actor":{"pid":22,"start":92},"parent":{"pid":20,"start":90,"image":1}}`,
	`{"kind":"exec","actor":{"pid":22,"start":92,"image":1},"exe":"/usr/bin/npm","filename":"/usr/bin/npm","argv":["npm","pack"],"argv_bytes":9,"cwd":"/w"}`,
	`{"kind":"fork","actor":{"pid":23,"start":93},"parent":{"pid":22,"start":92,"image":1}}`,
	`{"kind":"exec","actor":{"pid":23,"start":93,"image":1},"exe":"/usr/bin/tar","filename":"/usr/bin/tar","argv":["tar","c"],"argv_bytes":6,"cwd":"/w"}`,
	`{"kind":"fork","actor":{"pid":24,"start":94},"parent":{"pid":20,"start":90,"image":1}}`,
	`{"kind":"exec","actor":{"pid":24,"start":94,"image":1},"exe":"/tmp/evil","filename":"/tmp/evil","argv":["evil"],"argv_bytes":5,"cwd":"/w"}`,
}

// did is what process pid of shell does to a file.
func did(kind string, pid int, inode int, rest string) string {
	return fmt.Sprintf(`{"kind":%q,"actor":{"pid":%d,"start":%d,"image":1},%s,"file":{"dev":1,"inode":%d}`, kind, pid, 70+pid, rest, inode)
}

func made(pid, inode int, path string) string {
	return did("open", pid, inode, fmt.Sprintf(`"path":%q`, path)) + `,"access":["write","create"]}`
}

func opened(pid, inode int, path string) string {
	return did("open", pid, inode, fmt.Sprintf(`"path":%q`, path)) + `,"access":["write"]}`
}

func truncated(pid, inode int, path string) string {
	return did("open", pid, inode, fmt.Sprintf(`"path":%q`, path)) + `,"access":["write","truncate"]}`
}

func again(pid, inode int) string {
	return fmt.Sprintf(`{"kind":"open","actor":{"pid":%d,"start":%d,"image":1},"file":{"dev":1,"inode":%d},"access":["write"],"count":3}`, pid, 70+pid, inode)
}

func renamed(pid, inode int, from, to string) string {
	return did("rename", pid, inode, fmt.Sprintf(`"path":%q,"new_path":%q`, from, to)) + "}"
}

func linked(pid, inode int, from, to, how string) string {
	return fmt.Sprintf(`{"kind":"link","actor":{"pid":%d,"start":%d,"image":1},"path":%q,"new_path":%q,"file":{"dev":1,"inode":%d},"detail":%q}`, pid, 70+pid, from, to, inode, how)
}

func unlinked(pid, inode int, path string) string {
	return did("unlink", pid, inode, fmt.Sprintf(`"path":%q`, path)) + "}"
}

func TestWhoWroteAnArtifactIsFoundInTheLog(t *testing.T) {
	by, public := newKey(t)
	const at = "/w/dist/app.tgz"
	for name, c := range map[string]struct {
		lines  []string
		by     string
		reason Reason // empty: it passes
		says   string
	}{
		"by what npm started":                {[]string{made(23, 7, at)}, "npm", "", "tar of npm"},
		"by the program itself":              {[]string{made(23, 7, at)}, "tar", "", "tar of npm"},
		"by a path":                          {[]string{made(23, 7, at)}, "/usr/bin/tar", "", "tar"},
		"by one of several":                  {[]string{made(23, 7, at), again(22, 7)}, "gzip, tar, npm", "", "2 times"},
		"truncated":                          {[]string{truncated(23, 7, at)}, "tar", "", "tar"},
		"renamed into its place":             {[]string{made(23, 7, "/w/tmp.123"), renamed(23, 7, "/w/tmp.123", at)}, "tar", "", "2 times"},
		"with its folder":                    {[]string{made(23, 7, "/w/out/app.tgz"), renamed(23, 8, "/w/out", "/w/dist")}, "tar", "", "2 times"},
		"linked into its place":              {[]string{made(23, 7, "/w/tmp.123"), linked(23, 7, "/w/tmp.123", at, "hard")}, "tar", "", "2 times"},
		"behind a symbolic link":             {[]string{linked(21, 9, "build/out", "/w/dist", "symbolic"), made(23, 7, "/w/build/out/app.tgz")}, "tar", "", "tar"},
		"anew, after another was removed":    {[]string{made(24, 7, at), unlinked(21, 7, at), made(23, 7, at)}, "tar", "", "1 times"},
		"anew, over another":                 {[]string{made(24, 6, at), made(23, 7, "/w/t"), renamed(23, 7, "/w/t", at)}, "tar", "", "2 times"},
		"where others write beside it":       {[]string{made(23, 7, at), made(24, 8, at+".sig"), made(24, 9, "/w/dist/app")}, "tar", "", "tar"},
		"by another path":                    {[]string{made(23, 7, at)}, "/usr/local/bin/tar", OtherWriter, "tar of npm"},
		"fetched by another program":         {[]string{made(24, 7, at)}, "npm", OtherWriter, "evil"},
		"by a later one too":                 {[]string{made(23, 7, at), opened(24, 7, at)}, "npm", OtherWriter, "opened for writing by evil"},
		"by an earlier one, which may go on": {[]string{made(24, 7, at), truncated(23, 7, at)}, "npm", OtherWriter, "evil"},
		"by another link to it":              {[]string{made(23, 7, at), linked(24, 7, at, "/tmp/x", "hard"), opened(24, 7, "/tmp/x")}, "npm", OtherWriter, "evil"},
		"by one of other names":              {[]string{made(24, 7, "/tmp/a"), renamed(24, 7, "/tmp/a", "/tmp/b"), linked(23, 7, "/tmp/b", at, "hard")}, "npm", OtherWriter, "evil"},
		"by one who was told of once":        {[]string{made(23, 7, at), again(24, 7)}, "npm", OtherWriter, "evil"},
		"by who moved another there":         {[]string{made(23, 7, at), made(23, 8, "/w/b"), renamed(24, 8, "/w/b", at)}, "npm", OtherWriter, "renamed by evil"},
		"in a folder that was exchanged":     {[]string{made(23, 7, at), made(24, 8, "/w/x/app.tgz"), renamed(24, 1, "/w/x", "/w/dist")}, "npm", OtherWriter, "evil"},
		"by a process of which nothing is known": {[]string{made(23, 7, at), `{"kind":"open","actor":{"pid":99,"start":1},"path":"` + at + `","file":{"dev":1,"inode":7},"access":["write"]}`},
			"npm", OtherWriter, "nobody who is known"},
		"by nobody":                       {nil, "npm", WriterUnknown, "nobody who made it"},
		"in another folder":               {[]string{made(23, 7, "/x/dist/app.tgz")}, "npm", WriterUnknown, "nobody who made it"},
		"to a file that was there before": {[]string{opened(23, 7, at)}, "npm", WriterUnknown, "there before"},
		"and moved away":                  {[]string{made(23, 7, at), renamed(23, 7, at, "/w/dist/b")}, "npm", WriterUnknown, "nobody who made it"},
		"and removed":                     {[]string{made(23, 7, at), unlinked(23, 7, at)}, "npm", WriterUnknown, "nobody who made it"},
		"in a log with a loss":            {[]string{made(23, 7, at), `{"kind":"gap","via":"monitor","sensor":"ebpf","detail":"ring","lost":2}`}, "npm", WriterUnknown, "2 events were lost"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := recorded(t, func(j *job) { j.more = append(append([]string{}, shell...), c.lines...) })
			sign(t, dir, by, statement(t, dir))
			policy := keyPolicy(t, public, "  subjects: {written-by: ["+c.by+"]}\n")
			d := decide(t, policy, nil, dir)
			got := named(t, d, "writer of dist/app.tgz")
			if !strings.Contains(got.Got, c.says) {
				t.Errorf("%q does not say %q", got.Got, c.says)
			}
			if c.reason == "" {
				passes(t, d, E1)
			} else {
				refuses(t, d, c.reason)
			}
		})
	}
}

func TestATangleOfNamesIsGivenUp(t *testing.T) {
	by, public := newKey(t)
	dir := recorded(t, func(j *job) {
		j.more = append([]string{}, shell...)
		for i := range maxWanted + 1 {
			j.more = append(j.more, linked(24, 7, fmt.Sprintf("/tmp/%d", i), "/w/dist/app.tgz", "hard"))
		}
	})
	sign(t, dir, by, statement(t, dir))
	d := decide(t, keyPolicy(t, public, "  subjects: {written-by: tar}\n"), nil, dir)
	if got := named(t, d, "writer of dist/app.tgz"); got.Reason != WriterUnknown || !strings.Contains(got.Got, "names") {
		t.Errorf("%+v", got)
	}
}
