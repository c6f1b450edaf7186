package agent

import (
	"path"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// unknown stands in a word for what only the shell knows when it runs.
const (
	unknown     = '\x00'
	unknownText = "\x00"
)

// Bounds of a script. The parser goes as deep as the text is nested.
const (
	maxScript  = 64 << 10 // bytes
	maxNesting = 1000     // opening brackets and quotes of substitutions
	maxDepth   = 4        // scripts in scripts
)

// script adds what a shell script names: programs, files, hosts. What it does
// beyond that nobody can tell from it, and it says so where it hides it.
func (e *effects) script(text string, depth int) {
	switch {
	case strings.TrimSpace(text) == "":
		e.add("opaque", "no command")
		return
	case len(text) > maxScript:
		e.add("opaque", "a script longer than is read")
		return
	case strings.ContainsRune(text, unknown) || nesting(text) > maxNesting || depth > maxDepth:
		e.add("opaque", "a script that is nested too deeply, or not a text")
		return
	}
	file, err := syntax.NewParser(syntax.Variant(syntax.LangBash)).Parse(strings.NewReader(text), "")
	if err != nil {
		e.add("opaque", "not a script that can be read")
		return
	}
	defined := map[string]bool{}
	syntax.Walk(file, func(n syntax.Node) bool {
		if f, ok := n.(*syntax.FuncDecl); ok {
			defined[f.Name.Value] = true
		}
		return true
	})
	syntax.Walk(file, func(n syntax.Node) bool {
		switch n := n.(type) {
		case *syntax.CallExpr:
			var words []string
			for _, w := range n.Args {
				words = append(words, word(w))
			}
			if len(words) > 0 && !defined[words[0]] {
				e.command(words, depth)
			}
		case *syntax.Redirect:
			e.redirect(n)
		case *syntax.BinaryCmd:
			if n.Op == syntax.Pipe || n.Op == syntax.PipeAll {
				e.pipe(n)
			}
		}
		return true
	})
}

func nesting(text string) int {
	n := strings.Count(text, "(") + strings.Count(text, "{") + strings.Count(text, "`") + strings.Count(text, "[")
	for _, w := range []string{"if", "for", "while", "until", "case", "do", "!"} {
		n += strings.Count(text, w+" ")
	}
	return n
}

// word is the text of a word, with unknown for what is only known later.
func word(w *syntax.Word) string {
	var b strings.Builder
	parts(&b, w.Parts)
	return b.String()
}

func parts(b *strings.Builder, list []syntax.WordPart) {
	for _, p := range list {
		switch p := p.(type) {
		case *syntax.Lit:
			b.WriteString(strings.ReplaceAll(p.Value, "\\", ""))
		case *syntax.SglQuoted:
			b.WriteString(p.Value)
		case *syntax.DblQuoted:
			parts(b, p.Parts)
		case *syntax.ParamExp:
			if p.Param != nil && p.Param.Value == "HOME" && p.Exp == nil && p.Slice == nil && p.Repl == nil && b.Len() == 0 {
				b.WriteByte('~')
				continue
			}
			b.WriteByte(unknown)
		default:
			b.WriteByte(unknown)
		}
	}
}

// Programs that run another, with how many words of their own stand before it;
// options are passed over.
var wrappers = map[string]int{
	"sudo": 0, "doas": 0, "env": 0, "nohup": 0, "time": 0, "nice": 0, "ionice": 0, "setsid": 0, "stdbuf": 0, "command": 0, "exec": 0, "builtin": 0,
	"timeout": 1, "xargs": 0, "unbuffer": 0, "chroot": 1, "flock": 1, "watch": 0, "strace": 0, "catchsegv": 0,
}

// takesValue are the options of these programs that take the next word.
var takesValue = map[string]bool{"-u": true, "-g": true, "-n": true, "-k": true, "-s": true, "-I": true, "-P": true, "-L": true, "-o": true, "-e": true, "-i": true, "-C": true}

var shellNames = map[string]bool{"sh": true, "bash": true, "dash": true, "zsh": true, "ksh": true, "ash": true, "fish": true}

// inlineCode are the options of interpreters after which code stands.
var inlineCode = map[string]string{"python": "-c", "python3": "-c", "python2": "-c", "node": "-e", "nodejs": "-e", "perl": "-e", "ruby": "-e", "php": "-r", "deno": "eval", "bun": "-e"}

// reaches are programs of which a word is a host, without a scheme.
var reaches = map[string]bool{"ssh": true, "scp": true, "sftp": true, "rsync": true, "curl": true, "wget": true, "nc": true, "ncat": true, "netcat": true, "telnet": true, "ping": true, "dig": true, "nslookup": true, "host": true, "socat": true, "ftp": true, "http": true, "https": true}

// changes are programs that write to files that they name.
var changes = map[string]bool{"cp": true, "mv": true, "tee": true, "install": true, "touch": true, "mkdir": true, "rm": true, "rmdir": true, "ln": true, "chmod": true, "chown": true, "truncate": true, "sed": true, "dd": true, "unlink": true, "patch": true}

func (e *effects) command(words []string, depth int) {
	for range maxDepth {
		name := path.Base(words[0])
		if strings.ContainsRune(words[0], unknown) {
			e.add("opaque", "the program's name is known only when it runs")
			return
		}
		e.add("exec", name)
		skip, ok := wrappers[name]
		if !ok {
			break
		}
		words = words[1:]
		for len(words) > 0 && (strings.HasPrefix(words[0], "-") || skip > 0 || strings.Contains(words[0], "=")) {
			switch {
			case takesValue[words[0]] && len(words) > 1:
				words = words[1:]
			case !strings.HasPrefix(words[0], "-") && !strings.Contains(words[0], "="):
				skip--
			}
			words = words[1:]
		}
		if len(words) == 0 {
			return
		}
	}
	name, args := path.Base(words[0]), words[1:]
	switch {
	case name == "cd" || name == "pushd":
		e.enter(args)
		return
	case name == "eval":
		e.add("opaque", "eval")
		if s := strings.Join(args, " "); !strings.ContainsRune(s, unknown) && s != "" {
			e.script(s, depth+1)
		}
		return
	case name == "source" || name == ".":
		if len(args) > 0 && strings.ContainsRune(args[0], unknown) {
			e.add("opaque", "a script whose name is known only when it runs")
		}
	case shellNames[name]:
		e.shell(args, depth)
	case name == "base64" && (has(args, "-d") || has(args, "--decode") || has(args, "-D")):
		e.add("opaque", "what is decoded from base64")
	}
	if flag, ok := inlineCode[name]; ok && has(args, flag) {
		e.add("opaque", "code in an argument of "+name)
	}
	e.arguments(words[0], name, args)
}

// enter follows a change of folder.
func (e *effects) enter(args []string) {
	switch {
	case len(args) == 0:
		e.cwd = "~"
	case strings.ContainsRune(args[0], unknown) || strings.HasPrefix(args[0], "-"):
		e.cwd = ""
	case path.IsAbs(args[0]) || strings.HasPrefix(args[0], "~"):
		e.cwd = path.Clean(args[0])
	case e.cwd != "":
		e.cwd = path.Join(e.cwd, args[0])
	}
}

// shell reads what a shell is given to run.
func (e *effects) shell(args []string, depth int) {
	for i, a := range args {
		if strings.HasPrefix(a, "-") && !strings.HasPrefix(a, "--") && strings.Contains(a, "c") {
			switch {
			case i+1 >= len(args):
			case strings.ContainsRune(args[i+1], unknown):
				e.add("opaque", "a script that is known only when it runs")
			default:
				e.script(args[i+1], depth+1)
			}
			return
		}
		if !strings.HasPrefix(a, "-") {
			return // a file, whose name is told by arguments
		}
	}
}

// arguments adds the files and hosts that stand among the arguments.
func (e *effects) arguments(called, name string, args []string) {
	if strings.Contains(called, "/") {
		e.file("read", called)
	}
	output := false
	for i, a := range args {
		if k, v, ok := strings.Cut(a, "="); ok && (strings.HasPrefix(k, "-") || name == "dd") {
			if k == "of" || k == "--output" || k == "--out" {
				e.file("write", v)
				continue
			}
			a = v
		}
		switch {
		case e.url(a):
		case a == "-o" || a == "-O" || a == "--output" || a == "--target-directory" || a == "-C":
			output = true
			continue
		case strings.HasPrefix(a, "-"):
			a, _ = strings.CutPrefix(a, "-d@")
			a, _ = strings.CutPrefix(a, "-F")
			if strings.HasPrefix(a, "-") {
				continue
			}
			e.file("read", strings.TrimPrefix(a, "@"))
		case output:
			e.file("write", a)
		case remote(name, a):
			host, _, _ := strings.Cut(a[strings.IndexByte(a, '@')+1:], ":")
			e.host(host, "")
		case reaches[name] && (strings.Contains(a, ".") || a == "localhost") && !strings.ContainsAny(a, "/@{}\" ") || (name == "nc" || name == "ncat" || name == "netcat" || name == "telnet") && i == 0:
			host, port, _ := strings.Cut(a, ":")
			e.host(host, port)
		case reaches[name] && !strings.HasPrefix(a, "/") && !strings.HasPrefix(a, ".") && !strings.HasPrefix(a, "~") && !strings.HasPrefix(a, "@") && strings.Contains(a, ".") && strings.Contains(a, "/"):
			host, port, _ := strings.Cut(a[:strings.IndexByte(a, '/')], ":")
			e.host(host, port)
		default:
			a = strings.TrimPrefix(a, "@")
			if strings.ContainsAny(a, "/.~") || changes[name] || name == "cat" {
				e.file("read", a)
			}
			if changes[name] {
				e.file("write", a)
			}
		}
		output = false
	}
}

// remote tells words such as user@host:path, which ssh, scp, rsync and git take.
func remote(name, a string) bool {
	at := strings.IndexByte(a, '@')
	switch name {
	case "ssh", "sftp":
		return at > 0
	case "scp", "rsync", "git":
		return at > 0 && strings.Contains(a[at:], ":")
	}
	return false
}

func (e *effects) redirect(r *syntax.Redirect) {
	if r.Word == nil {
		return
	}
	name := word(r.Word)
	for _, proto := range []string{"/dev/tcp/", "/dev/udp/"} {
		if rest, ok := strings.CutPrefix(name, proto); ok {
			host, port, _ := strings.Cut(rest, "/")
			e.host(host, port)
			return
		}
	}
	switch r.Op {
	case syntax.RdrIn:
		e.file("read", name)
	case syntax.RdrOut, syntax.AppOut, syntax.RdrAll, syntax.AppAll, syntax.RdrInOut:
		e.file("write", name)
	default:
		if strings.HasPrefix(r.Op.String(), ">|") {
			e.file("write", name)
		}
	}
}

// pipe tells a script that comes over a pipe: what is downloaded or decoded and
// then run.
func (e *effects) pipe(n *syntax.BinaryCmd) {
	call, ok := n.Y.Cmd.(*syntax.CallExpr)
	if !ok || len(call.Args) == 0 {
		return
	}
	name := path.Base(word(call.Args[0]))
	if name == "sudo" && len(call.Args) > 1 {
		name = path.Base(word(call.Args[1]))
	}
	if _, code := inlineCode[name]; (shellNames[name] || code) && len(call.Args) <= 2 {
		e.add("opaque", "a script that comes over a pipe")
	}
}

func has(list []string, s string) bool {
	for _, have := range list {
		if have == s {
			return true
		}
	}
	return false
}
