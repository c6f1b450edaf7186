package report

import (
	"bytes"
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
		var b bytes.Buffer
		if err := f.write(&b, d); err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
		if err := writeNew(filepath.Join(dir, f.name), b.Bytes()); err != nil {
			return err
		}
	}
	return nil
}

func writeNew(name string, b []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Close())
}
