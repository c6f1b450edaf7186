package report

import (
	"encoding/hex"
	"fmt"
	"io"
	"path"
	"strconv"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/evidence"
	"github.com/org/edamame-posture/pkg/judge"
	"github.com/org/edamame-posture/pkg/process"
)

// OCSFVersion is the version of the Open Cybersecurity Schema that we write.
const OCSFVersion = "1.9.0"

// The classes of OCSF that are written: category and class.
const (
	ocsfFile    = 1001
	ocsfProcess = 1007
	ocsfFinding = 2004
	ocsfNetwork = 4001
	ocsfDNS     = 4003
)

// maxNested is how many images above a process its record names.
const maxNested = 3

// The objects of OCSF, with those of their attributes that the log can fill.
type (
	ocsfEvent struct {
		Activity int           `json:"activity_id"`
		Category int           `json:"category_uid"`
		Class    int           `json:"class_uid"`
		Type     int           `json:"type_uid"`
		Severity int           `json:"severity_id"`
		Time     int64         `json:"time"` // Unix milliseconds
		Metadata ocsfMetadata  `json:"metadata"`
		Message  string        `json:"message,omitempty"`
		Status   int           `json:"status_id,omitempty"`
		Count    uint64        `json:"count,omitempty"`
		Device   *ocsfDevice   `json:"device,omitempty"`
		Actor    *ocsfActor    `json:"actor,omitempty"`
		Process  *ocsfProc     `json:"process,omitempty"`
		Exit     *int          `json:"exit_code,omitempty"`
		File     *ocsfFileObj  `json:"file,omitempty"`
		Result   *ocsfFileObj  `json:"file_result,omitempty"`
		Src      *ocsfEndpoint `json:"src_endpoint,omitempty"`
		Dst      *ocsfEndpoint `json:"dst_endpoint,omitempty"`
		Conn     *ocsfConn     `json:"connection_info,omitempty"`
		Traffic  *ocsfTraffic  `json:"traffic,omitempty"`
		Query    *ocsfQuery    `json:"query,omitempty"`
		Answers  []ocsfAnswer  `json:"answers,omitempty"`
		RCode    *int          `json:"rcode_id,omitempty"`

		Finding     *ocsfFindingInfo `json:"finding_info,omitempty"`
		Evidences   []ocsfEvidence   `json:"evidences,omitempty"`
		Remediation *ocsfRemediation `json:"remediation,omitempty"`
		Alert       bool             `json:"is_alert,omitempty"`
		Start       int64            `json:"start_time,omitempty"`
		End         int64            `json:"end_time,omitempty"`
		Unmapped    map[string]any   `json:"unmapped,omitempty"`
	}
	ocsfMetadata struct {
		Version  string      `json:"version"`
		Product  ocsfProduct `json:"product"`
		Profiles []string    `json:"profiles,omitempty"`
		UID      string      `json:"uid,omitempty"`
		Sequence uint64      `json:"sequence,omitempty"`
	}
	ocsfProduct struct {
		Name    string `json:"name"`
		Vendor  string `json:"vendor_name"`
		Version string `json:"version,omitempty"`
	}
	ocsfDevice struct {
		Type     int    `json:"type_id"`
		Hostname string `json:"hostname,omitempty"`
	}
	ocsfActor struct {
		Process *ocsfProc `json:"process"`
	}
	ocsfProc struct {
		Name    string       `json:"name,omitempty"`
		PID     uint32       `json:"pid,omitempty"`
		UID     string       `json:"uid,omitempty"`
		Cmd     string       `json:"cmd_line,omitempty"`
		Created int64        `json:"created_time,omitempty"`
		File    *ocsfFileObj `json:"file,omitempty"`
		User    *ocsfUser    `json:"user,omitempty"`
		Parent  *ocsfProc    `json:"parent_process,omitempty"`
	}
	ocsfUser struct {
		UID string `json:"uid"`
	}
	ocsfFileObj struct {
		Name string `json:"name"`
		Path string `json:"path,omitempty"`
		Type int    `json:"type_id"` // 0 not known, 1 regular file, 2 folder, 7 symbolic link
	}
	ocsfEndpoint struct {
		IP       string `json:"ip,omitempty"`
		Port     uint16 `json:"port,omitempty"`
		Hostname string `json:"hostname,omitempty"`
	}
	ocsfConn struct {
		Direction int    `json:"direction_id"` // 1 inbound, 2 outbound, 3 lateral
		Protocol  string `json:"protocol_name,omitempty"`
		Number    uint16 `json:"protocol_num,omitempty"`
		UID       string `json:"uid,omitempty"`
	}
	ocsfTraffic struct {
		In  uint64 `json:"bytes_in"`
		Out uint64 `json:"bytes_out"`
	}
	ocsfQuery struct {
		Hostname string `json:"hostname"`
		Type     string `json:"type,omitempty"`
	}
	ocsfAnswer struct {
		RData string `json:"rdata"`
		Type  string `json:"type,omitempty"`
		TTL   uint32 `json:"ttl,omitempty"`
	}
	ocsfFindingInfo struct {
		UID       string        `json:"uid"`
		Title     string        `json:"title"`
		Types     []string      `json:"types,omitempty"`
		First     int64         `json:"first_seen_time,omitempty"`
		Last      int64         `json:"last_seen_time,omitempty"`
		Analytic  *ocsfAnalytic `json:"analytic,omitempty"`
		Attacks   []ocsfAttack  `json:"attacks,omitempty"`
		Related   int           `json:"related_events_count,omitempty"`
		CreatedAt int64         `json:"created_time,omitempty"`
	}
	ocsfAnalytic struct {
		Name string `json:"name"`
		UID  string `json:"uid"`
		Type int    `json:"type_id"` // 1: a rule
	}
	ocsfAttack struct {
		Technique ocsfTechnique `json:"technique"`
	}
	ocsfTechnique struct {
		UID string `json:"uid"`
	}
	ocsfEvidence struct {
		Actor *ocsfActor `json:"actor,omitempty"`
	}
	ocsfRemediation struct {
		Desc string `json:"desc"`
	}
)

