package main

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/org/edamame-posture/pkg/attest"
	"github.com/org/edamame-posture/pkg/evidence"
	"github.com/org/edamame-posture/pkg/judge"
	"github.com/org/edamame-posture/pkg/service"
	"github.com/org/edamame-posture/pkg/witness"
)

const (
	// enrolledWithin is how long a signature of the service may take; no server is asked.
	enrolledWithin = 30 * time.Second
	// enrolledFor is how long an enrolment holds that no other end was given.
	enrolledFor = 365 * 24 * time.Hour
	maxKeyFile  = 64 << 10
)

func serviceEnrolCommand() *cobra.Command {
	var p service.Place
	var key, name, repository, id, until string
	cmd := &cobra.Command{
		Use:   "enrol --name NAME",
		Short: "Make this machine's key, and say what a gate needs to believe it",
		Long: `Makes a key in a file that root alone can read, unless it is there, and prints
what goes into the service's settings and into a release gate's policy. It
changes neither.`,
		Example: "  sudo edamame-posture service enrol --name build-7.example.org --repository octo/app --repository-id 4321",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := service.CheckName(name); err != nil {
				return fmt.Errorf("--name: %w", err)
			}
			if until == "" {
				until = time.Now().Add(enrolledFor).UTC().Format(time.DateOnly)
			} else if day, err := time.Parse(time.DateOnly, until); err != nil {
				return fmt.Errorf("--until %.40q: want a day, such as 2027-03-31", until)
			} else if !time.Now().Before(day) {
				return fmt.Errorf("--until %s: that day has come: a gate would refuse all that this machine signs", until)
			}
			if err := needRoot(cmd, p.Root); err != nil {
				return err
			}
			at := filepath.Join(p.Root, key)
			made, err := makeKey(at)
			if err != nil {
				return exit(exitNo, err)
			}
			signer, err := readEnrolled(at)
			if err != nil {
				return exit(exitNo, err)
			}
			der, err := x509.MarshalPKIXPublicKey(signer.Public())
			if err != nil {
				return exit(exitNo, err)
			}
			w := cmd.OutOrStdout()
			word := "was there"
			if made {
				word = "is new"
			}
			fmt.Fprintf(w, "# The key in %s %s. It stays on this machine.\n\n", at, word)
			fmt.Fprintf(w, "# For %s, then: systemctl restart edamame-posture\nsign:\n  name: %s\n", service.SettingsFile, name)
			if key != service.KeyFile {
				fmt.Fprintf(w, "  key: %s\n", key)
			}
			fmt.Fprintf(w, "  # subjects: [dist/*]   # what a statement is about, below a job's checkout\n\n")
			fmt.Fprintf(w, "# For the gate's policy\nidentities:\n  - service: %s\n    key: %[1]s.pub\n    runs: [%q]\n    repository: %s\n    repository-id: %s\n    until: %s\n\n",
				name, (&service.Sign{Name: name}).Runs(), repository, id, until)
			fmt.Fprintf(w, "# For the file %s.pub beside it\n%s", name, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
			return nil
		},
	}
	placeFlags(cmd, &p)
	fl := cmd.Flags()
	fl.StringVar(&name, "name", "", "what policies call this machine: `NAME`, as its host name")
	fl.StringVar(&key, "key", service.KeyFile, "where the key is: `FILE`")
	fl.StringVar(&repository, "repository", "OWNER/REPO", "the repository whose jobs it may vouch for, `OWNER/REPO`")
	fl.StringVar(&id, "repository-id", "ID # gh api repos/OWNER/REPO --jq .id", "its `NUMBER`")
	fl.StringVar(&until, "until", "", "the `DAY` on which the enrolment ends; a year from now if left out")
	return cmd
}

// makeKey makes a key for signing in a file of root's alone. It reports false
// where a file is there.
func makeKey(path string) (made bool, err error) {
	if _, err := os.Lstat(path); err == nil {
		return false, nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return false, err
	}
	private, _, err := attest.GenerateKey()
	if err != nil {
		return false, err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return false, err
	}
	_, err = f.Write(private)
	return true, errors.Join(err, f.Sync(), f.Close())
}

