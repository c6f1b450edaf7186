#!/usr/bin/env node
const fs = require('fs'), { execSync } = require('child_process');
execSync('git config core.hooksPath .husky/_');
fs.mkdirSync('.husky/_', { recursive: true });
fs.writeFileSync('.husky/_/pre-commit', '#!/usr/bin/env sh\nnpm test\n', { mode: 0o755 });
