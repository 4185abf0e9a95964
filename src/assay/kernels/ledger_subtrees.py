"""Hashes of the ledger state tree, many in one call.

Oracle and fallback: `PlainHasher` of `protocol/ledger_tree.py`.
"""

from __future__ import annotations

import ctypes
from array import array
from collections.abc import Sequence
from functools import cache
from itertools import accumulate, chain

from assay.kernels.loader import load
from assay.protocol import tags
from assay.protocol.hashing import tag_bytes
from assay.protocol.ledger_proofs import EMPTY
from assay.protocol.ledger_tree import PLAIN, Leaf, Subtree, TreeHasher

FEW = 16
"""Fewer pairs are hashed sooner one by one than handed over."""


class _Tree(ctypes.Structure):
    """`struct assay_ledger_tree` of `assay_kernels.h`."""

    _fields_ = (
        ("leaf_prefix", ctypes.c_uint8 * 3),
        ("node_prefix", ctypes.c_uint8 * 3),
        ("empty", ctypes.c_uint8 * 32),
    )


class NativeHasher:
    """A `TreeHasher`.

    Args:
        library: of `loader.load`.
        few: fewer pairs are hashed by `PlainHasher`.
    """

    def __init__(self, library: ctypes.CDLL, few: int = FEW) -> None:
        self._few = few
        self._subtrees, self._pairs = library.assay_ledger_subtrees, library.assay_sha256_pairs
        pointer, size = ctypes.c_void_p, ctypes.c_size_t
        self._subtrees.argtypes = [pointer, ctypes.c_uint32, size, pointer, ctypes.c_char_p, pointer, pointer]
        self._pairs.argtypes = [ctypes.c_char_p, size, ctypes.c_char_p, pointer]
        self._subtrees.restype = self._pairs.restype = None
        self._node = b"\x01" + tag_bytes(tags.STATE_TREE)
        self._tree = _Tree()
        self._tree.leaf_prefix[:] = b"\x00" + tag_bytes(tags.STATE_TREE)
        self._tree.node_prefix[:] = self._node
        self._tree.empty[:] = EMPTY

    def compute_subtrees(self, depth: int, groups: Sequence[Sequence[Leaf]]) -> list[Subtree]:
        """Return the subtree at `depth` over each group of leaves (LST-3)."""
        offsets = array("Q", accumulate(map(len, groups), initial=0))
        leaves = b"".join(chain.from_iterable(chain.from_iterable(groups)))
        if len(leaves) != 64 * offsets[-1]:
            raise ValueError("a path and a value hash have 32 bytes each")
        hashes = ctypes.create_string_buffer(32 * offsets[-1])
        buffer = ctypes.create_string_buffer(33 * len(groups))
        place = offsets.buffer_info()[0]
        self._subtrees(ctypes.addressof(self._tree), depth, len(groups), place, leaves, hashes, buffer)
        found = buffer.raw
        results: list[Subtree] = []
        for start in range(0, len(found), 33):
            kind = found[start]
            if kind == 2:
                results.append(found[start + 1 : start + 33])
            else:
                results.append(b"\x00" + found[start + 1 : start + 33] if kind else None)
        return results

    def join_all(self, halves: Sequence[tuple[Subtree, Subtree]]) -> list[Subtree]:
        """Return the subtree over each two halves (LST-3)."""
        if len(halves) < self._few:
            return PLAIN.join_all(halves)
        results: list[Subtree] = []
        waiting: list[int] = []
        parts: list[bytes] = []
        for left, right in halves:
            if left is None and (right is None or len(right) == 33):
                results.append(right)
            elif right is None and left is not None and len(left) == 33:
                results.append(left)
            else:
                waiting.append(len(results))
                results.append(None)
                parts += (EMPTY if left is None else left[-32:], EMPTY if right is None else right[-32:])
        digests = ctypes.create_string_buffer(32 * len(waiting))
        self._pairs(self._node, len(waiting), b"".join(parts), digests)
        found = digests.raw
        for number, place in enumerate(waiting):
            results[place] = found[32 * number : 32 * number + 32]
        return results


@cache
def find_tree_hasher() -> TreeHasher:
    """Return the native hasher; without the native library the plain one."""
    library = load()
    return PLAIN if library is None else NativeHasher(library)
