package signature

import (
	"net/netip"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
	"unsafe"

	"github.com/org/edamame-posture/pkg/credential"
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
	parentUser
	processID
	parentProcessID
	destinationHostname
	destinationHow
	destinationIP
	destinationPort
	destinationIsIPv6
	sourceIP
	sourcePort
	protocol
	initiated
	queryName
	queryDomain
	queryType
	queryStatus
	queryResults
	resolverConfigured
	httpMethod
	httpHost
	httpPath
	httpURI
	httpStem
	httpQuery
	httpExtension
	targetFilename
	sourceFilename
	targetImage
	targetUser
	targetProcessID
	targetVia
	operation
	via
	program
	lineage
	jobName
	step
	action
	container
	containerID
	agent
	credentialClass
	credentialOwner
	reparented
	imageOrigin
	lifecycle
	lifecycleEvent
	lifecyclePackage
	lifecycleDirectory
	environment
	secretPattern
	secretOption
	lookalikeOf
	lookalikeHow

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
	// address: the modifier cidr is for it.
	address bool
	// account: the value is root or the user's number; names of other users
	// are not in the log.
	account bool
	// keyword: a text without a field is looked for in it.
	keyword bool
	// label: the field names whose doing it is. Where it is empty, that is a
	// group of its own.
	label bool
	// dear: to find the value takes a walk up the lineage, so it is asked for
	// last.
	dear bool
}

const everywhere = 1<<categoryCount - 1

const (
	onExec    = 1 << processCreation
	onProxy   = 1 << proxy
	onNetwork = 1<<networkConnection | onProxy
	onAnswer  = 1 << dnsAnswer
	onDNS     = 1<<dnsQuery | onAnswer
	onFile    = 1<<fileEvent | 1<<fileAccess | 1<<fileDelete | 1<<processAccess
	onAccess  = 1 << processAccess
)

