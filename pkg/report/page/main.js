// The page: its views, the panel of details, keys and printing.
import { h, fill, num, tag, code } from "./dom.js";
import { D, V } from "./data.js";
import { go } from "./open.js";
import { redraw, printing } from "./list.js";
import { overview } from "./overview.js";
import { findings } from "./findings.js";
import { timeline } from "./timeline.js";
import { processes } from "./processes.js";
import { egress } from "./egress.js";
import { files } from "./files.js";
import { policy } from "./policy.js";
import { evidence } from "./evidence.js";

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
