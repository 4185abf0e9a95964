"""What the user's own objects know and a checkpoint must keep, so that a resumed script goes on as if never stopped.

These are the settings of the parameter groups, the step counters, the state of learning-rate schedulers, and the
`requires_grad` of parameters where steps change it.
"""

from __future__ import annotations

import gc
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from torch.optim.lr_scheduler import LRScheduler

from assay.errors import MalformedEvidence, UsageError
from assay.training.pytorch.layout import COUNTERS
from assay.training.pytorch.lower import DTYPE_NAMES, DTYPES


class SchedulerRefused(UsageError):
    """A scheduler holds something that a checkpoint cannot keep."""

    code: ClassVar[str] = "resume.scheduler"


def find_schedulers(optimizers: Sequence[torch.optim.Optimizer]) -> list[LRScheduler]:
    """Return the schedulers of these optimizers, in an order that the unchanged script gives again.

    They are sorted by optimizer, class and present state; to be called before the first step.
    """
    places = {id(optimizer): index for index, optimizer in enumerate(optimizers)}
    found: list[tuple[int, str, str, LRScheduler]] = []
    for item in gc.get_objects():
        if issubclass(type(item), LRScheduler) and id(getattr(item, "optimizer", None)) in places:
            state = json.dumps(_freeze(item.state_dict(), type(item).__name__))
            found.append((places[id(item.optimizer)], type(item).__name__, state, item))
    found.sort(key=lambda entry: entry[:3])
    return [item for *_, item in found]


