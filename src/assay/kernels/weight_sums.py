"""Five sums over two tensors of weights, natively.

Oracle and fallback: `verification/weight_analysis/sums.py`, whose bits these are.

Source: `spec/weight-analysis.md`, WGT-2, WGT-3.
"""

from __future__ import annotations

import ctypes
from functools import cache

import numpy as np
import numpy.typing as npt

from assay.errors import UsageError
from assay.kernels.loader import load

TYPES = {"f16": (0, 2), "bf16": (1, 2), "f32": (2, 4), "f64": (3, 8)}
"""Element types: number in the ABI, and bytes of an element."""

BLOCK = 4096
"""Elements of a block."""


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


def sum_blocks(
    dtype: str, earlier: bytearray | memoryview, later: bytearray | memoryview
) -> npt.NDArray[np.float64] | None:
    """Return the five sums over each block, shape (blocks, 5); None: there is no native kernel.

    Args:
        dtype: a key of `TYPES`.
        earlier: writable raw bytes of elements; they are cut into blocks of `BLOCK`, of which the last may be shorter.
        later: as many bytes.

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
    count = nbytes // size
    sums = np.empty((-(-count // BLOCK), 5))
    if count:
        one, other = ctypes.c_char.from_buffer(earlier), ctypes.c_char.from_buffer(later)
        library.assay_weight_sums(number, count, ctypes.byref(one), ctypes.byref(other), sums.ctypes.data)
    return sums
