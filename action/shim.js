// The shim between the runner and the command: plain JavaScript, no packages,
// so that it can be read in one go. It starts the monitor before the job's
// first step and stops it after the last; everything else is the command's.
'use strict';

const { spawnSync } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');

const ARCH = { x64: 'amd64', arm64: 'arm64' };

// Runner inputs arrive as INPUT_<NAME>, hyphens kept.
function input(name) {
  return (process.env[`INPUT_${name.toUpperCase()}`] || '').trim();
}

// Workflow commands take their text escaped (actions/toolkit, command.ts).
function say(kind, text) {
  const escaped = text.replace(/%/g, '%25').replace(/\r/g, '%0D').replace(/\n/g, '%0A');
  process.stdout.write(`::${kind} title=edamame-posture::${escaped}\n`);
}

function save(file, name, value) {
  const to = process.env[file];
  if (!to) return;
  const end = `end_${process.pid}_${Date.now()}`;
  fs.appendFileSync(to, `${name}<<${end}\n${value}\n${end}\n`);
}

function binary() {
  const here = path.join(__dirname, '..', 'bin', `linux-${ARCH[process.arch]}`, 'edamame-posture');
  if (process.platform !== 'linux' || !ARCH[process.arch]) {
    throw new Error(`no monitor for ${process.platform} on ${process.arch}: Linux on x64 is what there is`);
  }
  if (!fs.existsSync(here)) {
    throw new Error(`${here} is not there: use a released version of the action`);
  }
  return here;
}

// As root where we are not: sudo by its own path, so that a PATH which an
// earlier step changed does not choose it, and never with a prompt.
function asRoot(args, timeout) {
  const direct = process.getuid() === 0;
  const command = direct ? args[0] : '/usr/bin/sudo';
  if (!direct && !fs.existsSync(command)) {
    throw new Error('watching needs root, and this runner has no sudo');
  }
  return spawnSync(command, direct ? args.slice(1) : ['-n', ...args], {
    encoding: 'utf8', timeout, stdio: ['ignore', 'pipe', 'pipe'], maxBuffer: 4 << 20,
  });
}

function start() {
  const temp = path.join(process.env.RUNNER_TEMP || '/tmp', `posture-${process.pid}`);
  const out = input('out') ? path.resolve(input('out')) : temp;
  try {
    const args = [binary(), 'start', '--parent', String(process.ppid), '--out', out,
      '--sensor', input('sensor') || 'auto'];
    const intent = input('intent');
    if (intent) {
      args.push('--intent', path.resolve(process.env.GITHUB_WORKSPACE || '.', intent));
      const job = input('job');
      if (job) args.push('--job', job);
      // Not chosen but the workflow's own: its policy need not name every job.
      if (job === process.env.GITHUB_JOB) args.push('--job-or-top');
    }
    const r = asRoot(args, 10000);
    if (r.error) throw r.error;
    if (r.status !== 0) throw new Error((r.stderr || '').trim() || `exit code ${r.status}`);
    const state = `${temp}.json`;
    fs.writeFileSync(state, r.stdout, { mode: 0o600 });
    save('GITHUB_STATE', 'posture', state);
    save('GITHUB_STATE', 'out', out);
    process.stdout.write(`edamame-posture watches this job (sensor: ${JSON.parse(r.stdout).sensor})\n`);
  } catch (e) {
    const open = input('fail-open') !== 'false';
    say(open ? 'warning' : 'error', `this job is not watched: ${e.message}`);
    save('GITHUB_STATE', 'posture', 'none');
    if (!open) process.exitCode = 1;
  }
}

function stop() {
  const state = process.env.STATE_posture;
  const out = process.env.STATE_out;
  if (!state || state === 'none') return;
  try {
    const bin = binary();
    const r = asRoot([bin, 'stop', '--state', state], 120000);
    if (r.error) throw r.error;
    process.stdout.write(r.stderr || '');
    if (r.status !== 0 && r.status !== 3) throw new Error(`exit code ${r.status}`);
    const told = spawnSync(bin, ['report', '--github', out], { stdio: 'inherit', timeout: 60000 });
    if (told.error) throw told.error;
    if (r.status === 3) process.exitCode = 1;
  } catch (e) {
    say('warning', `what this job did is not told: ${e.message}`);
  }
}

module.exports = { start, stop };
