"""Comparing two runs: where they first differ, why, and what was ruled out.

What is looked at, in this order: the plans and profiles, whether one run goes on from a stored state of the other, the
first step whose row differs, what went into that step, what came out of it.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from assay.storage.checkpoints import Manifest
from assay.training.compare.at_step import find_inputs, find_outputs
from assay.training.compare.before import (
    compare_records,
    find_data,
    find_environment,
    find_order,
    find_seed,
    find_start,
    find_undeciding,
    has_same_model,
)
from assay.training.compare.findings import BESIDE, CAUSE, FOLLOWS, Comparison, Finding, Ruled, SideFacts
from assay.training.compare.first_step import compare_rows, find_first_step, read_pair
from assay.training.compare.side import Side, SideContradicts, SideRow, open_sides


def compare_runs(path_a: Path | str, path_b: Path | str) -> Comparison:
    """Compare two runs, believing the leaf ids that they store.

    Args:
        path_a: the folder of A.
        path_b: the folder of B.

    Raises:
        NothingToCompare: the paths are one run, or a run without a step.
        NotARun, NewerFormat, StorageError: a run cannot be read; the message names its path.
        MalformedEvidence, Refuted: a run does not hold together.
    """
    a, b = open_sides(path_a, path_b)
    try:
        return compare_sides(a, b)
    finally:
        a.close()
        b.close()


def compare_sides(a: Side, b: Side, *, verified: bool = False) -> Comparison:
    """Compare two opened runs; `verified` says that the caller has recomputed their leaves."""
    resumed = find_resumption(a, b)
    shift = resumed.step if resumed is not None else 0
    step = find_first_step(a, b, shift)
    rows = read_pair(a, b, step, shift) if step is not None else None
    parts = compare_rows(*rows) if rows is not None else ()
    if rows is not None and not parts:
        raise SideContradicts(
            f"step {rows[1].parts.step} is the same in both runs and its leaves are not",
            expected="leaves that follow from the rows",
            next_step="`assay run verify` says which of the two does not hold together",
        )
    findings = _collect(a, b, resumed, rows, parts)
    causes = [finding for finding in findings if finding.role == CAUSE]
    first = None if not causes else min(finding.step for finding in causes)
    return Comparison(
        a=_describe(a),
        b=_describe(b),
        relation=_relate(a, b, resumed),
        shift=shift,
        compared=max(0, min(a.steps - shift, b.steps)),
        verified=verified,
        equal=not causes and rows is None,
        first_step=rows[0].parts.step if rows is not None else first,
        parts=parts,
        findings=tuple(findings),
        looked_at=_list_looked_at(a, b, findings, rows, parts),
    )


def find_resumption(a: Side, b: Side) -> Manifest | None:
    """Return the stored state of A whose model is B's start, or None; only if the starts themselves differ."""
    if a.start.state_root == b.start.state_root:
        return None
    for step in reversed(a.checkpoints.list_steps()):
        if 0 < step <= a.steps:
            manifest = a.checkpoints.read_manifest(step)
            if has_same_model(manifest.records, b.start.records):
                return manifest
    return None


def _describe(side: Side) -> SideFacts:
    return SideFacts(str(side.path), side.steps, side.closing is not None, side.plan_id.hex())


def _relate(a: Side, b: Side, resumed: Manifest | None) -> str:
    if resumed is not None:
        return f"B goes on from the model that A has after step {resumed.step}"
    return "one plan" if a.plan_id == b.plan_id else "different plans"


