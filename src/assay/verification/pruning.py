"""Making a finished run smaller, and saying what can still be proven of it.

Rows, programs, plan, closing record and signature are never touched: what the run claims stays the same, byte for byte.
What goes are the means to recompute it.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import msgspec

from assay.errors import UsageError
from assay.protocol.evidence.plan import InitialisedStart
from assay.storage.run_directory import RunDirectory
from assay.storage.run_listing import measure_disk
from assay.training.recorded import RecordedRun
from assay.verification.structure import verify_records


class NothingToPrune(UsageError):
    """Neither states nor data were named, or a number of states that cannot be."""

    code: ClassVar[str] = "prune.nothing"


class Pruning(msgspec.Struct, frozen=True, rename="camel"):
    """What pruning does to a run.

    Attributes:
        kept: steps whose state stays.
        dropped: steps whose state goes.
        data: whether the stored data sets go.
        before, after: bytes of the whole run; `after` is `before` where nothing was done yet.
        farthest: the most steps that must be replayed to reach the end of an interval; None: some cannot be reached.
        provable: sentences.
        lost: sentences.
    """

    kept: list[int]
    dropped: list[int]
    data: bool
    before: int
    after: int
    farthest: int | None
    provable: list[str]
    lost: list[str]


def prune(path: Path, *, states: int | None, data: bool, dry_run: bool) -> Pruning:
    """Drop stored states and data of a finished run.

    Args:
        path: the run.
        states: how many states stay, at least 1: the last always, then those that leave the smallest gaps; a declared
            start is the first to stay after it. None: all.
        data: whether training and test data go.
        dry_run: change nothing, and say what would happen.

    Raises:
        NothingToPrune: nothing was asked for.
        NotFinished: the run is in progress; it needs its states to go on.
        RunLocked: somebody writes to it.
        Refuted, MalformedEvidence, StorageError: the run does not hold together; it is left as it is.
    """
    if states is None and not data:
        raise NothingToPrune("nothing was named that should go", expected="--states N, --data, or both")
    if states is not None and states < 1:
        raise NothingToPrune("a run keeps at least its last state", expected="1 or more", actual=states)
    run = RecordedRun(path)
    try:
        run.closing  # noqa: B018 - raises for a run in progress
        verify_records(run)
        stored = run.directory.checkpoints.list_steps()
        declared = not isinstance(run.plan.start, InitialisedStart)
        kept = stored if states is None else choose_kept(stored, states, declared=declared)
        farthest = find_farthest(run, kept, declared=declared)
    finally:
        run.close()
    before = sum(measure_disk(path).values())
    if not dry_run:
        with RunDirectory.open(path, write=True) as opened:
            opened.checkpoints.thin(set(kept))
            if data:
                opened.fields.remove_all()
    after = sum(measure_disk(path).values())
    provable, lost = describe(farthest, data=data, dropped=len(stored) - len(kept), declared=declared)
    dropped = [step for step in stored if step not in kept]
    return Pruning(kept, dropped, data, before, after, farthest, provable, lost)


def choose_kept(stored: list[int], count: int, *, declared: bool) -> list[int]:
    """Return which states stay, at most `count`: the last, a declared start, then those that leave the smallest gaps.

    No other choice of as many states has a smaller largest gap.
    """
    if len(stored) <= count or count == 1:
        return stored if len(stored) <= count else stored[-1:]
    start = [0] if declared and stored[0] == 0 else []
    later = [step for step in stored if step > 0]
    for gap in sorted({after - before for before in [0, *later] for after in later if after > before}):
        kept, base = [], 0
        while base < later[-1]:
            reached = [step for step in later if base < step <= base + gap]
            if not reached:
                break
            base = reached[-1]
            kept.append(base)
        if base == later[-1] and len(kept) <= count - len(start):
            return [*start, *kept]
    return [*start, later[-1]]


def find_farthest(run: RecordedRun, kept: list[int], *, declared: bool) -> int | None:
    """Return the most steps that lie between a state that can be had and the end of an interval, or None."""
    bases = sorted({*kept, *([] if declared else [0])})
    farthest = 0
    for index in range(run.intervals):
        first, last = run.get_interval(index)
        base = max((base for base in bases if base <= first), default=None)
        if base is None:
            return None
        farthest = max(farthest, last - base)
    return farthest


def describe(farthest: int | None, *, data: bool, dropped: int, declared: bool) -> tuple[list[str], list[str]]:
    """Return what stays provable and what does not, in sentences."""
    provable = [
        "that the rows, programs, plan and closing record are those that the recorder signed",
        "that the stored last state is the one that the closing record names; the model can be exported",
        "where this run and another one first differ, by assay diff",
    ]
    lost = []
    if data:
        lost.append("any step: no interval and no metric can be recomputed without the data")
        lost.append("that a sample was in the training set, or was not, unless a proof of it was written before")
        lost.append("which samples differ from those of another run")
    elif farthest is None:
        lost.append("the steps before the first state that is left: the start was declared, and it is gone")
    else:
        provable.append(f"every interval, by replaying at most {farthest} steps")
    if not data and not declared:
        provable.append("the start, by its program and the seed")
    if dropped and not data:
        lost.append(f"nothing else, but audits replay more steps: {dropped} states are gone")
    return provable, lost
