"""What a report draws: the loss of each step, and the intervals with their findings, grouped where they are many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import isfinite
from typing import Final

import msgspec
import numpy as np

from assay.certificate.statement import Predicate
from assay.protocol.evidence.program import Program, get_values
from assay.training.recorded import RecordedRun

MAX_COLUMNS: Final = 120
"""Columns of a chart; more intervals or steps are put together."""

_FLOATS: Final = {"f16": "<f2", "f32": "<f4", "f64": "<f8"}


class LossColumn(msgspec.Struct, frozen=True):
    """The loss over neighbouring steps, `first` to `last`."""

    first: int
    last: int
    mean: float
    least: float
    most: float


class Interval(msgspec.Struct, frozen=True):
    """One interval, or neighbouring ones that are drawn as one.

    Attributes:
        index: of the first, counted from 0.
        count: how many are put together.
        first, last: steps.
        loss: mean over the steps; None: the step returned no number.
        result: the gravest finding: "differs", "inconclusive", "matches", or "not recomputed".
        found: number of intervals by finding.
        kind: how they were chosen: "all", "uniform", "flagged", "private", or "" for none.
    """

    index: int
    count: int
    first: int
    last: int
    loss: float | None
    result: str
    found: dict[str, int]
    kind: str


NOT_RECOMPUTED: Final = "not recomputed"
_GRAVITY: Final = ("differs", "inconclusive", NOT_RECOMPUTED, "matches")


def read_losses(run: RecordedRun) -> list[float | None]:
    """Return for each step the first returned number, or None where a step returned none."""
    readers = {use.program: _find_loss(run.read_program(use.program)) for use in run.uses}
    losses: list[float | None] = []
    for row in run.rows:
        place = readers.get(row.leaf.program)
        losses.append(None if place is None else _read_number(row.parts.loss, *place))
    return losses


def _find_loss(program: Program) -> tuple[int, str] | None:
    """Return where among the results the first real number is, and its element type."""
    types = get_values(program)
    for place, value in enumerate(program.results):
        kind = types[value]
        if kind is not None and kind.dtype in {*_FLOATS, "bf16"} and all(extent == 1 for extent in kind.shape):
            return place, kind.dtype
    return None


def _read_number(kept: Sequence[bytes], place: int, dtype: str) -> float | None:
    data = kept[place] if place < len(kept) else b""
    if dtype == "bf16" and len(data) == 2:
        dtype, data = "f32", b"\0\0" + data
    if dtype not in _FLOATS or len(data) != np.dtype(_FLOATS[dtype]).itemsize:
        return None
    number = float(np.frombuffer(data, _FLOATS[dtype])[0])
    return number if isfinite(number) else None


def group_losses(losses: Sequence[float | None], columns: int = MAX_COLUMNS) -> list[LossColumn]:
    """Return the losses as at most `columns` columns; steps without a number are left out."""
    grouped = []
    for first, last in divide(len(losses), columns):
        values = [loss for loss in losses[first:last] if loss is not None]
        if values:
            grouped.append(LossColumn(first + 1, last, _compute_mean(values), min(values), max(values)))
    return grouped


def _compute_mean(values: Sequence[float]) -> float:
    """Return the mean; dividing first, because a sum may overflow."""
    return sum(value / len(values) for value in values)


def group_intervals(
    run: RecordedRun, losses: Sequence[float | None], predicate: Predicate | None, columns: int = MAX_COLUMNS
) -> list[Interval]:
    """Return the intervals with what a certificate found, as at most `columns` columns."""
    results, kinds = _read_findings(predicate, run.intervals)
    grouped = []
    for first, last in divide(run.intervals, columns):
        found: dict[str, int] = {}
        for index in range(first, last):
            result = results.get(index, NOT_RECOMPUTED)
            found[result] = found.get(result, 0) + 1
        steps = run.get_interval(first)[0], run.get_interval(last - 1)[1]
        values = [loss for loss in losses[steps[0] : steps[1]] if loss is not None]
        grouped.append(
            Interval(
                index=first,
                count=last - first,
                first=steps[0] + 1,
                last=steps[1],
                loss=_compute_mean(values) if values else None,
                result=next(result for result in _GRAVITY if result in found),
                found=found,
                kind=next((kinds[index] for index in range(first, last) if index in kinds), ""),
            )
        )
    return grouped


def _read_findings(predicate: Predicate | None, intervals: int) -> tuple[Mapping[int, str], Mapping[int, str]]:
    """Return results and kinds by interval; beyond the limit of a certificate only what did not match is listed."""
    if predicate is None:
        return {}, {}
    listed = predicate.findings.listed
    results: dict[int, str] = {finding.interval: finding.result for finding in listed}
    kinds: dict[int, str] = {finding.interval: finding.kind for finding in listed}
    tree = predicate.findings.tree
    if tree != "none" and tree.size == intervals:
        results = {index: results.get(index, "matches") for index in range(intervals)}
    return results, kinds


def divide(total: int, columns: int) -> list[tuple[int, int]]:
    """Return at most `columns` neighbouring ranges of nearly one length that cover 0 to `total`."""
    count = min(total, columns)
    return list(pairwise([total * place // count for place in range(count + 1)])) if count else []
