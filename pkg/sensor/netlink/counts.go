package netlink

import "sync/atomic"

// counts are the running totals of a sensor.
type counts struct {
	forks, execs, exits atomic.Uint64
	records             atomic.Uint64
	lost                atomic.Uint64 // holes in the numbers of the messages
	overruns            atomic.Uint64 // ENOBUFS
	undecoded           atomic.Uint64
	forged              atomic.Uint64
	gone                atomic.Uint64 // execs whose arguments could not be read
	unowned             atomic.Uint64 // sockets without an owner
	blank               atomic.Uint64 // TCP sockets freed with no address left
	sockets             atomic.Uint64 // sockets told
	asked               atomic.Uint32 // lists asked for
	deaf                atomic.Uint64 // notices of closed sockets that did not fit
}

// count adds an event to the totals. Only thread group leaders count, on both
// witnesses alike.
func (c *counts) count(ev *procEvent) {
	switch ev.what {
	case whatFork:
		if ev.pid == ev.tgid {
			c.forks.Add(1)
		}
	case whatExec:
		c.execs.Add(1)
	case whatExit:
		if ev.pid == ev.tgid {
			c.exits.Add(1)
		}
	}
}
