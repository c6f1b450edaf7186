// Package fact folds events into facts: (verb, who, object), such as "the
// install script of a package connects to host:443". A job of a million events
// comes to a few hundred facts, and only facts are explained, judged and
// learned from.
package fact

import (
	"net/netip"
	"slices"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/names"
	"github.com/org/edamame-posture/pkg/process"
	"github.com/org/edamame-posture/pkg/redact"
)

// Verb says what kind of behaviour a fact is.
type Verb uint8

// The verbs.
const (
	Exec       Verb = iota + 1 // ran a program; Object is its path class
	Connect                    // sent to a destination; Object is host:port
	Resolve                    // asked another resolver than the configured ones
	Write                      // wrote, created, renamed or changed a file
	Delete                     // removed a file
	Credential                 // read a file of a credential class
	Listen                     // listens on an address
	Power                      // took or used power over the machine
	Chain                      // a sequence that needs a grant of its own
	Request                    // made an HTTP request; only where a policy limits these
	Drift                      // a part of the machine's own state is another at the end; Object is its path
	Key                        // used a key that the policy does not name for the destination; only where it names one

	verbCount
)

var verbNames = [verbCount]string{"", "exec", "connect", "resolve", "write", "delete", "credential", "listen", "power", "chain", "request", "posture-drift", "key"}

// Verbs returns the words that stand in verdict.json.
func Verbs() []string { return slices.Clone(verbNames[1:]) }

// String returns the word that stands in verdict.json.
func (v Verb) String() string {
	if v < verbCount {
		return verbNames[v]
	}
	return "unknown"
}

// Place says where a written or executed file lies.
type Place uint8

// Places.
const (
	Elsewhere Place = iota
	Workspace       // below the working directory of the recording's root
	Temp            // /tmp, /var/tmp, /dev/shm, RUNNER_TEMP
	Cache           // below the user's cache folders
	Home            // elsewhere in the user's home
	System          // /usr, /bin, /lib, /opt and the like
)

// Fact is one behaviour. Facts of the same verb, lineage names, scope and
// object are one fact with a Count.
type Fact struct {
	Verb Verb
	// Node is the first image that did it; Who its lineage's names, the doer
	// first, at most 8.
	Node *process.Node
	Who  []redact.Text
	// Object is the canonical object: host:port/proto, a path with varying
	// parts folded, a credential class and path.
	//
	// A path below the workspace is relative to it, any other is absolute. A *
	// in it stands for a part of a name and ** for any number of names, which
	// differ from run to run; a pattern of a policy must cover the object as it
	// stands here, so that it covers all that was folded into it.
	Object redact.Text

	// Connect, Resolve and Listen.
	Host redact.Text // the name, lower case, no final dot; empty for a literal address
	How  redact.Text // how the name is known: dns, sni, http, hosts, literal
	// Addr is the first address. Its port is 0 where ports that the kernel
	// chose were folded, so that only a grant of any port covers them.
	Addr  netip.AddrPort
	Proto event.Proto

	// Write, Delete, Exec and Credential: the canonical path, as in Object.
	Path  redact.Text
	Place Place
	Fresh bool        // Exec: the file was written in this recording
	Class redact.Text // Credential: the class; Chain and Power: which one; Drift: what the file is for
	Taint redact.Text // Chain: the class of the credential that was read before

	// Request and Key: To is the object of the Connect fact that it belongs to, whose
	// Host, Addr and Proto it has too. Of a Request, Path is the request's own, without its query.
	To, Method redact.Text
	// Elsewhere: the request is for another host than its connection goes to, as
	// one to a proxy is, or it names two.
	Elsewhere bool

	// Unread tells of the connections of a Connect fact on which something was
	// sent that is no request of which the log tells. It is filled in where a
	// policy limits requests.
	Unread Unread

	Via         event.Via
	key         string // under which the folder knows it; empty where it does not
	First, Last int64
	Count       uint64

	Sent, Received       uint64
	Leaf                 uint64 // Seq of the first event
	Job, Step, Action    redact.Text
	Agent, ContainerName redact.Text
	// Session and Call are those of a coding agent, as [process.Node] has them;
	// Late: the call had ended.
	Session, Call redact.Text
	Late          bool

	images []*image // Exec: what ran, each once
	unseen bool     // Exec: something ran that is not among images
}

// Loopback reports whether a Connect, Resolve or Listen fact stays on this
// machine.
func (f *Fact) Loopback() bool {
	a := f.Addr.Addr().Unmap()
	return a.IsValid() && a.IsLoopback()
}

// EncryptedDNS returns doh, dot or doq where a Connect fact's destination is
// known as a resolver that hides the question; see [names.EncryptedDNS].
func (f *Fact) EncryptedDNS() redact.Text {
	if f.Verb != Connect {
		return redact.Text{}
	}
	return names.EncryptedDNS(f.Host, f.Addr, f.Proto)
}

// Scratch reports whether a Write or Delete fact lies in a folder for temporary
// files or caches. Such a fact needs no grant under any intent: every tool
// writes there, and a policy that had to list it would say nothing. A program
// that was written there and is run is told by its exec.
func (f *Fact) Scratch() bool {
	return (f.Verb == Write || f.Verb == Delete) && (f.Place == Temp || f.Place == Cache)
}

// Outside reports whether a Write or Delete fact lies neither in the workspace
// nor in a folder for temporary files or caches.
func (f *Fact) Outside() bool { return f.Place == Home || f.Place == System || f.Place == Elsewhere }
