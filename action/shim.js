// The shim between the runner and the command: plain JavaScript, no packages,
// so that it can be read in one go. It finds the program for this machine and
// starts it for each of the runner's steps; everything else is the program's.
'use strict';

const { spawn, spawnSync } = require('node:child_process');
const crypto = require('node:crypto');
const fs = require('node:fs');
const path = require('node:path');

// What a release writes here: its version, and the SHA-256 of each of its
// programs, in hex. Who pins the action by its commit pins these too.
const RELEASE = { version: '', sha256: {} };

const SOURCE = 'https://github.com/org/edamame-posture';
const ARCH = { x64: 'amd64', arm64: 'arm64' };
// How long a step may take, in milliseconds. The program has bounds of its own.
const WITHIN = { pre: 90_000, main: 90_000, post: 300_000 };
// The exit code by which the program fails the job. Any other is a fault, which
// fails it at the end alone: a job may have caused it there.
const FAILED = 1;

// Workflow commands take their text escaped (actions/toolkit, command.ts).
function say(kind, text) {
  const escaped = text.replace(/%/g, '%25').replace(/\r/g, '%0D').replace(/\n/g, '%0A');
  process.stdout.write(`::${kind} title=edamame-posture::${escaped}\n`);
}

function save(name, value) {
  const to = process.env.GITHUB_STATE;
  if (!to) return;
  const end = `end_${crypto.randomUUID()}`;
  fs.appendFileSync(to, `${name}<<${end}\n${value}\n${end}\n`);
}

// What nobody without root can give another file: while it stays the same, the
// program need not be digested again.
function mark(file) {
  const s = fs.statSync(file, { bigint: true });
  return [s.dev, s.ino, s.size, s.ctimeNs].join(':');
}

// In parts: to hold the whole file takes ten times as long as to digest it.
// What is no file has none: a pipe or a device could be read for ever.
function sha256(file) {
  const hash = crypto.createHash('sha256');
  const part = Buffer.allocUnsafe(1 << 18);
  const fd = fs.openSync(file, fs.constants.O_RDONLY | fs.constants.O_NONBLOCK);
  try {
    const s = fs.fstatSync(fd);
    if (!s.isFile()) return '';
    for (let n, left = s.size; left > 0 && (n = fs.readSync(fd, part, 0, Math.min(part.length, left), null)) > 0; left -= n) {
      hash.update(part.subarray(0, n));
    }
  } finally {
    fs.closeSync(fd);
  }
  return hash.digest('hex');
}

// One that was removed, or is no file any more, was replaced too.
function replaced(file) {
  try {
    return mark(file) !== process.env.STATE_mark && sha256(file) !== process.env.STATE_sha256;
  } catch {
    return true;
  }
}

// Downloads url to the file to, if it holds what want says. Three tries; a
// server that hangs is left after 20 seconds.
async function download(url, want, to) {
  let last;
  for (let n = 0; n < 3; n++) {
    if (n > 0) await new Promise((done) => setTimeout(done, 500 * 2 ** n));
    try {
      const answer = await fetch(url, { signal: AbortSignal.timeout(20_000) });
      if (!answer.ok) throw new Error(`it answered ${answer.status}`);
      const data = Buffer.from(await answer.arrayBuffer());
      const got = crypto.createHash('sha256').update(data).digest('hex');
      if (got !== want) throw new Error(`its SHA-256 is ${got}, and ${want} was released`);
      fs.mkdirSync(path.dirname(to), { recursive: true });
      // Renamed when it is whole: two jobs of a machine may come at once.
      const part = `${to}.${process.pid}`;
      fs.writeFileSync(part, data, { mode: 0o755 });
      fs.renameSync(part, to);
      return to;
    } catch (e) {
      last = e;
    }
  }
  throw new Error(`${url} cannot be had: ${last.cause ? last.cause.message : last.message}`);
}

// Builds the program, for a commit that was not released.
function build(root, to) {
  const go = spawnSync('go', ['build', '-trimpath', '-o', to, './cmd/edamame-posture'], {
    cwd: root, env: { ...process.env, CGO_ENABLED: '0' }, encoding: 'utf8', timeout: 600_000, stdio: ['ignore', 'ignore', 'pipe'],
  });
  if (go.error) throw new Error('this commit was not released, and there is no Go to build it: use a released version');
  if (go.status !== 0) throw new Error(`this commit was not released, and does not build: ${go.stderr.trim().slice(0, 500)}`);
  say('notice', 'this commit was not released: the program was built, which takes a while and is not what a release has');
  return to;
}

