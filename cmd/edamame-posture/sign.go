package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/org/edamame-posture/pkg/attest"
	"github.com/org/edamame-posture/pkg/evidence"
	"github.com/org/edamame-posture/pkg/github"
	"github.com/org/edamame-posture/pkg/report"
)

// Words of --signing-config and --trusted-root, whatever files are there.
var (
	configWords = []string{"public", "github"}
	rootWords   = []string{"public", "tuf"}
)

// statementFile is what could not be signed yet.
const statementFile = "statement.json"

// signBudget is how long servers may keep a job waiting for its signature.
const signBudget = time.Minute

// signing says how evidence is signed, and what else it is about.
type signing struct {
	key, passwordFile, passwordEnv string
	keyless                        bool
	token, config, root            string
	subjects                       []string
	budget                         time.Duration
	upload                         bool
	workspace                      string // what the subjects are relative to
}

func (s *signing) flags(fl *pflag.FlagSet) {
	fl.StringVar(&s.key, "key", "", "sign the evidence with the private key in `FILE` (PEM), or of a plug-in sigstore-kms-NAME as NAME://KEY")
	fl.StringVar(&s.passwordFile, "key-password-file", "", "`FILE` that holds the password of an encrypted key")
	fl.StringVar(&s.passwordEnv, "key-password-env", "", "`NAME` of the variable that holds the password of an encrypted key")
	fl.BoolVar(&s.keyless, "keyless", false, "sign the evidence with the job's identity (Sigstore)")
	fl.StringVar(&s.token, "identity-token", "", "`FILE` with the identity token for --keyless, where the runner gives none")
	fl.StringVar(&s.config, "signing-config", "", "the servers to sign with: public, github, or a `FILE`; left out, public for public repositories and github for others")
	fl.StringVar(&s.root, "trusted-root", "", "check the signature against public, tuf or a `FILE`, before it counts as made")
	fl.StringArrayVar(&s.subjects, "subject", nil, "files that the statement is about too, as `GLOB`, as often as needed")
	fl.BoolVar(&s.upload, "upload", false, "store the attestation at GitHub too, with GITHUB_TOKEN (attestations: write)")
	fl.DurationVar(&s.budget, "sign-budget", signBudget, "how long signing may take, if servers are down or slow")
}

// wanted reports whether anything is to be signed.
func (s *signing) wanted() bool { return s.key != "" || s.keyless }

// check finds mistakes before the command runs for an hour.
func (s *signing) check() error {
	switch {
	case s.key != "" && s.keyless:
		return errors.New("--key and --keyless are two ways to sign: choose one")
	case !s.wanted() && len(s.subjects) > 0:
		return errors.New("--subject says what a signed statement is about, and nothing is signed: add --keyless or --key FILE")
	case !s.wanted() && s.config != "":
		return errors.New("--signing-config says with which servers to sign, and nothing is signed: add --keyless or --key FILE")
	case !s.wanted() && s.upload:
		return errors.New("--upload stores what was signed, and nothing is signed: add --keyless or --key FILE")
	case s.token != "" && !s.keyless:
		return errors.New("--identity-token goes with --keyless")
	case s.passwordFile != "" && s.passwordEnv != "":
		return errors.New("--key-password-file and --key-password-env: choose one")
	case !s.wanted() && (s.passwordFile != "" || s.passwordEnv != ""):
		return errors.New("--key-password-file and --key-password-env are the password of --key FILE, which is not given")
	case s.budget <= 0:
		return errors.New("--sign-budget wants a time, such as 60s")
	}
	for _, g := range s.subjects {
		if _, err := path.Match(g, ""); err != nil {
			return fmt.Errorf("--subject %q is no pattern: %w", g, err)
		}
	}
	return nil
}

// args are the flags for a process of ours that signs later and elsewhere, so
// that files are named in full.
func (s *signing) args() []string {
	if !s.wanted() {
		return nil
	}
	cwd, _ := os.Getwd()
	args := []string{"--workspace", cwd, "--sign-budget", s.budget.String()}
	file := func(flag, name string) {
		if name != "" {
			if abs, err := filepath.Abs(name); err == nil {
				name = abs
			}
			args = append(args, flag, name)
		}
	}
	word := func(flag, name string, known ...string) {
		for _, k := range known {
			if name == k {
				args = append(args, flag, name)
				return
			}
		}
		file(flag, name)
	}
	if attest.IsKMS(s.key) {
		args = append(args, "--key", s.key)
	} else {
		file("--key", s.key)
	}
	file("--key-password-file", s.passwordFile)
	file("--identity-token", s.token)
	word("--signing-config", s.config, configWords...)
	word("--trusted-root", s.root, rootWords...)
	if s.passwordEnv != "" {
		args = append(args, "--key-password-env", s.passwordEnv)
	}
	if s.keyless {
		args = append(args, "--keyless")
	}
	if s.upload {
		args = append(args, "--upload")
	}
	for _, g := range s.subjects {
		args = append(args, "--subject", g)
	}
	return args
}

