package signature

import (
	"net/netip"
	"strconv"
	"strings"
	"unsafe"

	"github.com/org/edamame-posture/pkg/event"
	"github.com/org/edamame-posture/pkg/fact"
	"github.com/org/edamame-posture/pkg/process"
)

// field is something that a rule can ask of an event.
type field uint8

const (
	image field = iota
	parentImage
	commandLine
	parentCommandLine
	currentDirectory
	user
	destinationHostname
	destinationHow
	destinationIP
	destinationPort
	protocol
	initiated
	queryName
	targetFilename
	sourceFilename
	targetImage
	targetVia
	operation
	via
	lineage
	step
	action
	container
	agent
	credentialClass
	imageOrigin
	lifecycle
	lifecycleEvent
	lifecycleDirectory
	secretPattern
	secretOption

	fieldCount
)

// fieldInfo says what a field is called and where it has a value.
type fieldInfo struct {
	name string
	// in is the set of categories whose events fill it; a rule of another one
	// would never match.
	in uint32
	// many: the field has several values, and any of them may match.
	many bool
	// numeric: the modifiers gt, gte, lt and lte are for it.
	numeric bool
}

const everywhere = 1<<categoryCount - 1

const (
	onExec    = 1 << processCreation
	onNetwork = 1 << networkConnection
	onDNS     = 1 << dnsQuery
	onFile    = 1<<fileEvent | 1<<fileAccess | 1<<fileDelete | 1<<processAccess
	onAccess  = 1 << processAccess
)

var fields = [fieldCount]fieldInfo{
	image:               {name: "Image", in: everywhere},
	parentImage:         {name: "ParentImage", in: everywhere},
	commandLine:         {name: "CommandLine", in: everywhere},
	parentCommandLine:   {name: "ParentCommandLine", in: everywhere},
	currentDirectory:    {name: "CurrentDirectory", in: everywhere},
	user:                {name: "User", in: everywhere},
	destinationHostname: {name: "DestinationHostname", in: onNetwork},
	destinationHow:      {name: "DestinationHow", in: onNetwork},
	destinationIP:       {name: "DestinationIp", in: onNetwork | onDNS},
	destinationPort:     {name: "DestinationPort", in: onNetwork | onDNS, numeric: true},
	protocol:            {name: "Protocol", in: onNetwork | onDNS},
	initiated:           {name: "Initiated", in: onNetwork},
	queryName:           {name: "QueryName", in: onDNS},
	targetFilename:      {name: "TargetFilename", in: onFile},
	sourceFilename:      {name: "SourceFilename", in: 1 << fileEvent},
	targetImage:         {name: "TargetImage", in: onAccess},
	targetVia:           {name: "TargetVia", in: onAccess},
	operation:           {name: "Operation", in: onAccess},
	via:                 {name: "Via", in: everywhere},
	lineage:             {name: "Lineage", in: everywhere, many: true},
	step:                {name: "Step", in: everywhere},
	action:              {name: "Action", in: everywhere},
	container:           {name: "Container", in: everywhere},
	agent:               {name: "Agent", in: everywhere},
	credentialClass:     {name: "CredentialClass", in: 1<<fileAccess | 1<<fileEvent},
	imageOrigin:         {name: "ImageOrigin", in: everywhere, many: true},
	lifecycle:           {name: "Lifecycle", in: everywhere},
	lifecycleEvent:      {name: "LifecycleEvent", in: everywhere},
	lifecycleDirectory:  {name: "LifecycleDirectory", in: everywhere},
	secretPattern:       {name: "SecretPattern", in: everywhere, many: true},
	secretOption:        {name: "SecretOption", in: onExec, many: true},
}

func fieldNames() []string {
	list := make([]string, fieldCount)
	for f := range fields {
		list[f] = fields[f].name
	}
	return list
}

func findField(name string) (field, bool) {
	for f := range fields {
		if fields[f].name == name {
			return field(f), true
		}
	}
	return 0, false
}

// view is an input as the closures of rules see it. Values are made when they
// are first asked for and kept until the next event.
type view struct {
	in  *Input
	cat category

	have, haveLow [fieldCount]bool
	value, low    [fieldCount]string
	lists         [fieldCount][]string
	lowLists      [fieldCount][]string

	// text holds what was made for this event (a joined command line, lower
	// case). Strings point into it; a grown buffer leaves the old one to them.
	text []byte
}