def _collect(
    a: Side, b: Side, resumed: Manifest | None, rows: tuple[SideRow, SideRow] | None, parts: tuple[str, ...]
) -> list[Finding]:
    """Return all findings, causes first, in the order in which they came about."""
    environment, seed = find_environment(a, b), find_seed(a, b)
    if resumed is not None:
        start = _find_lost_state(resumed, b)
    else:
        start = find_start(a, b, seed=seed is not None and seed.role == CAUSE, environment=environment is not None)
    before = [find_data(a, b), seed, start, *find_order(a, b)]
    found = [finding for finding in before if finding is not None]
    explained = any(finding.role == CAUSE for finding in found)
    if rows is not None:
        inputs = find_inputs(a, b, rows, parts)
        found += _explain(inputs, found)
        explained = explained or any(finding.role == CAUSE for finding in inputs)
        if "loss" in parts or "state root" in parts:
            found.append(find_outputs(rows, parts, cause=not explained and environment is None))
    if environment is not None:
        changed = (rows is not None or (start is not None and start.role == FOLLOWS)) and not explained
        found.append(msgspec.structs.replace(environment, role=CAUSE if changed else BESIDE))
    undeciding = find_undeciding(a, b)
    found += [undeciding] if undeciding is not None else []
    return sorted(found, key=lambda finding: (CAUSE, FOLLOWS, BESIDE).index(finding.role))


def _explain(inputs: list[Finding], before: list[Finding]) -> list[Finding]:
    """Return the findings about a step, each as something that follows where the plans already say why."""
    kinds = {finding.kind for finding in before if finding.role == CAUSE}
    names = {finding.name for finding in before if finding.role == CAUSE}
    why = {
        "order": {"data", "seed", "order", "batch"},
        "batch": {"data", "batch"},
        "program": {"batch"} if "batch size" in names else set(),
    }
    return [
        msgspec.structs.replace(finding, role=FOLLOWS) if why.get(finding.kind, set()) & kinds else finding
        for finding in inputs
    ]


def _find_lost_state(resumed: Manifest, b: Side) -> Finding | None:
    """Return what B's start lacks of the state that it goes on from."""
    if resumed.records == b.start.records:
        return None
    kept = {(record.namespace, record.name) for record in b.start.records}
    lost = [record.name for record in resumed.records if (record.namespace, record.name) not in kept]
    text = f"B goes on from A's model of step {resumed.step} without the optimizer's state"
    if not lost:
        text = f"B goes on from A's model of step {resumed.step} with another optimizer state"
    details = (f"{len(lost)} tensors are missing: {', '.join(lost[:4])}" if lost else "",)
    lines = (*filter(None, details), *compare_records(resumed.records, b.start.records)[:4])
    roots = resumed.state_root.hex()[:16], b.start.state_root.hex()[:16]
    return Finding("start", "optimizer state", CAUSE, resumed.step, text, *roots, lines)


def _list_looked_at(
    a: Side, b: Side, findings: list[Finding], rows: tuple[SideRow, SideRow] | None, parts: tuple[str, ...]
) -> tuple[Ruled, ...]:
    """Return everything that was compared, for `--explain`."""
    count = min(a.steps, b.steps)
    where = f"at step {rows[0].parts.step}" if rows is not None else f"in all {count} steps"
    kinds = {finding.kind for finding in findings}

    def judge(kind: str, detail: str, part: str = "") -> Ruled:
        differs = part in parts if part else kind in kinds
        return Ruled(kind, "differs" if differs else "equal", detail)

    same_start = a.start.state_root == b.start.state_root
    return (
        judge("environment", f"{len(a.profile.settings)} settings of the profiles"),
        judge("data", f"roots of the training sets, {a.plan.data.leaves.size} samples"),
        judge("seed", "seeds of the plans"),
        Ruled(
            "start", "equal" if same_start else "differs", f"state roots before step 1, {len(a.start.records)} tensors"
        ),
        judge("order", f"which samples were fed, {where}", "membership"),
        judge("batch", f"bytes of the batch, {where}", "content"),
        judge("program", f"step programs, {where}", "program"),
        judge("scalars", f"rates and other numbers of the optimizers, {where}", "scalars"),
        judge("edit", f"declared events, {where}", "events"),
        Ruled(
            "arithmetic",
            "equal" if rows is None else "differs" if {"loss", "state root"} & set(parts) else "equal",
            f"losses and state roots, {where}",
        ),
    )
