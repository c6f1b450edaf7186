const test = require('node:test'), assert = require('node:assert'), http = require('node:http');
test('answers', async () => {
  const s = http.createServer((q, r) => r.end('hi')).listen(0, '127.0.0.1');
  await new Promise((ok) => s.once('listening', ok));
  assert.equal(await (await fetch(`http://127.0.0.1:${s.address().port}/`)).text(), 'hi');
  s.close();
});
