package netlink

import (
	"sync"

	"github.com/org/edamame-posture/pkg/sensor"
)

// item is one thing on its way from a reader to the sink.
type item struct {
	kind itemKind
	ev   procEvent
	time int64 // boot time of ev
	// start is what /proc/PID/stat said of a forked child, in ticks; -1 where
	// it was not asked.
	start int64
	img   image
	// record is a finished record of the socket watcher; the record of a gap.
	record sensor.Record
	bytes  []byte // backs record.Path
}

type itemKind uint8

const (
	itemEvent itemKind = iota
	itemRecord
	itemGap
)

// Bounds of what waits between the readers and the sink. Above them the
// readers wait, the kernel's buffer fills, and what that cannot hold is
// counted as lost.
const (
	queueItems = 1 << 14
	queueBytes = 64 << 20
	keepBuffer = 16 << 10 // a larger buffer is not kept for the next item
)

// queue holds items in the order in which they were put. It has no wake-up
// for each item: see dispatch.
type queue struct {
	limit   int // items
	mu      sync.Mutex
	room    sync.Cond
	waiting []*item
	bytes   int
	free    []*item
	closed  bool

	// some has a value when waiting is not empty, many when it is filling up.
	some, many chan struct{}
}

func newQueue(limit int) *queue {
	q := &queue{limit: limit, some: make(chan struct{}, 1), many: make(chan struct{}, 1)}
	q.room.L = &q.mu
	return q
}

// get returns an empty item.
func (q *queue) get() *item {
	q.mu.Lock()
	defer q.mu.Unlock()
	if n := len(q.free); n > 0 {
		it := q.free[n-1]
		q.free = q.free[:n-1]
		return it
	}
	return new(item)
}

// put appends items, and waits while there is no room.
func (q *queue) put(items ...*item) {
	if len(items) == 0 {
		return
	}
	q.mu.Lock()
	for !q.closed && (len(q.waiting) >= q.limit || q.bytes > queueBytes) {
		signal(q.many)
		q.room.Wait()
	}
	q.waiting = append(q.waiting, items...)
	for _, it := range items {
		q.bytes += len(it.img.buf) + len(it.bytes)
	}
	n := len(q.waiting)
	q.mu.Unlock()
	signal(q.some)
	if n > q.limit/8 {
		signal(q.many)
	}
}

// take returns all that waits and hands the slice of the call before back.
func (q *queue) take(old []*item) []*item {
	q.mu.Lock()
	defer q.mu.Unlock()
	taken := q.waiting
	q.waiting, q.bytes = old[:0], 0
	q.room.Broadcast()
	return taken
}

// recycle gives items back for get.
func (q *queue) recycle(items []*item) {
	for _, it := range items {
		buf, raw := it.img.buf[:0], it.bytes[:0]
		if cap(buf) > keepBuffer {
			buf = nil
		}
		*it = item{img: image{buf: buf}, bytes: raw}
	}
	q.mu.Lock()
	q.free = append(q.free, items[:min(len(items), max(0, q.limit-len(q.free)))]...)
	q.mu.Unlock()
}

// close lets readers that wait for room go on.
func (q *queue) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.room.Broadcast()
	signal(q.many)
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
