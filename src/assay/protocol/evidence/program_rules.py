"""What a program must satisfy before anybody computes anything with it.

The rules look at the program alone: whether an operator accepts its arguments is the executor's check, except where
torch does not check them itself (`operand_rules`); whether a machine can afford it is `program_cost`'s.

Source: `spec/program.md`.
"""

from __future__ import annotations

import re
from typing import ClassVar, Final

from assay.errors import MalformedEvidence
from assay.protocol.evidence.fields import (
    MAX_BITS,
    MAX_INTEGER,
    verify_choice,
    verify_name,
    verify_number,
    verify_printable,
    verify_sorted,
    verify_version,
)
from assay.protocol.evidence.model_state import AVERAGE, DTYPES
from assay.protocol.evidence.operand_rules import verify_operands
from assay.protocol.evidence.program import (
    INFERENCE,
    INITIALISER,
    MAX_CONSTANT_BYTES,
    MAX_CONSTANTS_BYTES,
    MAX_EXTENT,
    MAX_NODES,
    STEP,
    Argument,
    Boolean,
    Constant,
    ElementType,
    Integer,
    Leaf,
    Node,
    Nothing,
    Program,
    Real,
    Scalar,
    Sequence,
    TensorType,
    Text,
    Value,
    get_values,
)

MAX_RANK: Final = 64
MAX_SCALARS: Final = 65536
MAX_TEXT: Final = 256
MAX_VALUES: Final = 2**20
"""Values of all kinds, and arguments of all nodes together with the entries of their sequences (PRG-4)."""

_OPERATOR: Final = re.compile(r"(aten|assay)\.[a-z0-9_]+\.[A-Za-z0-9_]+")
_KEYWORD: Final = re.compile(r"[a-z_][a-z0-9_]*")


class ProgramTooLarge(MalformedEvidence):
    """More nodes, values or arguments than a program may have."""

    code: ClassVar[str] = "program.too-large"


class KindContradicted(MalformedEvidence):
    """An initialiser that reads something, or an inference that reads scalars or changes the state."""

    code: ClassVar[str] = "program.kind"


class TensorTypeRefused(MalformedEvidence):
    """An unknown element type, a negative extent, or more elements or bytes than 2⁴⁰ − 1."""

    code: ClassVar[str] = "program.tensor-type"


class ConstantRefused(MalformedEvidence):
    """A constant whose bytes do not fit its type, or more bytes of constants than permitted."""

    code: ClassVar[str] = "program.constant"


class OperatorUnknown(MalformedEvidence):
    """An operator that is not of the closed list."""

    code: ClassVar[str] = "program.operator"


class ArgumentRefused(MalformedEvidence):
    """An argument that has no place in a program: a misspelt keyword, a number out of range."""

    code: ClassVar[str] = "program.argument"


class ValueOutOfReach(MalformedEvidence):
    """A reference to a value that does not exist yet, or to an output that is no tensor, or to no scalar of the row."""

    code: ClassVar[str] = "program.value"


class StateOutputRefused(MalformedEvidence):
    """A new value of a state tensor with another type than the tensor has."""

    code: ClassVar[str] = "program.state-output"


def verify_program(program: Program, operators: frozenset[str]) -> None:
    """Check everything about a program that can be checked without computing, in O(its length).

    Args:
        program: from `decode` or from a capture.
        operators: the closed list of operator names.

    Raises:
        MalformedEvidence: one of the classes of this file, of `operand_rules` or of `fields`, with what was expected
            and found.
    """
    verify_version(program.version, "program")
    verify_choice(program.kind, (INITIALISER, STEP, INFERENCE), "kind of program")
    _verify_size(program)
    _verify_kind(program)
    _verify_inputs(program)
    types = get_values(program)
    first = len(types) - sum(len(node.outputs) for node in program.nodes)
    known: set[str] = set()
    for number, node in enumerate(program.nodes):
        if node.operator not in known:
            _verify_operator(node.operator, number, operators)
            known.add(node.operator)
        _verify_node(node, number, types, first, program.scalars)
        first += len(node.outputs)
    _verify_state_outputs(program, types)
    for index in program.results:  # PRG-13
        _verify_value(index, types, len(types), "a result")
    verify_operands(program)


def verify_tensor_type(kind: TensorType, what: str) -> int:
    """Check a tensor's type (PRG-6) and return its size in bytes.

    The product is taken over extents of at least 1, so that an extent of 0 cannot hide a stride that overflows.

    Raises:
        TensorTypeRefused: an unknown element type, more than 64 dimensions, a negative extent, 2⁴⁰ bytes or more.
    """
    width = DTYPES.get(kind.dtype)
    if width is None:
        raise TensorTypeRefused(f"{what} has an unknown element type", expected=", ".join(DTYPES), actual=kind.dtype)
    if len(kind.shape) > MAX_RANK:
        raise TensorTypeRefused(f"{what} has too many dimensions", expected=MAX_RANK, actual=len(kind.shape))
    size = span = width
    for extent in kind.shape:
        span *= max(extent, 1)
        size *= extent
        if not 0 <= extent < MAX_EXTENT or span >= MAX_EXTENT:
            raise TensorTypeRefused(f"{what} is too large", expected="extents and bytes below 2⁴⁰", actual=kind.shape)
    return size


