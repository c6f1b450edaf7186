package github

import (
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sethvargo/go-githubactions"

	"github.com/org/edamame-posture/pkg/judge"
)

// Inputs are what a workflow gives the action: action.yml says what each means.
// They are read once, before the job's first step; what later steps find in
// their environment counts no more.
type Inputs struct {
	Policy   string // text, or the path of a file of the repository
	Job      string
	Sensor   string
	NoTLS    bool // requests inside TLS are not read
	Sign     string
	Subjects []string
	Config   string
	Root     string
	Store    bool
	Witness  string // URL
	Status   bool   // the start is put on the commit, where no witness has it

	WitnessKeys []string

	// TSA is the URL of a timestamp authority that dates the log as it grows: empty
	// for that of the signing servers, "never" for none.
	TSA      string
	TSAEvery time.Duration

	// DropSudo takes sudo, and the sockets of container daemons, from the steps.
	DropSudo bool
	FailOn   string
	Upload   bool
	Index    string // of the job in its matrix
	Learn    bool
	Comment  bool
	Out      string
	FailOpen bool
	// Token is for GitHub's API. It goes into no state and no other process.
	Token string
}

// What the inputs with a fixed choice may be.
var (
	modes   = []string{"observe"}
	sudos   = []string{"keep", "drop"}
	sensors = []string{"auto", "ebpf", "netlink"}
	signs   = []string{"auto", "keyless", "never"}
	failOns = []string{"", "never", "fail", "review", string(judge.Low), string(judge.Medium), string(judge.High), string(judge.Critical)}
)

// ErrPlanned is a setting that is meant to come and is not there yet. Who asks
// for it wants more than is done without, so the job does not go on.
var ErrPlanned = errors.New("is planned and not there yet")

// Inputs reads the step's inputs. The error names each that is wrong.
func (r *Runner) Inputs() (*Inputs, error) {
	action := githubactions.New(githubactions.WithWriter(r.Stdout), githubactions.WithGetenv(r.Getenv))
	var errs []error
	word := func(name, or string, known []string) string {
		v := action.GetInput(name)
		if v == "" {
			v = or
		}
		if !slices.Contains(known, v) {
			errs = append(errs, fmt.Errorf("%s: %q is none of %s", name, v, strings.Join(slices.DeleteFunc(slices.Clone(known), func(s string) bool { return s == "" }), ", ")))
		}
		return v
	}
	flag := func(name string, or bool) bool {
		v := action.GetInput(name)
		if v == "" {
			return or
		}
		b, err := strconv.ParseBool(v)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %q is neither true nor false", name, v))
		}
		return b
	}
	if action.GetInput("mode") == "enforce" {
		errs = append(errs, fmt.Errorf("mode: enforce %w: nothing would be held up; say observe, and let a release gate decide", ErrPlanned))
	} else {
		word("mode", "observe", modes)
	}
	in := &Inputs{
		Policy: action.GetInput("policy"), Job: action.GetInput("job"), Index: action.GetInput("matrix-index"),
		Sensor: word("sensor", "auto", sensors), NoTLS: flag("no-tls", false), Sign: word("sign", "auto", signs), FailOn: word("fail-on", "", failOns),
		Config: action.GetInput("signing-config"), Root: action.GetInput("trusted-root"), Witness: action.GetInput("witness"),
		Status: flag("commit-status", false), Store: flag("store-attestation", false), Upload: flag("upload-evidence", true), Learn: flag("learn", false), Comment: flag("comment", false),
		DropSudo: word("sudo", "keep", sudos) == "drop",
		FailOpen: flag("fail-open", true), Token: action.GetInput("token"),
	}
	in.Subjects, in.WitnessKeys = lines(action.GetInput("subject-path")), lines(action.GetInput("witness-key"))
	if in.TSA = action.GetInput("tsa"); in.TSA != "" && in.TSA != "never" {
		if u, err := url.Parse(in.TSA); err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
			errs = append(errs, fmt.Errorf("tsa: %.200q is neither never nor the URL of a timestamp authority, such as https://timestamp.example.org/api/v1/timestamp", in.TSA))
		}
	}
	in.TSAEvery = time.Minute
	if every := action.GetInput("tsa-every"); every != "" {
		var err error
		if in.TSAEvery, err = time.ParseDuration(every); err != nil || in.TSAEvery < time.Second {
			errs = append(errs, fmt.Errorf("tsa-every: %.40q is no time of a second or more, such as 1m", every))
		}
	}
	if out := action.GetInput("out"); out != "" {
		abs, err := filepath.Abs(out)
		if err != nil {
			errs = append(errs, fmt.Errorf("out: %w", err))
		}
		in.Out = abs
	}
	return in, errors.Join(errs...)
}

// lines returns the lines of a text that hold something.
func lines(text string) (out []string) {
	for l := range strings.Lines(text) {
		if l = strings.TrimSpace(l); l != "" {
			out = append(out, l)
		}
	}
	return out
}

// Keyless reports whether the job's identity signs: where it was asked for, or
// left to us and the job has one.
func (in *Inputs) Keyless(getenv func(string) string) bool {
	return in.Sign == "keyless" || in.Sign == "auto" && getenv("ACTIONS_ID_TOKEN_REQUEST_URL") != ""
}

// Fails reports whether a verdict fails the job. on is the input fail-on: empty
// for what the policy says.
func Fails(on string, v *judge.Verdict) bool {
	switch on {
	case "never":
		return false
	case "", "fail":
		return v.Verdict == judge.Fail
	case "review":
		return v.Verdict != judge.Pass
	}
	if v.Verdict == judge.Fail {
		return true
	}
	least := weight(judge.Severity(on))
	for i := range v.Findings {
		if v.Findings[i].Suppressed == nil && weight(v.Findings[i].Severity) >= least {
			return true
		}
	}
	for _, list := range [][]judge.Fact{v.Forbidden, v.Undeclared} {
		for i := range list {
			if weight(list[i].Severity) >= least {
				return true
			}
		}
	}
	return false
}
