"""Whether training gives the same bits again: a script is run twice, or a recorded run is recomputed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from assay.errors import Refuted, UsageError
from assay.storage.files import Files, write_atomic
from assay.storage.run_layout import FORMAT
from assay.training.compare.findings import CAUSE, Comparison
from assay.training.compare.lock import make_lock, open_lock, read_lock
from assay.training.compare.runs import compare_runs, compare_sides
from assay.training.compare.side import Side

Record = Callable[[Path], object]
"""Records a run in the folder that it is given."""


class NotReproducible(Refuted):
    """Training gave something else the second time, or than its lock holds."""

    code: ClassVar[str] = "reproducible.differs"


class NothingRecorded(UsageError):
    """The function that should record a run left none in the folder that it was given."""

    code: ClassVar[str] = "reproducible.nothing-recorded"


def describe(found: Comparison) -> str:
    """Return a comparison in a few lines: the first cause, its details, where it was seen."""
    causes = [finding for finding in found.findings if finding.role == CAUSE]
    lines = [f"{causes[0].kind}: {causes[0].text}", *causes[0].details] if causes else ["the runs differ"]
    lines += [f"also {finding.kind}: {finding.text}" for finding in causes[1:]]
    return "\n".join([*lines, f"first step that differs: {found.first_step} ({', '.join(found.parts) or 'the start'})"])


def record_into(record: Record, folder: Path) -> Path:
    """Call `record` with a new folder, and return the folder.

    Raises:
        NothingRecorded: there is no run in it afterwards.
    """
    record(folder)
    if not (folder / FORMAT).is_file():
        raise NothingRecorded(
            "the function recorded no run",
            expected=f"a run in {folder}",
            next_step="pass a function that takes the folder and hands it to assay.start",
        )
    return folder


def verify_twice(record: Record, folder: Path) -> Path:
    """Record two runs and compare them; return the folder of the first.

    Args:
        record: called twice, each time with a folder that does not exist.
        folder: where both runs go.

    Raises:
        NotReproducible: they differ; the message names the first difference.
        NothingRecorded: no run was left.
    """
    first, second = (record_into(record, folder / name) for name in ("first", "second"))
    found = compare_runs(first, second)
    steps = found.a.steps, found.b.steps
    if not found.equal or steps[0] != steps[1]:
        actual = describe(found) if not found.equal else f"{steps[0]} steps, then {steps[1]}"
        raise NotReproducible(
            "the same training gave another run the second time",
            expected=f"{steps[0]} equal steps",
            actual=actual,
            next_step=f"assay diff {first} {second}",
        )
    return first


def verify_lock(run: Path, lock: Path, folder: Path) -> None:
    """Compare a run with a lock.

    Args:
        run: the folder of the run.
        lock: the file.
        folder: for the records of the lock; does not exist yet.

    Raises:
        NotReproducible: they differ.
        LockDamaged, StorageError: the lock cannot be read.
    """
    locked = open_lock(read_lock(lock), folder)
    found = compare_sides(locked, Side(run, "B"))
    if not found.equal or found.a.steps != found.b.steps:
        actual = describe(found) if not found.equal else f"{found.b.steps} steps"
        raise NotReproducible(
            f"training is not what {lock} holds (A is the lock, B is now)",
            expected=f"{found.a.steps} steps of the lock",
            actual=actual,
            next_step="if the change is wanted, run pytest --assay-update-locks and commit the lock",
        )


def write_lock(run: Path, lock: Path) -> None:
    """Write the lock of a run in place of what is there."""
    write_atomic(Files(), lock, [make_lock(Side(run), run.name)])


def verify_recomputed(run: Path) -> int:
    """Recompute a finished run in this process, all intervals; return how many there are.

    Raises:
        NotReproducible: an interval differs, or could not be recomputed.
        AssayError: the run cannot be read, or this process cannot have its profile.
    """
    from assay.training.pytorch.profile import use_profile
    from assay.training.recorded import RecordedRun
    from assay.verification.tasks import Task, explain
    from assay.verification.worker import Worker

    recorded = RecordedRun(run)
    recorded.closing  # noqa: B018 - raises for a run in progress
    with use_profile(recorded.profile):
        worker = Worker(str(run))
        for index in range(recorded.intervals):
            answer = worker.carry_out(Task("interval", index))
            if answer.result != "matches":
                reason = answer.detail or f"step {answer.step}: {explain(answer.parts)}"
                raise NotReproducible(f"interval {index} of {run} is not what was recorded", actual=reason)
    return recorded.intervals
