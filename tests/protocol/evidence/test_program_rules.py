import msgspec
import pytest

from assay.errors import MalformedEvidence
from assay.protocol.encoding import float_to_bits
from assay.protocol.evidence.program import (
    INFERENCE,
    INITIALISER,
    Constant,
    ElementType,
    Integer,
    Keyword,
    Node,
    Program,
    Real,
    Scalar,
    Sequence,
    StateInput,
    StateOutput,
    TensorType,
    Text,
    Value,
    get_values,
)
from assay.protocol.evidence.program_rules import verify_program, verify_tensor_type
from tools.example_records import MATRIX, PROGRAM, VECTOR

OPERATORS = frozenset(node.operator for node in PROGRAM.nodes)


def change(**fields):
    """Return the example program with other fields."""
    return msgspec.structs.replace(PROGRAM, **fields)


FIRST = Value(0)


def with_node(operator="aten.mul.Tensor", arguments=(FIRST,), keywords=(), outputs=(VECTOR,)):
    """Return the example program with one more node at its end."""
    return change(nodes=(*PROGRAM.nodes, Node(operator, tuple(arguments), tuple(keywords), tuple(outputs))))


def with_argument(argument):
    """Return the example program with one more node that takes this argument."""
    return with_node(arguments=(argument,))


def find_code(program, operators=OPERATORS):
    """Return the code of the refusal, or None."""
    try:
        verify_program(program, operators)
    except MalformedEvidence as refusal:
        return refusal.code
    return None


def test_the_example_holds():
    """PRG-1 to PRG-14 hold for the example, which has every kind of argument."""
    assert find_code(PROGRAM) is None


def test_values_are_numbered_in_one_sequence():
    """PRG-2: state, batch, constants, outputs; an output that is no tensor takes a number."""
    types = get_values(PROGRAM)
    assert types[:4] == [VECTOR, MATRIX, TensorType("f32", (2, 4)), TensorType("i64", (1,))]
    assert types[8] is None
    assert len(types) == 11


