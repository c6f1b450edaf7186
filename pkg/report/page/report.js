// Made by page/bundle from the modules beside it: change those.
(() => {
"use strict";

// dom.js
// Elements and text. Nothing on the page is made of markup: every string of the
// job goes through show() into a text node.

const ODD = /\\|[\p{C}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]|(?! )\p{Zs}|[\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0\u180b-\u180f\ufe00-\ufe0f]/gu;

// show returns s with everything escaped that an eye might take for something
// else, as the other views of this program do.
function show(s, json) {
  s = String(s);
  if (/^[ -[\]-~]*$/.test(s)) return s;
  s = s.replace(ODD, (c) => {
    if (c === "\\") return json ? c : "\\\\";
    const n = c.codePointAt(0);
    return n < 0x20 || n === 0x7f ? "\\x" + n.toString(16).padStart(2, "0") : "\\u{" + n.toString(16) + "}";
  });
  // Marks need a letter to stand on, and two of them are enough.
  return s.replace(/(^|\P{M})(\p{M}+)/gu, (_, on, marks) => {
    const m = [...marks], n = on === "" ? 0 : 2;
    return on + m.slice(0, n).join("") + m.slice(n).map((c) => "\\u{" + c.codePointAt(0).toString(16) + "}").join("");
  });
}

const SVG = "http://www.w3.org/2000/svg";

// h makes an element: h("p.dim", {title: "x", onclick: f}, "text", child).
function h(name, attrs, ...children) {
  const [tag, ...classes] = name.split(".");
  const svg = tag === "svg" || tag === "g" || tag === "path" || tag === "rect" || tag === "text";
  const el = svg ? document.createElementNS(SVG, tag) : document.createElement(tag);
  if (classes.length) el.setAttribute("class", classes.join(" "));
  for (const [k, v] of Object.entries(attrs || {})) {
    if (v === undefined || v === null || v === false) continue;
    if (k.startsWith("on")) el.addEventListener(k.slice(2), v);
    else if (k === "style") for (const [p, x] of Object.entries(v)) el.style.setProperty(p, x);
    else el.setAttribute(k, v === true ? "" : show(v));
  }
  put(el, children);
  return el;
}

function put(el, children) {
  for (const c of children.flat(4)) {
    if (c === undefined || c === null || c === false || c === "") continue;
    el.append(c instanceof Node ? c : show(c));
  }
  return el;
}

// code shows what a machine said, always from left to right.
function code(s, cls) { return h("code" + (cls ? "." + cls : ""), { dir: "ltr" }, s); }

function fill(el, ...children) { el.replaceChildren(); return put(el, children); }

function num(n) { return String(n).replace(/\B(?=(\d{3})+$)/g, ","); }

function count(n, one, many) { return num(n) + " " + (n === 1 ? one : many || one + "s"); }

function bytes(n) {
  if (n < 1000) return n + " B";
  for (const unit of ["kB", "MB", "GB", "TB", "PB", "EB"]) {
    n /= 1000;
    if (n < 9.95) return n.toFixed(1) + " " + unit;
    if (n < 999.5 || unit === "EB") return Math.round(n) + " " + unit;
  }
}

// span shows microseconds.
function span(us) {
  if (us < 0) return "";
  if (us < 1000) return "<1 ms";
  if (us < 1e6) return Math.floor(us / 1000) + " ms";
  if (us < 60e6) return (Math.floor(us / 1e5) / 10).toFixed(1) + " s";
  if (us < 3600e6) return Math.floor(us / 60e6) + " min " + Math.floor(us / 1e6) % 60 + " s";
  return Math.floor(us / 3600e6) + " h " + Math.floor(us / 60e6) % 60 + " min";
}

// at shows a moment of the recording.
function at(us) {
  const s = Math.max(0, us) / 1e6, m = Math.floor(s / 60);
  return "+" + (m ? m + ":" + (s % 60).toFixed(3).padStart(6, "0") : s.toFixed(3) + " s");
}

const RANK = { critical: 0, high: 1, medium: 2, low: 3, info: 4 };
const SIGN = { critical: "◆", high: "▲", medium: "●", low: "○", info: "·", forbidden: "⊘", undeclared: "?", pass: "✓", complete: "✓", partial: "!", review: "!", fail: "✕" };

// tag is a word with a sign: colour alone says nothing.
function tag(word) {
  return h("span.tag." + (word in SIGN ? word : "info"), null, h("span.sign", { "aria-hidden": "true" }, SIGN[word] || "·"), word);
}

// data.js
// What the page was made with, and what follows from it.

const raw = document.getElementById("data").textContent;
const D = JSON.parse(raw);
const V = D.verdict;
for (const k of ["facts", "grants", "causes", "lines", "lanes", "steps", "words", "written", "credentials", "destinations", "listening", "survivors", "sensors", "notes", "policy"]) D[k] ||= [];
for (const k of ["findings", "reasons"]) V[k] ||= [];
for (const k of ["gaps", "unseen", "outside"]) V.coverage[k] ||= [];
const P = D.procs ||= {};
for (const k of ["parent", "program", "command", "step", "agent", "container", "pid", "uid", "via", "flags", "code", "signal", "from", "took", "repeats", "hidden", "sent", "received", "conns", "wrote", "leaf"]) P[k] ||= [];
const C = D.conns ||= {};
for (const k of ["at", "took", "proc", "to", "sent", "received", "failed"]) C[k] ||= [];
C.bad = new Set(C.failed);

const RUNNING = 1, EXISTED = 2, REPLACES = 4, UNDECLARED = 8;
const word = (n) => D.words[n] || "";
const span0 = Math.max(1, (D.ended - D.began) / 1000); // microseconds
const procs = P.parent.length;
const children = Array.from({ length: procs }, () => null);
const roots = [];
for (let i = 0; i < procs; i++) {
  const p = P.parent[i];
  if (p < 0) roots.push(i); else (children[p] ||= []).push(i);
}
const foundBy = new Map(); // process to its findings
for (const [f, p] of Object.entries(D.named || {})) foundBy.set(p, [...(foundBy.get(p) || []), Number(f)]);
const factsOf = new Map();
D.facts.forEach((f, i) => { if (f.proc >= 0) factsOf.set(f.proc, [...(factsOf.get(f.proc) || []), i]); });
const connsOf = new Map();
C.proc.forEach((p, i) => { const l = connsOf.get(p); if (l) l.push(i); else connsOf.set(p, [i]); });
const lineAt = new Map(D.lines.map((l, i) => [l.seq, i]));

function label(i) { return word(P.command[i]) || word(P.program[i]) || "?"; }
function end(i) { return P.flags[i] & RUNNING ? span0 : P.from[i] + (P.repeats[i] > 1 ? P.took[i] / P.repeats[i] : P.took[i]); }
function stepName(id) {
  const s = D.steps.find((s) => s.id === id);
  return s && s.name ? s.name : id || (D.steps.length > 1 ? "no step" : "the command");
}
// lineage is the way from a root to the process.
function lineage(i) {
  const way = [];
  for (; i >= 0 && way.length < 64; i = P.parent[i]) way.unshift(i);
  return way;
}
const decoded = new Map();
// event reads a line of the log; one that was cut has only what its begin says.
function event(i) {
  if (decoded.has(i)) return decoded.get(i);
  let e = {};
  try { e = JSON.parse(D.lines[i].text); } catch {
    const m = /^\{"seq":\d+,"time":(\d+),"kind":"([a-z_]+)"/.exec(D.lines[i].text);
    if (m) e = { time: Number(m[1]), kind: m[2] };
  }
  decoded.set(i, e);
  return e;
}
// gist says in a few words what an event tells.
function gist(e) {
  const peer = e.dst ? " " + e.dst : "";
  const what = e.argv ? e.argv.join(" ") : e.path || e.name || e.exe || e.detail || e.class || e.step_id || "";
  return show(String(what)).slice(0, 300) + (e.new_path ? " → " + show(e.new_path) : "") + peer;
}

// open.js
// The way from one thing on the page to another.

// link is a button that opens a view. There are no links on the page: nothing
// on it leads to anywhere else.
function link(view, arg, text, cls, label) {
  return h("button." + (cls || "link"), { type: "button", "aria-label": label, onclick: (e) => { e.stopPropagation(); go(view, arg); } }, text);
}

function go(view, arg) {
  const to = "#" + view + (arg === "" || arg === undefined ? "" : "/" + arg);
  if (location.hash === to) dispatchEvent(new HashChangeEvent("hashchange")); else location.hash = to;
}

// leafButtons are the lines of the log that show something.
function leafButtons(leaves) {
  return leaves.map((seq) => {
    const i = lineAt.get(seq);
    return i === undefined ? h("span.dim.leaf", { title: "edamame-posture prove shows this line" }, "line " + seq)
      : link("evidence", seq, [h("span.dim", null, "#" + seq), " ", event(i).kind || ""], "leaf", "evidence line " + seq);
  });
}

function procButton(i, text) {
  return i === undefined || i < 0 ? text : link("processes", i, text, "link");
}


// list.js
// A list of any length of which only what is seen is drawn.

const ROW = 28;
const lists = new Set();
let ids = 0;

// list draws rows of one height. o.columns are [name, class], o.cells(row)
// gives what stands in them, o.open(row) is called for the chosen one. A tree
// has o.tree(row) = {level, open}, open being undefined at a leaf, and
// o.toggle(row, open).
function list(o) {
  const id = "list" + ++ids, tree = Boolean(o.tree);
  let rows = [], chosen = 0, drawn = "", measured = 0;
  const head = h("div.row.head", { role: "row", "aria-rowindex": 1 }, o.columns.map(([name, cls]) => h("span.cell." + cls, { role: "columnheader" }, name)));
  const body = h("div.rows", { role: "rowgroup" });
  const view = h("div.view", { role: tree ? "treegrid" : "grid", "aria-label": o.label, tabindex: 0, id },
    h("div", { role: "rowgroup", class: "heads" }, head), body);
  const note = h("p.note.dim", { role: "status" });
  const el = h("div.list." + (o.cls || "plainlist"), null, view, note);

  function draw(force) {
    if (!el.isConnected) return;
    const tall = view.clientHeight || measured || 600;
    measured = tall;
    const first = Math.max(0, Math.floor(view.scrollTop / ROW) - 6), last = Math.min(rows.length, first + Math.ceil(tall / ROW) + 12);
    const now = first + "/" + last + "/" + chosen;
    if (!force && now === drawn) return;
    drawn = now;
    place(first, last);
    const active = document.getElementById(id + "-" + chosen);
    if (active) view.setAttribute("aria-activedescendant", active.id); else view.removeAttribute("aria-activedescendant");
  }
  function place(first, last) {
    body.style.height = rows.length * ROW + "px";
    fill(body, Array.from({ length: Math.max(0, last - first) }, (_, k) => row(first + k)));
  }
  function row(i) {
    const r = rows[i], t = tree ? o.tree(r) : null;
    const el = h("div.row" + (i === chosen ? ".chosen" : "") + (o.mark ? o.mark(r) : ""), {
      role: "row", id: id + "-" + i, "aria-rowindex": i + 2, "aria-selected": i === chosen ? "true" : "false",
      "aria-level": t ? t.level + 1 : undefined, "aria-expanded": t && t.open !== undefined ? String(t.open) : undefined,
      style: { top: i * ROW + "px" },
    }, o.cells(r).map((c, k) => h("span.cell." + o.columns[k][1], { role: "gridcell" }, c)));
    el.addEventListener("click", (e) => {
      choose(i);
      if (t && t.open !== undefined && e.target.closest(".twist")) o.toggle(r, !t.open); else if (o.open) o.open(r);
    });
    return el;
  }
  function choose(i) {
    chosen = Math.max(0, Math.min(rows.length - 1, i));
    const top = chosen * ROW, room = view.clientHeight - ROW * 2;
    if (top < view.scrollTop) view.scrollTop = top;
    else if (top > view.scrollTop + room) view.scrollTop = top - room;
    draw(true);
  }
  view.addEventListener("scroll", () => requestAnimationFrame(() => draw()));
  view.addEventListener("keydown", (e) => {
    const page = Math.max(1, Math.floor(view.clientHeight / ROW) - 2), t = tree && rows.length ? o.tree(rows[chosen]) : null;
    const to = { ArrowDown: chosen + 1, ArrowUp: chosen - 1, PageDown: chosen + page, PageUp: chosen - page, Home: 0, End: rows.length - 1 }[e.key];
    if (e.ctrlKey || e.metaKey || e.altKey || !rows.length) return;
    if (to !== undefined) choose(to);
    else if (e.key === "Enter" && o.open) o.open(rows[chosen]);
    else if (e.key === "ArrowRight" && t && t.open === false) o.toggle(rows[chosen], true);
    else if (e.key === "ArrowRight" && t && t.open) choose(chosen + 1);
    else if (e.key === "ArrowLeft" && t && t.open) o.toggle(rows[chosen], false);
    else if (e.key === "ArrowLeft" && t) { for (let i = chosen - 1; i >= 0; i--) if (o.tree(rows[i]).level < t.level) { choose(i); break; } }
    else return;
    e.preventDefault();
  });
  const api = {
    el, view,
    // set gives the list its rows, and keeps the chosen one where it is there.
    set(list, text, keep) {
      const old = rows[chosen];
      rows = list;
      const again = keep ? rows.indexOf(old) : -1;
      chosen = again >= 0 ? again : 0;
      view.style.setProperty("--tall", Math.min(Math.max(rows.length, 1) + 1, 22) * ROW + 2 + "px");
      view.setAttribute("aria-rowcount", rows.length + 1);
      if (!keep) view.scrollTop = 0;
      fill(note, text || (rows.length ? "" : "Nothing to show."));
      drawn = "";
      if (rows.length) choose(chosen); else draw(true);
    },
    choose(row) { const i = rows.indexOf(row); if (i >= 0) choose(i); },
    draw: () => draw(true),
    print(on) {
      el.classList.toggle("printed", on);
      if (!on) return draw(true);
      place(0, Math.min(rows.length, 150));
      body.style.height = Math.min(rows.length, 150) * ROW + "px";
      el.dataset.more = rows.length > 150 ? rows.length - 150 + " more rows are in the file" : "";
    },
  };
  lists.add(api);
  return api;
}

function here() { for (const l of lists) if (!l.el.isConnected) lists.delete(l); return lists; }
function redraw() { for (const l of here()) l.draw(); }
function printing(on) { for (const l of here()) l.print(on); }

// overview.js
// What it comes to, and why.

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

function overview() {
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

// findings.js
// Findings as cards.

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

function findings() {
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

// processes.js
// The tree of processes, and what is known of one.

const DEEPEST = 24;

function processCells(i) {
  return [
    P.flags[i] & EXISTED ? h("span.dim", null, "there before") : P.flags[i] & RUNNING ? "" : span(P.took[i]),
    P.flags[i] & RUNNING ? P.flags[i] & EXISTED ? "" : h("span.dim", null, "still ran") : P.signal[i] ? h("span.bad", null, "signal " + P.signal[i]) : P.code[i] ? h("span.bad", null, "exit " + P.code[i]) : "",
    P.sent[i] || P.received[i] ? "↑" + bytes(P.sent[i]) + " ↓" + bytes(P.received[i]) : "",
    P.wrote[i] ? num(P.wrote[i]) : "",
    ...(D.steps.length > 1 ? [word(P.step[i]) ? stepName(word(P.step[i])) : ""] : []),
  ];
}

function marks(i) {
  return [P.repeats[i] > 1 ? h("b.times", null, "×" + num(P.repeats[i])) : null,
    P.flags[i] & REPLACES ? h("span.chip", { title: "exec without fork" }, "exec") : null,
    P.via[i] ? h("span.chip", null, "by " + P.via[i]) : null,
    word(P.agent[i]) ? h("span.chip", null, word(P.agent[i])) : null,
    word(P.container[i]) ? h("span.chip", null, "container " + show(word(P.container[i])).replace(/^([0-9a-f]{12})[0-9a-f]{52}$/, "$1").slice(0, 60)) : null,
    (foundBy.get(i) || []).slice(0, 2).map((f) => tag(V.findings[f].severity)),
    P.flags[i] & UNDECLARED ? tag("undeclared") : null,
    P.hidden[i] ? h("span.dim", null, " and " + num(P.hidden[i]) + " below") : null];
}

// detail tells all of one process.
function detail(i) {
  const fs = factsOf.get(i) || [], cs = connsOf.get(i) || [];
  return [
    h("h2", null, word(P.program[i])),
    h("p", null, code(label(i))),
    h("p", null, marks(i)),
    h("h3", null, "Lineage"),
    h("ol.descent", null, lineage(i).filter((p) => p === i || !(P.flags[p] & EXISTED)).map((p) => h("li", null, p === i ? h("b", null, code(word(P.program[p]))) : procButton(p, code(word(P.program[p]))), h("span.dim", null, " pid " + P.pid[p])))),
    h("dl.pairs", null, [
      ["Began", P.flags[i] & EXISTED ? "before the recording" : at(P.from[i])], ["Ran for", P.flags[i] & RUNNING ? "it was still running" : span(P.took[i])],
      ["Ended", P.flags[i] & RUNNING ? "" : P.signal[i] ? "signal " + P.signal[i] : "exit " + P.code[i]],
      ["User", "uid " + P.uid[i]], ["Step", word(P.step[i]) && stepName(word(P.step[i]))], ["Agent", word(P.agent[i])], ["Container", word(P.container[i])],
      ["Sent, received", P.sent[i] || P.received[i] ? bytes(P.sent[i]) + ", " + bytes(P.received[i]) : ""], ["Files written", P.wrote[i] ? num(P.wrote[i]) : ""],
      ["Told by", leafButtons([P.leaf[i]])],
    ].filter(([, v]) => v && v.length).map(([k, v]) => h("div", null, h("dt", null, k), h("dd", null, v)))),
    (foundBy.get(i) || []).length ? [h("h3", null, "Findings"), h("ul.flat", null, foundBy.get(i).map((f) => h("li", null, tag(V.findings[f].severity), link("findings", f, V.findings[f].title))))] : null,
    fs.length ? [h("h3", null, "What it was first to do"), h("ul.flat", null, fs.slice(0, 60).map((f) => h("li", null, h("span.verb", null, D.facts[f].verb), code(D.facts[f].object), D.facts[f].standing ? tag(D.facts[f].standing) : null)), fs.length > 60 ? h("li.dim", null, num(fs.length - 60) + " more") : null)] : null,
    cs.length ? [h("h3", null, count(P.conns[i], "connection")), h("ul.flat", null, cs.slice(0, 40).map((c) => h("li", null, h("span.dim", null, at(C.at[c]), " "), code(word(C.to[c])), " ↑" + bytes(C.sent[c]) + " ↓" + bytes(C.received[c]))), cs.length > 40 ? h("li.dim", null, num(cs.length - 40) + " more") : null)] : null,
    children[i] ? [h("h3", null, count(children[i].length, "process below", "processes below")), h("ul.flat", null, children[i].slice(0, 40).map((c) => h("li", null, procButton(c, code(label(c))))), children[i].length > 40 ? h("li.dim", null, num(children[i].length - 40) + " more") : null)] : null,
  ];
}

function stepPicker(onchange) {
  if (D.steps.length < 2) return null;
  return h("label.pick", null, "Step ", h("select", { onchange: (e) => onchange(e.target.value) },
    h("option", { value: "*" }, "all"), D.steps.map((s, i) => h("option", { value: i }, stepName(s.id)))));
}

function processes(panel, arg) {
  const shut = new Set();
  // Far down, or among very many, a branch begins closed.
  const depth = new Int32Array(procs), over = new Int32Array(procs), inside = [];
  const deep = (i) => depth[i] - (before ? 0 : over[i]);
  let before = false;
  const start = () => before ? roots : inside;
  for (let i = 0; i < procs; i++) {
    const p = P.parent[i], old = P.flags[i] & EXISTED;
    depth[i] = p < 0 ? 0 : depth[p] + 1;
    if (!old && (p < 0 || P.flags[p] & EXISTED)) inside.push(i);
    over[i] = old ? depth[i] : p < 0 ? 0 : P.flags[p] & EXISTED ? depth[i] : over[p];
    if (children[i] && (depth[i] >= 12 || children[i].length > 200)) shut.add(i);
  }
  let step = "*", only = false, query = "";
  const text = (i) => (show(label(i)) + " " + P.pid[i]).toLowerCase();
  const tree = list({
    label: "Processes", cls: "processes",
    columns: [["Process", "grow"], ["Ran for", "n"], ["Ended", "short"], ["Network", "net"], ["Files", "n"], ...(D.steps.length > 1 ? [["Step", "step"]] : [])],
    cells: (i) => [[h("span.indent", { style: { "--level": Math.min(deep(i), DEEPEST) } }),
      h("span.twist", { "aria-hidden": "true" }, children[i] ? open(i) ? "▾" : "▸" : ""), deep(i) > DEEPEST ? h("span.dim", null, "depth " + deep(i) + " ") : null,
      h("span.clip", { title: label(i) }, code(label(i))), h("span.pid.dim", null, P.pid[i]), marks(i)], ...processCells(i)],
    mark: (i) => (foundBy.has(i) ? ".found" : "") + (P.flags[i] & EXISTED ? ".before" : ""),
    tree: (i) => ({ level: deep(i), open: children[i] ? open(i) : undefined }),
    toggle: (i, on) => { if (on) shut.delete(i); else shut.add(i); draw(true); },
    open: (i) => panel(detail(i), tree.view),
  });
  const filtered = () => query || step !== "*" || only;
  const open = (i) => filtered() ? true : !shut.has(i);
  function draw(keep) {
    let hits = 0, want = null;
    if (filtered()) {
      want = new Uint8Array(procs);
      for (let i = 0; i < procs; i++) {
        if (only && !(P.flags[i] & UNDECLARED) && !foundBy.has(i) || step !== "*" && word(P.step[i]) !== D.steps[step].id || query && !text(i).includes(query)) continue;
        hits++;
        for (let p = i; p >= 0 && !want[p]; p = P.parent[p]) want[p] = 1;
      }
    }
    const rows = [], stack = [...start()].reverse();
    while (stack.length) {
      const i = stack.pop();
      if (want && !want[i]) continue;
      rows.push(i);
      if (children[i] && open(i)) for (let k = children[i].length - 1; k >= 0; k--) stack.push(children[i][k]);
    }
    tree.set(rows, (want ? count(hits, "process", "processes") + " found, shown with what led there. " : count(D.ran.Processes, "process", "processes") + ", " + count(D.ran.Programs, "program start") + "; forks that ran no program are not shown. ")
      + (P.repeats.some((r) => r > 1) ? "Siblings that are alike are one line. " : "") + (D.procsLeft ? num(D.procsLeft) + " had no room here." : ""), keep);
  }
  const search = h("input", { type: "search", class: "search", placeholder: "Search command or pid", "aria-label": "Search processes", oninput: (e) => { query = e.target.value.toLowerCase(); draw(); } });
  const old = h("input", { type: "checkbox", onchange: (e) => { before = e.target.checked; draw(); } });
  queueMicrotask(() => {
    draw();
    const i = Number(arg);
    if (arg !== "" && i >= 0 && i < procs) {
      before = old.checked = Boolean(P.flags[i] & EXISTED);
      for (let p = P.parent[i]; p >= 0; p = P.parent[p]) shut.delete(p);
      draw();
      tree.choose(i);
      panel(detail(i), tree.view);
    }
  });
  return [h("h1", null, "Processes"),
    h("div.tools", null, search, stepPicker((s) => { step = s; draw(); }),
      h("label.check", null, h("input", { type: "checkbox", onchange: (e) => { only = e.target.checked; draw(); } }), "undeclared or found only"),
      roots.some((i) => P.flags[i] & EXISTED) ? h("label.check", null, old, "what was there before") : null,
      h("button.tool", { type: "button", onclick: () => { for (let i = 0; i < procs; i++) if (children[i] && deep(i) > 0) shut.add(i); draw(); } }, "Collapse"),
      h("button.tool", { type: "button", onclick: () => { shut.clear(); draw(); } }, "Expand")),
    tree.el];
}

// timeline.js
// What went on when: a picture of each step, and the processes of a span.

const SERIES = [["ran", "Programs", 1, num], ["connected", "Connections", 2, num], ["wrote", "Files", 3, num], ["bytes", "Bytes", 4, bytes]];
const LANE = 64;

function timeline(panel) {
  let from = 0, to = span0, drag = null, lane = -1;
  const lanes = D.lanes.filter((l) => l.moments && l.moments.length);
  const canvas = h("canvas.lanes", { role: "img", tabindex: 0, "aria-describedby": "lanes-keys" });
  const says = h("p.dim", { role: "status" }), steps = h("div.lane-names", { "aria-hidden": "true" });
  const rows = list({
    label: "Processes in the span", cls: "bars",
    columns: [["Process", "wide"], ["Ran for", "n"], ["When", "grow bar-cell"]],
    cells: (i) => {
      const width = to - from, left = 100 * (P.from[i] - from) / width, right = 100 * (end(i) - from) / width;
      return [[h("span.clip", { title: label(i) }, code(label(i))), marks(i)], P.flags[i] & RUNNING ? h("span.dim", null, "still ran") : span(P.took[i]),
        h("span.gantt", { title: at(P.from[i]) + " to " + at(end(i)) }, h("span.bar" + (foundBy.has(i) ? ".found" : ""), { style: { left: Math.max(0, left) + "%", width: Math.max(0.25, Math.min(100, right) - Math.max(0, left)) + "%" } }),
          (connsOf.get(i) || []).slice(0, 60).map((c) => C.at[c] < from || C.at[c] > to ? null : h("span.tick" + (C.bad.has(c) ? ".failed" : ""), { style: { left: 100 * (C.at[c] - from) / width + "%" }, title: word(C.to[c]) + ", " + bytes(C.sent[c]) + " out" })))];
    },
    open: (i) => panel(detail(i), rows.view),
  });

  function paint() {
    if (!canvas.isConnected) return;
    const wide = canvas.clientWidth, tall = lanes.length * LANE + 22, scale = devicePixelRatio || 1;
    canvas.style.height = tall + "px";
    if (canvas.width !== Math.round(wide * scale) || canvas.height !== Math.round(tall * scale)) { canvas.width = Math.round(wide * scale); canvas.height = Math.round(tall * scale); }
    const g = canvas.getContext("2d"), css = getComputedStyle(document.documentElement), ink = (n) => css.getPropertyValue(n).trim();
    g.setTransform(scale, 0, 0, scale, 0, 0);
    g.clearRect(0, 0, wide, tall);
    const x = (us) => wide * (us - from) / (to - from);
    g.font = "11px system-ui, sans-serif";
    g.fillStyle = ink("--dim");
    g.strokeStyle = ink("--line");
    g.lineWidth = 1;
    const unit = 10 ** Math.floor(Math.log10((to - from) / 5)), by = [1, 2, 5, 10].map((m) => m * unit).find((u) => wide * u / (to - from) > 90) || unit * 10;
    g.beginPath();
    for (let t = Math.ceil(from / by) * by; t <= to; t += by) {
      g.moveTo(Math.round(x(t)) + .5, 0);
      g.lineTo(Math.round(x(t)) + .5, tall - 18);
      if (x(t) < wide - 66) g.fillText(at(t), x(t) + 3, tall - 5);
    }
    g.stroke();
    lanes.forEach((l, n) => {
      const top = n * LANE;
      g.strokeStyle = ink("--line");
      g.strokeRect(.5, top + .5, wide - 1, LANE - 1);
      if (n === lane) { g.fillStyle = ink("--wash"); g.fillRect(1, top + 1, wide - 2, LANE - 2); }
      SERIES.forEach(([, , k], s) => {
        const max = Math.max(1, ...l.moments.map((m) => m[k])), base = top + (s + 1) * 15, room = 12;
        g.fillStyle = ink("--s" + (s + 1));
        for (const m of l.moments) {
          const a = x(m[0] * D.slot), b = x((m[0] + 1) * D.slot);
          if (!m[k] || b < 0 || a > wide) continue;
          const tall = 2 + (room - 2) * Math.log1p(m[k]) / Math.log1p(max);
          g.fillRect(a, base - tall, Math.max(1.5, b - a), tall);
        }
      });
    });
    if (drag) { g.fillStyle = ink("--accent"); g.globalAlpha = .18; g.fillRect(Math.min(drag.a, drag.b), 0, Math.abs(drag.b - drag.a), tall - 18); g.globalAlpha = 1; }
  }
  function look(a, b) {
    const w = Math.max(Math.min(b - a, span0), Math.min(1000, span0));
    from = Math.max(0, Math.min(a, span0 - w));
    to = from + w;
    update();
  }
  function update() {
    const within = [];
    for (let i = 0; i < procs; i++) {
      if (P.flags[i] & EXISTED || P.from[i] > to || end(i) < from || lane >= 0 && word(P.step[i]) !== lanes[lane].step) continue;
      within.push(i);
    }
    const whole = from === 0 && to === span0;
    fill(says, whole ? "All of " + span(span0) : at(from) + " to " + at(to) + ", " + span(to - from), ": ", count(within.length, "process", "processes"), lane >= 0 ? " of step " + stepName(lanes[lane].step) : "", ", ",
      count(C.at.filter((t, c) => t >= from && t <= to && (lane < 0 || C.proc[c] >= 0 && word(P.step[C.proc[c]]) === lanes[lane].step)).length, "connection"), D.connsLeft ? " (" + num(D.connsLeft) + " more are only counted)" : "");
    canvas.setAttribute("aria-label", "Activity of " + count(lanes.length, "step") + " over " + span(to - from) + ": programs, connections, files and bytes. The table of steps and the list of processes say the same in words.");
    rows.set(within, "", true);
    fill(steps, lanes.map((l, n) => h("button" + (n === lane ? ".on" : ""), { type: "button", tabindex: -1, onclick: () => { lane = lane === n ? -1 : n; update(); } }, stepName(l.step))));
    paint();
  }
  const spot = (e) => e.clientX - canvas.getBoundingClientRect().left;
  canvas.addEventListener("pointerdown", (e) => { drag = { a: spot(e), b: spot(e) }; canvas.setPointerCapture(e.pointerId); });
  canvas.addEventListener("pointermove", (e) => { if (drag) { drag.b = spot(e); paint(); } });
  canvas.addEventListener("pointerup", (e) => {
    if (!drag) return;
    const [a, b] = [Math.min(drag.a, drag.b), Math.max(drag.a, drag.b)], us = (px) => from + (to - from) * px / canvas.clientWidth;
    drag = null;
    if (b - a > 4) look(us(a), us(b));
    else { const n = Math.floor((e.clientY - canvas.getBoundingClientRect().top) / LANE); lane = n === lane || n >= lanes.length ? -1 : n; update(); }
  });
  const zoom = (f) => { const m = (from + to) / 2, w = (to - from) * f / 2; look(m - w, m + w); };
  const pan = (f) => { const w = (to - from) * f; if (w < 0 ? from > 0 : to < span0) look(from + w, to + w); };
  canvas.addEventListener("wheel", (e) => { if (e.ctrlKey) { e.preventDefault(); zoom(e.deltaY < 0 ? .7 : 1.4); } }, { passive: false });
  canvas.addEventListener("keydown", (e) => {
    const f = { "+": () => zoom(.5), "=": () => zoom(.5), "-": () => zoom(2), 0: () => look(0, span0), ArrowLeft: () => pan(-.25), ArrowRight: () => pan(.25),
      ArrowDown: () => { lane = Math.min(lanes.length - 1, lane + 1); update(); }, ArrowUp: () => { lane = Math.max(-1, lane - 1); update(); } }[e.key];
    if (f && !e.ctrlKey && !e.metaKey && !e.altKey) { e.preventDefault(); f(); }
  });
  addEventListener("resize", paint);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paint);
  queueMicrotask(update);
  return [h("h1", null, "Timeline"),
    h("div.tools", null,
      [["Zoom in", () => zoom(.5)], ["Zoom out", () => zoom(2)], ["Earlier", () => pan(-.25)], ["Later", () => pan(.25)], ["All", () => { lane = -1; look(0, span0); }]].map(([t, f]) => h("button.tool", { type: "button", onclick: f }, t)),
      h("span.legend", null, SERIES.map(([, name], s) => h("span.s" + (s + 1), null, name)))),
    h("p.dim.small", { id: "lanes-keys" }, "Drag over the picture to zoom, click a step to select it. Keys there: + and − zoom, ← → move, ↑ ↓ select a step, 0 shows all. Heights are logarithmic, each to its own largest."),
    h("div.stage", null, steps, canvas), says, rows.el,
    D.steps.length > 1 ? [h("h2", null, "Steps"), h("div.scroll", { tabindex: 0, role: "region", "aria-label": "Steps" }, h("table", null, h("thead", null, h("tr", null, ["Step", "Action", "From", "Took", "Processes", "Failed"].map((t) => h("th", { scope: "col" }, t)))),
      h("tbody", null, D.steps.map((s) => h("tr", null, h("th", { scope: "row" }, stepName(s.id)), h("td", null, code(s.action || "")), h("td.n", null, at(s.from)), h("td.n", null, span(s.to - s.from)), h("td.n", null, num(s.procs)), h("td.n", null, s.failed ? num(s.failed) : ""))))))] : null];
}

// egress.js
// Which step went by which program to where.

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

function egress(panel) {
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

// files.js
// Files and credentials.

function table(label, heads, rows) {
  return h("div.scroll", { tabindex: 0, role: "region", "aria-label": label }, h("table", null, h("thead", null, h("tr", null, heads.map((t) => h("th", { scope: "col" }, t)))), h("tbody", null, rows)));
}

function files(panel) {
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

// policy.js
// The policy: lines that were used, lines that were not, and lines that are
// missing.

function copy(text) {
  const said = h("span.dim", { role: "status" });
  return [h("button.tool", { type: "button", onclick: async () => {
    try { await navigator.clipboard.writeText(text()); fill(said, " copied"); } catch { fill(said, " mark the text and copy it"); }
  } }, "Copy"), said];
}

function policy() {
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

// proof.js
// Whether a line stands in the tree of the log: RFC 6962 §2.1.1, RFC 9162 §2.1.3.2.

const unbase = (s) => Uint8Array.from(atob(s), (c) => c.charCodeAt(0));
const base = (b) => btoa(String.fromCharCode(...b));

async function hash(...parts) {
  const all = new Uint8Array(parts.reduce((n, p) => n + p.length, 0));
  let n = 0;
  for (const p of parts) { all.set(p, n); n += p.length; }
  return new Uint8Array(await crypto.subtle.digest("SHA-256", all));
}

// proven says whether the proof of text at place seq leads to the root of a
// tree of size lines.
async function proven(text, seq, size, path, root) {
  let h = await hash(Uint8Array.of(0), new TextEncoder().encode(text));
  let fn = seq, sn = size - 1;
  for (const p of path) {
    if (sn === 0) return false;
    if (fn % 2 === 1 || fn === sn) {
      h = await hash(Uint8Array.of(1), unbase(p), h);
      while (fn % 2 === 0 && fn !== 0) { fn = Math.floor(fn / 2); sn = Math.floor(sn / 2); }
    } else h = await hash(Uint8Array.of(1), h, unbase(p));
    fn = Math.floor(fn / 2);
    sn = Math.floor(sn / 2);
  }
  return sn === 0 && base(h) === root;
}

// evidence.js
// Lines of the log as they stand in the evidence, with their proofs.

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

function evidence(panel, arg) {
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

// main.js
// The page: its views, the panel of details, keys and printing.

const VIEWS = [
  ["overview", "Overview", overview, ""], ["findings", "Findings", findings, V.findings.length], ["timeline", "Timeline", timeline, ""],
  ["processes", "Processes", processes, D.ran.Processes], ["egress", "Egress", egress, D.destinations.filter((d) => !d.Local).length + D.destinationsLeft],
  ["files", "Files", files, D.files.Workspace + D.files.Temp + D.files.Cache + D.files.Outside], ["policy", "Policy", policy, D.intent ? V.facts.undeclared : ""], ["evidence", "Evidence", evidence, D.lines.length],
];

let back = null, shown = "";
const inside = h("div.inside"), main = h("main", { id: "main", tabindex: -1 });
const aside = h("aside", { "aria-label": "Details", hidden: true, tabindex: -1 }, h("button.close", { type: "button", "aria-label": "Close details", onclick: () => close() }, "✕"), inside);
const nav = h("nav", { "aria-label": "Views" }, VIEWS.map(([id, name, , n], i) => h("button", { type: "button", id: "nav-" + id, "aria-keyshortcuts": String(i + 1), onclick: () => go(id) }, h("span", null, name), n ? h("span.n", null, num(n)) : null)));

// panel shows details beside a view; from is where the focus goes back to.
function panel(content, from) {
  fill(inside, content);
  aside.hidden = false;
  aside.scrollTop = 0;
  document.body.classList.add("detailed");
  back = from;
  aside.focus({ preventScroll: true });
  redraw();
}
function close() {
  if (aside.hidden) return;
  aside.hidden = true;
  document.body.classList.remove("detailed");
  if (back && back.isConnected) back.focus({ preventScroll: true });
  redraw();
}

function open() {
  const [id, arg = ""] = location.hash.slice(1).split("/"), view = VIEWS.find(([v]) => v === id) || VIEWS[0];
  aside.hidden = true;
  document.body.classList.remove("detailed");
  for (const b of nav.children) { if (b.id === "nav-" + view[0]) b.setAttribute("aria-current", "page"); else b.removeAttribute("aria-current"); }
  main.className = view[0];
  fill(main, view[0] === "overview" || view[0] === "findings" || view[0] === "policy" ? view[2]() : view[2](panel, arg));
  if (shown) { scrollTo(0, 0); main.focus({ preventScroll: true }); }
  shown = view[0];
  const card = view[0] === "findings" && arg !== "" && document.getElementById("card-" + arg);
  if (card) { card.scrollIntoView(); card.focus(); }
}

const keys = h("dialog.keys", { "aria-label": "Keys" }, h("h2", null, "Keys"), h("dl.pairs", null, [
  ["1 to 8", "open a view"], ["/", "search in the view"], ["↑ ↓ Home End", "move in a list"], ["← →", "close and open a branch"], ["Enter", "show details"], ["Esc", "close details"], ["?", "this list"],
].map(([k, v]) => h("div", null, h("dt", null, h("kbd", null, k)), h("dd", null, v)))), h("button.tool", { type: "button", onclick: () => keys.close() }, "Close"));

addEventListener("keydown", (e) => {
  if (e.ctrlKey || e.metaKey || e.altKey) return;
  if (e.key === "Escape") return close();
  if (/^(INPUT|SELECT|TEXTAREA)$/.test(e.target.tagName)) return;
  if (e.key >= "1" && e.key <= String(VIEWS.length)) go(VIEWS[e.key - 1][0]);
  else if (e.key === "/") { const s = main.querySelector("input[type=search]"); if (!s) return; e.preventDefault(); s.focus(); }
  else if (e.key === "?" && !keys.open) keys.showModal();
});
addEventListener("hashchange", open);
addEventListener("resize", redraw);

// On paper every view follows the other, lists as far as a page or two go.
addEventListener("beforeprint", () => {
  document.body.classList.add("printing");
  close();
  fill(main, VIEWS.map(([id, , view]) => h("section.sheet." + id, null, view === overview || view === findings || view === policy ? view() : view(() => {}, ""))));
  queueMicrotask(() => printing(true));
});
addEventListener("afterprint", () => { document.body.classList.remove("printing"); printing(false); open(); });

fill(document.getElementById("app"),
  h("button.skip", { type: "button", onclick: () => main.focus() }, "Skip to the report"),
  h("header.top", null, h("div.brand", null, h("b", null, "edamame posture"), tag(V.verdict)), D.command ? h("p.cmd", { title: D.command }, code(D.command)) : null),
  nav, main, aside, h("footer.foot.dim", null, h("span", null, "Every number here is computed from the evidence beside this file: ", code("edamame-posture replay"), " does it again. This page asks nothing of any network."), h("button.tool", { type: "button", onclick: () => keys.showModal() }, "Keys")), keys);
open();
})();
