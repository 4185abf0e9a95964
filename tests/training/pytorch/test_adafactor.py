"""Adafactor adapted to being recorded: PyTorch's bits where its maxima and its NaN handling decide."""

import pytest
import torch

from assay.training.pytorch.adafactor import adapt_adafactor
from tests.training.pytorch.sessions import make_body, make_data, make_net, record_beside_plain

EXTREMES = {
    "no parameter yet": lambda p: p.zero_(),  # the second epsilon is larger than the norm
    "large": lambda p: p.mul_(1e4),
    "one NaN": lambda p: p.view(-1)[0].fill_(float("nan")),
    "infinite": lambda p: p.view(-1)[0].fill_(float("inf")),
    "tiny": lambda p: p.mul_(1e-30),
}
SETTINGS = [{}, {"d": 1.5, "eps": (1e-20, 0.5)}, {"weight_decay": 0.1, "maximize": True, "lr": 10.0}]


def step_twice(options, extreme, dtype, *, is_adapted):
    """Return parameters and slots after two steps whose gradients are fixed."""
    generator = torch.Generator().manual_seed(3)
    shapes = [(5, 4), (5,), (2, 3, 4), (1, 1), ()]
    parameters = [torch.nn.Parameter(torch.randn(shape, generator=generator).to(dtype)) for shape in shapes]
    with torch.no_grad():
        extreme(parameters[0])
        extreme(parameters[1])
    optimizer = torch.optim.Adafactor(parameters, **options)
    for size in (1.0, 1e3):
        for parameter in parameters:
            parameter.grad = (torch.randn(parameter.shape, generator=generator) * size).to(dtype)
        if is_adapted:
            with adapt_adafactor():
                optimizer.step()
        else:
            optimizer.step()
    return [*parameters, *(slot for state in optimizer.state.values() for slot in state.values())]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("foreach", [None, True])
@pytest.mark.parametrize("options", SETTINGS, ids=str)
@pytest.mark.parametrize("extreme", EXTREMES)
def test_adapted_steps_have_the_bits_of_plain_pytorch(extreme, options, foreach, dtype):
    """Whichever side of each maximum holds, and where a norm is not a number."""
    plain, adapted = (
        step_twice({**options, "foreach": foreach}, EXTREMES[extreme], dtype, is_adapted=adapted)
        for adapted in (False, True)
    )
    for ours, theirs in zip(adapted, plain, strict=True):
        assert torch.equal(ours.detach().view(-1).view(torch.uint8), theirs.detach().view(-1).view(torch.uint8))


@pytest.mark.parametrize("foreach", [None, True])
def test_the_step_size_is_not_baked_in(foreach, tmp_path):
    """Parameters that are scaled in mid-run change the size of the updates; the program that was recorded follows."""

    def make():
        net = make_net()
        optimizer = torch.optim.Adafactor(net.parameters(), lr=0.05, foreach=foreach)
        return net, optimizer, make_body(net, optimizer)

    def before(step, net, optimizer):
        optimizer.param_groups[0]["lr"] = 0.05 if step % 7 else 5.0

    _, differing = record_beside_plain(
        tmp_path / "run", make, steps=60, before=before, epochs=10, data=make_data(24), checkpoint_every=30
    )
    assert differing == []
