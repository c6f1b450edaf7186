//go:build !linux || (!amd64 && !arm64)

package program

var compressed []byte
