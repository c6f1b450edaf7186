package credential

import "testing"

func TestWatchNames(t *testing.T) {
	n, p := WatchNames()
	t.Log(len(n), n)
	t.Log(p)
}
