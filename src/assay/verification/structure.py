"""Checking a run without recomputing anything: every record, every leaf, every root, every digest. No torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from assay.certificate.consistency import START_KINDS
from assay.training.data_store import open_data
from assay.training.recorded import RecordedRun, RunContradicts
from assay.training.replay import verify_data
from assay.training.signing import read_signature


@dataclass(frozen=True)
class Structure:
    """What holds together.

    Attributes:
        steps, intervals, checkpoints, programs: counts.
        finished: whether there is a closing record.
        recorder: the recorder's public key, or None.
        start: "initialised", "certified" or "declared".
    """

    steps: int
    intervals: int
    checkpoints: int
    programs: int
    finished: bool
    recorder: bytes | None
    start: str


def verify_records(run: RecordedRun) -> bytes | None:
    """Check what is quickly checked: leaves, programs, which states are stored, the recorder's signature.

    Returns:
        The recorder's public key, or None for a run that is not finished.

    Raises:
        MalformedEvidence, Refuted, StorageError: the first thing that does not hold.
    """
    rows = run.rows
    for use in run.uses:
        run.read_program(use.program)
    for step in run.directory.checkpoints.list_steps():
        claimed = run.get_claimed_root(step) if step <= len(rows) else None
        if step <= run.steps and run.directory.checkpoints.read_manifest(step).state_root != claimed:
            raise RunContradicts(f"the stored state of step {step} is not the one that the transcript claims")
    return read_signature(run.directory, run.closing).public_key if run.is_finished else None


def verify_structure(path: Path | str, progress: Callable[[str], None] | None = None) -> Structure:
    """Check that a run holds together.

    Args:
        path: the run.
        progress: is told what is being checked.

    Raises:
        MalformedEvidence, Refuted, StorageError: the first thing that does not hold.
    """
    say = progress or (lambda _: None)
    run = RecordedRun(path)
    say("leaves, programs, signature")
    recorder = verify_records(run)
    say("data")
    data, packed = open_data(run.directory, "train")
    verify_data(run.plan.data, data, packed)
    for evaluation in run.closing.evaluations if run.is_finished else ():
        root = evaluation.data.leaves.root.hex()
        verify_data(evaluation.data, *open_data(run.directory, f"test-{root[:16]}"))
    stored = run.directory.checkpoints.list_steps()
    for step in stored:
        say(f"stored state of step {step}")
        run.directory.checkpoints.read(step)
    kind = START_KINDS[type(run.plan.start)]
    return Structure(run.steps, run.intervals, len(stored), len(run.uses), run.is_finished, recorder, kind)
