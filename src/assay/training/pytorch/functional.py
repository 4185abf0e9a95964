"""From a tape to a functional graph: the tape is replayed under `functionalize`, so that no operator mutates anything.

No decomposition is applied: the operators of the graph are those that eager ran.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import fx

from assay.errors import CaptureRefused
from assay.training.pytorch import devices, draws
from assay.training.pytorch.graph_tracer import trace
from assay.training.pytorch.tape import Call, Geometry, Tape, TensorRef, map_structure

aten = torch.ops.aten

_DECLARE_MUTATION = {
    aten.native_batch_norm.default: aten._native_batch_norm_legit.default,
}
"""Operators whose schema hides that they write to an argument, and the same kernel under an honest schema."""

_library = torch.library.Library("assay_whole", "DEF")
_library.define(
    "binary_cross_entropy_with_logits(Tensor x, Tensor y, Tensor? weight, Tensor? pos_weight, int reduction) -> Tensor"
)
_library.impl(
    "binary_cross_entropy_with_logits",
    aten.binary_cross_entropy_with_logits.default,
    "CompositeExplicitAutograd",
)
_WHOLE = torch.ops.assay_whole.binary_cross_entropy_with_logits.default

KEPT_WHOLE = {_WHOLE: aten.binary_cross_entropy_with_logits.default}
"""Stand-ins for operators that torch takes apart under `functionalize` into others with other bits, and what they
stand for. Their arguments are all given."""


def _is_taken_apart(call: Call) -> bool:
    return call.operator is aten.binary_cross_entropy_with_logits.default


_IGNORED_NAMESPACES = frozenset({"profiler"})


def iterate_references(value: Any) -> list[TensorRef]:
    """Return the tensor references in a nested structure, in order."""
    found: list[TensorRef] = []

    def visit(leaf: Any) -> Any:
        if isinstance(leaf, TensorRef):
            found.append(leaf)
        return leaf

    map_structure(value, visit)
    return found


def select_calls(tape: Tape, ignored_storages: set[int]) -> list[Call]:
    """Return the calls that belong into the program: no profiler marks, nothing that only touches step counters."""
    selected = []
    for call in tape.calls:
        if call.operator.namespace in _IGNORED_NAMESPACES or call.operator is aten._local_scalar_dense.default:
            continue
        references = [*iterate_references(call.args), *iterate_references(list(call.kwargs.values()))]
        outputs = iterate_references(call.outputs)
        storages = {reference.geometry[0] for reference in [*references, *outputs]}
        if storages and storages <= ignored_storages:
            continue
        selected.append(call)
    return selected


def resolve_operator(call: Call) -> torch._ops.OpOverload:
    """Return the operator to replay for a call."""
    if _is_taken_apart(call):
        return _WHOLE
    honest = _DECLARE_MUTATION.get(call.operator)
    if honest is None:
        return call.operator
    if call.args[3] is None or call.args[5] is not True:
        return call.operator
    return honest


class _Replay:
    """Runs the calls of a tape on given tensors, all on one device whatever the tape says."""

    def __init__(
        self,
        calls: Sequence[Call],
        inputs: Sequence[Geometry],
        outputs: Sequence[Geometry],
        device: torch.device,
    ) -> None:
        self.calls = calls
        self.inputs = inputs
        self.outputs = outputs
        self.device = device

    def __call__(self, *tensors: torch.Tensor) -> list[torch.Tensor]:
        values: dict[Geometry, torch.Tensor] = dict(zip(self.inputs, tensors, strict=True))
        by_storage: dict[int, torch.Tensor] = {geometry[0]: tensor for geometry, tensor in values.items()}

        def resolve(value: Any) -> Any:
            return find(value.geometry) if isinstance(value, TensorRef) else value

        def find(geometry: Geometry) -> torch.Tensor:
            if geometry in values:
                return values[geometry]
            base = by_storage.get(geometry[0])
            if base is None or base.dtype != geometry[4]:
                raise CaptureRefused(
                    "the step uses a tensor whose origin was not seen",
                    next_step="read nothing of optimizer.state in the step, and keep what it needs in a buffer",
                )
            values[geometry] = torch.as_strided(base, geometry[2], geometry[3], geometry[1])
            return values[geometry]

        def bind(reference: Any, value: Any) -> None:
            if isinstance(reference, TensorRef):
                values.setdefault(reference.geometry, value)
                by_storage.setdefault(reference.geometry[0], value)
            elif isinstance(reference, (list, tuple)):
                for inner_reference, inner_value in zip(reference, value, strict=True):
                    bind(inner_reference, inner_value)

        for call in self.calls:
            operator = resolve_operator(call)
            arguments = map_structure(call.args, resolve)
            if operator is _WHOLE:
                arguments = _complete(call.operator, arguments)
            keywords = {name: map_structure(value, resolve) for name, value in call.kwargs.items()}
            if isinstance(keywords.get("device"), torch.device) and keywords["device"].type != "meta":
                keywords["device"] = self.device
            bind(call.outputs, operator(*arguments, **keywords))
        return [find(geometry) for geometry in self.outputs]


def _complete(operator: torch._ops.OpOverload, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return positional arguments with the defaults that torch left out."""
    schema = operator._schema.arguments
    return (*arguments, *(argument.default_value for argument in schema[len(arguments) :]))


def build_graph(
    calls: Sequence[Call],
    inputs: Sequence[Geometry],
    tensors: Sequence[torch.Tensor],
    outputs: Sequence[Geometry],
    *,
    device: torch.device | None = None,
) -> fx.Graph:
    """Return the functional graph of `calls` from `inputs` to `outputs`.

    Args:
        calls: the selected calls of a tape.
        inputs: geometry of each input.
        tensors: for each input a tensor of the same type and values; they are not changed.
        outputs: geometry of each output.
        device: of all tensors; None: where programs are computed.
    """
    device = devices.get_device() if device is None else device
    with torch.no_grad(), draws.use_key((0, 0), device):
        return trace(_Replay(calls, inputs, outputs, device), [tensor.detach().clone() for tensor in tensors])
