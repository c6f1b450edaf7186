// Lines of the log as they stand in the evidence, with their proofs.
import { h, code, num, count, at, show, fill } from "./dom.js";
import { D, lineAt, event, gist } from "./data.js";
import { list } from "./list.js";
import { proven } from "./proof.js";

function coloured(text) {
  // A line is JSON: names and values are told apart by weight, not colour alone.
  return text.split(/("(?:[^"\\]|\\.)*"(?=:))/).map((s, i) => i % 2 ? h("b", null, show(s, true)) : h("span", null, document.createTextNode(show(s, true))));
}

function whole(i) {
  const l = D.lines[i], said = h("p", { role: "status" });
  const check = async () => {
    try {
      fill(said, await proven(l.text, l.seq, D.size, l.proof || [], D.root) ? h("span.tag.pass", null, h("span.sign", { "aria-hidden": "true" }, "✓"), "It stands in the tree with the root above") : h("span.tag.fail", null, h("span.sign", { "aria-hidden": "true" }, "✕"), "The proof does not lead to the root"));
    } catch (e) { fill(said, "This browser does not compute SHA-256 here: use the command below."); }
  };
  return [h("h2", null, "Line ", l.seq), h("pre.raw", { tabindex: 0, dir: "ltr" }, coloured(l.text), l.cut ? h("span.dim", null, "… " + count(l.cut, "byte") + " more") : null),
    h("h3", null, "Proof"), h("p.dim", null, "Leaf ", l.seq, " of a tree of ", num(D.size), " lines (RFC 6962)", D.root ? [", root ", code(D.root)] : ", which was not closed and has no root", "."),
    l.proof && l.proof.length ? h("details", null, h("summary", null, count(l.proof.length, "hash", "hashes") + " from the leaf up"), h("ol.hashes", null, l.proof.map((p) => h("li", null, code(p))))) : null,
    D.root && !l.cut ? h("button.tool", { type: "button", onclick: check }, "Check the proof") : null, said,
    h("p.dim.small", null, "Whether that is the root of the run in question, its signed statement says. To take the proof elsewhere: "), h("pre", null, "edamame-posture prove .posture " + l.seq)];
}

export function evidence(panel, arg) {
  let query = "", kind = "*";
  const all = D.lines.map((_, i) => i), kinds = [...new Set(all.map((i) => event(i).kind))].filter(Boolean).sort();
  const rows = list({
    label: "Lines of the log", columns: [["Line", "n"], ["When", "when"], ["Kind", "verb-cell"], ["Pid", "n"], ["What", "grow"]],
    cells: (i) => { const e = event(i); return [num(D.lines[i].seq), e.time ? at((e.time - D.began) / 1000) : "", h("span.verb", null, e.kind || "?"), e.actor ? e.actor.pid : "", h("span.clip", null, code(gist(e)))]; },
    open: (i) => panel(whole(i), rows.view),
  });
  const draw = () => rows.set(all.filter((i) => (kind === "*" || event(i).kind === kind) && (!query || show(D.lines[i].text, true).toLowerCase().includes(query))),
    count(D.lines.length, "line") + " that findings and facts rest on, of " + num(D.size) + (D.linesLeft ? "; " + num(D.linesLeft) + " more had no room here" : "") + ". All of them: zstdcat evidence/*.jsonl.zst");
  queueMicrotask(() => {
    draw();
    const i = lineAt.get(Number(arg));
    if (arg !== "" && i !== undefined) { rows.choose(i); panel(whole(i), rows.view); }
  });
  return [h("h1", null, "Evidence"),
    h("div.tools", null, h("input", { type: "search", class: "search", placeholder: "Search lines", "aria-label": "Search evidence", oninput: (e) => { query = e.target.value.toLowerCase(); draw(); } }),
      h("label.pick", null, "Kind ", h("select", { onchange: (e) => { kind = e.target.value; draw(); } }, h("option", { value: "*" }, "all"), kinds.map((k) => h("option", { value: k }, k))))),
    rows.el];
}
