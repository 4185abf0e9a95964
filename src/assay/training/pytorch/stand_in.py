"""The stand-in of one optimizer: its own code, run on parameters of one element.

Source: `docs/explanation/recording.md`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from operator import is_
from pathlib import Path
from types import FunctionType
from typing import Any

import torch

from assay.training.pytorch.adafactor import adapt_step
from assay.training.pytorch.call_numbers import (
    CheckedLog,
    FastLog,
    Operator,
    OptimizerRefused,
    get_places,
    is_number,
    name_optimizer,
    verify_slots,
)

_TORCH_FOLDER = str(Path(torch.__file__).resolve().parent)
_COUNTER_NAMES = frozenset({"step", "mu_product", "eta", "mu"})
_SIMPLE = (bool, int, float, str, type(None), torch.dtype, torch.device)
_BASE_ATTRIBUTES = frozenset({*torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1).__dict__, "step"})
_REFUSED_FLAGS = {
    "capturable": "pass capturable=False (the default)",
    "differentiable": "pass differentiable=False (the default)",
}
_REFUSED_CLASSES = {
    "LBFGS": "it evaluates the model several times in one step",
    "SparseAdam": "it works on sparse gradients",
    "ASGD": "its operations change from step to step",
}
_SHAPED = frozenset({"Muon", "Adafactor"})
"""Classes whose numbers depend on the shapes of the parameters: their stand-ins have these shapes and no values."""


@dataclass(frozen=True, slots=True)
class LoggedCall:
    """One ATen call of an update: `numbers` holds (place in the operator's schema, value), places ascending."""

    operator: str
    numbers: tuple[tuple[int, float], ...]


def get_plain_step(kind: type[torch.optim.Optimizer]) -> Callable[..., Any]:
    """Return the class's `step` without torch's own wrappers (hooks, profiling, gradient mode).

    Wrappers of other packages are kept: they may be part of the update. Run the result under `torch.no_grad()`.
    """
    step: Any = kind.step
    while hasattr(step, "__wrapped__") and step.__code__.co_filename.startswith(_TORCH_FOLDER):
        step = step.__wrapped__
    return step  # type: ignore[no-any-return]


@dataclass(slots=True)
class _Counter:
    """A counter of a kind: a tensor in the state of each member."""

    name: str
    own: torch.Tensor
    real: list[torch.Tensor]
    versions: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Kind:
    """Parameters of a group that are updated alike, and the one-element parameter that stands for them.

    Attributes:
        group: index of the group.
        members: indices of the parameters in the group.
        parameters: the real parameters.
        parameter: what stands for them.
        template: its state on entering a step.
        real: the state of each member.
        tensors: the counters that are tensors.
        integers: the names of the counters that are Python numbers.
        operators: the calls of one update.
        reads: for each number: index of the call, place, name and default of the argument.
        idle: operators that need not run (`FastLog`).
        settings: keys and values of the group when `numbers` were read; None: read again.
        numbers: what was read last.
        after: the state after the last run.
    """

    group: int
    members: tuple[int, ...]
    parameters: list[torch.Tensor]
    parameter: torch.Tensor
    template: dict[str, Any]
    real: list[dict[str, Any]]
    tensors: list[_Counter]
    integers: list[str]
    operators: list[Operator] = field(default_factory=list)
    updates: list[int] = field(default_factory=list)  # indices of the calls that work on the parameter
    reads: list[tuple[int, int, str, Any]] = field(default_factory=list)
    idle: frozenset[Operator] = frozenset()
    settings: list[Any] | None = None
    numbers: list[float] = field(default_factory=list)
    after: dict[str, Any] = field(default_factory=dict)


class _Moved(Exception):
    """The plan no longer fits: it must be built again."""


def _are_same(left: list[Any], right: list[Any]) -> bool:
    return len(left) == len(right) and all(map(is_, left, right))


def _is_simple(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(map(_is_simple, value))
    return isinstance(value, _SIMPLE)


def _is_plain_function(value: Any) -> bool:
    """True for a function that keeps nothing: what it reads of its module is guarded as what `step` reads is."""
    return isinstance(value, FunctionType) and not value.__closure__ and not value.__dict__


def _is_counter(name: str, value: torch.Tensor, parameter: torch.Tensor) -> bool:
    return value.dim() == 0 and (parameter.dim() > 0 or name in _COUNTER_NAMES)


def _refuse_class(name: str, kind: type[torch.optim.Optimizer]) -> None:
    for base in kind.__mro__:
        if base.__name__ in _REFUSED_CLASSES and base.__module__.startswith("torch.optim"):
            raise OptimizerRefused(
                f"{name} cannot be recorded: {_REFUSED_CLASSES[base.__name__]}",
                next_step="use SGD, Adam, AdamW, Adamax, NAdam, RAdam, RMSprop, Rprop, Adagrad, Adadelta, Muon or "
                "Adafactor",
            )


def _refuse_wrapper(name: str, optimizer: torch.optim.Optimizer) -> None:
    for attribute, value in vars(optimizer).items():
        if isinstance(value, torch.optim.Optimizer):
            raise OptimizerRefused(
                f"{name} wraps another optimizer, which does the update",
                expected="the optimizer that updates the parameters",
                next_step=f"pass that one (its attribute {attribute}) to run.step; the step may call the wrapper",
            )


def _refuse_settings(name: str, group: dict[str, Any]) -> None:
    for setting, value in group.items():
        if setting == "params":
            continue
        if value and setting in _REFUSED_FLAGS:
            raise OptimizerRefused(f"{name}: {setting}={value} cannot be recorded", next_step=_REFUSED_FLAGS[setting])
        parts = value if isinstance(value, (tuple, list)) else (value,)
        if any(isinstance(part, torch.Tensor) for part in parts):
            raise OptimizerRefused(f"{name}: {setting} is a tensor", next_step=f"make {setting} a Python number")


class StandIn:
    """One optimizer's stand-in."""

    def __init__(self, index: int, optimizer: torch.optim.Optimizer) -> None:
        self.index = index
        self.optimizer = optimizer
        self.name = name_optimizer(index, optimizer)
        self.step = get_plain_step(type(optimizer))
        if isinstance(optimizer, torch.optim.Adafactor):
            self.step = adapt_step(self.step)
        self.is_shaped = any(base.__name__ in _SHAPED for base in type(optimizer).__mro__)
        self.kinds: list[Kind] = []
        self.structure: list[Any] = []
        self.has_integers = False
        self.counting: set[str] = set()  # attributes of the optimizer that its step changes
        _refuse_class(self.name, type(optimizer))
        _refuse_wrapper(self.name, optimizer)
        verify_slots(index, optimizer)

    def read(self) -> None:
        """Bring `numbers` of every kind up to date."""
        if not _are_same(self._get_structure(), self.structure):
            self._plan()
        try:
            for kind in self.kinds:
                self._read_kind(kind)
        except _Moved:
            self._plan()
            for kind in self.kinds:
                self._read_kind(kind)

    # -- plan ---------------------------------------------------------------------------------------------------------

    def _get_structure(self) -> list[Any]:
        """Return the objects that the plan depends on; the same objects mean the same plan."""
        seen: list[Any] = []
        for group in self.optimizer.param_groups:
            seen.append(group)
            seen += group["params"]
        verify_slots(self.index, self.optimizer)
        states = self.optimizer.state.values()
        seen += states
        for state in states:
            seen += state.values()
        if self.has_integers:  # these change at every step and are compared in `_set_entry`
            seen = [type(value) if isinstance(value, (int, float)) else value for value in seen]
        return seen

    def _plan(self) -> None:
        self.counting = set()
        self.clone = self._build_clone()
        self.kinds = []
        for index, group in enumerate(self.optimizer.param_groups):
            _refuse_settings(f"{self.name}, group {index}", group)
            alike: dict[tuple[Any, ...], list[int]] = {}
            for place, parameter in enumerate(group["params"]):
                alike.setdefault(self._classify(parameter), []).append(place)
            for members in alike.values():
                self.kinds.append(self._build_kind(index, [group["params"][place] for place in members], members))
        for kind in self.kinds:
            self._plan_kind(kind)
        self.has_integers = any(kind.integers for kind in self.kinds)
        self.structure = self._get_structure()

    def _build_clone(self) -> torch.optim.Optimizer:
        clone: torch.optim.Optimizer = object.__new__(type(self.optimizer))
        for name, value in self.optimizer.__dict__.items():
            if name.endswith("_hooks"):
                value = type(value)()  # noqa: PLW2901 - a stand-in runs no hooks
            elif name not in _BASE_ATTRIBUTES and not _is_simple(value) and not _is_plain_function(value):
                raise OptimizerRefused(
                    f"{self.name}: attribute {name} is a {type(value).__name__}",
                    expected="an optimizer whose attributes are numbers, texts, flags and functions without a closure",
                    next_step="use an optimizer of torch.optim",
                )
            clone.__dict__[name] = value
        clone.__dict__.pop("step", None)  # schedulers and profilers put a wrapper there
        clone.state = defaultdict(dict)
        return clone

    def _classify(self, parameter: torch.Tensor) -> tuple[Any, ...]:
        """Return a key that is equal for parameters that are updated alike."""
        key: list[Any] = [parameter.dtype, parameter.shape if self.is_shaped else None]
        for name, value in self.optimizer.state.get(parameter, {}).items():
            if isinstance(value, torch.Tensor):
                is_counter = _is_counter(name, value, parameter)
                key.append((name, value.dtype, value.item() if is_counter else None))
            elif _is_simple(value):
                key.append((name, type(value), value))
            else:
                raise OptimizerRefused(f"{self.name}: the state entry {name!r} is a {type(value).__name__}")
        return tuple(key)

    def _build_kind(self, group: int, parameters: list[torch.Tensor], members: list[int]) -> Kind:
        first = parameters[0]
        stand_in = torch.nn.Parameter(self._make_values(first))
        stand_in.grad = self._make_values(first)
        real = [self.optimizer.state[parameter] for parameter in parameters if self.optimizer.state.get(parameter)]
        kind = Kind(group, tuple(members), parameters, stand_in, {}, real, [], [])
        for name, value in (real[0] if real else {}).items():
            if not isinstance(value, torch.Tensor):
                kind.template[name] = value
                if is_number(value):
                    kind.integers.append(name)
            elif _is_counter(name, value, first):
                kind.template[name] = value.detach().clone()
                kind.tensors.append(_Counter(name, kind.template[name], [entry[name] for entry in real]))
            else:
                kind.template[name] = self._make_values(value)
        return kind

    def _make_values(self, real: torch.Tensor) -> torch.Tensor:
        """Return what stands for a parameter, a gradient or a slot."""
        if self.is_shaped:
            return torch.empty(real.shape, dtype=real.dtype, device="meta")
        return torch.ones(1, dtype=real.dtype, device=real.device)  # PyTorch chooses an optimizer's form by device

    def _plan_kind(self, kind: Kind) -> None:
        """Run a kind with every check on; note its calls and where its numbers stand."""
        self._set_entry(kind)
        group = self.clone.param_groups[0]
        settings, attributes = dict(group), self._get_attributes()
        log = CheckedLog(self.name, is_shaped=self.is_shaped)
        with torch.no_grad(), log:
            self.step(self.clone)
        if not _are_same([*group.values()], [*settings.values()]):
            raise OptimizerRefused(
                f"{self.name}: the step changes the settings of a parameter group",
                next_step="use an optimizer of torch.optim",
            )
        after = self._get_attributes()
        self.counting |= {name for name in after if after[name] is not attributes.get(name)}
        kind.operators = [operator for operator, _, _ in log.calls]
        kind.updates = [index for index, is_counter in enumerate(log.is_counter_call) if not is_counter]
        kind.reads = [
            (index, place, name, default)
            for index in kind.updates
            for place, name, default in get_places(*log.calls[index])
        ]
        must_run = {kind.operators[index] for index in kind.updates if not log.is_in_place[index]}
        kind.idle = frozenset(kind.operators[index] for index in kind.updates) - must_run
        kind.settings = None

    def _get_attributes(self) -> dict[str, Any]:
        return {name: value for name, value in self.clone.__dict__.items() if is_number(value)}

    # -- read ---------------------------------------------------------------------------------------------------------

    def _set_entry(self, kind: Kind) -> None:
        """Give the stand-in the settings and counters that the real optimizer has now."""
        clone, real = self.clone, self.optimizer
        for counter in kind.tensors:
            value = counter.real[0].item()
            versions = [tensor._version for tensor in counter.real]
            if versions != counter.versions:
                if any(tensor.item() != value for tensor in counter.real):
                    raise _Moved
                counter.versions = versions
            counter.own.fill_(value)
        for name in kind.integers:
            kind.template[name] = kind.real[0][name]
            if any(entry[name] != kind.template[name] for entry in kind.real):
                raise _Moved
        clone.state.clear()
        if kind.template:
            clone.state[kind.parameter] = dict(kind.template)
        clone.param_groups = [{**real.param_groups[kind.group], "params": [kind.parameter]}]
        for name, value in real.__dict__.items():
            if is_number(value):
                clone.__dict__[name] = value

    def _read_kind(self, kind: Kind, *, may_plan: bool = True) -> None:
        group = self.optimizer.param_groups[kind.group]
        settings = [*group, *group.values()]
        if kind.settings is None or not _are_same(settings, kind.settings):
            _refuse_settings(f"{self.name}, group {kind.group}", group)
        elif not (kind.tensors or kind.integers or self.counting):
            return  # nothing that the numbers depend on has changed
        self._set_entry(kind)
        log = FastLog(kind.idle)
        with torch.no_grad(), log:
            self.step(self.clone)
        if [call[0] for call in log.calls] != kind.operators:
            if may_plan:
                self._plan_kind(kind)
                self._read_kind(kind, may_plan=False)
                return
            raise OptimizerRefused(f"{self.name}: two runs of one step call different operators")
        numbers = []
        for index, place, name, default in kind.reads:
            _, args, kwargs = log.calls[index]
            value = args[place] if place < len(args) else kwargs.get(name, default)
            if not is_number(value):
                raise _Moved
            numbers.append(value)
        kind.numbers = numbers
        kind.settings = settings
        kind.after = self.clone.state.get(kind.parameter, {})

    def log(self, kind: Kind) -> tuple[LoggedCall, ...]:
        """Return the calls on the parameter of a kind with the numbers last read."""
        numbers: dict[int, list[tuple[int, float]]] = {index: [] for index in kind.updates}
        for (index, place, _, _), value in zip(kind.reads, kind.numbers, strict=True):
            numbers[index].append((place, value))
        return tuple(LoggedCall(str(kind.operators[index]), tuple(numbers[index])) for index in kind.updates)

    # -- write back ---------------------------------------------------------------------------------------------------

    def advance(self, updated: frozenset[int] | None) -> None:
        """Move the real counters on as the step would have done.

        Args:
            updated: ids of the parameters that this optimizer updates in the step; None: all.
        """
        if updated is not None and not updated:
            return  # the step leaves this optimizer alone
        for kind in self.kinds:
            if kind.tensors or kind.integers:
                chosen = [updated is None or id(parameter) in updated for parameter in kind.parameters]
                for counter in kind.tensors:
                    targets = [tensor for tensor, wanted in zip(counter.real, chosen, strict=True) if wanted]
                    if targets:
                        torch._foreach_copy_(targets, [kind.after[counter.name]] * len(targets))
                    if all(chosen):
                        counter.versions = [tensor._version for tensor in counter.real]
                for name in kind.integers:
                    for entry, wanted in zip(kind.real, chosen, strict=True):
                        if wanted:
                            entry[name] = kind.after[name]
        for name in self.counting:
            self.optimizer.__dict__[name] = self.clone.__dict__[name]
