// What the page was made with, and what follows from it.
import { show } from "./dom.js";

const raw = document.getElementById("data").textContent;
export const D = JSON.parse(raw);
export const V = D.verdict;
for (const k of ["facts", "grants", "causes", "lines", "lanes", "steps", "words", "written", "credentials", "destinations", "listening", "survivors", "sensors", "notes", "policy"]) D[k] ||= [];
for (const k of ["findings", "reasons"]) V[k] ||= [];
for (const k of ["gaps", "unseen", "outside"]) V.coverage[k] ||= [];
export const P = D.procs ||= {};
for (const k of ["parent", "program", "command", "step", "agent", "container", "pid", "uid", "via", "flags", "code", "signal", "from", "took", "repeats", "hidden", "sent", "received", "conns", "wrote", "leaf"]) P[k] ||= [];
export const C = D.conns ||= {};
for (const k of ["at", "took", "proc", "to", "sent", "received", "failed"]) C[k] ||= [];
C.bad = new Set(C.failed);

export const RUNNING = 1, EXISTED = 2, REPLACES = 4, UNDECLARED = 8;
export const word = (n) => D.words[n] || "";
export const span0 = Math.max(1, (D.ended - D.began) / 1000); // microseconds
export const procs = P.parent.length;
export const children = Array.from({ length: procs }, () => null);
export const roots = [];
for (let i = 0; i < procs; i++) {
  const p = P.parent[i];
  if (p < 0) roots.push(i); else (children[p] ||= []).push(i);
}
export const foundBy = new Map(); // process to its findings
for (const [f, p] of Object.entries(D.named || {})) foundBy.set(p, [...(foundBy.get(p) || []), Number(f)]);
export const factsOf = new Map();
D.facts.forEach((f, i) => { if (f.proc >= 0) factsOf.set(f.proc, [...(factsOf.get(f.proc) || []), i]); });
export const connsOf = new Map();
C.proc.forEach((p, i) => { const l = connsOf.get(p); if (l) l.push(i); else connsOf.set(p, [i]); });
export const lineAt = new Map(D.lines.map((l, i) => [l.seq, i]));

export function label(i) { return word(P.command[i]) || word(P.program[i]) || "?"; }
export function end(i) { return P.flags[i] & RUNNING ? span0 : P.from[i] + (P.repeats[i] > 1 ? P.took[i] / P.repeats[i] : P.took[i]); }
export function stepName(id) {
  const s = D.steps.find((s) => s.id === id);
  return s && s.name ? s.name : id || (D.steps.length > 1 ? "no step" : "the command");
}
// lineage is the way from a root to the process.
export function lineage(i) {
  const way = [];
  for (; i >= 0 && way.length < 64; i = P.parent[i]) way.unshift(i);
  return way;
}
const decoded = new Map();
// event reads a line of the log; one that was cut has only what its begin says.
export function event(i) {
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
export function gist(e) {
  const peer = e.dst ? " " + e.dst : "";
  const what = e.argv ? e.argv.join(" ") : e.path || e.name || e.exe || e.detail || e.class || e.step_id || "";
  return show(String(what)).slice(0, 300) + (e.new_path ? " → " + show(e.new_path) : "") + peer;
}
