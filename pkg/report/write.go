package report

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// WriteAll writes summary.md, report.html and results.sarif into a folder. None
// of them may be there: nothing is written over, or through a link.
func WriteAll(dir string, d *Data) error {
	for _, f := range []struct {
		name  string
		write func(io.Writer, *Data) error
	}{{"summary.md", Markdown}, {"report.html", HTML}, {"results.sarif", SARIF}} {
		if err := writeNew(filepath.Join(dir, f.name), func(w io.Writer) error { return f.write(w, d) }); err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
	}
	return nil
}

func writeNew(name string, write func(io.Writer) error) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	b := bufio.NewWriterSize(f, 1<<16)
	return errors.Join(write(b), b.Flush(), f.Close())
}
