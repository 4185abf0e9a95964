"""Numbers of the optimizers' steps become scalars: each call of an update is matched with the stand-in's.

Which parameter a call belongs to is found by memory: a parameter, its gradient and its slots are owned by it, and so is
everything that is computed from them. Calls inside an optimizer's step that belong to no parameter move its counters.

Source: `docs/explanation/recording.md`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from assay.errors import CaptureRefused
from assay.training.pytorch.functional import iterate_references
from assay.training.pytorch.layout import COUNTERS
from assay.training.pytorch.scalars import GroupLog, LoggedCall, get_numbers
from assay.training.pytorch.tape import Call, map_structure

Member = tuple[int, int, int]
"""Optimizer, group, place in the group."""

_SPACING = 2.0**-40


@dataclass
class Training:
    """What the optimizers' steps updated in one recording.

    Attributes:
        members: each updated parameter, in the order of the steps; twice if it was updated twice.
        owners: storage to the parameter that owns it.
    """

    members: list[Member] = field(default_factory=list)
    owners: dict[int, Member] = field(default_factory=dict)

    def note(self, index: int, optimizer: torch.optim.Optimizer) -> None:
        """Take stock at the beginning of an optimizer's step."""
        for group_index, group in enumerate(optimizer.param_groups):
            for place, parameter in enumerate(group["params"]):
                if parameter.grad is None:
                    continue
                member = (index, group_index, place)
                self.members.append(member)
                slots = [
                    value
                    for name, value in optimizer.state.get(parameter, {}).items()
                    if isinstance(value, torch.Tensor) and name not in COUNTERS
                ]
                for tensor in (parameter, parameter.grad, *slots):
                    self.owners[tensor.untyped_storage()._cdata] = member


def attribute_calls(calls: Sequence[Call], owners: Mapping[int, Member]) -> list[Member | None]:
    """Return for each call the parameter that it updates; None outside the optimizers and for their counters.

    Raises:
        CaptureRefused: a call inside an optimizer's step works on several parameters at once, or on other tensors.
    """
    known = dict(owners)
    found: list[Member | None] = []
    for call in calls:
        if call.region is None:
            found.append(None)
            continue
        read = iterate_references([*call.args, *call.kwargs.values()])
        outputs = iterate_references(call.outputs)
        members = {known[ref.geometry[0]] for ref in (*read, *outputs) if ref.geometry[0] in known}
        if len(members) > 1:
            raise CaptureRefused(
                f"{call.location}: the optimizer's {call.operator} works on several parameters at once",
                next_step="use an optimizer of torch.optim",
            )
        member = next(iter(members), None)
        if member is None and any(reference.geometry[2] for reference in (*read, *outputs)):
            raise CaptureRefused(
                f"{call.location}: the optimizer's step computes {call.operator} of no parameter",
                next_step="compute the loss before optimizer.step(), not in a closure; use an optimizer of torch.optim",
            )
        if member is not None:
            for reference in outputs:
                known.setdefault(reference.geometry[0], member)
        found.append(member)
    return found


def lift_scalars(
    calls: Sequence[Call], attributed: Sequence[Member | None], logs: Sequence[GroupLog], members: Sequence[Member]
) -> tuple[list[Call], dict[float, int]]:
    """Replace the numbers of the optimizers' steps by sentinels.

    Args:
        calls: the selected calls of a recording.
        attributed: for each call the parameter that it updates.
        logs: what the stand-ins did.
        members: the parameters that the steps updated, in order.

    Returns:
        The calls with sentinels, and sentinel to index in the row.

    Raises:
        CaptureRefused: an optimizer's own step did something else than its stand-in.
    """
    by_member = {(log.optimizer, log.group, place): log for log in logs for place in log.members}
    waiting: dict[Member, list[_Update]] = {}
    for updated in members:
        waiting.setdefault(updated, []).append(_Update(by_member[updated]))
    lifted: list[Call] = []
    sentinels: dict[float, int] = {}
    base = _choose_base(calls)
    for call, member in zip(calls, attributed, strict=True):
        if member is None or call.operator in _WITHOUT_EFFECT:
            lifted.append(call)
            continue
        numbers = tuple(get_numbers(call.operator, call.args, call.kwargs))
        first = _take(waiting.get(member, []), call, numbers)
        values = {}
        for offset, (place, _) in enumerate(numbers):
            sentinel = base + (first + offset) * _SPACING
            sentinels[sentinel] = first + offset
            values[place] = sentinel
        lifted.append(_replace_numbers(call, values))
    if any(not update.is_done for updates in waiting.values() for update in updates):
        raise CaptureRefused(
            "an optimizer updated fewer parameters than have gradients",
            next_step="use an optimizer of torch.optim in a form that updates every parameter that has a gradient",
        )
    return lifted, sentinels


def _choose_base(calls: Sequence[Call]) -> float:
    """Return a number such that no number of the step lies in [base, base + 2⁻¹⁰): there the sentinels stand."""
    used: set[float] = set()

    def note(value: Any) -> Any:
        if isinstance(value, float):
            used.add(value)
        return value

    for call in calls:
        map_structure([*call.args, *call.kwargs.values()], note)
    base = 0.611
    while any(base <= number < base + 2.0**-10 for number in used):
        base += 2.0**-10
    return base


class _Update:
    """What is still expected of the update of one parameter."""

    def __init__(self, log: GroupLog) -> None:
        self.calls = [call for call in log.calls if call.operator not in _NAMES_WITHOUT_EFFECT]
        self.following = 0
        self.first = log.first

    @property
    def is_done(self) -> bool:
        return self.following == len(self.calls)

    def take(self, operator: str, numbers: tuple[tuple[int, float], ...]) -> int | None:
        """Return the index in the row of the call's first number if this is the next call expected, else None."""
        if self.is_done or self.calls[self.following] != LoggedCall(operator, numbers):
            return None
        first = self.first
        self.first += len(numbers)
        self.following += 1
        return first


def _take(updates: Sequence[_Update], call: Call, numbers: tuple[tuple[int, float], ...]) -> int:
    """Return the index in the row of a call's first number; the call must be the next one that is expected."""
    update = next((update for update in updates if not update.is_done), None)
    first = update.take(str(call.operator), numbers) if update is not None else None
    if first is None:
        raise CaptureRefused(
            f"{call.location}: the optimizer's step did something else than the same code on a stand-in",
            expected=update.calls[update.following] if update is not None and not update.is_done else "nothing more",
            actual=f"{call.operator} {numbers}",
            next_step="step each optimizer once in a recorded step; use an optimizer of torch.optim",
        )
    return first


_WITHOUT_EFFECT = frozenset({
    torch.ops.aten.detach.default, torch.ops.aten.alias.default, torch.ops.aten.lift_fresh.default,
})  # fmt: skip
_NAMES_WITHOUT_EFFECT = frozenset(map(str, _WITHOUT_EFFECT))


def _replace_numbers(call: Call, values: Mapping[int, float]) -> Call:
    args, kwargs = list(call.args), dict(call.kwargs)
    for place, value in values.items():
        if place < len(args):
            args[place] = value
        else:
            kwargs[call.operator._schema.arguments[place].name] = value
    return replace(call, args=tuple(args), kwargs=kwargs)
