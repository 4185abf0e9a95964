"""The fastest kernel that this machine has for the sums: native code, or the truth in NumPy; the same bits."""

from __future__ import annotations

from assay.kernels import weight_sums
from assay.verification.weight_analysis import sums
from assay.verification.weight_analysis.sums import Buffer, Floats


def sum_blocks(dtype: str, earlier: Buffer, later: Buffer) -> Floats:
    """Return the five sums over each block, shape (blocks, 5); see `sums.sum_blocks`."""
    if isinstance(earlier, bytes) or isinstance(later, bytes):
        return sums.sum_blocks(dtype, earlier, later)
    found = weight_sums.sum_blocks(dtype, earlier, later)
    return sums.sum_blocks(dtype, earlier, later) if found is None else found
