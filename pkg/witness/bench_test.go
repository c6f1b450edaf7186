package witness

import (
	"fmt"
	"testing"

	"golang.org/x/time/rate"
)

// BenchmarkAddCheckpoint is one checkpoint over HTTP on loopback, fsync
// included, with the nine before it that came along.
func BenchmarkAddCheckpoint(b *testing.B) {
	for _, notes := range []int{1, 10} {
		b.Run(fmt.Sprintf("notes=%d", notes), func(b *testing.B) {
			r := newRig(b)
			l := r.begin(b, 1)
			r.server.store.bySlot(slotOfJob(1)).limiter.SetLimit(rate.Inf)
			l.key(b.N*notes + 1)
			b.ResetTimer()
			for range b.N {
				b.StopTimer()
				var send [][]byte
				for range notes {
					l.grow(b, 20)
					send = append(send, l.checkpoint(b))
				}
				p := proofOf(b, l)
				b.StartTimer()
				if _, _, err := r.client.AddCheckpoint(b.Context(), l.growth.Old(), p, send); err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				accept(b, l)
				b.StartTimer()
			}
		})
	}
}

func BenchmarkFirstRecord(b *testing.B) {
	r := newRig(b, func(c *Config) { c.MaxSlots, c.MaxPerParty = 1<<30, 1<<30 })
	for n := range b.N {
		b.StopTimer()
		f := r.issuer.first(b, newLog(fmt.Sprintf("run-%d", n)), n)
		b.StartTimer()
		if _, err := r.client.FirstRecord(b.Context(), f); err != nil {
			b.Fatal(err)
		}
	}
}
