// Drives a report in Chromium: node browser.cjs CHECK FILE, with settings as
// JSON on stdin. What it finds goes to stdout as JSON: {"wrong": [...], ...}.
const fs = require("fs");
const { chromium } = require("playwright-core");

const VIEWS = ["overview", "findings", "timeline", "processes", "egress", "files", "policy", "evidence"];
const [check, file] = process.argv.slice(2);
const settings = JSON.parse(fs.readFileSync(0, "utf8") || "{}");
const out = { wrong: [] };
const wrong = (...what) => out.wrong.push(what.map((w) => typeof w === "string" ? w : JSON.stringify(w)).join(" "));
const expect = (ok, ...what) => { if (!ok) wrong(...what); };

// watched makes a page that tells of every error and every request.
async function watched(browser, options) {
  const page = await (await browser.newContext(options)).newPage();
  page.setDefaultTimeout(60000);
  page.on("console", (m) => { if (["error", "warning"].includes(m.type())) wrong("console", m.text()); });
  page.on("pageerror", (e) => wrong("error", e.message));
  page.on("dialog", (d) => { wrong("dialog", d.message()); d.dismiss(); });
  page.on("request", (r) => { if (r.url() !== "file://" + file && !r.url().startsWith("file://" + file + "#")) wrong("request", r.url()); });
  await page.goto("file://" + file);
  await page.waitForSelector("nav");
  return page;
}

async function view(page, id) {
  await page.click("#nav-" + id);
  await page.waitForSelector("main." + id + " h1");
  await page.evaluate(() => new Promise((r) => requestAnimationFrame(() => requestAnimationFrame(r))));
}

const rows = (page) => page.locator("main .rows > .row").count();
const note = (page) => page.locator("main .note").first().innerText();

async function axe(page, where) {
  const r = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
  for (const v of r.violations) if (["serious", "critical"].includes(v.impact)) wrong("axe", where, v.id, v.nodes.slice(0, 3).map((n) => n.html.slice(0, 160) + " " + (n.any[0] || n.all[0] || {}).message));
  out.rules = (out.rules || 0) + r.passes.length;
}

async function fits(page, where) {
  const over = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  expect(over <= 0, "layout", where, "is wider than the window by", over);
}

// look searches and filters in the views of one page.
async function look(page) {
  await view(page, "processes");
  await page.click("text=Expand"); // what is deep begins closed, and a search opens it
  const all = await rows(page);
  await page.fill("main .search", settings.process);
  const found = await rows(page);
  expect(found > 0 && found <= all, "search shows", found, "of", all);
  expect((await note(page)).startsWith(settings.found), "the search says", await note(page));
  await page.fill("main .search", "no such program");
  expect(await rows(page) === 0, "a search for nothing finds processes");
  await page.fill("main .search", "");
  if (settings.line) {
    await page.check("main .check input >> nth=0");
    expect((await note(page)).includes("found"), "the filter of what is undeclared says", await note(page));
    expect(await page.locator(".row .tag.undeclared").count() > 0, "no undeclared process is shown");
    await page.uncheck("main .check input >> nth=0");
  }
  await page.click("text=Collapse");
  const shut = await rows(page);
  await page.click("text=Expand");
  expect(shut < await rows(page), "collapsing does not take rows away:", shut);

  await view(page, "timeline");
  const says = () => page.locator("main > [role=status]").innerText();
  const whole = await says();
  await page.click("text=Zoom in");
  expect(await says() !== whole, "zooming changes nothing:", whole);
  await page.click("text=All");
  const box = await page.locator("canvas").boundingBox();
  await page.mouse.move(box.x + box.width * .6, box.y + 20);
  await page.mouse.down();
  await page.mouse.move(box.x + box.width * .99, box.y + 30, { steps: 4 });
  await page.mouse.up();
  expect((await says()).startsWith("+"), "dragging does not zoom:", await says());

  await view(page, "egress");
  await page.locator(".node", { hasText: settings.host }).last().click();
  expect((await page.locator(".node.on").count()) === 1, "a node of the map cannot be chosen");
  await page.fill("main .search", settings.host);
  expect(await rows(page) > 0, "the search does not find the host", settings.host);
  await page.fill("main .search", "no such host");
  expect(await rows(page) === 0, "a search for no host finds some");

  await view(page, "policy");
  await page.selectOption("main select", "unused");
  expect((await page.locator("main .rows >> nth=-1").innerText()).includes("unused"), "no unused line is shown");
  await view(page, "evidence");
  await page.selectOption("main select", "exec");
  expect(await rows(page) > 0, "no exec among the lines");
}

