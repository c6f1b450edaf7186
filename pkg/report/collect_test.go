package report

import (
	"fmt"
	"strings"
	"testing"

	"github.com/org/edamame-posture/pkg/event"
)

// programs lists the tree, indented, with repeats.
func programs(ps []*Process) string {
	var b strings.Builder
	var walk func([]*Process, int)
	walk = func(ps []*Process, depth int) {
		for _, p := range ps {
			fmt.Fprintf(&b, "%s%s", strings.Repeat(" ", depth), p.Program)
			if p.Repeats > 1 {
				fmt.Fprintf(&b, " x%d", p.Repeats)
			}
			b.WriteByte('\n')
			walk(p.Children, depth+1)
		}
	}
	walk(ps, 0)
	return b.String()
}

func TestSiblingsThatAreAlikeAreOneAndOthersAreNot(t *testing.T) {
	s := newScene(t, "make")
	mk := s.run(shell, "/usr/bin/make", "make")
	for i := range 412 {
		cc := s.run(mk, "/usr/bin/gcc", "gcc", "-c", fmt.Sprint(i, ".c"))
		as := s.run(cc, "/usr/bin/as", "as", fmt.Sprint(i, ".s"))
		s.exit(as, 0)
		code := 0
		if i == 7 {
			code = 1
		}
		s.exit(cc, code)
	}
	s.exit(mk, 0)
	d := s.end(0)
	if got, want := programs(d.Processes), "bash\n make\n  gcc x411\n   as x411\n  gcc\n   as\n"; got != want {
		t.Errorf("tree is\n%swant\n%s", got, want)
	}
	if d.Ran.Processes != 825 || d.Ran.Programs != 825 || d.Ran.Failed != 1 {
		t.Errorf("ran %+v", d.Ran)
	}
}

func TestAForkWithoutProgramLeavesItsChildrenToTheProgramAbove(t *testing.T) {
	s := newScene(t, "sh")
	sh := s.run(shell, "/usr/bin/sh", "sh")
	sub := event.Actor{PID: 900, Start: s.now}
	s.put(&event.Event{Kind: event.Fork, Actor: sub, Parent: sh})
	ls := s.run(sub, "/usr/bin/ls", "ls")
	s.send(sub, "", "198.51.100.9:80", 70, 30)
	s.exit(ls, 0)
	d := s.end(0)
	if got := programs(d.Processes); got != "bash\n sh\n  ls\n" {
		t.Errorf("tree is\n%s", got)
	}
	if p := d.Processes[0].Children[0]; p.Sent != 70 || p.Received != 30 {
		t.Errorf("sh sent %d and received %d: a fork's bytes are its program's", p.Sent, p.Received)
	}
}

func TestTotalsOfAFlowAreNotAddedTwice(t *testing.T) {
	s := newScene(t, "curl")
	c := s.run(shell, "/usr/bin/curl", "curl")
	s.send(c, "a.example.com", "198.51.100.1:443", 1000, 5000)
	s.send(c, "a.example.com", "198.51.100.1:443", 1000, 5000)
	d := s.end(0)
	if len(d.Destinations) != 1 {
		t.Fatalf("destinations are %+v", d.Destinations)
	}
	got, p := d.Destinations[0], d.Processes[0].Children[0]
	if got.Sent != 2000 || got.Received != 10000 || p.Sent != 2000 || p.Received != 10000 {
		t.Errorf("destination %d/%d, process %d/%d, want 2000/10000", got.Sent, got.Received, p.Sent, p.Received)
	}
}

func TestOneDestinationNamesAllWhoWentThere(t *testing.T) {
	s := newScene(t, "make")
	mk := s.run(shell, "/usr/bin/make", "make")
	for i, prog := range []string{"curl", "wget", "git"} {
		a := s.run(mk, "/usr/bin/"+prog, prog)
		s.send(a, "a.example.com", "198.51.100.1:443", uint64(100*(i+1)), 1)
	}
	d := s.end(0)
	if len(d.Destinations) != 1 || len(d.Destinations[0].By) != 3 {
		t.Fatalf("destinations are %+v", d.Destinations)
	}
	if who := chain(d.Destinations[0].By[0].Who); who != "make > git" {
		t.Errorf("the one that sent most is %q", who)
	}
}

func TestWhatLiesOutsideTheWorkspaceIsTold(t *testing.T) {
	s := newScene(t, "sh")
	sh := s.run(shell, "/usr/bin/sh", "sh")
	for i := range 3000 {
		s.write(sh, fmt.Sprintf("/home/ci/app/out/%d/%d.o", i%50, i))
	}
	for range 5 {
		s.write(sh, "/home/ci/.bashrc")
		s.write(sh, "/dev/null")
	}
	s.write(sh, "/etc/cron.d/job")
	d := s.end(0)
	if d.Files != (FileTotals{Workspace: 3000, Outside: 2}) {
		t.Errorf("totals are %+v", d.Files)
	}
	var got []string
	for _, f := range d.Written {
		got = append(got, fmt.Sprint(f.Path, " ", f.Files, " ", f.Outside))
	}
	if want := "/etc/cron.d 1 true, /home/ci 1 true, ./out 3000 false"; strings.Join(got, ", ") != want {
		t.Errorf("folders are %q, want %s", got, want)
	}
	if ex := d.Written[1].Examples; len(ex) != 1 || ex[0] != ".bashrc" {
		t.Errorf("examples are %q", ex)
	}
	text := terminalText(t, d, TerminalOptions{})
	if !strings.Contains(text, "/etc/cron.d  outside  1 file, such as job") {
		t.Errorf("summary is\n%s", text)
	}
}

