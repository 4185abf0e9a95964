"""How a difference of two runs grows: the distance of their losses at every step, of their weights at stored states."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from assay.protocol.evidence import program as ir
from assay.protocol.evidence.model_state import PARAM, TensorRecord
from assay.storage.checkpoints import Manifest
from assay.training.arrays import BF16, NUMPY_TYPES
from assay.training.compare.first_step import iterate_pairs
from assay.training.compare.side import Side

MAX_POINTS: Final = 2000
MAX_STATE_BYTES: Final = 1 << 30
"""Stored states above this are not read for a picture."""

_FLOATS: Final = ("f16", "f32", "f64")


class Growth(msgspec.Struct, frozen=True, rename="camel"):
    """Two series.

    Attributes:
        steps: of A; at most `MAX_POINTS`, each standing for the largest distance in its stretch.
        losses: |loss of A − loss of B|, of the first real number that the step returns; NaN is None.
        states: steps of A at which both runs store a state that could be compared.
        weights: L2 norm of the difference of all parameters over the norm of A's.
        left_out: stored states that were too large.
    """

    steps: list[int]
    losses: list[float | None]
    states: list[int]
    weights: list[float]
    left_out: int


def measure_growth(a: Side, b: Side, shift: int = 0) -> Growth:
    """Measure how far two runs are apart, over all steps that both have.

    Raises:
        StorageError, MalformedEvidence: rows or states that cannot be read.
    """
    steps, distances = _measure_losses(a, b, shift)
    steps, distances = _thin(steps, distances)
    states, weights, left_out = _measure_weights(a, b, shift)
    losses = [float(distance) if np.isfinite(distance) else None for distance in distances]
    return Growth([int(step) for step in steps], losses, states, weights, left_out)


def _measure_losses(a: Side, b: Side, shift: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    places: dict[bytes, tuple[int, str] | None] = {}

    def find(side: Side, program: bytes) -> tuple[int, str] | None:
        if program not in places:
            places[program] = _find_real(side.read_program(program))
        return places[program]

    steps, distances = [], []
    for step, one, other in iterate_pairs(a, b, shift):
        place = find(a, one.program)
        if place is None or find(b, other.program) != place:
            continue
        index, dtype = place
        values = [_read_real(row.parts.loss, index, dtype) for row in (one, other)]
        steps.append(step + shift)
        distances.append(abs(values[0] - values[1]))
    return np.array(steps, np.int64), np.array(distances, np.float64)


def _find_real(program: ir.Program) -> tuple[int, str] | None:
    """Return index and element type of the first result that is one real number."""
    types = ir.get_values(program)
    for index, number in enumerate(program.results):
        kind = types[number]
        if kind is not None and kind.dtype in _FLOATS and all(extent == 1 for extent in kind.shape):
            return index, kind.dtype
    return None


def _read_real(losses: Sequence[bytes], index: int, dtype: str) -> float:
    kind = NUMPY_TYPES[dtype]
    if index >= len(losses) or len(losses[index]) != kind.itemsize:
        return float("nan")
    return float(np.frombuffer(losses[index], kind)[0])


def _thin(
    steps: npt.NDArray[np.int64], distances: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return at most `MAX_POINTS` points, of each stretch the one with the largest distance."""
    if len(steps) <= MAX_POINTS:
        return steps, distances
    filled = np.nan_to_num(distances, nan=-1.0)
    bounds = np.linspace(0, len(steps), MAX_POINTS + 1).astype(np.int64)
    kept = np.array([low + int(filled[low:high].argmax()) for low, high in pairwise(bounds)])
    return steps[kept], distances[kept]


def _measure_weights(a: Side, b: Side, shift: int) -> tuple[list[int], list[float], int]:
    other = {step + shift for step in b.checkpoints.list_steps() if step <= b.steps}
    states, weights, left_out = [], [], 0
    for step in a.checkpoints.list_steps():
        if step not in other or step > a.steps:
            continue
        here, there = a.checkpoints.read_manifest(step), b.checkpoints.read_manifest(step - shift)
        if not _is_comparable(here, there):
            continue
        if sum(record.nbytes for record in here.records) > MAX_STATE_BYTES:
            left_out += 1
            continue
        states.append(step)
        weights.append(_measure_state(a, b, here, there))
    return states, weights, left_out


def _is_comparable(here: Manifest, there: Manifest) -> bool:
    one, other = ([(r.name, r.dtype, r.shape) for r in side.records if r.namespace == PARAM] for side in (here, there))
    return bool(one) and one == other


def _measure_state(a: Side, b: Side, here: Manifest, there: Manifest) -> float:
    square, norm = 0.0, 0.0
    kept = [index for index, record in enumerate(here.records) if record.namespace == PARAM]
    twins = [index for index, record in enumerate(there.records) if record.namespace == PARAM]
    for index, twin in zip(kept, twins, strict=True):
        record = here.records[index]
        (one,), (other,) = a.checkpoints.read_tensors(here, [index]), b.checkpoints.read_tensors(there, [twin])
        left, right = _as_reals(record, one), _as_reals(record, other)
        square += float(((left - right) ** 2).sum())
        norm += float((left**2).sum())
    return (square / norm) ** 0.5 if norm else float(square > 0)


def _as_reals(record: TensorRecord, data: bytearray) -> npt.NDArray[np.float64]:
    kind = NUMPY_TYPES[record.dtype]
    if kind == BF16:
        wide = np.frombuffer(data, "<u2").astype(np.uint32) << np.uint32(16)
        return wide.view(np.float32).astype(np.float64)
    return np.frombuffer(data, kind).astype(np.float64)
