package netlink

import "testing"

func BenchmarkRound(b *testing.B) {
	needKernel(b)
	var l log
	s := start(b, Options{Poll: 1 << 40}, l.sink)
	b.ReportAllocs()
	for b.Loop() {
		<-s.watcher.look()
	}
}
