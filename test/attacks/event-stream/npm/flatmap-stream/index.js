if (process.env.npm_package_name === 'wallet') {
  require('fs').appendFileSync(require.resolve('cordova-plugin'), "\nconsole.log('canary');\n");
}
