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
export async function proven(text, seq, size, path, root) {
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
