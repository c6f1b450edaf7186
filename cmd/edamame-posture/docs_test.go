package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"mvdan.cc/sh/v3/syntax"
)

// Every command of ours that a page shows, in a block or within a line, has the
// subcommand and the flags that it is shown with.
func TestEveryCommandThatIsShownCanBeTyped(t *testing.T) {
	pages := []string{"../../README.md"}
	for _, pattern := range []string{"../../docs/*.md", "../../examples/*/*.md", "../../test/*/README.md"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		pages = append(pages, found...)
	}
	shown := 0
	for _, page := range pages {
		b, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range commandsIn(string(b)) {
			args := ours(text)
			if len(args) == 0 || strings.ToUpper(args[0]) == args[0] {
				continue // the program's name alone, or COMMAND
			}
			shown++
			root := newRoot()
			cmd, rest, err := root.Find(args)
			if err != nil || cmd == root {
				t.Errorf("%s: %s: there is no such command: %v", page, text, err)
				continue
			}
			if cmd.HasSubCommands() && len(rest) > 0 && cmd.RunE == nil && cmd.Run == nil {
				t.Errorf("%s: %s: %s has no %s", page, text, cmd.Name(), rest[0])
			}
			if err := cmd.ParseFlags(rest); err != nil {
				t.Errorf("%s: %s: %v", page, text, err)
			}
		}
	}
	if shown < 60 {
		t.Errorf("only %d commands are found: the test does not look at the pages", shown)
	}
}

var inline = regexp.MustCompile("`([^`\n]*edamame-posture [^`\n]+)`")

// commandsIn returns the lines of a page's blocks that name the program, and the
// code within its other lines that does.
func commandsIn(page string) (list []string) {
	page = strings.ReplaceAll(page, "\\\n", " ")
	fenced := false
	for line := range strings.Lines(page) {
		line = strings.TrimRight(line, "\n")
		if strings.HasPrefix(strings.TrimSpace(line), "```") {
			fenced = !fenced
			continue
		}
		if fenced || strings.HasPrefix(line, "    ") {
			if strings.Contains(line, "edamame-posture ") {
				list = append(list, strings.TrimSpace(line))
			}
			continue
		}
		for _, m := range inline.FindAllStringSubmatch(line, -1) {
			list = append(list, m[1])
		}
	}
	return list
}

// ours returns the arguments of the first start of the program in a line of
// shell; none where there is none, as in what it prints.
func ours(line string) (args []string) {
	line = strings.NewReplacer("[", "", "]", "", "ExecStart=", "", "ExecStartPre=-", "").Replace(line)
	f, err := syntax.NewParser().Parse(strings.NewReader(line), "")
	if err != nil {
		return nil
	}
	syntax.Walk(f, func(n syntax.Node) bool {
		call, ok := n.(*syntax.CallExpr)
		if !ok || args != nil {
			return args == nil
		}
		at := -1
		for i, w := range call.Args {
			var text strings.Builder
			for _, p := range w.Parts {
				switch p := p.(type) {
				case *syntax.Lit:
					text.WriteString(p.Value)
				case *syntax.SglQuoted:
					text.WriteString(p.Value)
				default:
					text.WriteString("x")
				}
			}
			switch word := text.String(); {
			case at >= 0:
				args = append(args, word)
			case i < 2 && (word == "edamame-posture" || strings.HasSuffix(word, "/edamame-posture")):
				at = i
			}
		}
		return true
	})
	return args
}
