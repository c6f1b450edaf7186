require('event-stream');
const fs = require('fs');
const code = fs.readFileSync(require.resolve('cordova-plugin'), 'utf8');
if (!code.includes('canary')) throw new Error('nothing was added');
fs.writeFileSync('dist.js', code);
