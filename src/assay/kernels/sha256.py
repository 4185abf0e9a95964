"""Many SHA-256 digests in one call, and Merkle roots over them.

Oracle and fallback: hashlib, and `compute_root` of `protocol/merkle.py`.
"""

from __future__ import annotations

import ctypes
from array import array
from collections.abc import Sequence
from functools import cache
from hashlib import sha256
from itertools import accumulate

from assay.kernels.loader import load
from assay.protocol import merkle
from assay.protocol.hashing import tag_bytes


@cache
def _bind() -> ctypes.CDLL | None:
    library = load()
    if library is not None:
        library.assay_sha256_many.argtypes = [ctypes.c_size_t, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_void_p]
        library.assay_sha256_many.restype = None
        library.assay_merkle_root.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_void_p]
        library.assay_merkle_root.restype = None
    return library


def is_available() -> bool:
    """Return whether there is a native library."""
    return _bind() is not None


def compute_digests(messages: Sequence[bytes]) -> list[bytes]:
    """Return the SHA-256 of each message, 32 bytes each, in their order."""
    library = _bind()
    if library is None:
        return [sha256(message).digest() for message in messages]
    offsets = array("Q", accumulate(map(len, messages), initial=0))
    digests = ctypes.create_string_buffer(32 * len(messages))
    library.assay_sha256_many(len(messages), b"".join(messages), offsets.buffer_info()[0], digests)
    found = digests.raw
    return [found[i : i + 32] for i in range(0, len(found), 32)]


def compute_root(tag: int, leaf_hashes: Sequence[bytes]) -> bytes:
    """Return the root over leaf hashes of 32 bytes; equal to `merkle.compute_root` (HSH-5, HSH-6)."""
    if _bind() is None or not leaf_hashes:
        return merkle.compute_root(tag, leaf_hashes)
    return compute_joined_root(tag, b"".join(leaf_hashes))


def compute_joined_root(tag: int, leaf_hashes: bytes) -> bytes:
    """Return the root over at least one leaf hash of 32 bytes; they stand one after another."""
    library, count = _bind(), len(leaf_hashes) // 32
    if library is None or not count:
        return merkle.compute_root(tag, [leaf_hashes[32 * i : 32 * i + 32] for i in range(count)])
    level = ctypes.create_string_buffer(leaf_hashes, 32 * count)
    library.assay_merkle_root(b"\x01" + tag_bytes(tag), count, level)
    return level.raw[:32]
