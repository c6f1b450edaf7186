package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/intent/document"
	"github.com/org/edamame-posture/pkg/judge"
	"github.com/org/edamame-posture/pkg/signature"
)

func signaturesCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "signatures",
		Short:   "List, check and try the rules for known attack shapes",
		Example: "  edamame-posture signatures list\n  edamame-posture signatures test my-rule.yml --evidence .posture",
		Args:    subcommands,
		RunE:    help,
	}
	cmd.AddCommand(signaturesListCommand(), signaturesCheckCommand(), signaturesTestCommand(), importOSVCommand())
	return cmd
}

// placeholderFlag reads NAME=VALUE for the modifier expand.
func placeholderFlag(cmd *cobra.Command, list *[]string) {
	cmd.Flags().StringArrayVar(list, "placeholder", nil, "a value for %NAME% in rules with the modifier expand: `NAME=VALUE`, as often as needed")
}

func placeholderValues(list []string) (map[string][]string, error) {
	values := map[string][]string{}
	for _, s := range list {
		name, value, ok := strings.Cut(s, "=")
		if !ok || name == "" || value == "" {
			return nil, exit(exitUsage, fmt.Errorf("--placeholder %q: want NAME=VALUE", s))
		}
		values[name] = append(values[name], value)
	}
	return values, nil
}

// addRules adds a rule file or a folder of them. Errors in it name the file as
// the caller did.
func addRules(own *signature.Own, path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if info.IsDir() {
		return own.AddAll(path, os.DirFS(path))
	}
	data, err := readBounded(path, document.MaxBytes)
	if err == nil {
		own.Add(path, data)
	}
	return err
}

// readRules reads a rule file or a folder of them, for themselves.
func readRules(path string, o signature.Options) (*signature.Pack, error) {
	var own signature.Own
	if err := addRules(&own, path); err != nil {
		return nil, exit(exitUsage, err)
	}
	return wrapRules(own.Load(o))
}

// readOwnRules reads rules that are to stand beside ours, and compiles them to
// see that they can. It returns nil for none, and what lenient left out.
func readOwnRules(paths []string, lenient bool) (*signature.Own, signature.Errors, error) {
	if len(paths) == 0 {
		if lenient {
			return nil, nil, errors.New("--lenient: there are no rules of your own to leave out: name them with --signatures FILE")
		}
		return nil, nil, nil
	}
	own := &signature.Own{Lenient: lenient}
	for _, path := range paths {
		before := len(own.Files)
		if err := addRules(own, path); err != nil {
			return nil, nil, fmt.Errorf("--signatures: %w", err)
		}
		if len(own.Files) == before {
			return nil, nil, fmt.Errorf("--signatures: there is no rule (*.yml) in %s", path)
		}
	}
	shipped, err := signature.Default()
	if err != nil {
		return nil, nil, err
	}
	p, err := shipped.With(own)
	if err != nil {
		return nil, nil, fmt.Errorf("--signatures: %w", err)
	}
	return own, p.Skipped(), nil
}

func wrapRules(p *signature.Pack, err error) (*signature.Pack, error) {
	if err != nil {
		return nil, exit(exitUsage, err)
	}
	if len(p.Rules()) == 0 && len(p.Skipped()) == 0 {
		return nil, exit(exitNothing, errors.New("there is no rule (*.yml)"))
	}
	return p, nil
}

// below puts a folder before the names of files in errors.
func below(dir string, list signature.Errors) signature.Errors {
	out := slices.Clone(list)
	for i := range out {
		out[i].File = filepath.Join(dir, out[i].File)
	}
	return out
}

