"""The scalars row: the numbers that the optimizers feed into a step, read before the step.

Rates and bias corrections are Python numbers inside `optimizer.step`. They are read by running the optimizer's own
code on a *stand-in*: an object of the same class with the real settings and counters, whose parameters have one
element each. A dispatch mode logs the number arguments of every ATen call (`call_numbers`). The real parameters, slots
and counters are not touched.

Parameters of a group that are updated alike (one dtype, the same entries in the optimizer's state, equal counters)
share one stand-in parameter. The first step, where slots are born, therefore has another layout than later ones.

Source: `spec/program.md`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import is_

import numpy as np
import torch

from assay.training.pytorch.call_numbers import OptimizerRefused, get_numbers
from assay.training.pytorch.stand_in import LoggedCall, StandIn, get_plain_step

__all__ = ["GroupLog", "LoggedCall", "OptimizerRefused", "ScalarReader", "get_numbers", "get_plain_step"]


@dataclass(frozen=True, slots=True)
class GroupLog:
    """The update of those parameters of one group that are updated alike.

    Attributes:
        optimizer: index of the optimizer.
        group: index of the parameter group.
        members: indices, in the group, of the parameters that this log stands for.
        calls: the calls on a parameter in order; calls on counters alone are left out.
        first: index of the first number of `calls` in the scalars row.
    """

    optimizer: int
    group: int
    members: tuple[int, ...]
    calls: tuple[LoggedCall, ...]
    first: int

    @property
    def numbers(self) -> list[tuple[str, int, float]]:
        """(operator, place in its schema, value) of each number, in the order of the row."""
        return [(call.operator, place, value) for call in self.calls for place, value in call.numbers]


class ScalarReader:
    """Reads the scalars row of a step before the step.

    Args:
        optimizers: the optimizers of the step, in the order of their indices.

    Raises:
        OptimizerRefused: an optimizer whose numbers are not a function of settings and counters (at construction or at
            the first `read`).
    """

    def __init__(self, optimizers: Iterable[torch.optim.Optimizer]) -> None:
        self._stand_ins = [StandIn(index, optimizer) for index, optimizer in enumerate(optimizers)]
        self._layout: tuple[object, ...] = ()
        self._layout_of: list[object] = []

    def read(self) -> np.ndarray:
        """Return the row, float64, shape (numbers,): over optimizers, groups, kinds of parameter, calls, places.

        Settings and counters are those at the moment of the call, before the step. An integer is converted to float64.
        """
        row: list[float] = []
        for stand_in in self._stand_ins:
            stand_in.read()
            for kind in stand_in.kinds:
                row += kind.numbers
        return np.array(row, dtype=np.float64)

    def read_structured(self) -> list[GroupLog]:
        """Return the same numbers call by call, in the order of the row."""
        logs: list[GroupLog] = []
        first = 0
        for index, stand_in in enumerate(self._stand_ins):
            stand_in.read()
            for kind in stand_in.kinds:
                logs.append(GroupLog(index, kind.group, kind.members, stand_in.log(kind), first))
                first += len(kind.numbers)
        return logs

    def get_layout(self) -> tuple[object, ...]:
        """Return what gives the places of the last row their meaning; rows of equal layouts are comparable.

        A hashable value: for each kind of parameter its optimizer, group, members and operators.
        """
        current: list[object] = [
            part for stand_in in self._stand_ins for kind in stand_in.kinds for part in (kind, kind.operators)
        ]
        if len(current) == len(self._layout_of) and all(map(is_, current, self._layout_of)):
            return self._layout
        self._layout_of = current
        self._layout = tuple(
            (index, kind.group, kind.members, tuple(map(str, kind.operators)))
            for index, stand_in in enumerate(self._stand_ins)
            for kind in stand_in.kinds
        )
        return self._layout

    def advance(self, updated: Sequence[frozenset[int]] | None = None) -> None:
        """Write the counters that the stand-in has after the last `read` into the real optimizers.

        For a step that was replayed, not run: afterwards the real counters are what `optimizer.step` would have left.
        Slots that are not born yet are not created.

        Args:
            updated: for each optimizer the ids of the parameters that its step updates; None: all of all.
        """
        for index, stand_in in enumerate(self._stand_ins):
            stand_in.advance(None if updated is None else updated[index])
