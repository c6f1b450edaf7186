package derive

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"mvdan.cc/sh/v3/syntax"

	"github.com/org/edamame-posture/pkg/intent"
)

// unknown stands in a word for what is only known at run time. It can be in no
// text of a workflow: YAML has no NUL.
const unknown = "\x00"

// script is a shell script that is being read.
type script struct {
	b    *builder
	file string
	// line and column of the script's first character in file; a script in one
	// line of YAML has no lines of its own.
	start  place
	block  bool
	dir    string // of the repository, where its relative names lie
	values map[string]string
	// defined are functions of the script itself, assigned how often it sets a
	// variable: what it sets more than once, or in a loop, is not followed.
	defined  map[string]bool
	assigned map[string]int
}

// run reads the commands of a step.
func (b *builder) run(file string, s *step, env map[string]string) {
	o := origin(file, s.runAt)
	if shell := interpreter(s.shell); shell != "" && shell != "bash" && shell != "sh" {
		b.not(o, s.run, fmt.Sprintf("a script of %s, which is not read", short(shell)))
		return
	}
	values := map[string]string{}
	for k, v := range env {
		values[k] = expressions(v)
	}
	for k, v := range s.env {
		values[k] = expressions(v)
	}
	dir := path.Clean(first(s.dir, "."))
	if isExpression(dir) || path.IsAbs(dir) {
		dir = ""
	}
	sc := &script{b: b, file: file, start: s.runAt, block: s.block, dir: dir, values: values}
	sc.read(s.run)
}

// expressions puts unknown where GitHub puts in a value before the shell reads
// the text.
func expressions(s string) string {
	var out strings.Builder
	for {
		before, rest, found := strings.Cut(s, "${{")
		out.WriteString(before)
		if !found {
			return out.String()
		}
		out.WriteString(unknown)
		if _, s, found = strings.Cut(rest, "}}"); !found {
			out.WriteString(rest) // GitHub refuses it; what follows is read all the same
			return out.String()
		}
	}
}

// placeholder stands for unknown while the shell's grammar is read, to which
// NUL is nothing.
const placeholder = "__posture_expression__"

func (sc *script) read(text string) {
	if len(text) > maxScript {
		sc.b.not(origin(sc.file, sc.start), text, fmt.Sprintf("a script longer than %d KiB", maxScript>>10))
		return
	}
	text = strings.ReplaceAll(expressions(text), unknown, placeholder)
	file, err := syntax.NewParser(syntax.Variant(syntax.LangBash)).Parse(strings.NewReader(text), "")
	if err != nil {
		p := sc.start
		if pe, ok := err.(syntax.ParseError); ok {
			p = sc.place(pe.Pos)
			err = fmt.Errorf("%s", pe.Text)
		}
		sc.b.not(origin(sc.file, p), text, "not a script that can be read: "+short(err.Error()))
		return
	}
	sc.defined = map[string]bool{}
	syntax.Walk(file, func(n syntax.Node) bool {
		if f, ok := n.(*syntax.FuncDecl); ok {
			sc.defined[f.Name.Value] = true
		}
		return true
	})
	sc.assigned = map[string]int{}
	syntax.Walk(file, func(n syntax.Node) bool {
		switch n := n.(type) {
		case *syntax.Assign:
			if n.Name != nil {
				sc.assigned[n.Name.Value]++
			}
		case *syntax.WordIter:
			sc.assigned[n.Name.Value] += 2
		}
		return true
	})
	for name, n := range sc.assigned {
		if n > 1 {
			sc.values[name] = unknown
		}
	}
	// What a subshell does to its folder ends with it.
	type place struct {
		end syntax.Pos
		dir string
	}
	var outer []place
	syntax.Walk(file, func(n syntax.Node) bool {
		for n != nil && len(outer) > 0 && !outer[len(outer)-1].end.After(n.Pos()) {
			sc.dir = outer[len(outer)-1].dir
			outer = outer[:len(outer)-1]
		}
		switch n := n.(type) {
		case *syntax.Subshell:
			outer = append(outer, place{n.End(), sc.dir})
		case *syntax.CmdSubst:
			outer = append(outer, place{n.End(), sc.dir})
		case *syntax.CallExpr:
			sc.call(n)
		case *syntax.DeclClause:
			for _, a := range n.Args {
				sc.assign(a)
			}
		case *syntax.Redirect:
			sc.redirect(n)
		case *syntax.BinaryCmd:
			sc.pipe(n)
		}
		return true
	})
}

