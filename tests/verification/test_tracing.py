import re

import pytest
import torch

from assay.training.compare.side import open_sides
from assay.training.pytorch.backend import TorchBackend
from assay.training.pytorch.interpreter import interpret
from assay.training.pytorch.operator_trace import trace_step
from assay.training.recorded import RecordedRun
from assay.training.replay import Replayer
from assay.verification.difference import explain_difference
from assay.verification.tracing import TraceFailed, locate_difference
from benchmarks import differing as planted


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """The same script under the processor's widest instructions and under none."""
    folder = tmp_path_factory.mktemp("capability")
    planted.record_apart(folder / "a")
    planted.record_apart(folder / "b", ATEN_CPU_CAPABILITY="default")
    return folder / "a", folder / "b"


def test_another_capability_is_named_with_its_first_operator(pair):
    """The environment is the cause; the replay names an operator, a few units in the last place, and what it feeds."""
    found = explain_difference(*pair, grow=True)
    first = found.comparison.findings[0]
    assert (first.kind, first.name, first.role) == ("environment", "cpu.capability", "cause")
    operator = found.operator
    assert found.not_replayed == ""
    assert operator.reproduced
    assert 1 <= operator.step <= found.comparison.first_step
    assert operator.operator.startswith("aten.")
    assert re.fullmatch(r"benchmarks/differing\.py:[0-9]+", operator.line)
    assert 0 < operator.elements <= operator.total
    assert sum(operator.ulps) == operator.elements
    assert any("weight" in name for name in operator.feeds)
    assert found.growth.weights[-1] > 0


def test_without_replay_nothing_is_computed(pair):
    """`replay=False` leaves the operator out and says why."""
    found = explain_difference(*pair, replay=False)
    assert (found.operator, found.not_replayed) == (None, "not asked for")


def test_runs_without_a_common_state_cannot_be_replayed(pair, tmp_path):
    """No state on both sides: the finding stays, the operator is missing, with the reason."""
    import shutil

    net, _ = planted.record(tmp_path / "seed", epochs=1)
    for name in ("a", "b"):
        planted.record(tmp_path / name, weights={key: value.clone() for key, value in net.state_dict().items()})
        shutil.rmtree(tmp_path / name / "checkpoints")
        (tmp_path / name / "checkpoints").mkdir()
    a, b = open_sides(tmp_path / "a", tmp_path / "b")
    with pytest.raises(TraceFailed, match="no stored state in common"):
        locate_difference(a, b, 3)


def test_replaying_equal_runs_says_that_nothing_differs(pair, tmp_path):
    """A recorded difference that cannot be had again is said to be such."""
    planted.record_apart(tmp_path / "again")
    a, b = open_sides(pair[0], tmp_path / "again")
    with pytest.raises(TraceFailed, match="gives the same on both sides"):
        locate_difference(a, b, 3)


def test_a_process_that_takes_too_long_is_ended(pair):
    """The limit of time holds for the start too."""
    a, b = open_sides(*pair)
    with pytest.raises(TraceFailed, match="ended without an answer"):
        locate_difference(a, b, 3, seconds=0.05)


def test_the_trace_holds_what_the_interpreter_computes(pair):
    """The digest of every state output and result is that of the naive interpreter's value."""
    run = RecordedRun(pair[0])
    backend = TorchBackend(run.start.aliases)
    replayer = Replayer(run, backend)
    replayer.load(4)
    row = run.rows[4]
    program = run.read_program(row.leaf.program)
    state = [backend.tensors[entry.namespace, entry.name].clone() for entry in program.state]
    arrays = replayer.feed.get_batch(5).arrays
    batch = [torch.from_numpy(array) for array in arrays]
    scalars = torch.frombuffer(bytearray(row.scalars), dtype=torch.float64).tolist()
    trace = trace_step(program, backend.tensors, arrays, scalars, (1, 2))
    changed, results = interpret(program, state, batch, scalars, (1, 2))
    first = len(program.state) + len(program.batch) + len(program.constants)
    digests = {}
    number = first
    for place, node in enumerate(program.nodes):
        for output in range(len(node.outputs)):
            digests[number] = (place, output)
            number += 1
    for output, tensor in [*zip([o.value for o in program.state_outputs], changed, strict=True),
                           *zip(program.results, results, strict=True)]:  # fmt: skip
        kept = trace_step(program, backend.tensors, arrays, scalars, (1, 2), keep=digests[output]).kept
        assert kept == tensor.contiguous().numpy().tobytes()
    assert len(trace.values) <= len(digests)
