'use strict';
require('./shim').run('post');
