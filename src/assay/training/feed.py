"""What a step is fed: the batch of each step number, found from the committed data and the seed alone.

The recorder and whoever replays use this one function, so that they cannot disagree.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from assay.protocol.evidence.order import count_batches, locate_step
from assay.training.batches import compute_content, compute_membership
from assay.training.order import compute_order, get_batch_indices
from assay.training.packed import Hashes, PackedData


@dataclass(frozen=True)
class Batch:
    """One batch: collated arrays in the order of the fields, and the roots that its leaf holds."""

    step: int
    indices: npt.NDArray[np.int64]
    arrays: list[npt.NDArray[np.generic]]
    membership: bytes
    content: bytes


class Feed:
    """The batches of a run.

    Args:
        packed: the data.
        leaf_hashes: hashes of its data leaves, shape (n, 32).
        seed: 32 bytes.
        order_version: of `protocol.evidence.order`.
        batch_size: samples a batch.
        last_batch: "keep" or "drop".
    """

    def __init__(
        self,
        packed: PackedData,
        leaf_hashes: Hashes,
        *,
        seed: bytes,
        order_version: int,
        batch_size: int,
        last_batch: str,
    ) -> None:
        self.packed = packed
        self.leaf_hashes = leaf_hashes
        self.seed = seed
        self.order_version = order_version
        self.batch_size = batch_size
        self.per_epoch = count_batches(packed.size, batch_size, last_batch)
        self._epoch = -1
        self._order: npt.NDArray[np.int64] = np.empty(0, np.int64)

    def get_batch(self, step: int) -> Batch:
        """Return the batch of a step, counted from 1."""
        epoch, index = locate_step(step, self.per_epoch)
        if epoch != self._epoch:
            self._order = compute_order(self.order_version, self.seed, epoch, self.packed.size)
            self._epoch = epoch
        indices = get_batch_indices(self._order, self.batch_size, index)
        arrays = self.packed.gather(indices)
        return Batch(step, indices, arrays, compute_membership(self.leaf_hashes[indices]), compute_content(arrays))
