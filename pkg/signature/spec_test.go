package signature

import (
	"bytes"
	"cmp"
	"errors"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/fact"
	"github.com/org/edamame-posture/pkg/process"
	"gopkg.in/yaml.v3"
)

// specEvent is an event of testdata/spec. One of exec, fork, connect, accept,
// http, dns, answer, read, write, create, delete, rename, memory and open
// stands; where none does, the process exits.
type specEvent struct {
	// By and Parent name processes of the case; by is "main" if left out.
	By, Parent string
	At         float64 // seconds; one more than the event before if left out

	Exec        string
	Args        []string
	Cwd         string
	UID         *uint32
	Container   string
	Via         event.Via
	Env         map[string]string
	Fresh       bool // the program was written in this recording
	Managed     bool // by a package manager
	Secret      string
	Connect     string
	Accept      string
	From        string
	Host        string
	How         string
	HTTP        string // method, a blank, host and path
	DNS         string
	Own         bool // the question goes to a resolver that is not the machine's
	Type        uint16
	Status      uint8
	Answer      []string
	Read, Write string
	Create      string
	Delete      string
	Rename, To  string
	Class       string
	Memory      string // the process whose memory is read
	Opens       string // a file of /proc, of the process Memory

	// Hits are the rules that match with this event.
	Hits []string
}

// specCase are events of one recording.
type specCase struct {
	Name   string
	Events []specEvent
}

type specFile struct {
	Placeholders map[string][]string
	Cases        []specCase
}

// recording plays the events of a case.
type recording struct {
	tree *process.Tree
	pids map[string]event.Actor
	seq  uint64
	now  int64
}

func (r *recording) actor(name string) event.Actor {
	if name == "" {
		name = "main"
	}
	a, ok := r.pids[name]
	if !ok {
		a = event.Actor{PID: 1000 + uint32(len(r.pids)), Start: int64(1000 + len(r.pids))}
		r.pids[name] = a
	}
	return a
}

func (r *recording) input(s *specEvent) *Input {
	r.seq++
	r.now += 1e9
	if s.At > 0 {
		r.now = int64(s.At * 1e9)
	}
	if _, known := r.pids[cmp.Or(s.By, "main")]; !known && s.Parent != "" {
		a := r.actor(s.By)
		r.tree.Apply(&event.Event{Kind: event.Fork, Time: r.now, Actor: a, Parent: r.actor(s.Parent)})
	}
	e := &event.Event{Seq: r.seq, Time: r.now, Actor: r.actor(s.By), Via: s.Via, Container: text(s.Container)}
	in := &Input{Event: e}
	addr := func(s string) netip.AddrPort {
		if s == "" {
			return netip.AddrPort{}
		}
		return netip.MustParseAddrPort(s)
	}
	switch {
	case s.Exec != "":
		e.Actor.Image++
		r.pids[cmp.Or(s.By, "main")] = e.Actor
		e.Kind, e.Exe, e.Argv, e.Cwd, e.UID = event.Exec, text(s.Exec), texts(s.Args...), text(s.Cwd), 1000
		if len(s.Args) == 0 {
			e.Argv = texts(s.Exec)
		}
		if s.UID != nil {
			e.UID = *s.UID
		}
		for _, k := range slices.Sorted(maps.Keys(s.Env)) {
			e.Env = append(e.Env, event.Var{Name: text(k), Value: text(s.Env[k])})
		}
		if s.Secret != "" {
			e.Secrets = []event.Secret{{Field: text("argv"), Index: slices.Index(s.Args, "[redacted]"), Pattern: text(s.Secret), Length: 20}}
		}
	case s.Connect != "":
		e.Kind, e.Proto, e.Dst, e.Src, e.Sock = event.Connect, event.ProtoTCP, addr(s.Connect), addr(s.From), r.seq
		in.Host = s.Host
		if s.How != "" {
			in.Fact = &fact.Fact{Verb: fact.Connect, Host: text(s.Host), How: text(s.How), Addr: e.Dst, Proto: e.Proto}
		}
	case s.Accept != "":
		e.Kind, e.Proto, e.Src, e.Dst, e.Sock = event.Accept, event.ProtoTCP, addr(s.Accept), addr(s.From), r.seq
	case s.HTTP != "":
		method, target, _ := strings.Cut(s.HTTP, " ")
		host, path, _ := strings.Cut(target, "/")
		e.Kind, e.Method, e.Name, e.Path, e.Dst, e.Src, e.Sock = event.HTTP, text(method), text(host), text("/"+path), addr(cmp.Or(s.From, "192.0.2.7:443")), addr("10.0.0.2:5000"), r.seq
		in.Host = cmp.Or(s.Host, host)
	case s.DNS != "":
		in.Resolver = !s.Own
		e.Kind, e.Proto, e.Name, e.QType, e.Dst = event.DNS, event.ProtoUDP, text(s.DNS), s.Type, addr("127.0.0.53:53")
		if e.QType == 0 {
			e.QType = 1
		}
		if s.Answer != nil || s.Status != 0 {
			e.OK, e.RCode = true, s.Status
			for _, a := range s.Answer {
				if ip, err := netip.ParseAddr(a); err == nil {
					e.Answers = append(e.Answers, event.Answer{Name: e.Name, Type: 1, Addr: ip})
				} else {
					e.Answers = append(e.Answers, event.Answer{Name: e.Name, Type: 5, Target: text(a)})
				}
			}
		}
	case s.Opens != "":
		e.Kind, e.Path, e.Access, e.Target = event.Open, text(s.Opens), event.Read, r.actor(s.Memory)
	case s.Memory != "":
		e.Kind, e.Op, e.Target = event.MemAccess, event.OpRead, r.actor(s.Memory)
	case s.Read != "":
		e.Kind, e.Path, e.Access, e.Class = event.Open, text(s.Read), event.Read, text(s.Class)
	case s.Write != "":
		e.Kind, e.Path, e.Access = event.Open, text(s.Write), event.Write
	case s.Create != "":
		e.Kind, e.Path, e.Access = event.Open, text(s.Create), event.Write|event.Create
	case s.Delete != "":
		e.Kind, e.Path = event.Unlink, text(s.Delete)
	case s.Rename != "":
		e.Kind, e.Path, e.NewPath = event.Rename, text(s.Rename), text(s.To)
	default:
		e.Kind = event.Exit
	}
	in.Node = r.tree.Apply(e)
	if c := in.Node.In(); c != nil {
		c.Told = true // no engine is waited for
	}
	if s.Fresh {
		in.Node.Origin |= process.Written
	}
	if s.Managed {
		in.Node.Origin |= process.Written | process.Managed
	}
	if !e.Target.IsZero() {
		in.Target = r.tree.Get(e.Target)
	}
	return in
}

