package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"

	"github.com/org/edamame-posture/pkg/evidence"
)

// maxOut is how many names beside --out are tried.
const maxOut = 10_000

// prepareOut makes the folder for the results. One that was prepared and not
// used, by a run that could not start or one that still runs, is as good.
func prepareOut(out string) error {
	if f, err := openPrepared(out); err == nil {
		return f.Close()
	}
	return evidence.Prepare(out)
}

// takeOut returns the folder for the results, open, and its name. That is the
// one which was prepared. The watched command may have removed, filled or
// replaced it, or another run in the same place may have been first: then it
// is prepared anew, and where something stands that is not ours, beside it.
func takeOut(out string) (*os.File, string, error) {
	f, err := openPrepared(out)
	if err == nil {
		return f, out, nil
	}
	first := err
	at := out
	for n := 1; n <= maxOut; n++ {
		if err = evidence.Prepare(at); err == nil {
			if f, err = openPrepared(at); err == nil {
				return f, at, nil
			}
		}
		if errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EROFS) || errors.Is(err, fs.ErrNotExist) {
			break
		}
		at = fmt.Sprintf("%s.%d", out, n)
		for ; n < maxOut; n++ {
			if _, serr := os.Lstat(at); serr != nil {
				break
			}
			at = fmt.Sprintf("%s.%d", out, n+1)
		}
	}
	return nil, "", errors.Join(first, err)
}

// openPrepared opens a folder that holds what [evidence.Prepare] puts there
// and nothing else. It follows no link.
func openPrepared(out string) (*os.File, error) {
	fd, err := unix.Open(out, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: out, Err: err}
	}
	f := os.NewFile(uintptr(fd), out)
	names, err := f.Readdirnames(2)
	if err == nil && len(names) == 1 && names[0] == ".gitignore" {
		return f, nil
	}
	f.Close()
	if err == nil {
		err = errors.New("it was filled or changed by somebody else")
	}
	return nil, fmt.Errorf("%s: %w", out, err)
}

// surviveBrokenPipe lets a write to a stderr that nobody reads any more fail,
// where it would end the process before the results are whole.
func surviveBrokenPipe() { signal.Notify(make(chan os.Signal, 1), unix.SIGPIPE) }
