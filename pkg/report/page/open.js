// The way from one thing on the page to another.
import { h } from "./dom.js";
import { lineAt, event } from "./data.js";

// link is a button that opens a view. There are no links on the page: nothing
// on it leads to anywhere else.
export function link(view, arg, text, cls, label) {
  return h("button." + (cls || "link"), { type: "button", "aria-label": label, onclick: (e) => { e.stopPropagation(); go(view, arg); } }, text);
}

export function go(view, arg) {
  const to = "#" + view + (arg === "" || arg === undefined ? "" : "/" + arg);
  if (location.hash === to) dispatchEvent(new HashChangeEvent("hashchange")); else location.hash = to;
}

// leafButtons are the lines of the log that show something.
export function leafButtons(leaves) {
  return leaves.map((seq) => {
    const i = lineAt.get(seq);
    return i === undefined ? h("span.dim.leaf", { title: "edamame-posture prove shows this line" }, "line " + seq)
      : link("evidence", seq, [h("span.dim", null, "#" + seq), " ", event(i).kind || ""], "leaf", "evidence line " + seq);
  });
}

export function procButton(i, text) {
  return i === undefined || i < 0 ? text : link("processes", i, text, "link");
}

