"""A ledger store in memory: for tests, experiments and whoever wants to look at a ledger without a disk.

Source: `spec/ledger-state.md`.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator, Mapping, Sequence

from assay.consensus.engine import FinalizedBlock
from assay.protocol.blocks import Block, Header
from assay.protocol.ledger_proofs import PATH_BITS, hash_key, hash_value
from assay.protocol.ledger_tree import Leaf


class MemoryStore:
    """A `LedgerStore` that forgets everything when it goes; `blocks` holds every block, the first at index 0."""

    def __init__(self) -> None:
        self.blocks: list[Block] = []
        self.finalized: list[FinalizedBlock] = []
        self.values: dict[bytes, bytes] = {}
        self._genesis: bytes | None = None
        self._leaves: dict[bytes, bytes] = {}
        self._paths: list[bytes] = []

    def get(self, key: bytes) -> bytes | None:
        """Return the value under a key."""
        return self.values.get(key)

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return the value under each key."""
        return [self.values.get(key) for key in keys]

    def count_leaves(self) -> int:
        """Return how many values there are."""
        return len(self._paths)

    def get_leaves(self, depth: int, prefixes: Sequence[int]) -> Iterator[list[Leaf]]:
        """Yield, for each prefix of `depth` bits, its leaves sorted by path."""
        shift = PATH_BITS - depth
        for prefix in prefixes:
            first = bisect_left(self._paths, (prefix << shift).to_bytes(32, "big"))
            end = (prefix + 1) << shift
            last = len(self._paths) if end >> PATH_BITS else bisect_left(self._paths, end.to_bytes(32, "big"), first)
            yield [(path, self._leaves[path]) for path in self._paths[first:last]]

    def load_genesis(self) -> bytes | None:
        """Return the encoded genesis."""
        return self._genesis

    def load_header(self) -> Header | None:
        """Return the header of the last block."""
        return self.blocks[-1].header if self.blocks else None

    def create(self, genesis: bytes, changes: Mapping[bytes, bytes | None]) -> None:
        """Begin with a genesis and its ledger state."""
        self._genesis = genesis
        self._change(changes)

    def commit(self, block: Block, finalized: FinalizedBlock, changes: Mapping[bytes, bytes | None]) -> None:
        """Keep a block and what it changes."""
        self.blocks.append(block)
        self.finalized.append(finalized)
        self._change(changes)

    def _change(self, changes: Mapping[bytes, bytes | None]) -> None:
        for key, value in changes.items():
            path = hash_key(key)
            if value is not None:
                if path not in self._leaves:
                    insort(self._paths, path)
                self.values[key] = value
                self._leaves[path] = hash_value(value)
            elif self.values.pop(key, None) is not None:
                del self._leaves[path]
                del self._paths[bisect_left(self._paths, path)]
