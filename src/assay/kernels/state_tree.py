"""The roots of a model state above the digests of its tensors, in one call.

Oracle: `protocol/evidence/model_state.py`.
"""

from __future__ import annotations

import ctypes
from array import array
from collections.abc import Sequence
from functools import cache
from itertools import accumulate

from assay.kernels.bulk_digests import Digests
from assay.kernels.loader import load
from assay.protocol import tags
from assay.protocol.hashing import tag_bytes


class _State(ctypes.Structure):
    """`struct assay_state` of `assay_kernels.h`."""

    _fields_ = (
        ("count", ctypes.c_size_t),
        ("split", ctypes.c_size_t),
        ("leaves", ctypes.c_void_p),
        ("offsets", ctypes.c_void_p),
        ("digests", ctypes.c_void_p),
        ("hashes", ctypes.c_void_p),
        ("model_prefix", ctypes.c_uint8 * 3),
        ("rest_prefix", ctypes.c_uint8 * 3),
        ("state_prefix", ctypes.c_uint8 * 3),
        ("alias_leaf", ctypes.c_uint8 * 32),
        ("empty_rest", ctypes.c_uint8 * 32),
        ("roots", ctypes.c_uint8 * 96),
    )


@cache
def _bind() -> ctypes.CDLL | None:
    library = load()
    if library is not None:
        library.assay_state_roots.argtypes = [ctypes.c_void_p]
        library.assay_state_roots.restype = None
    return library


def is_available() -> bool:
    """Return whether there is a native library."""
    return _bind() is not None


class StateTree:
    """The tree of one layout.

    Args:
        leaves: the leaf message of each tensor but its last 32 bytes, which are the tensor's digest.
        split: how many of them are in the model tree; those come first.
        alias_leaf: hash of the last leaf of the model tree.
        empty_rest: root of the rest tree where it has no leaf.
    """

    def __init__(self, leaves: Sequence[bytes], split: int, alias_leaf: bytes, empty_rest: bytes) -> None:
        self._leaves = ctypes.create_string_buffer(b"".join(leaf + bytes(32) for leaf in leaves))
        self._offsets = array("Q", accumulate((len(leaf) + 32 for leaf in leaves), initial=0))
        self._hashes = ctypes.create_string_buffer(32 * (len(leaves) + 1))
        self._state = _State(
            count=len(leaves),
            split=split,
            leaves=ctypes.addressof(self._leaves),
            offsets=self._offsets.buffer_info()[0],
            hashes=ctypes.addressof(self._hashes),
        )
        for field, tag in (
            (self._state.model_prefix, tags.MODEL_TREE),
            (self._state.rest_prefix, tags.REST_TREE),
            (self._state.state_prefix, tags.STATE_NODE),
        ):
            field[:] = b"\x01" + tag_bytes(tag)
        self._state.alias_leaf[:] = alias_leaf
        self._state.empty_rest[:] = empty_rest
        self._address = ctypes.addressof(self._state)

    def compute(self, digests: Digests) -> tuple[bytes, bytes, bytes]:
        """Return model root, rest root and state root (MST-7, MST-8).

        Args:
            digests: of all tensors, in the order of the leaves.
        """
        library = _bind()
        if library is None or digests.nbytes != 32 * self._state.count:
            raise ValueError("expected the native library, and one digest of 32 bytes per tensor")
        self._state.digests = digests.ctypes.data
        library.assay_state_roots(self._address)
        roots = bytes(self._state.roots)
        return roots[:32], roots[32:64], roots[64:]
