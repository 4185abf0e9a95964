"""The fused updates of torch's optimizers as operators on one parameter, and the list calls that they stand for.

`_fused_adam_` and its like take lists of tensors, write into them and read the step counter from a tensor; on the CPU
the kernels trust that parameter, gradient and slots are of one size. Here the same kernel is called on lists of one,
with copies that it may write to, and with the step as a number. The kernels loop over the list, so the bits are the
same.

Source: `docs/explanation/recording.md`; `spec/program.md`, PRG-21.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from assay.errors import UsageError

aten = torch.ops.aten

_library = torch.library.Library("assay", "FRAGMENT")

_SGD_NUMBERS = "float weight_decay, float lr, bool maximize"
_MOMENTUM_NUMBERS = "float weight_decay, float momentum, float lr, float dampening, bool nesterov, bool maximize"
_ADAM_NUMBERS = "float step, float lr, float beta1, float beta2, float weight_decay, float eps, bool maximize"
_ADAGRAD_NUMBERS = "float step, float lr, float lr_decay, float weight_decay, float eps, bool maximize"

CallOperator = Callable[[Any, tuple[Any, ...], dict[str, Any]], Any]
"""Runs one call and writes it down."""


def _copy(tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Return contiguous copies of a parameter, its gradient and its slots, which must be of one type."""
    first = tensors[0]
    if any(tensor.shape != first.shape or tensor.dtype != first.dtype for tensor in tensors):
        raise UsageError(
            "a fused update works on tensors of one type",
            expected=f"{first.dtype} {tuple(first.shape)}",
            actual=", ".join(f"{tensor.dtype} {tuple(tensor.shape)}" for tensor in tensors),
        )
    # The gradient is only read: kernels write to it when they take a scaled one, which no operator here does.
    keep = torch.contiguous_format
    return [
        tensor.contiguous() if place == 1 else tensor.clone(memory_format=keep) for place, tensor in enumerate(tensors)
    ]


_NO_MOMENTUM = {"momentum": 0.0, "dampening": 0.0, "nesterov": False}
"""What the kernel takes where there are no buffers; it then reads neither of the other two."""


def _update_by_sgd(parameter: torch.Tensor, gradient: torch.Tensor, **numbers: Any) -> torch.Tensor:
    parameter, gradient = _copy((parameter, gradient))
    aten._fused_sgd_.default([parameter], [gradient], [], is_first_step=False, **numbers, **_NO_MOMENTUM)
    return parameter


