"""The levels of evidence at which a trainer of another package is recorded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from assay.errors import UsageError

OBSERVED, REPLAYABLE = "observed", "replayable"
PLAIN_CURE = "write the step yourself (docs: change a script), or record with level='observed'"


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


def verify_unchanged(before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Check that a trainer still has the settings, by name, that its recorded step was made with.

    Raises:
        TrainerUnfit: naming the first that was changed.
    """
    for name, value in now.items():
        if value != before[name]:
            raise TrainerUnfit(
                f"{name} was changed while training", expected=before[name], actual=value,
                next_step="leave out the callback that changes it; otherwise " + PLAIN_CURE,
            )  # fmt: skip
