// The tree of processes, and what is known of one.
import { h, code, num, count, bytes, span, at, tag, show } from "./dom.js";
import { D, V, P, C, procs, children, roots, foundBy, factsOf, connsOf, label, lineage, word, stepName, RUNNING, EXISTED, REPLACES, UNDECLARED } from "./data.js";
import { list } from "./list.js";
import { leafButtons, link, procButton } from "./open.js";

const DEEPEST = 24;

export function processCells(i) {
  return [
    P.flags[i] & EXISTED ? h("span.dim", null, "there before") : P.flags[i] & RUNNING ? "" : span(P.took[i]),
    P.flags[i] & RUNNING ? P.flags[i] & EXISTED ? "" : h("span.dim", null, "still ran") : P.signal[i] ? h("span.bad", null, "signal " + P.signal[i]) : P.code[i] ? h("span.bad", null, "exit " + P.code[i]) : "",
    P.sent[i] || P.received[i] ? "↑" + bytes(P.sent[i]) + " ↓" + bytes(P.received[i]) : "",
    P.wrote[i] ? num(P.wrote[i]) : "",
    ...(D.steps.length > 1 ? [word(P.step[i]) ? stepName(word(P.step[i])) : ""] : []),
  ];
}

export function marks(i) {
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
export function detail(i) {
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

export function stepPicker(onchange) {
  if (D.steps.length < 2) return null;
  return h("label.pick", null, "Step ", h("select", { onchange: (e) => onchange(e.target.value) },
    h("option", { value: "*" }, "all"), D.steps.map((s, i) => h("option", { value: i }, stepName(s.id)))));
}

export function processes(panel, arg) {
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
