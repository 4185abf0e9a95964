"""Auditing a finished run: its structure, its start, intervals, metrics. The findings can be resumed and are kept.

Source: DESIGN, "Alone"; FORMATS, "The training certificate".
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from assay.errors import MalformedEvidence, UsageError
from assay.protocol.evidence.plan import InitialisedStart, compute_closing_id
from assay.protocol.evidence.selection import select_intervals
from assay.storage.json_lines import JsonLines
from assay.training.recorded import RecordedRun
from assay.verification.pool import Pool
from assay.verification.tasks import Answer, Task

ALL_UP_TO = 300
"""Runs of at most this many intervals are recomputed whole unless a sample is asked for."""

DEFAULT_SAMPLE = 300


@dataclass(frozen=True)
class Selection:
    """Which intervals are recomputed; `kind`: "all" or "uniform"."""

    kind: str
    intervals: tuple[int, ...]


@dataclass
class Audit:
    """The findings of an audit.

    Attributes:
        run: what was audited.
        selection: which intervals.
        answers: by (kind, index).
    """

    run: RecordedRun
    selection: Selection
    answers: dict[tuple[str, int], Answer] = field(default_factory=dict)

    def get(self, kind: str) -> list[Answer]:
        """Return the answers of one kind, by index."""
        return [answer for (name, _), answer in sorted(self.answers.items()) if name == kind]

    @property
    def differing(self) -> list[Answer]:
        """Findings that contradict the run."""
        return [answer for answer in self.answers.values() if answer.result == "differs"]

    @property
    def failed(self) -> list[Answer]:
        """Tasks that found nothing for or against."""
        return [answer for answer in self.answers.values() if answer.result == "failed"]

    @property
    def is_complete(self) -> bool:
        """True if every task has a finding."""
        return not self.failed and len(self.answers) == len(list_tasks(self.run, self.selection))


def choose_intervals(total: int, sample: int | None, randomness: bytes) -> Selection:
    """Return all intervals, or a sample that the auditor draws.

    Args:
        total: number of intervals.
        sample: how many, or None for the default.
        randomness: 32 bytes that the recorder could not know.
    """
    if total < 1:
        raise UsageError("the run has no step, so there is nothing to recompute")
    if sample is not None and not 1 <= sample <= total:
        raise UsageError("the sample does not fit the run", expected=f"1 to {total} intervals", actual=sample)
    wanted = sample if sample is not None else total if total <= ALL_UP_TO else DEFAULT_SAMPLE
    if wanted == total:
        return Selection("all", tuple(range(total)))
    return Selection("uniform", select_intervals(randomness, total, wanted))


def list_tasks(run: RecordedRun, selection: Selection) -> list[Task]:
    """Return everything that the audit recomputes."""
    tasks = [Task("start", 0)] if isinstance(run.plan.start, InitialisedStart) else []
    tasks += [Task("evaluation", index) for index in range(len(run.closing.evaluations))]
    return tasks + [Task("interval", index) for index in selection.intervals]


def audit_run(
    path: Path | str,
    *,
    auditor: bytes,
    environment: Callable[[Any], dict[str, str]],
    sample: int | None = None,
    workers: int | None = None,
    memory: int = 0,
    seconds: float = 3600.0,
    progress: Callable[[int, int], None] | None = None,
) -> Audit:
    """Audit a finished run.

    Args:
        path: the run.
        auditor: public key of the auditor: names the file of the findings, so that an interrupted audit goes on.
        environment: from a profile to the environment of a worker.
        sample: how many intervals; None: all of up to 300, else 300.
        workers: processes; None: one per core.
        memory: bytes that each worker may take; 0: no bound.
        seconds: after which a task is given up.
        progress: is told how many tasks are done, of how many.

    Raises:
        RunContradicts, MalformedEvidence: the run does not even hold together.
        CannotJudge: this machine cannot compute under the profile of the run.
    """
    run = RecordedRun(path)
    closing = compute_closing_id(run.closing).hex()
    if not run.rows:
        raise UsageError("the run has no step, so there is nothing to recompute")
    ledger = run.directory.audit_results(f"{auditor.hex()[:16]}-{closing[:16]}-{sample or 'default'}")
    try:
        selection, answers = _read_ledger(ledger, closing)
        if selection is None:
            selection = choose_intervals(run.intervals, sample, secrets.token_bytes(32))
            ledger.append({"closing": closing, "kind": selection.kind, "intervals": list(selection.intervals)})
        audit = Audit(run, selection, {(a.kind, a.index): a for a in answers if a.result != "failed"})
        _carry_out(audit, ledger, environment, workers, memory, seconds, progress)
    finally:
        ledger.close()
    return audit


def _carry_out(
    audit: Audit,
    ledger: JsonLines,
    environment: Callable[[Any], dict[str, str]],
    workers: int | None,
    memory: int,
    seconds: float,
    progress: Callable[[int, int], None] | None,
) -> None:
    tasks = list_tasks(audit.run, audit.selection)
    left = [task for task in tasks if (task.kind, task.index) not in audit.answers]

    def receive(answer: Answer) -> None:
        audit.answers[answer.kind, answer.index] = answer
        ledger.append(msgspec.to_builtins(answer))
        if progress is not None:
            progress(len(audit.answers), len(tasks))

    if progress is not None:
        progress(len(audit.answers), len(tasks))
    if left:
        count = workers or os.cpu_count() or 1
        pool = Pool(audit.run.path, environment(audit.run.profile), workers=count, memory=memory, seconds=seconds)
        pool.carry_out(left, receive)


def _read_ledger(ledger: JsonLines, closing: str) -> tuple[Selection | None, Sequence[Answer]]:
    """Return what an interrupted audit has found so far."""
    lines = list(ledger.iterate())
    if not lines:
        return None, ()
    head = lines[0]
    if head.get("closing") != closing or not isinstance(head.get("intervals"), list):
        raise MalformedEvidence("the findings in the run's audit folder belong to another run")
    try:
        answers = [msgspec.convert(line, Answer) for line in lines[1:]]
    except msgspec.ValidationError as error:
        raise MalformedEvidence("the findings in the run's audit folder are damaged", actual=str(error)) from None
    return Selection(str(head.get("kind")), tuple(int(index) for index in head["intervals"])), answers