var fields = [fieldCount]fieldInfo{
	image:               {name: "Image", in: everywhere, keyword: true},
	parentImage:         {name: "ParentImage", in: everywhere, keyword: true},
	commandLine:         {name: "CommandLine", in: everywhere, keyword: true},
	parentCommandLine:   {name: "ParentCommandLine", in: everywhere, keyword: true},
	currentDirectory:    {name: "CurrentDirectory", in: everywhere, keyword: true},
	user:                {name: "User", in: everywhere, account: true, keyword: true},
	parentUser:          {name: "ParentUser", in: everywhere, account: true},
	processID:           {name: "ProcessId", in: everywhere, numeric: true},
	parentProcessID:     {name: "ParentProcessId", in: everywhere, numeric: true},
	destinationHostname: {name: "DestinationHostname", in: onNetwork, keyword: true},
	destinationHow:      {name: "DestinationHow", in: onNetwork},
	destinationIP:       {name: "DestinationIp", in: onNetwork | onDNS, address: true, keyword: true},
	destinationPort:     {name: "DestinationPort", in: onNetwork | onDNS, numeric: true, keyword: true},
	destinationIsIPv6:   {name: "DestinationIsIpv6", in: onNetwork | onDNS},
	sourceIP:            {name: "SourceIp", in: onNetwork | onDNS, address: true, keyword: true},
	sourcePort:          {name: "SourcePort", in: onNetwork | onDNS, numeric: true, keyword: true},
	protocol:            {name: "Protocol", in: onNetwork | onDNS, keyword: true},
	initiated:           {name: "Initiated", in: onNetwork},
	queryName:           {name: "QueryName", in: onDNS, keyword: true},
	queryDomain:         {name: "QueryDomain", in: onDNS},
	queryType:           {name: "QueryType", in: onDNS},
	queryStatus:         {name: "QueryStatus", in: onAnswer, numeric: true},
	queryResults:        {name: "QueryResults", in: onAnswer, many: true, address: true},
	resolverConfigured:  {name: "ResolverConfigured", in: onDNS},
	httpMethod:          {name: "HttpMethod", in: onNetwork},
	httpHost:            {name: "HttpHost", in: onNetwork, keyword: true},
	httpPath:            {name: "HttpPath", in: onNetwork, keyword: true},
	httpURI:             {name: "c-uri", in: onProxy},
	httpStem:            {name: "c-uri-stem", in: onProxy},
	httpQuery:           {name: "c-uri-query", in: onProxy},
	httpExtension:       {name: "c-uri-extension", in: onProxy},
	targetFilename:      {name: "TargetFilename", in: onFile, keyword: true},
	sourceFilename:      {name: "SourceFilename", in: 1 << fileEvent, keyword: true},
	targetImage:         {name: "TargetImage", in: onAccess, keyword: true},
	targetUser:          {name: "TargetUser", in: onAccess, account: true},
	targetProcessID:     {name: "TargetProcessId", in: onAccess, numeric: true},
	targetVia:           {name: "TargetVia", in: onAccess},
	operation:           {name: "Operation", in: onFile},
	via:                 {name: "Via", in: everywhere, label: true},
	program:             {name: "Program", in: everywhere},
	lineage:             {name: "Lineage", dear: true, in: everywhere, many: true},
	jobName:             {name: "Job", in: everywhere, label: true},
	step:                {name: "Step", in: everywhere, label: true},
	action:              {name: "Action", in: everywhere, label: true},
	container:           {name: "Container", in: everywhere, many: true},
	containerID:         {name: "ContainerId", in: everywhere, label: true},
	agent:               {name: "Agent", in: everywhere, label: true},
	credentialClass:     {name: "CredentialClass", in: 1<<fileAccess | 1<<fileEvent},
	credentialOwner:     {name: "CredentialOwner", in: 1<<fileAccess | 1<<fileEvent},
	reparented:          {name: "Reparented", dear: true, in: everywhere},
	imageOrigin:         {name: "ImageOrigin", in: everywhere, many: true},
	lifecycle:           {name: "Lifecycle", dear: true, in: everywhere, label: true},
	lifecycleEvent:      {name: "LifecycleEvent", dear: true, in: everywhere, label: true},
	lifecyclePackage:    {name: "LifecyclePackage", dear: true, in: everywhere, label: true},
	lifecycleDirectory:  {name: "LifecycleDirectory", dear: true, in: everywhere, label: true},
	environment:         {name: "Environment", in: onExec, many: true},
	secretPattern:       {name: "SecretPattern", in: everywhere, many: true},
	secretOption:        {name: "SecretOption", in: onExec, many: true},
	lookalikeOf:         {name: "LookalikeOf", in: onNetwork | onDNS},
	lookalikeHow:        {name: "LookalikeHow", in: onNetwork | onDNS},
}

// otherNames are the names that Sysmon and the Sigma taxonomy have for a field
// in some categories.
var otherNames = map[string]struct {
	field field
	in    uint32
}{
	"SourceImage":       {image, onAccess},
	"SourceCommandLine": {commandLine, onAccess},
	"SourceUser":        {user, onAccess},
	"SourceProcessId":   {processID, onAccess},
	"cs-method":         {httpMethod, onProxy},
	"cs-host":           {httpHost, onProxy},
	"r-dns":             {httpHost, onProxy},
	"dst_ip":            {destinationIP, onProxy},
	"dst_port":          {destinationPort, onProxy},
	"src_ip":            {sourceIP, onProxy},
	"src_port":          {sourcePort, onProxy},
}

// unseenFields are fields that rules for Sysmon use and that this program's
// sensors do not tell, and why.
var unseenFields = map[string]string{
	"OriginalFileName": noVersion, "Description": noVersion, "Product": noVersion, "Company": noVersion, "FileVersion": noVersion,
	"Hashes": noHash, "md5": noHash, "sha1": noHash, "sha256": noHash, "imphash": noHash, "Hash": noHash, "Imphash": noHash,
	"IntegrityLevel": windowsOnly, "LogonGuid": windowsOnly, "TerminalSessionId": windowsOnly, "GrantedAccess": windowsOnly, "CallTrace": windowsOnly,
	"LogonId":     "the login session is not recorded",
	"ProcessGuid": noGUID, "ParentProcessGuid": noGUID, "SourceProcessGUID": noGUID, "TargetProcessGUID": noGUID,
	"c-useragent": noHeader, "cs-user-agent": noHeader, "cs-cookie": noHeader, "cs-referrer": noHeader, "cs-referer": noHeader, "cs-version": noHeader,
	"sc-status": noResponse, "sc-bytes": noResponse, "cs-bytes": noBody, "cs-username": noHeader,
	"UtcTime": noDate, "CreationUtcTime": noDate, "PreviousCreationUtcTime": noDate,
	"EventID": "events have no number of Sysmon's; the category says what they are", "Contents": "what is in a file is not recorded",
}