// signer returns what signs. ctx must live until it has.
func (s *signing) signer(ctx context.Context) (attest.Signer, error) {
	trusted, err := loadRoot(s.root)
	if err != nil {
		return nil, err
	}
	servers, err := loadServices(s.config)
	if err != nil {
		return nil, err
	}
	if s.keyless {
		k := &attest.Keyless{Token: attest.JobToken(os.Getenv), Services: servers, Root: trusted}
		if s.token != "" {
			k.Token = attest.FileToken(s.token)
		}
		return k, nil
	}
	k := &attest.Key{Services: servers, Root: trusted}
	if attest.IsKMS(s.key) {
		k.Signer, err = attest.LoadKMS(ctx, s.key)
		return k, err
	}
	pem, err := readBounded(s.key, 1<<20)
	if err != nil {
		return nil, fmt.Errorf("--key: %w", err)
	}
	password, err := s.password()
	if err != nil {
		return nil, err
	}
	k.Signer, err = attest.LoadKey(pem, password)
	if errors.Is(err, attest.ErrEncrypted) {
		return nil, fmt.Errorf("%s: %w, by --key-password-file FILE or --key-password-env NAME", s.key, err)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.key, err)
	}
	return k, nil
}

// rereadable refuses what gives its content once, as a pipe does: a start is
// signed too, and at the end it is read again.
func (s *signing) rereadable() error {
	for _, f := range []struct {
		flag, name string
		words      []string // that name no file
	}{
		{"--key", s.key, nil}, {"--key-password-file", s.passwordFile, nil},
		{"--signing-config", s.config, configWords}, {"--trusted-root", s.root, rootWords},
	} {
		if f.name == "" || slices.Contains(f.words, f.name) {
			continue
		}
		if st, err := os.Stat(f.name); err == nil && !st.Mode().IsRegular() {
			return fmt.Errorf("%s %s: that is no regular file, and it is read twice, when the start is signed and at the end: write it to a file", f.flag, f.name)
		}
	}
	return nil
}

func (s *signing) password() ([]byte, error) {
	switch {
	case s.passwordFile != "":
		b, err := readBounded(s.passwordFile, 1<<16)
		if err != nil {
			return nil, fmt.Errorf("--key-password-file: %w", err)
		}
		for len(b) > 0 && (b[len(b)-1] == '\n' || b[len(b)-1] == '\r') {
			b = b[:len(b)-1]
		}
		return b, nil
	case s.passwordEnv != "":
		v, set := os.LookupEnv(s.passwordEnv)
		if !set {
			return nil, fmt.Errorf("--key-password-env: there is no variable %s", s.passwordEnv)
		}
		return []byte(v), nil
	}
	return nil, nil
}

