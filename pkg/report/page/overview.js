// What it comes to, and why.
import { h, code, num, count, bytes, span, at, tag } from "./dom.js";
import { D, V, span0 } from "./data.js";
import { leafButtons, link } from "./open.js";

function meter(name, value, what) {
  return h("div.meter", null, h("span.name", null, name),
    value < 0 ? h("span.value.dim", null, "nothing to explain") : [
      h("div.track", { role: "meter", "aria-label": name + " tightness", "aria-valuemin": 0, "aria-valuemax": 1000, "aria-valuenow": value },
        h("div.bar" + (what && value < 300 ? ".low" : ""), { style: { width: value / 10 + "%" } }), what ? h("div.need", { style: { left: "30%" }, title: "a pass needs 0.30" }) : null),
      h("span.value", null, (value / 1000).toFixed(2), what && value < 300 ? " too loose" : "")]);
}

// waterfall draws how the points add up to the score.
function waterfall() {
  const total = D.causes.reduce((n, c) => n + c.points, 0);
  if (!D.causes.length) return h("p.dim", null, "Nothing cost points.");
  let sum = 0;
  const shown = D.causes.filter((c) => c.points > 0).slice(0, 24), rest = D.causes.length - shown.length + (D.causesLeft || 0);
  const row = (c) => {
    const left = sum;
    sum += c.points;
    return h("li.fall." + c.severity, null,
      h("span.what", null, tag(c.severity), code(c.what)),
      h("span.track", { "aria-hidden": "true" }, h("span.bar", { style: { left: 100 * left / total + "%", width: Math.max(0.4, 100 * c.points / total) + "%" } })),
      h("span.points", null, num(c.points), h("span.dim", null, c.capped ? " capped" : "")),
      h("span.without.dim", { title: "the score were this not there" }, "without: ", c.without),
      h("span.proofs", null, leafButtons((c.leaves || []).slice(0, 2))));
  };
  return [h("ol.falls", null, shown.map(row),
    h("li.fall.sum", null, h("span.what", null, "Score ", h("b", null, V.score), " from ", count(total, "point")), h("span.track", { "aria-hidden": "true" }, h("span.bar", { style: { left: 0, width: "100%" } })), h("span.points", null, num(total)))),
  h("p.note.dim", null, rest > 0 ? count(rest, "more cause costs", "more causes cost") + " less or nothing. " : "", "Score = 100 · (1 − e^(−points / 1000)), rounded.")];
}

function facts(pairs) {
  return h("dl.pairs", null, pairs.filter(([, v]) => v && v.length !== 0).map(([k, v]) => h("div", null, h("dt", null, k), h("dd", null, v))));
}

export function overview() {
  const r = V.run, c = V.coverage, far = D.destinations.filter((d) => !d.Local);
  const sum = (k) => far.reduce((n, d) => n + d[k], 0);
  return [
    h("section.hero." + V.verdict, { "aria-label": "Outcome" },
      h("div.word", null, h("h1", null, tag(V.verdict)), h("p", null, D.why, ".")),
      h("div.score", null, h("span.big", null, V.score), h("span.dim", null, " of 100"), h("div.track", { role: "meter", "aria-label": "score", "aria-valuemin": 0, "aria-valuemax": 100, "aria-valuenow": V.score }, h("div.bar", { style: { width: V.score + "%" } })))),
    h("section.numbers", { "aria-label": "In numbers" }, [
      ["findings", "Findings", num(V.findings.length), V.findings.length ? "most severe: " + V.findings[0].severity : c.state === "complete" ? "none" : "none that was seen"],
      ["policy", "Undeclared", num(V.facts.undeclared), D.intent ? "of " + count(V.facts.total, "fact") : "no policy was given"],
      ["egress", "Destinations", num(far.length + D.destinationsLeft), bytes(sum("Sent")) + " out, " + bytes(sum("Received")) + " in"],
      ["processes", "Processes", num(D.ran.Processes), count(D.ran.Programs, "program start") + (D.ran.Failed ? ", " + num(D.ran.Failed) + " failed" : "")],
      ["files", "Files written", num(D.files.Workspace + D.files.Temp + D.files.Cache + D.files.Outside), num(D.files.Outside) + " outside of workspace, temp and caches"],
      ["timeline", "Time", span(span0), D.steps.length > 1 ? count(D.steps.length, "step") : "one command"],
    ].map(([view, name, value, more]) => link(view, "", [h("span.name", null, name), h("span.value", null, value), h("span.dim", null, more)], "number"))),
    h("div.two", null,
      h("section", null, h("h2", null, "How the score comes about"), waterfall()),
      h("section", null, h("h2", null, "How tight the policy is"),
        D.intent ? [meter("Egress", V.tightness.egress, true), meter("Credentials", V.tightness.credentials, true), meter("Programs", V.tightness.exec), meter("Writes", V.tightness.write),
          h("p.note.dim", null, "1 is one object for named programs, 0 anything.")] : h("p.dim", null, "There is no policy, so nothing was explained by one."),
        h("h2", null, "What was seen"),
        facts([
          ["Coverage", tag(c.state)],
          ["Sensor", [c.sensor, ", second witness: ", c.witness]],
          ["Events", [count(c.events, "event"), ", ", c.lost ? num(c.lost) + " lost" : "none lost", D.redacted ? ", " + count(D.redacted, "secret") + " taken out" : ""]],
          ["Gaps", c.gaps.map((g) => h("div", null, g.what, g.lost ? ", " + num(g.lost) + " lost" : "", " ", h("span.dim", null, at((g.from - D.began) / 1000), " for ", span((g.to - g.from) / 1000)), " ", leafButtons([g.leaf])))],
          ["From outside", c.outside.map((g) => h("div", null, g.what))],
          ["Not seen", c.unseen.map((s) => h("div", null, s))],
          ["Notes", D.notes.map((s) => h("div", null, s))],
          ["Still running", D.survivors.length ? D.survivors.map((s) => h("div", null, s.PID, " ", code((s.Argv || []).join(" ") || s.Exe))) : ""],
        ]))),
    h("section", null, h("h2", null, "The run"), facts([
      ["Command", D.command ? [code(D.command), " exit ", r.command.exit] : ""],
      ["When", r.started + " to " + r.ended],
      ["Host", r.host], ["Repository", r.repository], ["Commit", r.commit && code(r.commit)], ["Workflow", r.workflow], ["Job", r.job],
      ["Held against", D.intent ? [V.inputs.intent.name, " ", code(V.inputs.intent.sha256 || "", "dim")] : "no policy"],
      ["Declared by", D.origin],
      ["Signatures", [V.inputs.signatures.name || "none", " ", V.inputs.signatures.version || "", " ", code(V.inputs.signatures.sha256 || "", "dim")]],
      ["Judge", V.inputs.judge.version], ["Monitor", D.tool],
      ["Log", [count(D.size, "line"), D.closed ? "" : ", not closed", D.root ? [", root ", code(D.root)] : ""]],
    ])),
  ];
}
