"""The ledger state tree in native memory, with all its leaves: an update reads nothing from the store.

About 120 bytes a leaf. Oracle and fallback: `PlainLedgerTree` of `protocol/ledger_tree.py`.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from typing import Final

from assay.kernels.loader import load
from assay.protocol import tags
from assay.protocol.hashing import tag_bytes
from assay.protocol.ledger_proofs import EMPTY, OtherLeaf, StateProof
from assay.protocol.ledger_tree import BUILD_BITS, LeafSource, LedgerTree, NothingComputed, PlainLedgerTree

# As in `assay_kernels.h`.
_LEAF_BYTES: Final = 68
_NODE_BYTES: Final = 48
_CHANGE_BYTES: Final = 65
_CHUNK: Final = 8192
_LEAVES_LACK: Final = 1
_NODES_LACK: Final = 2

_MAX_CHUNKS: Final = 1 << 16
_NODES_PER_CHANGE: Final = 32
"""New nodes of a change at most, but for paths that somebody searched for; those get more room in a second try."""

_DELETED: Final = bytes(33)


class _Pool(ctypes.Structure):
    """`struct assay_ledger_pool`."""

    _fields_ = (
        ("chunks", ctypes.c_void_p),
        ("room", ctypes.c_uint32),
        ("used", ctypes.c_uint32),
        ("free", ctypes.c_uint32),
        ("fresh", ctypes.c_uint32),
        ("dead", ctypes.c_uint32),
        ("fresh_count", ctypes.c_uint32),
        ("dead_count", ctypes.c_uint32),
        ("lacks", ctypes.c_uint32),
    )


class _Tree(ctypes.Structure):
    """`struct assay_ledger_tree`."""

    _fields_ = (
        ("leaves", _Pool),
        ("nodes", _Pool),
        ("count", ctypes.c_uint64),
        ("root", ctypes.c_uint32),
        ("next_root", ctypes.c_uint32),
        ("hash", ctypes.c_uint8 * 32),
        ("next_hash", ctypes.c_uint8 * 32),
        ("leaf_prefix", ctypes.c_uint8 * 3),
        ("node_prefix", ctypes.c_uint8 * 3),
        ("empty", ctypes.c_uint8 * 32),
    )


_Siblings = ctypes.c_char * (256 * 32)
_Other = ctypes.c_char * 65


class _Room:
    """The memory of a pool: chunks that never move."""

    def __init__(self, pool: _Pool, item_bytes: int) -> None:
        self._pool, self._item_bytes = pool, item_bytes
        self._chunks: list[ctypes.Array[ctypes.c_char]] = []
        self._table = (ctypes.c_void_p * _MAX_CHUNKS).from_buffer(bytearray(8 * _MAX_CHUNKS))
        pool.chunks = ctypes.addressof(self._table)
        pool.used = 1
        self.add(1)

    def add(self, items: int) -> None:
        """Make room for at least so many more."""
        for _ in range(-(-items // _CHUNK)):
            size = self._item_bytes * _CHUNK
            chunk = (ctypes.c_char * size).from_buffer(bytearray(size))
            self._table[len(self._chunks)] = ctypes.addressof(chunk)
            self._chunks.append(chunk)
            self._pool.room += _CHUNK


class NativeLedgerTree:
    """A `LedgerTree`.

    Args:
        source: the leaves, read by `rebuild` alone.
        library: of `loader.load`.
    """

    def __init__(self, source: LeafSource, library: ctypes.CDLL) -> None:
        self._source = source
        pointer, size = ctypes.c_void_p, ctypes.c_size_t
        self._update, self._settle = library.assay_ledger_tree_update, library.assay_ledger_tree_settle
        self._prove = library.assay_ledger_tree_prove
        self._update.argtypes, self._update.restype = [pointer, size, pointer], ctypes.c_int
        self._settle.argtypes, self._settle.restype = [pointer, ctypes.c_int], None
        self._prove.argtypes, self._prove.restype = [pointer, ctypes.c_char_p, pointer, pointer], size
        self._is_computed = False
        self.rebuild()

    @property
    def root(self) -> bytes:
        """Root of the ledger state (LST-3)."""
        return self._root

    def rebuild(self) -> None:
        """Compute everything from the leaves."""
        self._tree = _Tree()
        self._address = ctypes.addressof(self._tree)
        self._tree.leaf_prefix[:] = b"\x00" + tag_bytes(tags.STATE_TREE)
        self._tree.node_prefix[:] = b"\x01" + tag_bytes(tags.STATE_TREE)
        self._tree.empty[:] = self._tree.hash[:] = self._tree.next_hash[:] = EMPTY
        self._leaves, self._nodes = _Room(self._tree.leaves, _LEAF_BYTES), _Room(self._tree.nodes, _NODE_BYTES)
        self._root = EMPTY
        for leaves in self._source.get_leaves(BUILD_BITS, range(1 << BUILD_BITS)):
            self.compute_update(dict(leaves))
            self.apply()

    def compute_update(self, changes: Mapping[bytes, bytes | None]) -> bytes:
        """Return the root after a batch of changes, without changing the tree (LST-3, LST-4)."""
        items = [path + (_DELETED if value is None else b"\x01" + value) for path, value in changes.items()]
        if any(len(path) != 32 for path in changes) or any(len(item) != _CHANGE_BYTES for item in items):
            raise ValueError("a path and a value hash have 32 bytes each")
        self._is_computed = False
        while True:
            data = bytearray().join(items)  # overwritten
            address = ctypes.addressof(ctypes.c_char.from_buffer(data)) if items else None
            lacking = self._update(self._address, len(items), address)
            if not lacking:
                break
            if lacking & _LEAVES_LACK:
                self._leaves.add(len(items))
            if lacking & _NODES_LACK:
                self._nodes.add(_NODES_PER_CHANGE * len(items))
        self._is_computed = True
        return bytes(self._tree.next_hash)

    def apply(self) -> None:
        """Take over what was computed last."""
        if not self._is_computed:
            raise NothingComputed("no update was computed since the last one was applied")
        self._is_computed = False
        self._settle(self._address, 1)
        self._root = bytes(self._tree.hash)

    def prove(self, path: bytes) -> StateProof:
        """Return the proof that a path has its value, or that it has none (LST-5 to LST-7)."""
        if len(path) != 32:
            raise ValueError("a path has 32 bytes")
        siblings, other = _Siblings(), _Other()
        count = self._prove(self._address, path, siblings, other)
        found, leaf = siblings.raw, other.raw
        return StateProof(
            tuple(found[start : start + 32] for start in range(0, 32 * count, 32)),
            OtherLeaf(leaf[1:33], leaf[33:]) if leaf[0] else None,
        )


def make_ledger_tree(source: LeafSource) -> LedgerTree:
    """Return the native tree over the leaves of a source; without the native library the plain one."""
    library = load()
    return PlainLedgerTree(source) if library is None else NativeLedgerTree(source, library)
