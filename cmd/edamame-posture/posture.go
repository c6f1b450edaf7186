package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/org/edamame-posture/pkg/judge"
	"github.com/org/edamame-posture/pkg/monitor"
	"github.com/org/edamame-posture/pkg/posture"
	"github.com/org/edamame-posture/pkg/redact"
	"github.com/org/edamame-posture/pkg/report"
)

const (
	// postureWithin is how long the machine may take to be read.
	postureWithin = 10 * time.Second
	// maxStoredPosture bounds a stored snapshot in bytes.
	maxStoredPosture = 16 << 20
)

// failSeverities are the words of --fail-on.
var failSeverities = []string{"info", "low", "medium", "high", "critical"}

func postureCommand() *cobra.Command {
	var asJSON bool
	var failOn, compare, name, workspace string
	cmd := &cobra.Command{
		Use:   "posture",
		Short: "Say what is weak about this machine as a runner, and what changed since a snapshot",
		Long: `Says what is weak about this machine for the user that jobs run as: who may
become root, what starts by itself, which keys and tokens lie about, whom it
trusts, what an earlier job may have left. The gravest stands first, each with
why it matters, what to do and which controls ask for it. What could not be
read is named at the end; root can read more.

With --compare it says what changed since a snapshot that --json wrote.

Exit code: 0; 1 where something is at least as grave as --fail-on, and with
--compare where something changed.`,
		Example: `  sudo edamame-posture posture --user runner
  edamame-posture posture --fail-on high
  sudo edamame-posture posture --json > before.json
  sudo edamame-posture posture --compare before.json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if failOn != "" && !slices.Contains(failSeverities, failOn) {
				return fmt.Errorf("--fail-on %q: want one of %s", failOn, strings.Join(failSeverities, ", "))
			}
			before, err := storedPosture(compare)
			if err != nil {
				return fmt.Errorf("--compare: %w", err)
			}
			who, path, err := postureUser(name)
			if err != nil {
				return err
			}
			if s, err := os.Stat(cmp.Or(workspace, ".")); err != nil || !s.IsDir() {
				return fmt.Errorf("--workspace: %s is no folder: name the checkout", report.Visible(workspace))
			}
			now, err := takePosture(cmd.Context(), who, path, workspace)
			if err != nil {
				return err
			}
			if before != nil {
				return tellDrift(cmd.OutOrStdout(), posture.Compare(before, now), asJSON, failOn)
			}
			if asJSON {
				err = writeJSON(cmd.OutOrStdout(), now)
			} else {
				err = tellPosture(cmd.OutOrStdout(), now)
			}
			if err == nil && failOn != "" && len(now.Items) > 0 && judge.Rank(now.Worst()) >= judge.Rank(judge.Severity(failOn)) {
				err = exit(exitNo, nil)
			}
			return err
		},
	}
	f := cmd.Flags()
	f.BoolVar(&asJSON, "json", false, "print JSON, which --compare reads")
	f.StringVar(&failOn, "fail-on", "", "exit 1 where something is at least of this `SEVERITY`: "+strings.Join(failSeverities, ", "))
	f.StringVar(&compare, "compare", "", "say what changed since the snapshot in `FILE`")
	f.StringVar(&name, "user", "", "the `NAME` of the user that jobs run as; the caller if left out")
	f.StringVar(&workspace, "workspace", "", "the checkout whose settings and workflows count too; GITHUB_WORKSPACE or the working directory if left out: `DIR`")
	return cmd
}

// storedPosture reads a snapshot that --json wrote, nil for no file.
func storedPosture(path string) (*posture.Snapshot, error) {
	if path == "" {
		return nil, nil
	}
	data, err := readBounded(path, maxStoredPosture)
	if err != nil {
		return nil, err
	}
	var s posture.Snapshot
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, fmt.Errorf("%s: %w: want what posture --json wrote", path, err)
	}
	if err := s.Check(); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &s, nil
}

// postureUser returns the user that jobs run as, and the PATH where it is known.
func postureUser(name string) (posture.User, string, error) {
	if name == "" {
		c, err := monitor.FindCaller()
		if err != nil {
			return posture.User{}, "", err
		}
		groups := c.Groups
		if !c.Sudo {
			if groups, err = os.Getgroups(); err != nil {
				return posture.User{}, "", err
			}
		}
		if c.User == "" { // cron, and some containers, set no USER
			if who, err := user.LookupId(strconv.Itoa(c.UID)); err == nil {
				c.User = who.Username
			}
		}
		u := posture.User{Name: c.User, UID: uint32(c.UID), Home: c.Home, Groups: []uint32{uint32(c.GID)}}
		for _, g := range groups {
			u.Groups = append(u.Groups, uint32(g))
		}
		return u, c.Path, nil
	}
	who, err := user.Lookup(name)
	if err != nil {
		return posture.User{}, "", fmt.Errorf("--user: %w", err)
	}
	ids, err := who.GroupIds()
	if err != nil {
		return posture.User{}, "", fmt.Errorf("--user: groups of %s: %w", name, err)
	}
	u := posture.User{Name: who.Username, Home: who.HomeDir}
	for i, id := range append([]string{who.Uid, who.Gid}, ids...) {
		n, err := strconv.ParseUint(id, 10, 32)
		switch {
		case err != nil:
			return posture.User{}, "", fmt.Errorf("--user: an id of %s: %w", name, err)
		case i == 0:
			u.UID = uint32(n)
		default:
			u.Groups = append(u.Groups, uint32(n))
		}
	}
	return u, "", nil
}

func takePosture(ctx context.Context, who posture.User, path, workspace string) (*posture.Snapshot, error) {
	workspace, err := filepath.Abs(cmp.Or(workspace, os.Getenv("GITHUB_WORKSPACE")))
	if err != nil {
		return nil, err
	}
	var key [32]byte
	if _, err := rand.Read(key[:]); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, postureWithin)
	defer cancel()
	return posture.Take(ctx, posture.Options{
		User: who, Workspace: workspace, Redactor: redact.New(key, redact.Options{}),
		Getenv: func(name string) string {
			if name == "PATH" {
				return path
			}
			return os.Getenv(name)
		},
	}), nil
}

func tellPosture(w io.Writer, s *posture.Snapshot) error {
	var b strings.Builder
	count := map[judge.Severity]int{}
	for i := range s.Items {
		count[s.Items[i].Severity]++
	}
	var head []string
	for _, word := range slices.Backward(failSeverities) {
		if n := count[judge.Severity(word)]; n > 0 {
			head = append(head, fmt.Sprintf("%d %s", n, word))
		}
	}
	fmt.Fprintf(&b, "for jobs of %s: %s; %s looked at\n", cmp.Or(report.Visible(s.User.String()), "a user without a name"), cmp.Or(strings.Join(head, ", "), "nothing found"), counted(len(s.State), "file"))
	// What several things have in common is said once.
	last := ""
	for i := range s.Items {
		it := &s.Items[i]
		if key := string(it.Severity) + it.Check; key != last {
			last = key
			fmt.Fprintf(&b, "\n%-9s %s (%s)\n", it.Severity, it.Title, it.Check)
			fmt.Fprintf(&b, "  why       %s\n  do        %s\n", it.Why, it.Do)
			if len(it.Controls) > 0 {
				fmt.Fprintf(&b, "  controls  %s\n", strings.Join(it.Controls, "; "))
			}
		}
		fmt.Fprintf(&b, "  found     %s\n", place(it.Path, it.Line, it.Found))
	}
	if len(s.Unread) > 0 {
		b.WriteString("\nnot read, so nothing is said of it:\n")
		for _, u := range s.Unread {
			fmt.Fprintf(&b, "  %s\n", place(u.Path, 0, redact.Text{})+": "+report.Visible(u.Why))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// place shows where something is and what it is.
func place(path redact.Text, line int, what redact.Text) string {
	var part []string
	if !path.IsZero() {
		part = append(part, report.Visible(path.String()))
		if line > 0 {
			part[0] += fmt.Sprintf(":%d", line)
		}
	}
	if !what.IsZero() {
		part = append(part, report.Visible(what.String()))
	}
	return strings.Join(part, "  ")
}

func tellDrift(w io.Writer, changes []posture.Change, asJSON bool, failOn string) error {
	slices.SortStableFunc(changes, func(a, b posture.Change) int { return cmp.Compare(judge.Rank(b.Severity), judge.Rank(a.Severity)) })
	if asJSON {
		if err := writeJSON(w, map[string][]posture.Change{"changes": append([]posture.Change{}, changes...)}); err != nil {
			return err
		}
	} else {
		var b strings.Builder
		if len(changes) == 0 {
			b.WriteString("nothing changed\n")
		}
		for _, c := range changes {
			fmt.Fprintf(&b, "%-9s %s  %s (%s)\n", c.Severity, report.Visible(c.Path.String()), c.What, report.Visible(string(c.Kind)))
			fmt.Fprintf(&b, "  %s. %s\n", c.Title, c.Do)
		}
		if _, err := io.WriteString(w, b.String()); err != nil {
			return err
		}
	}
	if len(changes) > 0 && judge.Rank(changes[0].Severity) >= judge.Rank(judge.Severity(failOn)) {
		return exit(exitNo, nil)
	}
	return nil
}
