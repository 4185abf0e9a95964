"""One streaming pass over two states: every tensor read once, two chunks a thread in memory, whatever the size.

Threads take whole tensors, so that their number changes no sum.

Source: `spec/weight-analysis.md`, WGT-1, WGT-4, WGT-8, WGT-9.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar, Final

from assay.errors import Unproven, UsageError
from assay.protocol.evidence.model_state import DTYPES
from assay.verification.weight_analysis.kernel import add_sums
from assay.verification.weight_analysis.sources import WeightSource, WeightTensor
from assay.verification.weight_analysis.sums import BLOCK, WEIGHT_TYPES, SumKernel, Sums, join_sums

CHUNK: Final = 128 * BLOCK
"""Bytes of each side that are in memory at a time: little enough for a cache, and whole blocks of any type."""


MOST_THREADS: Final = 4


class WeightsMismatch(UsageError):
    """Two states that do not have the same tensors."""

    code: ClassVar[str] = "weights.mismatch"


class WeightsNotFinite(Unproven):
    """A weight is NaN or infinite, so that no change can be measured."""

    code: ClassVar[str] = "weights.not-finite"


class NoWeights(UsageError):
    """A state without a single weight."""

    code: ClassVar[str] = "weights.none"


def compare_pair(
    earlier: WeightSource, later: WeightSource, kernel: SumKernel = add_sums, threads: int | None = None
) -> dict[str, Sums]:
    """Return the sums of each weight tensor, by name in bytewise order; tensors of integers and bools are left out.

    Args:
        earlier: the state before the interval.
        later: the state after it.
        kernel: adds up one chunk; the native one where it was built.
        threads: that read and add at a time; None: one per core, at most `MOST_THREADS`.

    Raises:
        WeightsMismatch: the two do not have the same tensors.
        WeightsNotFinite: a weight is NaN or infinite, or a float64 sum overflows.
        NoWeights: there is nothing to compare.
        AssayError: from a source.
    """
    tensors = match_tensors(earlier, later)
    sources = earlier, later
    count = min(threads or os.cpu_count() or 1, MOST_THREADS, len(tensors))
    if count == 1:
        return {name: _compare(name, tensor, sources, kernel) for name, tensor in tensors.items()}
    with ThreadPoolExecutor(count) as pool:
        found = [pool.submit(_compare, name, tensor, sources, kernel) for name, tensor in tensors.items()]
        try:
            return {name: future.result() for name, future in zip(tensors, found, strict=True)}
        finally:
            for future in found:
                future.cancel()


def compute_total(sums: Mapping[str, Sums]) -> Sums:
    """Return the sums over a whole state: tensors in bytewise order of their names (WGT-4)."""
    return join_sums(sums[name] for name in sorted(sums, key=str.encode))


def match_tensors(earlier: WeightSource, later: WeightSource) -> dict[str, WeightTensor]:
    """Return the weight tensors that both states have, by name in bytewise order.

    Raises:
        WeightsMismatch: a name, an element type or a shape is another one (WGT-8).
        NoWeights: none holds floating-point numbers.
    """
    one, other = earlier.tensors, later.tensors
    for name in sorted({*one, *other}, key=str.encode):
        if one.get(name) != other.get(name):
            raise WeightsMismatch(
                f"{earlier.label} and {later.label} differ in the tensor {ascii(name)[:80]}",
                expected=one.get(name, "no such tensor"),
                actual=other.get(name, "no such tensor"),
                next_step="compare states of one model",
            )
    weights = {name: one[name] for name in sorted(one, key=str.encode) if one[name].dtype in WEIGHT_TYPES}
    if not weights:
        raise NoWeights(f"{earlier.label} holds no weights", expected=f"a tensor of {', '.join(WEIGHT_TYPES)}")
    return weights


def _compare(
    name: str,
    tensor: WeightTensor,
    sources: tuple[WeightSource, WeightSource],
    kernel: SumKernel,
) -> Sums:
    total = DTYPES[tensor.dtype] * math.prod(tensor.shape)
    views = [memoryview(bytearray(min(CHUNK, total))) for _ in sources]
    sums = Sums()
    for offset in range(0, total, CHUNK):
        count = min(CHUNK, total - offset)
        parts = views[0][:count], views[1][:count]
        for source, part in zip(sources, parts, strict=True):
            source.read_into(name, offset, part)
        sums = kernel(tensor.dtype, *parts, sums)
    if not all(map(math.isfinite, sums)):
        raise WeightsNotFinite(
            f"the tensor {ascii(name)[:80]} is not finite in {sources[0].label} or {sources[1].label}",
            expected="finite weights whose sums are finite",
            actual=", ".join(f"{field} {value}" for field, value in zip(Sums._fields, sums, strict=True)),
        )
    return sums