F32 = "f32"
FULL = (Constant(TensorType("u8", (4096,)), bytes(4096)),)
REFUSED = {
    "PRG-1 another version": (change(version=1), "field.version"),
    "PRG-1 an unknown kind": (change(kind=3), "field.choice"),
    "PRG-1 a negative kind": (change(kind=-1), "field.choice"),
    "PRG-5 an initialiser with state": (change(kind=INITIALISER), "program.kind"),
    "PRG-5 an inference that changes the state": (change(kind=INFERENCE, scalars=0), "program.kind"),
    "PRG-5 an inference with scalars": (change(kind=INFERENCE, state_outputs=()), "program.kind"),
    "PRG-6 an unknown element type": (change(batch=(TensorType("f8", (2, 4)),)), "program.tensor-type"),
    "PRG-6 a negative extent": (change(batch=(TensorType(F32, (-1,)),)), "program.tensor-type"),
    "PRG-6 two negative extents": (change(batch=(TensorType(F32, (-2, -4)),)), "program.tensor-type"),
    "PRG-6 an extent of 2**40": (change(batch=(TensorType("u8", (2**40,)),)), "program.tensor-type"),
    "PRG-6 a product of 2**40": (change(batch=(TensorType("u8", (2**20, 2**20)),)), "program.tensor-type"),
    "PRG-6 a product of 2**64": (change(batch=(TensorType("u8", (2**32, 2**32)),)), "program.tensor-type"),
    "PRG-6 bytes of 2**40": (change(batch=(TensorType("f64", (2**37,)),)), "program.tensor-type"),
    "PRG-6 a product hidden by 0": (change(batch=(TensorType("u8", (0, 2**39, 2**39)),)), "program.tensor-type"),
    "PRG-6 65 dimensions": (change(batch=(TensorType(F32, (1,) * 65),)), "program.tensor-type"),
    "PRG-6 an output that is too large": (with_node(outputs=(TensorType(F32, (2**40,)),)), "program.tensor-type"),
    "PRG-7 an unknown namespace": (change(state=(StateInput(5, "a", VECTOR),)), "field.number-range"),
    "PRG-7 a negative namespace": (change(state=(StateInput(-1, "a", VECTOR),)), "field.number-range"),
    "PRG-7 an empty name": (change(state=(StateInput(0, "", VECTOR),)), "field.text"),
    "PRG-7 a name of 513 bytes": (change(state=(StateInput(0, "a" * 513, VECTOR),)), "field.text"),
    "PRG-7 a name with a line break": (change(state=(StateInput(0, "a\nb", VECTOR),)), "field.text"),
    "PRG-7 state out of order": (change(state=PROGRAM.state[::-1]), "field.order"),
    "PRG-7 state twice": (change(state=(PROGRAM.state[0],) * 2), "field.order"),
    "PRG-7 a negative row": (change(scalars=-1), "field.number-range"),
    "PRG-7 too long a row": (change(scalars=65537), "field.number-range"),
    "PRG-8 data too short": (change(constants=(Constant(VECTOR, bytes(11)),)), "program.constant"),
    "PRG-8 data too long": (change(constants=(Constant(VECTOR, bytes(13)),)), "program.constant"),
    "PRG-8 4097 bytes": (change(constants=(Constant(TensorType("u8", (4097,)), bytes(4097)),)), "program.constant"),
    "PRG-8 65537 bytes together": (
        change(constants=(*FULL * 16, Constant(TensorType("u8", (1,)), b"a"))),
        "program.constant",
    ),
    "PRG-9 an unknown operator": (with_node("aten.system.default"), "program.operator"),
    "PRG-9 a Python name": (with_node("os.system"), "program.operator"),
    "PRG-9 a line break at the end": (with_node("aten.mul.Tensor\n"), "program.operator"),
    "PRG-9 no name": (with_node(""), "program.operator"),
    "PRG-10 a misspelt keyword": (with_node(keywords=(Keyword("a-b", Integer(1)),)), "program.argument"),
    "PRG-10 an empty keyword": (with_node(keywords=(Keyword("", Integer(1)),)), "program.argument"),
    "PRG-10 keywords out of order": (
        with_node(keywords=(Keyword("b", Integer(1)), Keyword("a", Integer(1)))), "field.order",
    ),
    "PRG-10 a keyword twice": (with_node(keywords=(Keyword("a", Integer(1)), Keyword("a", Integer(2)))), "field.order"),
    "PRG-10 a node without output": (with_node(outputs=()), "program.argument"),
    "PRG-11 its own output": (with_argument(Value(11)), "program.value"),
    "PRG-11 a later value": (with_argument(Value(12)), "program.value"),
    "PRG-11 a negative value": (with_argument(Value(-1)), "program.value"),
    "PRG-11 a huge value": (with_argument(Value(2**63)), "program.value"),
    "PRG-11 an output that is no tensor": (with_argument(Value(8)), "program.value"),
    "PRG-11 in a sequence": (with_argument(Sequence((Value(0), Value(8)))), "program.value"),
    "PRG-11 in a keyword": (with_node(keywords=(Keyword("a", Value(8)),)), "program.value"),
    "PRG-11 a scalar beyond the row": (with_argument(Scalar(1)), "program.value"),
    "PRG-11 a negative scalar": (with_argument(Scalar(-1)), "program.value"),
    "PRG-12 an integer of 2**63": (with_argument(Integer(2**63)), "field.number-range"),
    "PRG-12 negative bits": (with_argument(Real(-1)), "field.number-range"),
    "PRG-12 a text of 257": (with_argument(Text("a" * 257)), "field.text"),
    "PRG-12 a text that is not ASCII": (with_argument(Text("é")), "field.text"),
    "PRG-12 an unknown element type": (with_argument(ElementType("float")), "field.choice"),
    "PRG-13 a result that is no tensor": (change(results=(8,)), "program.value"),
    "PRG-13 a result that does not exist": (change(results=(11,)), "program.value"),
    "PRG-13 a negative result": (change(results=(-1,)), "program.value"),
    "PRG-13 an output that does not exist": (change(state_outputs=(StateOutput(0, "0/a", 11),)), "program.value"),
    "PRG-13 outputs out of order": (
        change(state_outputs=(StateOutput(3, "b", 10), StateOutput(3, "a", 10))), "field.order",
    ),
    "PRG-13 an output twice": (change(state_outputs=(StateOutput(3, "a", 10),) * 2), "field.order"),
    "PRG-13 an unknown namespace": (change(state_outputs=(StateOutput(9, "a", 10),)), "field.number-range"),
    "PRG-14 another shape": (change(state_outputs=(StateOutput(0, "0/bias", 1),)), "program.state-output"),
    "PRG-14 another element type": (
        change(state=(StateInput(0, "0/bias", TensorType("i32", (3,))), PROGRAM.state[1])), "program.state-output",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    """Each broken rule is refused with its own code."""
    program, code = REFUSED[name]
    assert find_code(program) == code


ACCEPTED = {
    "PRG-6 an extent of 0": change(batch=(TensorType(F32, (0, 4)),)),
    "PRG-6 2**40 - 1 bytes": with_node(outputs=(TensorType("u8", (2**40 - 1,)),)),
    "PRG-6 64 dimensions": with_node(outputs=(TensorType(F32, (1,) * 64),)),
    "PRG-8 4096 bytes, 65536 together": change(
        constants=FULL * 16,
        nodes=(),
        state_outputs=(),
        results=(),
    ),
    "PRG-12 the bits of a negative real": with_argument(Real(float_to_bits(-1.0))),
    "PRG-12 the least integer": with_argument(Integer(-(2**63))),
    "PRG-14 a tensor that is created": change(state_outputs=(StateOutput(3, "0/0/bias/momentum", 10),)),
    "PRG-14 a state input passed on": change(state_outputs=(StateOutput(0, "0/bias", 0),)),
    "PRG-5 an inference": change(kind=INFERENCE, state_outputs=(), scalars=0, nodes=PROGRAM.nodes[:-1]),
    "PRG-5 an initialiser": Program(
        0, INITIALISER, (), (), (), 0, (Node("aten.mul.Tensor", (), (), (VECTOR,)),), (StateOutput(0, "0/a", 0),), ()
    ),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_accepted_at_the_boundary(name):
    """What is just permitted is permitted."""
    assert find_code(ACCEPTED[name]) is None


def test_number_of_nodes():
    """PRG-3: 50,000 nodes are permitted, 50,001 are not."""
    node = Node("aten.mul.Tensor", (Value(0),), (), (VECTOR,))
    assert find_code(change(nodes=(node,) * 50_000, results=(), state_outputs=())) is None
    assert find_code(change(nodes=(node,) * 50_001, results=(), state_outputs=())) == "program.too-large"


@pytest.mark.parametrize("where", ["arguments", "sequence", "keyword sequence", "results", "outputs"])
def test_number_of_values(where):
    """PRG-4: a fan-out beyond 2**20 is refused, wherever it is."""
    many = 2**20
    program = {
        "arguments": lambda: with_node(arguments=(Value(0),) * many),
        "sequence": lambda: with_argument(Sequence((Value(0),) * many)),
        "keyword sequence": lambda: with_node(keywords=(Keyword("a", Sequence((Value(0),) * many)),)),
        "results": lambda: change(results=(0,) * many),
        "outputs": lambda: with_node(outputs=(VECTOR,) * many),
    }[where]()
    assert find_code(program) == "program.too-large"


def test_operators_are_those_handed_over():
    """PRG-9: a name of the right form that is not of the closed list is refused."""
    assert find_code(PROGRAM, OPERATORS - {"aten.gelu.default"}) == "program.operator"
    assert find_code(with_node("os.system.call"), OPERATORS | {"os.system.call"}) == "program.operator"


@pytest.mark.parametrize(("shape", "size"), [((), 4), ((3, 4), 48), ((0, 5), 0)])
def test_size_of_a_type(shape, size):
    """PRG-6: the bytes of a type are those of its element type times all extents."""
    assert verify_tensor_type(TensorType("f32", shape), "a tensor") == size
