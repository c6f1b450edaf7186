package fact

import (
	"github.com/org/edamame-posture/pkg/credential"
	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/names"
	"github.com/org/edamame-posture/pkg/redact"
)

// owns reports whether reading this class is the business of the program.
func owns(class redact.Text, program string) bool {
	c, ok := credential.Lookup(class.String())
	return ok && c.OwnedBy(program)
}

// settings reports whether the program reads the file for its settings, which
// is no step of a chain.
func settings(class, path redact.Text, program string) bool {
	c, ok := credential.Lookup(class.String())
	return ok && c.Settings(path.String(), program)
}

// coherent reports whether a credential of the class is of use at the host. A
// class that is not known is of use nowhere, and an address is never coherent.
func coherent(class, host redact.Text) bool {
	c, ok := credential.Lookup(class.String())
	return ok && c.Coherent(host.String())
}

// nameOf returns the name that the connection's peer has by now, and how it is
// known; empty for an address that has none that can be relied on.
//
// What the client says on the connection (TLS, HTTP) is its own choice, so an
// address with a borrowed name would pass for the host. It counts only where a
// resolver gave the address that name, or where no answer of any resolver was
// seen at all and nothing better can be had. Else the resolver's own name for
// the address stands, or the address itself.
func (f *Folder) nameOf(c *conn) (host, how redact.Text) {
	dst := c.key.dst.Addr()
	n := f.names.Lookup(c.node.Actor, dst, c.key.sock)
	if said := n.How == names.SNI || n.How == names.HTTP; said && !n.Backed && f.answered {
		n = f.names.Lookup(event.Actor{}, dst, 0)
	}
	switch n.How {
	case names.DNS, names.Hosts, names.SNI, names.HTTP:
		return n.Name, n.How.Text()
	}
	return redact.Text{}, redact.Text{}
}
