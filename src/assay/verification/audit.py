"""Auditing a finished run: its structure, its start, intervals, metrics. An interrupted audit goes on where it was.

Source: `docs/explanation/what-a-certificate-proves.md`; `spec/certificate.md`.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from assay.errors import MalformedEvidence, UsageError
from assay.protocol.evidence.plan import InitialisedStart, compute_closing_id
from assay.protocol.evidence.selection import select_intervals
from assay.storage.audit_findings import AuditFindings
from assay.training.recorded import RecordedRun
from assay.verification.memory_bound import choose_memory
from assay.verification.pool import Pool
from assay.verification.structure import verify_records
from assay.verification.tasks import Answer, Task

ALL_UP_TO = 300
"""Runs of at most this many intervals are recomputed whole unless a sample is asked for."""

DEFAULT_SAMPLE = 300
MAX_SECONDS = 10_000_000.0


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
        resumed: how many of them an interrupted audit had found before.
    """

    run: RecordedRun
    selection: Selection
    answers: dict[tuple[str, int], Answer] = field(default_factory=dict)
    resumed: int = 0

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
        wanted = list_tasks(self.run, self.selection)
        return not self.failed and all((task.kind, task.index) in self.answers for task in wanted)

    def find_causes(self) -> list[Task]:
        """Return the intervals that made a chosen one inconclusive and were not chosen themselves."""
        length = self.run.plan.interval_length
        causes = {(answer.step - 1) // length for answer in self.answers.values() if answer.result == "inconclusive"}
        return [Task("interval", index) for index in sorted(causes) if ("interval", index) not in self.answers]


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
    tasks.append(Task("scalars", 0))
    return tasks + [Task("interval", index) for index in selection.intervals]


def bundle_tasks(run: RecordedRun, tasks: Iterable[Task]) -> list[list[Task]]:
    """Put intervals that are replayed from the same stored state together, so that each step is computed once.

    Where checkpoints were thinned, a worker that takes them in order goes on from one to the next.
    """
    stored = run.directory.checkpoints.list_steps()
    bundles: dict[object, list[Task]] = {}
    for task in tasks:
        place: object = (task.kind, task.index)
        if task.kind == "interval":
            first = run.get_interval(task.index)[0]
            place = max((step for step in stored if step <= first), default=0)
        bundles.setdefault(place, []).append(task)
    return [sorted(bundle, key=lambda task: task.index) for bundle in bundles.values()]


def audit_run(
    path: Path | str,
    *,
    auditor: bytes,
    environment: Callable[[Any], dict[str, str]],
    sample: int | None = None,
    workers: int | None = None,
    memory: int | None = None,
    seconds: float = 3600.0,
    progress: Callable[[int, int], None] | None = None,
) -> Audit:
    """Audit a finished run.

    Args:
        path: the run.
        auditor: public key of the auditor; an interrupted audit with the same key goes on.
        environment: from a profile to the environment of a worker.
        sample: how many intervals; None: all of up to 300, else 300.
        workers: processes; None: one per core.
        memory: bytes that each worker may take; None: a share of what is free; 0: no bound.
        seconds: after which a task is given up.
        progress: is told how many tasks are done, of how many.

    Raises:
        Refuted, MalformedEvidence: the run does not even hold together.
        CannotJudge: this machine cannot compute under the profile of the run.
        AuditUnderWay: another process carries out the same audit.
    """
    if not 0 < seconds <= MAX_SECONDS:
        raise UsageError("not a time limit", expected=f"more than 0 and at most {MAX_SECONDS:.0f}", actual=seconds)
    run = RecordedRun(path)
    closing = compute_closing_id(run.closing).hex()
    verify_records(run)
    name = f"{auditor.hex()[:16]}-{closing[:32]}-{sample or 'default'}"
    with AuditFindings(name) as findings:
        selection, answers = _read_findings(findings, closing)
        if selection is None:
            selection = choose_intervals(run.intervals, sample, secrets.token_bytes(32))
            findings.append({"closing": closing, "kind": selection.kind, "intervals": list(selection.intervals)})
        known = {(a.kind, a.index): a for a in answers if a.result != "failed"}
        audit = Audit(run, selection, known, len(known))
        count = workers or len(os.sched_getaffinity(0))
        bound = choose_memory(count) if memory is None else memory
        pool = Pool(run.path, environment(run.profile), workers=count, memory=bound, seconds=seconds)
        _carry_out(audit, findings, pool, progress)
        if audit.is_complete:
            findings.forget()
    return audit


def recompute_tasks(
    path: Path,
    tasks: Sequence[Task],
    *,
    environment: Callable[[Any], dict[str, str]],
    seconds: float = 3600.0,
    progress: Callable[[int, int], None] | None = None,
) -> list[Answer]:
    """Carry out a few tasks of a run, in their order, without an audit around them.

    Args:
        path: the run.
        tasks: of the kinds of an audit.
        environment: from a profile to the environment of a worker.
        seconds: after which a task is given up.
        progress: is told how many tasks are done, of how many.

    Raises:
        CannotJudge: this machine cannot compute under the profile of the run.
        RunRefuted: the run contradicts itself.
    """
    run = RecordedRun(path)
    count = min(len(os.sched_getaffinity(0)), len(tasks)) or 1
    pool = Pool(path, environment(run.profile), workers=count, memory=choose_memory(count), seconds=seconds)
    answers: dict[tuple[str, int], Answer] = {}

    def receive(answer: Answer) -> None:
        answers[answer.kind, answer.index] = answer
        if progress is not None:
            progress(len(answers), len(tasks))

    pool.carry_out(bundle_tasks(run, tasks), receive)
    run.close()
    return [answers[task.kind, task.index] for task in tasks]


def _carry_out(audit: Audit, findings: AuditFindings, pool: Pool, progress: Callable[[int, int], None] | None) -> None:
    tasks = list_tasks(audit.run, audit.selection)
    say = progress or (lambda _done, _total: None)

    def receive(answer: Answer) -> None:
        audit.answers[answer.kind, answer.index] = answer
        if answer.result != "failed":
            findings.append(msgspec.to_builtins(answer))
        say(len(audit.answers), len(tasks))

    say(len(audit.answers), len(tasks))
    while left := [task for task in tasks if (task.kind, task.index) not in audit.answers]:
        pool.carry_out(bundle_tasks(audit.run, left), receive)
        tasks += audit.find_causes()


def _read_findings(findings: AuditFindings, closing: str) -> tuple[Selection | None, Sequence[Answer]]:
    """Return what an interrupted audit has found so far."""
    lines = list(findings.iterate())
    if not lines:
        return None, ()
    try:
        if lines[0]["closing"] != closing:
            raise MalformedEvidence("the findings of this audit are of another run")
        selection = Selection(str(lines[0]["kind"]), msgspec.convert(lines[0]["intervals"], tuple[int, ...]))
        return selection, [msgspec.convert(line, Answer) for line in lines[1:]]
    except (KeyError, msgspec.ValidationError) as error:
        raise MalformedEvidence("the findings of this audit are damaged", actual=str(error)) from None