def _verify_size(program: Program) -> None:
    # PRG-3, PRG-4.
    if len(program.nodes) > MAX_NODES:
        raise ProgramTooLarge("too many nodes", expected=f"at most {MAX_NODES}", actual=len(program.nodes))
    values = len(program.state) + len(program.batch) + len(program.constants) + len(program.results)
    values += len(program.state_outputs)
    for node in program.nodes:
        values += len(node.outputs) + len(node.arguments) + len(node.keywords)
        values += sum(len(a.items) for a in node.arguments if isinstance(a, Sequence))
        values += sum(len(k.value.items) for k in node.keywords if isinstance(k.value, Sequence))
    if values > MAX_VALUES:
        raise ProgramTooLarge("too many values and arguments", expected=f"at most {MAX_VALUES}", actual=values)


def _verify_kind(program: Program) -> None:
    # PRG-5.
    if program.kind == INITIALISER and (program.state or program.batch or program.scalars):
        raise KindContradicted("an initialiser reads neither state nor batch nor scalars")
    if program.kind == INFERENCE and (program.state_outputs or program.scalars):
        raise KindContradicted("an inference neither changes the state nor reads scalars")


def _verify_inputs(program: Program) -> None:
    for entry in program.state:  # PRG-7
        verify_number(entry.namespace, "namespace of a state input", 0, AVERAGE)
        verify_name(entry.name, "name of a state input")
        verify_tensor_type(entry.type, f"state input {entry.name}")
    verify_sorted([(entry.namespace, entry.name.encode()) for entry in program.state], "list of state inputs")
    for number, kind in enumerate(program.batch):
        verify_tensor_type(kind, f"batch field {number}")
    _verify_constants(program.constants)
    verify_number(program.scalars, "length of the scalars row", 0, MAX_SCALARS)


def _verify_constants(constants: tuple[Constant, ...]) -> None:
    # PRG-8.
    total = 0
    for number, constant in enumerate(constants):
        size = verify_tensor_type(constant.type, f"constant {number}")
        if size != len(constant.data):
            raise ConstantRefused(f"constant {number} has a wrong size", expected=size, actual=len(constant.data))
        if size > MAX_CONSTANT_BYTES:
            raise ConstantRefused(f"constant {number} is too large", expected=MAX_CONSTANT_BYTES, actual=size)
        total += size
    if total > MAX_CONSTANTS_BYTES:
        raise ConstantRefused("constants are too large together", expected=MAX_CONSTANTS_BYTES, actual=total)


def _verify_operator(operator: str, number: int, operators: frozenset[str]) -> None:
    # PRG-9.
    if not _OPERATOR.fullmatch(operator) or operator not in operators:
        raise OperatorUnknown(f"operator of node {number} is not of the closed list", actual=ascii(operator[:80]))


def _verify_node(node: Node, number: int, types: list[TensorType | None], first: int, scalars: int) -> None:
    # PRG-10, PRG-11: `first` is the number of the node's first output; only values before it can be read.
    where = f"an argument of node {number}"
    for argument in node.arguments:
        _verify_argument(argument, types, first, scalars, where)
    for keyword in node.keywords:
        if len(keyword.name) > MAX_TEXT or not _KEYWORD.fullmatch(keyword.name):
            raise ArgumentRefused(f"{where} has a misspelt keyword", actual=ascii(keyword.name[:80]))
        _verify_argument(keyword.value, types, first, scalars, where)
    if len(node.keywords) > 1:
        verify_sorted([keyword.name.encode() for keyword in node.keywords], f"list of keywords of node {number}")
    if not node.outputs:
        raise ArgumentRefused(f"node {number} has no output")
    for kind in node.outputs:
        if kind is not None:
            verify_tensor_type(kind, f"an output of node {number}")


def _verify_argument(argument: Argument, types: list[TensorType | None], first: int, scalars: int, where: str) -> None:
    if isinstance(argument, Sequence):
        for item in argument.items:
            _verify_leaf(item, types, first, scalars, where)
    else:
        _verify_leaf(argument, types, first, scalars, where)


def _verify_leaf(leaf: Leaf, types: list[TensorType | None], first: int, scalars: int, where: str) -> None:
    # PRG-11, PRG-12.
    match leaf:
        case Value(index):
            _verify_value(index, types, first, where)
        case Scalar(index):
            if not 0 <= index < scalars:
                raise ValueOutOfReach(f"{where} is no scalar of the row", expected=f"below {scalars}", actual=index)
        case Integer(value):
            verify_number(value, where, -MAX_INTEGER - 1)
        case Real(bits):
            verify_number(bits, where, 0, MAX_BITS)
        case Text(value):
            verify_printable(value, where, MAX_TEXT)
        case ElementType(name):
            verify_choice(name, tuple(DTYPES), where)
        case Boolean() | Nothing():
            pass


def _verify_value(index: int, types: list[TensorType | None], end: int, where: str) -> None:
    if not 0 <= index < end:
        raise ValueOutOfReach(f"{where} does not exist there", expected=f"0 to {end - 1}", actual=index)
    if types[index] is None:
        raise ValueOutOfReach(f"{where} is an output that is no tensor", actual=index)


def _verify_state_outputs(program: Program, types: list[TensorType | None]) -> None:
    # PRG-13, PRG-14.
    inputs = {(entry.namespace, entry.name): entry.type for entry in program.state}
    for output in program.state_outputs:
        verify_number(output.namespace, "namespace of a state output", 0, AVERAGE)
        verify_name(output.name, "name of a state output")
        _verify_value(output.value, types, len(types), f"state output {output.name}")
        expected = inputs.get((output.namespace, output.name))
        actual = types[output.value]
        if expected is not None and expected != actual:
            raise StateOutputRefused(
                f"state output {output.name} changes the type of its tensor", expected=expected, actual=actual
            )
    verify_sorted([(entry.namespace, entry.name.encode()) for entry in program.state_outputs], "list of state outputs")
