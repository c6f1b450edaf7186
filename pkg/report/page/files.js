// Files and credentials.
import { h, code, num, count, tag, show } from "./dom.js";
import { D } from "./data.js";
import { list } from "./list.js";
import { detail } from "./processes.js";
import { leafButtons } from "./open.js";

function table(label, heads, rows) {
  return h("div.scroll", { tabindex: 0, role: "region", "aria-label": label }, h("table", null, h("thead", null, h("tr", null, heads.map((t) => h("th", { scope: "col" }, t)))), h("tbody", null, rows)));
}

export function files(panel) {
  const facts = D.facts.filter((f) => ["write", "delete", "posture-drift", "exec"].includes(f.verb));
  let query = "", only = false;
  const t = D.files, parts = [["workspace", t.Workspace], ["temporary folders", t.Temp], ["caches", t.Cache], ["elsewhere", t.Outside]], all = t.Workspace + t.Temp + t.Cache + t.Outside;
  const rows = list({
    label: "What was written, removed or run", columns: [["", "verb-cell"], ["What", "grow"], ["Who", "name"], ["Times", "n"], ["", "state"], ["Evidence", "proof"]],
    cells: (f) => [h("span.verb", null, f.verb), h("span.clip", { title: f.object }, code(f.object)), h("span.clip", null, code([...f.who].reverse().join(" › "))), num(f.count), f.standing ? tag(f.standing) : "", leafButtons([f.leaf])],
    mark: (f) => f.standing ? ".found" : "",
    open: (f) => panel([h("h2", null, f.object), h("p", null, h("span.verb", null, f.verb), f.standing ? tag(f.standing) : ""), f.grant ? h("pre", null, f.grant) : null, f.by >= 0 && D.grants[f.by] ? [h("h3", null, "Explained by"), h("pre", null, D.grants[f.by].text)] : null, h("p", null, leafButtons([f.leaf])), f.proc >= 0 ? [h("hr"), detail(f.proc)] : null], rows.view),
  });
  const draw = () => rows.set(facts.filter((f) => (!only || f.standing) && (!query || show(f.verb + " " + f.object + " " + f.who.join(" ")).toLowerCase().includes(query))), D.factsLeft ? num(D.factsLeft) + " facts more are not listed" : "");
  queueMicrotask(draw);
  return [h("h1", null, "Files and credentials"),
    h("h2", null, "Credentials read"),
    D.credentials.length ? table("Credentials read", ["Class", "File", "By", "Times", "", "Evidence"], D.credentials.map((c) => h("tr", null, h("th", { scope: "row" }, c.Class), h("td", null, code(c.Path)), h("td", null, (c.By || []).map((l) => h("div", null, code([...l.Who].reverse().join(" › "))))), h("td.n", null, num(c.Count)), h("td", null, c.Standing ? tag(c.Standing) : ""), h("td", null, leafButtons([c.Leaf])))))
      : h("p.dim", null, "None that was seen."), D.credentialsLeft ? h("p.dim", null, num(D.credentialsLeft) + " more are not listed.") : null,
    h("h2", null, "Files written"),
    h("p", null, count(all, "file"), ": ", num(t.Workspace), " in the workspace, ", num(t.Temp), " in temporary folders, ", num(t.Cache), " in caches, ", num(t.Outside), " elsewhere", t.Deleted ? "; " + num(t.Deleted) + " deleted" : "", t.Uncounted ? "; " + num(t.Uncounted) + " writes more" : "", "."),
    all ? h("div", { "aria-hidden": "true" }, h("div.stack", null, parts.map(([, v], i) => v ? h("span.part.s" + (i + 1), { style: { width: 100 * v / all + "%" } }) : null)), h("div.legend", null, parts.map(([n, v], i) => v ? h("span.s" + (i + 1), null, n) : null))) : null,
    D.written.length ? table("Folders written to", ["Place", "Folder", "Files", "Such as"], D.written.map((w) => h("tr", null, h("th", { scope: "row" }, w.Place), h("td", null, code(w.Path)), h("td.n", null, num(w.Files)), h("td.dim", null, code((w.Examples || []).join(", ")))))) : null,
    h("h2", null, "By program"),
    h("div.tools", null, h("input", { type: "search", class: "search", placeholder: "Search paths and programs", "aria-label": "Search files", oninput: (e) => { query = e.target.value.toLowerCase(); draw(); } }),
      h("label.check", null, h("input", { type: "checkbox", onchange: (e) => { only = e.target.checked; draw(); } }), "undeclared only")),
    rows.el];
}
