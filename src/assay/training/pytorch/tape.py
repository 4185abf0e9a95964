"""A tape: every ATen call of one real training step, in order.

The user's body runs unchanged under a dispatch mode. Values are identified by *geometry* (storage, offset, shape,
stride, dtype), never by Python identity: autograd hands the same value around under several Python objects, and
`tensor.data = other` gives one object another value. Everything that the tape has seen is kept alive while it records,
so that no storage address is used twice.

Random operators are replaced by counter-based draws (`draws`), both here and in the program, so that the step as
recorded is "eager with the same draws".
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from assay.errors import CaptureRefused
from assay.training.pytorch import draws, fused, list_forms, list_operators, refused_calls
from assay.training.pytorch.fixed_values import FixedValues

_OWN_FOLDER = str(Path(__file__).resolve().parents[2])
_TORCH_FOLDER = str(Path(torch.__file__).resolve().parent)

Geometry = tuple[int, int, tuple[int, ...], tuple[int, ...], torch.dtype]


@dataclass(frozen=True, slots=True)
class Location:
    """A line of the user's source."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True)
class TensorRef:
    """A tensor argument or output of a call, by geometry."""

    geometry: Geometry


@dataclass(slots=True)
class Call:
    """One ATen call: arguments and outputs with tensors replaced by `TensorRef`; `region`: index of the optimizer."""

    operator: torch._ops.OpOverload
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    outputs: Any
    location: Location
    region: int | None
    order: int = 0


def get_geometry(tensor: torch.Tensor) -> Geometry:
    """Return what identifies the value that `tensor` shows."""
    return (
        int(tensor.untyped_storage()._cdata),
        int(tensor.storage_offset()),
        tuple(tensor.shape),
        tensor.stride(),
        tensor.dtype,
    )


def require_dense(tensor: torch.Tensor) -> None:
    """Refuse a tensor without a memory of its own, such as a sparse gradient, in the line that makes or uses it."""
    if tensor.layout is not torch.strided:
        raise CaptureRefused(
            f"{get_user_location()}: the step uses a tensor with the layout {tensor.layout}",
            expected="dense tensors",
            next_step="leave sparse=True out (embeddings), or call to_dense() outside the step",
        )


def get_user_location() -> Location:
    """Return the innermost line on the stack that is neither torch's nor ours."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        if not name.startswith((_OWN_FOLDER, _TORCH_FOLDER, "<frozen")):
            return Location(name, frame.f_lineno)
        frame = frame.f_back
    return Location("<unknown>", 0)


_DISPATCH = tuple(f"{_TORCH_FOLDER}/{name}" for name in ("_dynamo/", "_compile.py", "utils/_python_dispatch.py"))
"""Where torch stands between a call and a dispatch mode."""

_VALIDITY_CHECKS = (
    ("gaussian_nll_loss", "torch/nn/functional.py"),
    ("__init__", "torch/distributions/distribution.py"),
    ("_validate_sample", "torch/distributions/distribution.py"),
)


def is_validity_check() -> bool:
    """True if torch itself reads a value in order to refuse it: a step that is not refused does not depend on it."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith((_OWN_FOLDER, *_DISPATCH)):
        frame = frame.f_back
    if frame is None:
        return False
    name, file = frame.f_code.co_name, frame.f_code.co_filename.replace("\\", "/")
    return any(name == function and file.endswith(end) for function, end in _VALIDITY_CHECKS)


def map_structure(value: Any, function: Any) -> Any:
    """Apply `function` to every leaf of nested lists and tuples."""
    if isinstance(value, (list, tuple)):
        return type(value)(map_structure(item, function) for item in value)
    return function(value)


@dataclass
class Tape:
    """What was recorded.

    Attributes:
        calls: the calls in order.
        tensors: geometry to one tensor that has it, as first seen.
        first_bytes: geometry to a copy of the bytes, for tensors that no call of the tape produced.
        randoms: number of random draws.
    """

    calls: list[Call] = field(default_factory=list)
    tensors: dict[Geometry, torch.Tensor] = field(default_factory=dict)
    foreign: dict[Geometry, torch.Tensor] = field(default_factory=dict)
    alive: list[Any] = field(default_factory=list)
    randoms: int = 0


_ABOUT_TYPES = frozenset({torch.ops.aten.promote_types, torch.ops.aten.result_type, torch.ops.aten.can_cast})
"""They answer from element types alone, which guards and shapes fix: nothing of them is in a program."""


