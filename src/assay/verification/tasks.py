"""What an audit asks a worker to do, and what the worker answers: one JSON object a line each way.

The worker is our own program, but it may be killed at any moment and it handles a stranger's data: its answers are
decoded strictly.
"""

from __future__ import annotations

import msgspec

MAX_LINE = 1 << 20

OUT_OF_MEMORY = "out of memory"
"""The detail of a task that failed for lack of memory; the worker is replaced."""


class Task(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to recompute.

    Attributes:
        kind: "start", "interval" or "evaluation"; "scalars": all rows beside the optimizers' own code; "vote": an
            interval as a verifier recomputes it for a ledger; or "open": go on with another run, and answer as at the
            start.
        index: which one, counted from 0.
        key: of the work digest of a vote, 64 hex digits; empty otherwise.
        path: of the run to open; empty otherwise.
    """

    kind: str
    index: int
    key: str = ""
    path: str = ""


class VoteRoots(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What recomputing an interval for a vote gave, in hex; see `training.recompute.Computed`."""

    start_root: str
    end_root: str
    leaves_size: int
    leaves_root: str
    work_digest: str


class TensorDifference(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How one tensor of the recomputed state differs from the claimed one.

    Attributes:
        name: in the state.
        largest: greatest absolute difference.
        elements: how many elements differ.
        total: how many there are.
        ulps: how many elements differ by 1, 2 to 3, 4 to 7, … units in the last place; empty if not f32.
    """

    name: str
    largest: float
    elements: int
    total: int
    ulps: tuple[int, ...]


class Answer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The result of one task.

    Attributes:
        kind, index: of the task.
        result: "matches"; "differs"; "report"; "inconclusive": an earlier interval differs, so that this one could not
            be reached from a state that holds; "failed": nothing was found for or against.
        detail: why it failed, or what differs.
        step: the first step that differs, or 0; of an inconclusive one, the step on the way that differs.
        parts: the parts of its leaf that differ.
        replays: how often it was carried out.
        seconds: time for the steps alone.
        tensors: differences at the end of the interval, the largest first.
        vote: of a task of kind "vote" that matches or differs: what it gave.
        differing_rows: of a task of kind "scalars", a "report" for or against nothing: rows that no settings of the
            optimizers explain; None: not computed, and `detail` says why.
    """

    kind: str
    index: int
    result: str
    detail: str = ""
    step: int = 0
    parts: tuple[str, ...] = ()
    replays: int = 1
    seconds: float = 0.0
    tensors: tuple[TensorDifference, ...] = ()
    vote: VoteRoots | None = None
    differing_rows: int | None = None


class Ready(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The first line of a worker: it can judge this profile, or why not and what to do."""

    ready: bool
    reason: str = ""
    next_step: str = ""
    refuted: bool = False


def explain(parts: tuple[str, ...]) -> str:
    """Return the likely cause of a difference, from the parts of the first leaf that differs."""
    causes = (
        ("events", "an edit does not fit the state, or moved it by another distance than it says"),
        ("program", "the row names a program that is no training step"),
        ("membership", "other samples, or the same in another order, were fed"),
        ("content", "the batch that was fed is not what the committed data give"),
        ("scalars", "the rates are not those of the recorded row"),
        ("loss", "the step computed something else: another model, data, randomness or arithmetic"),
        ("state root", "the state was replaced or edited: the steps themselves give another one"),
    )
    return next((cause for part, cause in causes if part in parts), "unknown")
