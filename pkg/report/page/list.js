// A list of any length of which only what is seen is drawn.
import { h, fill } from "./dom.js";

const ROW = 28;
const lists = new Set();
let ids = 0;

// list draws rows of one height. o.columns are [name, class], o.cells(row)
// gives what stands in them, o.open(row) is called for the chosen one. A tree
// has o.tree(row) = {level, open}, open being undefined at a leaf, and
// o.toggle(row, open).
export function list(o) {
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
export function redraw() { for (const l of here()) l.draw(); }
export function printing(on) { for (const l of here()) l.print(on); }
