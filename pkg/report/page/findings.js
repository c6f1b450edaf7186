// Findings as cards.
import { h, code, num, count, at, tag, fill, RANK, show } from "./dom.js";
import { D, V } from "./data.js";
import { leafButtons, procButton } from "./open.js";

function chain(f) {
  const way = [...(f.actor.lineage || [])].reverse(), doer = f.actor.exe.split("/").pop();
  return h("p.chain", { "aria-label": "lineage" }, way.map((n) => [code(n), h("span.arrow", { "aria-hidden": "true" }, "›")]), code(doer, "doer"));
}

function card(f, i) {
  const proc = D.named ? D.named[i] : undefined;
  return h("article.card." + (f.suppressed ? "suppressed" : f.severity), { "aria-labelledby": "finding-" + i, id: "card-" + i, tabindex: -1 },
    h("header", null, tag(f.severity), h("h2", { id: "finding-" + i }, f.title),
      h("span.dim", null, code(f.rule), (f.technique || []).map((t) => [" ", code(t)]))),
    h("p.object", null, code(f.object)),
    chain(f),
    f.actor.argv && f.actor.argv.length ? h("p.argv", null, procButton(proc, code(f.actor.argv.join(" ")))) : null,
    f.suppressed ? h("p.do", null, h("b", null, "Suppressed "), "until ", f.suppressed.until, " by ", f.suppressed.owner, ": ", f.suppressed.reason)
      : f.do ? h("p.do", null, h("b", null, "What to do "), f.do) : null,
    h("footer", null,
      h("span.dim", null, f.count > 1 ? num(f.count) + " times, " : "", at((f.first - D.began) / 1000), f.last > f.first ? " to " + at((f.last - D.began) / 1000) : "",
        f.scope.step ? ", step " + show(f.scope.step) : "", f.scope.container ? ", container " + show(f.scope.container_name || f.scope.container) + (f.scope.container_image ? " (" + show(f.scope.container_image) + ")" : "") : "", f.scope.agent ? ", agent " + show(f.scope.agent) : "", ", pid " + f.actor.pid),
      h("span.proofs", null, h("span.dim", null, "Evidence "), leafButtons(f.leaves || []))));
}

export function findings() {
  const box = h("div.cards"), found = h("p.dim", { role: "status" });
  const severities = [...new Set(V.findings.map((f) => f.severity))];
  const on = new Set(severities);
  const search = h("input", { type: "search", placeholder: "Search findings", "aria-label": "Search findings", class: "search" });
  const draw = () => {
    const q = search.value.toLowerCase();
    const hits = V.findings.map((f, i) => [f, i]).filter(([f]) => on.has(f.severity) && (!q || show(JSON.stringify(f)).toLowerCase().includes(q)));
    fill(box, hits.map(([f, i]) => card(f, i)));
    fill(found, V.findings.length ? hits.length + " of " + count(V.findings.length, "finding") : V.coverage.state === "complete" ? "No finding." : "No finding that was seen: coverage is partial.");
  };
  search.addEventListener("input", draw);
  draw();
  return [h("h1", null, "Findings"),
    V.findings.length ? h("div.tools", null, search, severities.sort((a, b) => RANK[a] - RANK[b]).map((s) => h("label.check", null,
      h("input", { type: "checkbox", checked: true, onchange: (e) => { if (e.target.checked) on.add(s); else on.delete(s); draw(); } }), tag(s)))) : null,
    found, box];
}
