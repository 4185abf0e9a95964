"""One of two runs that are compared: opened in milliseconds, read row by row where the comparison looks.

Unlike `recorded.RecordedRun` it does not walk the log: stored leaf ids are believed unless the comparison verifies
them. A run in progress is compared as far as it is on the disk.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from assay.errors import Refuted, UsageError
from assay.protocol.encoding import decode
from assay.protocol.evidence.model_state import compute_state_root
from assay.protocol.evidence.model_state_rules import verify_records
from assay.protocol.evidence.operators import OPERATORS
from assay.protocol.evidence.plan import (
    ClosingRecord,
    Plan,
    Profile,
    ProgramUse,
    compute_plan_id,
    compute_profile_id,
)
from assay.protocol.evidence.plan_rules import verify_closing_record, verify_plan, verify_profile
from assay.protocol.evidence.program import Program, compute_program_id
from assay.protocol.evidence.program_rules import verify_program
from assay.protocol.evidence.transcript import StartLeaf, StepParts, compute_start_id
from assay.protocol.evidence.transcript_rules import verify_step_parts
from assay.storage.checkpoints import CheckpointStore
from assay.storage.fields import FieldStore
from assay.storage.files import Files, read_file
from assay.storage.run_layout import STEPS, check_format
from assay.storage.step_search import StepSearch, decode_quickly, read_step
from assay.training.recorder import ProgramList, StartRecord


class NothingToCompare(UsageError):
    """A run without a single step, or two paths that are one run."""

    code: ClassVar[str] = "compare.nothing"


class SideContradicts(Refuted):
    """Parts of a run that do not belong together: it can be compared with nothing."""

    code: ClassVar[str] = "compare.contradiction"


@dataclass(frozen=True)
class SideRow:
    """One step: its parts, its program's id, and its scalars row, raw; None: as in the step before."""

    parts: StepParts
    program: bytes
    scalars: bytes | None


def is_unchanged(payload: bytes) -> bool:
    """Return whether a row says, in its most usual form, that the scalars are those of the step before.

    False where the form is another one: then the row is to be decoded.
    """
    start = read_step(payload)[1]
    if len(payload) < start + 4 or payload[start] >= 0x80 or payload[start + 1] != 0xC4:
        return False
    scalars = start + 3 + payload[start + 2] + 68
    return scalars < len(payload) and payload[scalars] == 0xC0


