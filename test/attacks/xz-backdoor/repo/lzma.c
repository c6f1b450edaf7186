int lzma_code(void) { return 0; }