const checks = {
  // Every view opens, holds what it should, and is open to all readers.
  async views(browser) {
    for (const colorScheme of settings.schemes || ["light", "dark"]) {
      const page = await watched(browser, { colorScheme, viewport: { width: 1360, height: 860 }, reducedMotion: "reduce" });
      await page.evaluate(fs.readFileSync(require.resolve("axe-core/axe.min.js"), "utf8"));
      for (const id of VIEWS) {
        await view(page, id);
        await axe(page, colorScheme + " " + id);
        await fits(page, id);
        const text = await page.innerText("main");
        for (const want of (settings.want || {})[id] || []) expect(text.includes(want), id, "lacks", want, "in", text.slice(0, 3000));
      }
      await view(page, "processes");
      await page.locator("main .rows > .row").last().click();
      await page.waitForSelector("aside:not([hidden])");
      await axe(page, colorScheme + " details");
    }
    const page = await watched(browser, { viewport: { width: 400, height: 800 } });
    for (const id of VIEWS) { await view(page, id); await fits(page, "narrow " + id); }
  },

  // A finding leads to its lines, and searches and filters find.
  async use(browser) {
    const page = await watched(browser, { viewport: { width: 1360, height: 860 } });
    await view(page, "findings");
    await page.click(".card .leaf");
    await page.waitForSelector("main.evidence");
    await page.waitForSelector("aside:not([hidden])");
    const line = await page.innerText("aside");
    expect(line.includes(settings.line), "the line of the finding is not", settings.line, "but", line.slice(0, 300));
    await page.click("aside >> text=Check the proof");
    await page.waitForSelector("aside .tag.pass");
    await page.keyboard.press("Escape");
    expect(await page.isHidden("aside"), "Escape does not close the details");
    await page.goBack();
    await page.waitForSelector("main.findings");
    await page.fill("main .search", "no such thing");
    expect(await page.locator(".card").count() === 0, "a search for nothing finds a card");
    await page.fill("main .search", settings.search);
    const hits = await page.locator(".card").count();
    expect(hits > 0, "the search does not find", settings.search);
    await page.uncheck("main .check input >> nth=0");
    expect(await page.locator(".card").count() < hits, "a severity that is off shows its cards");

    await page.click("nav button >> nth=1");
    await page.fill("main .search", "");
    await page.check("main .check input >> nth=0");
    await page.click(".card .argv .link");
    await page.waitForSelector("main.processes");
    expect((await page.innerText("aside")).includes(settings.process), "the process of the finding is not shown");
    await page.keyboard.press("Escape");
    await look(page);
  },

  // Searches and filters of a run without findings.
  async filters(browser) {
    await look(await watched(browser, { viewport: { width: 1360, height: 860 } }));
  },

  async forged(browser) {
    const page = await watched(browser, {});
    await view(page, "findings");
    await page.click(".card .leaf");
    await page.click("aside >> text=Check the proof");
    await page.waitForSelector("aside [role=status] .tag");
    out.text = await page.innerText("aside [role=status]");
  },

  // The same with the keyboard alone.
  async keyboard(browser) {
    const page = await watched(browser, { viewport: { width: 1360, height: 860 } });
    const press = async (...keys) => { for (const k of keys) await page.keyboard.press(k); };
    const focused = () => page.evaluate(() => { const e = document.activeElement; return (e.className.baseVal ?? e.className) + " " + (e.getAttribute("aria-label") || e.innerText || "").slice(0, 80); });
    for (const [i, id] of VIEWS.entries()) { await press(String(i + 1)); await page.waitForSelector("main." + id); }
    let n = 0;
    if (settings.line) {
      await press("2");
      await page.waitForSelector("main.findings");
      while (!(await focused()).startsWith("leaf") && n++ < 60) await press("Tab");
      await press("Enter");
    } else {
      while (!(await focused()).startsWith("view") && n++ < 20) await press("Tab");
      await press("Home", "Enter");
    }
    await page.waitForSelector("main.evidence");
    await page.waitForSelector("aside:not([hidden])");
    expect((await page.innerText("aside")).includes(settings.line || '"seq":'), "the keyboard does not lead to the line");
    for (n = 0; !(await focused()).includes("Check the proof") && n < 20; n++) await press("Tab");
    await press("Enter");
    await page.waitForSelector("aside .tag.pass");
    await press("Escape");
    expect((await focused()).startsWith("view"), "the focus does not go back to the list but to", await focused());
    await press("4");
    await page.waitForSelector("main.processes");
    await press("/");
    expect((await focused()).startsWith("search"), "/ does not lead to the search");
    await page.keyboard.type(settings.process);
    for (n = 0; !(await focused()).startsWith("view") && n < 12; n++) await press("Tab");
    await press("End", "Enter");
    await page.waitForSelector("aside:not([hidden])");
    expect((await page.innerText("aside")).includes(settings.process), "Enter does not show the process");
    await press("Escape", "Home", "ArrowLeft");
    await press("?");
    await page.waitForSelector("dialog[open]");
    await press("Escape");
    await press("3");
    await page.waitForSelector("main.timeline");
    for (n = 0; !(await focused()).startsWith("lanes") && n < 20; n++) await press("Tab");
    await press("+", "ArrowRight", "-", "0", "ArrowDown");
    await press("5");
    await page.waitForSelector("main.egress");
    for (n = 0; !(await focused()).startsWith("node") && n < 20; n++) await press("Tab");
    await press("Enter");
    expect((await focused()).startsWith("node"), "the focus is lost in the map:", await focused());
  },

  // What the job named is text, whatever it is.
  async hostile(browser) {
    const page = await watched(browser, { viewport: { width: 1360, height: 860 } });
    const ours = new Set("html head meta title style body div script header b span p code nav button main h1 h2 h3 section dl dt dd ol ul li article footer input label aside svg path g rect text select option table thead tbody tr th td canvas pre dialog kbd details summary hr".split(" "));
    let all = "";
    for (const id of VIEWS) {
      await view(page, id);
      await fits(page, id);
      for (const el of await page.evaluate(() => [...document.querySelectorAll("*")].map((e) => e.localName + " " + e.getAttributeNames().join(" ")))) {
        const [name, ...attrs] = el.split(" ");
        expect(ours.has(name), "the page has an element", name);
        expect(!attrs.some((a) => a.startsWith("on") || ["href", "src", "action", "srcdoc", "formaction", "background", "xlink:href"].includes(a)), "the page has", el);
      }
      all += await page.evaluate(() => document.querySelector("main").textContent);
    }
    expect(await page.title() === settings.title, "the title is", await page.title());
    expect(!(await page.evaluate(() => "ran" in window)), "a script of the job ran");
    for (const name of settings.names) {
      const n = all.split(name).length - 1;
      expect(n >= 3, "shown", n, "times only:", name.slice(0, 200));
    }
    const odd = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\u3164]|[\u{e0000}-\u{10ffff}]/u.exec(all);
    expect(!odd, "the page shows a character that nobody sees:", odd && odd[0].codePointAt(0).toString(16));
    await page.setViewportSize({ width: 400, height: 800 });
    for (const id of VIEWS) { await view(page, id); await fits(page, "narrow " + id); }
    await view(page, "processes");
    await page.locator("main .rows > .row").first().click();
    await page.waitForSelector("aside:not([hidden])");
    await fits(page, "details");
  },

  // Without scripts the outcome can be read, and so it can on paper.
  async plain(browser) {
    const context = await browser.newContext({ javaScriptEnabled: false });
    const page = await context.newPage();
    await page.goto("file://" + file);
    out.text = await page.innerText("body");
    const paper = await watched(browser, {});
    const pdf = await paper.pdf({ format: "A4" });
    out.pages = (pdf.toString("latin1").match(/\/Type\s*\/Page[^s]/g) || []).length;
    await paper.evaluate(() => dispatchEvent(new Event("beforeprint")));
    await paper.evaluate(() => new Promise((r) => setTimeout(r, 0)));
    out.sheets = await paper.evaluate(() => [...document.querySelectorAll(".sheet h1")].map((h) => h.innerText));
    out.rows = await paper.locator(".sheet.processes .rows .row").count();
    await paper.evaluate(() => dispatchEvent(new Event("afterprint")));
    expect(await paper.locator("main.overview").count() === 1, "after printing the page is not what it was");
  },

  // How long it takes until the page can be used, by the clock and by what its
  // thread used of a processor, in milliseconds.
  async open(browser) {
    const page = await (await browser.newContext({ viewport: { width: 1360, height: 860 } })).newPage();
    page.setDefaultTimeout(120000);
    const cdp = await page.context().newCDPSession(page);
    await cdp.send("Performance.enable", { timeDomain: "threadTicks" });
    const used = async () => (await cdp.send("Performance.getMetrics")).metrics.find((m) => m.name === "TaskDuration").value * 1000;
    const before = await used();
    await page.goto("file://" + file, { timeout: 120000 });
    await page.waitForSelector("nav");
    out.clock = await page.evaluate(() => performance.getEntriesByType("navigation")[0].domComplete);
    out.cpu = await used() - before;
    for (const id of VIEWS) await view(page, id);
    out.views = await used() - before - out.cpu;
    expect(await page.evaluate(() => document.querySelectorAll("*").length) < 5000, "too much is drawn");
  },

  async pictures(browser) {
    for (const p of settings.pictures) {
      const page = await watched(browser, { colorScheme: p.scheme || "light", viewport: { width: p.width || 1280, height: p.height || 800 }, reducedMotion: "reduce" });
      await view(page, p.view.split("/")[0]);
      if (p.click) await page.locator(p.click).last().click();
      await page.mouse.move(0, 0);
      await page.evaluate(() => new Promise((r) => requestAnimationFrame(() => requestAnimationFrame(r))));
      await page.screenshot({ path: p.path });
    }
  },
};

(async () => {
  const browser = await chromium.launch({ executablePath: settings.chromium, args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"] });
  try { await checks[check](browser); } catch (e) { wrong("stopped:", e.stack); }
  await browser.close();
  process.stdout.write(JSON.stringify(out));
})();