func signaturesListCommand() *cobra.Command {
	var rules string
	var lenient, asJSON bool
	var given []string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the rules that ship with the program, or those of a folder",
		Long: `Lists the rules that ship with the program, or those of a folder or file: the name
by which a verdict tells them, the level, what events they look at, the ATT&CK
techniques and the title. A rule that only feeds others is not listed.

Exit code: 0 listed, 1 listed and with --lenient something was left out, 2
unreadable, 5 there is no rule.`,
		Example: "  edamame-posture signatures list\n  edamame-posture signatures list --rules my-rules --lenient --json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			values, err := placeholderValues(given)
			if err != nil {
				return err
			}
			var p *signature.Pack
			if rules == "" {
				p, err = signature.Default()
			} else {
				p, err = readRules(rules, signature.Options{Lenient: lenient, Placeholders: values})
			}
			if err != nil {
				return err
			}
			if err := tellRules(cmd.OutOrStdout(), p, asJSON); err != nil {
				return err
			}
			if skipped := p.Skipped(); len(skipped) > 0 {
				return exit(exitNo, fmt.Errorf("left out:\n%w", skipped))
			}
			return nil
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&rules, "rules", "", "the rules in this `DIR` or file instead")
	fl.BoolVar(&lenient, "lenient", false, "leave out rules that are wrong, and list the rest")
	fl.BoolVar(&asJSON, "json", false, "print JSON")
	placeholderFlag(cmd, &given)
	return cmd
}

// listedRule is one rule of signatures list --json.
type listedRule struct {
	ID             string   `json:"id"`
	Title          string   `json:"title"`
	Level          string   `json:"level"`
	Status         string   `json:"status,omitempty"`
	Source         string   `json:"source"`
	Technique      []string `json:"technique"`
	Tags           []string `json:"tags"`
	FalsePositives []string `json:"falsepositives"`
	Do             string   `json:"do,omitempty"`
	Place          string   `json:"place"`
}