class Side:
    """A run opened for comparison.

    Args:
        path: its folder.
        label: how findings name it, "A" or "B".

    Raises:
        NotARun, NewerFormat, StorageError: from the storage.
        NothingToCompare: no step was recorded yet.
        MalformedEvidence, SideContradicts: records that are not in their form or do not belong together.
    """

    def __init__(self, path: Path | str, label: str = "A") -> None:
        self.label = label
        self.path = Path(os.path.realpath(path))
        self._files = Files()
        check_format(self._files, self.path)
        self.fields = FieldStore(self._files, self.path / "data", writable=False)
        if not self.has_object("plan.bin") or not self.has_object("start.bin"):
            raise NothingToCompare(f"{path} was opened for recording but no step was taken yet")
        self.plan = decode(self.read_object("plan.bin"), Plan)
        verify_plan(self.plan)
        self.plan_id = compute_plan_id(self.plan)
        self.profile = decode(self.read_object("profile.bin"), Profile)
        verify_profile(self.profile)
        if compute_profile_id(self.profile) != self.plan.profile:
            raise SideContradicts(f"{path}: the profile is not the one that the plan names")
        self.start = decode(self.read_object("start.bin"), StartRecord)
        verify_records(self.start.records, self.start.aliases)
        if compute_state_root(self.start.records, self.start.aliases) != self.start.state_root:
            raise SideContradicts(f"{path}: the start root is not that of the start's records")
        self.checkpoints = CheckpointStore(self._files, self.path / "checkpoints", self.path / "packs", writable=False)
        self.log = StepSearch(self._files, self.path / STEPS)
        self._programs: dict[bytes, Program] = {}
        self.marks: list[bytes] = []  # of its samples, where the data are not stored: see `samples.mark_samples`

    def close(self) -> None:
        """Let go of the log."""
        del self.log

    def has_object(self, name: str) -> bool:
        """Return whether an object of this name is stored."""
        return self._files.get_kind(self.path / name) == "file"

    def read_object(self, name: str) -> bytes:
        """Return the bytes of an object of the run; the caller decodes and checks them."""
        return read_file(self._files, self.path / name)

    @cached_property
    def closing(self) -> ClosingRecord | None:
        """The closing record, or None while the run is in progress."""
        if not self.has_object("closing.bin"):
            return None
        closing = decode(self.read_object("closing.bin"), ClosingRecord)
        verify_closing_record(self.plan, closing)
        return closing

    @property
    def steps(self) -> int:
        """The number of steps on the disk.

        Raises:
            SideContradicts: the closing record counts other steps than there are rows.
        """
        if self.closing is not None and self.closing.steps != len(self.log):
            raise SideContradicts(
                f"{self.path} has another number of rows than its closing record says",
                expected=self.closing.steps,
                actual=len(self.log),
                next_step="restore steps.log from a copy of the run",
            )
        return len(self.log)

    @cached_property
    def uses(self) -> tuple[ProgramUse, ...]:
        """The programs in order of first use; rows name them by index."""
        if self.closing is not None:
            return self.closing.programs
        if not self.has_object("programs.bin"):
            return ()
        return decode(self.read_object("programs.bin"), ProgramList).uses

    @property
    def program_ids(self) -> tuple[bytes, ...]:
        """The ids of the programs."""
        return tuple(use.program for use in self.uses)

    def get_program_id(self, index: int) -> bytes:
        """Return the id of the program that rows name by `index`."""
        if not 0 <= index < len(self.uses):
            raise SideContradicts(f"{self.path}: a row names a program that is not there", actual=index)
        return self.uses[index].program

    def read_program(self, identity: bytes) -> Program:
        """Return a stored program, checked against its id and the rules.

        Raises:
            SideContradicts: the stored program is another one.
            FileMissing: it is not stored.
        """
        if identity not in self._programs:
            program = decode(self.read_object(f"programs/{identity.hex()}.bin"), Program)
            if compute_program_id(program) != identity:
                raise SideContradicts(f"{self.path}: a stored program is not the one that the run names")
            verify_program(program, OPERATORS)
            self._programs[identity] = program
        return self._programs[identity]

    @property
    def start_id(self) -> bytes:
        """The id of leaf 0."""
        return compute_start_id(StartLeaf(0, self.plan_id, self.start.context, self.start.state_root))

    def get_leaf(self, step: int) -> bytes:
        """Return the stored id of the leaf of a step."""
        return self.log.find(step).payload[-32:]

    def read_row(self, step: int) -> SideRow:
        """Return a step with the scalars row in force.

        Raises:
            LogDamaged: the row is not as it was written.
            MalformedEvidence: it is not in its form.
        """
        parts = self.log.read(step)
        verify_step_parts(parts)
        return SideRow(parts, self.get_program_id(parts.program), parts.scalars)

    def read_scalars(self, step: int) -> bytes:
        """Return the scalars row in force at a step: its own, or the last one before it.

        Raises:
            SideContradicts: there is none.
        """
        parts = self.log.read(step)
        return parts.scalars if parts.scalars is not None else self._find_scalars(step)

    def _find_scalars(self, step: int) -> bytes:
        """Return the last scalars row before `step`; looked for only where it is needed, and then from the front."""
        found = None
        for payload, _ in zip(self.log.iterate(1), range(step - 1), strict=False):
            if not is_unchanged(payload):
                scalars = decode_quickly(payload).scalars
                found = scalars if scalars is not None else found
        if found is None:
            raise SideContradicts(f"{self.path}: row {step} refers to a scalars row that is not there")
        return found

    def iterate_rows(self, first: int = 1) -> Iterator[SideRow]:
        """Yield the steps from `first` on, decoded quickly; a find is to be read again by `read_row`.

        Raises:
            LogDamaged, MalformedEvidence: rows that do not decode.
        """
        row = self.read_scalars(first) if 1 < first <= self.steps else None
        for payload in self.log.iterate(first):
            parts = decode_quickly(payload)
            row = parts.scalars if parts.scalars is not None else row
            yield SideRow(parts, self.get_program_id(parts.program), row)


def open_sides(a: Path | str, b: Path | str) -> tuple[Side, Side]:
    """Open two runs.

    Raises:
        NothingToCompare: they are one folder.
        AssayError: as `Side`, prefixed with nothing: every message names its path.
    """
    if os.path.realpath(a) == os.path.realpath(b):
        raise NothingToCompare(f"{a} and {b} are one run", expected="two runs")
    first = Side(a)
    try:
        return first, Side(b, "B")
    except BaseException:
        first.close()
        raise
