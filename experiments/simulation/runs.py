"""Pretended runs: roots without training, and the truth about each interval."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Any

import msgspec

from assay.protocol import tags
from assay.protocol.contracts.submission_bodies import IntervalOpening, SubmitRun
from assay.protocol.evidence.bundle import Checkpoint, CheckpointOpening, compute_checkpoints, open_checkpoint
from assay.protocol.evidence.model_state import join_roots
from assay.protocol.evidence.transcript import StartLeaf, compute_context, compute_start_id
from assay.protocol.evidence.votes import METRICS_CHECK, START_CHECK
from assay.protocol.hashing import ZERO
from assay.protocol.merkle import MerkleRoot, compute_path, compute_root, hash_leaf
from experiments.simulation.world import Actor, World

TERMS: dict[str, Any] = {
    "start_check": False,
    "metrics": ZERO,
    "sample": 3,
    "sub_quorum": 5,
    "measure": 0,
    "threshold_ppm": 5_000_000,
    "bond": 100_000,
    "reward": 100,
    "attempt": 1,
}
"""What a pretended submission asks for and offers, where a story says nothing else."""


def make_digest(*parts: object) -> bytes:
    """Return 32 bytes that stand for something."""
    return sha256(repr(parts).encode()).digest()


@dataclass(frozen=True)
class PretendedRun:
    """A run that a submitter claims, and what would really come out of each interval.

    Attributes:
        name: another name, other roots.
        intervals: N; an interval has one step.
        false: intervals whose claimed end is not what comes out of their claimed start.
        chain_id: of the ledger.
        account: of the submitter.
        nonce: of the context.
    """

    name: str
    intervals: int
    false: frozenset[int]
    chain_id: bytes
    account: bytes
    nonce: int = 0

    @property
    def submission(self) -> bytes:
        """Id of the submission."""
        return compute_context(self.account, self.chain_id, self.nonce)

    @cached_property
    def checkpoints(self) -> tuple[Checkpoint, ...]:
        """The claimed checkpoints."""
        roots = [make_digest(self.name, "state", i) for i in range(self.intervals)]
        return tuple(
            Checkpoint(step, root, make_digest(self.name, "manifest", step), 1000)
            for step, root in enumerate([*roots, join_roots(*self._halves)])
        )

    @property
    def _halves(self) -> tuple[bytes, bytes]:
        return make_digest(self.name, "model"), make_digest(self.name, "rest")

    def get_claim(self, interval: int) -> tuple[bytes, bytes]:
        """Return claimed start and end of an interval or check."""
        if interval == self.intervals + START_CHECK:
            return ZERO, self.checkpoints[0].state_root
        if interval == self.intervals + METRICS_CHECK:
            return ZERO, make_digest(self.name, "metrics")
        return self.checkpoints[interval].state_root, self.checkpoints[interval + 1].state_root

    def recompute(self, interval: int) -> bytes:
        """Return what really comes out of an interval."""
        return make_digest(self.name, "truth", interval) if interval in self.false else self.get_claim(interval)[1]

    def open(self, interval: int) -> IntervalOpening:
        """Return the two checkpoints of an interval with their paths."""
        return IntervalOpening(
            interval,
            open_checkpoint(self.checkpoints, interval),
            open_checkpoint(self.checkpoints, interval + 1),
        )

    def make_body(self, height: int, **terms: object) -> SubmitRun:
        """Return the transaction that submits it, at about this height, with other terms than `TERMS`."""
        plan = make_digest(self.name, "plan")
        first = compute_start_id(StartLeaf(0, plan, self.submission, self.checkpoints[0].state_root))
        leaves = [first, *(make_digest(self.name, "leaf", step) for step in range(1, self.intervals + 1))]
        hashes = [hash_leaf(tags.TRANSCRIPT_TREE, leaf) for leaf in leaves]
        body = SubmitRun(
            plan=plan,
            closing=make_digest(self.name, "closing"),
            profile=make_digest("profile"),
            context_nonce=self.nonce,
            transcript=MerkleRoot(tags.TRANSCRIPT_TREE, len(hashes), compute_root(tags.TRANSCRIPT_TREE, hashes)),
            transcript_path=compute_path(tags.TRANSCRIPT_TREE, hashes, 0),
            checkpoints=compute_checkpoints(self.checkpoints),
            first=self._open(0),
            last=self._open(self.intervals),
            model_root=self._halves[0],
            rest_root=self._halves[1],
            model_file=make_digest(self.name, "file"),
            bundle=make_digest(self.name, "bundle"),
            bundle_bytes=10_000,
            steps=self.intervals,
            interval_length=1,
            retention=height + 1000,
            **TERMS,
        )
        return msgspec.structs.replace(body, **terms)

    def _open(self, index: int) -> CheckpointOpening:
        return open_checkpoint(self.checkpoints, index)


def pretend(
    world: World, submitter: Actor, name: str = "run", intervals: int = 8, false: tuple[int, ...] = (), nonce: int = 0
) -> PretendedRun:
    """Return a pretended run of a submitter on a ledger."""
    return PretendedRun(name, intervals, frozenset(false), world.chain_id, submitter.account, nonce)
