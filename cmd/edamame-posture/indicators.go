package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/org/edamame-posture/pkg/attest"
	"github.com/org/edamame-posture/pkg/indicator"
)

// maxOwnIndicators bounds the lists of one's own, in bytes of their canonical
// form: all of them are in the monitor's memory, and in the evidence.
const maxOwnIndicators = 1 << 20

// readIndicators reads lists of one's own, and checks who signed them where a
// key is given. It returns their canonical form, nil for none.
func readIndicators(paths []string, key string) ([]byte, error) {
	if len(paths) == 0 {
		if key != "" {
			return nil, errors.New("--indicators-key: there is no list to check: name one with --indicators FILE")
		}
		return nil, nil
	}
	set := indicator.New()
	for _, path := range paths {
		data, err := readBounded(path, indicator.MaxBytes)
		if err != nil {
			return nil, fmt.Errorf("--indicators: %w", err)
		}
		if key != "" {
			if err := checkSigned(path, data, key); err != nil {
				return nil, fmt.Errorf("--indicators: %s: %w", path, err)
			}
		}
		if err := set.Add(path, data); err != nil {
			return nil, fmt.Errorf("--indicators: %w", err)
		}
	}
	b := set.Canonical()
	if len(b) > maxOwnIndicators {
		return nil, fmt.Errorf("--indicators: %d entries are %d KiB, and %d may be watched for: keep those that matter here (signatures import-osv --ecosystem, --since)",
			set.Len(), len(b)>>10, maxOwnIndicators>>10)
	}
	return b, nil
}

// checkSigned checks the bundle beside a list.
func checkSigned(path string, data []byte, key string) error {
	pem, err := readBounded(key, 1<<20)
	if err != nil {
		return err
	}
	pub, err := attest.LoadPublicKey(pem)
	if err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	bundle, err := readBounded(path+".sigstore.json", 1<<20)
	if err != nil {
		return fmt.Errorf("the list is to be signed, and its bundle cannot be read: %w", err)
	}
	return attest.VerifyFile(bundle, pub, data)
}

func importOSVCommand() *cobra.Command {
	var ecosystems []string
	var since string
	cmd := &cobra.Command{
		Use:   "import-osv PATH...",
		Short: "Write the list of indicators that OSV records of malicious packages are",
		Long: `Reads OSV records (JSON, one a file), as OSSF's malicious-packages publishes them,
and writes a list for run --indicators to stdout. Records that were withdrawn and
packages of which good versions are not told from bad ones are left out.`,
		Example: "  edamame-posture signatures import-osv --ecosystem npm --since 2026-01-01 malicious-packages/osv > packages.json",
		Args:    cobra.MinimumNArgs(1),
		RunE:    func(cmd *cobra.Command, paths []string) error { return importOSV(cmd, paths, ecosystems, since) },
	}
	cmd.Flags().StringArrayVar(&ecosystems, "ecosystem", nil, "only packages of this `TYPE` of package URL (npm, pypi, gem ...), as often as needed")
	cmd.Flags().StringVar(&since, "since", "", "only records published on this `DAY` or later, as 2006-01-02")
	return cmd
}

func importOSV(cmd *cobra.Command, paths, ecosystems []string, since string) error {
	if since != "" {
		if _, err := time.Parse(time.DateOnly, since); err != nil {
			return fmt.Errorf("--since %q is no day: want one as 2006-01-02", since)
		}
	}
	out := bufio.NewWriter(cmd.OutOrStdout())
	read, kept := 0, 0
	fmt.Fprint(out, "{\"version\":1,\"indicators\":[")
	one := func(path string) error {
		data, err := readBounded(path, 16<<20)
		if err != nil {
			return err
		}
		read++
		e, ok, err := indicator.FromOSV(data)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if ok && len(ecosystems) > 0 {
			e.Packages = slices.DeleteFunc(e.Packages, func(p string) bool {
				kind, _, _ := strings.Cut(strings.TrimPrefix(p, "pkg:"), "/")
				return !slices.Contains(ecosystems, kind)
			})
		}
		if !ok || len(e.Packages) == 0 || e.Date < since {
			return nil
		}
		b, err := json.Marshal(e)
		if err != nil {
			return err
		}
		if kept++; kept > 1 {
			fmt.Fprint(out, ",")
		}
		fmt.Fprintf(out, "\n%s", b)
		return nil
	}
	for _, path := range paths {
		err := filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || p != path && !strings.HasSuffix(p, ".json") {
				return err
			}
			return one(p)
		})
		if err != nil {
			return exit(exitUsage, err)
		}
	}
	fmt.Fprint(out, "\n]}\n")
	if err := out.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "%d records read, %d kept\n", read, kept)
	if kept == 0 {
		return exit(exitNothing, nil)
	}
	return nil
}