// readEnrolled reads the machine's key. A file that a job could have read, or
// written, is none.
func readEnrolled(path string) (crypto.Signer, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("the machine's key: %w: make it with service enrol", err)
	}
	if err != nil {
		return nil, fmt.Errorf("the machine's key: %w", err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	switch {
	case !ok || !st.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a regular file", path)
	case int(sys.Uid) != os.Geteuid() || st.Mode().Perm()&0o077 != 0:
		return nil, fmt.Errorf("%s is user %d's, with mode %04o: a job may have read it. Take it from every policy, remove it, and make another with service enrol", path, sys.Uid, st.Mode().Perm())
	}
	data, err := io.ReadAll(io.LimitReader(f, maxKeyFile))
	if err != nil {
		return nil, err
	}
	signer, err := attest.LoadKey(data, nil)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return signer, nil
}

// vouching is what the signing process is given, as JSON, about a job that
// begins.
type vouching struct {
	Commitment []byte          `json:"commitment"`
	Job        evidence.Claims `json:"job"` // without its issuer, which the machine is
}

// serviceSignCommand signs with the machine's key, and ends: no process that
// jobs can speak to has it in its memory.
func serviceSignCommand() *cobra.Command {
	var config, workspace string
	cmd := &cobra.Command{
		Use:    "sign [DIR]",
		Short:  "Sign a job's begin, or the recording in DIR; started by service run",
		Hidden: true,
		Args:   cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := serviceSettings(config)
			if err != nil {
				return err
			}
			if s.Sign == nil {
				return fmt.Errorf("%s: nothing says as whom to sign", config)
			}
			signer, err := readEnrolled(s.Sign.Key)
			if err != nil {
				return exit(exitNo, err)
			}
			by := &attest.Key{Signer: signer}
			if len(args) == 0 {
				err = vouch(cmd.Context(), cmd.InOrStdin(), cmd.OutOrStdout(), s.Sign.Name, by)
			} else {
				err = attestJob(cmd.Context(), args[0], workspace, s.Sign.Subjects, by)
			}
			if err != nil {
				return exit(exitNo, err)
			}
			return nil
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&config, "config", service.SettingsFile, "the settings, `FILE`")
	fl.StringVar(&workspace, "workspace", "", "the job's checkout, `DIR`")
	return cmd
}

// vouch signs that a commitment is about a job.
func vouch(ctx context.Context, in io.Reader, out io.Writer, name string, by *attest.Key) error {
	var v vouching
	if err := json.NewDecoder(io.LimitReader(in, maxBeginning)).Decode(&v); err != nil {
		return err
	}
	v.Job.Issuer = witness.ServiceIssuer(name)
	payload, err := attest.DescribeStart(v.Commitment, &v.Job)
	if err != nil {
		return err
	}
	bundle, err := attest.SignPayload(ctx, payload, by)
	if err != nil {
		return err
	}
	_, err = out.Write(bundle)
	return err
}

// attestJob signs the recording of a job in a folder of root's. What of its
// subjects cannot be told is left out, and said on stderr: a job can make that
// so, and the rest counts all the same.
func attestJob(ctx context.Context, dir, workspace string, patterns []string, by *attest.Key) error {
	stmt, err := attest.Describe(dir, toolVersion())
	if err != nil {
		return err
	}
	var v judge.Verdict
	data, err := os.ReadFile(filepath.Join(dir, verdictFile))
	if err == nil {
		err = json.Unmarshal(data, &v)
	}
	if err != nil {
		return err
	}
	var subjects []attest.Subject
	if v.Run.Commit != "" {
		subjects = append(subjects, attest.Subject{Name: v.Run.Repository, Digest: attest.Digest{GitCommit: strings.ToLower(v.Run.Commit)}})
	}
	for _, p := range patterns {
		if workspace == "" {
			break
		}
		files, err := attest.Files(workspace, []string{p})
		switch {
		case err == nil:
			subjects = append(subjects, files...)
		case !errors.Is(err, attest.ErrNoSubject) && !errors.Is(err, fs.ErrNotExist): // jobs differ in what they make
			fmt.Fprintf(os.Stderr, "not a subject: %v\n", err)
		}
	}
	for _, sub := range subjects {
		if err := stmt.AddSubject(sub); err != nil {
			fmt.Fprintf(os.Stderr, "not a subject: %v\n", err)
		}
	}
	bundle, err := attest.Sign(ctx, stmt, by)
	if err != nil {
		return err
	}
	return writeNew(filepath.Join(dir, attestationFile), bundle)
}

// enrolled signs as the machine, by a process of its own for each signature.
type enrolled struct {
	config string
	log    *service.Journal
}

// vouch returns the signed statement about a job's commitment.
func (e *enrolled) vouch(commitment []byte, job evidence.Claims) ([]byte, error) {
	in, err := json.Marshal(vouching{commitment, job})
	if err != nil {
		return nil, err
	}
	out, _, err := e.sign(in)
	return out, err
}

// attest signs the closed recording in dir, of a job that worked in workspace.
func (e *enrolled) attest(dir, workspace string) error {
	_, said, err := e.sign(nil, "--workspace", workspace, dir)
	if err == nil && len(said) > 0 {
		e.log.Warn("job %s: %s", filepath.Base(dir), said)
	}
	return err
}

func (e *enrolled) sign(in []byte, args ...string) (out, said []byte, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), enrolledWithin)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/proc/self/exe", append([]string{"service", "sign", "--config", e.config}, args...)...)
	var stderr bytes.Buffer
	cmd.Stdin, cmd.Stderr, cmd.Env, cmd.WaitDelay = bytes.NewReader(in), &stderr, []string{"PATH=/usr/bin:/bin"}, time.Second
	out, err = cmd.Output()
	said = bytes.TrimSpace(stderr.Bytes())
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %.2000s", err, said)
	}
	return out, said, nil
}
