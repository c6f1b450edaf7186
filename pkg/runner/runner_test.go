package runner

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/redact"
)

func text(s string) redact.Text {
	return redact.New([32]byte{}, redact.Options{}).Text([]byte(s))
}

func TestAWorkerIsKnownByTheFileThatItRuns(t *testing.T) {
	for exe, want := range map[string]bool{
		"/home/runner/runners/2.336.0/bin/Runner.Worker": true, "/r/bin/Runner.Worker (deleted)": true,
		"/r/bin/Runner.Listener": false, "/r/bin/Runner.Worker.sh": false, "Runner.Worker": false, "": false,
	} {
		if got := IsWorker([]byte(exe)); got != want {
			t.Errorf("%q: %v", exe, got)
		}
	}
}

func TestStepsAreToldByWhatTheWorkerGave(t *testing.T) {
	const work = "/r/_work/_actions/"
	for _, c := range []struct {
		name, exe string
		argv, env []string
		hook      redact.Text
		want      [4]string // job, id, action, kind
	}{
		{"a script", "/usr/bin/bash", []string{"/usr/bin/bash", "-e", "/r/_work/_temp/a.sh"},
			[]string{"GITHUB_JOB=build", "GITHUB_ACTION=__run_2"}, redact.Text{}, [4]string{"build", "__run_2", "", "run"}},
		{"a script whose path an earlier step has set", "/usr/bin/bash", []string{"/usr/bin/bash", "-e", "/r/_work/_temp/a.sh"},
			[]string{"GITHUB_JOB=build", "GITHUB_ACTION=__run", "GITHUB_ACTION_PATH=" + work + "good/one/v1", "GITHUB_ACTION_REPOSITORY=good/one"},
			redact.Text{}, [4]string{"build", "__run", "", "run"}},
		{"a script of a composite action", "/usr/bin/bash", []string{"/usr/bin/bash", "-e", "/r/_work/_temp/a.sh"},
			[]string{"GITHUB_JOB=build", "GITHUB_ACTION=__octo_both", "GITHUB_ACTION_PATH=" + work + "octo/both/v1/sub"},
			redact.Text{}, [4]string{"build", "__octo_both", "octo/both@v1", "run"}},
		{"JavaScript", "/r/externals/node24/bin/node", []string{"/r/externals/node24/bin/node", work + "actions/checkout/v6/dist/index.js"},
			[]string{"GITHUB_JOB=build", "GITHUB_ACTION=co", "GITHUB_ACTION_REPOSITORY=other/name", "GITHUB_ACTION_REF=v9"},
			redact.Text{}, [4]string{"build", "co", "actions/checkout@v6", "action"}},
		{"JavaScript of the workspace", "/r/externals/node24/bin/node", []string{"node", "/r/_work/app/app/action/main.js"},
			[]string{"GITHUB_JOB=build", "GITHUB_ACTION=__self"}, redact.Text{}, [4]string{"build", "__self", "", "action"}},
		{"a script by node", "/usr/bin/node", []string{"node", "/r/_work/_temp/a.js"},
			[]string{"GITHUB_JOB=build", "GITHUB_ACTION=__run"}, redact.Text{}, [4]string{"build", "__run", "", "run"}},
		{"a container", "/usr/bin/docker", []string{"docker", "run", "--rm", "img"},
			[]string{"GITHUB_JOB=build", "GITHUB_ACTION=lint", "GITHUB_ACTION_REPOSITORY=o/lint", "GITHUB_ACTION_REF=v1"},
			redact.Text{}, [4]string{"build", "lint", "o/lint@v1", "container"}},
		{"a hook with what the last step left", "/usr/bin/bash", []string{"bash", "-e", "/hooks/end.sh"},
			[]string{"GITHUB_JOB=build", "GITHUB_ACTION=co"}, JobCompleted, [4]string{"build", "hook:job-completed", "", "hook"}},
		{"the worker's own", "/usr/bin/tar", []string{"tar", "-xzf", "a.tar.gz"}, nil, redact.Text{}, [4]string{"", "", "", "runner"}},
	} {
		ev := event.Event{Exe: text(c.exe)}
		for _, a := range c.argv {
			ev.Argv = append(ev.Argv, text(a))
		}
		for _, v := range c.env {
			name, value, _ := strings.Cut(v, "=")
			ev.Env = append(ev.Env, event.Var{Name: text(name), Value: text(value)})
		}
		s := StepOf(&ev, c.hook)
		if got := [4]string{s.Job.String(), s.ID.String(), s.Action.String(), s.Kind.String()}; got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

func TestAHookIsTheScriptThatTheWorkersEnvironmentNames(t *testing.T) {
	env := []byte("A=b\x00ACTIONS_RUNNER_HOOK_JOB_STARTED=/h/start.sh\x00ACTIONS_RUNNER_HOOK_JOB_COMPLETED=\x00")
	for argv, want := range map[string]redact.Text{
		"/usr/bin/bash\x00-e\x00/h/start.sh\x00": JobStarted, "/usr/bin/bash\x00-e\x00/h/other.sh\x00": {}, "\x00\x00": {},
	} {
		if got := HookOf(env, []byte(argv)); got != want {
			t.Errorf("%q: %q", argv, got)
		}
	}
}

const sample = "[2026-11-28 11:35:39Z INFO Worker] Job message:\n {\"name\": \"[x INFO StepsRunner] Processing step: DisplayName='no'\"}\n" +
	"[2026-11-28 11:35:40Z INFO StepsRunner] Processing step: DisplayName='Run make'\r\n" +
	"[2026-11-28 11:35:40Z INFO ProcessInvokerWrapper] Process started with process id 12, waiting for process exit.\n" +
	"[2026-11-28 11:35:40Z INFO Other] Process started with process id 13, waiting for process exit.\n" +
	"[2026-11-28 11:35:41Z INFO CompositeActionHandler] Processing embedded step: DisplayName='it's inside'\n" +
	"[2026-11-28 11:35:41Z INFO ProcessInvokerWrapper] Process started with process id 14, waiting for process exit.\n" +
	"[2026-11-28 11:35:41Z INFO ProcessInvokerWrapper] Process started with process id -1, waiting for process exit.\n"

func TestTheLogNamesTheStepOfAProcess(t *testing.T) {
	want := []string{"12 Run make", "14 it's inside"}
	for _, size := range []int{1, 7, 1 << 20} {
		var l Log
		var got []string
		for rest := []byte(sample); len(rest) > 0; {
			n := min(size, len(rest))
			l.Feed(rest[:n], func(pid uint32, name []byte) { got = append(got, fmt.Sprintf("%d %s", pid, name)) })
			rest = rest[n:]
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%d bytes at a time: got %q, want %q", size, got, want)
		}
	}
}

func FuzzLog(f *testing.F) {
	f.Add([]byte(sample), 5)
	f.Fuzz(func(t *testing.T, data []byte, at int) {
		var whole, parts Log
		var a, b []string
		whole.Feed(data, func(pid uint32, name []byte) {
			if len(name) > maxName || pid == 0 || !bytes.Contains(data, name) {
				t.Errorf("process %d has the name %q", pid, name)
			}
			a = append(a, fmt.Sprint(pid, name))
		})
		at = min(max(at, 0), len(data))
		parts.Feed(data[:at], func(pid uint32, name []byte) { b = append(b, fmt.Sprint(pid, name)) })
		parts.Feed(data[at:], func(pid uint32, name []byte) { b = append(b, fmt.Sprint(pid, name)) })
		if !reflect.DeepEqual(a, b) || len(whole.line) > maxLogLine {
			t.Errorf("whole %q, in two parts %q", a, b)
		}
	})
}

func TestClientsOfEnginesSayWhereTheirProcessIs(t *testing.T) {
	id := strings.Repeat("0123456789abcdef", 4)
	for _, c := range []struct {
		argv string
		want Asked
	}{
		{"docker run --name img_ab12cd --rm -e GITHUB_ACTION img", Asked{New: true}},
		{"docker exec -i --workdir /__w/app/app -e GITHUB_ACTION " + id + " sh -e /__w/_temp/a.sh", Asked{In: id}},
		{"docker exec -i name sh", Asked{}},
		{"docker start " + id, Asked{}},
		{"docker network create run", Asked{}},
		{"docker", Asked{}},
		{"", Asked{}},
	} {
		if got := AskedOf([]byte(strings.ReplaceAll(c.argv, " ", "\x00") + "\x00")); got != c.want {
			t.Errorf("%s: %+v, want %+v", c.argv, got, c.want)
		}
	}
}

func FuzzAsked(f *testing.F) {
	f.Add([]byte("docker\x00exec\x00" + strings.Repeat("a", 64) + "\x00sh\x00"))
	f.Fuzz(func(t *testing.T, argv []byte) {
		a := AskedOf(argv)
		if a.New && a.In != "" || a.In != "" && (len(a.In) != 64 || !bytes.Contains(argv, []byte(a.In))) {
			t.Errorf("%q: %+v", argv, a)
		}
	})
}
