"""Writes a run: the chain of leaves, the rows, the programs, the checkpoints and the closing record.

The row of a step is held back until the next step begins or the run ends, because only then is it known whether the
step is the last one, whose leaf needs a state root. Rows that are on the disk already (a run that was resumed) are
compared instead of written: a resumed run that does something else is refused and nothing is overwritten.

Source: `spec/transcript.md`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import msgspec

from assay.errors import Refuted, UsageError
from assay.protocol import tags
from assay.protocol.encoding import Record, decode, encode
from assay.protocol.evidence.events import EARLY_STOP, EDIT, KINDS, commit_events, compute_events_digest
from assay.protocol.evidence.model_state import AliasTable, TensorRecord
from assay.protocol.evidence.plan import ClosingRecord, Evaluation, Plan, ProgramUse, compute_plan_id
from assay.protocol.evidence.plan_rules import verify_closing_record, verify_plan
from assay.protocol.evidence.program import Program, compute_program_id
from assay.protocol.evidence.transcript import (
    StartLeaf,
    StepParts,
    compute_start_id,
    compute_step_id,
    rebuild_leaf,
)
from assay.protocol.evidence.transcript_rules import is_root_due
from assay.protocol.hashing import ZERO, compute_digest
from assay.protocol.merkle import MerkleRoot, compute_data_root, compute_root, hash_leaf
from assay.storage.run_directory import RunDirectory
from assay.training.events import StoredEvent, read_events, write_events
from assay.training.program_difference import describe_difference

MAX_CHECKPOINTS = 20
"""States that a run keeps on the disk; a start that a program makes is not among them."""

_LOSS_INLINE = 64


class ResumeDiffers(Refuted):
    """A resumed run does not do again what the rows on the disk say."""

    code = "resume.differs"


class ProgramList(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The programs of a run in order of first use; rows name them by index."""

    version: int
    uses: tuple[ProgramUse, ...]


