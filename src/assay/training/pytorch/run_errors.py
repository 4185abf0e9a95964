"""Refusals of a run that is being recorded: its methods were called in an order that cannot be."""

from __future__ import annotations

from typing import ClassVar

from assay.errors import UsageError


class WrongOrder(UsageError):
    """A method of the run was called before what it needs, or twice."""

    code: ClassVar[str] = "run.order"


class StepInterrupted(UsageError):
    """A step ended in the middle; the state in memory belongs to no step."""

    code: ClassVar[str] = "run.step-interrupted"


class AlreadyFinished(UsageError):
    """The run has its closing record."""

    code: ClassVar[str] = "run.finished"
