"""The zoo's models in small sizes, captured step by step; run as a program it prints the ids of their programs."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from assay.protocol.evidence import program as ir
from assay.protocol.evidence.randomness import STEP, derive_key
from assay.training.pytorch.capture import StepCapture
from assay.training.pytorch.guards import collect_guards
from assay.training.pytorch.home import StateHome
from assay.training.pytorch.scalars import ScalarReader
from benchmarks import zoo

torch.set_num_threads(1)

SEED = bytes(range(32))
images = partial(zoo.image_batches, size=4)
texts = partial(zoo.text_batches, size=2, context=6)
decoder = partial(zoo.Decoder, width=16, layers=1, heads=2, context=8)
momentum = zoo.sgd(momentum=0.9)

CASES = {
    case.name: case
    for case in (
        zoo.Case("mlp adam", zoo.make_mlp, zoo.adam, batches=images),
        zoo.Case("mlp bce", zoo.make_mlp, zoo.sgd(), loss=zoo.binary_cross_entropy, batches=images),
        zoo.Case("cnn adamw clip", partial(zoo.ConvNet, width=4), zoo.adamw, batches=images, clip=1.0),
        zoo.Case(
            "residual nesterov", partial(zoo.Residual, width=4),
            zoo.sgd(momentum=0.9, nesterov=True, weight_decay=5e-4), batches=images,
        ),
        zoo.Case("encoder sgd clip", zoo.Encoder, momentum, batches=images, clip=1.0),
        zoo.Case("decoder sdpa adamw", decoder, zoo.adamw, batches=texts),
        zoo.Case("decoder hand tied", partial(decoder, hand_written=True, tied=True), zoo.adam, batches=texts),
        zoo.Case("lstm adam", partial(zoo.Lstm, width=8), zoo.adam, batches=texts),
    )
}  # fmt: skip


@dataclass
class Steps:
    """A case after its first two steps, which are captured.

    Attributes:
        programs: the first step, where slots are born, and the steady one.
        home: the state after two steps.
        capture, reader, batches, rebuild: what it takes to go on.
    """

    programs: list[ir.Program]
    home: StateHome
    capture: StepCapture
    reader: ScalarReader
    batches: Any
    rebuild: Callable[..., Any]


def rebuild(tensors):
    """From the tensors of a batch to the arguments of the step."""
    return (tuple(tensors),), {}


def capture_case(case):
    """Capture the first two steps of a case."""
    torch.manual_seed(0)
    net = case.make()
    torch._C._set_mkldnn_enabled(not isinstance(net, zoo.Lstm))  # oneDNN hides recurrent layers from the tape
    optimizer = case.optimizer(net)
    body = zoo.make_step(case, net, optimizer)
    home, reader = StateHome([net], [optimizer]), ScalarReader([optimizer])
    capture, batches, programs = StepCapture(body, [net], [optimizer]), case.batches(1), []
    for step in (1, 2):
        guards = collect_guards(body, [net], [optimizer])
        key = derive_key(SEED, STEP, step)
        captured, _ = capture.capture(next(batches), rebuild, key, reader, guards)
        programs.append(captured.program)
    home.refresh()
    return Steps(programs, home, capture, reader, batches, rebuild)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        for program in capture_case(CASES[name]).programs:
            sys.stdout.write(ir.compute_program_id(program).hex() + "\n")
