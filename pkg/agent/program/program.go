// Package program carries the small program that agents' hooks call.
// cmd/edamame-hook is its source.
package program

import (
	"errors"
	"fmt"

	"github.com/org/edamame-posture/pkg/carried"
)

// Hook returns the program for this processor.
func Hook() ([]byte, error) {
	if len(compressed) == 0 {
		return nil, errors.New("there is no edamame-hook for this processor: build ./cmd/edamame-hook and give its place with --program")
	}
	data, err := carried.Unpack(compressed)
	if err != nil {
		return nil, fmt.Errorf("edamame-hook as it is carried: %w", err)
	}
	return data, nil
}