// What was folded and did not come again is told by the file alone: the open
// that came first has its path.
func TestMoreOpensOfAFileAddNoFileWithoutAName(t *testing.T) {
	s := newScene(t, "sh")
	sh := s.run(shell, "/usr/bin/sh", "sh")
	s.write(sh, "/home/ci/app/out/a.o")
	s.write(sh, "/etc/cron.d/job")
	for inode := range uint64(3) {
		s.put(&event.Event{Kind: event.Open, Actor: sh, Access: event.Write, File: event.FileID{Dev: 1, Inode: inode}, Count: 40})
	}
	d := s.end(0)
	if d.Files != (FileTotals{Workspace: 1, Outside: 1}) {
		t.Errorf("totals are %+v", d.Files)
	}
	for _, f := range d.Written {
		if f.Path != "./out" && f.Path != "/etc/cron.d" || f.Files != 1 {
			t.Errorf("%d files are in %q", f.Files, f.Path)
		}
	}
	if len(d.Written) != 2 {
		t.Errorf("%d folders: %+v", len(d.Written), d.Written)
	}
}

func TestSurvivorsAreNamedByWhatTheyRan(t *testing.T) {
	s := newScene(t, "sh")
	sh := s.run(shell, "/usr/bin/sh", "sh")
	bg := s.run(sh, "/usr/bin/nc", "nc", "-l", "4444")
	s.exit(sh, 0)
	d := s.end(0, event.Survivor{Actor: bg, Exe: s.text("/usr/bin/nc")})
	if len(d.Survivors) != 1 || command(d.Survivors[0].Argv, false) != "nc -l 4444" {
		t.Errorf("survivors are %+v", d.Survivors)
	}
	if text := terminalText(t, d, TerminalOptions{}); !strings.Contains(text, "still running 1 process of it, after its end\n  413  nc -l 4444\n") {
		t.Errorf("summary is\n%s", text)
	}
}

func TestAnUnclosedLogIsReportedAsFarAsItGoes(t *testing.T) {
	s := newScene(t, "sh")
	s.run(shell, "/usr/bin/sh", "sh")
	if err := s.log.Checkpoint(s.now); err != nil {
		t.Fatal(err)
	}
	s.log.Abort()
	d, err := Load(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	if d.Closed || d.Verdict.Coverage.State == "complete" || len(d.Processes) == 0 {
		t.Errorf("closed %v, coverage %+v, processes %s", d.Closed, d.Verdict.Coverage, programs(d.Processes))
	}
}

func TestWhatAJobWritesCannotGrowWithoutBound(t *testing.T) {
	var f files
	f.init()
	for i := range maxFolders + 5000 {
		f.wrote(fmt.Sprintf("/w/%d/x", i))
	}
	if len(f.folders) > maxFolders+1 {
		t.Errorf("%d folders", len(f.folders))
	}
	var n uint64
	for _, fo := range f.folders {
		n += fo.files
	}
	if n != maxFolders+5000 {
		t.Errorf("%d files are counted", n)
	}
}

func FuzzVisible(f *testing.F) {
	for _, n := range hostileNames {
		f.Add(n)
	}
	f.Fuzz(func(t *testing.T, s string) {
		noControl(t, "visible", s, visible(s))
		noControl(t, "markdown", s, text(s))
		if got := cutEnd(visible(s), 20); columns(got) > 20 {
			t.Errorf("cutEnd of %q has %d columns", s, columns(got))
		}
		if got := cutStart(visible(s), 20); columns(got) > 20 {
			t.Errorf("cutStart of %q has %d columns", s, columns(got))
		}
		if got := cutMiddle(visible(s), 30); columns(got) > 30 {
			t.Errorf("cutMiddle of %q has %d columns", s, columns(got))
		}
		if got := text(s); strings.ContainsAny(got, "<>`[]|*_@!~\\") {
			t.Errorf("text of %q is %q", s, got)
		}
	})
}

func TestASetOfHashesHasWhatWasAdded(t *testing.T) {
	var s hashes
	var all []uint64
	h := uint64(1)
	for range 50_000 {
		h = h*6364136223846793005 + 1442695040888963407 // Knuth's MMIX
		if s.has(h) {
			t.Fatalf("%x is there before it was added", h)
		}
		s.add(h)
		all = append(all, h)
	}
	for _, h := range all {
		if !s.has(h) {
			t.Fatalf("%x is gone", h)
		}
	}
	if s.n != len(all) || len(s.slots) > 4*len(all) {
		t.Errorf("%d in %d slots", s.n, len(s.slots))
	}
}
