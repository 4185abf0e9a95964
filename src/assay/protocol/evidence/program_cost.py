"""What one execution of a program costs, from the program alone.

Both numbers are defined, not measured: everybody gets the same ones, so that a plan's limits mean something.

Source: `spec/program.md`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import prod
from typing import ClassVar, Final

from assay.errors import MalformedEvidence
from assay.protocol.evidence.model_state import DTYPES
from assay.protocol.evidence.plan import Limits
from assay.protocol.evidence.program import Boolean, Node, Program, Sequence, TensorType, Value, get_values


class OperandRefused(MalformedEvidence):
    """An operator whose operands do not have the types from which its cost is computed."""

    code: ClassVar[str] = "program.operand"


class CostExceeded(MalformedEvidence):
    """A program that needs more memory or arithmetic than the plan allows for a step."""

    code: ClassVar[str] = "program.cost"


Types = list[TensorType | None]


def estimate_peak_bytes(program: Program) -> int:
    """Return the largest sum of live bytes over the nodes of a program that `verify_program` accepts (PRG-15).

    State inputs, batch fields and constants are live throughout. A node's output is live from that node to the last
    that reads it; one that is a result or a state output stays to the end. Views count as copies; what an operator
    needs inside is not counted. O(length of the program).
    """
    types = get_values(program)
    sizes = [count_bytes(kind) for kind in types]
    number = len(types) - sum(len(node.outputs) for node in program.nodes)
    last_use = _find_last_uses(program, number)
    live = peak = sum(sizes[:number])
    freed_after: list[int] = [0] * len(program.nodes)
    for position, node in enumerate(program.nodes):
        for _ in node.outputs:
            live += sizes[number]
            until = last_use.get(number, position)
            if until < len(program.nodes):
                freed_after[until] += sizes[number]
            number += 1
        peak = max(peak, live)
        live -= freed_after[position]
    return peak


def estimate_flops(program: Program) -> int:
    """Return the scalar operations of a program that `verify_program` accepts (PRG-16).

    Matrix products, convolutions and attention, forward and backward, are counted by their formulas, a multiplication
    and an addition as two. Any other operator counts as many as it has elements: of its tensor arguments together or
    of its outputs together, whichever is more. O(length of the program).

    Raises:
        OperandRefused: a product, convolution or attention whose operands have other ranks than the operator takes.
    """
    types = get_values(program)
    total = 0
    for node in program.nodes:
        _, name, _ = node.operator.split(".")
        count = _COUNTS.get(name)
        if count is None and name.startswith("_scaled_dot_product"):
            count = _count_attention_backward if name.endswith("_backward") else _count_attention
        total += _count_elementwise(node, types) if count is None else count(node, types)
    return total


def verify_cost(program: Program, limits: Limits) -> None:
    """Check that a program stays within the limits of a plan (PRG-17).

    Raises:
        CostExceeded: more live bytes or more operations.
        OperandRefused: as `estimate_flops`.
    """
    peak = estimate_peak_bytes(program)
    if peak > limits.peak_bytes:
        raise CostExceeded("the program needs too much memory", expected=f"{limits.peak_bytes} bytes", actual=peak)
    flops = estimate_flops(program)
    if flops > limits.flops:
        raise CostExceeded("the program needs too much arithmetic", expected=f"{limits.flops} FLOPs", actual=flops)


def count_elements(kind: TensorType | None) -> int:
    """Return the number of elements of a tensor; 0 for an output that is no tensor."""
    return 0 if kind is None else prod(kind.shape)


def count_bytes(kind: TensorType | None) -> int:
    """Return the bytes of a tensor; 0 for an output that is no tensor."""
    return 0 if kind is None else prod(kind.shape) * DTYPES[kind.dtype]


def _get_read_values(node: Node) -> Iterator[int]:
    for argument in (*node.arguments, *(keyword.value for keyword in node.keywords)):
        if isinstance(argument, Value):
            yield argument.index
        elif isinstance(argument, Sequence):
            yield from (item.index for item in argument.items if isinstance(item, Value))


def _find_last_uses(program: Program, first: int) -> dict[int, int]:
    """Return the last node that reads each output; the number of nodes for what stays to the end."""
    last: dict[int, int] = {}
    for position, node in enumerate(program.nodes):
        for index in _get_read_values(node):
            if index >= first:
                last[index] = position
    for index in (*program.results, *(output.value for output in program.state_outputs)):
        last[index] = len(program.nodes)
    return last


def _count_elementwise(node: Node, types: Types) -> int:
    read = sum(count_elements(types[index]) for index in _get_read_values(node))
    return max(read, sum(count_elements(kind) for kind in node.outputs))


def _get_shape(node: Node, types: Types, position: int, least: int, most: int) -> tuple[int, ...]:
    """Return the shape of argument `position`, of `least` to `most` dimensions."""
    argument = node.arguments[position] if position < len(node.arguments) else None
    kind = types[argument.index] if isinstance(argument, Value) else None
    if kind is None or not least <= len(kind.shape) <= most:
        raise OperandRefused(
            f"argument {position} of {node.operator} has no cost",
            expected=f"a tensor of {least} to {most} dimensions",
            actual=None if kind is None else kind.shape,
        )
    return kind.shape


def _count_product(left: int, added: int) -> Callable[[Node, Types], int]:
    """Return the count of (batches of) matrix products whose left factor is argument `left`."""

    def count(node: Node, types: Types) -> int:
        rows = _get_shape(node, types, left, 1, 3)
        columns = _get_shape(node, types, left + 1, 1, 3)
        width = 1 if len(columns) == 1 else columns[-1]
        outputs = sum(count_elements(kind) for kind in node.outputs)
        return 2 * prod(rows) * width + added * outputs

    return count


def _is_transposed(node: Node, position: int) -> bool:
    argument = node.arguments[position] if position < len(node.arguments) else None
    if not isinstance(argument, Boolean):
        raise OperandRefused(f"argument {position} of {node.operator} does not say whether it is transposed")
    return argument.value


def _count_convolution(node: Node, types: Types) -> int:
    # The arguments are: input, weight, bias, stride, padding, dilation, transposed, output padding, groups.
    source = _get_shape(node, types, 0, 2, 5)
    weight = _get_shape(node, types, 1, 3, 5)
    result = count_elements(node.outputs[0])
    driving = prod(source) if _is_transposed(node, 6) else result
    has_bias = isinstance(node.arguments[2], Value)
    return 2 * driving * prod(weight[1:]) + (result if has_bias else 0)


def _count_convolution_backward(node: Node, types: Types) -> int:
    # The arguments: grad, input, weight, bias sizes, stride, padding, dilation, transposed, and so on. As many products
    # as forward for the gradient of the input and again for that of the weight; a sum for that of the bias.
    grad = _get_shape(node, types, 0, 2, 5)
    source = _get_shape(node, types, 1, 2, 5)
    weight = _get_shape(node, types, 2, 3, 5)
    driving = prod(source) if _is_transposed(node, 7) else prod(grad)
    asked = [kind is not None for kind in (*node.outputs, None, None)[:3]]
    return 2 * driving * prod(weight[1:]) * sum(asked[:2]) + (prod(grad) if asked[2] else 0)


def _count_attention_of(node: Node, types: Types, query: int) -> tuple[int, int, int]:
    """Return pairs (query row, key row) over all heads, the width of a key and the width of a value."""
    rows = _get_shape(node, types, query, 3, 4)
    keys = _get_shape(node, types, query + 1, 3, 4)
    values = _get_shape(node, types, query + 2, 3, 4)
    return prod(rows[:-1]) * keys[-2], rows[-1], values[-1]


def _count_attention(node: Node, types: Types) -> int:
    pairs, key_width, value_width = _count_attention_of(node, types, 0)
    return 2 * pairs * (key_width + value_width)


def _count_attention_backward(node: Node, types: Types) -> int:
    # (grad, query, key, value, …): scores again, then the gradients of values, weights, queries and keys.
    pairs, key_width, value_width = _count_attention_of(node, types, 1)
    return 2 * pairs * (3 * key_width + 2 * value_width)


_COUNTS: Final[dict[str, Callable[[Node, Types], int]]] = {
    "mm": _count_product(0, 0),
    "mv": _count_product(0, 0),
    "dot": _count_product(0, 0),
    "bmm": _count_product(0, 0),
    "matmul": _count_product(0, 0),
    "addmm": _count_product(1, 1),
    "addmv": _count_product(1, 1),
    "baddbmm": _count_product(1, 1),
    "addbmm": _count_product(1, 1),
    "convolution": _count_convolution,
    "_convolution": _count_convolution,
    "convolution_backward": _count_convolution_backward,
}
