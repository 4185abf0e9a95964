"""A run on the disk as evidence: everything decoded, checked by itself and joined.

Nothing is recomputed here, and no torch is needed.

Source: `spec/transcript.md`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from assay.errors import Refuted, UsageError
from assay.protocol.encoding import decode
from assay.protocol.evidence.events import commit_events, compute_events_digest
from assay.protocol.evidence.model_state import (
    AliasTable,
    TensorRecord,
    compute_first_model_root,
    compute_state_root,
)
from assay.protocol.evidence.model_state_rules import verify_records
from assay.protocol.evidence.operators import OPERATORS
from assay.protocol.evidence.plan import (
    CertifiedStart,
    ClosingRecord,
    Plan,
    Profile,
    ProgramUse,
    Start,
    compute_plan_id,
    compute_profile_id,
)
from assay.protocol.evidence.plan_rules import verify_closing_record, verify_plan, verify_profile
from assay.protocol.evidence.program import Program, compute_program_id
from assay.protocol.evidence.program_rules import verify_program
from assay.protocol.evidence.transcript import StartLeaf, StepLeaf, StepParts, compute_step_id, rebuild_leaf
from assay.protocol.evidence.transcript_rules import verify_root_period, verify_step_parts
from assay.protocol.hashing import ZERO
from assay.storage.run_directory import RunDirectory
from assay.training.events import StoredEvent, read_events
from assay.training.observed import refuse_observed
from assay.training.recorder import Chain, ProgramList, StartRecord


class RunContradicts(Refuted):
    """A part of a run contradicts another part of it."""

    code: ClassVar[str] = "run.contradiction"


class NotFinished(UsageError):
    """The run has no closing record yet."""

    code: ClassVar[str] = "run.not-finished"


@dataclass(frozen=True)
class Row:
    """One step as it was recorded: its parts, the leaf that follows from them, and the scalars row in force."""

    parts: StepParts
    leaf: StepLeaf
    scalars: bytes


def verify_parent(start: Start, records: Sequence[TensorRecord], aliases: AliasTable) -> None:
    """Check that the first model of a start is the one that a certified start names (PLN-17).

    Raises:
        RunContradicts: it has another model root.
    """
    if not isinstance(start, CertifiedStart):
        return
    root = compute_first_model_root(records, aliases)
    if root != start.model_root:
        raise RunContradicts(
            "the first model of the start is not the certified one",
            expected=start.model_root.hex(),
            actual=root.hex(),
        )


class RecordedRun:
    """A run opened for reading.

    Args:
        path: its folder.

    Raises:
        NotARun, NewerFormat: from the storage.
        MalformedEvidence: a record is not in its one form.
        RunContradicts: records that do not belong together.
    """

    def __init__(self, path: Path | str) -> None:
        self.directory = RunDirectory.open(path)
        self.path = self.directory.path
        refuse_observed(self.directory)
        if not self.directory.has_object("plan.bin"):
            raise UsageError(f"{path} was opened for recording but no step was taken yet")
        self.plan = decode(self.directory.read_object("plan.bin"), Plan)
        verify_plan(self.plan)
        self.plan_id = compute_plan_id(self.plan)
        self.profile = decode(self.directory.read_object("profile.bin"), Profile)
        verify_profile(self.profile)
        if compute_profile_id(self.profile) != self.plan.profile:
            raise RunContradicts("the profile is not the one that the plan names", expected=self.plan.profile.hex())
        self.start = decode(self.directory.read_object("start.bin"), StartRecord)
        verify_records(self.start.records, self.start.aliases)
        if compute_state_root(self.start.records, self.start.aliases) != self.start.state_root:
            raise RunContradicts("the start root is not that of the start's records")
        verify_parent(self.plan.start, self.start.records, self.start.aliases)

    def close(self) -> None:
        """Let go of the files."""
        self.directory.close()

    @property
    def is_finished(self) -> bool:
        """True if there is a closing record."""
        return self.directory.has_object("closing.bin")

    @cached_property
    def closing(self) -> ClosingRecord:
        """The closing record, checked against the plan.

        Raises:
            NotFinished: there is none.
        """
        if not self.is_finished:
            raise NotFinished(
                f"{self.path} is not finished",
                actual=f"{self.directory.rows} steps",
                next_step="run its script again: it goes on from the last checkpoint",
            )
        closing = decode(self.directory.read_object("closing.bin"), ClosingRecord)
        verify_closing_record(self.plan, closing)
        return closing

    @cached_property
    def uses(self) -> tuple[ProgramUse, ...]:
        """The programs in order of first use."""
        if self.is_finished:
            return self.closing.programs
        if not self.directory.has_object("programs.bin"):
            return ()
        return decode(self.directory.read_object("programs.bin"), ProgramList).uses

    @cached_property
    def events(self) -> tuple[StoredEvent, ...]:
        """What was declared, in order; of a run in progress, what was declared after its last row is among them.

        Raises:
            MalformedEvidence: an event does not hold.
        """
        return read_events(self.directory)

    def get_events(self, step: int) -> list[StoredEvent]:
        """Return what was declared after `step` and before the next one."""
        return [one for one in self.events if one.event.step == step]

    def read_program(self, identity: bytes) -> Program:
        """Return a program, checked against its id and the rules.

        Raises:
            RunContradicts: the stored program is another one.
            MalformedEvidence: it breaks a rule.
        """
        program = decode(self.directory.read_object(f"programs/{identity.hex()}.bin"), Program)
        if compute_program_id(program) != identity:
            raise RunContradicts("a stored program is not the one that the run names", expected=identity.hex())
        verify_program(program, OPERATORS)
        return program

    @property
    def steps(self) -> int:
        """The number of steps: by the closing record, or so far."""
        return self.closing.steps if self.is_finished else self.directory.rows

    def iterate(self) -> Iterator[Row]:
        """Yield every step, each leaf following from the one before.

        Raises:
            RunContradicts: a row does not follow, or lacks a root.
        """
        chain = Chain(self.plan_id, self.start.context, self.start.state_root)
        steps = self.steps
        programs = [use.program for use in self.uses]
        for parts in self.directory.iterate_rows(0):
            if parts.step > steps:
                raise RunContradicts("the run has more rows than steps", expected=steps, actual=parts.step)
            verify_step_parts(parts)
            row = parts.scalars if parts.scalars is not None else chain.row
            if row is None or parts.program >= len(programs):
                raise RunContradicts(f"row {parts.step} refers to something that is not there")
            self._verify_events(parts)
            leaf = rebuild_leaf(parts, programs[parts.program], chain.leaves[-1], row)
            if compute_step_id(leaf) != parts.leaf:
                raise RunContradicts(f"row {parts.step} does not follow from the row before it")
            if self.is_finished:
                verify_root_period(self.plan, leaf, steps)
            chain.accept(parts, row)
            yield Row(parts, leaf, row)
        if len(chain.leaves) - 1 != steps:
            raise RunContradicts("rows are missing", expected=steps, actual=len(chain.leaves) - 1)
        if self.is_finished:
            self._verify_end(chain)

    def _verify_events(self, parts: StepParts) -> None:
        """Compare the events digest of a row with what was declared before it (TRN-9)."""
        declared = [one.event for one in self.get_events(parts.step - 1)] if self.events else []
        if compute_events_digest(declared) != (parts.events or ZERO):
            raise RunContradicts(
                f"what was declared before step {parts.step} is not what its row says",
                expected=parts.events.hex() or "nothing",
                actual=f"{len(declared)} events",
            )

    def _verify_end(self, chain: Chain) -> None:
        closing = self.closing
        for name, expected, actual in (
            ("transcript root", closing.transcript, chain.get_transcript()),
            ("scalars table", closing.scalars, chain.get_scalars()),
            ("list of events", closing.events, commit_events([one.event for one in self.events])),
        ):
            if expected != actual:
                raise RunContradicts(
                    f"the {name} of the closing record is not that of the rows",
                    expected=expected.root.hex(),
                    actual=actual.root.hex(),
                )

    @cached_property
    def rows(self) -> list[Row]:
        """All steps, checked; row i is step i + 1."""
        rows = list(self.iterate())
        if self.is_finished and rows and rows[-1].leaf.state_root != self.closing.final_state:
            raise RunContradicts("the last leaf has another state root than the closing record")
        return rows

    @property
    def leaf_ids(self) -> list[bytes]:
        """Ids of all leaves, leaf 0 first."""
        first = Chain(self.plan_id, self.start.context, self.start.state_root).leaves[0]
        return [first, *(row.parts.leaf for row in self.rows)]

    @property
    def start_leaf(self) -> StartLeaf:
        """Leaf 0."""
        return StartLeaf(0, self.plan_id, self.start.context, self.start.state_root)

    def get_claimed_root(self, step: int) -> bytes | None:
        """Return the state root that the transcript claims after `step`, or None if its leaf has none."""
        if step == 0:
            return self.start.state_root
        root = self.rows[step - 1].leaf.state_root
        return None if root == ZERO else root

    @property
    def intervals(self) -> int:
        """The number of intervals."""
        return -(-self.steps // self.plan.interval_length)

    def get_interval(self, index: int) -> tuple[int, int]:
        """Return (steps before it, last step) of an interval counted from 0."""
        length = self.plan.interval_length
        return index * length, min((index + 1) * length, self.steps)
