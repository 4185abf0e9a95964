"""Counter-based draws as torch operators, and the random ATen operators that they replace.

Source: `spec/randomness.md`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from assay.training import randomness
from assay.training.pytorch import devices

aten = torch.ops.aten

_library = torch.library.Library("assay", "DEF")
_library.define("bernoulli(int[] size, int threshold, int ordinal, ScalarType dtype) -> Tensor")
_library.define("uniform(int[] size, float low, float high, int ordinal, ScalarType dtype) -> Tensor")
_library.define("normal(int[] size, float mean, float std, int ordinal, ScalarType dtype) -> Tensor")
_library.define("integers(int[] size, int low, int high, int ordinal, ScalarType dtype) -> Tensor")
_library.define("permutation(int size, int ordinal, ScalarType dtype) -> Tensor")

_REALS = {torch.float16: "f16", torch.bfloat16: "bf16", torch.float32: "f32", torch.float64: "f64"}

_key: tuple[int, int] = (0, 0)
_device: torch.device = devices.CPU


@contextmanager
def use_key(key: tuple[int, int], device: torch.device | None = None) -> Iterator[None]:
    """Make `key` the key of every draw inside the block, and `device` where it goes; see `set_key`."""
    previous = _key, _device
    set_key(key, device)
    try:
        yield
    finally:
        set_key(*previous)


def set_key(key: tuple[int, int], device: torch.device | None = None) -> None:
    """Make `key` the key of every draw from now on.

    Args:
        key: Philox key.
        device: where the draws go; None: where programs are computed. They are computed on the CPU all the same, by
            their specification, so that they have the same bits everywhere.
    """
    global _key, _device
    _key, _device = key, devices.get_device() if device is None else device


def find_target(args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.device:
    """Return the device on which a random call would leave its draw."""
    if kwargs.get("device") is not None:
        return torch.device(kwargs["device"])
    return next((value.device for value in args if isinstance(value, torch.Tensor)), devices.CPU)


def _count(size: Any) -> int:
    count = 1
    for extent in size:
        count *= extent
    return count


def _to_tensor(array: np.ndarray, size: Any, dtype: torch.dtype) -> torch.Tensor:
    tensor = torch.from_numpy(array)
    if tensor.dtype != dtype:
        tensor = tensor.to(dtype)
    return _put(tensor.view(size))


def _to_real(array: np.ndarray, size: Any, dtype: torch.dtype) -> torch.Tensor:
    if dtype == torch.bfloat16:  # NumPy has none: the draws are bit patterns
        return _put(torch.from_numpy(array.view(np.int16)).view(dtype).view(size))
    return _put(torch.from_numpy(array).view(size))


def _put(tensor: torch.Tensor) -> torch.Tensor:
    return tensor if _device is devices.CPU else tensor.to(_device)


def bernoulli(size: Any, threshold: int, ordinal: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Return a tensor of 0 and 1; 1 where the u16 lane is below `threshold`."""
    return _to_tensor(randomness.draw_bernoulli(_key, ordinal, _count(size), threshold), size, dtype)


def uniform(size: Any, low: float, high: float, ordinal: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Return a tensor uniform in [low, high)."""
    return _to_real(randomness.draw_uniform(_key, ordinal, _count(size), low, high, _REALS[dtype]), size, dtype)


def normal(size: Any, mean: float, std: float, ordinal: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Return a tensor of normal draws."""
    return _to_real(randomness.draw_normal(_key, ordinal, _count(size), mean, std, _REALS[dtype]), size, dtype)


def integers(size: Any, low: int, high: int, ordinal: int, dtype: torch.dtype = torch.int64) -> torch.Tensor:
    """Return a tensor of integers in [low, high)."""
    return _to_tensor(randomness.draw_integers(_key, ordinal, _count(size), low, high), size, dtype)


def permutation(size: int, ordinal: int, dtype: torch.dtype = torch.int64) -> torch.Tensor:
    """Return a permutation of 0 … size-1."""
    return _to_tensor(randomness.draw_permutation(_key, ordinal, size), (size,), dtype)


def _register(name: str, function: Any) -> None:
    def fake(*args: Any) -> torch.Tensor:
        size = args[0] if isinstance(args[0], (list, tuple, torch.Size)) else (args[0],)
        return torch.empty(size, dtype=args[-1])

    _library.impl(name, function, "CompositeExplicitAutograd")
    torch.library.register_fake(f"assay::{name}", fake, lib=_library)


for _name, _function in (
    ("bernoulli", bernoulli),
    ("uniform", uniform),
    ("normal", normal),
    ("integers", integers),
    ("permutation", permutation),
):
    _register(_name, _function)

ops = torch.ops.assay


Call = Callable[[Any, tuple[Any, ...], dict[str, Any]], Any]
"""Runs an operator on arguments."""


@dataclass(frozen=True, slots=True)
class Draw:
    """A draw that stands for a random call.

    Attributes:
        operator, args, kwargs: the draw.
        target: the tensor to copy it into, or None to return it.
        then: what is computed from the draw, by calls that `call` runs; None: nothing.
    """

    operator: torch._ops.OpOverload
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    target: torch.Tensor | None
    then: Callable[[torch.Tensor, Call], Any] | None = None


def compute_threshold(probability: float) -> int:
    """Return round-half-even(probability · 65536), exactly: scaling by a power of two does not round."""
    return round(probability * 65536)


_DROPOUT_PLACES = {aten._scaled_dot_product_flash_attention_for_cpu.default: 3}
"""Operators that draw only if this argument is not zero."""


def is_random(func: torch._ops.OpOverload, args: tuple[Any, ...]) -> bool:
    """True if the call draws from a generator."""
    if torch.Tag.nondeterministic_seeded not in func.tags:
        return False
    place = _DROPOUT_PLACES.get(func)
    return place is None or (len(args) > place and args[place] != 0)


def translate(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], ordinal: int) -> Draw | None:
    """Return the draw that replaces a random call, or None if there is none."""
    if kwargs.get("generator") is not None:
        return None
    rule = _RULES.get(func)
    return rule(args, kwargs, ordinal) if rule else None


