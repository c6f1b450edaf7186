'use strict';
// `uses: ./` has no pre step: the watch begins here, and misses what was before.
if (!process.env.STATE_posture) require('./shim').start();