const (
	noVersion   = "programs of Linux hold no version resource"
	noHash      = "files are not hashed"
	windowsOnly = "there is no such thing on Linux"
	noGUID      = "processes have no GUID here; ask ProcessId"
	noDate      = "no field holds a date"
	noHeader    = "headers of HTTP are not recorded, but for Host"
	noResponse  = "responses of HTTP are not recorded"
	noBody      = "bodies of HTTP are not recorded"
)

func fieldNames() []string {
	list := make([]string, fieldCount)
	for f := range fields {
		list[f] = fields[f].name
	}
	return list
}

// findField returns the field of a name and the categories in which it is
// called so.
func findField(name string) (f field, in uint32, ok bool) {
	for f := range fields {
		if fields[f].name == name {
			return field(f), fields[f].in, true
		}
	}
	o, ok := otherNames[name]
	return o.field, o.in, ok
}

// groupField is [findField] for what events are grouped or counted by: a
// container has one id.
func groupField(name string) (f field, in uint32, ok bool) {
	if f, in, ok = findField(name); f == container {
		f = containerID
	}
	return f, in, ok
}

// view is an input as the closures of rules see it. Values are made when they
// are first asked for and kept until the next event.
type view struct {
	in  *Input
	cat category
	// scripts are the package managers' scripts of images.
	scripts  *process.Scripts
	look     *lookalikes
	suffixes *suffixes

	have, haveLow [fieldCount]bool
	value, low    [fieldCount]string
	lists         [fieldCount][]string
	one           [fieldCount][1]string
	lowLists      [fieldCount][]string

	// nameless: a rule asked for a container whose engine has not said yet what
	// it is called.
	nameless bool

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
	if f == container && v.in.Node != nil {
		if c := v.in.Node.In(); c != nil && !c.Told {
			v.nameless = true
		}
	}
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

// values returns all values of a field of either sort.
func (v *view) values(f field, lower bool) []string {
	if fields[f].many {
		return v.getAll(f, lower)
	}
	v.one[f][0] = v.get(f, lower)
	return v.one[f][:]
}

// lower returns s in lower case, as [lowerText] does.
func (v *view) lower(s string) string {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c >= 'A' && c <= 'Z' || c >= utf8.RuneSelf {
			from := len(v.text)
			v.text = appendLower(append(v.text, s[:i]...), s[i:])
			return v.made(from)
		}
	}
	return s
}

// lowerText returns s in lower case, letter by letter: Sigma compares without
// case.
func lowerText(s string) string { return string(appendLower(nil, s)) }

func appendLower(b []byte, s string) []byte {
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			if c >= 'A' && c <= 'Z' {
				c += 'a' - 'A'
			}
			b = append(b, c)
			i++
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError {
			b = append(b, s[i:i+n]...)
		} else {
			b = utf8.AppendRune(b, unicode.ToLower(r))
		}
		i += n
	}
	return b
}

// ownProgram returns the nearest image, n or before it, whose program is known: an
// image that was only forked runs its parent's.
func ownProgram(n *process.Node) *process.Node {
	for i := 0; n != nil && i < maxLineage; i++ {
		if !n.Exe.IsZero() {
			return n
		}
		n = n.Parent
	}
	return nil
}

// parent returns the program of the process that started n's. The images that
// n's process ran before are no parents: sh in "sh -c x", where it becomes x.
func parent(n *process.Node) *process.Node { return ownProgram(parentProcess(n)) }

