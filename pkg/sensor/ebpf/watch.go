package ebpf

import (
	"github.com/org/edamame-posture/pkg/sensor"
)

// nameBytes is how much of a name the kernel compares: NAME_BYTES in
// bpf/process.h.
const nameBytes = 64

// nameKey is struct name_key: a key of a longest-prefix trie.
type nameKey struct {
	Bits uint32
	Name [nameBytes]byte
}

// prefixKey matches names that begin with s; only the first nameBytes count.
func prefixKey(s string) nameKey {
	var k nameKey
	n := copy(k.Name[:], s)
	k.Bits = uint32(n) * 8
	return k
}

// wholeKey matches s alone, by the NUL that ends it. Of a name of nameBytes or
// more the kernel keeps nameBytes-1.
func wholeKey(s string) nameKey {
	if len(s) >= nameBytes {
		s = s[:nameBytes-1]
	}
	return prefixKey(s + "\x00")
}

// watchTable is what the kernel needs to know of a watch list.
type watchTable struct {
	names map[nameKey]uint16
	first [256]uint64 // lengths of names by their first byte
}

// procNames are the files of /proc/PID that show or change another process.
var procNames = map[string]uint16{"mem": fProcMem, "maps": fProcMaps, "environ": fProcEnviron}

func newWatchTable(w sensor.Watch) watchTable {
	t := watchTable{names: map[nameKey]uint16{}}
	for _, n := range w.Names {
		t.add(n, wholeKey(n), fWatched, false)
	}
	for n, flag := range procNames {
		t.add(n, wholeKey(n), flag, false)
	}
	for _, p := range w.Prefixes {
		t.add(p, prefixKey(p), fWatched, true)
	}
	// The trie gives the longest match alone, so a name that stands under a
	// prefix must say all that the prefix says.
	for k := range t.names {
		for _, p := range w.Prefixes {
			if pk := prefixKey(p); p != "" && pk.Bits <= k.Bits && string(k.Name[:pk.Bits/8]) == string(pk.Name[:pk.Bits/8]) {
				t.names[k] |= fWatched
			}
		}
	}
	return t
}

func (t *watchTable) add(name string, key nameKey, flag uint16, prefix bool) {
	if name == "" {
		return
	}
	t.names[key] |= flag
	t.first[name[0]] |= 1 << min(len(name), 63)
	if prefix {
		for n := len(name); n < 64; n++ {
			t.first[name[0]] |= 1 << n
		}
	}
}