class Recorder(TorchDispatchMode):
    """Runs calls for real and writes them on a tape.

    Args:
        key: Philox key of this step; None: random operators are refused.
        known: tensors that need no constant (state and batch).
        may_read: whether values may be read into Python. Constructors may: what they make of a value is a constant of a
            program that is compared, bit for bit, with the models that they made. So may a step beside its program, of
            whose tape nothing is made.

    Attributes:
        tape: what was recorded.
        region: index of the optimizer whose step is running.
        is_set_back: whether the generator was set back to an earlier state.
    """

    def __init__(self, key: tuple[int, int] | None, known: list[torch.Tensor], *, may_read: bool = False) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.tape = Tape()
        self.key = key
        self.may_read = may_read
        self.region: int | None = None
        self.is_set_back = False
        self._produced: set[int] = {tensor.untyped_storage()._cdata for tensor in known}
        self._fixed = FixedValues()
        self.tape.alive.extend(known)

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # torch would wrap every dispatch to hide it from torch.compile; this mode never runs under it

    @contextmanager
    def regions(self, optimizers: list[torch.optim.Optimizer]) -> Iterator[None]:
        """Mark the calls made inside each optimizer's `step`."""
        handles = []
        for index, optimizer in enumerate(optimizers):

            def enter(_: Any, args: Sequence[Any], kwargs: dict[str, Any], *, index: int = index) -> None:
                if any(callable(value) for value in (*args[1:], *kwargs.values())):
                    raise CaptureRefused(
                        f"{get_user_location()}: the optimizer's step is given a closure that computes the loss",
                        next_step="call loss.backward() first, then optimizer.step() with nothing: it does the same",
                    )
                self.region = index

            def leave(*_: Any) -> None:
                self.region = None

            handles.append(optimizer.register_step_pre_hook(enter))
            handles.append(optimizer.register_step_post_hook(leave))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def __torch_dispatch__(
        self, func: torch._ops.OpOverload, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        location = get_user_location()
        if fused.is_fused(func):
            self._refuse_fused(func, args, kwargs, location)
        in_optimizer = self.region is not None
        rewrite = list_operators.rewrite_in_optimizer if in_optimizer else list_operators.rewrite
        is_apart = list_operators.is_taken_apart(func, in_optimizer=in_optimizer) or fused.is_fused(func)
        beside = list_forms.run_beside(func, args, kwargs) if is_apart else None
        rewritten = rewrite(func, args, kwargs, self._dispatch)
        if rewritten is not NotImplemented:
            list_forms.require_same_bits(func, beside, args, rewritten)
            return rewritten
        if draws.is_dropout_backward(func):
            return draws.run_dropout_backward(args, kwargs, self._dispatch)
        self._refuse(func, args, kwargs, location)
        if draws.is_random(func, args):
            return self._draw(func, args, kwargs, location)
        is_made = func in draws.EMPTY  # of nothing: what stands there is not read
        if is_made:
            func, args, kwargs = draws.as_zeros(func, args, kwargs)
        if func.overloadpacket in _ABOUT_TYPES:
            return func(*args, **kwargs)
        before = map_structure(args, self._reference)
        before_kwargs = {name: map_structure(value, self._reference) for name, value in kwargs.items()}
        try:
            result = func(*args, **kwargs)
        except RuntimeError as error:
            refused_calls.refuse_unrepeatable(func, error, location)
            raise
        self._write(func, before, before_kwargs, result, location)
        if not is_made:
            self._fixed.note(func, [*args, *kwargs.values()], result)
        return result

    def _dispatch(self, func: torch._ops.OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return self.__torch_dispatch__(func, (), args, kwargs)

    def _refuse(
        self, func: torch._ops.OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any], location: Location
    ) -> None:
        reads = func is torch.ops.aten._local_scalar_dense.default and self.region is None and not self.may_read
        if reads and not self._fixed.holds(args) and not is_validity_check():
            raise CaptureRefused(
                f"{location}: the step reads the value of a tensor (.item(), float(), if tensor, print)",
                next_step="return the tensor from the step and read it outside, or use torch.where",
            )
        if refused_calls.selects_by_mask(func, args) and self._fixed.holds(args[1]):
            return
        objection = refused_calls.find_objection(func, args, kwargs)
        if objection is not None:
            raise CaptureRefused(f"{location}: the step {objection[0]}", next_step=objection[1])

    def _refuse_fused(
        self, func: torch._ops.OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any], location: Location
    ) -> None:
        objection = fused.find_objection(func, args, kwargs)
        if objection is not None:
            raise CaptureRefused(f"{location}: the fused optimizer {objection[0]}", next_step=objection[1])

    def _draw(
        self, func: torch._ops.OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any], location: Location
    ) -> Any:
        if self.key is None:
            raise CaptureRefused(f"{location}: {func} draws random numbers where none are allowed")
        if self.is_set_back:
            raise CaptureRefused(
                f"{location}: {func} draws after the generator was set back (activation checkpointing)",
                next_step="leave dropout outside the checkpointed part, or do not checkpoint",
            )
        draw = draws.translate(func, args, kwargs, self.tape.randoms)
        if draw is None:
            raise CaptureRefused(
                f"{location}: {func} has no counter-based replacement yet",
                next_step="use dropout, bernoulli, multinomial, rand, randn, randint, randperm, uniform_ or normal_",
            )
        self.tape.randoms += 1
        target = draw.target.device if draw.target is not None else draws.find_target(args, kwargs)
        with draws.use_key(self.key, target):
            drawn = draw.operator(*draw.args, **draw.kwargs)
        self._write(draw.operator, draw.args, draw.kwargs, drawn, location)
        if draw.then is not None:
            drawn = draw.then(drawn, self._dispatch)
        if draw.target is None:
            return drawn
        return self.__torch_dispatch__(torch.ops.aten.copy_.default, (), (draw.target, drawn))

    def _reference(self, value: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            return value
        require_dense(value)
        geometry = get_geometry(value)
        if geometry not in self.tape.tensors:
            self.tape.tensors[geometry] = value
            self.tape.alive.append(value.untyped_storage())
            if geometry[0] not in self._produced:
                self._produced.add(geometry[0])
                self.tape.foreign[geometry] = value.detach().clone()
        return TensorRef(geometry)

    def _write(
        self,
        func: torch._ops.OpOverload,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        result: Any,
        location: Location,
    ) -> None:
        def output(value: Any) -> Any:
            if not isinstance(value, torch.Tensor):
                return value
            require_dense(value)
            geometry = get_geometry(value)
            self._produced.add(geometry[0])
            self.tape.tensors.setdefault(geometry, value)
            self.tape.alive.append(value.untyped_storage())
            return TensorRef(geometry)

        outputs = map_structure(result, output)
        self.tape.calls.append(Call(func, args, kwargs, outputs, location, self.region, len(self.tape.calls)))
