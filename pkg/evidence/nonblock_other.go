//go:build !unix

package evidence

const nonblock = 0
