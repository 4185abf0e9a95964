"""The levels of evidence at which a trainer of another package is recorded."""

from __future__ import annotations

from typing import ClassVar

from assay.errors import UsageError

OBSERVED, REPLAYABLE = "observed", "replayable"


class TrainerUnfit(UsageError):
    """A trainer whose step is more than a function of model and batch."""

    code: ClassVar[str] = "trainer.unfit"


def verify_level(level: str) -> None:
    """Check the level that a callback was given.

    Raises:
        UsageError: there is none of this name.
    """
    if level not in (OBSERVED, REPLAYABLE):
        raise UsageError("no such level", expected=f"{OBSERVED!r} or {REPLAYABLE!r}", actual=repr(level))
