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
// link may be made anew. One that was ours once stays: its id is held until
// after the last record that may name it.
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
	set := map[kernelObject]bool{}
	if old := o.set.Load(); old != nil {
		maps.Copy(set, *old)
	}
	for _, x := range more {
		set[x] = true
	}
	o.set.Store(&set)
}
