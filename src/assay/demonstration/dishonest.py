"""Verifiers that cheat, for the demonstration: `python -m assay.demonstration.dishonest KIND KEY FOLDER URL GENESIS`.

Each is a whole verifier process with another judge: it fetches, attests, commits and reveals like everybody else.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from assay.client.verifier_ledger import NodeLedger
from assay.protocol.evidence.votes import (
    DIFFERS,
    MATCHES,
    METRICS_CHECK,
    START_CHECK,
    compute_metrics_digest,
)
from assay.protocol.hashing import ZERO, compute_bulk_digest
from assay.storage.anchors import read_genesis_file
from assay.storage.keyring import read_seed
from assay.training.recompute import list_leaves
from assay.training.recorded import RecordedRun
from assay.verification.verifier.judging import Finding, Judge, RecomputingJudge, compute_known_answers
from assay.verification.verifier.starting import Limits, open_verifier

MEMORY, SECONDS, PACKAGE = 4 << 30, 600.0, 1 << 30


class LazyJudge:
    """Accepts everything without computing: roots and leaves are copied from the claim, the work digest is made up."""

    def judge(self, run: Path, numbers: Sequence[int], key: bytes) -> dict[int, Finding]:
        """Copy."""
        opened = RecordedRun(run)
        try:
            return {number: _copy_claim(opened, number, key) for number in numbers}
        finally:
            opened.close()

    def close(self) -> None:
        """Nothing is kept."""


def _copy_claim(run: RecordedRun, number: int, key: bytes) -> Finding:
    known, digest = compute_known_answers(run.closing), compute_bulk_digest(key + number.to_bytes(8, "little"))
    if number == run.intervals + START_CHECK:
        return Finding(MATCHES, run.start.state_root, work_digest=digest, known_answer=known, replays=1)
    if number == run.intervals + METRICS_CHECK:
        root = compute_metrics_digest(run.closing.evaluations)
        return Finding(MATCHES, root, work_digest=digest, known_answer=known, replays=1)
    first, last = run.get_interval(number)
    leaves = list_leaves([row.parts.leaf for row in run.rows[first:last]])
    return Finding(MATCHES, run.get_claimed_root(last) or ZERO, leaves, digest, known, 1)


class LyingJudge:
    """Computes, and says the opposite: what is true is called false with one agreed root, what is false is accepted."""

    def __init__(self) -> None:
        self._honest = RecomputingJudge(memory=MEMORY, seconds=SECONDS)
        self._lazy = LazyJudge()

    def judge(self, run: Path, numbers: Sequence[int], key: bytes) -> dict[int, Finding]:
        """Turn every finding round."""
        honest, copied = self._honest.judge(run, numbers, key), self._lazy.judge(run, numbers, key)
        return {
            number: replace(finding, outcome=DIFFERS, end_root=compute_bulk_digest(b"the liars' root"), replays=2)
            if finding.outcome == MATCHES
            else copied[number]
            for number, finding in honest.items()
        }

    def close(self) -> None:
        """End the worker."""
        self._honest.close()


class SilentJudge:
    """Never comes to an answer."""

    def __init__(self) -> None:
        self._ended = threading.Event()

    def judge(self, run: Path, numbers: Sequence[int], key: bytes) -> dict[int, Finding]:
        """Wait for the end."""
        del run, numbers, key
        self._ended.wait()
        return {}

    def close(self) -> None:
        """Let it end."""
        self._ended.set()


JUDGES: dict[str, type[LazyJudge | LyingJudge | SilentJudge]] = {
    "lazy": LazyJudge,
    "lying": LyingJudge,
    "silent": SilentJudge,
}


def main(kind: str, key: str, folder: str, url: str, genesis: str) -> None:
    """Work until told to stop."""
    seed = read_seed(key)
    judge: Judge = JUDGES[kind]()
    ledger = NodeLedger(url, read_genesis_file(Path(genesis)), seed)
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    opened = open_verifier(ledger, seed, Path(folder), Limits(MEMORY, SECONDS, PACKAGE), flags=False, judge=judge)
    with closing(ledger), opened as verifier:
        verifier.run(stopped.is_set, pause=1.0)


if __name__ == "__main__":
    main(*sys.argv[1:])
