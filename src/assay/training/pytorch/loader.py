"""The loader of a run: batches of the committed data in the committed order, as torch tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from operator import is_
from typing import Any, ClassVar

import numpy as np
import torch
from torch.utils.data import TensorDataset

from assay.errors import UsageError
from assay.training.batches import compute_content
from assay.training.datasets import CommittedData
from assay.training.feed import Batch, Feed
from assay.training.pytorch.home import get_bytes
from assay.training.samples import rebuild_structure


def to_array(value: object) -> np.ndarray | None:
    """Return a tensor as an array, or None for anything else."""
    return value.detach().cpu().contiguous().numpy() if isinstance(value, torch.Tensor) else None


def get_whole_arrays(dataset: object) -> list[np.ndarray]:
    """Return the fields of a data set that is known to be rows of tensors, or nothing."""
    if type(dataset) is TensorDataset:
        return [tensor.detach().cpu().contiguous().numpy() for tensor in dataset.tensors]
    return []


class BatchChanged(UsageError):
    """The step was not given the batch of the loader."""

    code: ClassVar[str] = "run.batch-changed"


class LengthTold(UsageError):
    """The number of batches in an epoch changes after somebody asked for it."""

    code: ClassVar[str] = "data.length-told"


class FedBatch:
    """The batch that the loader gave last: what the user holds, and what was committed.

    Args:
        batch: as committed.
        names: of its fields.
        part: samples of a microbatch; 0: the batch is given whole.
    """

    def __init__(self, batch: Batch, names: tuple[str, ...], part: int = 0) -> None:
        self.batch = batch
        self.tensors = [torch.from_numpy(array) for array in batch.arrays]
        self._part = part
        self._leaves = self.expand(self.tensors)
        parts = [self._leaves[start : start + len(names)] for start in range(0, len(self._leaves), len(names))]
        structures = [rebuild_structure(names, leaves) for leaves in parts]
        self.structure = structures if part else structures[0]

    def expand(self, tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Return the tensors that the step is given, microbatch by microbatch, of the tensors of a whole batch."""
        if not self._part:
            return list(tensors)
        return [leaf for part in zip(*(tensor.split(self._part) for tensor in tensors), strict=True) for leaf in part]

    def verify_untouched(self, leaves: Sequence[Any], *, whole: bool) -> Sequence[torch.Tensor]:
        """Check that the step is given this batch, as it was committed, in the processor's memory or moved to a device.

        Args:
            leaves: what the step is given, flat.
            whole: whether the bytes are hashed again: a change through `.numpy()` leaves no other trace.

        Returns:
            The committed fields, each on the device on which the step is given it.

        Raises:
            BatchChanged: other tensors, or other values.
        """
        same = len(leaves) == len(self._leaves) and all(map(is_, leaves, self._leaves))
        if not same and not self._are_moved(leaves):
            raise BatchChanged(
                "the step was not given the batch that run.loader yielded last",
                expected="all tensors of the batch, in their order, and nothing else",
                next_step="pass the batch as it comes from the loader, or moved by .to(device); move changes to it "
                "into the step; a number that the loop changes goes into an attribute or variable that the step reads",
            )
        is_changed = any(tensor._version or tensor.requires_grad for tensor in (*self.tensors, *self._leaves))
        if is_changed or (whole and compute_content(self.batch.arrays) != self.batch.content):
            raise BatchChanged(
                f"the batch of step {self.batch.step} was changed between run.loader and the step",
                expected="the samples that were committed to",
                next_step="move the change into the step (augmentation, noise, requires_grad_), where it is recorded",
            )
        if same:
            return self.tensors
        return [tensor.to(leaf.device) for tensor, leaf in zip(self.tensors, leaves, strict=False)]

    def _are_moved(self, leaves: Sequence[Any]) -> bool:
        """True if what the step is given are copies of this batch on another device than the CPU, bit for bit.

        A field lies on one device in all microbatches. It is compared at every step: nothing else would show a change
        on the device.
        """
        if len(leaves) != len(self._leaves):
            return False
        fields = len(self.tensors)
        return all(
            (leaf is own or _is_copy(leaf, own)) and leaf.device == leaves[place % fields].device
            for place, (leaf, own) in enumerate(zip(leaves, self._leaves, strict=True))
        )


def _is_copy(leaf: Any, own: torch.Tensor) -> bool:
    """True for a tensor on another device that has the type and the bytes of `own`."""
    if not isinstance(leaf, torch.Tensor) or leaf.is_cpu or leaf.requires_grad:
        return False
    if leaf.dtype != own.dtype or leaf.shape != own.shape:
        return False
    return get_bytes(leaf.contiguous()).tobytes() == get_bytes(own.contiguous()).tobytes()


class Loader:
    """Yields the batches of one epoch for each `for batch in loader`.

    A resumed run begins in the middle: batches before the last checkpoint are left out.

    Args:
        data: the committed data.
        feed: finds the batch of a step.
        begin: called before the first batch; returns the next step, counted from 1.
    """

    def __init__(self, data: CommittedData, feed: Feed, begin: Callable[[], int]) -> None:
        self.data = data
        self.feed = feed
        self._begin = begin
        self._part = 0
        self._told = 0  # the length that somebody asked for
        self.current: FedBatch | None = None

    def accumulate(self, count: int) -> None:
        """Give each step the samples of `count` batches, as a list of batches; the last list may be shorter.

        Raises:
            LengthTold: somebody asked for the number of batches before, and it was another one.
        """
        feed = self.feed.resize(self.feed.batch_size * count)
        if self._told and feed.per_epoch != self._told:
            raise LengthTold(
                f"len(loader) was {self._told} before @run.step(accumulate={count}) made it {feed.per_epoch}",
                expected="one length: whatever was computed from it, such as a schedule, counts other steps now",
                actual=f"{self._told} batches, {feed.per_epoch} steps an epoch",
                next_step=f"say it where the loader is made: run.loader(..., accumulate={count})",
            )
        self._part, self.feed = self.feed.batch_size, feed

    def __len__(self) -> int:
        """Return the number of batches in an epoch; with accumulation, of lists of batches: one for each step."""
        self._told = self.feed.per_epoch
        return self.feed.per_epoch

    def __iter__(self) -> Iterator[Any]:
        """Yield the rest of the epoch in which the next step lies."""
        step = self._begin()
        last = ((step - 1) // self.feed.per_epoch + 1) * self.feed.per_epoch
        while step <= last:
            self.current = FedBatch(self.feed.get_batch(step), self.data.packed.names, self._part)
            yield self.current.structure
            following = self._begin()
            if following != step + 1:
                raise UsageError(
                    f"batch {step} was not used by exactly one step",
                    expected="one call of the recorded step for each batch",
                    actual=f"{following - step} calls",
                    next_step="call the function under @run.step once for each batch of run.loader(...)",
                )
            step = following