// parentProcess returns the image that forked n's process.
func parentProcess(n *process.Node) *process.Node {
	p := n
	for i := 0; p != nil && i < maxLineage; i++ {
		if p.Actor.PID != n.Actor.PID || p.Actor.Start != n.Actor.Start {
			return p
		}
		p = p.Parent
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
		return exe(ownProgram(n))
	case parentImage:
		return exe(parent(n))
	case commandLine:
		return v.joinArgv(ownProgram(n))
	case parentCommandLine:
		return v.joinArgv(parent(n))
	case currentDirectory:
		if p := ownProgram(n); p != nil {
			return p.Cwd.String()
		}
	case user:
		return v.account(n)
	case parentUser:
		return v.account(parent(n))
	case targetUser:
		return v.account(v.in.Target)
	case processID:
		return v.number(uint64(e.Actor.PID))
	case parentProcessID:
		return v.parentID(n)
	case targetProcessID:
		if e.Target.IsZero() {
			return ""
		}
		return v.number(uint64(e.Target.PID))
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
	case destinationIP, sourceIP:
		a := v.end(f == sourceIP).Addr()
		if !a.IsValid() {
			return ""
		}
		from := len(v.text)
		v.text = a.Unmap().AppendTo(v.text)
		return v.made(from)
	case destinationPort, sourcePort:
		port := v.end(f == sourcePort).Port()
		if port == 0 {
			return ""
		}
		return v.number(uint64(port))
	case destinationIsIPv6:
		switch a := v.end(false).Addr(); {
		case !a.IsValid():
			return ""
		case a.Unmap().Is4():
			return "false"
		}
		return "true"
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
		if e.Kind == event.Accept {
			return "false"
		}
		return "true"
	case queryName:
		return e.Name.String()
	case queryDomain:
		name := v.get(queryName, true)
		if _, domain, ok := v.suffixes.registered(name); ok {
			return domain
		}
		return strings.TrimSuffix(name, ".")
	case lookalikeOf:
		return v.lookalike().of
	case lookalikeHow:
		return v.lookalike().how
	case queryType:
		if name, ok := queryTypes[e.QType]; ok {
			return name
		}
		return v.number(uint64(e.QType))
	case queryStatus:
		return v.number(uint64(e.RCode))
	case resolverConfigured:
		return truth(v.in.Resolver)
	case httpMethod:
		return e.Method.String()
	case httpHost:
		if e.Kind == event.HTTP {
			return e.Name.String()
		}
	case httpPath:
		return e.Path.String()
	case httpURI:
		return v.uri()
	case httpStem, httpQuery, httpExtension:
		return partOfPath(f, e.Path.String())
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
		return exe(ownProgram(v.in.Target))
	case targetVia:
		if v.in.Target != nil {
			return v.in.Target.Via.String()
		}
	case operation:
		return v.operation()
	case program:
		if n != nil {
			return n.Name()
		}
	case via:
		return e.Via.String()
	case credentialClass:
		return e.Class.String()
	case credentialOwner:
		if n != nil && !e.Class.IsZero() {
			c, ok := credential.Lookup(e.Class.String())
			return truth(ok && (c.OwnedBy(n.Name()) || c.Settings(e.Path.String(), n.Name())))
		}
	case reparented:
		return truth(n.Reparented())
	case lifecycle, lifecycleEvent, lifecyclePackage, lifecycleDirectory:
		return v.script(f)
	case jobName, step, action, containerID, agent:
		return label(n, f)
	}
	return ""
}

// end returns one end of a connection: the source is who began it.
func (v *view) end(source bool) netip.AddrPort {
	e := v.in.Event
	if source != (e.Kind == event.Accept) {
		return e.Src
	}
	return e.Dst
}

func truth(b bool) string {
	if b {
		return "true"
	}
	return "false"
}

// uri returns what was asked for as proxies write it. Whether it was encrypted
// is told by the port.
func (v *view) uri() string {
	e := v.in.Event
	from := len(v.text)
	if port := e.Dst.Port(); port == 443 || port == 8443 {
		v.text = append(v.text, "https://"...)
	} else {
		v.text = append(v.text, "http://"...)
	}
	v.text = append(append(v.text, e.Name.String()...), e.Path.String()...)
	return v.made(from)
}

// partOfPath returns the path of a request without its query, the query, or
// the extension of what the path names.
func partOfPath(f field, path string) string {
	stem, query, _ := strings.Cut(path, "?")
	switch f {
	case httpQuery:
		return query
	case httpExtension:
		base := baseName(stem)
		if i := strings.LastIndexByte(base, '.'); i >= 0 {
			return base[i+1:]
		}
		return ""
	}
	return stem
}

