"""Programs written by hand, for the stories about hostile ones."""

import torch

from assay.protocol.encoding import float_to_bits
from assay.protocol.evidence import program as ir
from assay.training.pytorch.interpreter import interpret
from assay.training.pytorch.lower import DTYPES


def to_argument(value):
    """Return an argument: "$3" is value 3, "@3" scalar 3; numbers, texts, None and lists stand for themselves."""
    if isinstance(value, (list, tuple)):
        return ir.Sequence(tuple(map(to_argument, value)))
    if isinstance(value, bool):
        return ir.Boolean(value)
    if isinstance(value, int):
        return ir.Integer(value)
    if isinstance(value, float):
        return ir.Real(float_to_bits(value))
    if value is None:
        return ir.Nothing()
    if value[0] in "$@":
        return (ir.Value if value[0] == "$" else ir.Scalar)(int(value[1:]))
    return ir.ElementType(value) if value in DTYPES else ir.Text(value)


def kind(text):
    """Return the type that a text such as "f32 2 3" names."""
    dtype, *shape = text.split()
    return ir.TensorType(dtype, tuple(map(int, shape)))


def node(operator, arguments, outputs, **keywords):
    """Return a node; "mm" is short for "aten.mm.default"."""
    name = operator if operator.startswith("assay.") else f"aten.{operator}"
    return ir.Node(
        name if name.count(".") == 2 else f"{name}.default",
        tuple(map(to_argument, arguments)),
        tuple(ir.Keyword(name, to_argument(value)) for name, value in sorted(keywords.items())),
        tuple(None if output is None else kind(output) for output in outputs),
    )


def program(inputs, nodes, *, purpose=ir.INFERENCE, scalars=0, constants=(), state=(), state_outputs=(), results=None):
    """Return a program over batch fields of the types `inputs`; its results are the outputs of its last node."""
    fields = tuple(map(kind, inputs))
    total = len(state) + len(fields) + len(constants) + sum(len(each.outputs) for each in nodes)
    outputs = nodes[-1].outputs if nodes else ()
    last = [number for number, each in enumerate(outputs, total - len(outputs)) if each is not None]
    return ir.Program(
        0, purpose, tuple(state), fields, tuple(constants), scalars, tuple(nodes), tuple(state_outputs),
        tuple(last if results is None else results),
    )  # fmt: skip


def run(subject, batch, state=(), row=()):
    """Interpret a program."""
    return interpret(subject, list(state), [torch.as_tensor(field) for field in batch], list(row), (0, 0))[1]
