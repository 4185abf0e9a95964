"""Commitment to a map-style data set: every sample is read once, packed and hashed, before the order is known.

A share of the samples is read twice: a data set that returns other bytes the second time has a random transform, which
belongs into the step, where its randomness is recorded.

Source: `spec/data.md`.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from assay.errors import UsageError
from assay.protocol.evidence.plan import DataSet
from assay.training.arrays import TYPE_NAMES, Array, view_bytes
from assay.training.packed import PROGRESS_EVERY, Hashes, PackedData, PackedField, Progress
from assay.training.randomness import draw_permutation
from assay.training.samples import ToArray, flatten_sample

MIN_READ_TWICE = 8
READ_TWICE_SHARE = 100
"""One in this many samples is read twice."""


class MapDataset(Protocol):
    """A data set with a length and random access."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


class UnusableDataset(UsageError):
    """The data set has no length, no sample, or samples that do not fit together."""

    code = "data.unusable"


class RandomTransform(UsageError):
    """The data set returns other bytes when the same sample is read again."""

    code = "data.random-transform"


@dataclass(frozen=True)
class CommittedData:
    """A data set that was read, packed and committed to.

    Args:
        record: the commitment, for the plan.
        packed: the samples.
        leaf_hashes: of the data leaves, shape (n, 32).
        content_digests: of the samples without index and salt, shape (n, 32).
    """

    record: DataSet
    packed: PackedData
    leaf_hashes: Hashes
    content_digests: Hashes


def commit_dataset(
    dataset: MapDataset,
    *,
    check_seed: bytes,
    to_array: ToArray = lambda _: None,
    arrays: Sequence[Array] = (),
    salt_key: bytes = b"",
    progress: Progress | None = None,
) -> CommittedData:
    """Read a data set and commit to it.

    Args:
        dataset: has `len` and returns the same sample for the same index, 0 to n − 1.
        check_seed: at least 16 random bytes that choose the samples which are read twice.
        to_array: turns foreign objects, such as tensors, into arrays.
        arrays: the whole fields, shapes (n, …), if it is known that `dataset[i]` is the tuple of their i-th rows: they
            are copied instead of reading sample by sample. The reading-twice check compares `dataset[i]` with them.
        salt_key: 32 secret bytes if the leaves shall hide guessable samples.
        progress: is told how many samples have been read, then how many have been hashed.

    Raises:
        UnusableDataset: no length, no sample, or samples of different fields or element types.
        UnsupportedSample: a sample holds something that has no canonical bytes.
        RandomTransform: a sample was other bytes on the second reading.
    """
    if len(salt_key) not in {0, 32} or len(check_seed) < 16:
        raise UnusableDataset("a salt key has 32 bytes, a check seed at least 16")
    size = _get_size(dataset)
    fields = _copy_arrays(arrays, size) if arrays else _read_samples(dataset, size, to_array, progress)
    packed = PackedData(size, fields, salt_key)
    _verify_repeatable(dataset, packed, to_array, check_seed)
    leaf_hashes, content_digests = packed.compute_hashes(progress)
    return CommittedData(packed.describe(leaf_hashes), packed, leaf_hashes, content_digests)


def count_overlap(train: Hashes, test: Hashes) -> int:
    """Return how many samples of `test` have a content that also occurs in `train`.

    Args:
        train: content digests, shape (n, 32).
        test: content digests, shape (m, 32).
    """
    known = {row.tobytes() for row in train}
    return sum(row.tobytes() in known for row in test)


def _get_size(dataset: Any) -> int:
    if not hasattr(type(dataset), "__getitem__") or not hasattr(type(dataset), "__len__"):
        raise UnusableDataset(
            "the data set has no length or no random access",
            actual=type(dataset).__qualname__,
            next_step="pass a map-style data set: one with __len__ and __getitem__",
        )
    size = len(dataset)
    if size < 1:
        raise UnusableDataset("the data set is empty", expected="at least one sample")
    return size


