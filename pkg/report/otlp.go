package report

import (
	"encoding/hex"
	"io"
	"strconv"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/evidence"
	"github.com/org/edamame-posture/pkg/judge"
	"github.com/org/edamame-posture/pkg/process"
)

// maxSpans bounds the spans of one file: viewers load it whole.
const maxSpans = 10_000

// The messages of OpenTelemetry's trace protocol as OTLP/JSON has them: ids in
// hex, 64-bit numbers as strings.
type (
	otlpFile struct {
		ResourceSpans []otlpResourceSpans `json:"resourceSpans"`
	}
	otlpResourceSpans struct {
		Resource   otlpResource     `json:"resource"`
		ScopeSpans []otlpScopeSpans `json:"scopeSpans"`
	}
	otlpResource struct {
		Attributes []otlpKeyValue `json:"attributes"`
	}
	otlpScopeSpans struct {
		Scope otlpScope  `json:"scope"`
		Spans []otlpSpan `json:"spans"`
	}
	otlpScope struct {
		Name    string `json:"name"`
		Version string `json:"version,omitempty"`
	}
	otlpSpan struct {
		TraceID    string         `json:"traceId"`
		SpanID     string         `json:"spanId"`
		Parent     string         `json:"parentSpanId,omitempty"`
		Name       string         `json:"name"`
		Kind       int            `json:"kind"` // 1: internal
		Start      string         `json:"startTimeUnixNano"`
		End        string         `json:"endTimeUnixNano"`
		Attributes []otlpKeyValue `json:"attributes"`
		Events     []otlpEvent    `json:"events,omitempty"`
		Status     otlpStatus     `json:"status"`
	}
	otlpEvent struct {
		Time       string         `json:"timeUnixNano"`
		Name       string         `json:"name"`
		Attributes []otlpKeyValue `json:"attributes"`
	}
	otlpStatus struct {
		Code    int    `json:"code,omitempty"` // 2: error
		Message string `json:"message,omitempty"`
	}
	otlpKeyValue struct {
		Key   string    `json:"key"`
		Value otlpValue `json:"value"`
	}
	otlpValue struct {
		String *string    `json:"stringValue,omitempty"`
		Int    *string    `json:"intValue,omitempty"`
		Array  *otlpArray `json:"arrayValue,omitempty"`
	}
	otlpArray struct {
		Values []otlpValue `json:"values"`
	}
)

// attributes collects key and value pairs; empty values are left out.
type attributes []otlpKeyValue

func (a *attributes) text(key, value string) {
	if value != "" {
		v := bounded(value)
		*a = append(*a, otlpKeyValue{key, otlpValue{String: &v}})
	}
}

func (a *attributes) number(key string, value int64) {
	v := strconv.FormatInt(value, 10)
	*a = append(*a, otlpKeyValue{key, otlpValue{Int: &v}})
}

