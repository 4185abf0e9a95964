"""Known answers: the same for everybody, of every program, also of one whose operators refuse most inputs (PRG-23)."""

import hashlib

import numpy as np
import pytest
import torch
from blake3 import blake3
from torch import nn
from torch.nn import functional

from assay.protocol import tags
from assay.protocol.evidence import program as ir
from assay.training import randomness
from assay.training.pytorch.known_answer import compute_known_answer
from assay.training.recorded import RecordedRun
from assay.verification.worker import Worker
from tests.attacks.programs import node, program
from tests.training.pytorch.sessions import make_body, record


def expect(subject, outputs):
    """Return the answer over given outputs, computed by hand."""
    digests = b"".join(blake3(output.numpy().tobytes()).digest() for output in outputs)
    tag = tags.KNOWN_ANSWER.to_bytes(2, "little")
    return hashlib.sha256(tag + ir.compute_program_id(subject) + digests).digest()


def make_input(subject, ordinal, shape, scale=1.0):
    """Return an input as the specification says, computed by hand."""
    words = np.frombuffer(ir.compute_program_id(subject)[:16], "<u8").tolist()
    drawn = randomness.draw_uniform(tuple(words), ordinal, int(np.prod(shape)), 0.0625, 1.0)
    return torch.from_numpy(drawn).view(shape) * scale


def test_inputs_and_outputs_are_those_of_the_specification():
    """The digest is over id and outputs; labels are zero."""
    subject = program(
        ["f32 2 3", "f32 3 2", "i64 2"],
        [node("mm", ["$0", "$1"], ["f32 2 2"]), node("add.Tensor", ["$3", "$2"], ["f32 2 2"])],
    )
    product = make_input(subject, 0, (2, 3)) @ make_input(subject, 1, (3, 2))
    assert compute_known_answer(subject) == expect(subject, [product])


def make_loss(operator):
    """Return a loss of probabilities; its input is a function of the sum of 100 numbers."""
    return program(
        ["f32 100", "f32"],
        [
            node("sum.default", ["$0"], ["f32"]),
            node(operator, ["$2"], ["f32"]),
            node("binary_cross_entropy", ["$3", "$1"], ["f32"]),
        ],
    )


def test_inputs_that_an_operator_refuses_are_made_smaller():
    """A sum of a hundred draws is no probability; a sixty-fourth of it is."""
    subject = make_loss("abs")
    value, target = make_input(subject, 0, (100,)).sum(), make_input(subject, 1, ())
    with pytest.raises(RuntimeError, match="between 0 and 1"):
        functional.binary_cross_entropy(value, target)
    small = functional.binary_cross_entropy(make_input(subject, 0, (100,), 2.0**-6).sum(), target * 2.0**-6)
    assert compute_known_answer(subject) == expect(subject, [small])


def test_a_program_that_refuses_them_all_has_an_answer():
    """It is over the program alone: another program has another."""
    subject = make_loss("neg")
    assert compute_known_answer(subject) == expect(subject, [])
    assert compute_known_answer(subject) != compute_known_answer(make_loss("exp"))


class Overflowing(nn.Module):
    """The scale of a variational autoencoder: its exponential overflows on most weights."""

    def __init__(self):
        super().__init__()
        self.inner, self.outer = nn.Linear(4, 64), nn.Linear(64, 4)

    def forward(self, x):
        """Return chances."""
        hidden = self.inner(x)
        noise = torch.randn_like(hidden) * torch.exp(20 * hidden.square())
        return torch.sigmoid(self.outer(1e-3 * noise))


def test_a_step_that_overflows_on_made_inputs_is_recorded(tmp_path):
    """The loss gets NaN from the made inputs and refuses them; the run is recorded, and a worker finds the answers."""
    torch.manual_seed(0)
    net = Overflowing()
    nn.init.normal_(net.inner.weight, std=1e-3)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-4)

    def loss(net, batch):
        return functional.binary_cross_entropy(net(batch[0]), torch.sigmoid(batch[0]))

    record(tmp_path / "run", net, optimizer, make_body(net, optimizer, loss)).run.finish()
    assert Worker(str(tmp_path / "run")).check_machine().ready
    run = RecordedRun(tmp_path / "run")
    assert all(use.known_answer != bytes(32) for use in run.uses)
    run.close()
