package carried

import (
	"bytes"
	"testing"

	"github.com/klauspost/compress/zstd"
)

func TestWhatIsCarriedComesOutWhole(t *testing.T) {
	e, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	want := bytes.Repeat([]byte("posture"), 1<<16)
	packed := e.EncodeAll(want, nil)
	if got, err := Unpack(packed); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	if _, err := Unpack(packed[:len(packed)/2]); err == nil {
		t.Error("half of it is taken for all")
	}
	if _, err := Unpack(e.EncodeAll(make([]byte, maxSize+1), nil)); err == nil {
		t.Error("more than the bound is unpacked")
	}
}
