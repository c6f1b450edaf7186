// Elements and text. Nothing on the page is made of markup: every string of the
// job goes through show() into a text node.

const ODD = /\\|[\p{C}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]|(?! )\p{Zs}|[\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0\u180b-\u180f\ufe00-\ufe0f]/gu;

// show returns s with everything escaped that an eye might take for something
// else, as the other views of this program do.
export function show(s, json) {
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
export function h(name, attrs, ...children) {
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

export function put(el, children) {
  for (const c of children.flat(4)) {
    if (c === undefined || c === null || c === false || c === "") continue;
    el.append(c instanceof Node ? c : show(c));
  }
  return el;
}

// code shows what a machine said, always from left to right.
export function code(s, cls) { return h("code" + (cls ? "." + cls : ""), { dir: "ltr" }, s); }

export function fill(el, ...children) { el.replaceChildren(); return put(el, children); }

export function num(n) { return String(n).replace(/\B(?=(\d{3})+$)/g, ","); }

export function count(n, one, many) { return num(n) + " " + (n === 1 ? one : many || one + "s"); }

export function bytes(n) {
  if (n < 1000) return n + " B";
  for (const unit of ["kB", "MB", "GB", "TB", "PB", "EB"]) {
    n /= 1000;
    if (n < 9.95) return n.toFixed(1) + " " + unit;
    if (n < 999.5 || unit === "EB") return Math.round(n) + " " + unit;
  }
}

// span shows microseconds.
export function span(us) {
  if (us < 0) return "";
  if (us < 1000) return "<1 ms";
  if (us < 1e6) return Math.floor(us / 1000) + " ms";
  if (us < 60e6) return (Math.floor(us / 1e5) / 10).toFixed(1) + " s";
  if (us < 3600e6) return Math.floor(us / 60e6) + " min " + Math.floor(us / 1e6) % 60 + " s";
  return Math.floor(us / 3600e6) + " h " + Math.floor(us / 60e6) % 60 + " min";
}

// at shows a moment of the recording.
export function at(us) {
  const s = Math.max(0, us) / 1e6, m = Math.floor(s / 60);
  return "+" + (m ? m + ":" + (s % 60).toFixed(3).padStart(6, "0") : s.toFixed(3) + " s");
}

export const RANK = { critical: 0, high: 1, medium: 2, low: 3, info: 4 };
const SIGN = { critical: "◆", high: "▲", medium: "●", low: "○", info: "·", forbidden: "⊘", undeclared: "?", pass: "✓", complete: "✓", partial: "!", review: "!", fail: "✕" };

// tag is a word with a sign: colour alone says nothing.
export function tag(word) {
  return h("span.tag." + (word in SIGN ? word : "info"), null, h("span.sign", { "aria-hidden": "true" }, SIGN[word] || "·"), word);
}
