"""Values that the step's own code alone decides may be read; everything that state, batch or a draw is in may not."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from assay.errors import CaptureRefused
from benchmarks.traps import replay
from tests.training.pytorch.sessions import make_body, make_net, record, record_beside_plain, sgd

OUTSIDE = torch.eye(4)


def reads(net, batch):
    """Branch on a mask that is made in the step, as torch's transformer does."""
    mask = torch.ones(4, 4).triu()
    causal = bool((mask == torch.ones(4, 4).triu()).all())
    return functional.cross_entropy(net(batch[0] @ mask if causal else batch[0]), batch[1])


def counts(net, batch):
    """Read a number that is computed from the shapes."""
    weight = torch.arange(len(batch[0])).float().mean().item()
    return functional.cross_entropy(net(batch[0]), batch[1]) * (1.0 + weight)


def selects(net, batch):
    """Take all pairs but each with itself, by a boolean mask."""
    scores = net(batch[0])
    likeness = scores @ scores.T
    others = ~torch.eye(len(scores), dtype=torch.bool)
    return likeness[others].view(len(scores), -1).logsumexp(1).mean()


def selects_what_was_selected(net, batch):
    """Take what two masks leave, the second of which the first has cut."""
    scores = net(batch[0])
    groups = torch.arange(len(scores)) % 2
    same = groups.unsqueeze(0) == groups.unsqueeze(1)
    others = ~torch.eye(len(scores), dtype=torch.bool)
    cut = same[others].view(len(scores), -1)
    return (scores @ scores.T)[others].view(len(scores), -1)[~cut].square().mean()


@pytest.mark.parametrize("loss", [reads, counts, selects, selects_what_was_selected])
def test_they_are_recorded(loss, tmp_path):
    """The recorded step has eager's bits, for two shapes of batches, and is replayed."""

    def make():
        net = make_net()
        optimizer = sgd(net)
        return net, optimizer, make_body(net, optimizer, loss)

    _, differing = record_beside_plain(tmp_path / "run", make, checkpoint_every=2)
    assert differing == []
    assert replay(tmp_path / "run") == []


def write(batch):
    """Write the batch into a tensor that is made in the step."""
    made = torch.zeros(len(batch[0]), 4)
    made.copy_(batch[0])
    return made


def write_to_a_view(batch):
    """Write one number of the batch into a part of such a tensor."""
    made = torch.zeros(4, 4)
    made[0].mul_(0).add_(batch[0][0])
    return made


def normalise(batch):
    """Have batch norm write its statistics into such a tensor, which its schema does not say."""
    mean, spread = torch.zeros(4), torch.ones(4)
    functional.batch_norm(batch[0], mean, spread, training=True)
    return mean


def turn_into(batch):
    """Put the memory of the batch into such a tensor."""
    made = torch.zeros(1)
    made.set_(batch[0])
    return made


def exchange(batch):
    """Exchange the data of such a tensor."""
    made = torch.zeros(4)
    made.data = batch[0]
    return made


SOURCES = {
    "batch": lambda net, batch: batch[0],
    "batch and a constant": lambda net, batch: torch.eye(4) + batch[0][0],
    "parameter": lambda net, batch: net[0].weight.detach() * torch.ones(4),
    "draw": lambda net, batch: torch.rand(4) * torch.ones(4),
    "draw in place": lambda net, batch: torch.ones(4).uniform_(),
    "dropout of a constant": lambda net, batch: functional.dropout(torch.ones(4)),
    "tensor from outside": lambda net, batch: OUTSIDE * torch.ones(4),
    "uninitialised": lambda net, batch: torch.empty(4),
    "gradient": lambda net, batch: torch.autograd.grad(net(batch[0]).sum(), net[0].weight)[0],
    "written": lambda net, batch: write(batch),
    "written to a view": lambda net, batch: write_to_a_view(batch),
    "statistics": lambda net, batch: normalise(batch),
    "memory of the batch": lambda net, batch: turn_into(batch),
    "data of the batch": lambda net, batch: exchange(batch),
    "part of a joined tensor": lambda net, batch: torch.cat([torch.ones(4, 4), batch[0][:, :4]])[:4],
}


@pytest.mark.parametrize("source", SOURCES)
def test_everything_else_is_refused(source, tmp_path):
    """A number read from it, and a selection by it, would be baked in."""

    def read(net, batch):
        factor = 1.0 + SOURCES[source](net, batch).flatten()[0].item()
        return functional.cross_entropy(net(batch[0]), batch[1]) * factor

    def select(net, batch):
        mask = SOURCES[source](net, batch).flatten()[:4] > 0
        return net(batch[0])[: len(mask), :1].expand(-1, 4)[:, mask].sum()

    for name, loss in (("read", read), ("select", select)):
        net = make_net()
        optimizer = sgd(net)
        with pytest.raises(CaptureRefused, match=r"reads the value|shape depends on values"):
            record(tmp_path / name, net, optimizer, make_body(net, optimizer, loss))


class Masking(nn.Module):
    """Keeps a mask from the first call for all others."""

    def __init__(self):
        super().__init__()
        self.inner, self.mask = make_net(), None

    def forward(self, x):
        """Read the mask at each call."""
        if self.mask is None:
            self.mask = torch.ones(4)
        return self.inner(x) * self.mask.sum().item()


def test_what_an_earlier_call_made_is_refused(tmp_path):
    """A tensor that was made in one call is from outside in the next."""
    net = Masking()
    optimizer = sgd(net)
    with pytest.raises(CaptureRefused):
        record(tmp_path / "run", net, optimizer, make_body(net, optimizer))
