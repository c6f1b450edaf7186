package evidence

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Numbers of the zstd format, RFC 8878 §3.1.1.
const (
	zstdMagic    = 0xfd2fb528
	zstdMaxBlock = 128 << 10
	blockRLE     = 1
	blockNone    = 3 // reserved
)

// checkFrames walks over the frames of a segment without unpacking them. A
// decoder passes over skippable frames without a word, takes frames without a
// checksum, and dictionaries: a segment has none of them, so that nothing is
// in it but the log.
func checkFrames(file io.Reader) error {
	r := bufio.NewReader(file)
	var at int64
	for {
		if _, err := r.Peek(1); err == io.EOF {
			return nil
		}
		n, err := checkFrame(r)
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return fmt.Errorf("zstd frame at byte %d: %w", at, err)
		}
		at += n
	}
}

// checkFrame passes over one frame and returns its length.
func checkFrame(r *bufio.Reader) (n int64, err error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, err
	}
	n = int64(len(head))
	if binary.LittleEndian.Uint32(head[:]) != zstdMagic {
		return 0, errors.New("it is skippable, or no frame at all")
	}
	descriptor := head[4]
	single := descriptor&0x20 != 0
	switch {
	case descriptor&0x18 != 0:
		return 0, errors.New("it uses reserved bits")
	case descriptor&0x04 == 0:
		return 0, errors.New("it has no checksum")
	case descriptor&0x03 != 0:
		return 0, errors.New("it needs a dictionary")
	}
	// The content size has 2, 4 or 8 bytes; 1 in a single segment, else none.
	rest := [...]int{0, 2, 4, 8}[descriptor>>6]
	if single && rest == 0 {
		rest = 1
	}
	if !single {
		rest++ // the window
	}
	if err := skipBytes(r, rest, &n); err != nil {
		return 0, err
	}
	for last := false; !last; {
		var b [3]byte
		if _, err := io.ReadFull(r, b[:]); err != nil {
			return 0, err
		}
		n += int64(len(b))
		block := uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16
		last = block&1 != 0
		kind, size := block>>1&3, int(block>>3)
		switch {
		case kind == blockNone || size > zstdMaxBlock:
			return 0, errors.New("it has a block that the format does not allow")
		case kind == blockRLE:
			size = 1
		}
		if err := skipBytes(r, size, &n); err != nil {
			return 0, err
		}
	}
	return n, skipBytes(r, 4, &n) // the checksum
}

func skipBytes(r *bufio.Reader, size int, n *int64) error {
	done, err := r.Discard(size)
	*n += int64(done)
	return err
}