def _copy_arrays(arrays: Sequence[Array], size: int) -> tuple[PackedField, ...]:
    for array in arrays:
        if array.dtype not in TYPE_NAMES or len(array) != size:
            raise UnusableDataset("whole fields do not fit", expected=size, actual=(array.dtype, len(array)))
    return tuple(PackedField(f"#{number}", np.array(array, order="C")) for number, array in enumerate(arrays))


MAX_IN_MEMORY = 2**28
"""Bytes of one field of all samples; larger ones are collected in a temporary file that has no name."""


def _allocate(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Return memory for a field: mapped from a file where it is large, so that the system may write it out."""
    nbytes = math.prod(shape) * dtype.itemsize
    if nbytes <= MAX_IN_MEMORY:
        return np.empty(shape, dtype)
    with tempfile.TemporaryFile() as file:
        return np.memmap(file, dtype, "w+", shape=shape)


class _Column:
    """Collects one field of all samples; falls back to a list of pieces at the first other shape."""

    def __init__(self, name: str, first: Array, size: int) -> None:
        self.name = name
        self.shape = first.shape
        self.dtype = first.dtype
        self.size = size
        self.values = _allocate((size, *first.shape), first.dtype)
        self.pieces: list[Array] | None = None

    def put(self, index: int, value: Array) -> None:
        """Store the value of sample `index`; called in ascending order."""
        if value.dtype != self.dtype or len(value.shape) != len(self.shape):
            raise UnusableDataset(
                f"sample {index} has another element type or number of dimensions in field {self.name!r}",
                expected=f"{TYPE_NAMES[self.dtype]} of {len(self.shape)} dimensions",
                actual=f"{TYPE_NAMES[value.dtype]} of {value.ndim} dimensions",
                next_step="make __getitem__ return one element type for every sample",
            )
        if self.pieces is not None:
            self.pieces.append(value.copy())
        elif value.shape == self.shape:
            self.values[index] = value
        else:
            self.pieces = [*(row.copy() for row in self.values[:index]), value.copy()]
            self.values = np.empty((0, *self.shape), self.dtype)

    def finish(self) -> PackedField:
        """Return the packed field."""
        if self.pieces is None:
            return PackedField(self.name, self.values)
        shapes = np.array([piece.shape for piece in self.pieces], np.int64)
        return PackedField(self.name, np.concatenate([piece.reshape(-1) for piece in self.pieces]), shapes)


def _read_samples(
    dataset: MapDataset, size: int, to_array: ToArray, progress: Progress | None
) -> tuple[PackedField, ...]:
    names, values = flatten_sample(dataset[0], to_array)
    columns = [_Column(name, value, size) for name, value in zip(names, values, strict=True)]
    put: list[Callable[[int, Array], None]] = [column.put for column in columns]
    for index in range(size):
        if index:
            found, values = flatten_sample(dataset[index], to_array)
            if found != names:  # DAT-4
                raise UnusableDataset(
                    f"sample {index} has other fields than sample 0",
                    expected=", ".join(map(repr, names)),
                    actual=", ".join(map(repr, found)),
                    next_step="make __getitem__ return the same structure for every sample",
                )
        for store, value in zip(put, values, strict=True):
            store(index, value)
        if progress is not None and index % PROGRESS_EVERY == 0:
            progress(index, size)
    return tuple(column.finish() for column in columns)


def _verify_repeatable(dataset: MapDataset, packed: PackedData, to_array: ToArray, check_seed: bytes) -> None:
    # DAT-9.
    key = int.from_bytes(check_seed[:8], "little"), int.from_bytes(check_seed[8:16], "little")
    count = min(packed.size, max(MIN_READ_TWICE, packed.size // READ_TWICE_SHARE))
    for index in draw_permutation(key, 0, packed.size)[:count].tolist():
        names, values = flatten_sample(dataset[index], to_array)
        if names != packed.names or any(
            again.dtype != first.dtype or again.shape != first.shape or view_bytes(again) != view_bytes(first)
            for first, again in zip(packed.get_sample(index), values, strict=True)
        ):
            raise RandomTransform(
                f"sample {index} is other bytes when it is read again",
                expected="the same bytes whenever a sample is read",
                next_step="move the random transform into the step, where its randomness is recorded",
            )
