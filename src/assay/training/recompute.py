"""Recomputing one interval for a vote: the leaves that follow from computing it, whatever the run claims.

A vote must be the same for every honest verifier, also where the run lies. So nothing stops at a difference: the chain
of leaves goes on from the last committed state before the interval, with the roots that were computed.

Source: `spec/work-digest.md`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from assay.errors import UsageError
from assay.protocol import tags
from assay.protocol.evidence.model_state import compute_state_root
from assay.protocol.evidence.plan import Evaluation
from assay.protocol.evidence.transcript import StartLeaf, compute_start_id, compute_step_id
from assay.protocol.evidence.votes import METRICS_CHECK, START_CHECK, compute_metrics_digest
from assay.protocol.hashing import ZERO
from assay.protocol.merkle import MerkleRoot, compute_data_root
from assay.training.data_store import open_data
from assay.training.recorded import RecordedRun
from assay.training.replay import Replayer, StartDiffers, StateUnfit, StepImpossible, verify_data
from assay.training.work_digest import WorkHasher


@dataclass(frozen=True)
class Computed:
    """What recomputing an interval gave.

    Attributes:
        start_root: state root before its first step, as it was reached.
        end_root: state root after its last step, or 32 zero bytes: the steps could not be carried out to the end.
        leaves: committed list of its own leaves (WRK-6).
        work_digest: over values that exist only while computing.
        matches: all of it is what the run claims.
        step: the first step that differs, 0 if the start does or none.
    """

    start_root: bytes
    end_root: bytes
    leaves: MerkleRoot
    work_digest: bytes
    matches: bool
    step: int = 0


class Recomputer:
    """Recomputes intervals of one run.

    Args:
        replayer: of the run; its backend shows values to `hasher`.
        hasher: makes the work digests.
    """

    def __init__(self, replayer: Replayer, hasher: WorkHasher) -> None:
        self.run: RecordedRun = replayer.run
        self.replayer = replayer
        self.hasher = hasher
        self._claimed = self.run.leaf_ids
        self._own = b""  # id of the last own leaf

    def answer(self, number: int, key: bytes) -> Computed:
        """Return what an interval, or one of the two checks that follow the last one, gives.

        Args:
            number: of the interval, or N + `START_CHECK`, or N + `METRICS_CHECK`.
            key: of the verifier's work digests, 32 bytes.

        Raises:
            UsageError: no such number.
        """
        intervals = self.run.intervals
        if number == intervals + START_CHECK:
            return self.check_start(key)
        if number == intervals + METRICS_CHECK:
            return self.check_metrics(key)
        if not 0 <= number < intervals:
            raise UsageError("no such interval", expected=f"0 to {intervals + METRICS_CHECK}", actual=number)
        return self.recompute(number, key)

    def recompute(self, index: int, key: bytes) -> Computed:
        """Return what interval `index` gives, from the last stored state at or before its start (WRK-5).

        Args:
            index: counted from 0.
            key: of the verifier's work digests, 32 bytes.
        """
        first, last = self.run.get_interval(index)
        self.hasher.begin(key)
        position, start_root, differs = self._load(first)
        try:
            for step in range(position + 1, first + 1):
                start_root, differs = self._take(step, start_root, differs)
            self.hasher.begin(key)
            return self._recompute_steps(first, last, start_root, differs)
        except (StepImpossible, StateUnfit):
            return Computed(start_root, ZERO, list_leaves([]), self.hasher.finish(), matches=False)

    def _load(self, first: int) -> tuple[int, bytes, int]:
        """Return the step whose state was loaded, its root, and 0; or -1 where the start is another than claimed."""
        base = self.replayer.find_base(first)
        claimed = self.run.get_claimed_root(base) or ZERO
        self._own = self._claimed[base]
        try:
            self.replayer.load(base)
        except StartDiffers:
            records, tensors = self.replayer.make_start()
            self.replayer.backend.set_state(records, tensors)
            claimed = compute_state_root(records, self.run.start.aliases)
            self._own = compute_start_id(StartLeaf(0, self.run.plan_id, self.run.start.context, claimed))
            return base, claimed, -1
        return base, claimed, 0

    def _take(self, step: int, root: bytes, differs: int) -> tuple[bytes, int]:
        """Carry out one step; return the last known state root, and the first step that differs."""
        row = self.run.rows[step - 1]
        leaf = self.replayer.carry_out(row, self._own)
        self._own = compute_step_id(leaf)
        self.hasher.end_step(step)
        if self._own != row.parts.leaf and not differs:
            differs = step
        return (root if leaf.state_root == ZERO else leaf.state_root), differs

    def _recompute_steps(self, first: int, last: int, start_root: bytes, differs: int) -> Computed:
        end_root, leaves = start_root, []
        for step in range(first + 1, last + 1):
            end_root, differs = self._take(step, end_root, differs)
            leaves.append(self._own)
        digest = self.hasher.finish()
        return Computed(start_root, end_root, list_leaves(leaves), digest, not differs, max(differs, 0))

    def check_start(self, key: bytes) -> Computed:
        """Return what the initialiser gives: its state root as end root (WRK-7).

        Raises:
            StartMissing: no program makes the start.
        """
        records, _ = self.replayer.make_start()
        root = compute_state_root(records, self.run.start.aliases)
        return self._answer_check(key, root, matches=root == self.run.start.state_root)

    def check_metrics(self, key: bytes) -> Computed:
        """Return what measuring gives: the digest of all evaluations as end root (WRK-7)."""
        found = self.measure()
        return self._answer_check(key, compute_metrics_digest(found), matches=found == self.run.closing.evaluations)

    def _answer_check(self, key: bytes, root: bytes, *, matches: bool) -> Computed:
        self.hasher.begin(key)
        return Computed(ZERO, root, list_leaves([]), self.hasher.finish(), matches)

    def measure(self) -> tuple[Evaluation, ...]:
        """Return the evaluations of the closing record with the metrics that recomputing gives."""
        found = []
        for evaluation in self.run.closing.evaluations:
            position, root, differs = self._load(evaluation.step)
            for step in range(position + 1, evaluation.step + 1):
                root, differs = self._take(step, root, differs)
            found.append(self._measure(evaluation))
        return tuple(found)

    def _measure(self, evaluation: Evaluation) -> Evaluation:
        """Return an evaluation with the metrics that the present state gives."""
        data, packed = open_data(self.run.directory, f"test-{evaluation.data.leaves.root.hex()[:16]}")
        verify_data(evaluation.data, data, packed)
        program = self.run.read_program(evaluation.program)
        metrics = self.replayer.backend.measure(program, packed, evaluation.batch_size, evaluation.metrics)
        return msgspec.structs.replace(evaluation, metrics=metrics)


def list_leaves(leaves: Sequence[bytes]) -> MerkleRoot:
    """Return the committed list of the ids of own leaves (WRK-6)."""
    return MerkleRoot(tags.INTERVAL_LEAVES, len(leaves), compute_data_root(tags.INTERVAL_LEAVES, leaves))
