"""Recomputes steps of a recorded run and compares every part of every leaf.

The arithmetic is behind `Backend`, so that this file needs no torch. A replay begins at a stored state whose root the
transcript claims, or at the start made by the initialiser, and takes nothing from the rows but what it compares with:
batches come from the committed data, keys from the seed, scalars rows from the rows (whose digests the leaves hold).

Source: `spec/transcript.md`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from assay.errors import Refuted, UsageError
from assay.protocol.evidence.edits import Edit
from assay.protocol.evidence.events import compute_events_digest
from assay.protocol.evidence.model_state import TensorRecord, compute_state_root
from assay.protocol.evidence.plan import DataSet, InitialisedStart, Metric
from assay.protocol.evidence.program import STEP as STEP_PROGRAM
from assay.protocol.evidence.program import Program
from assay.protocol.evidence.randomness import INIT, STEP, derive_key
from assay.protocol.evidence.transcript import StepLeaf
from assay.protocol.hashing import ZERO, compute_digest
from assay.protocol.tags import SCALARS_ROW
from assay.training.batches import compute_losses
from assay.training.data_store import open_data
from assay.training.events import StoredEvent, compute_change, is_norm_right
from assay.training.feed import Feed
from assay.training.packed import Hashes, PackedData
from assay.training.recorded import RecordedRun, Row, RunContradicts
from assay.training.state import StateRoots

Array = npt.NDArray[np.generic]
Tensors = Sequence[bytes | bytearray | memoryview]


class StartMissing(UsageError):
    """No stored state from which a step could be replayed."""

    code: ClassVar[str] = "replay.start-missing"


class StartDiffers(Refuted):
    """The initialiser gives another start than the run claims."""

    code: ClassVar[str] = "replay.start-differs"


class StateUnfit(Refuted):
    """A program needs a state that the run does not have at this step."""

    code: ClassVar[str] = "replay.state-unfit"


class StepImpossible(Refuted):
    """A row names a program that is no training step, or scalars that do not fit it."""

    code: ClassVar[str] = "replay.step-impossible"

    def __init__(self, step: int, parts: tuple[str, ...]) -> None:
        super().__init__(f"step {step} cannot be carried out", actual=", ".join(parts))
        self.parts = parts


class Backend(Protocol):
    """What computes: one state, and programs that change it."""

    def make_start(self, program: Program, key: tuple[int, int]) -> tuple[list[TensorRecord], list[bytes]]:
        """Return records and bytes of the tensors that an initialiser makes, sorted."""
        ...

    def set_state(self, records: Sequence[TensorRecord], tensors: Tensors) -> None:
        """Take over a state."""
        ...

    def run(self, program: Program, batch: Sequence[Array], row: Sequence[float], key: tuple[int, int]) -> list[Array]:
        """Carry out one step on the state and return what it returns."""
        ...

    def compute_roots(self) -> StateRoots:
        """Hash the state."""
        ...

    def measure(
        self, program: Program, packed: PackedData, batch_size: int, metrics: Sequence[Metric]
    ) -> tuple[Metric, ...]:
        """Return the metrics of the present state on a test set."""
        ...

    def get_names(self) -> list[tuple[int, str]]:
        """Return namespace and name of all tensors, in canonical order."""
        ...

    def get_tensor_bytes(self) -> list[memoryview]:
        """Return the bytes of all tensors, in their order, to be read."""
        ...

    def set_tensor_bytes(self, place: int, data: bytes | bytearray | memoryview) -> None:
        """Put other bytes, as many, into the tensor at a place of that order."""
        ...


@dataclass(frozen=True)
class Difference:
    """Where a replay first left the transcript: the step, and the parts of its leaf that differ."""

    step: int
    parts: tuple[str, ...]


class Replayer:
    """Replays steps of one run.

    Args:
        run: the run.
        backend: what computes.
        aliases are those of the run's start: ties do not change while training.

    Raises:
        DataMismatch: the stored data are not those that the plan commits to.
    """

    def __init__(self, run: RecordedRun, backend: Backend) -> None:
        self.run = run
        self.backend = backend
        data, packed = open_data(run.directory, "train")
        self.packed, self.leaf_hashes = packed, verify_data(run.plan.data, data, packed)
        plan = run.plan
        self.feed = Feed(
            packed,
            self.leaf_hashes,
            seed=plan.seed,
            order_version=plan.order_version,
            batch_size=plan.batch_size,
            last_batch=plan.last_batch,
            collate=plan.collate,
        )
        self._programs: dict[bytes, Program] = {}
        self._stored = run.directory.checkpoints.list_steps()

    def find_base(self, step: int) -> int:
        """Return the last step at or before `step` whose state is stored or can be made; 0 is the start.

        Raises:
            StartMissing: there is none.
        """
        stored = [other for other in self._stored if other <= step]
        if stored:
            return stored[-1]
        if isinstance(self.run.plan.start, InitialisedStart):
            return 0
        raise StartMissing(f"no stored state before step {step}", next_step="restore the checkpoints of the run")

    def load(self, step: int) -> None:
        """Put the backend into the state that the run claims after `step`, one that `find_base` returned.

        Raises:
            RunContradicts: the stored state has another root than the transcript claims.
            StartDiffers: the initialiser gives another start.
        """
        claimed = self.run.get_claimed_root(step)
        if step in self._stored:
            checkpoint = self.run.directory.checkpoints.read(step)
            records, tensors = checkpoint.manifest.records, checkpoint.tensors
            if claimed is None or checkpoint.manifest.state_root != claimed:
                raise RunContradicts(f"the stored state of step {step} is not the one that the transcript claims")
            self.backend.set_state(records, tensors)
            return
        records_made, bytes_made = self.make_start()
        if compute_state_root(records_made, self.run.start.aliases) != claimed:
            raise StartDiffers("the initialiser gives another start than the run claims", expected=_hex(claimed))
        self.backend.set_state(records_made, bytes_made)

    def make_start(self) -> tuple[list[TensorRecord], list[bytes]]:
        """Run the initialiser under the plan's seed."""
        start = self.run.plan.start
        if not isinstance(start, InitialisedStart):
            raise StartMissing("the start of this run is declared, not made by a program")
        return self.backend.make_start(self._get_program(start.program), derive_key(self.run.plan.seed, INIT, 0))

    def replay(
        self, first: int, last: int, *, stop_at_difference: bool = True, progress: Callable[[int], None] | None = None
    ) -> Difference | None:
        """Carry out the steps after `first` up to `last` on the present state, and compare.

        Args:
            first: the step whose state the backend has.
            last: the last step to carry out.
            stop_at_difference: return at the first step that differs.
            progress: is told every step that was carried out.

        Returns:
            The first difference, or None.
        """
        found: Difference | None = None
        for step in range(first + 1, last + 1):
            parts = self._replay_step(self.run.rows[step - 1])
            if parts and found is None:
                found = Difference(step, parts)
                if stop_at_difference:
                    return found
            if progress is not None:
                progress(step)
        return found

    def _replay_step(self, row: Row) -> tuple[str, ...]:
        leaf = row.leaf
        try:
            own = self.carry_out(row, leaf.previous)
        except StepImpossible as error:
            return error.parts
        return tuple(name for name, field in _PARTS.items() if getattr(own, field) != getattr(leaf, field))

    def carry_out(self, row: Row, previous: bytes) -> StepLeaf:
        """Carry out the step of a row on the present state, and return the leaf that follows from computing it.

        Args:
            row: whose program and scalars are taken, and whether a state root is due.
            previous: id of the leaf before.

        Raises:
            StepImpossible: the row names a program or scalars that no step can be made of.
            StateUnfit: from the backend; the program needs another state.
        """
        leaf, step = row.leaf, row.leaf.step
        batch = self.feed.get_batch(step)
        program = self._get_program(leaf.program)
        if program.kind != STEP_PROGRAM:
            raise StepImpossible(step, ("program",))
        scalars = np.frombuffer(row.scalars, dtype="<f8").tolist()
        if len(scalars) != program.scalars:
            raise StepImpossible(step, ("scalars",))
        key = derive_key(self.run.plan.seed, STEP, step)
        declared = self.apply_events(step)
        results = self.backend.run(program, batch.arrays, scalars, key)
        return StepLeaf(
            version=0,
            step=step,
            program=leaf.program,
            previous=previous,
            state_root=self.backend.compute_roots().state_root if leaf.state_root != ZERO else ZERO,
            membership=batch.membership,
            content=batch.content,
            scalars=compute_digest(SCALARS_ROW, row.scalars),
            loss=compute_losses(results)[0],
            events=compute_events_digest([one.event for one in declared]),
        )

    def apply_events(self, step: int) -> Sequence[StoredEvent]:
        """Apply the edits that were declared before a step to the present state; return all its events."""
        declared = self.run.get_events(step - 1)
        for one in declared:
            if one.edit is not None:
                self._apply(one, one.edit)
        return declared

    def _apply(self, one: StoredEvent, edit: Edit) -> None:
        """Put the tensors of an edit into the state, and find the norm of the change (TRN-11)."""
        step = one.event.step + 1
        places = {name: place for place, name in enumerate(self.backend.get_names())}
        state = self.backend.get_tensor_bytes()
        if any((record.namespace, record.name) not in places for record in one.records):
            raise StepImpossible(step, ("events",))
        chosen = [places[record.namespace, record.name] for record in one.records]
        targets = [state[place] for place in chosen]
        if any(target.nbytes != record.nbytes for target, record in zip(targets, one.records, strict=True)):
            raise StepImpossible(step, ("events",))
        tensors = [self.run.directory.blobs.open(record.digest, max_bytes=record.nbytes) for record in one.records]
        if not is_norm_right(edit, compute_change(one.records, targets, tensors)):
            raise StepImpossible(step, ("events",))
        for place, data in zip(chosen, tensors, strict=True):
            self.backend.set_tensor_bytes(place, data)

    def _get_program(self, identity: bytes) -> Program:
        if identity not in self._programs:
            self._programs[identity] = self.run.read_program(identity)
        return self._programs[identity]


_PARTS = {
    "membership": "membership", "content": "content", "scalars": "scalars", "loss": "loss", "state root": "state_root",
    "events": "events",
}  # fmt: skip
"""The parts of a leaf that a replay compares, as people read them."""


def verify_data(expected: DataSet, stored: DataSet, packed: PackedData) -> Hashes:
    """Check stored data against a commitment; return the hashes of the data leaves."""
    if stored != expected:
        raise RunContradicts("the stored data set is not the one that the plan commits to")
    return packed.verify_commitment(expected)


def _hex(root: bytes | None) -> str:
    return root.hex() if root is not None else "none"
