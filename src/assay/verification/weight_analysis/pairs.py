"""One streaming pass over two states: every tensor read once, two chunks a thread in memory, whatever the size.

Threads take chunks and sum their blocks; the blocks are added in order afterwards, so that no thread changes a bit.

Source: `spec/weight-analysis.md`, WGT-1, WGT-4, WGT-8, WGT-9.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from queue import Empty, SimpleQueue
from typing import ClassVar, Final, NamedTuple

from assay.errors import Unproven, UsageError
from assay.protocol.evidence.model_state import DTYPES
from assay.verification.weight_analysis.kernel import sum_blocks
from assay.verification.weight_analysis.sources import WeightSource, WeightTensor
from assay.verification.weight_analysis.sums import (
    BLOCK,
    WEIGHT_TYPES,
    Floats,
    SumKernel,
    Sums,
    add_blocks,
    join_sums,
)

CHUNK: Final = 256 * BLOCK
"""Bytes of each side that a thread has in memory: little enough for a cache, and whole blocks of any type."""


MOST_THREADS: Final = 4
LEAST_CHUNKS: Final = 8
"""Each further thread needs as many chunks to be worth its start."""


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
    earlier: WeightSource, later: WeightSource, kernel: SumKernel = sum_blocks, threads: int | None = None
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
    chunks = [
        _Chunk(name, tensor.dtype, offset, min(CHUNK, size - offset))
        for name, tensor in tensors.items()
        for size in [DTYPES[tensor.dtype] * math.prod(tensor.shape)]
        for offset in range(0, size, CHUNK)
    ]
    count = min(threads or os.cpu_count() or 1, MOST_THREADS, len(chunks) // LEAST_CHUNKS + 1)
    reader = _Reader((earlier, later), kernel, min(CHUNK, max((chunk.nbytes for chunk in chunks), default=0)))
    blocks: dict[str, list[Floats]] = {name: [] for name in tensors}
    for chunk, part in zip(chunks, _sum_chunks(chunks, reader, count), strict=True):
        blocks[chunk.name].append(part)
    sums = {name: add_blocks(parts) for name, parts in blocks.items()}
    for name, total in sums.items():
        _check_finite(name, total, earlier, later)
    return sums


def _sum_chunks(chunks: Sequence[_Chunk], reader: _Reader, threads: int) -> list[Floats]:
    """Return the sums over the blocks of each chunk, in their order; the calling thread is one of the threads."""
    found: dict[int, Floats] = {}
    left: SimpleQueue[int] = SimpleQueue()
    for number in range(len(chunks)):
        left.put(number)

    def work() -> None:
        try:
            while True:
                number = left.get_nowait()
                found[number] = reader.sum_chunk(chunks[number])
        except Empty:
            return
        except BaseException:
            with suppress(Empty):  # the others need not go on
                while True:
                    left.get_nowait()
            raise

    with ThreadPoolExecutor(threads - 1) if threads > 1 else nullcontext() as pool:
        others = [pool.submit(work) for _ in range(threads - 1)] if pool else []
        work()
    for other in others:
        other.result()
    return [found[number] for number in range(len(chunks))]


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


class _Chunk(NamedTuple):
    """Some bytes of a tensor: whole blocks, but at its end."""

    name: str
    dtype: str
    offset: int
    nbytes: int


class _Reader(threading.local):
    """Reads chunks of two states, with buffers for each thread."""

    def __init__(self, sources: tuple[WeightSource, WeightSource], kernel: SumKernel, size: int) -> None:
        self._sources, self._kernel = sources, kernel
        self._buffers = memoryview(bytearray(size)), memoryview(bytearray(size))

    def sum_chunk(self, chunk: _Chunk) -> Floats:
        """Return the five sums over each block, shape (blocks, 5)."""
        parts = self._buffers[0][: chunk.nbytes], self._buffers[1][: chunk.nbytes]
        for source, part in zip(self._sources, parts, strict=True):
            source.read_into(chunk.name, chunk.offset, part)
        return self._kernel(chunk.dtype, *parts)


def _check_finite(name: str, sums: Sums, earlier: WeightSource, later: WeightSource) -> None:
    if not all(map(math.isfinite, sums)):
        raise WeightsNotFinite(
            f"the tensor {ascii(name)[:80]} is not finite in {earlier.label} or {later.label}",
            expected="finite weights whose sums are finite",
            actual=", ".join(f"{field} {value}" for field, value in zip(Sums._fields, sums, strict=True)),
        )
