"""BLAKE3 of many buffers in one call: chunks of all of them stand side by side in the lanes of a vector.

Oracle and fallback: the blake3 package, which has kernels of its own. Without AVX2 ours are no faster, so it is used.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache
from operator import is_not

import numpy as np
import numpy.typing as npt
from blake3 import blake3

from assay.kernels.loader import FEATURES, get_used_features, load

Buffer = bytes | bytearray | memoryview
"""Contiguous raw bytes."""

Digests = npt.NDArray[np.uint8]
"""Digests one after another, shape (32 · count,)."""


@cache
def _bind() -> ctypes.CDLL | None:
    library = load()
    if library is not None:
        library.assay_blake3_many.argtypes = [ctypes.c_size_t, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p]
        library.assay_blake3_many.restype = None
    return library


def is_native_faster() -> bool:
    """Return whether `BulkHasher` uses the native kernels."""
    return _bind() is not None and bool(get_used_features() & FEATURES["avx2"])


class BulkHasher:
    """Hashes buffers again and again, most often the same ones with new content.

    The address of a memoryview cannot change while the view lives, so it is asked for once.
    """

    def __init__(self) -> None:
        self._buffers: list[Buffer] = []
        self._sizes: list[int] = []
        self._pointed = 0, 0, 0, 0  # what the library is called with
        self._arrays: tuple[npt.NDArray[np.uint64], ...] = ()  # kept alive for their addresses
        self._digests: Digests = np.empty(0, np.uint8)

    def compute(self, buffers: Sequence[Buffer]) -> Digests:
        """Return the BLAKE3 digests in the order of `buffers`; the array is overwritten by the next call."""
        library = _bind()
        if library is None or not is_native_faster():
            return np.frombuffer(b"".join(_hash_each(buffers)), np.uint8)
        if list(map(len, buffers)) != self._sizes or any(map(is_not, buffers, self._buffers)):
            self._point_at(buffers)
        library.assay_blake3_many(*self._pointed)
        return self._digests

    def _point_at(self, buffers: Sequence[Buffer]) -> None:
        """Find the addresses; they are remembered if all buffers are views, for a bytearray may move."""
        views = [np.frombuffer(buffer, np.uint8) for buffer in buffers]
        addresses = np.array([view.__array_interface__["data"][0] for view in views], np.uint64)
        lengths = np.array([view.size for view in views], np.uint64)
        digests = np.empty(32 * len(views), np.uint8)
        self._arrays = addresses, lengths
        self._digests = digests
        self._pointed = len(views), addresses.ctypes.data, lengths.ctypes.data, digests.ctypes.data
        is_fixed = all(isinstance(buffer, memoryview) for buffer in buffers)
        self._buffers = list(buffers) if is_fixed else []
        self._sizes = list(map(len, buffers)) if is_fixed else [-1]


def compute_bulk_digests(buffers: Sequence[Buffer]) -> list[bytes]:
    """Return the BLAKE3 digest of each buffer, 32 bytes each (HSH-3)."""
    return split_digests(BulkHasher().compute(buffers).tobytes())


def split_digests(digests: bytes) -> list[bytes]:
    """Return digests of 32 bytes that stand one after another as a list."""
    return [digests[i : i + 32] for i in range(0, len(digests), 32)]


def _hash_each(buffers: Sequence[Buffer]) -> list[bytes]:
    """Return the digests by the library, one call per buffer."""
    bulk = blake3()
    reset, update, finish = bulk.reset, bulk.update, bulk.digest
    digests = []
    for buffer in buffers:
        reset()
        update(buffer)
        digests.append(finish())
    return digests
