"""A collate function of the user's own: what it does to each sample is committed, and that it does no more is checked.

A run gives the same batches again from committed samples alone. So the function is called with one sample at a time,
and what it returns is the sample that is committed; batches are joined by the collation that the plan names (default or
padding). Whole batches are then made in both ways and have to have the same bits. A function that looks at the
neighbours of a sample (mixup, reversing, negative sampling) gives others, and is refused.

Source: `docs/how-to/change-a-script.md`.
"""

from __future__ import annotations

import inspect
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from assay.training.arrays import Array
from assay.training.datasets import MapDataset
from assay.training.feed import Feed
from assay.training.pytorch.loader import to_array
from assay.training.pytorch.takeover import LoaderRefused
from assay.training.samples import flatten_sample

Collate = Callable[[list[Any]], Any]

CHECKED_FIRST, CHECKED_DRAWN = 2, 6
"""Batches that are made in both ways: the first ones, the last of an epoch, and some that are drawn."""

_CURE = (
    "do to each sample what belongs to it, in the data set or in the collate function; do in the step what looks at "
    "several samples; padding at the end has a name: run.loader(..., pad=0)"
)


class CollatedSamples:
    """A data set whose samples are what a collate function makes of each.

    Args:
        dataset: map-style.
        collate: takes a list of samples.
    """

    def __init__(self, dataset: MapDataset, collate: Collate) -> None:
        if not callable(collate):
            raise LoaderRefused("collate_fn is not a function", actual=type(collate).__name__)
        self.dataset, self.collate = dataset, collate

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        """Return what the function makes of one sample, without the dimension of the batch.

        Raises:
            LoaderRefused: the function fails on one sample, or returns something else than a batch of one.
        """
        return _take_only(self.call([self.dataset[index]]), self.collate, "")

    def call(self, samples: list[Any]) -> Any:
        """Return what the function makes of samples, in plain containers."""
        try:
            return _make_plain(self.collate(samples))
        except Exception as error:
            raise LoaderRefused(
                f"{locate(self.collate)}: the collate function failed on {len(samples)} samples: "
                f"{type(error).__name__}: {error}",
                expected="a function that takes any list of samples, one sample too",
                next_step=_CURE,
            ) from error


def locate(collate: Collate) -> str:
    """Return file and line of a function, or what it is."""
    function = inspect.unwrap(collate)
    if not inspect.isroutine(function):  # an object: transformers' collators have the line of their class
        function = type(function)
    try:
        return f"{inspect.getsourcefile(function)}:{inspect.getsourcelines(function)[1]}"
    except (OSError, TypeError):
        return repr(collate)[:100]


def _make_plain(batch: Any) -> Any:
    """Return a batch in plain dictionaries: those of transformers are of a kind of their own."""
    if isinstance(batch, Mapping):
        return {name: _make_plain(value) for name, value in batch.items()}
    if type(batch) in (tuple, list):
        return [_make_plain(value) for value in batch]
    return batch


def _take_only(batch: Any, collate: Collate, path: str) -> Any:
    if isinstance(batch, dict):
        return {name: _take_only(value, collate, f"{path}/{name}") for name, value in batch.items()}
    if isinstance(batch, list):
        return [_take_only(value, collate, f"{path}/#{place}") for place, value in enumerate(batch)]
    shape = tuple(getattr(batch, "shape", ()))
    if not isinstance(batch, torch.Tensor | np.ndarray) or not shape or shape[0] != 1:
        field = f"field {path[1:]!r}" if path else "what it returns"
        raise LoaderRefused(
            f"{locate(collate)}: the collate function makes no batch of one of one sample: {field}",
            expected="tensors or arrays whose first dimension counts the samples, in tuples, lists and dictionaries",
            actual=f"shape {shape}" if shape or isinstance(batch, torch.Tensor | np.ndarray) else type(batch).__name__,
            next_step=_CURE,
        )
    return batch[0]


def verify_collate(samples: CollatedSamples, feed: Feed) -> None:
    """Check that the function makes of whole batches what the run will feed.

    Args:
        samples: that were committed.
        feed: of the run.

    Raises:
        LoaderRefused: naming batch and field.
    """
    drawn = {1 + secrets.randbelow(feed.per_epoch) for _ in range(CHECKED_DRAWN)}
    for step in sorted(drawn | {*range(1, 1 + min(CHECKED_FIRST, feed.per_epoch)), feed.per_epoch}):
        batch = feed.get_batch(step)
        made = samples.call([samples.dataset[int(index)] for index in batch.indices])
        names, arrays = flatten_sample(made, to_array)
        difference = _find_difference(names, arrays, feed.packed.names, batch.arrays)
        if difference:
            raise LoaderRefused(
                f"{locate(samples.collate)}: the collate function does more than to join what it makes of each sample: "
                f"batch {step}, {difference}; a run could not give the same batches again",
                expected="of each sample what it is alone, stacked, or padded at the end with the fill of pad=...",
                next_step=_CURE,
            )


def _find_difference(
    names: Sequence[str], arrays: Sequence[Array], expected_names: Sequence[str], expected: Sequence[Array]
) -> str:
    """Return the first difference of two batches in words, or nothing."""
    if tuple(names) != tuple(expected_names):
        return f"fields {', '.join(names)} instead of {', '.join(expected_names)}"
    for name, made, fed in zip(names, arrays, expected, strict=True):
        if made.dtype != fed.dtype or made.shape != fed.shape:
            return f"field {name!r} is {made.dtype} {list(made.shape)} instead of {fed.dtype} {list(fed.shape)}"
        if made.tobytes() != fed.tobytes():
            return f"field {name!r} has other values"
    return ""
