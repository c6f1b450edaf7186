// Package carried unpacks what the program carries within itself: small programs
// for other purposes, and what goes into the kernel. Each is committed as zstd
// made it of what its source gives, which the rebuild.sh beside the source checks.
package carried

import "github.com/klauspost/compress/zstd"

// maxSize bounds one thing unpacked, in bytes.
const maxSize = 16 << 20

// Unpack returns what was compressed (RFC 8878).
func Unpack(compressed []byte) ([]byte, error) {
	d, err := zstd.NewReader(nil, zstd.WithDecoderMaxMemory(maxSize), zstd.WithDecoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.DecodeAll(compressed, nil)
}
