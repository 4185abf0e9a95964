"""SHA-256 of short inputs with little overhead, and Merkle roots made of it.

A state root of a small model is some sixty hashes of less than a hundred bytes, so what surrounds the compression
counts most. CPython's built-in SHA-256 sets up quicker than OpenSSL's, which `hashlib` prefers; both give the same
digests. Reading a fixed prefix once and copying is quicker than joining bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Protocol


class Sha256(Protocol):
    """A running SHA-256."""

    def update(self, data: bytes, /) -> None:
        """Read more bytes."""

    def digest(self) -> bytes:
        """Return the digest of what was read, 32 bytes."""

    def copy(self) -> Sha256:
        """Return another one that has read the same."""


Prepared = Callable[[], Sha256]
"""Makes a SHA-256 that has read a fixed prefix."""


def _find_sha256() -> Callable[[bytes], Sha256]:
    for module in ("_sha2", "_sha256"):  # from Python 3.12 on; before
        try:
            return import_module(module).sha256  # type: ignore[no-any-return]
        except (ImportError, AttributeError):
            continue
    return hashlib.sha256


_sha256 = _find_sha256()


def prepare(prefix: bytes) -> Prepared:
    """Return what makes a SHA-256 that has read `prefix`."""
    return _sha256(prefix).copy


def compute_root_from(node: Prepared, leaf_hashes: Sequence[bytes]) -> bytes:
    """Return the Merkle root over at least one leaf hash; equal to `merkle.compute_root`.

    Args:
        node: has read 0x01 ‖ tag.
        leaf_hashes: 32 bytes each.
    """
    level = leaf_hashes
    while len(level) > 1:
        above = []
        pairs = iter(level)
        for left, right in zip(pairs, pairs, strict=False):
            digest = node()
            digest.update(left + right)
            above.append(digest.digest())
        if len(level) % 2:
            above.append(level[-1])
        level = above
    return level[0]
