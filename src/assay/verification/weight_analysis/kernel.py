"""The fastest kernel that this machine has for the sums: native code, or the truth in NumPy; the same bits."""

from __future__ import annotations

from assay.kernels import weight_sums
from assay.verification.weight_analysis.sums import Buffer, Sums, add_blocks


def add_sums(dtype: str, earlier: Buffer, later: Buffer, so_far: Sums) -> Sums:
    """Return `so_far` and the sums over these elements; see `sums.add_blocks`."""
    if isinstance(earlier, bytes) or isinstance(later, bytes):
        return add_blocks(dtype, earlier, later, so_far)
    found = weight_sums.add_blocks(dtype, earlier, later, so_far)
    return add_blocks(dtype, earlier, later, so_far) if found is None else Sums(*found)
