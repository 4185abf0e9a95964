"""Number arguments of ATen calls, and dispatch modes that log them.

The same rules hold for an optimizer's stand-in (`scalars`) and for the tape of a real step:

- A number argument is an argument whose schema type is Scalar or float, or a Python number in the place of a tensor.
  Torch drops an argument that equals its default before a dispatch mode sees it (`alpha=1`). Defaults are filled in
  here, so that the places of the numbers depend on the operator alone.
- Calls on zero-dimensional tensors alone are an optimizer's counters (`step += 1`, `.item()`).

Source: `docs/explanation/recording.md`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from assay.errors import CaptureRefused
from assay.training.pytorch import draws, fused, list_operators

_NUMBER_TYPES = frozenset({"number", "Optional[number]", "float", "Optional[float]"})

Operator = Any
"""A `torch._ops.OpOverload`."""

CallRecord = tuple[Operator, tuple[Any, ...], dict[str, Any]]
"""Operator, positional arguments, keyword arguments."""


class OptimizerRefused(CaptureRefused):
    """An optimizer whose numbers cannot be read from settings and counters."""

    code: ClassVar[str] = "capture.optimizer"


def name_optimizer(index: int, optimizer: torch.optim.Optimizer) -> str:
    """Return what messages call an optimizer."""
    return f"optimizer {index} ({type(optimizer).__name__})"


def verify_slots(index: int, optimizer: torch.optim.Optimizer) -> None:
    """Check that an optimizer's state consists of the slots of parameters.

    Raises:
        OptimizerRefused: it holds something else.
    """
    for slots in optimizer.state.values():
        if not isinstance(slots, dict):
            raise OptimizerRefused(
                f"{name_optimizer(index, optimizer)}: its state holds a {type(slots).__name__} that is of no parameter",
                expected="optimizer.state[parameter], a dictionary of slots for each parameter, and nothing else",
                next_step="use an optimizer of torch.optim, or one that counts in its slots",
            )


_places: dict[Operator, list[tuple[int, str, Any]]] = {}


def _get_places(operator: Operator) -> list[tuple[int, str, Any]]:
    """Return (place, name, default) of each argument that may hold a number."""
    places = _places.get(operator)
    if places is None:
        places = [
            (place, argument.name, argument.default_value)
            for place, argument in enumerate(operator._schema.arguments)
            if str(argument.type) in _NUMBER_TYPES or str(argument.type) == "Tensor"
        ]
        _places[operator] = places
    return places


def is_number(value: Any) -> bool:
    """True for a Python int or float that is no bool."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def get_places(operator: Operator, args: Sequence[Any], kwargs: dict[str, Any]) -> list[tuple[int, str, Any]]:
    """Return (place in the operator's schema, name, default) of every argument that is a number in this call."""
    return [
        (place, name, default)
        for place, name, default in _get_places(operator)
        if is_number(args[place] if place < len(args) else kwargs.get(name, default))
    ]


def get_numbers(operator: Operator, args: Sequence[Any], kwargs: dict[str, Any]) -> list[tuple[int, float]]:
    """Return (place in the operator's schema, value) of every number argument of a call, places ascending.

    Args:
        operator: the ATen overload.
        args: positional arguments; whatever stands for a tensor must not be a Python number.
        kwargs: keyword arguments.
    """
    return [
        (place, args[place] if place < len(args) else kwargs.get(name, default))
        for place, name, default in get_places(operator, args, kwargs)
    ]


def _as_recorded(func: Operator, args: tuple[Any, ...], kwargs: dict[str, Any]) -> CallRecord:
    """Return the call that a tape has in the place of one that leaves memory as it was."""
    return draws.as_zeros(func, args, kwargs) if func in draws.EMPTY else (func, args, kwargs)


class CheckedLog(TorchDispatchMode):
    """Runs the calls of one stand-in and refuses numbers that depend on the parameters' values.

    A stand-in's parameters have one dimension, its counters none: a call that has both is refused. The parameters of a
    *shaped* stand-in hold no values at all, so that none can be read.

    Attributes:
        calls: every call, in order.
        is_counter_call: for each call, whether it works on counters alone.
        is_in_place: for each call, whether its result is its first argument.
    """

    def __init__(self, name: str, *, is_shaped: bool = False) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.name = name
        self.is_shaped = is_shaped
        self.calls: list[CallRecord] = []
        self.is_counter_call: list[bool] = []
        self.is_in_place: list[bool] = []

    def __torch_dispatch__(
        self, func: Operator, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        objection = fused.find_objection(func, args, kwargs) if fused.is_fused(func) else None
        if objection is not None:
            raise OptimizerRefused(f"{self.name} {objection[0]}", next_step=objection[1])
        func, args, kwargs = _as_recorded(func, args, kwargs)
        rewritten = list_operators.rewrite_in_optimizer(func, args, kwargs, self._dispatch)
        if rewritten is not NotImplemented:
            return rewritten
        result = func(*args, **kwargs)
        if self.is_shaped:
            self._note(func, args, kwargs, result, is_counter=not _has_meta((*args, *kwargs.values())))
            return result
        outputs = result if isinstance(result, (tuple, list)) else (result,)
        has_zero_dimensions = set()
        for value in (*args, *kwargs.values(), *outputs):
            if isinstance(value, torch.Tensor):
                has_zero_dimensions.add(value.dim() == 0)
            elif isinstance(value, (tuple, list)) and any(isinstance(item, torch.Tensor) for item in value):
                raise OptimizerRefused(
                    f"{self.name}: {func} works on lists of tensors",
                    next_step="use the default form of the optimizer (foreach=None, fused=None)",
                )
        reads_parameter = has_zero_dimensions == {False} and not isinstance(outputs[0], torch.Tensor)
        if len(has_zero_dimensions) > 1 or reads_parameter:
            raise OptimizerRefused(
                f"{self.name}: {func} mixes a number held in a tensor with a parameter, or reads a number from one",
                expected="numbers that depend on settings and step counters alone",
                next_step="use another optimizer, or settings that are Python numbers",
            )
        self._note(func, args, kwargs, result, is_counter=has_zero_dimensions == {True})
        return result

    def _note(
        self, func: Operator, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any, *, is_counter: bool
    ) -> None:
        self.is_counter_call.append(is_counter)
        self.is_in_place.append(bool(args) and result is args[0])
        self.calls.append((func, args, kwargs))

    def _dispatch(self, func: Operator, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return self.__torch_dispatch__(func, (), args, kwargs)


def _has_meta(values: Sequence[Any]) -> bool:
    return any(isinstance(value, torch.Tensor) and value.is_meta for value in values)


class FastLog(TorchDispatchMode):
    """Keeps calls, and runs only those that must run.

    Args:
        idle: operators that work in place and need not run on parameters: no number depends on the values
            (`CheckedLog`).
    """

    def __init__(self, idle: frozenset[Operator]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.idle = idle
        self.calls: list[CallRecord] = []

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # torch would wrap every dispatch to hide it from torch.compile; this mode never runs under it

    def __torch_dispatch__(
        self, func: Operator, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        func, args, kwargs = _as_recorded(func, args, kwargs or {})
        rewritten = list_operators.rewrite_in_optimizer(func, args, kwargs, self._dispatch)
        if rewritten is not NotImplemented:
            return rewritten
        self.calls.append((func, args, kwargs))
        if func in self.idle and args[0].dim():
            return args[0]
        return func(*args, **kwargs)

    def _dispatch(self, func: Operator, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return self.__torch_dispatch__(func, (), args, kwargs)
