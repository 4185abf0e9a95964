"""Five sums over two tensors: all that the four measures need, in one pass and in one fixed order.

The order makes the sums reproducible, bit for bit, by any implementation: elements are cut into blocks of 4,096; in a
block, element i goes to lane i mod 16; each lane adds its elements in ascending order, starting from +0, in binary64;
the lanes are halved (lane i takes lane i + 8, then i + 4, i + 2 and i + 1); the blocks are added in ascending order.

This file is the truth in NumPy. It is the oracle of the native kernel, and what runs where there is none.

Source: paper 000, Eq. 1 to 4; `spec/weight-analysis.md`, WGT-1 to WGT-4.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from assay.training.arrays import NUMPY_TYPES, Array

LANES: Final = 16
BLOCK: Final = 4096
"""Elements of a block."""

WEIGHT_TYPES: Final = ("f32", "f16", "bf16", "f64")
"""Element types of weights; tensors of other types are no weights."""

Floats = npt.NDArray[np.float64]
Buffer = bytes | bytearray | memoryview


class Sums(NamedTuple):
    """Sums over all elements a of the earlier and b of the later tensor, in binary64.

    Attributes:
        change: Σ |b − a|.
        squares: Σ (b − a)².
        magnitude: Σ |a|.
        before: Σ a².
        after: Σ b².
    """

    change: float = 0.0
    squares: float = 0.0
    magnitude: float = 0.0
    before: float = 0.0
    after: float = 0.0


SumKernel = Callable[[str, Buffer, Buffer], Floats]
"""(element type, earlier bytes, later bytes) -> the five sums over each block, shape (blocks, 5)."""


def join_sums(parts: Iterable[Sums]) -> Sums:
    """Return the sums over several tensors, added in their order (WGT-4)."""
    total = Sums()
    for part in parts:
        total = Sums(*(one + other for one, other in zip(total, part, strict=True)))
    return total


def widen(dtype: str, data: Buffer) -> Floats:
    """Return little-endian elements as binary64, shape (n,); every value of a narrower type is exact (WGT-1).

    Args:
        dtype: one of `WEIGHT_TYPES`.
        data: the raw bytes.
    """
    with np.errstate(invalid="ignore"):  # a signalling NaN
        if dtype == "bf16":
            return (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4").astype(np.float64)
        array: Array = np.frombuffer(data, NUMPY_TYPES[dtype])
        return array.astype(np.float64)


def sum_blocks(dtype: str, earlier: Buffer, later: Buffer) -> Floats:
    """Return the five sums over each block, shape (blocks, 5), in the order of `Sums` (WGT-2, WGT-3).

    Args:
        dtype: one of `WEIGHT_TYPES`.
        earlier: raw bytes of consecutive elements, cut into blocks of `BLOCK`; the last may be shorter.
        later: as many bytes.
    """
    with np.errstate(all="ignore"):  # what is not finite is found in the sums
        a, b = _cut(widen(dtype, earlier)), _cut(widen(dtype, later))
        difference = b - a
        terms = (np.abs(difference), difference * difference, np.abs(a), a * a, b * b)
        return np.stack([_halve(term) for term in terms], axis=1)


def add_blocks(parts: Iterable[Floats]) -> Sums:
    """Return the sums over a tensor: from +0, its blocks in their order (WGT-3).

    Args:
        parts: what `sum_blocks` found for consecutive parts of whole blocks, each of shape (blocks, 5).
    """
    total = np.zeros((1, 5))
    with np.errstate(all="ignore"):
        for blocks in parts:
            total = np.add.accumulate(np.concatenate([total[-1:], blocks]))  # one after the other, never in pairs
    return Sums(*total[-1].tolist())


def _cut(values: Floats) -> Floats:
    """Return shape (blocks, rows, lanes); what is missing in the last block is +0, which changes no sum."""
    blocks = -(-len(values) // BLOCK)
    padded = np.zeros(blocks * BLOCK)
    padded[: len(values)] = values
    return padded.reshape(blocks, BLOCK // LANES, LANES)


def _halve(terms: Floats) -> Floats:
    """Return the sum of each block, shape (blocks,), of shape (blocks, rows, lanes)."""
    lanes = np.zeros((len(terms), LANES))
    for row in range(BLOCK // LANES):  # an explicit loop: NumPy's own sums choose their order
        lanes += terms[:, row]
    for half in (8, 4, 2, 1):
        lanes = lanes[:, :half] + lanes[:, half : 2 * half]
    return lanes[:, 0]
