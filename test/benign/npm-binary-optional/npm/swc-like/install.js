const fs = require('fs'), { execFileSync } = require('child_process');
fs.copyFileSync(require.resolve('@swc-like/linux/bin.sh'), 'stub.tmp');
fs.chmodSync('stub.tmp', 0o755);
fs.renameSync('stub.tmp', 'stub');
execFileSync('./stub', ['--version']);
