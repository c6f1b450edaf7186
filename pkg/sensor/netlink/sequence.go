package netlink

// sequence finds what was lost from the numbers in the messages: the kernel
// counts the events of each CPU in cn_msg.seq (drivers/connector/cn_proc.c,
// send_msg) and queues them in that order, so a hole is a loss and its size is
// the number of events lost.
type sequence struct {
	last []uint32
	seen []bool
}

// maxCPU bounds what a message can make us allocate.
const maxCPU = 1 << 13

// next takes the number of a message and returns how many were lost before it
// on its CPU. The first message of a CPU is the base it counts from.
func (s *sequence) next(cpu, seq uint32) uint32 {
	// Answers of older kernels carry no CPU.
	if cpu >= maxCPU {
		return 0
	}
	for int(cpu) >= len(s.last) {
		s.last, s.seen = append(s.last, 0), append(s.seen, false)
	}
	lost := seq - s.last[cpu] - 1
	if !s.seen[cpu] || int32(lost) < 0 {
		lost = 0
	}
	s.last[cpu], s.seen[cpu] = seq, true
	return lost
}
