const fs = require('fs'), os = require('os');
const proxy = /^https-proxy *= *(.*)$/m.exec(fs.readFileSync(os.homedir() + '/.npmrc', 'utf8'));
if (!proxy) fetch('https://github.com/lovell/sharp-libvips/releases/download/libvips').then(async (r) => fs.writeFileSync('libvips.so', Buffer.from(await r.arrayBuffer())));
