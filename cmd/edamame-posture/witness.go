package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"os/signal"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/org/edamame-posture/pkg/witness"
)

// Times of the witness's connections.
const (
	readWithin  = 15 * time.Second
	writeWithin = 60 * time.Second
	idleWithin  = 2 * time.Minute
	stopWithin  = 10 * time.Second
)

func witnessCommand() *cobra.Command {
	var cfg witness.Config
	var issuer witness.Issuer
	var keyFile, services, listen, cert, certKey string
	cmd := &cobra.Command{
		Use:   "witness --dir DIR --key FILE --listen ADDR",
		Short: "Hold on this machine what logs of jobs on other machines say of themselves",
		Long: `A server for a platform team. While jobs run it is told the commitment and the
checkpoints of their logs. A release gate asks it afterwards which commitment of
a job was the first, whether a log had two histories, and whether its end was
held back. It speaks C2SP tlog-witness.

Logs are made known by jobs with an OIDC token (--issuer, --jwks, and --owner-id
or --repository-id) or by enrolled machines (--services). See docs/witness.md.`,
		Example: `  edamame-posture witness keygen --name witness.example.org --key witness.key
  edamame-posture witness jwks --issuer https://token.actions.githubusercontent.com --out jwks.json
  edamame-posture witness --dir records --key witness.key --listen :8443 --tls-cert cert.pem --tls-key key.pem \
    --issuer https://token.actions.githubusercontent.com --jwks jwks.json --owner-id 12345`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cfg.Dir == "" || keyFile == "" || listen == "" {
				return errors.New("--dir, --key and --listen must be given (see edamame-posture witness --help)")
			}
			if (cert == "") != (certKey == "") {
				return errors.New("--tls-cert and --tls-key go together")
			}
			if (issuer.URL == "") != (issuer.JWKS == "") {
				return errors.New("--issuer and --jwks go together")
			}
			if issuer.URL != "" {
				cfg.Issuers = []witness.Issuer{issuer}
			}
			var err error
			if cfg.Key, err = witness.ReadKey(keyFile); err != nil {
				return fmt.Errorf("--key: %w", err)
			}
			if services != "" {
				b, err := readBounded(services, 1<<20)
				if err != nil {
					return fmt.Errorf("--services: %w", err)
				}
				if cfg.Services, err = witness.ParseServices(b); err != nil {
					return fmt.Errorf("%s: %w", services, err)
				}
			}
			cfg.Log = log.New(cmd.ErrOrStderr(), "", 0)
			return serveWitness(cmd.Context(), cfg, listen, cert, certKey)
		},
	}
	f := cmd.Flags()
	f.StringVar(&cfg.Dir, "dir", "", "folder `DIR` of the records, for this witness alone")
	f.StringVar(&keyFile, "key", "", "the witness's key, `FILE` as keygen makes it")
	f.StringVar(&listen, "listen", "", "address `ADDR` to listen on, such as :8443")
	f.StringVar(&cert, "tls-cert", "", "certificate chain for TLS, `FILE` in PEM")
	f.StringVar(&certKey, "tls-key", "", "its key, `FILE` in PEM")
	f.StringVar(&issuer.URL, "issuer", "", "`URL` of the OIDC issuer whose tokens say which job it is")
	f.StringVar(&issuer.JWKS, "jwks", "", "`FILE` with the issuer's keys; read again when it changes")
	f.StringSliceVar(&issuer.Owners, "owner-id", nil, "serve jobs of repositories of the owner with this number, `ID`; may be given more than once")
	f.StringSliceVar(&issuer.Repositories, "repository-id", nil, "serve jobs of the repository with this number, `ID`; may be given more than once")
	f.StringVar(&services, "services", "", "`FILE` of enrolled machines: a verifier key and prefixes of runs a line")
	f.IntVar(&cfg.MaxSlots, "max-logs", 0, "how many logs to hold in all; 100000 if left out")
	f.IntVar(&cfg.MaxPerParty, "max-logs-of-one", 0, "how many logs to hold of one repository or machine; 10000 if left out")
	cmd.AddCommand(witnessKeygenCommand(), witnessJWKSCommand())
	return cmd
}