func loadRoot(name string) (root.TrustedMaterial, error) {
	switch name {
	case "":
		return nil, nil
	case "public":
		return attest.PublicRoot(), nil
	case "tuf":
		r, err := attest.CachedRoot("", "", nil, false)
		if errors.Is(err, attest.ErrOffline) {
			return nil, fmt.Errorf("--trusted-root tuf: %w (any Sigstore client, such as cosign initialize, makes the copy)", err)
		}
		return r, err
	}
	data, err := readBounded(name, 1<<20)
	if err != nil {
		return nil, fmt.Errorf("--trusted-root: %w", err)
	}
	r, err := attest.LoadTrustedRoot(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return r, nil
}

func loadServices(name string) (*attest.Services, error) {
	switch name {
	case "":
		return nil, nil
	case "public":
		return attest.PublicServices(), nil
	case "github":
		return attest.GitHubServices(), nil
	}
	data, err := readBounded(name, 1<<20)
	if err != nil {
		return nil, fmt.Errorf("--signing-config: %w", err)
	}
	s, err := attest.LoadServices(data, time.Now())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return s, nil
}

// describe makes the statement about a folder of results, with all that the
// flags and the runner say it is about.
func (s *signing) describe(dir string) (*attest.Statement, error) {
	stmt, err := attest.Describe(dir, toolVersion())
	if err != nil {
		return nil, err
	}
	subjects, err := attest.Files(s.workspace, s.subjects)
	if err != nil {
		return nil, fmt.Errorf("--subject: %w", err)
	}
	listed, err := attest.RunnerSubjects(s.workspace, os.Getenv)
	if err != nil {
		return nil, err
	}
	for _, sub := range append(subjects, listed...) {
		if err := stmt.AddSubject(sub); err != nil {
			return nil, err
		}
	}
	return stmt, nil
}

// attest makes the statement about the evidence in a folder of results, and has
// it signed while its caller does something else: wait returns when that is done.
// Where it fails after the statement was made, it is kept beside the evidence.
func (s *signing) attest(ctx context.Context, dir string) (wait func() error) {
	ctx, cancel := context.WithTimeout(ctx, s.budget)
	stmt, err := s.describe(dir)
	done := make(chan error, 1)
	go func() {
		defer cancel()
		if err == nil {
			err = s.leave(ctx, dir, stmt)
		}
		done <- err
	}()
	return func() error { return <-done }
}

// leave signs a statement and leaves it in the folder of results.
func (s *signing) leave(ctx context.Context, dir string, stmt *attest.Statement) error {
	bundle, err := s.bundle(ctx, stmt)
	if err == nil {
		if err := writeNew(filepath.Join(dir, attestationFile), bundle); err != nil {
			return err
		}
		s.vouched(ctx, os.Stderr, dir, stmt)
		return s.store(ctx, os.Stderr, bundle)
	}
	payload, perr := stmt.Encode()
	if perr != nil {
		return errors.Join(err, perr)
	}
	if perr := writeNew(filepath.Join(dir, statementFile), payload); perr != nil {
		return errors.Join(err, perr)
	}
	return err
}

// vouchWithin is how long the issuer may take to say which job signed, of the
// time that is left for storing it.
const vouchWithin = 10 * time.Second

// vouched does what vouch does. Where the issuer does not answer the signature
// is as good as before, but for E3.
func (s *signing) vouched(ctx context.Context, out io.Writer, dir string, stmt *attest.Statement) {
	ctx, cancel := context.WithTimeout(ctx, vouchWithin)
	defer cancel()
	if err := s.vouch(ctx, dir, stmt); err != nil {
		fmt.Fprintf(out, "edamame-posture: signed, but nobody else is told by which job, which a gate asks for (E3): %v\n", err)
	}
}

// vouch has the issuer of the job's identity say which job signs a statement,
// and leaves that beside it: the certificate says only which run.
func (s *signing) vouch(ctx context.Context, dir string, stmt *attest.Statement) error {
	if !s.keyless || s.token != "" {
		return nil // nobody can be asked
	}
	payload, err := stmt.Encode()
	if err != nil {
		return err
	}
	jwt, err := attest.JobToken(os.Getenv)(ctx, evidence.EndAudience(payload))
	if err != nil {
		return err
	}
	return writeNew(filepath.Join(dir, endTokenFile), []byte(jwt))
}

func (s *signing) bundle(ctx context.Context, stmt *attest.Statement) ([]byte, error) {
	signer, err := s.signer(ctx)
	if err != nil {
		return nil, err
	}
	return attest.Sign(ctx, stmt, signer)
}

// errNotStored wraps what kept a signed attestation from being stored.
var errNotStored = errors.New("it is signed, and was not stored at GitHub")

// store puts a signed bundle where others find it, if that was asked.
func (s *signing) store(ctx context.Context, out io.Writer, bundle []byte) error {
	if !s.upload {
		return nil
	}
	at := github.Attestations{API: os.Getenv("GITHUB_API_URL"), Repository: os.Getenv("GITHUB_REPOSITORY"), Token: os.Getenv("GITHUB_TOKEN")}
	if at.Token == "" {
		return fmt.Errorf("%w: there is no GITHUB_TOKEN: give the step 'env: {GITHUB_TOKEN: ${{ github.token }}}'", errNotStored)
	}
	id, err := at.Store(ctx, bundle)
	if err != nil {
		return fmt.Errorf("%w: %w", errNotStored, err)
	}
	fmt.Fprintf(out, "stored: attestation %d of %s\n", id, at.Repository)
	return nil
}

func signCommand() *cobra.Command {
	var s signing
	cmd := &cobra.Command{
		Use:   "sign (--keyless | --key FILE) DIR",
		Short: "Sign the evidence in a folder of results",
		Long: `Makes the statement about the evidence in a folder of results, signs it and
writes attestation.json there. Where a run could not sign, since a server was
down, its statement.json is there: that is signed then, if it is what the
evidence comes to, with the subjects that it names.

What is signed later proves less than what was signed by the run: it says that
the signer had the evidence, not that nobody had changed it before.

Exit code: 0 signed, 1 the evidence is bad or a server refused, 2 bad usage,
4 a server did not answer (try again), 5 there is no evidence.`,
		Example: "  edamame-posture sign --keyless .posture\n  edamame-posture sign --key release.key --subject 'dist/*' .posture",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !s.wanted() {
				return errors.New("say how to sign: --keyless with the job's identity, or --key FILE")
			}
			if err := s.check(); err != nil {
				return err
			}
			dir := args[0]
			if _, err := os.Stat(filepath.Join(dir, evidenceDir)); errors.Is(err, fs.ErrNotExist) {
				return exit(exitNothing, fmt.Errorf("there is no evidence in %s", dir))
			}
			if _, err := os.Lstat(filepath.Join(dir, attestationFile)); err == nil {
				return exit(exitNo, fmt.Errorf("%s in %s is there already: it was signed", attestationFile, dir))
			}
			var err error
			if s.workspace, err = os.Getwd(); err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), s.budget)
			defer cancel()
			signer, err := s.signer(ctx)
			switch {
			case err != nil && attest.IsKMS(s.key):
				return signExit(err)
			case err != nil:
				return err
			}
			stmt, err := s.describe(dir)
			if err != nil {
				return exit(exitNo, err)
			}
			if err := sameVerdict(dir); err != nil {
				return exit(exitNo, err)
			}
			kept := filepath.Join(dir, statementFile)
			switch payload, err := evidence.ReadResult(kept, maxAttestation); {
			case errors.Is(err, fs.ErrNotExist):
			case err != nil:
				return err
			default:
				own := len(stmt.Subject)
				if err := stmt.Resume(payload); err != nil {
					return exit(exitNo, fmt.Errorf("%s: %w", kept, err))
				}
				// Whoever could write the folder chose them: the signer must see it.
				for _, sub := range stmt.Subject[own:] {
					fmt.Fprintf(cmd.ErrOrStderr(), "edamame-posture sign: %s names %s %s, which is taken on its word\n", statementFile, report.Visible(sub.Name), cmp.Or(sub.Digest.SHA256, sub.Digest.GitCommit))
				}
			}
			bundle, err := attest.Sign(ctx, stmt, signer)
			if err != nil {
				return signExit(err)
			}
			if err := writeNew(filepath.Join(dir, attestationFile), bundle); err != nil {
				return exit(exitNo, err)
			}
			s.vouched(ctx, cmd.ErrOrStderr(), dir, stmt)
			if err := os.Remove(kept); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return exit(exitNo, err)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "signed: %s, about %d subjects\n", filepath.Join(dir, attestationFile), len(stmt.Subject))
			if err := s.store(ctx, cmd.OutOrStdout(), bundle); err != nil {
				return signExit(err)
			}
			return nil
		},
	}
	s.flags(cmd.Flags())
	return cmd
}

// sameVerdict refuses a folder whose verdict is not what its evidence comes to.
func sameVerdict(dir string) error {
	stands, err := evidence.ReadResult(filepath.Join(dir, verdictFile), maxVerdict)
	if err != nil {
		return err
	}
	e, err := evidence.Open(filepath.Join(dir, evidenceDir))
	if err != nil {
		return err
	}
	defer e.Close()
	if err := e.Verify(); err != nil {
		return err
	}
	in, err := e.Inputs()
	if err != nil {
		return err
	}
	j, err := e.Replay(in)
	if err != nil {
		return err
	}
	if got := j.Verdict().Encode(); !bytes.Equal(got, stands) {
		return fmt.Errorf("the verdict in %s is not what the evidence comes to: %s", dir, firstDifference(stands, got))
	}
	return nil
}

// signExit tells a server that is down from all that trying again cannot help.
func signExit(err error) error {
	if errors.Is(err, attest.ErrUnavailable) {
		return exit(exitNoAnswer, fmt.Errorf("%w (nothing is wrong with the evidence: try again later)", err))
	}
	return exit(exitNo, err)
}
