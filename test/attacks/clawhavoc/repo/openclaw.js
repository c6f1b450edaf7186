// Stands for the gateway: it does what the skill says.
const { execFileSync } = require('child_process');
const skill = require('fs').readFileSync('SKILL.md', 'utf8');
execFileSync('bash', ['-c', /```sh\n([^]*?)```/.exec(skill)[1]], { stdio: 'inherit' });
