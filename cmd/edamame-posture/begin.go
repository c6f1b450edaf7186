package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/org/edamame-posture/pkg/evidence"
	"github.com/org/edamame-posture/pkg/monitor"
)

// beginning is what begin reads first, one line of JSON: what its caller has
// found out meanwhile.
type beginning struct {
	Job    string           `json:"job,omitempty"`
	Cwd    string           `json:"cwd"`
	Home   string           `json:"home"`
	Intent []byte           `json:"intent,omitempty"` // canonical
	File   string           `json:"file,omitempty"`   // where the intent was read, if that was on this machine
	SHA256 string           `json:"sha256,omitempty"` // of what stood there
	Later  string           `json:"later,omitempty"`  // a file that may still come
	Claims *evidence.Claims `json:"claims,omitempty"`
	Masked []string         `json:"masked,omitempty"`
	// Keys are as in monitor.Opening.
	Keys map[string]string `json:"keys,omitempty"`
	Drop *monitor.Drop     `json:"drop,omitempty"`
	// Dating is as in monitor.Opening.
	Dating *monitor.Dating `json:"dating,omitempty"`
}

// began is what begin answers.
type began struct {
	started
	Joined     bool   `json:"joined,omitempty"` // somebody watches already; the rest is empty
	Ring       string `json:"ring,omitempty"`
	Commitment []byte `json:"commitment,omitempty"`
	Checkpoint string `json:"checkpoint,omitempty"`
	Size       uint64 `json:"size,omitempty"` // of the log, for a witness
	NotDropped string `json:"not_dropped,omitempty"`
}

// heard is what begin reads last: what others say of the commitment.
type heard struct {
	Files map[string][]byte `json:"files"`
	Kept  uint64            `json:"kept,omitempty"` // size of the log that a witness holds
}

// maxBeginning bounds a line that begin reads, in bytes.
const maxBeginning = 4 << 20

// beginCommand is the root's part of what the action does before a job's first
// step. It is spoken to over stdin and stdout, one line of JSON each way and
// another one in, since what it waits for comes over the network, which root
// does not use. Its settings are flags, so that no environment is trusted.
func beginCommand() *cobra.Command {
	var (
		out, sensor string
		parent      uint32
		witnessed   bool
		noTLS       bool
		bell        monitor.Bell
	)
	cmd := &cobra.Command{
		Use:    "begin --parent PID --out DIR",
		Short:  "Begin to watch a job; started by action",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if os.Geteuid() != 0 {
				return errors.New("begin needs root")
			}
			say := json.NewEncoder(cmd.OutOrStdout())
			if id := monitor.Watched(parent); id != "" {
				return say.Encode(began{started: started{ID: id}, Joined: true})
			}
			caller, err := monitor.FindCaller()
			if err != nil {
				return err
			}
			program := sealedProgram()
			// Its messages would go to a pipe that is read no more once this
			// command has ended.
			client, err := monitor.Launch(monitor.LaunchOptions{Sensor: sensor, NoTLS: noTLS, Sealed: true, Out: out, Caller: caller, Args: []string{"monitor"}, Program: program})
			program.Close() // nil too
			if err != nil {
				return exit(exitNo, fmt.Errorf("the monitor could not start: %w", err))
			}
			// It is armed; what the recording is of may still be looked up.
			lines := bufio.NewScanner(io.LimitReader(cmd.InOrStdin(), 2*maxBeginning))
			lines.Buffer(nil, maxBeginning)
			var b beginning
			if err := nextLine(lines, &b); err != nil {
				client.Close()
				return err
			}
			bell.Program, err = os.Executable()
			if err != nil {
				client.Close()
				return err
			}
			opened, err := client.Open(monitor.Opening{
				Cwd: b.Cwd, Home: b.Home, Job: b.Job, Intent: b.Intent, PolicyFile: b.File, PolicySHA256: b.SHA256, Later: b.Later,
				Claims: b.Claims, Masked: b.Masked, Keys: b.Keys, Parent: parent, Detach: true, Bell: &bell, Witnessed: witnessed, Drop: b.Drop, Dating: b.Dating,
			})
			if err != nil {
				client.Close()
				return exit(exitNo, err)
			}
			defer client.HangUp()
			answer := began{
				started: started{Socket: client.Socket(), Spool: opened.Spool, ID: opened.ID, Sensor: opened.Sensor, Out: out},
				Ring:    opened.Ring, Commitment: opened.Commitment, Checkpoint: opened.Checkpoint,
				NotDropped: opened.NotDropped,
			}
			if witnessed {
				if shown, err := client.Shown(); err == nil {
					answer.Size = shown.Size
				}
			}
			if err := say.Encode(answer); err != nil {
				return err
			}
			var others heard
			if err := nextLine(lines, &others); errors.Is(err, io.EOF) {
				return nil // nobody else heard of it
			} else if err != nil {
				return err
			}
			if others.Kept > 0 {
				if err := client.Kept(monitor.Kept{Size: others.Kept}); err != nil {
					return exit(exitNo, err)
				}
			}
			for _, name := range []string{evidence.StartTokenFile, evidence.StartBundleFile, evidence.RecordFile} {
				if data := others.Files[name]; len(data) > 0 {
					if err := client.Attach(name, data); err != nil {
						return exit(exitNo, err)
					}
				}
			}
			return nil
		},
	}
	fl := cmd.Flags()
	fl.Uint32Var(&parent, "parent", 0, "`PID` of the process whose children to watch")
	fl.StringVar(&out, "out", "", "folder for the results, which the caller has made")
	fl.StringVar(&sensor, "sensor", "auto", "auto, ebpf or netlink")
	fl.BoolVar(&noTLS, "no-tls", false, "do not read requests inside TLS")
	fl.BoolVar(&witnessed, "witnessed", false, "the caller shows the log to a witness")
	fl.StringVar(&bell.Script, "bell", "", "`FILE` that the last step is started with, which alone may end it")
	fl.StringArrayVar(&bell.Files, "bell-file", nil, "`FILE` that it loads")
	return cmd
}

// nextLine reads one line of JSON. The error is io.EOF where there is none.
func nextLine(lines *bufio.Scanner, v any) error {
	if !lines.Scan() {
		if err := lines.Err(); err != nil {
			return err
		}
		return io.EOF
	}
	return json.Unmarshal(lines.Bytes(), v)
}
