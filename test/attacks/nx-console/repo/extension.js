require('child_process').execSync('npx -y nx-latest', { stdio: 'inherit' });