// ocsfWriter writes the events of a log as lines of OCSF.
type ocsfWriter struct {
	w    io.Writer
	r    *reading
	left map[string]uint64 // events that have no class here, by kind
}

// writeOCSF writes the log as OCSF's JSON lines: processes, files, connections
// and names as the log has them, then each finding and each fact that is
// undeclared or forbidden, and in the last line, which is of the base class,
// the verdict and how many events have no class here.
func writeOCSF(w io.Writer, ev *evidence.Evidence) error {
	o := &ocsfWriter{w: w, left: make(map[string]uint64)}
	r, err := read(ev, func(r *reading, e *event.Event, n *process.Node) error {
		o.r = r
		return o.event(e, n)
	})
	if err != nil {
		return err
	}
	o.r = r
	return o.end()
}

func (o *ocsfWriter) line(class, activity int, at int64, seq uint64, l *ocsfEvent) error {
	l.Class, l.Category, l.Activity, l.Type = class, class/1000, activity, class*100+activity
	if l.Severity == 0 {
		l.Severity = 1 // informational
	}
	l.Time = o.ms(at)
	what := "event"
	if l.Finding != nil {
		what = l.Finding.UID // several may begin with one event
	}
	l.Metadata = ocsfMetadata{
		Version: OCSFVersion, Product: ocsfProduct{"edamame-posture", "edamame-posture", bounded(o.r.Tool)},
		UID: hex.EncodeToString(o.r.id(what, seq, 16)), Sequence: seq,
	}
	if class == ocsfFinding || class/1000 == 4 {
		l.Metadata.Profiles = []string{"host"} // it adds device and actor
	}
	if class != 0 {
		l.Device = &ocsfDevice{Hostname: bounded(o.r.Host)}
	}
	return writeJSON(o.w, l)
}

