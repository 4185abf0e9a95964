"""Calls that other calls stand for: one per tensor for operators over lists, fills for assignments under a mask.

On the CPU the `_foreach_*` operators loop over the kernels of single tensors, so that the bits are the same. A
selection by a boolean mask has no fixed shape, an assignment of one number under such a mask has: `x[mask] = 0` fills.

Source: `docs/explanation/recording.md`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from assay.training.pytorch import fused

aten = torch.ops.aten

Operator = Any
"""A `torch._ops.OpOverload`."""

CallOperator = Callable[[Operator, tuple[Any, ...], dict[str, Any]], Any]
"""Runs one call and writes it down."""

_PREFIX = "_foreach_"
_TERNARY = frozenset({"addcmul", "addcdiv"})
_CLAMPS = frozenset({"clamp_min", "clamp_max", "maximum", "minimum"})
_ARITHMETIC = frozenset({"add", "sub", "mul", "div"})
_SHORT = frozenset({torch.bfloat16, torch.float16})
_WHOLE = frozenset({"_foreach_norm", "_foreach_mul", "_foreach_mul_", "_foreach_div", "_foreach_div_"})
_WHOLE_CLAMPS = frozenset({"_foreach_clamp_min_", "_foreach_clamp_max_"})
"""What gradient clipping calls: programs name these as they are."""


def is_taken_apart(operator: Operator, *, in_optimizer: bool) -> bool:
    """True if calls per tensor stand for a call of `operator`."""
    name = operator._opname
    if not name.startswith(_PREFIX) or operator.namespace != "aten" or name == "_foreach_norm":
        return False
    return in_optimizer or name not in _WHOLE | _WHOLE_CLAMPS


def _choose_overload(base: str, overload: str, *, inplace: bool) -> str:
    if overload == "default" or base in _TERNARY or base == "copy":
        return "default"
    if overload == "ScalarAndTensor":
        return "Scalar"
    if overload in ("Scalar", "ScalarList"):
        if base in _CLAMPS:
            return "default"
        if base in _ARITHMETIC:
            return "Tensor"  # a Python number in the place of a tensor, as `tensor + 1` is dispatched
        return "Tensor_Scalar" if base == "pow" and not inplace else "Scalar"
    if base == "pow" and not inplace:
        return "Tensor_Tensor"
    return "default" if base in ("maximum", "minimum") else "Tensor"


def run_apart(operator: Operator, args: tuple[Any, ...], kwargs: dict[str, Any], call: CallOperator) -> Any:
    """Run a call of an operator over lists as calls per tensor; returns what the operator returns."""
    inplace = operator._opname.endswith("_")
    base = operator._opname.removeprefix(_PREFIX).removesuffix("_")
    overload = _choose_overload(base, operator._overloadname, inplace=inplace)
    has_inplace = inplace and hasattr(aten, base + "_")
    single = getattr(getattr(aten, base + "_" if has_inplace else base), overload)
    lists = [value for value in args if isinstance(value, (list, tuple))]
    results = []
    for place in range(len(lists[0])):
        items = [value[place] if isinstance(value, (list, tuple)) else value for value in args]
        keywords = dict(kwargs)
        if base in _TERNARY and len(items) > 3:
            keywords["value"] = items.pop()
        if has_inplace and base == "mul" and isinstance(items[1], (int, float)) and items[0].dtype in _SHORT:
            items[1] = torch.tensor(items[1], dtype=items[0].dtype).item()  # torch rounds the factor first, here alone
        result = call(single, tuple(items), keywords)
        if inplace and not has_inplace:
            call(aten.copy_.default, (items[0], result), {})
        results.append(result)
    return None if inplace else results


def is_masked_fill(operator: Operator, args: Sequence[Any]) -> bool:
    """True for `x[mask] = number`: an assignment whose shape does not depend on the mask's values."""
    if operator not in (aten.index_put_.default, aten.index_put.default) or (len(args) > 3 and args[3]):
        return False
    target, indices, value = args[:3]
    if len(indices) != 1 or not isinstance(indices[0], torch.Tensor) or indices[0].dtype != torch.bool:
        return False
    is_whole = indices[0].shape == target.shape[: indices[0].dim()]
    return bool(is_whole and value.numel() == 1 and value.dtype == target.dtype)


def run_masked_fill(operator: Operator, args: Sequence[Any], call: CallOperator, *, as_number: bool) -> Any:
    """Run an assignment under a mask as a fill.

    Args:
        operator: of the call, for which `is_masked_fill` holds.
        args: of the call.
        call: runs a call.
        as_number: whether the value becomes a Python number, as optimizers have them.
    """
    target, (mask,), value = args[:3]
    if mask.dim() < target.dim():
        mask = call(aten.view.default, (mask, [*mask.shape, *[1] * (target.dim() - mask.dim())]), {})
    inplace = operator is aten.index_put_.default
    if as_number:
        fill = aten.masked_fill_.Scalar if inplace else aten.masked_fill.Scalar
        return call(fill, (target, mask, value.item()), {})
    if value.dim():
        value = call(aten.view.default, (value, []), {})
    fill = aten.masked_fill_.Tensor if inplace else aten.masked_fill.Tensor
    return call(fill, (target, mask, value), {})


def is_choice_of_number(operator: Operator, args: Sequence[Any]) -> bool:
    """True for `torch.where(mask, number, tensor)`, in which the number has become a tensor of no dimensions."""
    if operator is not aten.where.self:
        return False
    mask, number, other = args
    return bool(number.dim() == 0 and other.dim() > 0 and number.dtype == other.dtype and mask.shape == other.shape)


def run_choice_of_number(args: Sequence[Any], call: CallOperator) -> Any:
    """Run such a choice, made by an optimizer, as a fill with the number."""
    mask, number, other = args
    return call(aten.masked_fill.Scalar, (other, mask, number.item()), {})


def rewrite_in_optimizer(operator: Operator, args: tuple[Any, ...], kwargs: dict[str, Any], call: CallOperator) -> Any:
    """Run a call of an optimizer's step as the calls that stand for it; NotImplemented if it stands for itself."""
    if is_taken_apart(operator, in_optimizer=True):
        return run_apart(operator, args, kwargs, call)
    if fused.is_fused(operator):
        return fused.run_each(operator, args, kwargs, call)
    if is_masked_fill(operator, args):
        return run_masked_fill(operator, args, call, as_number=True)
    if is_choice_of_number(operator, args):
        return run_choice_of_number(args, call)
    return NotImplemented


def rewrite(operator: Operator, args: tuple[Any, ...], kwargs: dict[str, Any], call: CallOperator) -> Any:
    """Run any other call as the calls that stand for it; NotImplemented if it stands for itself."""
    if is_taken_apart(operator, in_optimizer=False):
        return run_apart(operator, args, kwargs, call)
    if is_masked_fill(operator, args):
        return run_masked_fill(operator, args, call, as_number=False)
    return NotImplemented
