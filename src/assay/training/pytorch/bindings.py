"""The quickest way to call each operator.

Torch's own Python builtins parse arguments several times faster than `torch.ops`; in-place and list forms leave the
bits alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from assay.training.pytorch.interpreter import get_operator

_METHODS = frozenset({"view", "expand", "repeat"})
_FUNCTIONS = torch._C._VariableFunctions
_NEURAL = torch._C._nn

_BUILTINS = frozenset({
    "abs", "add", "addcdiv", "addcmul", "addmm", "amax", "argmax", "baddbmm", "bmm", "cat", "clamp", "clone",
    "convolution", "cos", "div", "embedding", "eq", "erf", "exp", "gather", "gelu", "index_select", "lerp", "log",
    "logical_not", "masked_fill", "mean", "mm", "mul", "native_batch_norm",
    "native_layer_norm", "neg", "permute", "pow", "reciprocal", "relu", "rsqrt", "select", "sigmoid", "sin",
    "sqrt", "squeeze", "stack", "sub", "sum", "tanh", "unsqueeze", "where", "_log_softmax", "_softmax",
})  # fmt: skip
"""Operators whose Python builtin takes the arguments of the ATen schema in the same places."""

_INPLACE = {
    "aten.add.Tensor": "add_", "aten.add.Scalar": "add_", "aten.sub.Tensor": "sub_", "aten.mul.Tensor": "mul_",
    "aten.mul.Scalar": "mul_", "aten.div.Tensor": "div_", "aten.div.Scalar": "div_", "aten.sqrt.default": "sqrt_",
    "aten.lerp.Scalar": "lerp_", "aten.addcmul.default": "addcmul_", "aten.addcdiv.default": "addcdiv_",
    "aten.relu.default": "relu_", "aten.neg.default": "neg_", "aten.tanh.default": "tanh_",
    "aten.sigmoid.default": "sigmoid_", "aten.exp.default": "exp_", "aten.masked_fill.Scalar": "masked_fill_",
    "aten.clamp.default": "clamp_", "aten.reciprocal.default": "reciprocal_",
}  # fmt: skip
"""Operators with an in-place form that computes the same bits when result and first argument share type and strides."""

_LISTS = {
    "aten.add.Tensor": ("_foreach_add", ("alpha",)),
    "aten.add.Scalar": ("_foreach_add", ()),
    "aten.mul.Tensor": ("_foreach_mul", ()),
    "aten.div.Tensor": ("_foreach_div", ()),
    "aten.sqrt.default": ("_foreach_sqrt", ()),
    "aten.lerp.Scalar": ("_foreach_lerp", ()),
    "aten.addcmul.default": ("_foreach_addcmul", ("value",)),
    "aten.addcdiv.default": ("_foreach_addcdiv", ("value",)),
}
"""Operators with a form over lists of tensors; on the CPU it loops over the same kernel."""


_MANY_CHANNELS = 8
_WIDE = (torch.float32, torch.float64)


def pool_maxima(tensor: torch.Tensor, *arguments: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what `max_pool2d_with_indices` gives, bit for bit.

    A maximum is selected, not computed, and torch's kernel for channels-last memory selects the same element by vector
    instructions. NaNs of 16-bit types keep their payload in one kernel only, so those take the usual way.
    """
    if tensor.dtype in _WIDE and tensor.dim() == 4 and tensor.shape[1] >= _MANY_CHANNELS and tensor.is_contiguous():
        turned = tensor.contiguous(memory_format=torch.channels_last)
        values, places = _NEURAL.max_pool2d_with_indices(turned, *arguments)
        keep = torch.contiguous_format
        return values.clone(memory_format=keep), places.clone(memory_format=keep)
    return _NEURAL.max_pool2d_with_indices(tensor, *arguments)


def get_callable(name: str) -> Callable[..., Any]:
    """Return the quickest callable with the arguments of the ATen schema."""
    if name == "aten.max_pool2d_with_indices.default":
        return pool_maxima
    return get_plain_callable(name)


def get_plain_callable(name: str) -> Callable[..., Any]:
    """Return the quickest callable that runs the very kernel which the operator names."""
    operator = get_operator(name)
    namespace, packet, _ = name.split(".")
    if namespace == "aten":
        if packet in _METHODS:
            return getattr(torch.Tensor, packet)  # type: ignore[no-any-return]
        if packet in _BUILTINS:
            builtin: Callable[..., Any] = getattr(_FUNCTIONS, packet, None) or getattr(_NEURAL, packet)
            return builtin
    return operator._op


def get_inplace_method(name: str) -> Callable[..., Any] | None:
    """Return the in-place method of an operator, or None."""
    method = _INPLACE.get(name)
    return getattr(torch.Tensor, method) if method else None


def add_number_inplace(tensors: list[torch.Tensor], number: float, *, alpha: float = 1) -> None:
    """Add alpha · number to each tensor; torch's list form has no `alpha` for numbers."""
    if alpha == 1:
        _FUNCTIONS._foreach_add_(tensors, number)
        return
    for tensor in tensors:
        tensor.add_(number, alpha=alpha)


def add_number(tensors: list[torch.Tensor], number: float, *, alpha: float = 1) -> list[torch.Tensor]:
    """Return each tensor plus alpha · number."""
    return [torch.add(tensor, number, alpha=alpha) for tensor in tensors]


def get_list_function(name: str, *, inplace: bool) -> Callable[..., Any] | None:
    """Return the form over lists, or None."""
    entry = _LISTS.get(name)
    if entry is None:
        return None
    return getattr(_FUNCTIONS, entry[0] + ("_" if inplace else ""))  # type: ignore[no-any-return]


def is_view(name: str) -> bool:
    """True if the result may share memory with an argument."""
    operator = get_operator(name)
    return any(result.alias_info is not None for result in operator._schema.returns)