// queryTypes are the types of DNS records that have a name here (IANA "DNS
// Parameters"); others are told by number.
var queryTypes = map[uint16]string{
	1: "A", 2: "NS", 5: "CNAME", 6: "SOA", 10: "NULL", 12: "PTR", 15: "MX", 16: "TXT", 28: "AAAA", 33: "SRV", 35: "NAPTR",
	43: "DS", 48: "DNSKEY", 52: "TLSA", 64: "SVCB", 65: "HTTPS", 255: "ANY", 257: "CAA",
}

func (v *view) account(n *process.Node) string {
	switch {
	case n == nil:
		return ""
	case n.UID == 0:
		return "root"
	}
	return v.number(uint64(n.UID))
}

// parentID returns the process id of the process that started n's.
func (v *view) parentID(n *process.Node) string {
	p := parentProcess(n)
	if p == nil {
		return ""
	}
	return v.number(uint64(p.Actor.PID))
}

// operation says what was done to a file or another process.
func (v *view) operation() string {
	e := v.in.Event
	switch e.Kind {
	case event.Rename, event.Link, event.Mkdir:
		return e.Kind.String()
	case event.Unlink:
		return "delete"
	case event.Open:
		switch {
		case v.cat == processAccess:
			return processFile(e.Path.String())
		case v.cat == fileAccess:
			return "read"
		case e.Access&event.Create != 0:
			return "create"
		case e.Access&event.Truncate != 0:
			return "truncate"
		case e.Access&event.Append != 0:
			return "append"
		}
		return "write"
	}
	return e.Op.String()
}

func label(n *process.Node, f field) string {
	if n == nil {
		return ""
	}
	switch f {
	case jobName:
		return n.Job.String()
	case step:
		return n.Step.String()
	case action:
		return n.Action.String()
	case containerID:
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
		return appendOrigins(list, v.in)
	case container:
		return appendContainer(list, n)
	case environment:
		for i := range e.Env {
			from := len(v.text)
			v.text = append(append(append(v.text, e.Env[i].Name.String()...), '='), e.Env[i].Value.String()...)
			list = append(list, v.made(from))
		}
	case queryResults:
		for i := range e.Answers {
			switch a := &e.Answers[i]; {
			case a.Addr.IsValid():
				from := len(v.text)
				v.text = a.Addr.Unmap().AppendTo(v.text)
				list = append(list, v.made(from))
			case !a.Target.IsZero():
				list = append(list, a.Target.String())
			}
		}
	}
	return list
}

// appendContainer says what a container can be called: its id, its name, and
// its image with and without the tag.
func appendContainer(list []string, n *process.Node) []string {
	if n == nil || n.Container.IsZero() {
		return list
	}
	list = append(list, n.Container.String())
	c := n.In()
	if c == nil {
		return list
	}
	image := c.Image.String()
	name := image
	if i := strings.LastIndexByte(image, ':'); i > strings.LastIndexByte(image, '/') {
		name = image[:i]
	}
	for _, s := range [...]string{c.Name.String(), image, name} {
		if s != "" && s != list[len(list)-1] {
			list = append(list, s)
		}
	}
	return list
}

// appendOrigins says what is known of where the file of the actor's program
// came from.
func appendOrigins(list []string, in *Input) []string {
	p := ownProgram(in.Node)
	if p == nil {
		return list
	}
	for _, o := range [...]struct {
		bit  event.Image
		name string
	}{{event.Memfd, "memfd"}, {event.Deleted, "deleted"}, {event.Script, "script"}} {
		if p.Image&o.bit != 0 {
			list = append(list, o.name)
		}
	}
	if p.Image&event.Memfd != 0 && p.Origin&process.Written == 0 {
		list = append(list, "fresh")
	}
	for _, o := range [...]struct {
		bit  process.Origin
		name string
	}{
		{process.Written, "fresh"}, {process.Managed, "package"}, {process.InWorkspace, "workspace"}, {process.InTemp, "temp"},
		{process.InCache, "cache"}, {process.InHome, "home"}, {process.InSystem, "system"},
	} {
		if p.Origin&o.bit != 0 {
			list = append(list, o.name)
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