// split takes the document with the cases out of a file, which is the last.
func split(t *testing.T, data []byte) (rules []byte, spec specFile) {
	t.Helper()
	at := bytes.LastIndex(data, []byte("\n---\n"))
	if at < 0 {
		t.Fatal("no document with cases")
	}
	dec := yaml.NewDecoder(bytes.NewReader(data[at+5:]))
	dec.KnownFields(true)
	if err := dec.Decode(&spec); err != nil {
		t.Fatal(err)
	}
	return data[:at+1], spec
}

// Each file of testdata/spec holds rules for one construct of the
// specification, and events with the rules that they match.
func TestRulesWrittenToEveryConstructOfTheSpecification(t *testing.T) {
	files, err := filepath.Glob("testdata/spec/*.yml")
	if err != nil || len(files) < 25 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, name := range files {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".yml"), func(t *testing.T) {
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			rules, spec := split(t, data)
			pack, err := LoadFile(name, rules, Options{Placeholders: spec.Placeholders})
			if err != nil {
				t.Fatal(err)
			}
			hit, events, silent := map[string]bool{}, 0, 0
			for _, c := range spec.Cases {
				r := &recording{tree: process.NewTree(1000), pids: map[string]event.Actor{}}
				m := pack.Matcher()
				for i := range c.Events {
					e := &c.Events[i]
					var got []string
					for _, h := range m.Apply(r.input(e)) {
						got = append(got, h.Rule.ID)
						hit[h.Rule.ID] = true
						if len(h.Leaves) == 0 || h.First > h.Last || !slices.IsSorted(h.Leaves) {
							t.Errorf("%s, event %d: %+v", c.Name, i+1, h)
						}
					}
					slices.Sort(got)
					slices.Sort(e.Hits)
					if !slices.Equal(got, e.Hits) {
						t.Errorf("%s, event %d: hits %q, want %q", c.Name, i+1, got, e.Hits)
					}
					if events++; len(got) == 0 {
						silent++
					}
				}
			}
			for _, r := range pack.Rules() {
				if !hit[r.ID] {
					t.Errorf("no event matches %s", r.ID)
				}
			}
			if silent == 0 {
				t.Error("every event matches; the file says nothing of what does not")
			}
		})
	}
}

// What a rule can be made of stands in a rule that the tests hold against
// events: each field, modifier, category, correlation and way to group.
func TestNothingThatARuleCanBeMadeOfIsWithoutATest(t *testing.T) {
	files, err := filepath.Glob("testdata/spec/*.yml")
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		rules, _ := split(t, data)
		all.Write(rules)
	}
	words := map[string]bool{}
	for _, w := range strings.FieldsFunc(all.String(), func(r rune) bool { return strings.ContainsRune(" \n\t:|,{}[]'\"", r) }) {
		words[w] = true
	}
	want := slices.Concat(fieldNames(), modifierNames, categoryNames[:], slices.Collect(maps.Keys(otherNames)), []string{
		"event_count", "value_count", "temporal", "temporal_ordered", "Actor", "Lineage", "Subtree", "aliases", "generate", "timespan",
		"and", "or", "not", "of", "them", "eq", "neq", "null",
	})
	for _, w := range want {
		if !words[w] {
			t.Errorf("no rule of testdata/spec has %s", w)
		}
	}
}

// Each file of testdata/refused holds a rule with something that is not
// supported or wrong; its first line says the error.
func TestWhatIsNotSupportedIsNamedWithItsPlace(t *testing.T) {
	files, err := filepath.Glob("testdata/refused/*.yml")
	if err != nil || len(files) < 20 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		want, ok := strings.CutPrefix(strings.SplitN(string(data), "\n", 2)[0], "# ")
		if !ok {
			t.Errorf("%s does not begin with the error", name)
			continue
		}
		_, err = Load(fstest.MapFS{"r.yml": {Data: data}})
		var list Errors
		if !errors.As(err, &list) || !strings.Contains(list.Error(), want) {
			t.Errorf("%s\n got %v\nwant %s", name, err, want)
			continue
		}
		for _, e := range list {
			if e.File != "r.yml" || e.Line < 1 || e.Column < 1 {
				t.Errorf("%s: no place in %+v", name, e)
			}
		}
	}
}
