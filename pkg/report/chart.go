package report

import (
	"cmp"
	"fmt"
	"strings"
)

// Bounds of the chart: GitHub draws diagrams of at most 50,000 characters, and
// nobody reads one of more nodes.
const (
	maxNodes = 60
	maxLabel = 48
)

// chart draws which step went by which program to which destination, as
// GitHub's markdown draws it (Mermaid). The table below it has all of them.
func (m *markdown) chart() {
	c := chart{nodes: map[string]int{}, edges: map[[2]int]bool{}}
	for i := range m.d.Destinations {
		if d := &m.d.Destinations[i]; !d.Local {
			c.add(d)
		}
	}
	if len(c.nodes) == 0 {
		return
	}
	m.printf("```mermaid\nflowchart LR\n%s```\n\n", c.text.String())
	if c.left > 0 {
		m.printf("The chart leaves out %s.\n\n", count(c.left, "way", "ways"))
	}
}

type chart struct {
	text  strings.Builder
	nodes map[string]int // by kind and name
	edges map[[2]int]bool
	left  uint64
}

func (c *chart) add(d *Destination) {
	for _, by := range d.By {
		if len(by.Who) == 0 {
			continue
		}
		step, program := cmp.Or(by.Step, "the job"), by.Who[0]
		keys := [...]string{"step\x00" + step, "program\x00" + step + "\x00" + program, "destination\x00" + d.name()}
		fresh := 0
		for _, k := range keys {
			if _, ok := c.nodes[k]; !ok {
				fresh++
			}
		}
		if len(c.nodes)+fresh > maxNodes {
			c.left++
			continue
		}
		from := c.node(keys[0], "([", step, "])", Unlisted)
		by := c.node(keys[1], "[", program, "]", Unlisted)
		to := c.node(keys[2], "[[", d.name(), "]]", d.Standing)
		c.edge(from, by)
		c.edge(by, to)
	}
	c.left += d.ByLeft
}

// node draws a node that is not there yet, and returns its number. One that no
// policy declares says so: colour alone would not.
func (c *chart) node(key, left, label, right string, s Standing) int {
	n, ok := c.nodes[key]
	if ok {
		return n
	}
	n = len(c.nodes)
	c.nodes[key] = n
	label = cutMiddle(label, maxLabel)
	if s != Unlisted {
		label += ", " + string(s)
	}
	fmt.Fprintf(&c.text, "  n%d%s\"%s\"%s\n", n, left, mermaid(label), right)
	return n
}

func (c *chart) edge(from, to int) {
	if at := [2]int{from, to}; !c.edges[at] {
		c.edges[at] = true
		fmt.Fprintf(&c.text, "  n%d --> n%d\n", from, to)
	}
}

// mermaid shows s as text in a label. What ASCII letters, digits and a few
// harmless signs do not cover becomes one of Mermaid's own entities, so nothing
// ends the label, the diagram or the block of markdown that it stands in.
func mermaid(s string) string {
	var b strings.Builder
	for _, r := range visible(s) {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == ' ', r == '.', r == ',', r == '-', r >= 0x80:
			b.WriteRune(r)
		default:
			fmt.Fprintf(&b, "#%d;", r)
		}
	}
	return b.String()
}
