package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/org/edamame-posture/pkg/attest"
	"github.com/org/edamame-posture/pkg/evidence"
)

// maxAttestation bounds an attestation.json that is read, in bytes.
const maxAttestation = 1 << 20

func verifyCommand() *cobra.Command {
	var keyFile string
	cmd := &cobra.Command{
		Use:   "verify [--key PUB] DIR",
		Short: "Check that evidence is whole, and who signed it",
		Long: `Checks the evidence in a folder of results: that every file is what the
manifest says, that the log and its checkpoints give the same tree, that the
verdict is what the log comes to, and with --key that the statement about it was
signed with that key.

Without --key it says only that the files fit together: anyone may have written
them.

Exit code: 0 good, 1 refused, 2 unreadable, 5 there is no evidence.`,
		Example: "  edamame-posture verify .posture\n  edamame-posture verify --key release.pub .posture",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := args[0]
			out := cmd.OutOrStdout()
			var pub any
			if keyFile != "" {
				pem, err := readBounded(keyFile, 1<<20)
				if err != nil {
					return fmt.Errorf("--key: %w", err)
				}
				if pub, err = attest.LoadPublicKey(pem); err != nil {
					return fmt.Errorf("%s: %w", keyFile, err)
				}
			}
			ev := filepath.Join(dir, evidenceDir)
			if _, err := os.Stat(ev); errors.Is(err, os.ErrNotExist) {
				return exit(exitNothing, fmt.Errorf("there is no evidence in %s", dir))
			}
			e, err := evidence.Open(ev)
			if err != nil {
				return exit(exitNo, err)
			}
			defer e.Close()
			if err := e.Verify(); err != nil {
				return exit(exitNo, err)
			}
			m := e.Manifest()
			fmt.Fprintf(out, "evidence: whole, %d events, tree root %s\n", m.Tree.Size, m.Tree.Root)
			got, err := recompute(ev)
			if err != nil {
				return exit(exitNo, err)
			}
			want, err := readBounded(filepath.Join(dir, verdictFile), maxVerdict)
			if err != nil {
				return exit(exitNo, err)
			}
			encoded := got.Encode()
			if string(encoded) != string(want) {
				return exit(exitNo, fmt.Errorf("the verdict is not what the log comes to: %s", firstDifference(want, encoded)))
			}
			fmt.Fprintf(out, "verdict:  %s, score %d, computed again from the log\n", got.Verdict, got.Score)
			if keyFile == "" {
				fmt.Fprintln(out, "signature: not checked; anyone may have written these files (--key PUB checks)")
				return nil
			}
			bundle, err := readBounded(filepath.Join(dir, attestationFile), maxAttestation)
			if errors.Is(err, os.ErrNotExist) {
				return exit(exitNothing, fmt.Errorf("there is no %s in %s: it was not signed", attestationFile, dir))
			}
			if err != nil {
				return err
			}
			manifest, err := readBounded(filepath.Join(ev, "manifest.json"), 4<<20)
			if err != nil {
				return err
			}
			if _, err := attest.Verify(bundle, pub, manifest); err != nil {
				return exit(exitNo, err)
			}
			fmt.Fprintf(out, "signature: good, by the key in %s, over this evidence\n", keyFile)
			return nil
		},
	}
	cmd.Flags().StringVar(&keyFile, "key", "", "public key in `PUB` (PEM) that must have signed it")
	return cmd
}
