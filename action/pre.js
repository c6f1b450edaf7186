'use strict';
require('./shim').start();
