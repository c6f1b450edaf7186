package runner

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// The names of the two processes.
const (
	listenerName = "Runner.Listener"
	workerName   = "Runner.Worker"
)

// Main is the body of a program that is a runner: under the names of the two
// processes it is that process, and under any other it returns false.
func Main() (code int, is bool) {
	switch filepath.Base(os.Args[0]) {
	case listenerName:
		return listen(), true
	case workerName:
		if len(os.Args) != 4 {
			return 2, true
		}
		out, err1 := strconv.Atoi(os.Args[2])
		in, err2 := strconv.Atoi(os.Args[3])
		if err1 != nil || err2 != nil {
			return 2, true
		}
		unix.CloseOnExec(in)
		unix.CloseOnExec(out)
		return workerMain(os.NewFile(uintptr(in), "in"), os.NewFile(uintptr(out), "out")), true
	}
	return 0, false
}

// listen is the process Runner.Listener: jobs come as lines of JSON on its
// input, results go as such to its output. It starts a Worker for each job at
// once; a real one waits for the one before.
func listen() int {
	root := filepath.Dir(filepath.Dir(os.Args[0]))
	loadEnv(filepath.Join(root, ".env"))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var wg sync.WaitGroup
	var mu sync.Mutex
	in := bufio.NewReader(os.Stdin)
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			break
		}
		wg.Go(func() {
			r, err := startWorker(ctx, root, line)
			if err != nil {
				r = []byte(fmt.Sprintf("{\"Conclusion\":\"Failed\",\"Log\":%q}\n", err.Error()))
			}
			mu.Lock()
			defer mu.Unlock()
			_, _ = os.Stdout.Write(r)
		})
	}
	wg.Wait()
	return 0
}

// loadEnv sets the variables of the runner's .env file for what it starts.
func loadEnv(file string) {
	data, err := os.ReadFile(file)
	if err != nil {
		return
	}
	for l := range strings.Lines(string(data)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(l), "="); ok {
			_ = os.Setenv(name, value)
		}
	}
}

func startWorker(ctx context.Context, root string, job []byte) ([]byte, error) {
	jobs, give, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer give.Close()
	take, results, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, jobs.Close())
	}
	defer take.Close()
	path := filepath.Join(root, "bin", workerName)
	cmd := &exec.Cmd{
		Path: path, Args: []string{path, "spawnclient", "3", "4"}, Dir: filepath.Join(root, "bin"),
		ExtraFiles: []*os.File{results, jobs}, Stderr: os.Stderr,
		// An interrupt at a terminal goes to the Listener alone, which tells.
		SysProcAttr: &syscall.SysProcAttr{Setpgid: true},
	}
	err = cmd.Start()
	_, _ = jobs.Close(), results.Close()
	if err != nil {
		return nil, err
	}
	if _, err := give.Write(job); err != nil {
		return nil, errors.Join(err, cmd.Wait())
	}
	stop := context.AfterFunc(ctx, func() { _, _ = give.Write([]byte{cancelByte}) })
	defer stop()
	result, err := io.ReadAll(take)
	return result, errors.Join(err, cmd.Wait())
}

// Options says on what a workflow runs.
type Options struct {
	// Root is the folder for the runners, which must not be there yet.
	Root string
	// Runners is how many there are, 1 where it is 0. The jobs are dealt out in
	// turn and run all at once.
	Runners int
	// User is who the runners run as; empty for the caller.
	User string
	// Env is what stands in each runner's .env file, as NAME=VALUE.
	Env []string
	// Network is that of containers; empty for a new one for each job.
	Network string
	// Actions says which folder holds OWNER/REPO@REF.
	Actions map[string]string
	// Repository is OWNER/REPO, Source what a checkout copies.
	Repository, Source string
	// API is the URL of a stand-in for GitHub's API; empty for GitHub's own.
	API string
	// Stderr takes what the processes of the runners say of themselves.
	Stderr io.Writer
}

