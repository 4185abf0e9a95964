"""Adafactor's step with its step size as a tensor: PyTorch's own reads norms into Python and decides there.

The size of an update depends on the norms of parameter and update. PyTorch reads both as Python numbers, takes a
maximum and passes the result on as a number, which would be a constant in a program. Here the same arithmetic is done
on tensors of no dimensions in float64, which is what Python computes in, and the last operator reads its factor from
one. A recording is made with it, and a comparison with PyTorch's own code shows whether it does the same.

Source: `torch.optim.Adafactor`, whose results these are; `docs/explanation/recording.md`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch.optim import _adafactor

_library = torch.library.Library("assay", "FRAGMENT")
_library.define("add_scaled(Tensor self, Tensor other, Tensor factor) -> Tensor")


def _add_scaled(tensor: torch.Tensor, other: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """Return `tensor + factor · other` as `torch.add` gives it for a Python number."""
    return torch.add(tensor, other, alpha=factor.item())


def _give_type(tensor: torch.Tensor, *_: torch.Tensor) -> torch.Tensor:
    return torch.empty_like(tensor)


_library.impl("add_scaled", _add_scaled, "CompositeExplicitAutograd")
_library.impl("add_scaled", _give_type, "Meta")


@contextmanager
def adapt_adafactor() -> Iterator[None]:
    """Replace what PyTorch's Adafactor calls in its default and its foreach form by what can be recorded."""
    own = _adafactor._single_tensor_adafactor, _adafactor._multi_tensor_adafactor
    if any(getattr(function, "__module__", None) != _adafactor.__name__ for function in own):
        yield  # somebody's own, which reads values as PyTorch's does or is recorded as it is
        return
    _adafactor._single_tensor_adafactor = partial(_update_all, add=torch.ops.assay.add_scaled)
    _adafactor._multi_tensor_adafactor = partial(_update_all, add=_add_product)
    try:
        yield
    finally:
        _adafactor._single_tensor_adafactor, _adafactor._multi_tensor_adafactor = own


def _add_product(tensor: torch.Tensor, other: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """Return `tensor + factor · other`, rounded after the product, as the foreach form has it."""
    return tensor + other * factor.to(other.dtype)


def adapt_step(step: Callable[..., Any]) -> Callable[..., Any]:
    """Return a step of Adafactor that runs adapted."""

    def run(optimizer: torch.optim.Optimizer) -> Any:
        with adapt_adafactor():
            return step(optimizer)

    return run


def _update_all(
    params: Sequence[torch.Tensor],
    grads: Sequence[torch.Tensor],
    row_vars: Sequence[torch.Tensor | None],
    col_vars: Sequence[torch.Tensor | None],
    variances: Sequence[torch.Tensor | None],
    state_steps: Sequence[torch.Tensor],
    *_scaling: None,
    eps1: float | None,
    maximize: bool,
    **settings: Any,
) -> None:
    """Update parameter by parameter; the arguments are those of PyTorch's function."""
    slots = zip(row_vars, col_vars, variances, strict=True)
    for param, grad, step, (row, column, variance) in zip(params, grads, state_steps, slots, strict=True):
        eps1 = torch.finfo(param.dtype).eps if eps1 is None else eps1  # that of the first parameter, as in PyTorch
        step += 1  # noqa: PLW2901 - the counter is moved in place
        direction = -grad if maximize else grad
        _update(param, direction, (row, column, variance), step.item(), eps1, **settings)


def _update(
    param: torch.Tensor,
    grad: torch.Tensor,
    slots: tuple[torch.Tensor | None, torch.Tensor | None, torch.Tensor | None],
    step: float,
    eps1: float,
    *,
    d: float,
    lr: float,
    beta2_decay: float,
    weight_decay: float,
    eps2: float,
    add: Callable[..., torch.Tensor],
    **_: Any,
) -> None:
    root = param.numel() ** 0.5
    size = _at_least(param.norm(2).to(torch.float64) / root, eps2) * min(lr, 1 / step**0.5)
    if weight_decay != 0:
        param.mul_(1 - lr * weight_decay)
    estimate = _estimate(grad, slots, step**beta2_decay, eps1)
    update = estimate.clamp_(min=eps1 * eps1).rsqrt_().mul_(grad)
    clip = _at_least(update.norm(2).to(torch.float64) / (root * d), 1.0)
    param.copy_(add(param, update, -size / clip))


def _at_least(value: torch.Tensor, least: float) -> torch.Tensor:
    """Return `max(least, value)` as Python has it: a NaN is not larger than anything."""
    return value.masked_fill(~(value > least), least)


def _estimate(
    grad: torch.Tensor,
    slots: tuple[torch.Tensor | None, torch.Tensor | None, torch.Tensor | None],
    weight: float,
    eps1: float,
) -> torch.Tensor:
    """Move the averages of squared gradients on, and return the second moment that they stand for."""
    row, column, variance = slots
    if row is None or column is None:
        assert variance is not None  # noqa: S101 - a vector has this slot
        return variance.lerp_(grad * grad, weight).clone()
    for average, dim in ((row, -1), (column, -2)):
        average.lerp_(grad.norm(dim=dim, keepdim=True).square_().div_(grad.size(dim)), weight)
    return (row @ column).div_(row.mean(dim=-2, keepdim=True).clamp_(min=eps1))
