// What went on when: a picture of each step, and the processes of a span.
import { h, code, num, count, bytes, span, at, fill } from "./dom.js";
import { D, P, C, procs, span0, connsOf, foundBy, label, end, stepName, word, EXISTED, RUNNING } from "./data.js";
import { list } from "./list.js";
import { detail, marks } from "./processes.js";

const SERIES = [["ran", "Programs", 1, num], ["connected", "Connections", 2, num], ["wrote", "Files", 3, num], ["bytes", "Bytes", 4, bytes]];
const LANE = 64;

export function timeline(panel) {
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
