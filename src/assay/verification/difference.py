"""All of `assay diff`: the comparison, the replay of one step where arithmetic differs, how the difference grows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from assay.errors import AssayError
from assay.training.compare.chain_check import verify_chain
from assay.training.compare.findings import CAUSE, Comparison
from assay.training.compare.growth import Growth, measure_growth
from assay.training.compare.observed import are_observed, compare_observed
from assay.training.compare.runs import compare_sides
from assay.training.compare.side import Side, open_sides


class OperatorFinding(msgspec.Struct, frozen=True, rename="camel"):
    """Where two replays of one step first part; the fields are those of `tracing.OperatorDifference`."""

    step: int
    node: int
    output: int
    operator: str
    line: str
    largest: float | None
    elements: int
    total: int
    ulps: tuple[int, ...]
    reproduced: bool
    feeds: tuple[str, ...]


class Difference(msgspec.Struct, frozen=True, rename="camel"):
    """What `assay diff` says.

    Attributes:
        comparison: from the rows alone.
        operator: the first operator that gave other bits; None where arithmetic does not differ or was not replayed.
        not_replayed: why there is no operator, or empty.
        growth: None if it was not asked for.
    """

    comparison: Comparison
    operator: OperatorFinding | None
    not_replayed: str
    growth: Growth | None


Progress = Callable[[str, int, int], None]


def explain_difference(
    path_a: Path,
    path_b: Path,
    *,
    verify: bool = False,
    replay: bool = True,
    grow: bool = False,
    progress: Progress | None = None,
) -> Difference:
    """Compare two runs and find out as much as was asked for.

    Args:
        path_a: the folder of A.
        path_b: the folder of B.
        verify: recompute every leaf of both first.
        replay: where arithmetic differs, replay that step on both sides.
        grow: measure how the difference grows.
        progress: is told what is done, how much, of how much.

    Raises:
        AssayError: a run cannot be read, or does not hold together.
    """
    if are_observed(path_a, path_b):
        return Difference(compare_observed(path_a, path_b), None, "", None)
    a, b = open_sides(path_a, path_b)
    try:
        for side in (a, b) if verify else ():
            verify_chain(side, (lambda done, total: progress("recomputing leaves", done, total)) if progress else None)
        found = compare_sides(a, b, verified=verify)
        operator, problem = None, ""
        if _is_arithmetic(found):
            problem = "not asked for"
            if replay:
                operator, problem = _replay(found, a, b)
        return Difference(found, operator, problem, measure_growth(a, b, found.shift) if grow else None)
    finally:
        a.close()
        b.close()


def _is_arithmetic(found: Comparison) -> bool:
    causes = [finding for finding in found.findings if finding.role == CAUSE]
    return bool(causes) and causes[0].kind in {"arithmetic", "environment"} and bool(found.parts)


def _replay(found: Comparison, a: Side, b: Side) -> tuple[OperatorFinding | None, str]:
    from importlib.util import find_spec

    if find_spec("torch") is None:
        return None, "replaying needs PyTorch: pip install 'assay[torch]'"
    from assay.verification.tracing import locate_difference

    try:
        where = locate_difference(a, b, (found.first_step or 0) - found.shift, found.shift)
    except AssayError as error:
        return None, str(error)
    distance = where.distance
    return OperatorFinding(
        step=where.step,
        node=where.node,
        output=where.output,
        operator=where.operator,
        line=where.line,
        largest=distance.largest if distance else None,
        elements=distance.elements if distance else 0,
        total=distance.total if distance else 0,
        ulps=distance.ulps if distance else (),
        reproduced=where.reproduced,
        feeds=where.feeds,
    ), ""
