package report

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/judge"
	"github.com/org/edamame-posture/pkg/process"
)

// Container is a container in which something of the recording ran. All but the
// id is its engine's word.
type Container struct {
	ID, Name, Image string
	// Digest is the SHA-256 in hex that Of speaks of; where there is no name, Of
	// says why nothing is known.
	Digest, Of            string
	Programs, Connections uint64
}

// maxContainers bounds the containers that are listed.
const maxContainers = 200

// within counts what is done in a container.
type within struct{ programs, connections uint64 }

func (c *collector) contained(ev *event.Event, j *judge.Judge) {
	if ev.Via == event.ViaMonitor || ev.Kind != event.Exec && ev.Kind != event.Connect {
		return
	}
	n := j.Tree().Get(ev.Actor)
	if n == nil || n.In() == nil {
		return
	}
	w := c.within[n.In()]
	if w == nil {
		w = new(within)
		c.within[n.In()] = w
	}
	if ev.Kind == event.Exec {
		w.programs++
	} else {
		w.connections++
	}
}

func (c *collector) containers(tree *process.Tree) {
	d := &c.data
	for in := range tree.Containers() {
		w := c.within[in]
		if w == nil {
			continue
		}
		if len(d.Containers) == maxContainers {
			d.ContainersLeft++
			continue
		}
		out := Container{ID: in.ID.String(), Name: in.Name.String(), Image: in.Image.String(), Of: in.Of.String(), Programs: w.programs, Connections: w.connections}
		if !in.Digest.IsZero() {
			out.Digest = hex.EncodeToString(in.Digest[:])
		}
		d.Containers = append(d.Containers, out)
		c.story.words.rename(out.ID, out.called())
	}
}

// short is how much of an id or digest is shown where there is little room, as
// Docker does.
func short(s string) string { return s[:min(len(s), 12)] }

// called is what a person calls the container.
func (c *Container) called() string {
	if c.Name == "" {
		return c.ID
	}
	s := c.Name
	if c.Image != "" {
		s += " (" + c.Image + ")"
	}
	return s + " " + short(c.ID)
}

func (c *Container) image() string {
	s := cmp.Or(c.Image, "image not known")
	if c.Digest != "" {
		s += " sha256:" + short(c.Digest)
	}
	return s
}

func (t *terminal) containers() section {
	if len(t.d.Containers) == 0 {
		return section{}
	}
	s := section{title: "containers", sum: number(uint64(len(t.d.Containers)) + t.d.ContainersLeft), keep: 6, floor: 2}
	s.more = int(min(t.d.ContainersLeft, 1<<30))
	for i := range t.d.Containers {
		c := &t.d.Containers[i]
		l := cutEnd(t.show(cmp.Or(c.Name, short(c.ID))), t.opt.Width/3)
		if c.Name != "" {
			l += "  " + t.show(c.image())
		}
		s.lines = append(s.lines, l+fmt.Sprintf("  %s, %s", count(c.Programs, "program start", "program starts"), count(c.Connections, "connection", "connections")))
	}
	return s
}

func (m *markdown) containers() {
	if len(m.d.Containers) == 0 {
		return
	}
	var rows [][]string
	for i := range m.d.Containers {
		c := &m.d.Containers[i]
		digest := ""
		if c.Digest != "" {
			digest = code("sha256:"+c.Digest) + " " + text(c.Of)
		}
		name := code(cutEnd(c.Name, 100))
		if c.Name == "" {
			name = text(strings.TrimSpace(c.Of))
		}
		rows = append(rows, []string{name, code(cutEnd(c.Image, 200)), digest, code(short(c.ID)), number(c.Programs), number(c.Connections)})
	}
	m.fold(count(uint64(len(m.d.Containers))+m.d.ContainersLeft, "container", "containers"), func() {
		m.table([]string{"Name", "Image", "Digest", "Id", "Program starts", "Connections"}, rows, m.d.ContainersLeft)
	})
}
