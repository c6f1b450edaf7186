package service

import (
	_ "embed"
	"fmt"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/org/edamame-posture/pkg/intent"
	"github.com/org/edamame-posture/pkg/intent/document"
	"github.com/org/edamame-posture/pkg/judge"
)

// SettingsFile is where the service's settings are.
const SettingsFile = "/etc/edamame-posture/service.yml"

// Settings are those of the service. docs/self-hosted.md is the reference.
type Settings struct {
	Sensor string // auto, ebpf or netlink
	// Seal has checkpoints signed, and holds up what gives power until they are.
	Seal bool
	// Policy is a file that says what every job may do; empty for none.
	Policy string
	// Runners are those whose jobs are recorded; empty for all.
	Runners []Runner
	Keep    Keep
	// Metrics is where they can be asked for: unix:/PATH or an address of
	// loopback with a port; empty for nowhere.
	Metrics string
	// Require has a job fail that is not recorded, by its first hook.
	Require bool
	// FailOn is the least severity of a finding with which the last hook fails the
	// job; empty for none.
	FailOn judge.Severity
	// Sign has what was recorded signed with the machine's own key; nil for not.
	Sign *Sign
}

// KeyFile is where the machine's enrolled key is, unless the settings say
// otherwise.
const KeyFile = "/etc/edamame-posture/enrolled.key"

// Sign says as whom the service signs, and what its statements are about.
type Sign struct {
	Name string // of the machine, as policies and witnesses know it
	Key  string // file of the private key, which no job may be able to read
	// Subjects are patterns of files of a job's checkout; of those that are there
	// at its end the statement says the digests.
	Subjects []string
}

// Runs is what the ids of the machine's runs begin with, so that its key is
// good for no other machine's.
func (s *Sign) Runs() string { return s.Name + ":" }

// CheckName says what is wrong with the name of a machine.
func CheckName(name string) error {
	if len(name) > maxName || name != strings.ToLower(name) || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789.-") != "" || strings.Trim(name, ".-") != name || name == "" {
		return fmt.Errorf("name %.100q: want up to %d of a-z 0-9 . -, such as build-7.example.org", name, maxName)
	}
	return nil
}

// Runner is a folder of a runner, and the one that its jobs work in.
type Runner struct{ Dir, Work string }

// Bounds of settings.
const (
	maxRunners  = 256
	maxDays     = 3650
	maxName     = 64
	maxSubjects = 64 // patterns
)

func defaults() *Settings {
	return &Settings{Sensor: "auto", Seal: true, Keep: Keep{Days: 30, Size: 10e9}}
}

// Example is the settings file that Install writes: every setting with its
// default, explained.
//
//go:embed files/service.yml
var Example []byte

// ParseSettings reads settings; file stands in errors, which are of type
// [document.Errors] and tell all that is wrong.
func ParseSettings(file string, data []byte) (*Settings, error) {
	src, docs := document.Parse(file, data)
	s := defaults()
	switch {
	case src.Failed():
	case len(docs) != 1:
		return nil, document.Errors{{File: file, Line: 1, Column: 1, Message: `want one document, which begins with "version: 1"`}}
	default:
		s.read(src, docs[0])
	}
	if err := src.Err(); err != nil {
		return nil, err
	}
	return s, nil
}

var settingKeys = []string{"version", "sensor", "seal", "policy", "runners", "keep", "metrics", "require", "fail-on", "sign"}

func (s *Settings) read(src *document.Source, n *yaml.Node) {
	version := false
	var sign *yaml.Node
	for _, p := range src.Mapping(n, settingKeys...) {
		v := p.Value
		switch p.Key {
		case "version":
			if version = true; v.Value != "1" {
				src.Fail(v, "this program reads version 1")
			}
		case "sensor":
			s.Sensor = choice(src, v, "auto", "ebpf", "netlink")
		case "seal":
			s.Seal = truth(src, v)
		case "policy":
			s.Policy = absolute(src, v)
		case "runners":
			s.runners(src, v)
		case "keep":
			s.keep(src, v)
		case "metrics":
			s.metrics(src, v)
		case "require":
			s.Require = truth(src, v)
		case "fail-on":
			if word := choice(src, v, "never", "medium", "high", "critical"); word != "never" {
				s.FailOn = judge.Severity(word)
			}
		case "sign":
			sign = v
			s.sign(src, v)
		}
	}
	if !version && n.Kind == yaml.MappingNode {
		src.Fail(n, `want "version: 1"`)
	}
	if sign != nil && !s.Seal {
		src.Fail(sign, "what is not sealed proves nothing, whoever signs it: seal must be true")
	}
}