func (o *ocsfWriter) ms(boot int64) int64 { return o.r.Clock.at(boot) / 1_000_000 }

func (o *ocsfWriter) event(e *event.Event, n *process.Node) error {
	if e.Via == event.ViaMonitor {
		o.left[e.Kind.String()]++
		return nil
	}
	l := &ocsfEvent{Count: e.Count}
	if n != nil {
		l.Actor = &ocsfActor{o.process(n, maxNested)}
	} else {
		l.Actor = &ocsfActor{&ocsfProc{PID: e.Actor.PID, UID: actorID(e.Actor)}}
	}
	class, activity := 0, 0
	switch e.Kind {
	case event.Exec, event.Exit, event.SetID:
		class, activity = ocsfProcess, map[event.Kind]int{event.Exec: 1, event.Exit: 2, event.SetID: 5}[e.Kind]
		l.Process = l.Actor.Process
		if e.Kind == event.Exec && n != nil && n.Parent != nil {
			l.Actor = &ocsfActor{o.process(n.Parent, maxNested-1)}
		}
		if e.Kind == event.Exit {
			code := e.Code
			if e.Signal != 0 {
				code = 128 + e.Signal
			}
			l.Exit = &code
		}
	case event.Ptrace, event.MemAccess:
		class, activity = ocsfProcess, 3 // opened
		if e.Op == event.OpPoke || e.Op == event.OpWrite {
			activity = 4 // injected
		}
		l.Process = &ocsfProc{PID: e.Target.PID, UID: actorID(e.Target)}
		if t := o.r.Tree().Get(e.Target); t != nil {
			l.Process = o.process(t, 0)
		}
	case event.Open:
		class, activity = ocsfFile, 2 // read
		if e.Access&event.Create != 0 {
			activity = 1
		} else if e.Access&(event.Write|event.Truncate|event.Append) != 0 {
			activity = 3
		}
		l.File = fileObject(e.Path.String(), 1)
	case event.Mkdir:
		class, activity, l.File = ocsfFile, 1, fileObject(e.Path.String(), 2)
	case event.Unlink:
		class, activity, l.File = ocsfFile, 4, fileObject(e.Path.String(), 0)
	case event.Rename:
		class, activity, l.File, l.Result = ocsfFile, 5, fileObject(e.Path.String(), 0), fileObject(e.NewPath.String(), 0)
	case event.Link:
		class, activity, l.File, l.Result = ocsfFile, 99, fileObject(e.Path.String(), 0), fileObject(e.NewPath.String(), 0)
		l.Message = "link"
	case event.Chmod:
		class, activity, l.File = ocsfFile, 7, fileObject(e.Path.String(), 0)
	case event.Connect, event.Accept, event.Listen, event.Flow, event.Send:
		class, activity = ocsfNetwork, networkActivity(e)
		o.endpoints(l, e)
	case event.DNS:
		class, activity = ocsfDNS, 1
		o.endpoints(l, e)
		l.Query = &ocsfQuery{Hostname: bounded(e.Name.String()), Type: dnsType(e.QType)}
		if e.OK {
			activity = 2
			code := int(e.RCode)
			if code > 11 { // 12 to 15 are not assigned: RFC 6895, 2.3
				code = 24
			}
			l.RCode = &code
			for _, a := range e.Answers {
				data := bounded(a.Target.String())
				if a.Addr.IsValid() {
					data = a.Addr.String()
				}
				if data != "" {
					l.Answers = append(l.Answers, ocsfAnswer{RData: data, Type: dnsType(a.Type), TTL: a.TTL})
				}
			}
		}
	}
	if class == 0 || class == ocsfNetwork && l.Src == nil && l.Dst == nil {
		o.left[e.Kind.String()]++
		return nil
	}
	return o.line(class, activity, e.Time, e.Seq, l)
}

