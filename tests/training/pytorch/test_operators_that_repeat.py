"""Operators of which it was shown that they repeat on the CPU: recorded beside plain PyTorch, then replayed."""

import pytest
import torch
from torch.nn import functional

from benchmarks.traps import replay
from tests.training.pytorch.sessions import make_net, record_beside_plain, sgd

aten = torch.ops.aten


def resize(net, batch, **how):
    """Interpolate what the net gives, as an image of one channel."""
    image = net(batch[0]).unsqueeze(1).unsqueeze(1).expand(-1, 2, 4, 3)
    return functional.interpolate(image, mode="bicubic", **how).square().mean()


def spread(net, batch, reduce, *, include_self):
    """Gather the rows of a batch into as many as there are labels."""
    scores = net(batch[0])
    index = batch[1].unsqueeze(1).expand_as(scores)
    start = net[2].weight.new_full((3, 3), 0.5)
    return start.scatter_reduce(0, index, scores, reduce, include_self=include_self).square().mean()


def pad(net, batch, mode, dims):
    """Pad what the net gives, as a line, an image or a volume, by different widths at all sides."""
    scores = net(batch[0])
    filled = scores.view(-1, 3, *[1] * dims).expand(-1, 3, *[3 + place for place in range(dims)])
    weights = torch.arange(filled[0].numel()).view(1, *filled.shape[1:]) / 10
    padded = functional.pad(filled * weights, [1, 2, 2, 1, 0, 1][: 2 * dims], mode=mode)
    return (padded * torch.linspace(0, 1, padded[0].numel()).view(1, *padded.shape[1:])).square().mean()


STEPS = {
    **{
        f"{mode} of {dims} dimensions": lambda net, batch, mode=mode, dims=dims: pad(net, batch, mode, dims)
        for mode in ("reflect", "replicate")
        for dims in (1, 2, 3)
    },
    "bicubic by a factor": lambda net, batch: resize(net, batch, scale_factor=2.5),
    "bicubic to a size": lambda net, batch: resize(net, batch, size=(7, 5), align_corners=True),
    "bicubic to fewer": lambda net, batch: resize(net, batch, size=(2, 2)),
    "mean pooling by index": lambda net, batch: spread(net, batch, "mean", include_self=False),
    "bucketize": lambda net, batch: functional.cross_entropy(
        net(batch[0]), torch.bucketize(batch[0].sum(1), torch.tensor([-0.5, 0.5]))
    ),
    **{
        f"scatter_reduce {reduce}": lambda net, batch, reduce=reduce: spread(net, batch, reduce, include_self=True)
        for reduce in ("sum", "mean", "prod", "amax", "amin")
    },
}


@pytest.mark.parametrize("name", STEPS)
def test_recorded_and_replayed(name, tmp_path):
    """The recorded step has eager's bits, and a replay has them too."""

    def make():
        net = make_net()
        optimizer = sgd(net)

        def body(batch):
            loss = STEPS[name](net, batch)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            return loss

        return net, optimizer, body

    _, differing = record_beside_plain(tmp_path / "run", make, checkpoint_every=2)
    assert differing == []
    assert replay(tmp_path / "run") == []


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_do_not_change_them(threads):
    """With any number of threads, and again, they give the bits of one thread."""
    torch.manual_seed(0)
    image, grad = torch.randn(8, 16, 24, 24), torch.randn(8, 16, 40, 40)
    source, rows = torch.randn(5000, 16), torch.randint(0, 40, (5000,))
    calls = [
        lambda: aten.upsample_bicubic2d.default(image, [40, 40], False),
        lambda: aten.upsample_bicubic2d_backward.default(grad, [40, 40], [8, 16, 24, 24], False),
    ]
    calls += [
        lambda index=index, reduce=reduce: torch.zeros(40, 16).scatter_reduce(0, index, source, reduce)
        for reduce in ("sum", "prod", "mean", "amax", "amin")
        for index in (rows.unsqueeze(1).expand(5000, 16), rows.unsqueeze(1).repeat(1, 16))
    ]
    volume, wide = torch.randn(2, 6, 5, 5, 5), torch.randn(2, 6, 8, 8, 8)
    for kind in ("reflection", "replication"):
        backward = getattr(aten, f"{kind}_pad3d_backward").default
        calls.append(lambda backward=backward: backward(wide, volume, [2, 1] * 3))
    expected = [call() for call in calls]
    torch.set_num_threads(threads)
    try:
        for call, wanted in zip(calls, expected, strict=True):
            for _ in range(3):
                assert torch.equal(call(), wanted)
    finally:
        torch.set_num_threads(1)