def _freeze(value: Any, where: str) -> Any:
    """Return a JSON form that keeps tuples, integer keys and counters apart from lists and plain dictionaries."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, tuple):
        return {"tuple": [_freeze(item, where) for item in value]}
    if isinstance(value, list):
        return {"list": [_freeze(item, where) for item in value]}
    if isinstance(value, dict):
        name = "counter" if isinstance(value, Counter) else "dict"
        return {name: [[_freeze(key, where), _freeze(item, where)] for key, item in value.items()]}
    raise SchedulerRefused(
        f"{where} holds a {type(value).__name__}, which a checkpoint cannot keep",
        expected="numbers, strings, lists and dictionaries",
        next_step="use a scheduler of torch.optim.lr_scheduler",
    )


def _thaw(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if len(value) != 1:
        raise MalformedEvidence("the settings of a checkpoint are damaged")
    ((kind, items),) = value.items()
    if kind == "tuple":
        return tuple(_thaw(item) for item in items)
    if kind == "list":
        return [_thaw(item) for item in items]
    pairs = {_thaw(key): _thaw(item) for key, item in items}
    return Counter(pairs) if kind == "counter" else pairs


def save_settings(
    optimizers: Sequence[torch.optim.Optimizer],
    schedulers: Sequence[LRScheduler],
    names: Mapping[int, str],
    flags: Mapping[str, bool] = MappingProxyType({}),
) -> bytes:
    """Return groups, counters, the names of their parameters, schedulers and flags as bytes.

    Args:
        optimizers: of the run.
        schedulers: of `find_schedulers`.
        names: of the parameters, by their `id`.
        flags: `requires_grad` of parameters, by name.
    """
    groups = [
        [{name: value for name, value in group.items() if name != "params"} for group in optimizer.param_groups]
        for optimizer in optimizers
    ]
    counters = [
        [
            [_read_counters(optimizer.state.get(parameter, {})) for parameter in group["params"]]
            for group in optimizer.param_groups
        ]
        for optimizer in optimizers
    ]
    states = [[type(item).__name__, item.state_dict()] for item in schedulers]
    kinds = [type(optimizer).__name__ for optimizer in optimizers]
    members = [
        [[names[id(parameter)] for parameter in group["params"]] for group in optimizer.param_groups]
        for optimizer in optimizers
    ]
    settings = {
        "optimizers": kinds, "groups": groups, "parameters": members, "counters": counters, "schedulers": states,
        "requires_grad": dict(flags),
    }  # fmt: skip
    frozen = _freeze(settings, "an optimizer or a scheduler")
    return json.dumps(frozen, separators=(",", ":")).encode()


def _read_counters(state: dict[str, Any]) -> dict[str, Any]:
    return {
        name: [DTYPE_NAMES[value.dtype], float(value)] if isinstance(value, torch.Tensor) else value
        for name, value in sorted(state.items())
        if name in COUNTERS
    }


@dataclass(frozen=True)
class SavedOptimizer:
    """What a checkpoint says of one optimizer.

    Attributes:
        kind: name of its class.
        groups: settings of each parameter group: flags, numbers, texts and tuples of them.
        parameters: names of the parameters of each group, in their order.
        has_stepped: whether a step counter of a parameter is past 0.
    """

    kind: str
    groups: Sequence[dict[str, Any]]
    parameters: Sequence[Sequence[str]]
    has_stepped: bool


def read_optimizers(data: bytes) -> list[SavedOptimizer]:
    """Return what `save_settings` wrote of the optimizers; the bytes may be a stranger's.

    Raises:
        MalformedEvidence: they are something else.
    """
    try:
        saved = _thaw(json.loads(data))
        optimizers = [
            SavedOptimizer(
                str(kind), [_check_group(group) for group in groups], _check_names(names), _has_stepped(counters)
            )
            for kind, groups, names, counters in zip(
                saved["optimizers"], saved["groups"], saved["parameters"], saved["counters"], strict=True
            )
        ]
    except (KeyError, TypeError, ValueError, RecursionError, AttributeError) as error:
        raise MalformedEvidence(
            "the settings of a checkpoint are not in their form", actual=f"{type(error).__name__}: {str(error)[:200]}"
        ) from None
    if any(len(optimizer.groups) != len(optimizer.parameters) for optimizer in optimizers):
        raise MalformedEvidence("the settings of a checkpoint name other groups than they have")
    return optimizers


def _check_group(group: Mapping[str, Any]) -> dict[str, Any]:
    for value in group.values():
        for part in value if isinstance(value, tuple) else (value,):
            if part is not None and not isinstance(part, (bool, int, float, str)):
                raise TypeError(f"a setting is a {type(part).__name__}")
    return dict(group)


def _check_names(groups: Sequence[Sequence[Any]]) -> list[list[str]]:
    if not all(isinstance(name, str) for names in groups for name in names):
        raise TypeError("the name of a parameter is no text")
    return [list(names) for names in groups]


def _has_stepped(counters: Sequence[Sequence[Any]]) -> bool:
    steps = [count.get("step", 0) for counts in counters for count in counts]
    return any(step[1] if isinstance(step, (list, tuple)) else step for step in steps)


def restore_settings(
    data: bytes, optimizers: Sequence[torch.optim.Optimizer], schedulers: Sequence[LRScheduler]
) -> dict[str, bool]:
    """Put groups, counters and schedulers back; return the flags.

    Raises:
        UsageError: the script made other schedulers or groups than the run had.
    """
    saved = _thaw(json.loads(data))
    kinds = [type(optimizer).__name__ for optimizer in optimizers]
    if saved["optimizers"] != kinds:
        raise UsageError(
            "the script made other optimizers than when the run began", expected=saved["optimizers"], actual=kinds,
            next_step="run the unchanged script",
        )  # fmt: skip
    names = [name for name, _ in saved["schedulers"]]
    actual = [type(item).__name__ for item in schedulers]
    if names != actual:
        raise UsageError(
            "the script made other schedulers than when the run began", expected=names, actual=actual,
            next_step="run the unchanged script",
        )  # fmt: skip
    for optimizer, groups, counters in zip(optimizers, saved["groups"], saved["counters"], strict=True):
        for group, values, counts in zip(optimizer.param_groups, groups, counters, strict=True):
            group.update(values)
            for parameter, count in zip(group["params"], counts, strict=True):
                for name, value in count.items():
                    kept = torch.tensor(value[1], dtype=DTYPES[value[0]]) if isinstance(value, list) else value
                    optimizer.state[parameter][name] = kept
    for scheduler, (_, state) in zip(schedulers, saved["schedulers"], strict=True):
        scheduler.load_state_dict(state)
    return saved.get("requires_grad", {})  # type: ignore[no-any-return]
