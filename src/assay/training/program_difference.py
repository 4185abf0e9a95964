"""Where two programs first differ, in words: for a script that was changed between recording and resuming.

Source: `docs/explanation/levels-of-evidence.md`.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import zip_longest

from assay.protocol.encoding import bits_to_float
from assay.protocol.evidence import program as ir


def describe_difference(stored: ir.Program, actual: ir.Program) -> str:
    """Return the first thing that differs: an input, a node, a state output or a result."""
    for what, old, new in (
        ("state input", stored.state, actual.state),
        ("batch field", stored.batch, actual.batch),
        ("constant", stored.constants, actual.constants),
    ):
        if old != new:
            return f"the programs have other {what}s ({len(old)} and {len(new)})"
    if stored.scalars != actual.scalars:
        return f"the optimizers use {actual.scalars} numbers instead of {stored.scalars}"
    for index, (one, other) in enumerate(zip_longest(stored.nodes, actual.nodes)):
        if one != other:
            return f"node {index} is {show_node(other)} instead of {show_node(one)}"
    if stored.state_outputs != actual.state_outputs:
        return "the programs change other tensors of the state"
    if stored.results != actual.results:
        return "the programs return other values"
    return "the programs are equal"


def show_node(node: ir.Node | None, names: Mapping[int, str] | None = None) -> str:
    """Return an operator call in words.

    Args:
        node: the call, or None.
        names: of values, by number; any other value is shown as its number.
    """
    if node is None:
        return "missing"
    known = names or {}
    arguments = [_show_argument(argument, known) for argument in node.arguments]
    arguments += [f"{keyword.name}={_show_argument(keyword.value, known)}" for keyword in node.keywords]
    return f"{node.operator.removesuffix('.default')}({', '.join(arguments)})"


def name_inputs(program: ir.Program) -> dict[int, str]:
    """Return names of a program's inputs by the number of their value: tensors of the state, fields of the batch."""
    names = {number: entry.name for number, entry in enumerate(program.state)}
    names |= {len(names) + number: f"batch field {number}" for number in range(len(program.batch))}
    return names


def _show_argument(argument: ir.Argument, names: Mapping[int, str]) -> str:
    match argument:
        case ir.Value():
            return names.get(argument.index, f"%{argument.index}")
        case ir.Scalar():
            return f"scalar {argument.index}"
        case ir.Real():
            return repr(bits_to_float(argument.bits))
        case ir.Sequence():
            return f"[{', '.join(_show_argument(item, names) for item in argument.items)}]"
        case ir.Nothing():
            return "None"
        case ir.ElementType():
            return argument.name
        case _:
            return repr(argument.value)
