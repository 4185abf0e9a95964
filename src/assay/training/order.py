"""The order of samples with NumPy, equal to `protocol/evidence/order.py`.

Source: `spec/randomness.md`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from assay.protocol.evidence.order import SEQUENTIAL, SHUFFLE, UnknownOrder, count_batches, locate_step
from assay.protocol.evidence.randomness import ORDER
from assay.training.randomness import derive_key, draw_permutation

__all__ = ["compute_order", "count_batches", "get_batch_indices", "locate_step"]


def compute_order(version: int, seed: bytes, epoch: int, size: int) -> npt.NDArray[np.int64]:
    """Return the indices of all samples in the order of an epoch, shape (size,).

    Args:
        version: 0 sequential, 1 shuffle.
        seed: 32 bytes.
        epoch: counted from 0.
        size: number of samples.

    Raises:
        UnknownOrder: another version.
    """
    if version == SEQUENTIAL:
        return np.arange(size, dtype=np.int64)
    if version != SHUFFLE:
        raise UnknownOrder("unknown order version", expected="0 or 1", actual=version)
    return draw_permutation(derive_key(seed, ORDER, epoch), 0, size)


def get_batch_indices(order: npt.NDArray[np.int64], batch_size: int, batch: int) -> npt.NDArray[np.int64]:
    """Return the sample indices of batch `batch`, counted from 0; a view of `order`, the last may be shorter."""
    return order[batch * batch_size : (batch + 1) * batch_size]
