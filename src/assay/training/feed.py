"""What a step is fed: the batch of each step number, found from the committed data and the seed alone.

The recorder and whoever replays use this one function, so that they cannot disagree.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from assay.errors import UsageError
from assay.protocol.evidence.collation import DEFAULT, MAX_FILL, Padding, parse_collation
from assay.protocol.evidence.order import count_batches, locate_step
from assay.training.batches import compute_content, compute_membership
from assay.training.order import compute_order, get_batch_indices
from assay.training.packed import Hashes, PackedData


class PaddingUnfit(UsageError):
    """A padding with fills for other fields, or with one that an element type cannot hold."""

    code: ClassVar[str] = "data.padding"


def verify_padding(packed: PackedData, padding: Padding) -> None:
    """Check that a padding fits the fields of the data.

    Raises:
        PaddingUnfit: naming the field.
    """
    if len(padding.fills) != len(packed.fields):
        raise PaddingUnfit("not one fill for each field", expected=len(packed.fields), actual=len(padding.fills))
    for field, fill in zip(packed.fields, padding.fills, strict=True):
        if not fill:
            continue
        dtype = field.values.dtype
        fits = dtype.kind in "iuf" and abs(fill) < MAX_FILL
        if not fits or np.array(fill, np.int64).astype(dtype).astype(np.float64) != fill:
            raise PaddingUnfit(
                f"field {field.name!r} cannot be filled with {fill}", expected=f"a number of {field.dtype}"
            )


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
        collate: of `protocol.evidence.collation`.

    Raises:
        PaddingUnfit: fills that do not fit the fields.
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
        collate: str = DEFAULT,
    ) -> None:
        self.packed = packed
        self.leaf_hashes = leaf_hashes
        self.seed = seed
        self.order_version = order_version
        self.batch_size = batch_size
        self.last_batch = last_batch
        self.collate = collate
        self.per_epoch = count_batches(packed.size, batch_size, last_batch)
        self._padding = parse_collation(collate)
        if self._padding is not None:
            verify_padding(packed, self._padding)
        self._epoch = -1
        self._order: npt.NDArray[np.int64] = np.empty(0, np.int64)

    def resize(self, batch_size: int) -> Feed:
        """Return the feed of the same samples in the same order with other batches."""
        return Feed(
            self.packed,
            self.leaf_hashes,
            seed=self.seed,
            order_version=self.order_version,
            batch_size=batch_size,
            last_batch=self.last_batch,
            collate=self.collate,
        )

    def get_batch(self, step: int) -> Batch:
        """Return the batch of a step, counted from 1."""
        epoch, index = locate_step(step, self.per_epoch)
        if epoch != self._epoch:
            self._order = compute_order(self.order_version, self.seed, epoch, self.packed.size)
            self._epoch = epoch
        indices = get_batch_indices(self._order, self.batch_size, index)
        arrays = self.packed.gather(indices, self._padding)
        return Batch(step, indices, arrays, compute_membership(self.leaf_hashes[indices]), compute_content(arrays))
