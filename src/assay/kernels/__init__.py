"""Native code for what must be fast: plain C behind a small ABI, loaded with ctypes, bit-equal to its Python oracle."""
