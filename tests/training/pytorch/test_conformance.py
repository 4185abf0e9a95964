"""Executor, naive interpreter and eager agree bit for bit; programs are canonical, checked and the same everywhere."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from assay.protocol.encoding import decode, encode
from assay.protocol.evidence import program as ir
from assay.protocol.evidence.operators import OPERATORS
from assay.protocol.evidence.program_rules import verify_program
from assay.protocol.evidence.randomness import STEP, derive_key
from assay.training.pytorch.executor import Executor
from assay.training.pytorch.interpreter import interpret
from assay.training.pytorch.known_answer import compute_known_answer
from assay.training.pytorch.snapshot import Snapshot
from tests.training.pytorch.small_cases import CASES, SEED, capture_case

ROOT = Path(__file__).parents[3]
IN_FRESH_PROCESS = ("cnn adamw clip", "decoder hand tied")


@pytest.fixture(scope="module", params=CASES)
def steps(request):
    """Each case after two captured steps."""
    yield capture_case(CASES[request.param])
    torch._C._set_mkldnn_enabled(True)


def to_bytes(tensors):
    """Return the memory of tensors."""
    return [tensor.detach().contiguous().flatten().view(torch.uint8).numpy().tobytes() for tensor in tensors]


def test_executor_interpreter_and_eager_agree(steps):
    """Two more steps on each way from the same state: every tensor of the state and every result is equal."""
    program, home = steps.programs[-1], steps.home
    places = {(entry.namespace, entry.name): place for place, entry in enumerate(program.state)}
    naive = [tensor.detach().clone() for tensor in home.tensors]
    fast = [tensor.detach().clone() for tensor in home.tensors]
    batch = next(steps.batches)
    executor = Executor(program, fast, batch)
    before = Snapshot.take(home.models, home.optimizers)
    for step in (3, 4):
        key, row = derive_key(SEED, STEP, step), steps.reader.read().tolist()
        changed, results = interpret(program, naive, batch, row, key)
        for output, tensor in zip(program.state_outputs, changed, strict=True):
            naive[places[output.namespace, output.name]] = tensor.clone()
        kept = [tensor.clone() for tensor in batch]
        executed = executor.run(batch, row, key)
        assert to_bytes(batch) == to_bytes(kept)
        eager = steps.capture.run_eager(batch, steps.rebuild, key)
        assert to_bytes(results) == to_bytes(executed) == to_bytes(eager)
        assert to_bytes(naive) == to_bytes(fast) == to_bytes(home.tensors)
        batch = next(steps.batches)
    before.restore()


def test_programs_hold_the_rules_in_one_form(steps):
    """Both programs pass every rule, keep their bytes through encoding, and give their known answer again."""
    for program in steps.programs:
        verify_program(program, OPERATORS)
        data = encode(program)
        again = decode(data, ir.Program)
        assert again == program
        assert encode(again) == data
    assert compute_known_answer(steps.programs[-1]) == compute_known_answer(decode(data, ir.Program))


def test_a_fresh_process_captures_the_same_programs():
    """Another process with another hash seed gives the same ids."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.training.pytorch.small_cases", *IN_FRESH_PROCESS],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(["src", *sys.path]), "PYTHONHASHSEED": "12345"},
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    expected = [ir.compute_program_id(p).hex() for name in IN_FRESH_PROCESS for p in capture_case(CASES[name]).programs]
    assert done.stdout.split() == expected
