"""The findings of an audit as people and programs read them: what matches, what differs and how, what it can miss."""

from __future__ import annotations

from pathlib import Path

import msgspec

from assay.certificate.interval_findings import compute_chances
from assay.certificate.statement import NOT_COMPUTED
from assay.storage.run_directory import RunDirectory
from assay.training.recorded import RecordedRun
from assay.verification.audit import Audit, list_tasks
from assay.verification.tasks import Answer, TensorDifference, explain


class Finding(msgspec.Struct, frozen=True, rename="camel"):
    """One finding, mostly one that is no match, or a failure.

    Attributes:
        what: such as "interval 4" or "start".
        result: "matches", "differs", "inconclusive" or "failed".
        steps: first and last step of an interval, or empty.
        first_step: the first step that differs, or 0.
        parts: of that step's leaf, that differ.
        cause: the likely one, in words; empty if unknown.
        detail: further words.
        tensors: at the end of the interval, the largest difference first.
    """

    what: str
    result: str
    steps: tuple[int, ...]
    first_step: int
    parts: tuple[str, ...]
    cause: str
    detail: str
    tensors: tuple[TensorDifference, ...]


class AuditReport(msgspec.Struct, frozen=True, rename="camel"):
    """The findings of an audit.

    Attributes:
        level: of evidence.
        run: its folder.
        kind: "all" or "uniform".
        intervals: N.
        sampled: s, the number of chosen intervals.
        matching: how many of them match.
        complete: whether every task has a finding.
        resumed: findings of an interrupted audit that were kept.
        start: "matches", "differs", "not recomputed".
        evaluations: result of each.
        differing_rows: rows of scalars that no settings of the optimizers explain, or "not computed".
        others: what does not match, or failed.
        miss_one: the chance of missing exactly one false interval, as a fraction.
        miss_one_rounded: the same, rounded.
        caught95: the smallest number of false intervals that is caught with 95 %, or "none".
        seconds: time of the recomputed steps, summed over workers.
        auditor: public key.
        auditor_is_recorder: the auditor's key is the recorder's own.
    """

    level: str
    run: str
    kind: str
    intervals: int
    sampled: int
    matching: int
    complete: bool
    resumed: int
    start: str
    evaluations: list[str]
    differing_rows: str
    others: list[Finding]
    miss_one: str
    miss_one_rounded: str
    caught95: str
    seconds: float
    auditor: str
    auditor_is_recorder: bool


def make_report(audit: Audit, auditor: bytes, recorder: bytes) -> AuditReport:
    """Return the report of an audit, complete or not.

    Args:
        audit: the findings.
        auditor: public key of the auditor.
        recorder: public key of the recorder.
    """
    intervals = audit.get("interval")
    total, chosen = audit.run.intervals, audit.selection.intervals
    chances = compute_chances(total, len(chosen))
    start = audit.answers.get(("start", 0))
    wanted = [task for task in list_tasks(audit.run, audit.selection) if task.kind == "evaluation"]
    evaluations = [audit.answers.get((task.kind, task.index)) for task in wanted]
    matching = sum(answer.result == "matches" for answer in intervals if answer.index in chosen)
    rows = next((answer.differing_rows for answer in audit.get("scalars")), None)
    found = any(answer.result in {"matches", "differs"} for answer in intervals)
    return AuditReport(
        level="recomputed" if found else "replayable",
        run=str(audit.run.path),
        kind=audit.selection.kind,
        intervals=total,
        sampled=len(chosen),
        matching=matching,
        complete=audit.is_complete,
        resumed=audit.resumed,
        start=start.result if start else "not recomputed",
        evaluations=[answer.result if answer else "not recomputed" for answer in evaluations],
        differing_rows=NOT_COMPUTED if rows is None else str(rows),
        others=[
            describe_answer(audit.run, answer)
            for answer in audit.answers.values()
            if answer.result not in {"matches", "report"}
        ],
        miss_one=chances.miss_one.fraction,
        miss_one_rounded=chances.miss_one.rounded,
        caught95=chances.caught95,
        seconds=round(sum(answer.seconds for answer in intervals), 3),
        auditor=auditor.hex(),
        auditor_is_recorder=auditor == recorder,
    )


def describe_answer(run: RecordedRun, answer: Answer) -> Finding:
    """Return an answer of a worker as people and programs read it."""
    is_interval = answer.kind == "interval"
    first, last = run.get_interval(answer.index) if is_interval else (0, 0)
    return Finding(
        what=answer.kind if answer.kind == "start" else f"{answer.kind} {answer.index}",
        result=answer.result,
        steps=(first + 1, last) if is_interval else (),
        first_step=answer.step,
        parts=answer.parts,
        cause=explain(answer.parts) if answer.parts else "",
        detail=answer.detail,
        tensors=answer.tensors,
    )


def store_certificate(run: Path, report: AuditReport, certificate: bytes) -> Path:
    """Write a certificate and the report behind it into the run's `audit/` folder; return the certificate's path.

    Those of an earlier audit of as many intervals with the same key are replaced.

    Raises:
        StorageError: the disk, such as a run on a read-only one.
    """
    name = f"audit/{report.auditor[:16]}-{report.sampled}-of-{report.intervals}"
    with RunDirectory.open(run) as directory:
        directory.write_object(f"{name}.report.json", msgspec.json.encode(report), replace=True)
        directory.write_object(f"{name}.assay.json", certificate, replace=True)
    return run / f"{name}.assay.json"