// writeOTLP writes the process tree as the spans of one trace: the run, and
// below it each image that executed a program, with the findings that name it
// as events of its span. The names of attributes are those of OpenTelemetry's
// semantic conventions, and ours begin with "posture.".
func writeOTLP(w io.Writer, ev *evidence.Evidence) error {
	r, err := read(ev, nil)
	if err != nil {
		return err
	}
	v := r.Verdict()
	trace := hex.EncodeToString(r.id("trace", 0, 16))
	spanID := func(leaf uint64) string { return hex.EncodeToString(r.id("span", leaf, 8)) }
	named := make(map[event.Actor][]*judge.Finding)
	for i := range v.Findings {
		f := &v.Findings[i]
		a := event.Actor{PID: f.Actor.PID, Start: f.Actor.Start, Image: f.Actor.Image}
		named[a] = append(named[a], f)
	}
	run := otlpSpan{
		TraceID: trace, SpanID: hex.EncodeToString(r.id("run", 0, 8)), Name: bounded(nameOfRun(v)), Kind: 1,
		Start: r.nano(r.Clock.began), End: r.nano(r.Last),
	}
	var about attributes
	about.text("process.command_line", command(v.Run.Command.Argv, false))
	about.number("process.exit.code", int64(v.Run.Command.Exit))
	about.text("posture.verdict", string(v.Verdict))
	about.number("posture.score", int64(v.Score))
	about.text("posture.coverage", v.Coverage.State)
	if v.Verdict == judge.Fail {
		run.Status = otlpStatus{2, "the verdict is fail"}
	}
	spans := []otlpSpan{run}
	// Parents come before their children; a fork that ran nothing stands for
	// the nearest image above that did.
	ids := make(map[*process.Node]string)
	left := r.Tree().Left()
	for n := range r.Tree().Walk() {
		parent := run.SpanID
		if id, ok := ids[n.Parent]; ok && n.Parent != nil {
			parent = id
		}
		if !n.Execed {
			ids[n] = parent
			continue
		}
		if len(spans) > maxSpans {
			ids[n] = parent
			left++
			continue
		}
		s := r.span(n, named[n.Actor])
		s.TraceID, s.SpanID, s.Parent = trace, spanID(n.Leaf), parent
		ids[n] = s.SpanID
		spans = append(spans, s)
	}
	about.number("posture.spans.left_out", int64(left))
	spans[0].Attributes = about
	var resource attributes
	resource.text("service.name", "edamame-posture")
	resource.text("service.version", r.Tool)
	resource.text("host.name", r.Host)
	resource.text("vcs.repository.name", v.Run.Repository)
	resource.text("vcs.ref.head.revision", v.Run.Commit)
	resource.text("cicd.pipeline.name", v.Run.Workflow)
	resource.text("cicd.pipeline.task.name", v.Run.Job)
	return writeJSON(w, otlpFile{[]otlpResourceSpans{{
		Resource:   otlpResource{resource},
		ScopeSpans: []otlpScopeSpans{{Scope: otlpScope{"edamame-posture", bounded(r.Tool)}, Spans: spans}},
	}}})
}

func nameOfRun(v *judge.Verdict) string {
	if v.Run.Job != "" {
		return v.Run.Job
	}
	if len(v.Run.Command.Argv) > 0 {
		return v.Run.Command.Argv[0]
	}
	return "run"
}

// nano is a boot time as OTLP has it. None is before 1970.
func (r *reading) nano(boot int64) string {
	return strconv.FormatInt(max(r.Clock.at(boot), 0), 10)
}

// span is one image, without its place in the tree.
func (r *reading) span(n *process.Node, findings []*judge.Finding) otlpSpan {
	began := max(n.Born, r.Clock.began) // what was there before is told from the start on
	ended := n.Ended
	if ended == 0 {
		ended = max(r.Last, began)
	}
	s := otlpSpan{Name: bounded(n.Name()), Kind: 1, Start: r.nano(began), End: r.nano(max(ended, began))}
	var a attributes
	a.number("process.pid", int64(n.Actor.PID))
	a.text("process.executable.path", n.Exe.String())
	if argv, cut := arguments(n); len(argv) > 0 {
		if cut {
			argv = append(argv, dots)
		}
		list := &otlpArray{}
		for i := range argv {
			list.Values = append(list.Values, otlpValue{String: &argv[i]})
		}
		a = append(a, otlpKeyValue{"process.command_args", otlpValue{Array: list}})
	}
	a.number("process.user.id", int64(n.UID))
	a.text("container.id", n.Container.String())
	if c := n.In(); c != nil {
		a.text("container.name", c.Name.String())
		a.text("container.image.name", c.Image.String())
	}
	a.text("posture.step", n.Step.String())
	a.text("posture.action", n.Action.String())
	a.text("posture.agent", n.Agent.String())
	a.number("posture.leaf", int64(n.Leaf))
	if n.Exited {
		code := n.Code
		if n.Signal != 0 {
			code = 128 + n.Signal
		}
		a.number("process.exit.code", int64(code))
		if code != 0 {
			s.Status = otlpStatus{Code: 2}
		}
	}
	s.Attributes = a
	for _, f := range findings {
		var a attributes
		a.text("posture.finding.id", f.ID)
		a.text("posture.finding.title", f.Title)
		a.text("posture.finding.severity", string(f.Severity))
		a.text("posture.finding.object", f.Object)
		s.Events = append(s.Events, otlpEvent{r.nano(f.First), f.Rule, a})
	}
	return s
}
