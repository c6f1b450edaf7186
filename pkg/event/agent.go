package event

import "github.com/org/edamame-posture/pkg/redact"

// What Detail says of an event of kind [Agent].
var (
	AgentSession    = redact.Const("session")    // began; Name: how
	AgentPrompt     = redact.Const("prompt")     // ToolText: a hash of it, Size: its bytes
	AgentCall       = redact.Const("call")       // Name: the tool, Argv: its effects, ToolText: its command
	AgentBackground = redact.Const("background") // a call whose processes may go on when it has ended
	AgentResult     = redact.Const("result")     // of a call; OK: it says that it succeeded, Code: the exit code, where it is known
	AgentPermission = redact.Const("permission") // asked for or decided; Name: the tool
	AgentSub        = redact.Const("subagent")   // Name: of what type; OK at its end
	AgentCompact    = redact.Const("compaction") // what the agent remembers was shortened
	AgentTurn       = redact.Const("turn")       // it is done with a prompt
	AgentEnd        = redact.Const("end")        // of the session; Name: why
	AgentRefused    = redact.Const("refused")    // a declaration that was not believed; Name: why, Target: the agent it was meant for
	AgentTranscript = redact.Const("transcript") // what it wrote of the session was read at the recording's end; Path, Count: calls in it, Lost: lines or calls of it that are not told; or Name: why it was not read
	AgentWritten    = redact.Const("written")    // a call in a transcript; ToolCall, Name: the tool, OK: its result stands there and is no error
	AgentUnread     = redact.Const("unread")     // a payload that could not be read; Name: why, Count: how many
)
