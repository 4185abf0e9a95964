"""What an observed run says of itself: read and joined. It is never more than *observed*."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np

from assay.storage.files import Files
from assay.storage.run_listing import measure_disk
from assay.training.observed import PLAN, ObservedRun

OBSERVED = "observed"

NOT_KNOWN = (
    "Which step was carried out: its program is not known.",
    "Which data were used, and in which order.",
    "That any training happened: whoever trains may write any digests into an observed run.",
    "That the settings were those of the profile: nothing held the loop to them.",
)
"""What no reader may take an observed run for."""


class ObservedSummary(msgspec.Struct, frozen=True, rename="camel"):
    """Everything that `assay run show` prints of an observed run.

    Attributes:
        level: always "observed".
        finished: whether it has an end that its observer signed.
        reason: of the end, or empty.
        steps: that were seen.
        every: a state root every so many steps.
        roots: how many leaves hold one.
        start: state root of the start.
        transcript: root, or empty before the end.
        final_state: root, or empty before the end.
        model: root, or empty before the end.
        observer: public key of whoever watched, or empty before the end.
        rates: least and greatest learning rate of each group.
        profile: what the process had.
        log_lines: how many lines the user logged; declared.
        disk: bytes by part.
        not_known: sentences.
    """

    path: str
    level: str
    finished: bool
    reason: str
    steps: int
    every: int
    roots: int
    start: str
    transcript: str
    final_state: str
    model: str
    observer: str
    rates: list[tuple[str, str]]
    profile: dict[str, str]
    log_lines: int
    disk: dict[str, int]
    not_known: tuple[str, ...] = NOT_KNOWN


def is_observed(path: Path) -> bool:
    """Return whether a folder holds an observed run."""
    return Files().get_kind(path / PLAN) == "file"


def summarise_observed(path: Path) -> ObservedSummary:
    """Return what an observed run says of itself, after checking all that can be checked of it (OBS-7).

    Raises:
        MalformedEvidence, Refuted, StorageError: the first thing that does not hold.
    """
    run = ObservedRun(path)
    try:
        rows, end = run.rows, run.end
        return ObservedSummary(
            path=str(path),
            level=OBSERVED,
            finished=end is not None,
            reason=end.reason if end else "",
            steps=len(rows),
            every=run.plan.period,
            roots=sum(bool(row.state_root) for row in rows),
            start=run.plan.start_root.hex(),
            transcript=end.transcript.root.hex() if end else "",
            final_state=end.final_state.hex() if end else "",
            model=end.model_root.hex() if end else "",
            observer=(run.read_observer() or b"").hex(),
            rates=_find_rates([row.scalars for row in rows if row.scalars is not None]),
            profile={setting.name: setting.value for setting in run.profile.settings},
            log_lines=sum(1 for _ in run.directory.log.iterate()),
            disk=measure_disk(run.path),
        )
    finally:
        run.close()


def _find_rates(rows: list[bytes]) -> list[tuple[str, str]]:
    count = max((len(row) // 8 for row in rows), default=0)
    columns: list[list[float]] = [[] for _ in range(count)]
    for row in rows:
        for column, value in zip(columns, np.frombuffer(row, "<f8").tolist(), strict=False):
            column.append(value)
    return [(repr(min(column)), repr(max(column))) for column in columns]
