"""The soundness gate: two recordings of one step, with other batches and draws, must agree in everything but values.

What differs was read from outside the graph (a Python counter, the clock, another generator): it would be baked in as a
constant, silently. It is refused with file and line.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from assay.errors import CaptureRefused
from assay.protocol.evidence.program import MAX_CONSTANT_BYTES
from assay.training.pytorch.tape import Call, Geometry, Tape, TensorRef, map_structure


class _Canonical:
    """Numbers the storages of one tape in order of first appearance, so that two tapes can be compared."""

    def __init__(self, inputs: Sequence[Geometry]) -> None:
        self.numbers: dict[int, int] = {}
        for geometry in inputs:
            self.numbers.setdefault(geometry[0], len(self.numbers))

    def __call__(self, value: Any) -> Any:
        if isinstance(value, TensorRef):
            storage, *rest = value.geometry
            return ("tensor", self.numbers.setdefault(storage, len(self.numbers)), *rest)
        if isinstance(value, (torch.dtype, float)):
            return (type(value).__name__, str(value))  # a float's shortest text: NaN equals NaN, -0.0 not 0.0
        return (type(value).__name__, value)


def compare_calls(
    first: Sequence[Call], second: Sequence[Call], first_inputs: Sequence[Geometry], second_inputs: Sequence[Geometry]
) -> None:
    """Check that two recordings are the same calls on the same values.

    Numbers inside an optimizer's step are left to the comparison with its stand-in.

    Raises:
        CaptureRefused: naming the first call that differs, with the user's line.
    """
    canonical = _Canonical(first_inputs), _Canonical(second_inputs)
    for one, other in zip(first, second, strict=False):
        if one.operator is not other.operator:
            raise _refusal(one, f"{one.operator}", f"{other.operator}")
        ours, theirs = (_describe(call, names) for call, names in zip((one, other), canonical, strict=True))
        if ours != theirs:
            expected, actual = _first_difference(ours, theirs)
            raise _refusal(one, expected, actual)
    if len(first) != len(second):
        longer = first if len(first) > len(second) else second
        extra = longer[min(len(first), len(second))]
        raise _refusal(extra, f"{len(first)} operators", f"{len(second)} operators")


def _describe(call: Call, canonical: _Canonical) -> list[Any]:
    in_region = call.region is not None

    def leaf(value: Any) -> Any:
        if in_region and isinstance(value, (int, float)) and not isinstance(value, bool):
            return "number"
        return canonical(value)

    keywords = sorted(call.kwargs.items())
    return [
        *(map_structure(argument, leaf) for argument in call.args),
        *((name, map_structure(value, leaf)) for name, value in keywords),
        map_structure(call.outputs, leaf),
    ]


def _first_difference(ours: list[Any], theirs: list[Any]) -> tuple[str, str]:
    for one, other in zip(ours, theirs, strict=False):
        if one != other:
            return repr(one), repr(other)
    return f"{len(ours)} arguments", f"{len(theirs)} arguments"


def _refusal(call: Call, expected: object, actual: object) -> CaptureRefused:
    return CaptureRefused(
        f"{call.location}: two recordings of the step differ at {call.operator}: the step depends on something that is "
        "neither state nor batch (a Python counter, the clock, a generator, a gradient left from the step before)",
        expected=expected,
        actual=actual,
        next_step="keep such values in a buffer of the model, or pass them in the batch; call zero_grad() in the step",
    )


def collect_constants(
    tape: Tape, calls: Sequence[Call], second: Tape, second_calls: Sequence[Call], known: set[int]
) -> list[tuple[Geometry, torch.Tensor]]:
    """Return the tensors that the step reads and that are neither state nor batch, with their bytes at first reading.

    Args:
        tape: the first recording.
        calls: its selected calls.
        second: the second recording.
        second_calls: its selected calls.
        known: storages of state, batch and step counters.

    Raises:
        CaptureRefused: such a tensor is large, or its bytes differ between the recordings, or the step changes it.
    """
    constants: list[tuple[Geometry, torch.Tensor]] = []
    seen: set[Geometry] = set()
    for call, other in zip(calls, second_calls, strict=True):
        ours, theirs = _list_references(call), _list_references(other)
        for reference, twin in zip(ours, theirs, strict=True):
            geometry = reference.geometry
            if geometry in seen or geometry not in tape.foreign or geometry[0] in known:
                continue
            seen.add(geometry)
            value, other_value = tape.foreign[geometry], second.foreign.get(twin.geometry)
            _check_constant(call, value, other_value)
            constants.append((geometry, value))
        _check_unwritten(call, known, seen)
    return constants


def _list_references(call: Call) -> list[TensorRef]:
    found: list[TensorRef] = []

    def visit(value: Any) -> Any:
        if isinstance(value, TensorRef):
            found.append(value)
        return value

    map_structure([*call.args, *call.kwargs.values()], visit)
    return found


def _check_constant(call: Call, value: torch.Tensor, other: torch.Tensor | None) -> None:
    size = value.numel() * value.element_size()
    if size > MAX_CONSTANT_BYTES:
        raise CaptureRefused(
            f"{call.location}: the step reads a tensor of shape {tuple(value.shape)} that is neither state nor batch",
            expected=f"constants of at most {MAX_CONSTANT_BYTES} bytes",
            actual=f"{size} bytes",
            next_step="register it as a buffer of a model in models=[...], or pass it in the batch",
        )
    if other is None or other.shape != value.shape or not _same_bytes(value, other):
        raise CaptureRefused(
            f"{call.location}: the step reads a tensor of shape {tuple(value.shape)} whose values change from call to "
            "call and that is neither state nor batch",
            next_step="register it as a buffer of a model, or pass it in the batch; call zero_grad() in the step",
        )


def _same_bytes(first: torch.Tensor, second: torch.Tensor) -> bool:
    return first.dtype == second.dtype and torch.equal(
        first.contiguous().flatten().view(torch.uint8), second.contiguous().flatten().view(torch.uint8)
    )


def _check_unwritten(call: Call, known: set[int], constants: set[Geometry]) -> None:
    written = {
        reference.geometry[0]
        for argument, value in zip(call.operator._schema.arguments, call.args, strict=False)
        if argument.is_write
        for reference in _list_references(Call(call.operator, (value,), {}, None, call.location, None))
    }
    for geometry in constants:
        if geometry[0] in written - known:
            raise CaptureRefused(
                f"{call.location}: the step changes a tensor that is neither state nor batch",
                actual=f"{call.operator} writes to a tensor of shape {geometry[2]}",
                next_step="register it as a buffer of a model in models=[...]",
            )
