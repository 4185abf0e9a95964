import random

import msgspec
import pytest

from assay.protocol.evidence.plan import Limits
from assay.protocol.evidence.program import (
    STEP,
    Boolean,
    Integer,
    Keyword,
    Node,
    Nothing,
    Program,
    Sequence,
    StateOutput,
    TensorType,
    Value,
    get_values,
)
from assay.protocol.evidence.program_cost import (
    CostExceeded,
    OperandRefused,
    count_bytes,
    estimate_flops,
    estimate_peak_bytes,
    verify_cost,
)
from tools.example_records import PROGRAM


def make_type(*shape):
    """Return a binary32 type."""
    return TensorType("f32", shape)


def make_program(batch, nodes, results=()):
    """Return a step without state."""
    return Program(0, STEP, (), tuple(batch), (), 0, tuple(nodes), (), tuple(results))


def count(operator, operands, outputs, *rest):
    """Return the FLOPs of one node that takes these tensors, then the other arguments."""
    arguments = (*map(Value, range(len(operands))), *rest)
    return estimate_flops(make_program(operands, [Node(operator, arguments, (), tuple(outputs))]))


INTEGERS = Sequence((Integer(1), Integer(1)))
CONVOLUTION = (INTEGERS, INTEGERS, INTEGERS, Boolean(value=False), INTEGERS, Integer(1))
TRANSPOSED = (INTEGERS, INTEGERS, INTEGERS, Boolean(value=True), INTEGERS, Integer(1))
T = make_type


FLOPS = {
    "mm": (("aten.mm.default", [T(2, 3), T(3, 5)], [T(2, 5)]), 2 * 2 * 3 * 5),
    "mv": (("aten.mv.default", [T(2, 3), T(3)], [T(2)]), 2 * 2 * 3),
    "dot": (("aten.dot.default", [T(7), T(7)], [T()]), 14),
    "bmm": (("aten.bmm.default", [T(4, 2, 3), T(4, 3, 5)], [T(4, 2, 5)]), 4 * 2 * 2 * 3 * 5),
    "addmm": (("aten.addmm.default", [T(5), T(2, 3), T(3, 5)], [T(2, 5)]), 60 + 10),
    "baddbmm": (("aten.baddbmm.default", [T(4, 2, 5), T(4, 2, 3), T(4, 3, 5)], [T(4, 2, 5)]), 240 + 40),
    "convolution": (
        ("aten.convolution.default", [T(2, 3, 8, 8), T(4, 3, 3, 3)], [T(2, 4, 6, 6)], Nothing(), *CONVOLUTION),
        2 * (2 * 4 * 6 * 6) * 27,
    ),
    "convolution with a bias": (
        ("aten.convolution.default", [T(2, 3, 8, 8), T(4, 3, 3, 3), T(4)], [T(2, 4, 6, 6)], *CONVOLUTION),
        2 * 288 * 27 + 288,
    ),
    "transposed convolution": (
        ("aten.convolution.default", [T(2, 4, 6, 6), T(4, 3, 3, 3)], [T(2, 3, 8, 8)], Nothing(), *TRANSPOSED),
        2 * (2 * 4 * 6 * 6) * 27,
    ),
    "convolution backward": (
        (
            "aten.convolution_backward.default",
            [T(2, 4, 6, 6), T(2, 3, 8, 8), T(4, 3, 3, 3)],
            [T(2, 3, 8, 8), T(4, 3, 3, 3), T(4)],
            INTEGERS,
            *CONVOLUTION,
        ),
        2 * (2 * 288 * 27) + 288,
    ),
    "convolution backward of the weight alone": (
        (
            "aten.convolution_backward.default",
            [T(2, 4, 6, 6), T(2, 3, 8, 8), T(4, 3, 3, 3)],
            [None, T(4, 3, 3, 3), None],
            INTEGERS,
            *CONVOLUTION,
        ),
        2 * 288 * 27,
    ),
    "attention": (
        (
            "aten._scaled_dot_product_flash_attention_for_cpu.default",
            [T(2, 4, 7, 16), T(2, 4, 9, 16), T(2, 4, 9, 8)],
            [T(2, 4, 7, 8), T(2, 4, 7)],
        ),
        2 * (2 * 4 * 7 * 9) * (16 + 8),
    ),
    "attention backward": (
        (
            "aten._scaled_dot_product_flash_attention_for_cpu_backward.default",
            [T(2, 4, 7, 8), T(2, 4, 7, 16), T(2, 4, 9, 16), T(2, 4, 9, 8)],
            [T(2, 4, 7, 16), T(2, 4, 9, 16), T(2, 4, 9, 8)],
        ),
        2 * (2 * 4 * 7 * 9) * (3 * 16 + 2 * 8),
    ),
    "a sum counts what it reads": (("aten.sum.default", [T(100, 10)], [T()]), 1000),
    "an expansion counts what it writes": (("aten.expand.default", [T(10)], [T(100, 10)]), 1000),
}


@pytest.mark.parametrize("name", FLOPS)
def test_flops(name):
    """PRG-16: each operator has the stated count."""
    arguments, expected = FLOPS[name]
    assert count(*arguments) == expected