func (v *view) reset(in *Input) {
	v.in = in
	v.have, v.haveLow = [fieldCount]bool{}, [fieldCount]bool{}
	v.text = v.text[:0]
}

// made returns the text that was appended since from as a string without
// copying it. The bytes do not change before reset, after which no string of
// the view is used.
func (v *view) made(from int) string {
	b := v.text[from:]
	if len(b) == 0 {
		return ""
	}
	return unsafe.String(&b[0], len(b))
}

// get returns the value of a field that has one.
func (v *view) get(f field, lower bool) string {
	if !v.have[f] {
		v.value[f] = v.make(f)
		v.have[f] = true
	}
	if !lower {
		return v.value[f]
	}
	if !v.haveLow[f] {
		v.low[f] = v.lower(v.value[f])
		v.haveLow[f] = true
	}
	return v.low[f]
}

// getAll returns the values of a field that may have several.
func (v *view) getAll(f field, lower bool) []string {
	if !v.have[f] {
		v.lists[f] = v.makeAll(f, v.lists[f][:0])
		v.have[f] = true
	}
	if !lower {
		return v.lists[f]
	}
	if !v.haveLow[f] {
		l := v.lowLists[f][:0]
		for _, s := range v.lists[f] {
			l = append(l, v.lower(s))
		}
		v.lowLists[f], v.haveLow[f] = l, true
	}
	return v.lowLists[f]
}

// lower returns s with A to Z in lower case. Sigma compares without case; for
// letters beyond ASCII this engine does not.
func (v *view) lower(s string) string {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c >= 'A' && c <= 'Z' {
			from := len(v.text)
			v.text = append(v.text, s...)
			b := v.text[from:]
			for ; i < len(b); i++ {
				if c := b[i]; c >= 'A' && c <= 'Z' {
					b[i] = c + 'a' - 'A'
				}
			}
			return v.made(from)
		}
	}
	return s
}

// program returns the nearest image, n or before it, whose program is known: an
// image that was only forked runs its parent's.
func program(n *process.Node) *process.Node {
	for i := 0; n != nil && i < maxLineage; i++ {
		if !n.Exe.IsZero() {
			return n
		}
		n = n.Parent
	}
	return nil
}

// parent returns the image that started n's program.
func parent(n *process.Node) *process.Node {
	if p := program(n); p != nil {
		return program(p.Parent)
	}
	return nil
}

func exe(n *process.Node) string {
	if n == nil {
		return ""
	}
	return n.Exe.String()
}

func (v *view) joinArgv(n *process.Node) string {
	if n == nil {
		return ""
	}
	switch len(n.Argv) {
	case 0:
		return ""
	case 1:
		return n.Argv[0].String()
	}
	from := len(v.text)
	for i, a := range n.Argv {
		if i > 0 {
			v.text = append(v.text, ' ')
		}
		v.text = append(v.text, a.String()...)
	}
	return v.made(from)
}

func (v *view) make(f field) string {
	e, n := v.in.Event, v.in.Node
	switch f {
	case image:
		if e.Kind == event.Exec && !e.Exe.IsZero() {
			return e.Exe.String()
		}
		return exe(program(n))
	case parentImage:
		return exe(parent(n))
	case commandLine:
		return v.joinArgv(program(n))
	case parentCommandLine:
		return v.joinArgv(parent(n))
	case currentDirectory:
		if p := program(n); p != nil {
			return p.Cwd.String()
		}
	case user:
		if n == nil {
			return ""
		}
		if n.UID == 0 {
			return "root"
		}
		return v.number(uint64(n.UID))
	case destinationHostname:
		switch f := v.decided(); {
		case f != nil:
			return f.Host.String()
		case v.in.Host == "" && (e.Kind == event.TLS || e.Kind == event.HTTP):
			return e.Name.String()
		}
		return v.in.Host
	case destinationHow:
		if f := v.decided(); f != nil {
			return f.How.String()
		}
	case destinationIP:
		if !e.Dst.Addr().IsValid() {
			return ""
		}
		from := len(v.text)
		v.text = e.Dst.Addr().Unmap().AppendTo(v.text)
		return v.made(from)
	case destinationPort:
		if e.Dst.Port() == 0 {
			return ""
		}
		return v.number(uint64(e.Dst.Port()))
	case protocol:
		switch e.Proto {
		case event.ProtoTCP:
			return "tcp"
		case event.ProtoUDP:
			return "udp"
		case event.ProtoNone:
			if e.Kind == event.TLS {
				return "tcp"
			}
			return ""
		}
		return v.number(uint64(e.Proto))
	case initiated:
		return "true"
	case queryName:
		return e.Name.String()
	case targetFilename:
		if !e.NewPath.IsZero() {
			return e.NewPath.String()
		}
		return e.Path.String()
	case sourceFilename:
		if !e.NewPath.IsZero() {
			return e.Path.String()
		}
	case targetImage:
		return exe(program(v.in.Target))
	case targetVia:
		if v.in.Target != nil {
			return v.in.Target.Via.String()
		}
	case operation:
		if e.Kind == event.Open {
			return processFile(e.Path.String())
		}
		return e.Op.String()
	case via:
		return e.Via.String()
	case credentialClass:
		return e.Class.String()
	case lifecycle, lifecycleEvent, lifecycleDirectory:
		return v.script(f)
	case step, action, container, agent:
		return label(n, f)
	}
	return ""
}

