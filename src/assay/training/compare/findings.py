"""What a comparison says: findings, and what was ruled out."""

from __future__ import annotations

from typing import Final

import msgspec

KINDS: Final = (
    "environment",
    "data",
    "seed",
    "start",
    "order",
    "batch",
    "program",
    "scalars",
    "edit",
    "arithmetic",
    "plan",
)
"""The closed list of what can differ, in the order in which a step depends on it; "plan": what decides no bit."""

CAUSE, FOLLOWS, BESIDE = "cause", "follows", "beside"
"""What a finding is: a cause; something that follows from a cause; a difference that changed nothing that was seen."""


class Finding(msgspec.Struct, frozen=True, rename="camel"):
    """One difference.

    Attributes:
        kind: of `KINDS`.
        name: more closely, such as "threads", "rate" or "optimizer state".
        role: CAUSE, FOLLOWS or BESIDE.
        step: the first step that it concerns, counted in A; 0: before the first step.
        text: one sentence.
        a, b: what either run has.
        details: further lines.
    """

    kind: str
    name: str
    role: str
    step: int
    text: str
    a: str = ""
    b: str = ""
    details: tuple[str, ...] = ()


class Ruled(msgspec.Struct, frozen=True, rename="camel"):
    """Something that was looked at.

    Attributes:
        kind: of `KINDS`.
        result: "equal", "differs", or "not compared".
        detail: what was compared with what.
    """

    kind: str
    result: str
    detail: str


class SideFacts(msgspec.Struct, frozen=True, rename="camel"):
    """What a side is."""

    path: str
    steps: int
    finished: bool
    plan: str


class Comparison(msgspec.Struct, frozen=True, rename="camel"):
    """The result of comparing two runs.

    Attributes:
        a, b: the runs.
        relation: in words: "one plan", "different plans", or that one goes on from a stored state of the other.
        shift: B's step 1 stands beside A's step 1 + shift.
        compared: steps that both have.
        verified: whether every leaf was recomputed; otherwise stored ids were believed.
        equal: whether nothing differs in the compared steps that decides a bit.
        first_step: the first step of A at which anything differs, 0 for before the first, or None.
        parts: the parts of that step that differ.
        findings: causes first; the first one is the answer.
        looked_at: everything that was compared.
    """

    a: SideFacts
    b: SideFacts
    relation: str
    shift: int
    compared: int
    verified: bool
    equal: bool
    first_step: int | None
    parts: tuple[str, ...]
    findings: tuple[Finding, ...]
    looked_at: tuple[Ruled, ...]
