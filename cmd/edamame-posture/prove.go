package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"

	"github.com/spf13/cobra"

	"github.com/org/edamame-posture/pkg/evidence"
)

// maxProof bounds a proof that is read, in bytes: a line of a log has 1 MiB.
const maxProof = 4 << 20

func proveCommand() *cobra.Command {
	var check, against string
	cmd := &cobra.Command{
		Use:   "prove DIR LEAF",
		Short: "Prove that one line stands in a log, without the rest of it",
		Long: `Writes a proof that the line with seq LEAF stands in the evidence of DIR, in the
form of C2SP tlog-proof v1 (https://c2sp.org/tlog-proof): the line itself as extra
data, its place, the hashes up to the root (RFC 6962), and the last checkpoint.
Who trusts the checkpoint needs nothing else of the log.

With --check it checks such a proof and prints the line. The root in the proof is
whatever who made it wrote: --root says which it must be, as a verified statement
or 'verify' names it.`,
		Example: `  edamame-posture prove .posture 1234 > 1234.tlog-proof
  edamame-posture prove --check 1234.tlog-proof --root CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=`,
		Args: func(cmd *cobra.Command, args []string) error {
			if check != "" {
				return cobra.NoArgs(cmd, args)
			}
			return cobra.ExactArgs(2)(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if check != "" {
				return checkProof(cmd, check, against)
			}
			if against != "" {
				return errors.New("--root says of which tree a proof must be that is checked: it goes with --check")
			}
			seq, err := strconv.ParseUint(args[1], 10, 64)
			if err != nil {
				return fmt.Errorf("LEAF %q: want the seq of a line, such as a finding names", args[1])
			}
			at := filepath.Join(args[0], evidenceDir)
			if _, err := os.Stat(at); errors.Is(err, fs.ErrNotExist) {
				return exit(exitNothing, fmt.Errorf("there is no evidence in %s", args[0]))
			}
			e, err := evidence.Open(at)
			if err != nil {
				return exit(exitNo, err)
			}
			defer e.Close()
			// A proof of a log that is not whole would prove nothing.
			if err := e.Verify(); err != nil {
				return exit(exitNo, err)
			}
			text, err := e.ProofText(seq)
			if err != nil {
				return exit(exitNothing, err)
			}
			_, err = cmd.OutOrStdout().Write(text)
			return err
		},
	}
	cmd.Flags().StringVar(&check, "check", "", "check the proof in `FILE`")
	cmd.Flags().StringVar(&against, "root", "", "with --check: the root of the tree, in `BASE64`")
	return cmd
}

func checkProof(cmd *cobra.Command, file, against string) error {
	text, err := readBounded(file, maxProof)
	if err != nil {
		return err
	}
	p, note, err := evidence.ParseProof(text)
	if err != nil {
		return exit(exitNo, fmt.Errorf("%s: %w", file, err))
	}
	if against != "" {
		var want evidence.Hash
		if err := want.UnmarshalText([]byte(against)); err != nil {
			return fmt.Errorf("--root: %w", err)
		}
		if note.Root != want {
			return exit(exitNo, fmt.Errorf("%s: its checkpoint has the root %s, and --root says %s: it is of another log", file, note.Root, want))
		}
	}
	if err := p.Verify(note.Root); err != nil {
		return exit(exitNo, fmt.Errorf("%s: %w", file, err))
	}
	fmt.Fprintln(cmd.OutOrStdout(), escaped(p.Line))
	if against == "" {
		fmt.Fprintf(os.Stderr, "edamame-posture: this line stands in the tree with root %s; whether that is the root of the run in question, --root says\n", note.Root)
	}
	return nil
}

// escaped returns a line of JSON of the same meaning without what a terminal or
// an eye may take for something else. Such characters stand in strings only.
func escaped(line string) string {
	var b strings.Builder
	for _, r := range line {
		if unicode.IsPrint(r) {
			b.WriteRune(r)
			continue
		}
		for _, u := range utf16.Encode([]rune{r}) {
			fmt.Fprintf(&b, `\u%04x`, u)
		}
	}
	return b.String()
}
