"""One training step as data: a graph of operators over numbered values, never Python code.

Values are numbered in one sequence: the state inputs, then the batch fields, then the constants, then the outputs of
each node in order. Scalars (rates, bias corrections) are numbered apart and read from the row of the step. Random
nodes take their key from the step and their counter word from `ordinal`.

Source: `spec/program.md`.
"""

from __future__ import annotations

from assay.protocol import tags
from assay.protocol.encoding import Record
from assay.protocol.hashing import compute_id

INITIALISER, STEP, INFERENCE = range(3)
"""Kinds of program."""

MAX_NODES = 50_000
MAX_EXTENT = 2**40
MAX_CONSTANT_BYTES = 4096
MAX_CONSTANTS_BYTES = 65536


class TensorType(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Element type (a key of `model_state.DTYPES`) and shape."""

    dtype: str
    shape: tuple[int, ...]


class Value(Record, frozen=True, array_like=True, forbid_unknown_fields=True, tag="v"):
    """The tensor with this number."""

    index: int


class Scalar(Record, frozen=True, array_like=True, forbid_unknown_fields=True, tag="s"):
    """Element `index` of the scalars row."""

    index: int


class Integer(Record, frozen=True, array_like=True, forbid_unknown_fields=True, tag="i"):
    """A whole number, −2⁶³ ≤ value < 2⁶³."""

    value: int


class Real(Record, frozen=True, array_like=True, forbid_unknown_fields=True, tag="f"):
    """A binary64 number."""

    bits: int  # of a binary64


class Boolean(Record, frozen=True, array_like=True, forbid_unknown_fields=True, tag="b"):
    """True or false."""

    value: bool


class Text(Record, frozen=True, array_like=True, forbid_unknown_fields=True, tag="t"):
    """A string, such as the name of a rounding or reduction mode."""

    value: str


class ElementType(Record, frozen=True, array_like=True, forbid_unknown_fields=True, tag="d"):
    """An element type: a key of `model_state.DTYPES`."""

    name: str


class Nothing(Record, frozen=True, array_like=True, forbid_unknown_fields=True, tag="n"):
    """The absent argument, None."""


Leaf = Value | Scalar | Integer | Real | Boolean | Text | ElementType | Nothing


class Sequence(Record, frozen=True, array_like=True, forbid_unknown_fields=True, tag="l"):
    """A flat list of arguments."""

    items: tuple[Leaf, ...]


Argument = Value | Scalar | Integer | Real | Boolean | Text | ElementType | Nothing | Sequence


class Keyword(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """An argument passed by name."""

    name: str
    value: Argument


class Node(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One operator call. An output that is no tensor (an undefined gradient) has type None and still takes a number."""

    operator: str  # of the closed list, such as "aten.addmm.default"
    arguments: tuple[Argument, ...]
    keywords: tuple[Keyword, ...]  # sorted by name
    outputs: tuple[TensorType | None, ...]


class StateInput(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A tensor of the state that the program reads or passes through."""

    namespace: int
    name: str
    type: TensorType


class StateOutput(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A tensor of the state that the program changes or creates. State inputs that are not listed stay as they are."""

    namespace: int
    name: str
    value: int


class Constant(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A small tensor that is the same in every step; its bytes are part of the program."""

    type: TensorType
    data: bytes  # little-endian, contiguous


class Program(Record, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A step, an initialiser or an inference as data."""

    version: int
    kind: int
    state: tuple[StateInput, ...]  # sorted by (namespace, name)
    batch: tuple[TensorType, ...]
    constants: tuple[Constant, ...]
    scalars: int  # length of the scalars row
    nodes: tuple[Node, ...]
    state_outputs: tuple[StateOutput, ...]  # sorted by (namespace, name)
    results: tuple[int, ...]  # what the step returns, in pytree order


def compute_program_id(program: Program) -> bytes:
    """Return the id of a program (PRG-1)."""
    return compute_id(tags.PROGRAM, program)


def get_values(program: Program) -> list[TensorType | None]:
    """Return the type of every value, by number (PRG-2)."""
    types: list[TensorType | None] = [entry.type for entry in program.state]
    types += program.batch
    types += [constant.type for constant in program.constants]
    for node in program.nodes:
        types += node.outputs
    return types
