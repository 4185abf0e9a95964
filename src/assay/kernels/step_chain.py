"""The rows of a run's log, verified many in one call: checks, and leaves that follow from row and leaf before.

Oracle and fallback: `training/compare/chain_check.py`, which decodes each row.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache
from typing import Final

import numpy as np

from assay.kernels.loader import load
from assay.protocol import tags
from assay.protocol.hashing import tag_bytes

END: Final = 0
"""As many rows hold as were asked for, or all that there are."""

OTHER: Final = 1
"""The next row has a form that has to be decoded; its check was not looked at."""

MARK: Final = 2
"""Next is a mark, or no row at all."""

DAMAGED: Final = 3
"""The next row's check or length does not fit."""

DIFFERS: Final = 4
"""The next row's leaf does not follow from its row and the leaf before."""


class _Chain(ctypes.Structure):
    """`struct assay_chain` of `assay_kernels.h`."""

    _fields_ = (
        ("step", ctypes.c_uint64),
        ("position", ctypes.c_uint64),
        ("programs", ctypes.c_char_p),
        ("program_count", ctypes.c_size_t),
        ("leaf", ctypes.c_uint8 * 32),
        ("scalars", ctypes.c_uint8 * 32),
        ("has_scalars", ctypes.c_uint32),
        ("leaf_prefix", ctypes.c_uint8 * 2),
        ("scalars_prefix", ctypes.c_uint8 * 2),
    )


@cache
def _bind() -> ctypes.CDLL | None:
    library = load()
    if library is not None:
        library.assay_verify_rows.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint64]
        library.assay_verify_rows.restype = ctypes.c_int
    return library


def is_available() -> bool:
    """Return whether there is a native library."""
    return _bind() is not None


class RowWalk:
    """A walk along the bytes of a log, whose place the caller can move over what it has verified itself.

    Args:
        data: the log from its first byte; it must not change its size while the walk lives.
        programs: ids of the programs, 32 bytes each.
        start: id of the start leaf, 32 bytes.
    """

    def __init__(self, data: bytes | memoryview, programs: Sequence[bytes], start: bytes) -> None:
        self._data = np.frombuffer(data, np.uint8)
        self._programs = b"".join(programs)  # kept alive: the structure points at it
        self._chain = _Chain(programs=self._programs, program_count=len(programs))
        self._chain.leaf[:] = start
        self._chain.leaf_prefix[:] = tag_bytes(tags.STEP_LEAF)
        self._chain.scalars_prefix[:] = tag_bytes(tags.SCALARS_ROW)

    @property
    def step(self) -> int:
        """The last row that holds, from 1; 0: none yet."""
        return int(self._chain.step)

    @property
    def position(self) -> int:
        """The byte behind that row, or behind what was skipped after it."""
        return int(self._chain.position)

    @property
    def leaf(self) -> bytes:
        """The id of that row's leaf, or of the start leaf."""
        return bytes(self._chain.leaf)

    @property
    def scalars(self) -> bytes | None:
        """The digest of the scalars row in force; None: there was none yet."""
        return bytes(self._chain.scalars) if self._chain.has_scalars else None

    def skip(self, position: int) -> None:
        """Go on at a byte behind a mark."""
        self._chain.position = position

    def accept(self, position: int, leaf: bytes, scalars: bytes) -> None:
        """Go on behind a row that the caller has verified; `scalars` is the digest of the scalars row in force."""
        self._chain.step += 1
        self._chain.position = position
        self._chain.leaf[:] = leaf
        self._chain.scalars[:] = scalars
        self._chain.has_scalars = 1

    def verify(self, end: int, rows: int) -> int:
        """Verify up to `rows` rows of the first `end` bytes; return what comes next: one of the constants above."""
        library = _bind()
        if library is None:
            return OTHER if self._data[self.position : self.position + 4].any() else MARK
        if not self.position <= end <= self._data.size:
            raise ValueError(f"{end} does not lie between {self.position} and {self._data.size}")
        return int(library.assay_verify_rows(ctypes.addressof(self._chain), self._data.ctypes.data, end, rows))
