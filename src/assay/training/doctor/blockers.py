"""What the doctor finds: blockers, each with file, line and cure."""

from __future__ import annotations

from typing import Final

import msgspec

REPRODUCIBLE, RESUME_SAFE, REPLAYABLE = "reproducible", "resume-safe", "replayable"
GOALS: Final = (REPRODUCIBLE, RESUME_SAFE, REPLAYABLE)
"""The same bits when run again; the same bits when killed and resumed; recorded as data that anybody can recompute."""


class Blocker(msgspec.Struct, frozen=True, rename="camel"):
    """One thing in the way of a goal.

    Attributes:
        goal: of `GOALS`.
        code: stable name of the rule.
        file: path as it was given.
        line: counted from 1; 0: not known.
        reason: what the script does there.
        cure: what to do instead.
    """

    goal: str
    code: str
    file: str
    line: int
    reason: str
    cure: str


def sort_blockers(blockers: list[Blocker]) -> list[Blocker]:
    """Return each blocker once, by goal, file and line."""
    seen = {(one.code, one.file, one.line): one for one in reversed(blockers)}
    return sorted(seen.values(), key=lambda one: (GOALS.index(one.goal), one.file, one.line, one.code))