class StartRecord(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The state before the first step."""

    version: int
    context: bytes
    state_root: bytes
    aliases: AliasTable
    records: tuple[TensorRecord, ...]


@dataclass(frozen=True)
class StepResult:
    """What one step leaves behind, before its place in the chain is known.

    Attributes:
        program: index of its program.
        membership, content: roots, 32 bytes.
        row: the scalars, raw little-endian float64.
        losses: raw bytes of each returned tensor.
        loss_root: Merkle root over them.
        state_root: 32 bytes, or empty if none was due.
        events: digest of what was declared before the step, or empty.
    """

    program: int
    membership: bytes
    content: bytes
    row: bytes
    losses: tuple[bytes, ...]
    loss_root: bytes
    state_root: bytes
    events: bytes = b""


def keep_loss(data: bytes, digest: bytes) -> bytes:
    """Return what a row keeps of a returned tensor: its bytes, or its digest if they are many."""
    return data if len(data) <= _LOSS_INLINE else digest


class Chain:
    """The leaves so far: ids of all, digests of the scalars rows, and the row in force."""

    def __init__(self, plan_id: bytes, context: bytes, start_root: bytes) -> None:
        self.leaves = [compute_start_id(StartLeaf(0, plan_id, context, start_root))]
        self.row_hashes: list[bytes] = []
        self.row: bytes | None = None
        self._scalars = ZERO

    def link(self, step: int, result: StepResult, program_id: bytes) -> StepParts:
        """Return the parts of the next step, with its leaf; the chain is advanced by `accept`."""
        same = result.row == self.row
        parts = StepParts(
            step=step,
            program=result.program,
            state_root=result.state_root,
            membership=result.membership,
            content=result.content,
            scalars=None if same else result.row,
            loss=result.losses,
            loss_root=result.loss_root,
            events=result.events,
            leaf=b"",
        )
        leaf = compute_step_id(rebuild_leaf(parts, program_id, self.leaves[-1], result.row))
        return replace_leaf(parts, leaf)

    def accept(self, parts: StepParts, row: bytes) -> None:
        """Append the leaf of a step."""
        if row != self.row:
            self.row = row
            self._scalars = hash_leaf(tags.SCALARS_TABLE, compute_digest(tags.SCALARS_ROW, row))
        self.row_hashes.append(self._scalars)
        self.leaves.append(parts.leaf)

    def get_transcript(self) -> MerkleRoot:
        """Return the Merkle root over all leaves."""
        root = compute_data_root(tags.TRANSCRIPT_TREE, self.leaves)
        return MerkleRoot(tags.TRANSCRIPT_TREE, len(self.leaves), root)

    def get_scalars(self) -> MerkleRoot:
        """Return the Merkle root over the scalars rows of all steps."""
        return MerkleRoot(tags.SCALARS_TABLE, len(self.row_hashes), compute_root(tags.SCALARS_TABLE, self.row_hashes))


def replace_leaf(parts: StepParts, leaf: bytes) -> StepParts:
    """Return the parts with the id of their leaf."""
    return msgspec.structs.replace(parts, leaf=leaf)


class RunRecorder:
    """Appends steps to a run directory.

    Args:
        run: open for writing; new, or holding a plan already.
        plan: what was planned; a run that holds another plan is refused.
        start: the state before the first step.
    """

    def __init__(self, run: RunDirectory, plan: Plan, start: StartRecord) -> None:
        verify_plan(plan)
        self.run = run
        self.plan = plan
        self.plan_id = compute_plan_id(plan)
        self.start = start
        run.write_object("plan.bin", encode(plan))
        run.write_object("start.bin", encode(start))
        self.uses = list(self._read_uses())
        self.program_ids = [use.program for use in self.uses]
        self._found: dict[int, tuple[Program, int]] = {}  # by identity; holding the program keeps its id its own
        self.stored = run.rows
        self.events: list[StoredEvent] = []  # those that this process declared or went past
        self._known_events = self._read_events()
        self.chain = Chain(self.plan_id, start.context, start.state_root)
        self._pending: StepResult | None = None
        self.has_differed = False  # a step of a resumed run was found to be another one: it was said, once

    @property
    def step(self) -> int:
        """The last step that was carried out."""
        return len(self.chain.leaves) - 1 + (self._pending is not None)

    def _read_uses(self) -> tuple[ProgramUse, ...]:
        if not self.run.has_object("programs.bin"):
            return ()
        return decode(self.run.read_object("programs.bin"), ProgramList).uses

    def _read_events(self) -> tuple[StoredEvent, ...]:
        """Return what was declared; an early stop is forgotten, for a run that goes on has not stopped."""
        stored = read_events(self.run)
        kept = tuple(one for one in stored if one.event.kind != EARLY_STOP)
        if kept != stored:
            write_events(self.run, kept)
        return kept

    def replay_rows(self, step: int) -> None:
        """Advance the chain over the rows on the disk up to `step`, which a checkpoint stands on."""
        self.events = [one for one in self._known_events if one.event.step < step]
        for parts in self.run.iterate_rows(0):
            if parts.step > step:
                break
            row = parts.scalars if parts.scalars is not None else self.chain.row
            if row is None:
                raise Refuted(f"row {parts.step} refers to a scalars row that is not there")
            leaf = compute_step_id(rebuild_leaf(parts, self.program_ids[parts.program], self.chain.leaves[-1], row))
            if leaf != parts.leaf:
                raise Refuted(f"row {parts.step} does not follow from the row before", expected=parts.leaf.hex())
            self.chain.accept(parts, row)

    def find_events(self, step: int, kind: str) -> list[StoredEvent]:
        """Return what was declared after `step`, by this process or, before it was resumed, by one before."""
        return [one for one in self._known_events if (one.event.step, one.event.kind) == (step, kind)]

    def is_declared_before(self, step: int, reason: str) -> bool:
        """Return whether an edit with this reason lies before `step`."""
        return any(
            one.event.step < step and (one.event.kind, one.event.reason) == (EDIT, reason) for one in self.events
        )

    def declare(self, event: StoredEvent) -> None:
        """Add an event after the last step, durably; one of its kind that was declared there before is replaced.

        Events after one step stand in the order of their kinds: edit, metric, early stop.
        """
        step, kind = event.event.step, event.event.kind
        others = [one for one in self.events if (one.event.step, one.event.kind) != (step, kind)]
        kept = [one for one in others if one.event.step <= step]
        self.events = sorted([*kept, event], key=lambda one: (one.event.step, KINDS.index(one.event.kind)))
        places = {(one.event.step, one.event.kind) for one in self.events}
        known = [one for one in self._known_events if one.event.step >= step]
        left = [one for one in known if (one.event.step, one.event.kind) not in places]
        self._known_events = (*self.events, *left)
        write_events(self.run, self._known_events)

    def get_events_digest(self, step: int) -> bytes:
        """Return the digest of what was declared after `step`, or nothing."""
        events = [one.event for one in self.events if one.event.step == step]
        return compute_events_digest(events) if events else b""

    def find_program(self, program: Program) -> int | None:
        """Return the index of a program, or None if the run has not used it."""
        found = self._found.get(id(program))
        if found is not None:
            return found[1]
        identity = compute_program_id(program)
        if identity not in self.program_ids:
            return None
        index = self.program_ids.index(identity)
        self._found[id(program)] = program, index
        return index

    def add_program(self, program: Program, *, first_step: int, known_answer: bytes = ZERO) -> int:
        """Store a program durably and return its index."""
        known = self.find_program(program)
        if known is not None:
            return known
        identity = compute_program_id(program)
        self.run.write_object(f"programs/{identity.hex()}.bin", encode(program))
        uses = [*self.uses, ProgramUse(identity, first_step, known_answer)]
        self.run.write_object("programs.bin", encode(ProgramList(0, tuple(uses))), replace=True)
        self.uses = uses
        self.program_ids.append(identity)
        return len(uses) - 1

    def verify_known(self, step: int, program: Program) -> None:
        """Check that a step that is done again follows a program that the run has.

        Raises:
            ResumeDiffers: naming the first difference from the program that the step followed before.
        """
        if step > self.stored or self.find_program(program) is not None:
            return
        identity = self.program_ids[self.run.read_row(step).program]
        stored = decode(self.run.read_object(f"programs/{identity.hex()}.bin"), Program)
        self.has_differed = True
        raise ResumeDiffers(
            f"the resumed run follows another program at step {step}",
            expected="the step as it was recorded",
            actual=describe_difference(stored, program),
            next_step="run the unchanged script to resume, or record a new run in another folder",
        )

    def is_root_due(self, step: int) -> bool:
        """True if the leaf of `step` needs a state root whether or not it is the last."""
        return is_root_due(self.plan, step, self.plan.intended_steps)

    def record(self, result: StepResult) -> None:
        """Take the result of the next step; the row of the step before goes into the log."""
        self.settle()
        self._pending = result

    def settle(self, final_root: Callable[[], bytes] | None = None) -> None:
        """Give the row that is held back its place in the chain.

        Args:
            final_root: computes the state root if this is the last step and none was due.
        """
        result = self._pending
        if result is None:
            return
        step = len(self.chain.leaves)
        if final_root is not None and not result.state_root:
            result = replace(result, state_root=final_root())
        parts = self.chain.link(step, result, self.program_ids[result.program])
        if step <= self.stored:
            self._compare(parts, result)
        else:
            self.run.steps.append(parts)
        self.chain.accept(parts, result.row)
        self._pending = None

    def _compare(self, parts: StepParts, result: StepResult) -> None:
        stored = self.run.read_row(parts.step)
        if stored.leaf == parts.leaf:
            return
        names = ("program", "membership", "content", "loss", "loss_root", "state_root", "events")
        found = [name for name in names if getattr(stored, name) != getattr(parts, name)]
        stored_row = stored.scalars if stored.scalars is not None else self.chain.row
        found += ["scalars"] if stored_row != result.row else []
        self.has_differed = True
        raise ResumeDiffers(
            f"the resumed run does something else at step {parts.step}",
            expected="the same step as in the rows on the disk",
            actual=f"another {', '.join(found) or 'history before it'}",
            next_step="run the unchanged script on a machine like the first; or record a new run in another folder",
        )

    def finish(
        self,
        *,
        reason: str,
        final_root: Callable[[], bytes],
        model_root: bytes,
        evaluations: Sequence[Evaluation],
    ) -> ClosingRecord:
        """Write the last row and the closing record.

        Raises:
            UsageError: rows on the disk go further than the run did this time.
        """
        self.settle(final_root)
        if self.stored > self.step:
            raise UsageError(
                "the run ended before it reached the step that it had reached before",
                expected=f"{self.stored} steps",
                actual=f"{self.step} steps",
            )
        closing = ClosingRecord(
            version=0,
            plan=self.plan_id,
            steps=self.step,
            transcript=self.chain.get_transcript(),
            programs=tuple(self.uses),
            scalars=self.chain.get_scalars(),
            evaluations=tuple(evaluations),
            events=commit_events([one.event for one in self.events]),
            final_state=final_root(),
            model_root=model_root,
            reason=reason,
        )
        verify_closing_record(self.plan, closing)
        self.run.steps.sync()
        if self._known_events != tuple(self.events):
            write_events(self.run, self.events)
        self.run.write_object("closing.bin", encode(closing))
        return closing


def choose_checkpoints(steps: Sequence[int], *, interval: int, intended: int) -> set[int]:
    """Return which of the stored steps to keep: at most `MAX_CHECKPOINTS`, always the newest and a stored start.

    Where the number of steps is known and the start need not be stored, the gaps are a twentieth of the run, rounded up
    to whole intervals: no other choice of as many states has a smaller largest gap. A stored start takes the place of
    one state. Where the number is not known, the state goes whose absence leaves the smallest gap; the largest gap is
    then at most a tenth of the run.

    Args:
        steps: stored steps, ascending; the last is the newest.
        interval: steps between two checkpoints.
        intended: intended steps, or 0.
    """
    keep = list(steps)
    if intended and intended >= steps[-1]:
        places = MAX_CHECKPOINTS - (steps[0] == 0)
        unit = interval * -(-intended // (places * interval))
        keep = [step for step in steps if step % unit == 0 or step == steps[-1]]
    while len(keep) > MAX_CHECKPOINTS:
        gaps = [(after - before, step) for before, step, after in zip(keep, keep[1:], keep[2:], strict=False)]
        keep.remove(min(gaps)[1])
    return set(keep)
