const { execFileSync } = require('child_process');
for (const cmd of ['node -p 1', 'curl -s https://docs.example.com/api.md -o api.md', 'echo "# Notes" >> CLAUDE.md', 'git init -q . && git add -A']) execFileSync('bash', ['-c', cmd], { stdio: 'inherit' });
