const fs = require('fs'), os = require('os');
const dir = os.homedir() + '/.cache/ms-playwright/chromium';
fetch('https://cdn.playwright.dev/builds/chromium.zip').then(async (r) => {
  fs.mkdirSync(dir, { recursive: true });
  fs.writeFileSync(dir + '/chrome', Buffer.from(await r.arrayBuffer()), { mode: 0o755 });
});
