"""The naive interpreter: one operator after the other, every value kept. The oracle of everything that runs faster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch

from assay.errors import UsageError
from assay.protocol.encoding import bits_to_float
from assay.protocol.evidence import program as ir
from assay.protocol.evidence.operators import OPERATORS
from assay.training.pytorch import adafactor, devices, draws, fused  # noqa: F401 - they define operators
from assay.training.pytorch.home import get_bytes
from assay.training.pytorch.lower import DTYPES, get_type
from assay.training.work_digest import Observer

MEMORY_FORMATS = {
    "contiguous_format": torch.contiguous_format,
    "channels_last": torch.channels_last,
    "preserve_format": torch.preserve_format,
}


class OperatorNotAllowed(UsageError):
    """A program names an operator that is not in the closed list."""

    code = "program.operator-not-allowed"


class TypeMismatch(UsageError):
    """An operator gave another type than the program states."""

    code = "program.type-mismatch"


def get_operator(name: str) -> torch._ops.OpOverload:
    """Return the torch operator of a name of the closed list.

    Raises:
        OperatorNotAllowed: the name is not in the list; nothing outside it is ever looked up.
    """
    if name not in OPERATORS:
        raise OperatorNotAllowed(
            f"operator {name} is not in the closed list",
            next_step="open an issue with the model that needs it",
        )
    namespace, packet, overload = name.split(".")
    return getattr(getattr(getattr(torch.ops, namespace), packet), overload)  # type: ignore[no-any-return]


@cache
def takes_device(name: str) -> bool:
    """True for an operator that is told where its result goes: programs leave that out, and the run's device stands."""
    return any(argument.name == "device" for argument in get_operator(name)._schema.arguments)


def make_constant(constant: ir.Constant, device: torch.device | None = None) -> torch.Tensor:
    """Return a constant of a program as a tensor of its own memory.

    Args:
        constant: type and bytes.
        device: of the tensor; None: where programs are computed.
    """
    raw = torch.frombuffer(bytearray(constant.data), dtype=torch.uint8) if constant.data else torch.empty(0).byte()
    value = raw.view(DTYPES[constant.type.dtype]).reshape(constant.type.shape).clone()
    return value.to(devices.get_device() if device is None else device)


def run_node(node: ir.Node, values: Sequence[Any], row: Sequence[float], device: torch.device) -> list[Any]:
    """Return the outputs of one node, computed on a device and of the types that the program states.

    Args:
        node: of the program.
        values: every value before it.
        row: the scalars.
        device: on which the values lie.

    Raises:
        OperatorNotAllowed, TypeMismatch: the program is not what it claims to be.
    """
    operator = get_operator(node.operator)
    arguments = [decode_argument(argument, values, row) for argument in node.arguments]
    keywords = {keyword.name: decode_argument(keyword.value, values, row) for keyword in node.keywords}
    if device is not devices.CPU and takes_device(node.operator):
        keywords["device"] = device
    outputs = iterate_results(operator(*arguments, **keywords))
    check_types(node, outputs)
    return outputs


def decode_argument(argument: ir.Argument, values: Sequence[Any], row: Sequence[float]) -> Any:
    """Return the Python value of an argument."""
    match argument:
        case ir.Value():
            return values[argument.index]
        case ir.Scalar():
            return float(row[argument.index])
        case ir.Real():
            return bits_to_float(argument.bits)
        case ir.Nothing():
            return None
        case ir.ElementType():
            return DTYPES[argument.name]
        case ir.Text():
            return MEMORY_FORMATS.get(argument.value, argument.value)
        case ir.Sequence():
            return [decode_argument(item, values, row) for item in argument.items]
        case _:
            return argument.value


def iterate_results(result: Any) -> list[Any]:
    """Return the outputs of an operator as a flat list."""
    return list(result) if isinstance(result, (list, tuple)) else [result]


def interpret(
    program: ir.Program,
    state: Sequence[torch.Tensor],
    batch: Sequence[torch.Tensor],
    row: Sequence[float],
    key: tuple[int, int],
    observer: Observer | None = None,
    *,
    device: torch.device | None = None,
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Run a program; inputs are not changed.

    Args:
        program: any kind.
        state: one tensor per `program.state`, contiguous.
        batch: one tensor per `program.batch`, contiguous.
        row: the scalars as Python floats, length `program.scalars`.
        key: Philox key of the step.
        observer: sees values while they are computed.
        device: on which the inputs lie and everything is computed; None: where programs are computed.

    Returns:
        The new tensors in the order of `program.state_outputs`, and the results.

    Raises:
        OperatorNotAllowed, TypeMismatch: the program is not what it claims to be.
    """
    check_inputs(program, state, batch)
    device = devices.get_device() if device is None else device
    values: list[Any] = [*state, *batch, *(make_constant(constant, device) for constant in program.constants)]
    with torch.inference_mode(), draws.use_key(key, device):
        for node in program.nodes:
            values.extend(run_node(node, values, row, device))
        for number in observer.choose(program) if observer is not None else ():
            make_observing(observer)(number, values[number])
        changed = [values[output.value].contiguous() for output in program.state_outputs]
        return changed, [values[number] for number in program.results]


def make_observing(observer: Observer | None) -> Callable[[int, torch.Tensor], None]:
    """Return what shows the bytes of a tensor to an observer."""

    def observe(number: int, tensor: torch.Tensor) -> None:
        if observer is not None:
            observer.observe(number, get_bytes(tensor.contiguous()).data)

    return observe


def check_inputs(program: ir.Program, state: Sequence[torch.Tensor], batch: Sequence[torch.Tensor]) -> None:
    """Check the inputs against the types that the program states: its rules hold for those types alone."""
    expected = (*(entry.type for entry in program.state), *program.batch)
    actual = tuple(get_type(tensor) for tensor in (*state, *batch))
    if actual != expected:
        raise TypeMismatch("the inputs have other types than the program states", expected=expected, actual=actual)


def check_types(node: ir.Node, outputs: Sequence[Any]) -> None:
    """Check the outputs of one node against the types that the program states."""
    actual = tuple(get_type(output) if isinstance(output, torch.Tensor) else None for output in outputs)
    if actual != node.outputs:
        raise TypeMismatch(f"{node.operator} gave another type than stated", expected=node.outputs, actual=actual)
