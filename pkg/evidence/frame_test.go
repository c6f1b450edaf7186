package evidence

import (
	"bytes"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

func pack(t *testing.T, size int, opts ...zstd.EOption) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := zstd.NewWriter(&b, opts...)
	if err != nil {
		t.Fatal(err)
	}
	for n := 0; n < size; n += 16 {
		if _, err := w.Write([]byte("0123456789abcde\n")); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestFramesAreWalkedToTheirEnds(t *testing.T) {
	var all []byte
	for _, size := range []int{1, 200, 300, 70_000, 200_000, 3 << 20} {
		all = append(all, pack(t, size)...)
	}
	all = append(all, pack(t, 200, zstd.WithSingleSegment(true))...)
	if err := checkFrames(bytes.NewReader(all)); err != nil {
		t.Fatal(err)
	}
	one := pack(t, 70_000)
	for n := 1; n < len(one); n++ {
		if err := checkFrames(bytes.NewReader(one[:n])); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("cut to %d bytes: %v", n, err)
		}
	}
}

func TestNothingHidesBetweenFrames(t *testing.T) {
	good := pack(t, 300)
	for _, tt := range []struct {
		name, want string
		file       []byte
	}{
		{"a skippable frame", "skippable", []byte("\x50\x2a\x4d\x18\x03\x00\x00\x00abc")},
		{"other bytes", "no frame at all", []byte("hello")},
		{"no checksum", "no checksum", pack(t, 300, zstd.WithEncoderCRC(false))},
		{"a dictionary", "needs a dictionary", []byte("\x28\xb5\x2f\xfd\x05\x00")},
		{"reserved bits", "reserved bits", []byte("\x28\xb5\x2f\xfd\x0c\x00")},
		{"a reserved block", "does not allow", []byte("\x28\xb5\x2f\xfd\x04\x58\x07\x00\x00")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := checkFrames(bytes.NewReader(append(bytes.Clone(good), tt.file...)))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
	dir, m := closedLog(t)
	path := filepath.Join(dir, segmentName(0))
	write(t, path, append(read(t, path), "\x50\x2a\x4d\x18\x03\x00\x00\x00abc"...))
	rehash(t, dir, *m)
	if err := verify(dir); err == nil || !strings.Contains(err.Error(), segmentName(0)+": zstd frame at byte") {
		t.Error(err)
	}
}