// Numbers of errors as Linux has them, wherever the log is read: errno(3),
// ECONNREFUSED and EINPROGRESS, which a socket that does not wait gets.
const (
	refused    = 111
	inProgress = 115
)

// networkActivity is what happened to a connection: opened, closed, failed,
// refused, traffic, listening.
func networkActivity(e *event.Event) int {
	switch {
	case e.Kind == event.Listen:
		return 7
	case e.Kind == event.Send, e.Kind == event.Flow && !e.OK:
		return 6
	case e.Kind == event.Flow:
		return 2
	case e.Err == refused:
		return 5
	case e.Err != 0 && e.Err != inProgress:
		return 4
	}
	return 1
}

func (o *ocsfWriter) endpoints(l *ocsfEvent, e *event.Event) {
	ours, peer := &ocsfEndpoint{}, &ocsfEndpoint{}
	if e.Src.IsValid() {
		*ours = ocsfEndpoint{IP: e.Src.Addr().Unmap().String(), Port: e.Src.Port()}
	}
	if e.Dst.IsValid() {
		*peer = ocsfEndpoint{IP: e.Dst.Addr().Unmap().String(), Port: e.Dst.Port()}
		if e.Kind != event.DNS && e.Kind != event.Accept {
			peer.Hostname = bounded(o.r.Names().Lookup(e.Actor, e.Dst.Addr(), e.Sock).Name.String())
		}
	}
	l.Src, l.Dst = ours, peer
	l.Conn = &ocsfConn{Direction: 2, Protocol: protocol(e.Proto)}
	if e.Proto < event.ProtoRaw {
		l.Conn.Number = uint16(e.Proto)
	}
	if e.Sock != 0 {
		l.Conn.UID = unsigned(e.Sock)
	}
	if e.Kind == event.Accept || e.Kind == event.Listen {
		l.Src, l.Dst, l.Conn.Direction = peer, ours, 1
	}
	if e.Dst.IsValid() && e.Dst.Addr().Unmap().IsLoopback() {
		l.Conn.Direction = 4 // local
	}
	if *l.Src == (ocsfEndpoint{}) {
		l.Src = nil
	}
	if *l.Dst == (ocsfEndpoint{}) {
		l.Dst = nil
	}
	if e.Kind == event.Flow || e.Kind == event.Send {
		l.Traffic = &ocsfTraffic{In: e.Received, Out: e.Sent}
	}
}

func fileObject(p string, kind int) *ocsfFileObj {
	return &ocsfFileObj{Name: bounded(path.Base(p)), Path: bounded(p), Type: kind}
}

func actorID(a event.Actor) string {
	return fmt.Sprintf("%d-%d-%d", a.PID, a.Start, a.Image)
}

// process is an image with at most n of those above it.
func (o *ocsfWriter) process(n *process.Node, above int) *ocsfProc {
	p := &ocsfProc{
		Name: bounded(n.Name()), PID: n.Actor.PID, UID: actorID(n.Actor), User: &ocsfUser{UID: strconv.FormatUint(uint64(n.UID), 10)},
	}
	if len(n.Argv) > 0 {
		argv, cut := arguments(n)
		p.Cmd = command(argv, cut)
	}
	if n.Born > 0 {
		p.Created = o.ms(n.Born)
	}
	if !n.Exe.IsZero() {
		p.File = fileObject(n.Exe.String(), 1)
	}
	if above > 0 && n.Parent != nil {
		p.Parent = o.process(n.Parent, above-1)
	}
	return p
}

func dnsType(t uint16) string {
	switch t {
	case 1:
		return "A"
	case 2:
		return "NS"
	case 5:
		return "CNAME"
	case 12:
		return "PTR"
	case 15:
		return "MX"
	case 16:
		return "TXT"
	case 28:
		return "AAAA"
	case 33:
		return "SRV"
	case 65:
		return "HTTPS"
	}
	return "TYPE" + strconv.Itoa(int(t)) // RFC 3597
}