@pytest.mark.parametrize(
    "arguments",
    [
        ("aten.mm.default", [T(), T(3, 5)], [T()]),
        ("aten.mm.default", [T(2, 3)], [T()]),
        ("aten.mm.default", [T(2, 3, 4, 5), T(3, 5)], [T()]),
        ("aten.mm.default", [], [T()], Integer(1), Integer(2)),
        ("aten.convolution.default", [T(2, 3, 8, 8), T(4, 3, 3, 3)], [T()]),
        ("aten.convolution.default", [T(2, 3, 8, 8)], [T()], Nothing(), Nothing(), *CONVOLUTION),
        ("aten.convolution_backward.default", [T(2, 3, 8, 8)], [None]),
        ("aten._scaled_dot_product_flash_attention_for_cpu.default", [T(2), T(2), T(2)], [T()]),
        ("aten._scaled_dot_product_flash_attention_for_cpu_backward.default", [T(2, 2, 2)], [T()]),
    ],
    ids=lambda a: f"{a[0]}-{len(a[1])}",
)
def test_operands_without_cost(arguments):
    """PRG-16: operands of other ranks are refused, not guessed."""
    with pytest.raises(OperandRefused):
        count(*arguments)


def test_peak_of_a_chain():
    """PRG-15: in a chain two neighbours are live at a time, and the batch throughout."""
    nodes = [Node("aten.relu.default", (Value(i),), (), (T(10),)) for i in range(5)]
    assert estimate_peak_bytes(make_program([T(10)], nodes, [5])) == 40 + 2 * 40


def test_results_stay_live():
    """PRG-15: what is a result stays to the end, and so does a state output."""
    nodes = [Node("aten.relu.default", (Value(0),), (), (T(10),)) for i in range(5)]
    assert estimate_peak_bytes(make_program([T(10)], nodes)) == 80
    assert estimate_peak_bytes(make_program([T(10)], nodes, range(1, 6))) == 240
    program = msgspec.structs.replace(
        make_program([T(10)], nodes), state_outputs=tuple(StateOutput(0, f"{i}", i) for i in range(1, 6))
    )
    assert estimate_peak_bytes(program) == 240


def test_peak_of_no_node():
    """PRG-15: a program without nodes holds its inputs."""
    assert estimate_peak_bytes(make_program([T(10)], [])) == 40


def compute_peak_slowly(program):
    """The definition, node by node and value by value."""
    types = get_values(program)
    inputs = len(types) - sum(len(node.outputs) for node in program.nodes)
    kept = {*program.results, *(output.value for output in program.state_outputs)}
    born, read = {}, {}
    number = inputs
    for position, node in enumerate(program.nodes):
        flat = [*node.arguments, *(keyword.value for keyword in node.keywords)]
        flat += [item for entry in flat if isinstance(entry, Sequence) for item in entry.items]
        for entry in flat:
            if isinstance(entry, Value):
                read[entry.index] = position
        for _ in node.outputs:
            born[number] = position
            number += 1
    sums = []
    for position in range(len(program.nodes)):
        live = sum(map(count_bytes, types[:inputs]))
        for value, start in born.items():
            if start <= position and (value in kept or read.get(value, start) >= position):
                live += count_bytes(types[value])
        sums.append(live)
    return max(sums, default=0)


@pytest.mark.parametrize("seed", range(40))
def test_peak_is_that_of_the_definition(seed):
    """PRG-15: the linear pass agrees with the definition on random programs."""
    chance = random.Random(seed)
    nodes, number = [], 2
    for _ in range(chance.randint(1, 30)):
        picked = [Value(chance.randrange(number)) for _ in range(3)]
        outputs = [chance.choice([None, T(chance.randint(0, 50))]) for _ in range(chance.randint(1, 3))]
        nodes.append(Node("aten.x.y", (picked[0], Sequence((picked[1],))), (Keyword("a", picked[2]),), tuple(outputs)))
        number += len(outputs)
    program = make_program([T(3), T(5)], nodes, [chance.randrange(number)])
    assert estimate_peak_bytes(program) == compute_peak_slowly(program)


def test_limits_of_the_plan():
    """PRG-17: a program at the limits passes, one beyond either is refused."""
    peak, flops = estimate_peak_bytes(PROGRAM), estimate_flops(PROGRAM)
    verify_cost(PROGRAM, Limits(flops, peak))
    for limits in (Limits(flops - 1, peak), Limits(flops, peak - 1)):
        with pytest.raises(CostExceeded):
            verify_cost(PROGRAM, limits)


def test_a_bomb_has_an_exact_cost():
    """PRG-16, PRG-17: huge operands are counted exactly and refused, without being made."""
    side = 2**18
    program = make_program([T(side, side), T(side, side)], [Node("aten.mm.default", (Value(0), Value(1)), (), (T(1),))])
    assert estimate_flops(program) == 2 * side**3
    with pytest.raises(CostExceeded):
        verify_cost(program, Limits(10**15, 2**62))