// place is where a position of the script stands in the file.
func (sc *script) place(p syntax.Pos) place {
	if !p.IsValid() {
		return sc.start
	}
	if sc.block {
		return place{sc.start.line + int(p.Line()), 1}
	}
	return place{sc.start.line + int(p.Line()) - 1, sc.start.column}
}

func (sc *script) origin(p syntax.Pos) intent.Origin { return origin(sc.file, sc.place(p)) }

func (sc *script) assign(a *syntax.Assign) {
	if a.Name == nil || sc.assigned[a.Name.Value] > 1 {
		return
	}
	value := unknown
	if a.Value != nil && !a.Append && a.Index == nil && a.Array == nil {
		value = sc.text(a.Value)
	}
	sc.values[a.Name.Value] = value
	sc.b.sources(map[string]string{a.Name.Value: strings.ReplaceAll(value, unknown, "${{}}")}, sc.origin(a.Pos()))
}

// text is what a word stands for, with unknown for each part that is only
// known at run time.
func (sc *script) text(w *syntax.Word) string {
	var b strings.Builder
	sc.parts(&b, w.Parts)
	return b.String()
}

func (sc *script) parts(b *strings.Builder, parts []syntax.WordPart) {
	for _, part := range parts {
		switch p := part.(type) {
		case *syntax.Lit:
			b.WriteString(strings.ReplaceAll(unescape(p.Value), placeholder, unknown))
		case *syntax.SglQuoted:
			b.WriteString(strings.ReplaceAll(p.Value, placeholder, unknown))
		case *syntax.DblQuoted:
			sc.parts(b, p.Parts)
		case *syntax.ParamExp:
			v, ok := sc.values[nameOf(p)]
			if !ok || p.Exp != nil || p.Slice != nil || p.Repl != nil || p.Index != nil || p.Length || p.Excl {
				v = unknown
			}
			b.WriteString(v)
		default:
			b.WriteString(unknown)
		}
	}
}

func nameOf(p *syntax.ParamExp) string {
	if p.Param == nil {
		return ""
	}
	return p.Param.Value
}