func tellRules(w io.Writer, p *signature.Pack, asJSON bool) error {
	list := []listedRule{}
	for _, r := range p.Rules() {
		list = append(list, listedRule{
			ID: r.ID, Title: r.Title, Level: r.Level, Status: r.Status, Source: r.Source(), Do: r.Do, Place: r.Place(),
			Technique: append([]string{}, r.Technique...), Tags: append([]string{}, r.Tags...), FalsePositives: append([]string{}, r.FalsePositives...),
		})
	}
	if asJSON {
		return writeJSON(w, map[string]any{"name": p.Name(), "version": p.Version(), "sha256": p.SHA256(), "rules": list})
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "ID\tLEVEL\tSOURCE\tTECHNIQUE\tTITLE")
	for _, r := range list {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", document.Shown(r.ID), r.Level, r.Source, strings.Join(r.Technique, " "), document.Shown(r.Title))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "%s, pack %s %s\n", counted(len(list), "rule"), p.Name(), p.SHA256()[:12])
	return err
}

// oneFile is a folder of which one file is seen.
type oneFile struct {
	fs.FS
	name string
}

// ReadDir is of fs.ReadDirFS.
func (o oneFile) ReadDir(dir string) ([]fs.DirEntry, error) {
	list, err := fs.ReadDir(o.FS, dir)
	return slices.DeleteFunc(list, func(e fs.DirEntry) bool { return e.Name() != o.name }), err
}

func signaturesCheckCommand() *cobra.Command {
	var asJSON bool
	var given []string
	cmd := &cobra.Command{
		Use:   "check DIR|FILE",
		Short: "Say of each Sigma rule in a folder whether it can be used, and if not why",
		Long: `Reads every Sigma rule in a folder, each for itself, and says what of it is not
supported or wrong, with its place. Rules for log sources whose events are not
told here (other systems, services such as auditd) are counted apart.

Exit code: 0 every rule for a supported log source can be used, 1 some cannot, 2
unreadable, 5 there is no rule for a supported log source.`,
		Example: "  edamame-posture signatures check sigma/rules/linux",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			values, err := placeholderValues(given)
			if err != nil {
				return err
			}
			dir := args[0]
			var rules fs.FS = os.DirFS(dir)
			if st, err := os.Stat(args[0]); err != nil {
				return err
			} else if st.Mode().IsRegular() {
				dir = filepath.Dir(dir)
				rules = oneFile{os.DirFS(dir), filepath.Base(args[0])}
			}
			list, err := signature.Check(rules, signature.Options{Placeholders: values})
			if err != nil {
				return exit(exitUsage, err)
			}
			if len(list) == 0 {
				return exit(exitNothing, fmt.Errorf("there is no rule (*.yml) in %s", args[0]))
			}
			r := summarize(dir, list)
			if asJSON {
				err = writeJSON(cmd.OutOrStdout(), r)
			} else {
				err = r.write(cmd.OutOrStdout())
			}
			switch {
			case err == nil && r.Supported == 0:
				return exit(exitNothing, errors.New("no rule is for a log source whose events are told here: nothing was checked"))
			case err == nil && r.Usable < r.Supported:
				return exit(exitNo, nil)
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	placeholderFlag(cmd, &given)
	return cmd
}

// checkReport is what signatures check tells, and its JSON.
type checkReport struct {
	Rules     int           `json:"rules"`
	Supported int           `json:"supported"` // for log sources that are told here, and correlations
	Usable    int           `json:"usable"`    // of these
	Wrong     []wrongRule   `json:"wrong"`
	Reasons   []countedWord `json:"reasons"`
	Elsewhere []countedWord `json:"elsewhere"` // log sources that are not told here
}

type wrongRule struct {
	ID     string   `json:"id"`
	Title  string   `json:"title"`
	Errors []string `json:"errors"`
}

type countedWord struct {
	Word  string `json:"word"`
	Count int    `json:"count"`
}

func summarize(dir string, list []signature.Checked) *checkReport {
	r := &checkReport{Rules: len(list), Wrong: []wrongRule{}}
	reasons, elsewhere := map[string]int{}, map[string]int{}
	for i := range list {
		c := &list[i]
		if !c.Supported && !c.Correlation() && !c.Unreadable {
			elsewhere[strings.Trim(c.Product+" "+cmp.Or(c.Category, c.Service, "without a category"), " ")]++
			continue
		}
		r.Supported++
		if c.Usable() {
			r.Usable++
			continue
		}
		w := wrongRule{ID: c.ID, Title: c.Title}
		seen := map[string]bool{}
		for _, e := range below(dir, c.Errors) {
			w.Errors = append(w.Errors, e.Error())
			if !seen[e.Message] {
				seen[e.Message] = true
				reasons[e.Message]++
			}
		}
		r.Wrong = append(r.Wrong, w)
	}
	r.Reasons, r.Elsewhere = mostFirst(reasons), mostFirst(elsewhere)
	return r
}

func mostFirst(counts map[string]int) []countedWord {
	list := []countedWord{}
	for word, n := range counts {
		list = append(list, countedWord{word, n})
	}
	slices.SortFunc(list, func(a, b countedWord) int { return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Word, b.Word)) })
	return list
}

func (r *checkReport) write(w io.Writer) error {
	var b strings.Builder
	for i := range r.Wrong {
		for _, e := range r.Wrong[i].Errors {
			fmt.Fprintln(&b, e)
		}
	}
	if len(r.Reasons) > 0 {
		fmt.Fprintln(&b, "\nRules that cannot be used, by reason:")
		for _, c := range r.Reasons {
			fmt.Fprintf(&b, "%6d  %s\n", c.Count, document.Shown(c.Word))
		}
	}
	if len(r.Elsewhere) > 0 {
		fmt.Fprintln(&b, "\nRules for log sources that are not told here:")
		for _, c := range r.Elsewhere {
			fmt.Fprintf(&b, "%6d  %s\n", c.Count, document.Shown(c.Word))
		}
	}
	fmt.Fprintf(&b, "%s, %d in supported categories, %d parsed", counted(r.Rules, "rule"), r.Supported, r.Usable)
	if r.Supported > 0 {
		fmt.Fprintf(&b, " (%d.%d %%)", r.Usable*100/r.Supported, r.Usable*1000/r.Supported%10)
	}
	b.WriteString("\n")
	_, err := io.WriteString(w, b.String())
	return err
}

func signaturesTestCommand() *cobra.Command {
	var evidence string
	var asJSON bool
	var given []string
	cmd := &cobra.Command{
		Use:   "test RULE --evidence DIR",
		Short: "Say which events of a stored run a rule matches",
		Long: `Holds a rule, or the rules of a file or folder, against a stored run and says which
events match, with the lines of the log. A rule that only feeds a correlation is
told too. The run is a folder that run --out wrote, or a log.

Exit code: 0 something matched, 1 nothing did, 2 unreadable, 5 there is no
evidence or no rule.`,
		Example: "  edamame-posture signatures test my-rule.yml --evidence .posture\n  zstdcat .posture/evidence/*.jsonl.zst | sed -n 17p",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			values, err := placeholderValues(given)
			if err != nil {
				return err
			}
			if evidence == "" {
				return exit(exitUsage, errors.New("--evidence is missing: the folder that run --out wrote"))
			}
			p, err := readRules(args[0], signature.Options{Placeholders: values, Parts: true})
			if err != nil {
				return err
			}
			matches, events, err := tryRules(p, evidence)
			if errors.Is(err, errNoEvidence) {
				return exit(exitNothing, err)
			}
			if err != nil {
				return exit(exitUsage, err)
			}
			if err := tellMatches(cmd.OutOrStdout(), evidence, matches, events, asJSON); err != nil {
				return err
			}
			if len(matches) == 0 {
				return exit(exitNo, nil)
			}
			return nil
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&evidence, "evidence", "", "the stored run: a folder of results, or a log (`DIR`)")
	fl.BoolVar(&asJSON, "json", false, "print JSON")
	placeholderFlag(cmd, &given)
	return cmd
}

// match is one match of a rule.
type match struct {
	Rule    string   `json:"rule"`
	Level   string   `json:"level"`
	Lines   []uint64 `json:"lines"` // of the log, from 1
	Kind    string   `json:"kind"`  // of the last event
	Object  string   `json:"object"`
	Program string   `json:"program"`
	Lineage []string `json:"lineage"` // nearest first
}

// maxMatches bounds what signatures test tells.
const maxMatches = 10_000

func tryRules(p *signature.Pack, path string) ([]match, uint64, error) {
	j := judge.New(nil, p)
	list := []match{}
	line := uint64(0)
	j.OnHit = func(ev *event.Event, h *signature.Hit) {
		if len(list) >= maxMatches {
			return
		}
		m := match{Rule: h.Rule.ID, Level: h.Rule.Level, Kind: ev.Kind.String(), Object: h.Object.String(), Lineage: []string{}}
		for _, leaf := range h.Leaves {
			m.Lines = append(m.Lines, line-(ev.Seq-leaf))
		}
		if h.Node != nil {
			m.Program = h.Node.Name()
			for name := range h.Node.Lineage() {
				m.Lineage = append(m.Lineage, name.String())
			}
		}
		list = append(list, m)
	}
	err := eachStored(path, func(n uint64, ev *event.Event) {
		line = n
		j.Apply(ev)
	})
	return list, line, err
}

func tellMatches(w io.Writer, path string, list []match, events uint64, asJSON bool) error {
	if asJSON {
		return writeJSON(w, map[string]any{"events": events, "matches": list})
	}
	var b strings.Builder
	for i := range list {
		m := &list[i]
		lines := strings.Trim(strings.ReplaceAll(fmt.Sprint(m.Lines), " ", ","), "[]")
		fmt.Fprintf(&b, "%s:%s: %s (%s): %s %s by %s", document.Shown(path), lines, document.Shown(m.Rule), m.Level, m.Kind, document.Shown(m.Object), document.Shown(m.Program))
		if len(m.Lineage) > 0 {
			fmt.Fprintf(&b, " < %s", document.Shown(strings.Join(m.Lineage, " < ")))
		}
		b.WriteByte('\n')
	}
	if len(list) == maxMatches {
		fmt.Fprintf(&b, "and more; only the first %d are told\n", maxMatches)
	}
	what := counted(len(list), "match")
	if len(list) != 1 {
		what = fmt.Sprintf("%d matches", len(list))
	}
	fmt.Fprintf(&b, "%s in %d events\n", what, events)
	_, err := io.WriteString(w, b.String())
	return err
}
