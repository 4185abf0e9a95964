"""From a fetched run and the intervals that were assigned to the findings that a vote states.

The computing is done by one worker process of an audit.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from assay.errors import AssayError, MalformedEvidence, Refuted, Unproven
from assay.protocol import tags
from assay.protocol.evidence.plan import ClosingRecord
from assay.protocol.evidence.votes import DIFFERS, MALFORMED, MATCHES, WITHHELD
from assay.protocol.hashing import ZERO, compute_digest
from assay.protocol.merkle import MerkleRoot
from assay.training.profile_environment import environment_for
from assay.training.recompute import list_leaves
from assay.training.recorded import RecordedRun
from assay.verification.fetching import ChunkWithheld
from assay.verification.pool import CannotJudge, RunRefuted
from assay.verification.tasks import OUT_OF_MEMORY, Answer, Task, VoteRoots
from assay.verification.worker_process import WorkerProcess

PROFILE, RESOURCES = "profile", "resources"
"""Reasons to abstain that come from the machine; two of `votes.ABSTENTIONS`."""


NO_LEAVES = list_leaves(())


@dataclass(frozen=True)
class Finding:
    """What was found about one interval or check.

    Attributes:
        outcome: MATCHES, DIFFERS, WITHHELD or MALFORMED of `votes`; −1: nothing, and `abstention` says why.
        end_root, work_digest, known_answer: of the vote, 32 bytes each.
        leaves: of the vote.
        replays: how often it was carried out.
        abstention: one of `votes.ABSTENTIONS`, or empty.
        detail: for people.
    """

    outcome: int
    end_root: bytes = ZERO
    leaves: MerkleRoot = NO_LEAVES
    work_digest: bytes = ZERO
    known_answer: bytes = ZERO
    replays: int = 0
    abstention: str = ""
    detail: str = ""

    @property
    def is_recomputed(self) -> bool:
        """Whether there is a root that was computed, for or against the claim."""
        return self.outcome in {MATCHES, DIFFERS}


def find_why_not(error: AssayError) -> Finding:
    """Return what it says about a drawn run that it could not be fetched, when there is no time to ask again.

    Missing or other bytes are the submitter's to answer for, and so is a package that contradicts its commitment; a
    network or disk that fails here is not.
    """
    if isinstance(error, ChunkWithheld):
        return Finding(WITHHELD, detail=error.message)
    if isinstance(error, (MalformedEvidence, Refuted)):
        return Finding(MALFORMED, detail=error.message)
    return Finding(-1, abstention=RESOURCES, detail=error.message)


class Judge(Protocol):
    """What answers."""

    def judge(self, run: Path, numbers: Sequence[int], key: bytes) -> dict[int, Finding]:
        """Return a finding for each number of an interval or check.

        Args:
            run: the folder of a fetched run.
            numbers: intervals from 0, and the two checks after the last.
            key: of the work digests, 32 bytes.
        """
        ...

    def close(self) -> None:
        """Let go of everything; called once, at the end, from another thread too."""
        ...


class RecomputingJudge:
    """Recomputes everything that it is asked; implements `Judge`.

    Its worker process is started when there is work, serves the next run too if that has the same environment, and ends
    when there was none for a while.

    Args:
        memory: bytes that the worker may take beyond its start; 0: no bound.
        seconds: after which a start or an interval is given up.
        idle: seconds after which a worker without work ends.
    """

    def __init__(self, *, memory: int, seconds: float, idle: float = 60.0) -> None:
        self.memory = memory
        self.seconds = seconds
        self.idle = idle
        self._worker: WorkerProcess | None = None
        self._environment: dict[str, str] = {}
        self._busy = threading.Lock()
        self._timer: threading.Timer | None = None

    def judge(self, run: Path, numbers: Sequence[int], key: bytes) -> dict[int, Finding]:
        """Return a finding for each number; what this machine cannot judge is an abstention."""
        with self._busy:
            if self._timer is not None:
                self._timer.cancel()
            try:
                answers, known = self._recompute(run, numbers, key)
            except (MalformedEvidence, RunRefuted) as error:
                return dict.fromkeys(numbers, Finding(MALFORMED, replays=1, detail=str(error)))
            except (CannotJudge, Unproven) as error:
                return dict.fromkeys(numbers, Finding(-1, abstention=PROFILE, detail=str(error)))
            finally:
                self._timer = threading.Timer(self.idle, self._close_idle)
                self._timer.daemon = True
                self._timer.start()
        return {number: _read_answer(answers.get(number), known) for number in numbers}

    def _recompute(self, path: Path, numbers: Sequence[int], key: bytes) -> tuple[dict[int, Answer], bytes]:
        try:
            run = RecordedRun(path)
        except Refuted as error:
            raise RunRefuted(error.message) from None
        try:
            environment, known = environment_for(run.profile), compute_known_answers(run.closing)
        finally:
            run.close()
        found: dict[int, Answer] = {}
        worker = self._get_worker(path, environment)
        for number in sorted(numbers):
            if not worker.is_alive:  # it died of the task before, which failed; the others may not
                worker = self._get_worker(path, environment)
            found[number] = worker.ask(Task("vote", number, key.hex()))
        return found, known

    def _get_worker(self, path: Path, environment: dict[str, str]) -> WorkerProcess:
        """Return a worker that has opened the run: the one that is there, or a new one.

        Raises:
            CannotJudge, RunRefuted: see `Pool`.
        """
        worker = self._worker
        ready = None
        if worker is not None and worker.is_alive and environment == self._environment:
            ready = worker.reopen(path)
        if worker is None or ready is None:
            self._drop()
            worker = self._worker = WorkerProcess(path, environment, self.memory, self.seconds)
            self._environment = environment
            ready = worker.await_ready()
        if ready is None:
            raise CannotJudge("a worker ended before it began", actual=worker.describe_death())
        if ready.refuted:
            raise RunRefuted(ready.reason)
        if not ready.ready:
            raise CannotJudge(ready.reason, next_step=ready.next_step or None)
        return worker

    def _drop(self) -> None:
        if self._worker is not None:
            self._worker.close()
            self._worker = None

    def _close_idle(self) -> None:
        if self._busy.acquire(blocking=False):  # otherwise there is work again
            try:
                self._drop()
            finally:
                self._busy.release()

    def close(self) -> None:
        """End the worker, if there is one."""
        if self._timer is not None:
            self._timer.cancel()
        if self._busy.acquire(blocking=False):
            try:
                self._drop()
            finally:
                self._busy.release()
        elif self._worker is not None:  # whoever waits for its answer closes it
            self._worker.kill()


def compute_known_answers(closing: ClosingRecord) -> bytes:
    """Return the digest over the known answers of all programs, which a worker has checked on its machine (WRK-8)."""
    return compute_digest(tags.KNOWN_ANSWER, b"".join(use.known_answer for use in closing.programs))


def _read_answer(answer: Answer | None, known: bytes) -> Finding:
    if answer is None or answer.vote is None:
        detail = answer.detail if answer is not None else "no answer"
        lacks = detail.startswith(OUT_OF_MEMORY) or "the worker" in detail
        return Finding(-1, abstention=RESOURCES if lacks else PROFILE, detail=detail)
    vote: VoteRoots = answer.vote
    end_root = bytes.fromhex(vote.end_root)
    if answer.result == "differs" and end_root == ZERO:  # a step that nobody can carry out
        return Finding(MALFORMED, replays=answer.replays, detail="a step cannot be carried out")
    return Finding(
        outcome=MATCHES if answer.result == "matches" else DIFFERS,
        end_root=end_root,
        leaves=MerkleRoot(tags.INTERVAL_LEAVES, vote.leaves_size, bytes.fromhex(vote.leaves_root)),
        work_digest=bytes.fromhex(vote.work_digest),
        known_answer=known,
        replays=answer.replays,
        detail=f"first difference at step {answer.step}" if answer.result == "differs" else "",
    )
