'use strict';
require('./shim').stop();
