'use strict';
require('./shim').run('pre');
