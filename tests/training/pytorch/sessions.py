"""Short sessions for tests: a tiny data set, a run of a few steps, and the same loop in plain PyTorch beside it."""

import inspect
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import TensorDataset

import assay

torch.set_num_threads(1)


def make_data(count=22, width=4, seed=0):
    """Samples of `width` floats and a label of three."""
    generator = torch.Generator().manual_seed(seed)
    return TensorDataset(
        torch.randn(count, width, generator=generator), torch.randint(0, 3, (count,), generator=generator)
    )


def make_net(seed=0):
    """A small classifier, equal for equal seeds."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))


def make_body(net, optimizer, loss=None):
    """The usual step."""

    def body(batch):
        value = loss(net, batch) if loss else functional.cross_entropy(net(batch[0]), batch[1])
        value.backward()
        optimizer.step()
        optimizer.zero_grad()
        return value

    return body


def sgd(net):
    """SGD with momentum."""
    return torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)


def as_list(value):
    """Wrap what is no list."""
    return value if isinstance(value, list) else [value]


@dataclass
class Recorded:
    """What a short session left."""

    run: Any
    losses: list
    batches: list


def record(path, net, optimizer, body, *, steps=6, epochs=4, before=None, data=None, batch_size=4, **options):
    """Record some steps; `before(step)` is called before each step; the run is left open."""
    run = assay.start(path, seed=1, **options)
    found = Recorded(run, [], [])
    try:
        loader = run.loader(data or make_data(), batch_size=batch_size)
        step = run.step(models=as_list(net), optimizers=as_list(optimizer))(body)
        for _ in run.epochs(epochs):
            for batch in loader:
                if run.step_number == steps:
                    return found
                found.batches.append([tensor.clone() for tensor in batch])
                if before is not None:
                    before(run.step_number + 1)
                found.losses.append(step(batch))
    except BaseException:
        run.close()
        raise
    return found


def record_beside_plain(path, make, *, steps=6, before=None, **options):
    """Record, and train the same in plain PyTorch on the same batches; nothing may draw random numbers.

    Args:
        path: of the run.
        make: returns nets, optimizers and body; called twice.
        steps: how many.
        before: `before(step, net, optimizer)` is called before each step on both sides.
        options: of `record`.

    Returns:
        The closing record, and the names of everything that differs.
    """
    torch.manual_seed(7)
    net, optimizer, body = make()
    torch.manual_seed(7)
    other_net, other_optimizer, other_body = make()

    def prepare(step):
        if before is not None:
            before(step, net, optimizer)

    found = record(path, net, optimizer, body, steps=steps, before=prepare, **options)
    differing = []
    for number, (batch, loss) in enumerate(zip(found.batches, found.losses, strict=True), 1):
        if before is not None:
            before(number, other_net, other_optimizer)
        if not torch.equal(other_body([tensor.clone() for tensor in batch]), loss):
            differing.append(f"loss {number}")
    for ours, theirs in zip(as_list(net), as_list(other_net), strict=True):
        for (name, value), other in zip(ours.state_dict().items(), theirs.state_dict().values(), strict=True):
            if not torch.equal(value, other):
                differing.append(name)
    return found.run.finish(), differing


def line_of(function, mark="# here"):
    """File and line, as messages give them, of the marked line of a function."""
    lines, first = inspect.getsourcelines(function)
    (place,) = [index for index, line in enumerate(lines) if mark in line]
    return f"{inspect.getsourcefile(function)}:{first + place}"
