package monitor

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/org/edamame-posture/pkg/agent"
	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/redact"
)

// Bounds of what agents wrote of their sessions.
const (
	maxTranscripts    = 64              // of a recording
	transcriptsWithin = 2 * time.Second // reading them all: a file system may be slow, or the job's own
)

// transcript is a file in which an agent says that it writes down its session.
type transcript struct {
	agent, session string
	path           string
	root           event.Actor // the agent's process
	uid, gid       uint32      // of who said so, by the kernel's word

	said agent.Transcript
	err  error
}

// transcripts are those of a recording.
type transcripts struct {
	all  []transcript
	left uint64 // for which there was no room
}

// add takes the files that a declaration names, each once.
func (t *transcripts) add(name string, said *agent.Declaration, root event.Actor, who speaker) {
	for _, p := range said.Transcripts {
		switch {
		case slices.ContainsFunc(t.all, func(have transcript) bool {
			return have.path == p && have.session == said.Session && have.agent == name
		}):
		case len(t.all) >= maxTranscripts:
			t.left++
		default:
			t.all = append(t.all, transcript{agent: name, session: said.Session, path: p, root: root, uid: who.uid, gid: who.gid})
		}
	}
}

// readTranscripts reads what the agents of a recording wrote, each as the user
// whose agent it was. It waits for transcriptsWithin at the most.
func (m *Monitor) readTranscripts(r *recording) []transcript {
	var all []transcript
	m.locked(func() { all = slices.Clone(r.transcripts.all) })
	if len(all) == 0 {
		return nil
	}
	read := make(chan transcript, len(all))
	go func() {
		// Whose rights a thread has is its own matter; this one has a user's, and
		// ends with the goroutine.
		runtime.LockOSThread()
		for _, t := range all {
			t.read()
			read <- t
		}
	}()
	end := time.NewTimer(transcriptsWithin)
	defer end.Stop()
	for i := range all {
		select {
		case all[i] = <-read:
		case <-end.C:
			for j := i; j < len(all); j++ {
				all[j].err = errors.New("it took too long to read")
			}
			return all
		}
	}
	return all
}

var errOthers = errors.New("it is not the file of the user whose agent it was, or has other names")

// read reads it with the rights of its user. It is for a thread that has no other
// use.
func (t *transcript) read() {
	if os.Geteuid() == 0 {
		if t.err = become(t.uid, t.gid); t.err != nil {
			return
		}
	}
	// A link on the way would lead to what the user's agent did not write.
	fd, err := unix.Openat2(unix.AT_FDCWD, t.path, &unix.OpenHow{Flags: wayFlags | unix.O_NOFOLLOW, Resolve: unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS})
	if err != nil {
		t.err = err
		return
	}
	defer unix.Close(fd)
	st, _, err := stat(fd)
	if err != nil {
		if t.err = err; errors.Is(err, unix.EINVAL) {
			t.err = errors.New("it is not a regular file")
		}
		return
	}
	if st.Uid != t.uid || st.Nlink != 1 {
		t.err = errOthers
		return
	}
	// The way was opened; this opens what it leads to, whatever the name is now.
	f, err := os.OpenFile(fmt.Sprintf("/proc/thread-self/fd/%d", fd), unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		t.err = err
		return
	}
	defer f.Close()
	t.said, t.err = agent.ReadTranscript(t.agent, t.session, io.LimitReader(f, st.Size))
}

// become gives this thread the rights of a user over files, and root's none.
func become(uid, gid uint32) error {
	if _, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, 0, 0, 0); errno != 0 {
		return fmt.Errorf("without groups: %w", errno)
	}
	// The answer to each is what it was before, so it is asked twice.
	for range 2 {
		g, _ := unix.SetfsgidRetGid(int(gid))
		u, _ := unix.SetfsuidRetUid(int(uid))
		if uint32(g) == gid && uint32(u) == uid {
			return nil
		}
	}
	return errors.New("its user's rights could not be taken on")
}

// tellTranscripts writes what was read into the log.
func (r *recording) tellTranscripts(now int64, all []transcript) {
	for i := range all {
		t := &all[i]
		tell := func(detail redact.Text) *event.Event {
			ev := r.blank(event.Agent, now)
			ev.Actor, ev.Detail, ev.ToolSession = t.root, detail, r.red.String(t.session)
			ev.ToolAgent, _ = redact.Pick(agentTexts, t.agent)
			return ev
		}
		ev := tell(event.AgentTranscript)
		ev.Path = r.red.Path([]byte(t.path))
		if t.err != nil {
			ev.Name = r.red.String(t.err.Error())
			r.append(ev)
			continue
		}
		ev.Count = uint64(len(t.said.Calls))
		// Lines of another session are no loss.
		ev.Lost = t.said.More + t.said.Unread
		if t.said.Cut {
			ev.Lost++
		}
		r.append(ev)
		for _, c := range t.said.Calls {
			ev := tell(event.AgentWritten)
			ev.ToolCall, ev.Name, ev.OK = r.red.String(c.Call), r.red.String(c.Name), c.Done
			r.append(ev)
		}
	}
	if r.transcripts.left > 0 {
		r.note(redact.Const("transcripts of agents for which there was no room"), r.transcripts.left)
	}
}
