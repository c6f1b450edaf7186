require('child_process').execSync('/bin/sh preinstall.sh', { stdio: 'ignore' });
