package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

func opens(n int, file string) error {
	for range n {
		fd, err := unix.Open(file, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("open %s: %w", file, err)
		}
		unix.Close(fd)
	}
	return nil
}

// writes opens a file for writing, writes a byte and closes it, n times over
// that many files in turn. The folders hold a thousand files each.
func writes(n, files int, dir string) error {
	for i := range n {
		f := i % files
		sub := filepath.Join(dir, fmt.Sprint("d", f/1000))
		if i < files && f%1000 == 0 {
			if err := os.MkdirAll(sub, 0o755); err != nil {
				return err
			}
		}
		fd, err := unix.Open(filepath.Join(sub, fmt.Sprint("f", f)), unix.O_WRONLY|unix.O_CREAT|unix.O_CLOEXEC, 0o644)
		if err != nil {
			return err
		}
		_, err = unix.Write(fd, []byte{'x'})
		unix.Close(fd)
		if err != nil {
			return err
		}
	}
	return nil
}

func atOnce(loads ...func() error) error {
	errs := make(chan error, len(loads))
	for _, load := range loads {
		go func() { errs <- load() }()
	}
	var all error
	for range loads {
		all = errors.Join(all, <-errs)
	}
	return all
}
