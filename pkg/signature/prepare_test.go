package signature

import (
	"bytes"
	"sync"
	"testing"
)

func TestWhatWasPreparedIsWhatTheTextSays(t *testing.T) {
	p, err := Default()
	if err != nil {
		t.Fatal(err)
	}
	text := p.Canonical()
	compiled, err := ReadPack(text)
	if err != nil {
		t.Fatal(err)
	}
	Prepare()
	other, err := ReadPack(append(bytes.Clone(text), 0x0a))
	if err != nil {
		t.Fatal(err)
	}
	if s := ahead.Load(); s == nil || other == s.pack {
		t.Fatal("another text took what was prepared")
	}
	made := ahead.Load().pack
	var mu sync.Mutex
	taken := 0
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			got, err := ReadPack(text)
			if err != nil {
				t.Error(err)
				return
			}
			if !bytes.Equal(got.Canonical(), text) || len(got.Rules()) != len(compiled.Rules()) {
				t.Error("it is not what the text says")
			}
			mu.Lock()
			defer mu.Unlock()
			if got == made {
				taken++
			}
		})
	}
	all.Wait()
	if taken != 1 {
		t.Errorf("%d readers got the one that was prepared", taken)
	}
}
