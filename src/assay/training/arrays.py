"""Element types of NumPy arrays, and their raw bytes.

NumPy has no bfloat16: an array of `BF16` holds its bit patterns.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

BF16 = np.dtype([("bf16", "<u2")])
"""NumPy's stand-in for bfloat16: its bit pattern."""

NUMPY_TYPES = {
    "f16": np.dtype("<f2"), "bf16": BF16, "f32": np.dtype("<f4"), "f64": np.dtype("<f8"),
    "bool": np.dtype("?"), "u8": np.dtype("u1"), "i8": np.dtype("i1"),
    "i16": np.dtype("<i2"), "i32": np.dtype("<i4"), "i64": np.dtype("<i8"),
}  # fmt: skip
"""NumPy's type by the name of `model_state.DTYPES`."""

TYPE_NAMES = {dtype: name for name, dtype in NUMPY_TYPES.items()}
"""The names of `model_state.DTYPES` by NumPy's type."""


def view_bytes(array: Array) -> memoryview:
    """Return the raw bytes of an array, shape (nbytes,), without a copy where it is contiguous."""
    return array.reshape(-1).view(np.uint8).data
