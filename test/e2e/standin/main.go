// Command standin behaves as a coding agent does on the machine: it tells its
// hooks what it is about to do, starts a shell for each tool call as Claude Code
// does, and writes files itself. What it does stands in a script, a line each.
//
//	session ID | prompt TEXT | end
//	tool ID COMMAND        declared, run, and its result told
//	background ID COMMAND  the same, and it may go on
//	pre ID COMMAND | shell COMMAND | post ID COMMAND   the three apart; start COMMAND does not wait
//	write ID PATH | quiet PATH   with a file tool, or without a word
//	fetch ID URL | connect HOST:PORT   from the agent's own process
//	raw PAYLOAD | sleep MILLISECONDS
//
// Called edamame-hook it is a hook: it hands what comes on its stdin to every
// monitor, and prints the answers.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	if filepath.Base(os.Args[0]) == "edamame-hook" {
		hook(os.Args[1])
		return
	}
	if err := act(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// hook hands a payload to the monitors. Of several one records the speaker.
func hook(agent string) {
	payload, err := io.ReadAll(os.Stdin)
	if err != nil {
		panic(err)
	}
	socks, _ := filepath.Glob("/run/edamame-posture/agents/*.sock")
	for _, name := range socks {
		c, err := net.Dial("unix", name)
		if err != nil {
			continue
		}
		_ = c.SetDeadline(time.Now().Add(2 * time.Second))
		fmt.Fprintf(c, "edamame-hook/1 %s %d\n%s", agent, len(payload), payload)
		answer, _ := bufio.NewReader(c).ReadString('\n')
		fmt.Print(answer)
		c.Close()
	}
}

var session, cwd string

// declare starts a hook, as agents do: a shell that runs the command of their
// settings.
func declare(event string, more map[string]any) {
	m := map[string]any{"session_id": session, "hook_event_name": event, "cwd": cwd}
	for k, v := range more {
		m[k] = v
	}
	b, err := json.Marshal(m)
	if err != nil {
		panic(err)
	}
	raw(string(b))
}

func raw(payload string) {
	cmd := exec.Command("/bin/sh", "-c", os.Getenv("HOOK")+" claude-code")
	cmd.Stdin, cmd.Stderr = strings.NewReader(payload), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		fmt.Fprintln(os.Stderr, "hook:", err)
	}
	if log := os.Getenv("HOOK_LOG"); log != "" {
		f, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o666)
		if err == nil {
			_, _ = f.Write(out)
			f.Close()
		}
	}
}

func tool(event, id, name string, input map[string]any) {
	declare(event, map[string]any{"tool_use_id": id, "tool_name": name, "tool_input": input, "tool_response": map[string]any{}})
}

// shell runs a command as Claude Code does.
func shell(command string) {
	quoted := "'" + strings.ReplaceAll(command, "'", `'"'"'`) + "'"
	cmd := exec.Command("/bin/bash", "-c", "shopt -u extglob 2>/dev/null || true && eval "+quoted+" < /dev/null && pwd -P >| /dev/null")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	out, err := os.CreateTemp("", "standin")
	if err != nil {
		panic(err)
	}
	defer os.Remove(out.Name())
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	_ = cmd.Run()
}

func act(script string) error {
	b, err := os.ReadFile(script)
	if err != nil {
		return err
	}
	if cwd, err = os.Getwd(); err != nil {
		return err
	}
	for line := range strings.Lines(string(b)) {
		op, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		id, what, _ := strings.Cut(rest, " ")
		bash := map[string]any{"command": what}
		switch op {
		case "", "#":
		case "session":
			session = rest
			declare("SessionStart", map[string]any{"source": "startup"})
		case "prompt":
			declare("UserPromptSubmit", map[string]any{"prompt": rest})
		case "end":
			declare("SessionEnd", map[string]any{"reason": "other"})
		case "tool":
			tool("PreToolUse", id, "Bash", bash)
			shell(what)
			tool("PostToolUse", id, "Bash", bash)
		case "background":
			bash["run_in_background"] = true
			tool("PreToolUse", id, "Bash", bash)
			go shell(what)
			tool("PostToolUse", id, "Bash", bash)
		case "pre":
			tool("PreToolUse", id, "Bash", bash)
		case "post":
			tool("PostToolUse", id, "Bash", bash)
		case "shell":
			shell(rest)
		case "start":
			go shell(rest)
		case "write":
			in := map[string]any{"file_path": what}
			tool("PreToolUse", id, "Write", in)
			if err := os.WriteFile(what, []byte("x\n"), 0o644); err != nil {
				return err
			}
			tool("PostToolUse", id, "Write", in)
		case "quiet":
			if err := os.WriteFile(rest, []byte("x\n"), 0o644); err != nil {
				return err
			}
		case "fetch":
			in := map[string]any{"url": what}
			tool("PreToolUse", id, "WebFetch", in)
			connect(strings.Split(strings.TrimPrefix(what, "http://"), "/")[0])
			tool("PostToolUse", id, "WebFetch", in)
		case "connect":
			connect(rest)
		case "raw":
			raw(rest)
		case "sleep":
			n, err := strconv.Atoi(rest)
			if err != nil {
				return err
			}
			time.Sleep(time.Duration(n) * time.Millisecond)
		default:
			return fmt.Errorf("no such line: %s", line)
		}
	}
	return nil
}

func connect(addr string) {
	c, err := net.DialTimeout("tcp", addr, time.Second)
	if err == nil {
		_, _ = io.WriteString(c, "hello\n")
		c.Close()
	}
}
