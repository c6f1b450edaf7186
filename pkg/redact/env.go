package redact

// EnvAllowed reports whether the value of the environment variable may be
// stored. All other values never leave the sensor. The names say where in a
// workflow or an agent's session a process stands; none of them holds a token.
// They label and prove nothing: a job can set them as it likes.
func EnvAllowed(name []byte) bool {
	_, ok := allowedEnv[string(name)] // the compiler does not copy for a look-up
	return ok
}

// EnvNames returns the allowed names in no particular order, for a sensor that
// filters in the kernel.
func EnvNames() []string {
	names := make([]string, 0, len(allowedEnv))
	for n := range allowedEnv {
		names = append(names, n)
	}
	return names
}

var allowedEnv = func() map[string]Text {
	m := make(map[string]Text, 64)
	for _, t := range []Text{
		Const("CI"),
		// GitHub Actions, docs.github.com "Variables reference".
		Const("GITHUB_ACTION"), Const("GITHUB_ACTIONS"), Const("GITHUB_ACTION_PATH"), Const("GITHUB_ACTION_REF"),
		Const("GITHUB_ACTION_REPOSITORY"), Const("GITHUB_ACTOR"), Const("GITHUB_EVENT_NAME"), Const("GITHUB_JOB"),
		Const("GITHUB_REF"), Const("GITHUB_REPOSITORY"), Const("GITHUB_REPOSITORY_ID"), Const("GITHUB_RUN_ATTEMPT"), Const("GITHUB_RUN_ID"),
		Const("GITHUB_SHA"), Const("GITHUB_STEP_SUMMARY"), Const("GITHUB_WORKFLOW"), Const("GITHUB_WORKFLOW_REF"),
		Const("GITHUB_WORKSPACE"),
		Const("RUNNER_TEMP"), Const("RUNNER_TRACKING_ID"),
		// npm, docs.npmjs.com "scripts".
		Const("npm_lifecycle_event"), Const("npm_package_name"), Const("npm_package_version"),
		// Coding agents: which one, and which session of it.
		Const("AI_AGENT"),
		Const("CLAUDECODE"), Const("CLAUDE_CODE_ENTRYPOINT"), Const("CLAUDE_CODE_SESSION_ID"), Const("CLAUDE_CODE_CHILD_SESSION"),
		Const("CLAUDE_CODE_EXECPATH"), Const("CLAUDE_CODE_REMOTE"), Const("CLAUDE_CODE_REMOTE_SESSION_ID"), Const("CLAUDE_CODE_IS_COWORK"),
		Const("CODEX_SANDBOX"), Const("CODEX_SANDBOX_NETWORK_DISABLED"), Const("CODEX_THREAD_ID"), Const("CODEX_CI"), Const("CODEX_HOME"),
		Const("CURSOR_TRACE_ID"), Const("CURSOR_AGENT"), Const("CURSOR_INVOKED_AS"), Const("CURSOR_EXTENSION_HOST_ROLE"),
		Const("CURSOR_TRANSCRIPT_PATH"), Const("CURSOR_PROJECT_DIR"),
		Const("GEMINI_CLI"), Const("GEMINI_SESSION_ID"),
		Const("COPILOT_MODEL"), Const("COPILOT_ALLOW_ALL"),
		Const("OPENCLAW_SHELL"), Const("OPENCLAW_CLI"),
		Const("OPENCODE"), Const("ANTIGRAVITY_AGENT"), Const("AUGMENT_AGENT"), Const("CLINE_ACTIVE"),
	} {
		m[t.s] = t
	}
	return m
}()
