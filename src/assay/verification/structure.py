"""Checking a run without recomputing anything: every record, every leaf, every root, every digest. No torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from assay.protocol.evidence.plan import InitialisedStart
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
    say("leaves")
    rows = run.rows
    say("programs")
    for use in run.uses:
        run.read_program(use.program)
    say("data")
    data, packed = open_data(run.directory, "train")
    verify_data(run.plan.data, data, packed)
    say("checkpoints")
    stored = run.directory.checkpoints.list_steps()
    for step in stored:
        checkpoint = run.directory.checkpoints.read(step)
        if step <= len(rows) and checkpoint.manifest.state_root != run.get_claimed_root(step):
            raise RunContradicts(f"the stored state of step {step} is not the one that the transcript claims")
    recorder = None
    if run.is_finished:
        say("signature")
        recorder = read_signature(run.directory, run.closing).public_key
    kind = "initialised" if isinstance(run.plan.start, InitialisedStart) else "declared"
    return Structure(run.steps, run.intervals, len(stored), len(run.uses), run.is_finished, recorder, kind)
