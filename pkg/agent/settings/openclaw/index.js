// Hands what OpenClaw says of its tool calls to the monitors of this machine.
// It decides nothing: whatever goes wrong here, the agent goes on.
import { spawn } from "node:child_process";

const hook = "edamame-hook"; // edamame-posture hook install writes its path here
const patience = 200; // milliseconds

function tell(name, event, ctx) {
  return new Promise((done) => {
    let child;
    const over = setTimeout(() => { child?.kill(); done(); }, patience);
    const end = () => { clearTimeout(over); done(); };
    try {
      const payload = JSON.stringify({ hook_event_name: name, pid: process.pid, event, ctx });
      child = spawn(hook, ["openclaw"], { stdio: ["pipe", "ignore", "ignore"] });
      child.on("error", end);
      child.on("close", end);
      child.stdin.on("error", () => {});
      child.stdin.end(payload);
    } catch {
      end();
    }
  });
}

export default {
  id: "edamame-posture",
  name: "edamame-posture",
  register(api) {
    api.on("before_tool_call", async (event, ctx) => { await tell("before_tool_call", event, ctx); });
    api.on("after_tool_call", async (event, ctx) => { await tell("after_tool_call", event, ctx); });
    // Of a run only the prompt: the rest is the whole conversation.
    api.on("before_agent_run", async (event, ctx) => { await tell("before_agent_run", { prompt: event?.prompt }, ctx); });
    api.on("agent_end", async (event, ctx) => { await tell("agent_end", { success: event?.success, durationMs: event?.durationMs, runId: event?.runId }, ctx); });
  },
};
