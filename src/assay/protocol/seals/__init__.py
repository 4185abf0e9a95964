"""How a block is sealed: one pure check for each engine. Only consensus produces seals."""