// Run runs the jobs of a workflow and returns what became of each, in the
// order of their ends. A context that ends cancels them, as GitHub does.
func Run(ctx context.Context, jobs []Job, o Options) ([]Result, error) {
	if o.Repository == "" {
		o.Repository = "octo/app"
	}
	attr, err := o.attr()
	if err != nil {
		return nil, err
	}
	n := max(o.Runners, 1)
	var results []Result
	var mu sync.Mutex
	var wg sync.WaitGroup
	var errs []error
	for i := range n {
		root := filepath.Join(o.Root, fmt.Sprintf("runner-%d", i+1))
		if err := o.install(root, attr); err != nil {
			return nil, err
		}
		var input strings.Builder
		for k := i; k < len(jobs); k += n {
			j := jobs[k]
			j.Repository, j.Source, j.Actions = o.Repository, o.Source, o.Actions
			j.Work, j.RunID, j.Network, j.API = "_work", strconv.Itoa(1000+k), o.Network, cmp.Or(o.API, "https://api.github.com")
			if k >= n {
				j.Work += strconv.Itoa(k / n)
			}
			line, err := json.Marshal(j)
			if err != nil {
				return nil, err
			}
			input.Write(append(line, '\n'))
		}
		path := filepath.Join(root, "bin", listenerName)
		cmd := exec.CommandContext(ctx, path, "run")
		cmd.Dir, cmd.Stdin, cmd.Stderr, cmd.SysProcAttr = root, strings.NewReader(input.String()), o.Stderr, attr
		cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
		wg.Go(func() {
			out, err := cmd.Output()
			mu.Lock()
			defer mu.Unlock()
			d := json.NewDecoder(strings.NewReader(string(out)))
			for d.More() {
				var r Result
				if err := d.Decode(&r); err != nil {
					errs = append(errs, err)
					return
				}
				results = append(results, r)
			}
			if err != nil && ctx.Err() == nil {
				errs = append(errs, fmt.Errorf("%s: %w", path, err))
			}
		})
	}
	wg.Wait()
	if len(results) != len(jobs) && len(errs) == 0 {
		errs = append(errs, fmt.Errorf("%d of %d jobs have a result", len(results), len(jobs)))
	}
	return results, errors.Join(errs...)
}

// attr has what is started run as the user, in a group of its own.
func (o *Options) attr() (*syscall.SysProcAttr, error) {
	attr := &syscall.SysProcAttr{Setpgid: true}
	if o.User == "" {
		return attr, nil
	}
	u, err := user.Lookup(o.User)
	if err != nil {
		return nil, err
	}
	uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
	attr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return attr, errors.Join(err1, err2)
}

// install lays out a runner's folder.
func (o *Options) install(root string, attr *syscall.SysProcAttr) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	node, err := exec.LookPath("node")
	if err == nil {
		node, err = filepath.EvalSymlinks(node)
	}
	if err != nil {
		return fmt.Errorf("the runner's own node: %w", err)
	}
	bin := filepath.Join(root, "bin")
	dirs := []string{bin, filepath.Join(root, "_diag")}
	for _, n := range []string{"node20", "node24"} {
		dirs = append(dirs, filepath.Join(root, "externals", n, "bin"))
	}
	for _, d := range dirs {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	for _, d := range dirs[2:] {
		to := filepath.Join(d, "node")
		// No link to the same file: another runner's would change its ctime.
		if err := os.Symlink(node, to); err != nil {
			return err
		}
	}
	program, err := os.ReadFile(self)
	if err != nil {
		return err
	}
	for _, name := range []string{listenerName, workerName} {
		if err := os.WriteFile(filepath.Join(bin, name), program, 0o755); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(root, ".env"), []byte(strings.Join(o.Env, "\n")+"\n"), 0o644); err != nil {
		return err
	}
	if attr.Credential == nil {
		return nil
	}
	return filepath.WalkDir(root, func(path string, _ os.DirEntry, err error) error {
		if err != nil || filepath.Base(path) == "node" {
			return err
		}
		return os.Lchown(path, int(attr.Credential.Uid), int(attr.Credential.Gid))
	})
}