// unescape takes the backslashes of an unquoted word away.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
			if s[i] == '\n' {
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func (sc *script) call(c *syntax.CallExpr) {
	if len(c.Args) == 0 {
		for _, a := range c.Assigns {
			sc.assign(a)
		}
		return
	}
	words := make([]string, len(c.Args))
	for i, w := range c.Args {
		words[i] = sc.text(w)
	}
	sc.command(words, sc.origin(c.Pos()), 0)
}

// command notes what a simple command is known to need.
func (sc *script) command(words []string, o intent.Origin, depth int) {
	shown := strings.ReplaceAll(strings.Join(words, " "), unknown, "...")
	if words[0] == "" {
		return
	}
	if strings.Contains(words[0], unknown) {
		sc.b.not(o, shown, "the program is named at run time")
		return
	}
	if sc.defined[words[0]] || depth > maxDepth {
		return
	}
	program := path.Base(words[0])
	args := words[1:]
	switch {
	case program == "eval":
		sc.nested(strings.Join(args, " "), o, shown)
		return
	case program == "bash" || program == "sh":
		sc.shell(args, o, shown)
		return
	case program == "cd" || program == "pushd":
		if len(args) == 1 && !strings.Contains(args[0], unknown) && !path.IsAbs(args[0]) && sc.dir != "" {
			sc.dir = path.Join(sc.dir, args[0])
		} else {
			sc.dir = ""
		}
		return
	case program == "source" || program == ".":
		if len(args) > 0 {
			sc.file0(args[0], o, shown)
		}
		return
	}
	if program == "find" {
		sc.executed(args, o, depth)
	}
	if slices.Contains([]string{"awk", "gawk", "mawk"}, program) && strings.Contains(shown, "system(") || strings.Contains(shown, "/inet/") {
		sc.b.not(o, shown, "what the program in it runs or connects to was not looked at")
	}
	rows := sc.b.cat.rows(append([]string{program}, args...))
	if len(rows) == 0 {
		switch {
		case strings.Contains(words[0], "/") && !path.IsAbs(words[0]):
			sc.file0(words[0], o, shown)
		case sc.b.cat.harmless[program]:
			sc.files(program, args, o)
		default:
			sc.b.not(o, shown, "a program that is not in the catalogue")
		}
		return
	}
	for i := range rows {
		r := &rows[i]
		sc.b.needs(r, program, []string{program}, o)
		if r.then {
			rest := afterFlags(program, args, r.skip)
			if len(rest) == 0 {
				continue
			}
			if r.root {
				sc.power(program, rest, o, shown)
			}
			sc.command(rest, o, depth+1)
		}
	}
	most := 0
	for i := range rows {
		most = max(most, len(rows[i].words))
	}
	for i := range rows {
		r := &rows[i]
		if len(r.words) == most { // python -m pip is understood, where python is not
			sc.notLookedAt(r, program, args, o, shown)
		}
		if r.urls || r.hosts {
			sc.destinations(program, args, r.urls, r.hosts, o, shown)
		}
	}
	sc.files(program, args, o)
}

// notLookedAt tells what of a program's work is written elsewhere.
func (sc *script) notLookedAt(r *need, program string, args []string, o intent.Origin, shown string) {
	switch {
	case r.opaque != "":
		sc.b.not(o, shown, "not looked at: "+r.opaque)
	case r.opaqueFile && runsFile(args):
		sc.b.not(o, shown, "not looked at: the program that "+program+" runs")
	case slices.ContainsFunc(args[:min(len(args), 3)], func(a string) bool { return slices.Contains(r.opaqueWords, a) }):
		sc.b.not(o, shown, "not looked at: what it runs is written elsewhere")
	}
}

// executed reads the commands that find(1) is given to run.
func (sc *script) executed(args []string, o intent.Origin, depth int) {
	for i := 0; i < len(args); i++ {
		if !slices.Contains([]string{"-exec", "-execdir", "-ok", "-okdir"}, args[i]) {
			continue
		}
		end := i + 1
		for end < len(args) && args[end] != ";" && args[end] != "+" {
			end++
		}
		if end > i+1 {
			sc.command(args[i+1:end], o, depth+1)
		}
		i = end
	}
}

// power grants what sudo runs. A shell or an interpreter that has power would
// give it to whatever it is told, so that is not granted.
func (sc *script) power(sudo string, words []string, o intent.Origin, shown string) {
	program := words[0]
	if rows := sc.b.cat.rows([]string{path.Base(program)}); len(rows) > 0 && rows[0].then {
		// It runs another program in its turn: env, nohup, timeout.
		if rest := afterFlags(path.Base(program), words[1:], rows[0].skip); len(rest) > 0 {
			sc.power(sudo, rest, o, shown)
		}
		return
	}
	switch name := path.Base(program); {
	case strings.Contains(program, unknown):
	case slices.Contains(interpreters, name):
		sc.b.not(o, shown, "power for "+name+" would be power for whatever it runs")
	default:
		sc.b.add(intent.Declared{Key: "root", Object: name, Origin: o, Why: sudo})
	}
}

// interpreters run what they are given.
var interpreters = []string{"bash", "sh", "dash", "zsh", "find", "awk", "gawk", "expect", "python", "python3", "node", "perl", "ruby", "php"}

// runsFile reports whether an interpreter is given a program, rather than asked
// for its version.
func runsFile(args []string) bool {
	for _, a := range args {
		if a == "--version" || a == "-V" || a == "-v" || a == "--help" {
			return false
		}
	}
	return true
}

// valued are flags of programs that run another one whose value is the next
// word.
var valued = map[string]string{
	"sudo": "-u -g -h -p -C -T -r -t -D -U", "doas": "-u -C", "env": "-u -C -S", "timeout": "-s -k",
	"nice": "-n", "xargs": "-n -P -I -L -d -a -E -s", "stdbuf": "-i -o -e", "xvfb-run": "-n -s -e -f -p -w", "time": "-f -o",
}

// afterFlags returns the command that a program is given to run.
func afterFlags(program string, args []string, skip int) []string {
	for len(args) > 0 {
		a := args[0]
		switch {
		case a == "--":
			args = args[1:]
			skip = 0
			return args
		case strings.HasPrefix(a, "-"):
			args = args[1:]
			if slices.Contains(strings.Fields(valued[program]), a) && len(args) > 0 {
				args = args[1:]
			}
		case (program == "env" || program == "sudo") && isAssignment(a):
			args = args[1:]
		case skip > 0:
			skip--
			args = args[1:]
		default:
			return args
		}
	}
	return nil
}

func isAssignment(s string) bool {
	name, _, ok := strings.Cut(s, "=")
	return ok && name != "" && strings.Trim(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_") == ""
}

// shell follows bash -c 'text' and bash script.sh.
func (sc *script) shell(args []string, o intent.Origin, shown string) {
	for i := 0; i < len(args); i++ {
		a := args[i]
		flag := strings.HasPrefix(a, "-") && !strings.HasPrefix(a, "--") || strings.HasPrefix(a, "+")
		switch {
		case flag && strings.Contains(a, "c"):
			if i+1 < len(args) {
				sc.nested(args[i+1], o, shown)
			}
			return
		case flag && strings.ContainsAny(a, "oO"):
			i++ // -euo pipefail
		case flag || strings.HasPrefix(a, "--"):
			continue
		default:
			sc.file0(a, o, shown)
			return
		}
	}
	// What comes in by a pipe is told there.
}

// nested reads a text that the shell runs as a script.
func (sc *script) nested(text string, o intent.Origin, shown string) {
	if strings.Contains(text, unknown) {
		sc.b.not(o, shown, "a command that is put together at run time")
		return
	}
	if len(sc.b.following) > maxDepth {
		sc.b.not(o, shown, "more than 8 scripts deep")
		return
	}
	sc.b.following = append(sc.b.following, "")
	defer func() { sc.b.following = sc.b.following[:len(sc.b.following)-1] }()
	inner := &script{b: sc.b, file: sc.file, start: place{o.Line, o.Column}, dir: sc.dir, values: maps.Clone(sc.values)}
	inner.read(text)
}

// file0 follows a script of the repository.
func (sc *script) file0(name string, o intent.Origin, shown string) {
	switch {
	case strings.Contains(name, unknown):
		sc.b.not(o, shown, "the script is named at run time")
		return
	case path.IsAbs(name) || sc.dir == "":
		sc.b.not(o, shown, "a program whose file was not looked at")
		return
	}
	file := path.Join(sc.dir, name)
	data, why := sc.b.follow(file)
	if why == "" {
		line, _, _ := strings.Cut(string(data), "\n")
		shebang := strings.HasPrefix(line, "#!")
		if shebang && !strings.Contains(line, "sh") || !shebang && !strings.HasSuffix(name, "sh") || strings.Contains(string(data), unknown) {
			why = "a program that is no shell script was not looked at"
		}
	}
	if why != "" {
		sc.b.not(o, shown, why)
		return
	}
	sc.b.following = append(sc.b.following, path.Clean(file))
	defer func() { sc.b.following = sc.b.following[:len(sc.b.following)-1] }()
	inner := &script{b: sc.b, file: file, start: place{1, 1}, dir: sc.dir, values: maps.Clone(sc.values)}
	inner.read(string(data))
}

// pipe notes a shell or an interpreter that runs what another program gives it.
func (sc *script) pipe(n *syntax.BinaryCmd) {
	if n.Op != syntax.Pipe && n.Op != syntax.PipeAll {
		return
	}
	call, ok := n.Y.Cmd.(*syntax.CallExpr)
	if !ok || len(call.Args) == 0 {
		return
	}
	words := make([]string, len(call.Args))
	for i, w := range call.Args {
		words[i] = sc.text(w)
	}
	for len(words) > 1 && (words[0] == "sudo" || words[0] == "env") {
		if words = afterFlags(words[0], words[1:], 0); len(words) == 0 {
			return
		}
	}
	if slices.Contains(interpreters, path.Base(words[0])) {
		if len(words) == 1 || words[1] == "-" || words[1] == "-s" {
			sc.b.not(sc.origin(n.Y.Pos()), "| "+strings.Join(words, " "), "it runs what comes in by the pipe")
		}
	}
}

// redirect notes files that are written outside the workspace.
func (sc *script) redirect(r *syntax.Redirect) {
	switch r.Op {
	case syntax.RdrOut, syntax.AppOut, syntax.RdrAll, syntax.AppAll, syntax.RdrClob, syntax.RdrInOut:
		if r.Word != nil {
			sc.written(sc.text(r.Word), nil, sc.origin(r.Pos()))
		}
	}
}

// writers are programs that write the files among their words.
var writers = []string{"tee", "cp", "mv", "install", "ln", "mkdir", "touch", "rm", "chmod", "chown", "truncate", "rmdir"}

// files notes the files that a program of the file system is told to write.
func (sc *script) files(program string, args []string, o intent.Origin) {
	if !slices.Contains(writers, program) {
		return
	}
	var names []string
	for _, a := range args {
		if !strings.HasPrefix(a, "-") {
			names = append(names, a)
		}
	}
	if (program == "cp" || program == "install" || program == "ln") && len(names) > 1 {
		names = names[len(names)-1:]
	}
	for _, n := range names {
		sc.written(n, []string{program}, o)
	}
}

// written grants a file outside the workspace, and the folder's content with
// it where it may be one. Those in the workspace need none.
func (sc *script) written(name string, by []string, o intent.Origin) {
	if !path.IsAbs(name) || strings.ContainsAny(name, unknown+"*?[") {
		return
	}
	name = path.Clean(name)
	for _, own := range []string{"/dev", "/tmp", "/proc/self"} {
		if name == own || strings.HasPrefix(name, own+"/") {
			return
		}
	}
	if name == "/" {
		return
	}
	why := "a redirection"
	if len(by) > 0 {
		why = by[0]
	}
	for _, object := range []string{name, name + "/**"} {
		if len(by) == 0 && object != name {
			continue
		}
		sc.b.add(intent.Declared{Key: "write", Object: object, By: by, Origin: o, Why: why})
	}
}

// destinations grants the hosts among a program's words.
func (sc *script) destinations(program string, args []string, urls, hosts bool, o intent.Origin, shown string) {
	found, open := 0, false
	for i, a := range args {
		if strings.HasPrefix(a, "-") {
			if _, v, ok := strings.Cut(a, "="); ok && strings.Contains(v, "://") {
				a = v
			} else {
				continue
			}
		}
		switch {
		case urls && strings.Contains(a, "://"):
			found++
			sc.b.destination(a, program, program, o)
		case hosts && hostAmong(program, a, args[:i]):
			host := a
			if _, h, ok := strings.Cut(host, "@"); ok {
				host = h
			}
			host, _, _ = strings.Cut(host, ":")
			if strings.Contains(host, unknown) {
				open = true
				continue
			}
			found++
			sc.b.destination("ssh://"+host, program, program, o)
		case strings.Contains(a, unknown):
			open = true
		}
	}
	if found == 0 && (open && program != "git" || program == "curl" || program == "wget") && runsFile(args) {
		sc.b.not(o, shown, "where it goes is known at run time only")
	}
}

// hostAmong reports whether a word of ssh, scp, rsync or git names a host.
func hostAmong(program, a string, before []string) bool {
	user, rest, at := strings.Cut(a, "@")
	switch {
	case strings.Contains(a, "://") || strings.HasPrefix(a, "/") || strings.HasPrefix(a, "."):
		return false
	case at && !strings.ContainsAny(user, "/:="):
		if program == "git" {
			return strings.Contains(rest, ":")
		}
		return program == "ssh" || program == "sftp" || strings.Contains(rest, ":") || program == "ssh-keyscan"
	case program == "ssh" || program == "ssh-keyscan" || program == "sftp":
		// The first word that is no flag, nor the value of one.
		for i, b := range before {
			if !strings.HasPrefix(b, "-") && (i == 0 || !strings.HasPrefix(before[i-1], "-")) {
				return false
			}
		}
		return (len(before) == 0 || !strings.HasPrefix(before[len(before)-1], "-")) || program == "ssh-keyscan"
	case program == "scp" || program == "rsync":
		host, _, ok := strings.Cut(a, ":")
		return ok && host != "" && !strings.Contains(host, "/")
	}
	return false
}

// ports are those of the schemes that programs are given.
var ports = map[string]string{"https": "443", "http": "80", "ssh": "22", "git": "9418", "ftp": "21", "ftps": "990", "sftp": "22", "rsync": "873", "wss": "443", "ws": "80", "git+https": "443", "git+ssh": "22"}

// destination grants the host of a URL, or of host[:port][/path].
func (b *builder) destination(text, by, why string, o intent.Origin) {
	text = expressions(text)
	scheme, rest, ok := strings.Cut(text, "://")
	if !ok {
		scheme, rest = "https", text
	}
	host := rest
	if i := strings.IndexAny(host, "/?#"); i >= 0 {
		host = host[:i]
	}
	if i := strings.LastIndexByte(host, '@'); i >= 0 {
		host = host[i+1:]
	}
	port := ports[strings.ToLower(scheme)]
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
		host, port = host[:i], host[i+1:]
	}
	shown := strings.ReplaceAll(text, unknown, "...")
	switch {
	case host == "" && strings.EqualFold(scheme, "file"):
		return
	case host == "" || strings.Contains(host+port, unknown):
		b.not(o, shown, "the host is known at run time only")
		return
	case port == "":
		b.not(o, shown, "a scheme whose port is not known")
		return
	case host == "localhost":
		return // the preset local
	}
	g := intent.Declared{Key: "egress", Object: strings.ToLower(host) + ":" + port, Origin: o, Why: why}
	if by != "" {
		g.By = []string{by}
	}
	b.add(g)
}

// interpreter is the program of a step's shell, empty where it is the
// runner's choice, which on Linux is bash.
func interpreter(shell string) string {
	f := strings.Fields(shell)
	if len(f) == 0 {
		return ""
	}
	return path.Base(f[0])
}
