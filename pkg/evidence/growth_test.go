package evidence

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"testing"

	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
)

func TestGrowthIsProvenFromAnySizeToAnyOther(t *testing.T) {
	const most = 70
	roots := []Hash{}
	leaves := []Hash{}
	var tr tree
	for i := range most + 1 {
		roots = append(roots, tr.root())
		leaves = append(leaves, Hash(sha256.Sum256(fmt.Appendf([]byte{leafPrefix}, "line %d", i))))
		tr.append(leaves[i])
	}
	for first := 1; first < most; first++ {
		for second := first; second < most; second++ {
			g := NewGrowth()
			to := func(size int) (uint64, uint64, []Hash) {
				t.Helper()
				for n := int(g.next.End()); n < size; n++ {
					if err := g.append(leaves[n]); err != nil {
						t.Fatal(err)
					}
				}
				old, now, path, err := g.Show()
				if err != nil {
					t.Fatal(err)
				}
				return old, now, path
			}
			if old, now, path := to(first); old != 0 || now != uint64(first) || len(path) != 0 {
				t.Fatalf("the first: %d to %d, %d hashes", old, now, len(path))
			}
			if err := g.Accept(); err != nil {
				t.Fatal(err)
			}
			old, now, path := to(second)
			// What comes meanwhile changes nothing in what was shown.
			if err := g.append(leaves[second]); err != nil {
				t.Fatal(err)
			}
			if o, n, p, err := g.Show(); err != nil || o != old || n != now || !slices.Equal(p, path) {
				t.Fatalf("shown again: %d to %d, %v", o, n, err)
			}
			raw := make([][]byte, len(path))
			for i := range path {
				raw[i] = path[i][:]
			}
			if err := proof.VerifyConsistency(rfc6962.DefaultHasher, old, now, raw, roots[old][:], roots[now][:]); err != nil {
				t.Fatalf("from %d to %d: %v", old, now, err)
			}
			if err := g.Accept(); err != nil {
				t.Fatal(err)
			}
		}
	}
}
