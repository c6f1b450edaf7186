package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/klauspost/compress/zstd"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/intent"
	"github.com/org/edamame-posture/pkg/judge"
	"github.com/org/edamame-posture/pkg/signature"
)

// Bounds of a log that is stored as a file of its own, in bytes.
const (
	maxStored     = 1 << 30
	maxStoredLine = 1 << 20
)

var errNoEvidence = errors.New("there is no evidence")

// replayDir judges a stored run anew: with in, or where that is nil with the
// intent that the evidence holds, which is returned. path is a folder of
// results, an evidence folder, or a log: a file of JSON lines, bare or zstd.
func replayDir(path string, in *intent.Resolved) (*judge.Judge, *intent.Resolved, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, fmt.Errorf("%w in %s", errNoEvidence, path)
	}
	if err != nil {
		return nil, nil, err
	}
	if !info.IsDir() {
		j, err := replayLog(path, in)
		if err != nil {
			return nil, nil, err
		}
		return j, in, nil
	}
	at, err := evidenceIn(path)
	if err != nil {
		return nil, nil, err
	}
	e, err := openAny(at)
	if err != nil {
		return nil, nil, err
	}
	defer e.Close()
	inputs, err := e.Inputs()
	if err != nil {
		return nil, nil, err
	}
	if in != nil {
		inputs.Intent = in
	}
	j, err := e.Replay(inputs)
	return j, inputs.Intent, err
}

// looksLikeEvidence reports whether a folder holds a log.
func looksLikeEvidence(dir string) bool {
	for _, name := range []string{"manifest.json", "000000.jsonl.zst"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			return true
		}
	}
	return false
}

// replayLog judges a log in a file of its own, with the rules of this program:
// such a file has no inputs.
func replayLog(path string, in *intent.Resolved) (*judge.Judge, error) {
	pack, err := signature.Default()
	if err != nil {
		return nil, err
	}
	j := judge.New(in, pack)
	err = readLog(path, func(_ uint64, ev *event.Event) { j.Apply(ev) })
	return j, err
}

// eachStored gives every event of a stored run with its line, from 1: of a
// folder of results or evidence, or of a log in a file of its own.
func eachStored(path string, f func(line uint64, ev *event.Event)) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return readLog(path, f)
	}
	at, err := evidenceIn(path)
	if err != nil {
		return err
	}
	e, err := openAny(at)
	if err != nil {
		return err
	}
	defer e.Close()
	line := uint64(0)
	return e.Each(func(_ []byte, ev *event.Event) error {
		line++
		f(line, ev)
		return nil
	})
}

// evidenceIn returns the folder of evidence that a folder of results holds, or
// is itself.
func evidenceIn(path string) (string, error) {
	at := filepath.Join(path, evidenceDir)
	if _, err := os.Stat(at); errors.Is(err, os.ErrNotExist) {
		if at = path; !looksLikeEvidence(at) {
			return "", fmt.Errorf("%w in %s: want the folder that run --out wrote", errNoEvidence, path)
		}
	}
	return at, nil
}

// readLog gives every event of a log in a file of its own.
func readLog(path string, each func(line uint64, ev *event.Event)) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	head := bufio.NewReader(f)
	var r io.Reader = head
	if magic, err := head.Peek(4); err == nil && bytes.Equal(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}) {
		d, err := zstd.NewReader(head, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(64<<20))
		if err != nil {
			return err
		}
		defer d.Close()
		r = d
	}
	limited := &io.LimitedReader{R: r, N: maxStored + 1}
	lines := bufio.NewScanner(limited)
	lines.Buffer(nil, maxStoredLine)
	var ev event.Event
	n := uint64(0)
	for lines.Scan() {
		n++
		if err := event.Decode(lines.Bytes(), &ev); err != nil {
			return fmt.Errorf("%s:%d: not a line of a log: %w", path, n, err)
		}
		each(n, &ev)
	}
	switch err := lines.Err(); {
	case err != nil:
		return fmt.Errorf("%s:%d: %w", path, n+1, err)
	case limited.N == 0:
		return fmt.Errorf("%s is longer than %d bytes, more than a stored log can have", path, maxStored)
	case n == 0:
		return fmt.Errorf("%s is empty: want a log or a folder of results", path)
	}
	return nil
}