func (s *Settings) sign(src *document.Source, n *yaml.Node) {
	sign := &Sign{Key: KeyFile}
	for _, p := range src.Mapping(n, "name", "key", "subjects") {
		switch p.Key {
		case "name":
			text, ok := src.String(p.Value)
			if err := CheckName(text); ok && err != nil {
				src.Fail(p.Value, "%v", err)
			}
			sign.Name = text
		case "key":
			sign.Key = absolute(src, p.Value)
		case "subjects":
			list := src.List(p.Value)
			if len(list) > maxSubjects {
				src.Fail(p.Value, "more than %d patterns", maxSubjects)
				return
			}
			for _, item := range list {
				text, ok := src.String(item)
				if ok && !filepath.IsLocal(text) {
					src.Fail(item, "want a pattern of files below the checkout, such as dist/*")
				}
				sign.Subjects = append(sign.Subjects, text)
			}
		}
	}
	if sign.Name == "" && n.Kind == yaml.MappingNode {
		src.Fail(n, "want name: what service enrol was told")
	}
	s.Sign = sign
}

func (s *Settings) runners(src *document.Source, n *yaml.Node) {
	list := src.List(n)
	if len(list) > maxRunners {
		src.Fail(n, "more than %d runners", maxRunners)
		return
	}
	for _, item := range list {
		r := Runner{}
		if item.Kind != yaml.MappingNode {
			r.Dir = absolute(src, item)
		} else {
			for _, p := range src.Mapping(item, "dir", "work") {
				if p.Key == "dir" {
					r.Dir = absolute(src, p.Value)
				} else {
					r.Work = absolute(src, p.Value)
				}
			}
			if r.Dir == "" {
				src.Fail(item, "want dir: the runner's folder")
			}
		}
		if r.Work == "" {
			r.Work = filepath.Join(r.Dir, "_work")
		}
		s.Runners = append(s.Runners, r)
	}
}

func (s *Settings) keep(src *document.Source, n *yaml.Node) {
	for _, p := range src.Mapping(n, "days", "size") {
		text, ok := src.String(p.Value)
		if !ok {
			continue
		}
		if p.Key == "days" {
			days, err := strconv.Atoi(text)
			if err != nil || days < 1 || days > maxDays {
				src.Fail(p.Value, "want a number of days from 1 to %d", maxDays)
			}
			s.Keep.Days = days
			continue
		}
		size, err := intent.ParseBytes(text)
		if err != nil || size < 1e6 || size > 1<<50 {
			src.Fail(p.Value, "want an amount of bytes of at least 1MB, such as 10GB")
		}
		s.Keep.Size = int64(size)
	}
}

func (s *Settings) metrics(src *document.Source, n *yaml.Node) {
	text, ok := src.String(n)
	path, unix := strings.CutPrefix(text, "unix:")
	switch at, err := netip.ParseAddrPort(text); {
	case !ok:
	case text == "off":
		s.Metrics = ""
	case unix && filepath.IsAbs(path) && filepath.Clean(path) == path && len(path) < 100:
		s.Metrics = text
	case err == nil && at.Addr().IsLoopback() && at.Port() != 0:
		s.Metrics = text
	default:
		src.Fail(n, "want off, unix:/run/edamame-posture/metrics.sock, or an address of this machine alone such as 127.0.0.1:9472")
	}
}

func choice(src *document.Source, n *yaml.Node, words ...string) string {
	text, ok := src.String(n)
	if !ok {
		return ""
	}
	for _, w := range words {
		if w == text {
			return w
		}
	}
	src.FailNear(n, document.Nearest(text, words), "want one of %s", strings.Join(words, ", "))
	return ""
}

func truth(src *document.Source, n *yaml.Node) bool {
	if n.Kind != yaml.ScalarNode || n.Tag != "!!bool" {
		src.Fail(n, "want true or false, have %s", document.Kind(n))
		return false
	}
	return strings.EqualFold(n.Value, "true")
}

func absolute(src *document.Source, n *yaml.Node) string {
	text, ok := src.String(n)
	if ok && (!filepath.IsAbs(text) || filepath.Clean(text) != text || strings.ContainsAny(text, "\x00\n")) {
		src.Fail(n, "want a path that begins at /, without . and .. in it")
	}
	return text
}

// work returns the folder that a runner's jobs work in, and false for a runner
// whose jobs are not recorded.
func (s *Settings) work(runner string) (string, bool) {
	for _, r := range s.Runners {
		if r.Dir == runner {
			return r.Work, true
		}
	}
	return filepath.Join(runner, "_work"), len(s.Runners) == 0
}
