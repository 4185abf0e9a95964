"""Comparing two runs that were only observed: rates, states and environment; the rest of their steps is not known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from assay.protocol.evidence.observed import compute_observed_plan_id
from assay.protocol.evidence.transcript import StepParts
from assay.storage.files import Files
from assay.training.compare.before import find_environment_of
from assay.training.compare.findings import BESIDE, CAUSE, FOLLOWS, Comparison, Finding, Ruled, SideFacts
from assay.training.compare.side import NothingToCompare
from assay.training.observed import PLAN, ObservedRun

_UNKNOWN = "which samples, draws and operators is not known of a run that was only observed: record both to be told"


def are_observed(path_a: Path | str, path_b: Path | str) -> bool:
    """Return whether both folders hold runs that were only observed.

    Raises:
        NothingToCompare: one of them does, and the other was recorded.
    """
    kinds = [Files().get_kind(Path(path) / PLAN) == "file" for path in (path_a, path_b)]
    if kinds[0] != kinds[1]:
        observed = path_a if kinds[0] else path_b
        raise NothingToCompare(
            f"{observed} was only observed, and the other run was recorded",
            expected="two runs of one level of evidence",
        )
    return kinds[0]


def compare_observed(path_a: Path | str, path_b: Path | str) -> Comparison:
    """Compare two observed runs; every leaf of both is recomputed.

    Raises:
        NothingToCompare: they are one run.
        StorageError, MalformedEvidence, Refuted: a run cannot be read, or does not hold together.
    """
    if Path(path_a).resolve() == Path(path_b).resolve():
        raise NothingToCompare(f"{path_a} and {path_b} are one run", expected="two runs")
    a, b = ObservedRun(path_a), ObservedRun(path_b)
    try:
        return _compare(a, b)
    finally:
        a.close()
        b.close()


def _compare(a: ObservedRun, b: ObservedRun) -> Comparison:
    found: list[Finding] = []
    environment = find_environment_of(a.profile, b.profile)
    if a.plan.start_root != b.plan.start_root:
        roots = a.plan.start_root.hex()[:16], b.plan.start_root.hex()[:16]
        found.append(Finding("start", "weights", CAUSE, 0, "the runs start from other weights", *roots))
    step, parts = _find_first(a.rows, b.rows)
    if "scalars" in parts:
        found.append(_find_rates(a.rows, b.rows, step))
    elif parts and not found and environment is not None:
        found.append(msgspec.structs.replace(environment, role=CAUSE))
    if "state root" in parts:
        explained = bool(found)
        text = f"the weights differ after step {step}" + ("" if explained else f"; {_UNKNOWN}")
        found.append(Finding("arithmetic", "states", FOLLOWS if explained else CAUSE, step, text))
    if environment is not None and all(finding.kind != "environment" for finding in found):
        found.append(msgspec.structs.replace(environment, role=BESIDE))
    found.sort(key=lambda finding: (CAUSE, FOLLOWS, BESIDE).index(finding.role))
    causes = [finding for finding in found if finding.role == CAUSE]
    return Comparison(
        a=_describe(a),
        b=_describe(b),
        relation="both were only observed",
        shift=0,
        compared=min(len(a.rows), len(b.rows)),
        verified=True,
        equal=not causes and not parts,
        first_step=step if parts else (0 if causes else None),
        parts=parts,
        findings=tuple(found),
        looked_at=_list_looked_at(a, b, parts, same_environment=environment is None),
    )


def _describe(run: ObservedRun) -> SideFacts:
    return SideFacts(str(run.path), len(run.rows), run.end is not None, compute_observed_plan_id(run.plan).hex())


def _find_first(one: Sequence[StepParts], other: Sequence[StepParts]) -> tuple[int, tuple[str, ...]]:
    force: list[bytes | None] = [None, None]
    for here, there in zip(one, other, strict=False):
        force = [
            row.scalars if row.scalars is not None else kept for row, kept in zip((here, there), force, strict=True)
        ]
        parts = ["scalars"] if force[0] != force[1] else []
        if here.state_root and there.state_root and here.state_root != there.state_root:
            parts.append("state root")
        if parts:
            return here.step, tuple(parts)
    return 0, ()


def _find_rates(one: Sequence[StepParts], other: Sequence[StepParts], step: int) -> Finding:
    rates = [_show_rates(rows, step) for rows in (one, other)]
    text = f"the rates differ at step {step}: {rates[0]} in A, {rates[1]} in B"
    return Finding("scalars", "rate", CAUSE, step, text, rates[0], rates[1])


def _show_rates(rows: Sequence[StepParts], step: int) -> str:
    kept = next((row.scalars for row in reversed(rows[:step]) if row.scalars is not None), b"")
    return ", ".join(repr(float(value)) for value in np.frombuffer(kept[: len(kept) // 8 * 8], "<f8")[:8])


def _list_looked_at(
    a: ObservedRun, b: ObservedRun, parts: tuple[str, ...], *, same_environment: bool
) -> tuple[Ruled, ...]:
    def judge(kind: str, same: bool, detail: str) -> Ruled:  # noqa: FBT001 - reads as a sentence
        return Ruled(kind, "equal" if same else "differs", detail)

    return (
        judge("environment", same_environment, f"{len(a.profile.settings)} settings of the profiles"),
        judge("start", a.plan.start_root == b.plan.start_root, "state roots before step 1"),
        judge("scalars", "scalars" not in parts, "learning rates of the groups"),
        judge("arithmetic", "state root" not in parts, "state roots where both have one"),
        *(Ruled(kind, "not compared", "not known") for kind in ("data", "seed", "order", "batch", "program", "edit")),
    )