def _argument(args: tuple[Any, ...], kwargs: dict[str, Any], index: int, name: str, default: Any) -> Any:
    return args[index] if len(args) > index else kwargs.get(name, default)


def _bernoulli_inplace(args: tuple[Any, ...], kwargs: dict[str, Any], ordinal: int) -> Draw:
    target = args[0]
    threshold = compute_threshold(_argument(args, kwargs, 1, "p", 0.5))
    return Draw(ops.bernoulli.default, (list(target.shape), threshold, ordinal, target.dtype), {}, target)


def _bernoulli_p(args: tuple[Any, ...], kwargs: dict[str, Any], ordinal: int) -> Draw:
    like = args[0]
    threshold = compute_threshold(_argument(args, kwargs, 1, "p", 0.5))
    return Draw(ops.bernoulli.default, (list(like.shape), threshold, ordinal, like.dtype), {}, None)


def _uniform_inplace(args: tuple[Any, ...], kwargs: dict[str, Any], ordinal: int) -> Draw:
    target = args[0]
    low, high = _argument(args, kwargs, 1, "from", 0.0), _argument(args, kwargs, 2, "to", 1.0)
    return Draw(ops.uniform.default, (list(target.shape), float(low), float(high), ordinal, target.dtype), {}, target)


def _normal_inplace(args: tuple[Any, ...], kwargs: dict[str, Any], ordinal: int) -> Draw:
    target = args[0]
    mean, std = _argument(args, kwargs, 1, "mean", 0.0), _argument(args, kwargs, 2, "std", 1.0)
    return Draw(ops.normal.default, (list(target.shape), float(mean), float(std), ordinal, target.dtype), {}, target)


def _dtype(kwargs: dict[str, Any], default: torch.dtype | None = None) -> torch.dtype:
    return kwargs.get("dtype") or default or torch.get_default_dtype()


def _rand(args: tuple[Any, ...], kwargs: dict[str, Any], ordinal: int) -> Draw:
    return Draw(ops.uniform.default, (list(args[0]), 0.0, 1.0, ordinal, _dtype(kwargs)), {}, None)


def _randn(args: tuple[Any, ...], kwargs: dict[str, Any], ordinal: int) -> Draw:
    return Draw(ops.normal.default, (list(args[0]), 0.0, 1.0, ordinal, _dtype(kwargs)), {}, None)


def _rand_like(args: tuple[Any, ...], kwargs: dict[str, Any], ordinal: int) -> Draw:
    return Draw(ops.uniform.default, (list(args[0].shape), 0.0, 1.0, ordinal, _dtype(kwargs, args[0].dtype)), {}, None)


def _randn_like(args: tuple[Any, ...], kwargs: dict[str, Any], ordinal: int) -> Draw:
    return Draw(ops.normal.default, (list(args[0].shape), 0.0, 1.0, ordinal, _dtype(kwargs, args[0].dtype)), {}, None)


def _randint(args: tuple[Any, ...], kwargs: dict[str, Any], ordinal: int) -> Draw:
    low, high, size = (0, *args[:2]) if len(args) == 2 else args[:3]
    return Draw(ops.integers.default, (list(size), low, high, ordinal, _dtype(kwargs, torch.int64)), {}, None)


