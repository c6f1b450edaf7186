require('flatmap-stream');
