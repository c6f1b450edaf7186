package ebpf

import (
	"maps"
	"sync"
	"sync/atomic"
)

// kernelObject is a program, map or link in the kernel.
type kernelObject struct {
	kind objectKind
	id   uint32
}

// ownObjects are the sensor's own. They are asked for by the reader while a
// link may be made anew. One that was ours once stays until after the last record
// that may name it.
type ownObjects struct {
	adding sync.Mutex
	set    atomic.Pointer[map[kernelObject]bool]
}

func (o *ownObjects) has(x kernelObject) bool {
	set := o.set.Load()
	return set != nil && x.kind != ofNothing && (*set)[x]
}

// add adds to them. It is for few: each call makes the set anew.
func (o *ownObjects) add(more ...kernelObject) {
	o.adding.Lock()
	defer o.adding.Unlock()
	set := o.copied()
	for _, x := range more {
		set[x] = true
	}
	o.set.Store(&set)
}

// forget takes out what is no more, once no record can come that names it.
func (o *ownObjects) forget(gone ...kernelObject) {
	o.adding.Lock()
	defer o.adding.Unlock()
	set := o.copied()
	for _, x := range gone {
		delete(set, x)
	}
	o.set.Store(&set)
}

func (o *ownObjects) copied() map[kernelObject]bool {
	set := map[kernelObject]bool{}
	if old := o.set.Load(); old != nil {
		maps.Copy(set, *old)
	}
	return set
}