def _randperm(args: tuple[Any, ...], kwargs: dict[str, Any], ordinal: int) -> Draw:
    return Draw(ops.permutation.default, (args[0], ordinal, _dtype(kwargs, torch.int64)), {}, None)


def _compare(probabilities: torch.Tensor, ordinal: int, target: torch.Tensor | None, dtype: torch.dtype) -> Draw:
    """Return 1 where a uniform draw lies below the probability of its element."""

    def then(drawn: torch.Tensor, call: Call) -> torch.Tensor:
        below = call(aten.lt.Tensor, (drawn, probabilities), {})
        return call(aten._to_copy.default, (below,), {"dtype": dtype})  # type: ignore[no-any-return]

    size = list(probabilities.shape if target is None else target.shape)
    return Draw(ops.uniform.default, (size, 0.0, 1.0, ordinal, probabilities.dtype), {}, target, then)


def _bernoulli_tensor(args: tuple[Any, ...], _kwargs: dict[str, Any], ordinal: int) -> Draw:
    return _compare(args[0], ordinal, None, args[0].dtype)


def _bernoulli_tensor_inplace(args: tuple[Any, ...], kwargs: dict[str, Any], ordinal: int) -> Draw:
    return _compare(_argument(args, kwargs, 1, "p", None), ordinal, args[0], args[0].dtype)


def _make_exponential(drawn: torch.Tensor, call: Call) -> torch.Tensor:
    """Return -log(1 - u) of a uniform draw u, and never zero: it is divided by, and its logarithm is taken."""
    logarithm = call(aten.log1p.default, (call(aten.neg.default, (drawn,), {}),), {})
    return call(aten.clamp.default, (call(aten.neg.default, (logarithm,), {}), 2.0**-26), {})  # type: ignore[no-any-return]


def _exponential_inplace(args: tuple[Any, ...], kwargs: dict[str, Any], ordinal: int) -> Draw:
    target, rate = args[0], float(_argument(args, kwargs, 1, "lambd", 1.0))

    def then(drawn: torch.Tensor, call: Call) -> torch.Tensor:
        positive = _make_exponential(drawn, call)
        return positive if rate == 1.0 else call(aten.div.Tensor, (positive, rate), {})

    return Draw(ops.uniform.default, (list(target.shape), 0.0, 1.0, ordinal, target.dtype), {}, target, then)


def _multinomial(args: tuple[Any, ...], kwargs: dict[str, Any], ordinal: int) -> Draw:
    """Sample categories by their weights.

    One sample, or several with replacement: the first category at which the running total of the weights exceeds a
    uniform part of their sum. Several without: the largest quotients of weight and exponential draw (Efraimidis and
    Spirakis, 2006), as PyTorch does. In a row whose weights PyTorch would refuse (negative, infinite, none above zero)
    the sample is one beyond the last category, so that whatever is indexed with it refuses.
    """
    given, count = args[0], args[1]
    replacement = bool(_argument(args, kwargs, 2, "replacement", default=False))
    on_cpu = torch.ones_like(given, device=devices.CPU)
    aten.multinomial.default(on_cpu, count, replacement, generator=torch.Generator())  # may refuse
    kind = torch.float64 if given.dtype == torch.float64 else torch.float32
    one_by_one = replacement or count == 1
    size = [*given.shape[:-1], count] if one_by_one else list(given.shape)

    def then(drawn: torch.Tensor, call: Call) -> torch.Tensor:
        weights = given if given.dtype == kind else call(aten._to_copy.default, (given,), {"dtype": kind})
        totals = call(aten.cumsum.default, (weights, -1), {})
        total = call(aten.slice.Tensor, (totals, -1, given.shape[-1] - 1, given.shape[-1]), {})
        if one_by_one:
            parts = call(aten.mul.Tensor, (drawn, total), {})
            sample = call(aten.searchsorted.Tensor, (totals, parts), {"right": True})
        else:
            quotients = call(aten.div.Tensor, (weights, _make_exponential(drawn, call)), {})
            sample = call(aten.topk.default, (quotients, count), {})[1]
        is_positive = call(aten.gt.Scalar, (total, 0.0), {})
        is_finite = call(aten.lt.Scalar, (total, math.inf), {})
        is_allowed = call(aten.ge.Scalar, (call(aten.amin.default, (weights, [-1], True), {}), 0.0), {})
        is_sum = call(aten.logical_and.default, (is_positive, is_finite), {})
        is_valid = call(aten.logical_and.default, (is_sum, is_allowed), {})
        return call(aten.where.ScalarOther, (is_valid, sample, given.shape[-1]), {})  # type: ignore[no-any-return]

    return Draw(ops.uniform.default, (size, 0.0, 1.0, ordinal, kind), {}, None, then)


