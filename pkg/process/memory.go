package process

// lru is a list of processes, the oldest at the head.
type lru struct {
	head, tail *Process
	n          int
}

func (l *lru) push(p *Process) {
	p.prev, p.next = l.tail, nil
	if l.tail != nil {
		l.tail.next = p
	} else {
		l.head = p
	}
	l.tail = p
	l.n++
}

func (l *lru) remove(p *Process) {
	if p.prev != nil {
		p.prev.next = p.next
	} else {
		l.head = p.next
	}
	if p.next != nil {
		p.next.prev = p.prev
	} else {
		l.tail = p.prev
	}
	p.prev, p.next = nil, nil
	l.n--
}

// spare moves p to the end where it is next.
func (l *lru) spare(p *Process) {
	if p != nil && l.head == p {
		l.remove(p)
		l.push(p)
	}
}

// alloc returns an empty process, or nil where the limit is reached and
// everything held lives.
func (t *Table) alloc() *Process {
	t.dead.spare(t.last)
	t.kept.spare(t.last)
	for t.held == t.limit {
		switch {
		case t.dead.head == t.last && t.last != nil || t.dead.head == nil && t.kept.head == t.last:
			return nil
		case t.dead.head != nil:
			t.stats.Early++
			t.reap(t.dead.head)
		case t.kept.head != nil:
			t.stats.Folded++
			t.splice(t.kept.head)
		default:
			return nil
		}
	}
	if t.free == nil {
		made := 0
		for _, c := range t.chunks {
			made += len(c)
		}
		c := make([]Process, min(chunk, t.limit-made))
		t.chunks = append(t.chunks, c)
		for i := range c {
			c[i].next, t.free = t.free, &c[i]
		}
	}
	p := t.free
	t.free, p.next = p.next, nil
	t.held++
	return p
}

func (t *Table) bucket(pid uint32) **Process {
	return &t.buckets[int(pid)&(len(t.buckets)-1)]
}

// insert puts p before the older processes of its pid.
func (t *Table) insert(p *Process) {
	at := t.bucket(p.Actor.PID)
	for *at != nil && ((*at).Actor.PID != p.Actor.PID || (*at).Actor.Start > p.Actor.Start) {
		at = &(*at).chain
	}
	p.chain, *at = *at, p
	same := 0
	var oldest *Process
	for q := p.chain; q != nil; q = q.chain {
		if q.Actor.PID == p.Actor.PID && q.list == deadList {
			same++
			oldest = q
		}
	}
	if same > maxSamePID && oldest != t.last {
		t.stats.Early++
		t.reap(oldest)
	}
}

// link makes p a child of parent.
func (t *Table) link(p, parent *Process) {
	p.Parent = parent
	if parent == nil {
		return
	}
	p.elder, p.sister = nil, parent.child
	if parent.child != nil {
		parent.child.elder = p
	}
	parent.child = p
}

func (t *Table) unlink(p *Process) {
	parent := p.Parent
	if parent == nil {
		return
	}
	if p.elder != nil {
		p.elder.sister = p.sister
	} else {
		parent.child = p.sister
	}
	if p.sister != nil {
		p.sister.elder = p.elder
	}
	p.Parent, p.elder, p.sister = nil, nil, nil
}

// expire forgets what ended long enough before t.now.
func (t *Table) expire() {
	for range reapsPerRecord {
		p := t.dead.head
		if p == nil || (t.now-p.Ended <= grace && t.dead.n <= t.limit/2) {
			return
		}
		if t.now-p.Ended <= grace {
			t.stats.Early++
		}
		if t.lives(p) {
			t.revive(p)
			continue
		}
		t.reap(p)
	}
}

// reap takes an ended process out of the list of the findable. One that has
// children stays as their ancestor if it ran a program of its own.
func (t *Table) reap(p *Process) {
	t.dead.remove(p)
	p.list = noList
	switch {
	case p.child == nil:
		t.forget(p)
	case p.Actor.Image == 0 && p.born == forked:
		t.splice(p)
	default:
		p.list = keptList
		t.kept.push(p)
		if t.kept.n > t.limit/4 {
			t.stats.Folded++
			t.splice(t.kept.head)
		}
	}
}

// splice gives p's children to its parent and forgets p.
func (t *Table) splice(p *Process) {
	for c := p.child; c != nil; {
		next := c.sister
		t.link(c, p.Parent)
		if p.Parent == nil {
			c.elder, c.sister = nil, nil
		}
		c = next
	}
	p.child = nil
	t.forget(p)
}

// forget frees an ended process without children, and those of its ancestors
// that were kept for it alone.
func (t *Table) forget(p *Process) {
	for {
		parent := p.Parent
		t.unlink(p)
		at := t.bucket(p.Actor.PID)
		for *at != p {
			at = &(*at).chain
		}
		*at = p.chain
		switch p.list {
		case deadList:
			t.dead.remove(p)
		case keptList:
			t.kept.remove(p)
		}
		if p == t.last {
			t.last = nil
		}
		*p = Process{next: t.free}
		t.free = p
		t.held--
		if parent == nil || parent.child != nil || parent.list != keptList || parent == t.last {
			return
		}
		p = parent
	}
}
