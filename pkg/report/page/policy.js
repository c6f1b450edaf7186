// The policy: lines that were used, lines that were not, and lines that are
// missing.
import { h, code, num, count, tag, fill, show } from "./dom.js";
import { D, V } from "./data.js";
import { list } from "./list.js";
import { leafButtons } from "./open.js";

function copy(text) {
  const said = h("span.dim", { role: "status" });
  return [h("button.tool", { type: "button", onclick: async () => {
    try { await navigator.clipboard.writeText(text()); fill(said, " copied"); } catch { fill(said, " mark the text and copy it"); }
  } }, "Copy"), said];
}

export function policy() {
  const missing = D.facts.filter((f) => f.standing);
  const lines = new Map();
  for (const f of missing) if (f.standing === "undeclared" && f.grant) {
    const l = lines.get(f.grant) || { text: f.grant, facts: [] };
    l.facts.push(f);
    lines.set(f.grant, l);
  }
  const wants = list({
    label: "What no line covers", columns: [["Severity", "state"], ["", "verb-cell"], ["What", "grow"], ["Who", "name"], ["The line", "line"], ["Evidence", "proof"]],
    cells: (f) => [tag(f.severity || "info"), [h("span.verb", null, f.verb)], h("span.clip", { title: f.object }, code(f.object)), h("span.clip", null, code([...f.who].reverse().join(" › "))), [f.standing === "forbidden" ? tag("forbidden") : null, h("span.clip", { title: f.grant }, code(f.grant || ""))], leafButtons([f.leaf])],
  });
  const used = list({
    label: "Lines of the policy", columns: [["", "state"], ["List", "verb-cell"], ["Line", "grow"], ["Explains", "n"], ["Tight", "n"], ["Where", "name"]],
    cells: (g) => [g.used ? h("span.tag.pass", null, h("span.sign", { "aria-hidden": "true" }, "✓"), g.deny ? "hit" : "used") : h("span.dim", null, "unused"), [g.deny ? "deny " : "", g.key], h("span.clip", { title: g.text }, code(g.text)), g.used ? num(g.used) : "", (g.tight / 1000).toFixed(2), h("span.clip", { title: g.place }, g.preset ? ["preset ", g.preset] : [g.place, g.line ? ":" + g.line : ""])],
  });
  let which = D.grants.some((g) => g.used) ? "used" : "all", query = "";
  const draw = () => used.set(D.grants.filter((g) => (which === "all" || (which === "used") === Boolean(g.used)) && (!query || show(g.key + " " + g.text + " " + g.place).toLowerCase().includes(query))), count(D.grants.length, "line") + " in all, " + num(D.grants.filter((g) => !g.used).length) + " explained nothing" + (D.grantsLeft ? "; " + num(D.grantsLeft) + " are not listed" : ""));
  queueMicrotask(() => { if (D.grants.length) draw(); if (missing.length) wants.set(missing, V.facts.left_out ? num(V.facts.left_out) + " more are not listed" : ""); });
  return [h("h1", null, "Policy"),
    D.intent ? h("p.dim", null, "Held against ", code(V.inputs.intent.name), ": ", count(V.facts.total, "fact"), ", ", num(V.facts.explained), " explained, ", num(V.facts.undeclared), " undeclared.")
      : h("p.dim", null, "No policy was given, so nothing could be explained."),
    h("h2", null, "Missing"), missing.length ? wants.el : h("p.dim", null, D.intent ? "Nothing: every fact is explained." : "Without a policy nothing is missing."),
    lines.size ? [h("h3", null, "Lines that would cover it"), h("p.dim", null, "Read them before you use them: an attack would be covered too."), h("pre.policy", { tabindex: 0 }, [...lines.values()].slice(0, 200).map((l) => h("div", null, l.text))), copy(() => [...lines.keys()].map((l) => show(l)).join("\n"))] : null,
    D.grants.length ? [h("h2", null, "Lines"), h("div.tools", null,
      h("input", { type: "search", class: "search", placeholder: "Search lines", "aria-label": "Search lines", oninput: (e) => { query = e.target.value.toLowerCase(); draw(); } }),
      h("label.pick", null, "Show ", h("select", { onchange: (e) => { which = e.target.value; draw(); } }, ["used", "unused", "all"].map((w) => h("option", { value: w, selected: w === which }, w))))), used.el] : null,
    D.policy.length ? [h("h2", null, "A policy that would cover this run"), h("p.dim", null, "Read it before you use it: it declares all that was seen, good and bad."), h("pre.policy", { tabindex: 0 }, D.policy.map((l) => h("div", null, l || " "))), copy(() => D.policy.map((l) => show(l)).join("\n"))] : null];
}
