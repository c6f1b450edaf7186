// What the repository's own build loads from the store that was restored.
require('/home/runner/.pnpm-store/router_init.js');
