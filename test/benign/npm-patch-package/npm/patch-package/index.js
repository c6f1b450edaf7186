#!/usr/bin/env node
require('fs').appendFileSync('node_modules/left/i.js', '// patched\n');
