"""Two programs, and the first thing in which they differ."""

import msgspec
import pytest

from assay.protocol.encoding import float_to_bits
from assay.protocol.evidence import program as ir
from assay.training.program_difference import describe_difference

FLOATS = ir.TensorType("f32", (2,))
NODE = ir.Node("aten.mul.Tensor", (ir.Value(0), ir.Value(1)), (), (FLOATS,))
LAST = ir.Node(
    "aten.add.Tensor", (ir.Value(2), ir.Value(0)), (ir.Keyword("alpha", ir.Real(float_to_bits(0.5))),), (FLOATS,)
)
PROGRAM = ir.Program(
    version=0, kind=ir.STEP, state=(ir.StateInput(0, "0/w", FLOATS),), batch=(FLOATS,), constants=(), scalars=1,
    nodes=(NODE, LAST), state_outputs=(ir.StateOutput(0, "0/w", 3),), results=(2,),
)  # fmt: skip
LIST = ir.Node("aten.cat.default", (ir.Sequence((ir.Value(0), ir.Integer(1), ir.Nothing())),), (), (FLOATS,))
SCALAR = ir.Node("aten.mul.Scalar", (ir.Value(0), ir.Scalar(0), ir.ElementType("f32")), (), (FLOATS,))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, "equal"),
        ({"state": ()}, "state input"),
        ({"batch": (FLOATS, FLOATS)}, "batch field"),
        ({"constants": (ir.Constant(FLOATS, bytes(8)),)}, "constant"),
        ({"scalars": 2}, "2 numbers instead of 1"),
        ({"nodes": (NODE,)}, "node 1 is missing instead of aten.add.Tensor(%2, %0, alpha=0.5)"),
        ({"nodes": (LIST, LAST)}, "node 0 is aten.cat([%0, 1, None]) instead of aten.mul.Tensor(%0, %1)"),
        ({"nodes": (SCALAR, LAST)}, "node 0 is aten.mul.Scalar(%0, scalar 0, f32)"),
        ({"state_outputs": ()}, "other tensors"),
        ({"results": ()}, "other values"),
    ],
)
def test_the_first_difference_is_named(change, words):
    """Inputs come before nodes, nodes before outputs; nodes are shown with their arguments."""
    assert words in describe_difference(PROGRAM, msgspec.structs.replace(PROGRAM, **change))