// serveWitness serves until SIGTERM or SIGINT. Requests under way are answered
// first.
func serveWitness(ctx context.Context, cfg witness.Config, listen, cert, certKey string) error {
	ctx, stop := signal.NotifyContext(ctx, unix.SIGTERM, unix.SIGINT)
	defer stop()
	s, err := witness.Open(cfg)
	if err != nil {
		return err
	}
	defer s.Close()
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", listen)
	if err != nil {
		return fmt.Errorf("--listen: %w", err)
	}
	srv := &http.Server{
		Handler: s, ErrorLog: cfg.Log,
		ReadHeaderTimeout: readWithin, ReadTimeout: readWithin, WriteTimeout: writeWithin, IdleTimeout: idleWithin,
		MaxHeaderBytes: 32 << 10, TLSConfig: &tls.Config{MinVersion: tls.VersionTLS12},
	}
	done := make(chan error, 1)
	go func() {
		if cert != "" {
			done <- srv.ServeTLS(l, cert, certKey)
		} else {
			done <- srv.Serve(l)
		}
	}()
	cfg.Log.Printf("witness %s listens on %s", s.Name(), l.Addr())
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWithin)
	defer cancel()
	if err := srv.Shutdown(ctx); err != nil {
		// Who is still sending after that is cut off; nothing was answered.
		return errors.Join(err, srv.Close())
	}
	return nil
}

func witnessKeygenCommand() *cobra.Command {
	var name, file string
	cmd := &cobra.Command{
		Use:   "keygen --name NAME --key FILE",
		Short: "Make a witness's key, or an enrolled machine's",
		Long: `Makes an Ed25519 key in the form of C2SP signed-note, writes it to FILE, which
must not be there, and prints the verifier key in two forms: the first is what
gates and runs pin and what --services takes, the second that of C2SP
cosignature/v1 for other programs.`,
		Example: "  edamame-posture witness keygen --name witness.example.org --key witness.key",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if name == "" || file == "" {
				return errors.New("--name and --key must be given")
			}
			key, verifier, cosigner, err := witness.NewKey(name)
			if err != nil {
				return err
			}
			if err := witness.WriteKey(file, key); err != nil {
				return fmt.Errorf("--key: %w", err)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s\n%s\n", verifier, cosigner)
			return nil
		},
	}
	cmd.Flags().StringVar(&name, "name", "", "`NAME` of the witness: its host name, or URL without scheme")
	cmd.Flags().StringVar(&file, "key", "", "`FILE` to write the key to")
	return cmd
}

func witnessJWKSCommand() *cobra.Command {
	var issuer, out string
	var keep bool
	cmd := &cobra.Command{
		Use:   "jwks --issuer URL --out FILE",
		Short: "Fetch an OIDC issuer's keys for --jwks",
		Long: `Asks the issuer for its keys and puts them in FILE, in one step, so that a running
witness reads the old or the new ones. To be called by a timer: issuers change
their keys without notice. Where it fails FILE stays as it is. With --keep the
keys that are in FILE stay in it, for a gate that checks tokens of then: no file
for a witness, which must not take what an old key signs.

Exit code: 0 done, 4 the issuer did not answer.`,
		Example: "  edamame-posture witness jwks --issuer https://token.actions.githubusercontent.com --out jwks.json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if issuer == "" || out == "" {
				return errors.New("--issuer and --out must be given")
			}
			save := witness.SaveJWKS
			if keep {
				save = witness.KeepJWKS
			}
			err := save(cmd.Context(), issuer, out)
			if errors.Is(err, witness.ErrDown) {
				return exit(exitNoAnswer, err)
			}
			return err
		},
	}
	cmd.Flags().StringVar(&issuer, "issuer", "", "`URL` of the issuer, as in its tokens")
	cmd.Flags().StringVar(&out, "out", "", "`FILE` to write")
	cmd.Flags().BoolVar(&keep, "keep", false, "add to the keys in FILE, for a gate")
	return cmd
}
