// Which step went by which program to where.
import { h, code, num, count, bytes, tag, fill, show } from "./dom.js";
import { D, stepName } from "./data.js";
import { list } from "./list.js";
import { detail } from "./processes.js";
import { leafButtons } from "./open.js";

const NODES = 28;

function sums(facts, key) {
  const by = new Map();
  for (const f of facts) {
    const k = key(f), s = by.get(k) || { name: k, bytes: 0, standing: "", n: 0 };
    s.bytes += (f.sent || 0) + (f.received || 0);
    s.n += f.count;
    if (f.standing === "forbidden" || f.standing && !s.standing) s.standing = f.standing;
    by.set(k, s);
  }
  return [...by.values()].sort((a, b) => (b.standing > a.standing) - (a.standing > b.standing) || b.bytes - a.bytes || b.n - a.n);
}

export function egress(panel) {
  let local = false, pick = null, query = "";
  const all = D.facts.filter((f) => f.verb === "connect" || f.verb === "resolve");
  const hasLocal = all.some((f) => f.local), map = h("div.map");
  if (hasLocal && all.every((f) => f.local)) local = true;
  const keys = [(f) => f.step ? stepName(f.step) : "the job", (f) => f.who[0] || "?", (f) => f.object];
  const table = list({
    label: "Destinations", columns: [["Destination", "grow"], ["Program", "name"], ["Out", "n"], ["In", "n"], ["Times", "n"], ["", "state"], ["Evidence", "proof"]],
    cells: (f) => [[h("span.clip.end", { title: f.object }, code(f.object)), f.verb === "resolve" ? h("span.chip", null, "resolver") : null], h("span.clip", null, code([...f.who].reverse().join(" › "))), bytes(f.sent || 0), bytes(f.received || 0), num(f.count), f.standing ? tag(f.standing) : "", leafButtons([f.leaf])],
    mark: (f) => f.standing ? ".found" : "",
    open: (f) => panel([h("h2", null, f.object), h("p", null, f.standing ? tag(f.standing) : "explained, or nothing was declared"), h("p", null, bytes(f.sent || 0), " out, ", bytes(f.received || 0), " in, ", count(f.count, "time")),
      h("p", null, "By ", code([...f.who].reverse().join(" › "))), f.grant ? [h("h3", null, f.standing === "forbidden" ? "Forbidden by" : "A line that would cover it"), h("pre", null, f.grant)] : null,
      f.by >= 0 && D.grants[f.by] ? [h("h3", null, "Explained by"), h("pre", null, D.grants[f.by].text)] : null, h("p", null, leafButtons([f.leaf])), f.proc >= 0 ? [h("hr"), detail(f.proc)] : null], table.view),
  });
  function draw() {
    let facts = all.filter((f) => local || !f.local);
    fill(map, picture(facts));
    if (pick) facts = facts.filter((f) => keys[pick.column](f) === pick.name);
    if (query) facts = facts.filter((f) => show([f.object, f.step, f.host, ...f.who].join(" ")).toLowerCase().includes(query));
    table.set(facts, count(facts.length, "route") + (D.destinationsLeft ? ", " + num(D.destinationsLeft) + " destinations more are only counted" : "") + (pick ? ", of " + show(pick.name) : ""));
  }
  function picture(facts) {
    if (!facts.length) return h("p.dim", null, "Nothing left this machine that was seen.");
    const cols = keys.map((k) => sums(facts, k)), left = cols.map((c) => Math.max(0, c.length - NODES));
    const shown = cols.map((c) => c.slice(0, NODES)), gap = 26, tall = Math.max(...shown.map((c) => c.length)) * gap + 34, xs = [0, 330, 620], ws = [190, 170, 340];
    const pos = shown.map((c) => new Map(c.map((n, i) => [n.name, 34 + i * gap + (tall - 34 - c.length * gap) / 2])));
    const links = new Map();
    for (const f of facts) for (const [a, b] of [[0, 1], [1, 2]]) {
      const [p, q] = [keys[a](f), keys[b](f)];
      if (!pos[a].has(p) || !pos[b].has(q)) continue;
      const k = a + "\0" + p + "\0" + q, l = links.get(k) || { a, b, p, q, bytes: 0, standing: "" };
      l.bytes += (f.sent || 0) + (f.received || 0);
      l.standing ||= f.standing || "";
      links.set(k, l);
    }
    const cut = (s, n) => { s = show(s); return s.length > n ? "…" + s.slice(-n + 1) : s; };
    const svg = h("svg", { viewBox: "0 0 960 " + tall, class: "flow", role: "group", "aria-label": "Egress map: " + count(cols[0].length, "step") + ", " + count(cols[1].length, "program") + ", " + count(cols[2].length, "destination") + ". The table below has every way." },
      ["Step", "Program", "Destination"].map((t, i) => h("text.title", { x: xs[i] + 8, y: 14 }, t)),
      [...links.values()].map((l) => {
        const x1 = xs[l.a] + ws[l.a], y1 = pos[l.a].get(l.p) + 10, x2 = xs[l.b], y2 = pos[l.b].get(l.q) + 10, m = (x1 + x2) / 2;
        const on = !pick || pick.column === l.a && pick.name === l.p || pick.column === l.b && pick.name === l.q;
        return h("path.way" + (l.standing ? "." + l.standing : "") + (on ? "" : ".off"), { d: `M${x1} ${y1}C${m} ${y1} ${m} ${y2} ${x2} ${y2}`, "stroke-width": 1.5 + Math.min(9, Math.log10(l.bytes + 1)) });
      }),
      shown.map((c, i) => c.map((n) => {
        const y = pos[i].get(n.name), choose = () => { pick = pick && pick.column === i && pick.name === n.name ? null : { column: i, name: n.name }; draw(); const b = map.querySelector(".node.on"); if (b) b.focus(); };
        return h("g.node" + (n.standing && i === 2 ? "." + n.standing : "") + (pick && pick.column === i && pick.name === n.name ? ".on" : ""), {
          role: "button", tabindex: 0, "aria-pressed": String(Boolean(pick && pick.column === i && pick.name === n.name)), "aria-label": ["step ", "program ", "destination "][i] + n.name + ", " + bytes(n.bytes) + (n.standing && i === 2 ? ", " + n.standing : ""),
          onclick: choose, onkeydown: (e) => { if (e.key === "Enter" || e.key === " ") { e.preventDefault(); choose(); } },
        }, h("rect", { x: xs[i], y, width: ws[i], height: 20, rx: 4 }), h("text", { x: xs[i] + 8, y: y + 14 }, (n.standing && i === 2 ? n.standing === "forbidden" ? "⊘ " : "? " : "") + cut(n.name, i === 2 ? 36 : 18)),
        h("text.n", { x: xs[i] + ws[i] - 8, y: y + 14, "text-anchor": "end" }, bytes(n.bytes)));
      })));
    return [svg, left.some((n) => n) ? h("p.note.dim", null, "The map leaves out " + left.map((n, i) => n ? count(n, ["step", "program", "destination"][i]) : "").filter(Boolean).join(", ") + ".") : null];
  }
  queueMicrotask(draw);
  return [h("h1", null, "Egress"),
    h("div.tools", null, h("input", { type: "search", class: "search", placeholder: "Search destinations", "aria-label": "Search destinations", oninput: (e) => { query = e.target.value.toLowerCase(); draw(); } }),
      hasLocal ? h("label.check", null, h("input", { type: "checkbox", checked: local, onchange: (e) => { local = e.target.checked; draw(); } }), "what stays on this machine too") : null),
    map, table.el,
    D.listening.length ? [h("h2", null, "Waited for connections"), h("ul.flat", null, D.listening.map((l) => h("li", null, code(l.Addr), " ", h("span.dim", null, [...(l.Who || [])].reverse().join(" › ")), l.Standing ? tag(l.Standing) : null)))] : null];
}
