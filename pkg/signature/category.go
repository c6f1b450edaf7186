package signature

import (
	"strings"

	"github.com/org/edamame-posture/pkg/event"
)

// category is a Sigma log source category of product linux.
type category uint8

const (
	processCreation category = iota
	networkConnection
	dnsQuery
	fileEvent
	fileAccess
	fileDelete
	processAccess
	proxy
	// dnsAnswer is dns_query for rules that ask for what only an answer
	// tells; the others look at questions, so that nothing counts twice.
	dnsAnswer

	categoryCount
)

var categoryNames = [categoryCount]string{
	"process_creation", "network_connection", "dns_query", "file_event", "file_access", "file_delete", "process_access", "proxy", "dns_query",
}

// categories returns the categories that an event belongs to, as a set of
// bits. An open can be a write, a read and an access to another process.
func categories(e *event.Event) (set uint32) {
	switch e.Kind {
	case event.Exec:
		return 1 << processCreation
	case event.Connect, event.Accept, event.Send, event.TLS, event.Flow:
		return 1 << networkConnection
	case event.HTTP:
		return 1<<networkConnection | 1<<proxy
	case event.DNS:
		if e.OK {
			return 1 << dnsAnswer
		}
		return 1 << dnsQuery
	case event.Rename, event.Link, event.Mkdir:
		return 1 << fileEvent
	case event.Unlink:
		return 1 << fileDelete
	case event.Open:
		if e.Access&(event.Write|event.Create|event.Truncate|event.Append) != 0 {
			set |= 1 << fileEvent
		}
		if e.Access&event.Read != 0 {
			set |= 1 << fileAccess
		}
		if processFile(e.Path.String()) != "" && other(e) {
			set |= 1 << processAccess
		}
	case event.MemAccess:
		if other(e) {
			return 1 << processAccess
		}
	case event.Ptrace:
		if e.Op != event.OpTraceMe && other(e) {
			return 1 << processAccess
		}
	}
	return set
}

// other reports whether the event acts on another process than the actor's
// own. Every program may read its own memory.
func other(e *event.Event) bool {
	return !e.Target.IsZero() && (e.Target.PID != e.Actor.PID || e.Target.Start != e.Actor.Start)
}

// processFile returns the file of a path /proc/PID/FILE or
// /proc/PID/task/TID/FILE that opens another's memory, or "".
func processFile(p string) string {
	rest, ok := strings.CutPrefix(p, "/proc/")
	if !ok {
		return ""
	}
	switch name := rest[strings.LastIndexByte(rest, '/')+1:]; name {
	case "mem", "maps", "smaps", "environ", "auxv", "pagemap":
		return name
	}
	return ""
}
