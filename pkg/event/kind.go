package event

import "fmt"

// Kind says what an event reports. It is a number in memory, so that no text
// of a job can become one, and a word in the log.
type Kind uint8

// The kinds of format version 1. The comment after each names the fields that
// it fills beside Seq, Time, Kind, Actor and Via.
const (
	Unknown Kind = iota // a kind that this version does not know; KindName holds the word

	// The recording itself.
	Start     // Version, Boot, Wall, Host, Command, Job, Tool, Sensor, Detail (settings)
	Existing  // a process that was there before the recording: Parent and all of Exec
	Note      // Detail: something the monitor says of itself, without effect on coverage; Count: how often; Dst: a configured resolver
	SensorUp  // Sensor, Detail: what was armed; Actor is the monitor, Argv what it cannot see
	SensorGap // Sensor, Detail, From, To, Lost: what was not seen, and for how long
	Canary    // Sensor, Detail, OK: whether the monitor saw its own exec and connect
	Witness   // Counts: what each sensor has counted; OK: whether they agree
	ClockStep // Wall, Step: the wall clock was set
	End       // Wall, Code, Signal, Survivors: the root process has ended and the log is closed

	// Processes.
	Fork      // Parent
	Exec      // Exe, Filename, Interp, Argv, ArgvBytes, ArgvCut, Cwd, Env, UID, GID, Cgroup, Container, NS, File, Image
	Exit      // Code, Signal
	SetID     // UID, GID: the effective ids after the call
	SetSID    // Session
	Container // Container, Detail: a container was recognised; or OK, Name, ContainerImage, SHA256: what its engine calls it, Detail: of what the digest is, or why nothing is known
	Digest    // Exe, File, CTime, Size, SHA256: what a file that was executed holds; Detail: why that is not known. Of a script Filename, Cwd and Image

	// Sockets. Dst is the peer, Src our side.
	Connect // Proto, Src, Dst, Sock, Err
	Accept  // Proto, Src, Dst, Sock
	Listen  // Proto, Src, Sock
	Flow    // Proto, Src, Dst, Sock, Sent, Received, OK: totals of a connection; OK at its end
	Send    // Proto, Dst, Count, Sent: datagrams to one destination, folded
	Unix    // Path: a connect to a Unix socket
	Vsock   // Dst as cid:port in Detail
	Packet  // Proto, Detail, Sent: a packet or raw socket with no address

	// What was said on them.
	DNS  // Proto, Src, Dst, OK (false: question, true: answer), Name, QType, RCode, Answers
	TLS  // Src, Dst, Sock, Name: the server name of a ClientHello
	HTTP // Src, Dst, Sock, Method, Name (host), Path, Count, TLS, Secrets
	Key  // Name: a variable whose value is a declared key, Secrets: its hash; Detail: why there is none

	// Files.
	Open   // Path, File, Access, Class, Count; Target: the monitor, where the file is its own
	Rename // Path, NewPath, File
	Unlink // Path, File
	Link   // Path, NewPath, File, Detail (hard or symbolic)
	Chmod  // Path, File, Mode
	Mkdir  // Path

	// Power and tampering. Target is the process acted upon.
	Ptrace    // Target, Op
	MemAccess // Target, Op: read or write of another process's memory
	Kill      // Target, Signal
	BPF       // Op; Target: the monitor, where the object is its own
	Module    // Path, Op
	Mount     // Path, NewPath, Op
	Namespace // Op, NS
	IOUring   // Op
	Barrier   // Path, OK: a program that gives power was about to run; OK: what led to it was sealed before

	// What it printed. Actor is the recording's root: a pipe does not say who wrote.
	Disclosure // Name: what the secret is called, Detail: the form, Count: the line of the output on which it ends

	// Whose doing it is. Actor is what a CI runner's worker started for a step, Parent the worker.
	Step // Job, StepID, StepAction, Detail: run, action, container, hook or runner; or later, of the same actor, StepName

	// The machine's own state, as the monitor looked at it. Actor is the recording's root.
	Posture // Detail: when; Count: files looked at, SHA256: of what they were, Lost: what was not read; or Name: a weakness, Path and Detail: where and what
	Drift   // Class: what for, Path, File, Detail: what changed between start and end, or since the job before; SHA256: of the content that is there then

	// What a coding agent said of itself. Actor is the agent's own process, by the
	// kernel's word for who spoke, or of a refused declaration who spoke.
	Agent // ToolAgent, ToolSession, ToolCall, Detail: see AgentSession; Name: the tool, or what began or ended it; Argv: the effects that are to be expected; ArgvCut: there are more; ToolText; Size: bytes of a prompt; Code; OK; Count: how often; From: when the monitor had it

	kindCount
)

var kindNames = [kindCount]string{
	Unknown: "unknown", Start: "start", Existing: "existing", Note: "note", SensorUp: "sensor",
	SensorGap: "gap", Canary: "canary", Witness: "witness", ClockStep: "clock", End: "end",
	Fork: "fork", Exec: "exec", Exit: "exit", SetID: "setid", SetSID: "setsid", Container: "container", Digest: "digest",
	Connect: "connect", Accept: "accept", Listen: "listen", Flow: "flow", Send: "send",
	Unix: "unix", Vsock: "vsock", Packet: "packet",
	DNS: "dns", TLS: "tls", HTTP: "http", Key: "key",
	Open: "open", Rename: "rename", Unlink: "unlink", Link: "link", Chmod: "chmod", Mkdir: "mkdir",
	Ptrace: "ptrace", MemAccess: "memory", Kill: "kill", BPF: "bpf", Module: "module",
	Mount: "mount", Namespace: "namespace", IOUring: "io_uring", Barrier: "barrier", Disclosure: "disclosure", Step: "step",
	Agent: "agent", Posture: "posture", Drift: "drift",
}

// String returns the word that stands in the log.
func (k Kind) String() string {
	if k < kindCount {
		return kindNames[k]
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// Kinds returns every kind that this version knows, without Unknown.
func Kinds() []Kind {
	ks := make([]Kind, 0, kindCount-1)
	for k := Unknown + 1; k < kindCount; k++ {
		ks = append(ks, k)
	}
	return ks
}
