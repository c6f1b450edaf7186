// Package program carries the small program that agents' hooks call.
// cmd/edamame-hook is its source.
package program

import (
	"errors"
	"fmt"

	"github.com/klauspost/compress/zstd"
)

// maxSize bounds the program in bytes.
const maxSize = 16 << 20

// Hook returns the program for this processor.
func Hook() ([]byte, error) {
	if len(compressed) == 0 {
		return nil, errors.New("there is no edamame-hook for this processor: build ./cmd/edamame-hook and give its place with --program")
	}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderMaxMemory(maxSize), zstd.WithDecoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	defer dec.Close()
	data, err := dec.DecodeAll(compressed, nil)
	if err != nil {
		return nil, fmt.Errorf("edamame-hook as it is carried: %w", err)
	}
	return data, nil
}
