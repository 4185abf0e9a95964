"""What the leaves of a transcript must satisfy, each by itself, in its chain and under its plan.

Source: `spec/transcript.md`.
"""

from __future__ import annotations

from typing import ClassVar, Final

from assay.errors import MalformedEvidence, Refuted
from assay.protocol.evidence.fields import DIGEST_BYTES, verify_digest, verify_number, verify_version
from assay.protocol.evidence.plan import Plan
from assay.protocol.evidence.plan_rules import MAX_PROGRAMS
from assay.protocol.evidence.program_rules import MAX_SCALARS, MAX_VALUES
from assay.protocol.evidence.transcript import StartLeaf, StepLeaf, StepParts
from assay.protocol.hashing import ZERO

MAX_LOSS_BYTES: Final = 64
"""A returned tensor of more bytes is kept as its digest (TRN-6)."""


class ContextRefused(MalformedEvidence):
    """A context that is neither empty nor a digest."""

    code: ClassVar[str] = "transcript.context"


class PartsRefused(MalformedEvidence):
    """Kept parts of a step from which no leaf can be rebuilt."""

    code: ClassVar[str] = "transcript.parts"


class ChainBroken(Refuted):
    """A leaf that does not follow the leaf before it."""

    code: ClassVar[str] = "transcript.chain"


class RootPeriodContradicted(Refuted):
    """A leaf without the state root that the plan asks for at this step, or with one that it does not ask for."""

    code: ClassVar[str] = "transcript.root-period"


def verify_start_leaf(leaf: StartLeaf) -> None:
    """Check leaf 0 by itself (TRN-2).

    Raises:
        MalformedEvidence: `ContextRefused` or one of the classes of `fields`.
    """
    verify_version(leaf.version, "start leaf")
    verify_digest(leaf.plan, "plan id")
    if len(leaf.context) not in {0, DIGEST_BYTES}:
        raise ContextRefused("a context has a wrong length", expected="0 or 32", actual=len(leaf.context))
    verify_digest(leaf.start_root, "start root")


def verify_step_leaf(leaf: StepLeaf) -> None:
    """Check the leaf of a step by itself (TRN-3).

    Raises:
        MalformedEvidence: one of the classes of `fields`.
    """
    verify_version(leaf.version, "step leaf")
    verify_number(leaf.step, "step", 1)
    for digest, what in (
        (leaf.program, "program id"),
        (leaf.previous, "id of the leaf before"),
        (leaf.state_root, "state root"),
        (leaf.membership, "membership root"),
        (leaf.content, "content root"),
        (leaf.scalars, "digest of the scalars row"),
        (leaf.loss, "loss root"),
        (leaf.events, "events digest"),
    ):
        verify_digest(digest, what)


def verify_step_parts(parts: StepParts) -> None:
    """Check the kept parts of a step by themselves (TRN-6).

    Raises:
        MalformedEvidence: `PartsRefused` or one of the classes of `fields`.
    """
    verify_number(parts.step, "step", 1)
    verify_number(parts.program, "number of a program", 0, MAX_PROGRAMS - 1)
    for digest, what in (
        (parts.membership, "membership root"),
        (parts.content, "content root"),
        (parts.loss_root, "loss root"),
        (parts.leaf, "id of a leaf"),
    ):
        verify_digest(digest, what)
    for optional, what in ((parts.state_root, "state root"), (parts.events, "events digest")):
        if optional:
            verify_digest(optional, what)
        if optional == ZERO:
            raise PartsRefused(f"an absent {what} is kept as nothing, not as zeros")
    row = parts.scalars
    if row is not None and (len(row) % 8 or len(row) > 8 * MAX_SCALARS):
        raise PartsRefused("a scalars row has a wrong length", expected="a multiple of 8", actual=len(row))
    if len(parts.loss) > MAX_VALUES or any(len(entry) > MAX_LOSS_BYTES for entry in parts.loss):
        raise PartsRefused("a returned tensor is kept in too many bytes", expected=f"at most {MAX_LOSS_BYTES}")


def verify_link(leaf: StepLeaf, step: int, previous: bytes) -> None:
    """Check that a leaf is that of `step` and follows the leaf with the id `previous` (TRN-4).

    Raises:
        ChainBroken: another step, or another leaf before.
    """
    if leaf.step != step:
        raise ChainBroken("a leaf has another step than its place", expected=step, actual=leaf.step)
    if leaf.previous != previous:
        raise ChainBroken(
            f"the leaf of step {step} follows another leaf", expected=previous.hex(), actual=leaf.previous.hex()
        )


def is_root_due(plan: Plan, step: int, steps: int) -> bool:
    """Return whether the leaf of `step` of a run of `steps` steps holds a state root (TRN-5).

    It does by the period, at the end of each interval, and after the last step.
    """
    return step % plan.root_period == 0 or step % plan.interval_length == 0 or step == steps


def verify_root_period(plan: Plan, leaf: StepLeaf, steps: int) -> None:
    """Check that a leaf of a run of `steps` steps holds a state root exactly where the plan asks for one (TRN-5).

    Raises:
        RootPeriodContradicted: one is missing, or one is there that is not asked for.
    """
    due = is_root_due(plan, leaf.step, steps)
    if due != (leaf.state_root != ZERO):
        raise RootPeriodContradicted(
            f"the leaf of step {leaf.step} contradicts the period of state roots",
            expected="a state root" if due else "32 zero bytes",
            actual="32 zero bytes" if due else leaf.state_root.hex(),
        )
