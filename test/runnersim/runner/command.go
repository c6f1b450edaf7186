package runner

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// fileCommands are the files by which a step tells the runner something, as
// the name of the variable and of the file (FileCommandManager.cs).
var fileCommands = map[string]string{
	"GITHUB_ENV": "set_env", "GITHUB_PATH": "add_path", "GITHUB_OUTPUT": "set_output",
	"GITHUB_STATE": "save_state", "GITHUB_STEP_SUMMARY": "step_summary",
}

// makeFiles makes the file of each command for one step and returns the
// variables that name them.
func makeFiles(temp, guid string) (map[string]string, error) {
	dir := filepath.Join(temp, "_runner_file_commands")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	env := make(map[string]string)
	for name, file := range fileCommands {
		env[name] = filepath.Join(dir, file+"_"+guid)
		if err := os.WriteFile(env[name], nil, 0o644); err != nil {
			return nil, err
		}
	}
	return env, nil
}

// readPairs reads a file of NAME=VALUE lines and NAME<<END blocks.
func readPairs(file string) ([][2]string, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	return parsePairs(string(data))
}

func parsePairs(text string) (pairs [][2]string, err error) {
	lines := strings.Split(strings.ReplaceAll(text, "\r\n", "\n"), "\n")
	for i := 0; i < len(lines); i++ {
		line := lines[i]
		if line == "" {
			continue
		}
		eq, here := strings.Index(line, "="), strings.Index(line, "<<")
		switch {
		case here > 0 && (eq < 0 || here < eq):
			name, end := line[:here], line[here+2:]
			n := slices.Index(lines[i+1:], end)
			if end == "" || n < 0 {
				return nil, fmt.Errorf("the block of %q has no end", name)
			}
			pairs = append(pairs, [2]string{name, strings.Join(lines[i+1:i+1+n], "\n")})
			i += n + 1
		case eq > 0:
			pairs = append(pairs, [2]string{line[:eq], line[eq+1:]})
		default:
			return nil, fmt.Errorf("%q is not NAME=VALUE", line)
		}
	}
	return pairs, nil
}

// unescape undoes what workflow commands escape (ActionCommand.cs).
var unescape = strings.NewReplacer("%0D", "\r", "%0A", "\n", "%3A", ":", "%2C", ",", "%25", "%")

// output is where the lines of a job's steps go: their commands are obeyed, what
// they mask is hidden, and the rest is shown.
type output struct {
	w     io.Writer
	masks []string
	notes []string // annotations
	stop  string   // the word that ends ::stop-commands::
}

// line takes one line of a step. The job's lock is held.
func (o *output) line(text string) {
	if rest, ok := strings.CutPrefix(text, "::"); ok {
		head, value, ok := strings.Cut(rest, "::")
		name, _, _ := strings.Cut(head, " ")
		if ok && o.stop != "" {
			if head == o.stop {
				o.stop = ""
			}
		} else if ok {
			value = unescape.Replace(value)
			switch name {
			case "add-mask":
				if value != "" {
					o.masks = append(o.masks, value)
				}
				return
			case "error", "warning", "notice":
				o.notes = append(o.notes, o.hide(name+": "+value))
			case "stop-commands":
				o.stop = value
			}
		}
	}
	fmt.Fprintln(o.w, o.hide(text))
}

func (o *output) hide(text string) string {
	for _, m := range o.masks {
		text = strings.ReplaceAll(text, m, "***")
	}
	return text
}

// maxLine bounds a line of a step's output in bytes; what is beyond it is
// another line.
const maxLine = 1 << 20

// liner gives each line that is written to it to a function.
type liner struct {
	rest []byte
	f    func(string)
}

func (l *liner) Write(p []byte) (int, error) {
	l.rest = append(l.rest, p...)
	for {
		i := bytes.IndexByte(l.rest, '\n')
		if i < 0 && len(l.rest) < maxLine {
			return len(p), nil
		}
		if i < 0 {
			i = len(l.rest) - 1
		}
		l.f(strings.TrimSuffix(string(l.rest[:i]), "\r"))
		l.rest = l.rest[i+1:]
	}
}

// flush gives what stands after the last line.
func (l *liner) flush() {
	if len(l.rest) > 0 {
		l.f(string(l.rest))
		l.rest = nil
	}
}
