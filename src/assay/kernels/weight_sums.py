"""Five sums over two tensors of weights, natively.

Oracle and fallback: `verification/weight_analysis/sums.py`, whose bits these are.

Source: `spec/weight-analysis.md`, WGT-2, WGT-3.
"""

from __future__ import annotations

import ctypes
from functools import cache

from assay.errors import UsageError
from assay.kernels.loader import load

TYPES = {"f16": (0, 2), "bf16": (1, 2), "f32": (2, 4), "f64": (3, 8)}
"""Element types: number in the ABI, and bytes of an element."""

_Five = ctypes.c_double * 5


class WeightBuffersRefused(UsageError):
    """Two buffers that are not the same number of whole elements."""

    code = "kernels.weight-buffers"


@cache
def _bind() -> ctypes.CDLL | None:
    library = load()
    if library is not None:
        library.assay_weight_sums.argtypes = [
            ctypes.c_uint32, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p,
        ]  # fmt: skip
        library.assay_weight_sums.restype = None
    return library


def is_native() -> bool:
    """Return whether there is a native kernel."""
    return _bind() is not None


def add_blocks(
    dtype: str, earlier: bytearray | memoryview, later: bytearray | memoryview, so_far: tuple[float, ...]
) -> tuple[float, ...] | None:
    """Return `so_far` and the five sums over these elements; None: there is no native kernel.

    Args:
        dtype: a key of `TYPES`.
        earlier: writable raw bytes; a whole number of blocks of 4,096 elements unless they are the last ones.
        later: as many bytes.
        so_far: five sums.

    Raises:
        WeightBuffersRefused: the lengths do not fit.
    """
    library = _bind()
    if library is None:
        return None
    number, size = TYPES[dtype]
    nbytes = len(earlier)
    if len(later) != nbytes or nbytes % size:
        raise WeightBuffersRefused(
            "two buffers of weights do not fit",
            expected=f"equal multiples of {size} bytes",
            actual=(nbytes, len(later)),
        )
    if not nbytes:
        return so_far
    sums = _Five(*so_far)
    one, other = ctypes.c_char.from_buffer(earlier), ctypes.c_char.from_buffer(later)
    library.assay_weight_sums(number, nbytes // size, ctypes.byref(one), ctypes.byref(other), sums)
    return tuple(sums)
