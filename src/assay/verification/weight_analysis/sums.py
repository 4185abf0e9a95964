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


SumKernel = Callable[[str, Buffer, Buffer, Sums], Sums]
"""(element type, earlier bytes, later bytes, sums so far) -> sums. Whole blocks, except in the last call."""


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


def add_blocks(dtype: str, earlier: Buffer, later: Buffer, so_far: Sums) -> Sums:
    """Return `so_far` and the sums over these elements (WGT-2, WGT-3).

    Args:
        dtype: one of `WEIGHT_TYPES`.
        earlier: raw bytes of consecutive elements; a whole number of blocks unless they are the last ones.
        later: as many bytes.
        so_far: sums over the elements before.
    """
    with np.errstate(all="ignore"):  # what is not finite is found in the sums
        a, b = _cut(widen(dtype, earlier)), _cut(widen(dtype, later))
        difference = b - a
        terms = (np.abs(difference), difference * difference, np.abs(a), a * a, b * b)
        return Sums(*(_add(total, term) for total, term in zip(so_far, terms, strict=True)))


def _cut(values: Floats) -> Floats:
    """Return shape (blocks, rows, lanes); what is missing in the last block is +0, which changes no sum."""
    blocks = -(-len(values) // BLOCK)
    padded = np.zeros(blocks * BLOCK)
    padded[: len(values)] = values
    return padded.reshape(blocks, BLOCK // LANES, LANES)


def _add(total: float, terms: Floats) -> float:
    lanes = np.zeros((len(terms), LANES))
    for row in range(BLOCK // LANES):  # an explicit loop: NumPy's own sums choose their order
        lanes += terms[:, row]
    for half in (8, 4, 2, 1):
        lanes = lanes[:, :half] + lanes[:, half : 2 * half]
    for block in lanes[:, 0].tolist():
        total += block
    return total