def _update_by_momentum(
    parameter: torch.Tensor, gradient: torch.Tensor, momentum_buffer: torch.Tensor, **numbers: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    parameter, gradient, momentum_buffer = _copy((parameter, gradient, momentum_buffer))
    aten._fused_sgd_.default([parameter], [gradient], [momentum_buffer], is_first_step=False, **numbers)
    return parameter, momentum_buffer


def _begin_momentum(
    parameter: torch.Tensor, gradient: torch.Tensor, **numbers: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    parameter, gradient = _copy((parameter, gradient))
    momentum_buffer = torch.zeros_like(gradient)  # written before it is read
    aten._fused_sgd_.default([parameter], [gradient], [momentum_buffer], is_first_step=True, **numbers)
    return parameter, momentum_buffer


def _make_step(step: float, parameter: torch.Tensor) -> torch.Tensor:
    """Return a counter as torch's fused forms keep it, whatever the parameter's type: beside the parameter."""
    return torch.full((), step, dtype=torch.float32, device=parameter.device)


def _update_by_adam(operator: Any) -> Callable[..., tuple[torch.Tensor, ...]]:
    def update(*tensors: torch.Tensor, step: float, **numbers: Any) -> tuple[torch.Tensor, ...]:
        parameter, gradient, mean, square, *maximum = _copy(tensors)
        operator(
            [parameter],
            [gradient],
            [mean],
            [square],
            maximum,
            [_make_step(step, parameter)],
            amsgrad=bool(maximum),
            **numbers,
        )
        return (parameter, mean, square, *maximum)

    return update


def _update_by_adagrad(
    parameter: torch.Tensor, gradient: torch.Tensor, state_sum: torch.Tensor, *, step: float, **numbers: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    parameter, gradient, state_sum = _copy((parameter, gradient, state_sum))
    aten._fused_adagrad_.default([parameter], [gradient], [state_sum], [_make_step(step, parameter)], **numbers)
    return parameter, state_sum


def _define(name: str, tensors: str, numbers: str, outputs: int, function: Callable[..., Any]) -> None:
    arguments = ", ".join(f"Tensor {tensor}" for tensor in tensors.split())
    returns = "Tensor" if outputs == 1 else f"({', '.join(['Tensor'] * outputs)})"
    _library.define(f"{name}({arguments}, *, {numbers}) -> {returns}")
    _library.impl(name, function, "CompositeExplicitAutograd")


_define("fused_sgd", "parameter gradient", _SGD_NUMBERS, 1, _update_by_sgd)
_define("fused_sgd.first", "parameter gradient", _MOMENTUM_NUMBERS, 2, _begin_momentum)
_define("fused_sgd.momentum", "parameter gradient momentum_buffer", _MOMENTUM_NUMBERS, 2, _update_by_momentum)
for _name, _operator in (("fused_adam", aten._fused_adam_.default), ("fused_adamw", aten._fused_adamw_.default)):
    _slots = "parameter gradient exp_avg exp_avg_sq"
    _define(_name, _slots, _ADAM_NUMBERS, 3, _update_by_adam(_operator))
    _define(f"{_name}.amsgrad", f"{_slots} max_exp_avg_sq", _ADAM_NUMBERS, 4, _update_by_adam(_operator))
_define("fused_adagrad", "parameter gradient state_sum", _ADAGRAD_NUMBERS, 2, _update_by_adagrad)

_own = torch.ops.assay
_LISTS: dict[Any, int] = {
    aten._fused_sgd_.default: 3, aten._fused_adam_.default: 5, aten._fused_adamw_.default: 5,
    aten._fused_adagrad_.default: 3,
}  # fmt: skip
"""The calls of torch's fused forms, and how many of their lists hold what is of the parameter's type."""


_SCALING = ("grad_scale", "found_inf")


def is_fused(operator: Any) -> bool:
    """True for the list call of a fused form that is supported here."""
    return operator in _LISTS


def find_objection(operator: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[str, str] | None:
    """Return why a call for which `is_fused` holds cannot be taken apart, and the cure; None if it can."""
    if any(kwargs.get(name) is not None for name in _SCALING):
        return "scales its gradients", "do not use a gradient scaler"
    lists = args[: _LISTS[operator]]
    if any(not tensor.is_contiguous() for each in lists for tensor in each):
        # The kernel walks the memory, whatever the strides: it would pair elements that do not belong together.
        return "has tensors that are not contiguous", "use fused=None, or keep parameters and gradients contiguous"
    if len(args) > len(lists) and any(step.dim() for step in args[-1]):
        return "counts its steps in something else than a number", "use an optimizer of torch.optim"
    return None


def run_each(operator: Any, args: tuple[Any, ...], kwargs: dict[str, Any], call: CallOperator) -> None:
    """Run a fused list call as one update for each parameter, and write back what it gives.

    Args:
        operator: of the call, for which `is_fused` holds.
        args: of the call.
        kwargs: of the call.
        call: runs a call.
    """
    numbers = {name: value for name, value in kwargs.items() if name not in _SCALING}
    if operator is aten._fused_sgd_.default and not args[2]:
        numbers = {name: value for name, value in numbers.items() if name not in _NO_MOMENTUM}
    is_first = numbers.pop("is_first_step", False)
    has_slots = numbers.pop("amsgrad", None)
    lists = args[: _LISTS[operator]]
    for place, parameter in enumerate(lists[0]):
        tensors = [each[place] for each in lists if each]
        if len(args) > len(lists):
            numbers["step"] = args[-1][place].item()
        update = _choose(operator, is_first=is_first, has_momentum=bool(args[2]), is_amsgrad=bool(has_slots))
        read = tensors[:2] if is_first else tensors
        results = call(update, tuple(read), dict(numbers))
        results = results if isinstance(results, (tuple, list)) else (results,)
        for target, result in zip((parameter, *tensors[2:]), results, strict=True):
            call(aten.copy_.default, (target, result), {})


def _choose(operator: Any, *, is_first: bool, has_momentum: bool, is_amsgrad: bool) -> Any:
    if operator is aten._fused_adagrad_.default:
        return _own.fused_adagrad.default
    if operator is aten._fused_sgd_.default:
        return _own.fused_sgd.first if is_first else _own.fused_sgd.momentum if has_momentum else _own.fused_sgd.default
    packet = _own.fused_adam if operator is aten._fused_adam_.default else _own.fused_adamw
    return packet.amsgrad if is_amsgrad else packet.default