// Returns the program's file: beside the action, in the tool cache, else from
// the release, else built.
async function program(root, release) {
  if (process.platform !== 'linux' || !ARCH[process.arch]) {
    throw new Error(`there is no monitor for ${process.platform} on ${process.arch}, only for Linux on x64 and arm64`);
  }
  // Where the runner lays its own Node.js for a job's container.
  if (process.execPath.startsWith('/__e/')) {
    throw new Error('this job runs in a container, from which the machine is not seen: watch a job without `container:`');
  }
  const arch = ARCH[process.arch];
  const beside = path.join(root, 'bin', `linux-${arch}`, 'edamame-posture');
  if (fs.existsSync(beside)) return beside;
  const temp = process.env.RUNNER_TEMP || '/tmp';
  const want = release.sha256[arch];
  if (!want) return build(root, path.join(temp, 'posture-bin', 'edamame-posture'));
  const cache = path.join(process.env.RUNNER_TOOL_CACHE || temp, 'edamame-posture', release.version, arch, 'edamame-posture');
  if (fs.existsSync(cache) && sha256(cache) === want) return cache;
  const source = release.source || SOURCE;
  return download(`${source}/releases/download/v${release.version}/edamame-posture-linux-${arch}`, want, cache);
}

// Starts the program, and tells how it ended.
function start(file, args, within) {
  return new Promise((done) => {
    // What Go's runtime is told by the environment (GODEBUG, GOMEMLIMIT) a step could choose.
    const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^GO(DEBUG|GC|MEMLIMIT|MAXPROCS|TRACEBACK|COVERDIR|RACE)$/.test(name)));
    const child = spawn(file, args, { env, stdio: ['ignore', 'inherit', 'inherit'] });
    // Not spawn's own timeout: it keeps Node.js for that long where nothing was started.
    const late = setTimeout(() => child.kill(), within);
    const ended = (how) => { clearTimeout(late); done(how); };
    child.on('error', (error) => ended({ error }));
    child.on('exit', (status, signal) => ended({ status, signal }));
  });
}

async function run(step) {
  const had = process.env.STATE_binary;
  const watched = step === 'post' && had && had !== 'none';
  // Whether the monitor can start is one thing; one that ran and tells nothing is another.
  const open = watched ? /"fail_on":"never"/.test(process.env.STATE_watch || '')
    : !/^(false|f|0)$/i.test((process.env['INPUT_FAIL-OPEN'] || 'true').trim());
  try {
    // No first step, nothing to end; and what it could not do was told. What began
    // in the first step need not begin in the main one.
    if (had === 'none' || (step === 'post' && !had) || (step === 'main' && process.env.STATE_watch)) return;
    const file = had || (await program(path.join(__dirname, '..'), RELEASE));
    if (!had) {
      save('binary', file);
      save('mark', mark(file));
    } else if (replaced(file)) {
      // Whoever did this wants nothing told: that alone is told, and is no pass.
      process.exitCode = 1;
      say('error', 'a step replaced the program that watches this job, or took it away: what the job did is in no report, and its results are no evidence');
      return;
    }
    // The runner starts the last step as it did this one, by a path whose
    // folder may be a link: what the kernel was told, not what Node.js made of it.
    const self = fs.readFileSync('/proc/self/cmdline', 'utf8').split('\0')[1];
    const running = start(file, ['action', step, '--parent', String(process.ppid),
      '--bell', path.join(path.dirname(self), 'post.js'), '--bell-file', path.join(path.dirname(self), 'shim.js')], WITHIN[step]);
    if (!had) save('sha256', sha256(file)); // while it arms
    const r = await running;
    if (r.error) throw r.error;
    if (r.status === FAILED) process.exitCode = 1;
    else if (r.status !== 0) throw new Error(`it ended with ${r.signal || `exit code ${r.status}`}`);
  } catch (e) {
    const what = step === 'post' ? 'what this job did is not told' : 'this job is not watched';
    say(open ? 'warning' : 'error', `${what}: ${e.message}`);
    if (!had) save('binary', 'none');
    if (!open) process.exitCode = 1;
  }
}

module.exports = { run, program, download };