func (o *ocsfWriter) end() error {
	v := o.r.Verdict()
	for _, f := range sorted(v.Findings) {
		var attacks []ocsfAttack
		for _, t := range f.Technique {
			attacks = append(attacks, ocsfAttack{ocsfTechnique{t}})
		}
		l := o.finding(f.ID, f.Rule, f.Title, f.Do, f.Object, f.Severity, f.First, f.Last, f.Count, f.Leaves)
		l.Finding.Attacks = attacks
		l.Evidences = []ocsfEvidence{{&ocsfActor{&ocsfProc{
			Name: bounded(path.Base(f.Actor.Exe)), PID: f.Actor.PID, UID: actorID(event.Actor{PID: f.Actor.PID, Start: f.Actor.Start, Image: f.Actor.Image}),
			Cmd: bounded(command(f.Actor.Argv, false)), File: fileObject(f.Actor.Exe, 1),
		}}}}
		l.Alert = f.Suppressed == nil
		if f.Suppressed != nil {
			l.Status = 3 // suppressed
		}
		if err := o.line(ocsfFinding, 1, f.Last, first(f.Leaves), l); err != nil {
			return err
		}
	}
	for _, group := range []struct {
		standing Standing
		facts    []judge.Fact
	}{{Forbidden, v.Forbidden}, {Undeclared, v.Undeclared}} {
		for _, f := range group.facts {
			standing := string(group.standing)
			l := o.finding(factID(standing, &f), standing+"-"+f.Verb, f.Verb+" that is "+standing, "", f.Object, f.Severity, f.First, f.Last, f.Count, []uint64{f.Leaf})
			l.Unmapped["lineage"] = bounded(chain(f.Who))
			l.Alert = true
			if err := o.line(ocsfFinding, 1, f.Last, f.Leaf, l); err != nil {
				return err
			}
		}
	}
	left := map[string]any{}
	for k, n := range o.left {
		left[k] = n
	}
	return o.line(0, 0, o.r.Last, v.Coverage.Events, &ocsfEvent{
		Message: "verdict " + string(v.Verdict) + "; events of some kinds have no class of OCSF here and are left out",
		Unmapped: map[string]any{
			"verdict": v.Verdict, "reasons": v.Reasons, "score": v.Score, "coverage": v.Coverage.State, "lost": v.Coverage.Lost,
			"facts_left_out": v.Facts.LeftOut, "events_left_out": left,
		},
	})
}

func (o *ocsfWriter) finding(id, rule, title, do, object string, s judge.Severity, from, to int64, count uint64, leaves []uint64) *ocsfEvent {
	l := &ocsfEvent{
		Severity: map[judge.Severity]int{judge.Low: 2, judge.Medium: 3, judge.High: 4, judge.Critical: 5}[s],
		Status:   1, // new
		Count:    count, Message: bounded(title + ": " + object), Start: o.ms(from), End: o.ms(to),
		Finding: &ocsfFindingInfo{
			UID: id, Title: bounded(title), First: o.ms(from), Last: o.ms(to), CreatedAt: o.ms(to), Related: len(leaves),
			Analytic: &ocsfAnalytic{Name: rule, UID: rule, Type: 1},
		},
		Unmapped: map[string]any{"object": bounded(object), "leaves": leaves},
	}
	if do != "" {
		l.Remediation = &ocsfRemediation{bounded(do)}
	}
	return l
}

func first(leaves []uint64) uint64 {
	if len(leaves) == 0 {
		return 0
	}
	return leaves[0]
}

// factID is the fingerprint of a fact: the same in the next run for the same
// verb, object and lineage.
func factID(standing string, f *judge.Fact) string {
	return standing + "/" + f.Verb + "/" + visible(cutEnd(f.Object, 200)+"/"+chain(f.Who[:min(len(f.Who), 8)]))
}
