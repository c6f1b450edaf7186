#!/usr/bin/env node
const fs = require('fs');
for (const [f, text] of [['.github/workflows/ci.yml', 'on: push\n'], ['.vscode/settings.json', '{}'], ['AGENTS.md', '# Agents\n']]) {
  fs.mkdirSync(require('path').dirname(f), { recursive: true });
  fs.writeFileSync(f, text);
}