func label(n *process.Node, f field) string {
	if n == nil {
		return ""
	}
	switch f {
	case step:
		return n.Step.String()
	case action:
		return n.Action.String()
	case container:
		return n.Container.String()
	}
	return n.Agent.String()
}

func (v *view) number(n uint64) string {
	from := len(v.text)
	v.text = strconv.AppendUint(v.text, n, 10)
	return v.made(from)
}

func (v *view) makeAll(f field, list []string) []string {
	e, n := v.in.Event, v.in.Node
	switch f {
	case lineage:
		return appendLineage(list, n)
	case secretPattern:
		for i := range e.Secrets {
			list = append(list, e.Secrets[i].Pattern.String())
		}
	case secretOption:
		return v.options(list)
	case imageOrigin:
		return v.origins(list)
	}
	return list
}

// origins says what is known of where the program's file came from.
func (v *view) origins(list []string) []string {
	p := program(v.in.Node)
	if p == nil {
		return list
	}
	for _, o := range []struct {
		bit  event.Image
		name string
	}{{event.Memfd, "memfd"}, {event.Deleted, "deleted"}, {event.Script, "script"}} {
		if p.Image&o.bit != 0 {
			list = append(list, o.name)
		}
	}
	if f := v.in.Fact; f != nil && f.Verb == fact.Exec {
		if f.Fresh {
			list = append(list, "fresh")
		}
		switch f.Place {
		case fact.Workspace:
			list = append(list, "workspace")
		case fact.Temp:
			list = append(list, "temp")
		case fact.Cache:
			list = append(list, "cache")
		case fact.Home:
			list = append(list, "home")
		case fact.System:
			list = append(list, "system")
		}
	}
	return list
}

// decided returns the fact of the event's connection, once its destination
// is decided.
func (v *view) decided() *fact.Fact {
	if f := v.in.Fact; f != nil && (f.Verb == fact.Connect || f.Verb == fact.Resolve) {
		return f
	}
	return nil
}

// options returns for each secret among the arguments the option whose value
// it is: -d of "-d key=…" and "-dkey=…", --data of "--data=…", "argument" for
// one that belongs to no option.
func (v *view) options(list []string) []string {
	e := v.in.Event
	for i := range e.Secrets {
		s := &e.Secrets[i]
		if s.Field.String() != "argv" || s.Index <= 0 || s.Index >= len(e.Argv) {
			continue
		}
		own, before := e.Argv[s.Index].String(), e.Argv[s.Index-1].String()
		switch {
		case strings.HasPrefix(own, "--"):
			name, _, _ := strings.Cut(own, "=")
			list = append(list, name)
		case strings.HasPrefix(own, "-") && len(own) > 1:
			list = append(list, own[:2])
		case strings.HasPrefix(before, "-") && len(before) > 1 && s.Index > 1 && !strings.Contains(before, "="):
			list = append(list, before)
		default:
			list = append(list, "argument")
		}
	}
	return list
}

// addr returns the destination address, for the modifier cidr.
func (v *view) addr() netip.Addr { return v.in.Event.Dst.Addr().Unmap().WithZone("") }