def _normal_tensors(args: tuple[Any, ...], kwargs: dict[str, Any], ordinal: int) -> Draw:
    mean, std = _argument(args, kwargs, 0, "mean", 0.0), _argument(args, kwargs, 1, "std", 1.0)
    tensors = [value for value in (mean, std) if isinstance(value, torch.Tensor)]
    size = list(torch.broadcast_shapes(*(tensor.shape for tensor in tensors)))

    def then(drawn: torch.Tensor, call: Call) -> torch.Tensor:
        return call(aten.add.Tensor, (call(aten.mul.Tensor, (drawn, std), {}), mean), {})  # type: ignore[no-any-return]

    return Draw(ops.normal.default, (size, 0.0, 1.0, ordinal, tensors[0].dtype), {}, None, then)


def _native_dropout(args: tuple[Any, ...], kwargs: dict[str, Any], ordinal: int) -> Draw | None:
    """Return values and mask of the dropout that devices other than the CPU have in one operator."""
    source, probability = args[0], float(args[1])
    if _argument(args, kwargs, 2, "train", True) is False or not 0.0 <= probability < 1.0:
        return None
    threshold = compute_threshold(1.0 - probability)

    def then(drawn: torch.Tensor, call: Call) -> Any:
        kept = call(aten.mul.Tensor, (source, drawn), {})
        mask = call(aten._to_copy.default, (drawn,), {"dtype": torch.bool})
        return call(aten.mul.Tensor, (kept, 1.0 / (1.0 - probability)), {}), mask

    return Draw(ops.bernoulli.default, (list(source.shape), threshold, ordinal, source.dtype), {}, None, then)


def is_dropout_backward(func: Any) -> bool:
    """True for the gradient of `native_dropout`."""
    return func is aten.native_dropout_backward.default


def run_dropout_backward(args: tuple[Any, ...], kwargs: dict[str, Any], call: Call) -> torch.Tensor:
    """Run the gradient of `native_dropout` as two products, as its values are computed here."""
    gradient, mask, scale = (*args, *(kwargs[name] for name in ("mask", "scale")[len(args) - 1 :]))
    kept = call(aten.mul.Tensor, (gradient, call(aten._to_copy.default, (mask,), {"dtype": gradient.dtype})), {})
    return call(aten.mul.Tensor, (kept, float(scale)), {})  # type: ignore[no-any-return]


def _randint_like(args: tuple[Any, ...], kwargs: dict[str, Any], ordinal: int) -> Draw:
    low, high = (0, args[1]) if len(args) == 2 else args[1:3]
    size, dtype = list(args[0].shape), _dtype(kwargs, args[0].dtype)
    return Draw(ops.integers.default, (size, low, high, ordinal, dtype), {}, None)


_RULES = {
    aten.bernoulli.default: _bernoulli_tensor,
    aten.bernoulli_.Tensor: _bernoulli_tensor_inplace,
    aten.exponential_.default: _exponential_inplace,
    aten.multinomial.default: _multinomial,
    aten.normal.Tensor_Tensor: _normal_tensors,
    aten.normal.Tensor_float: _normal_tensors,
    aten.normal.float_Tensor: _normal_tensors,
    aten.native_dropout.default: _native_dropout,
    aten.randint_like.default: _randint_like,
    aten.randint_like.low_dtype: _randint_like,
    aten.bernoulli_.float: _bernoulli_inplace,
    aten.bernoulli.p: _bernoulli_p,
    aten.uniform_.default: _uniform_inplace,
    aten.normal_.default: _normal_inplace,
    aten.rand.default: _rand,
    aten.randn.default: _randn,
    aten.rand_like.default: _rand_like,
    aten.randn_like.default: _randn_like,
    aten.randint.default: _randint,
    aten.randint.low: _randint,
    aten.randperm.default: _randperm,
}

EMPTY = {
    aten.empty.memory_format: aten.zeros.default,
    aten.empty_like.default: aten.zeros_like.default,
    aten.new_empty.default: aten.new_zeros.default,
    aten.empty_strided.default: None,
    aten.new_empty_strided.default: None,
}
"""Operators that leave memory as it was, and what stands for them: a program has no uninitialised bytes."""


def as_zeros(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
    """Return a call that gives zeros where `func` would give uninitialised memory."""
    replacement = EMPTY[func]
    if replacement is not None:
        if replacement is aten.zeros.default:
            kwargs = {name: value for name, value in kwargs.items() if name != "memory_format"}
        return replacement, args, kwargs
    if func is aten.empty_strided.default:
        return aten.zeros.default, (args[0],), kwargs
    return aten.new_zeros.default, (args[0], args[1]), kwargs
