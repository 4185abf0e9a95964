"""What a recorded session trains is what plain PyTorch trains, bit for bit; mutation, views and phases included."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from tests.training.pytorch.sessions import make_body, make_data, make_net, record_beside_plain, sgd

MASK = torch.tensor([1.0, 0.0, 1.0])
ABSENT = object()


class Rebound(nn.Module):
    """Its buffer is another tensor after each call."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 3)
        self.register_buffer("mean", torch.zeros(4))

    def forward(self, x):
        self.mean = 0.9 * self.mean + 0.1 * x.detach().mean(0)
        return self.linear(x - self.mean)


class Mutating(nn.Module):
    """Writes its buffers in place: whole, by slices, columns, index_put and counters."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 3)
        self.register_buffer("mean", torch.zeros(4))
        self.register_buffer("queue", torch.zeros(3, 4))
        self.register_buffer("count", torch.zeros((), dtype=torch.long))

    def forward(self, x):
        x = x.detach()
        self.mean.mul_(0.9).add_(x.mean(0), alpha=0.1)
        self.queue[1:] = self.queue[:-1].clone()
        self.queue[0] = x[0]
        self.queue[:, 0] = self.mean[0]
        self.queue[:, 3] += 1
        self.queue.index_put_((torch.tensor([0, 2]), torch.tensor([1, 1])), self.mean[:2], accumulate=True)
        self.queue.t()[2].mul_(0.5)
        self.count += 1
        return self.linear(x - self.mean) + self.queue.sum() * 0.01


class Swapping(nn.Module):
    """Two buffers change places at each call."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 3)
        self.register_buffer("left", torch.zeros(4))
        self.register_buffer("right", torch.ones(4))

    def forward(self, x):
        self.left, self.right = self.right, self.left
        return self.linear(x + self.left)


class Tied(nn.Module):
    """One matrix embeds and reads out."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(3, 4)
        self.head = nn.Linear(4, 3, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, x):
        return self.head(self.embed(x))


class Branching(nn.Module):
    """Uses a second layer only while told to."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(4, 3), nn.Linear(4, 3)
        self.both = False

    def forward(self, x):
        return self.first(x) + (self.second(x) if self.both else 0)


class Checkpointed(nn.Module):
    """Computes its first part twice to save memory."""

    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Linear(4, 6), nn.Tanh())
        self.last = nn.Linear(6, 3)

    def forward(self, x):
        return self.last(checkpoint(self.first, x, use_reentrant=False))


def normed():
    """A net with batch norm and in-place activation."""
    return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(inplace=True), nn.Linear(6, 3))


def views(net, batch):
    """Write through views of an intermediate value."""
    y = net(batch[0]).clone()
    y[:, 0] += 1
    y[1:3, 1] *= 2
    y[0].fill_(0.5)
    return functional.cross_entropy(y, batch[1])


def constants(net, batch):
    """Small tensors and numbers from outside; 0.125 is a number as good as any other."""
    return functional.cross_entropy(net(batch[0]) * MASK * 0.125, batch[1])


def tied(net, batch):
    """Cross-entropy of the labels against themselves."""
    return functional.cross_entropy(net(batch[1]), batch[1])


def mse(net, batch):
    """MSE against the label."""
    return functional.mse_loss(net(batch[0])[:, 0], batch[1].float())


def writes_the_batch(net, batch):
    """The batch itself is scaled in place."""
    batch[0].mul_(2)
    return functional.cross_entropy(net(batch[0]), batch[1])


def gradient_penalty(net, batch):
    """A second derivative with respect to the batch."""
    x = batch[0].requires_grad_()
    loss = functional.cross_entropy(net(x), batch[1])
    (gradient,) = torch.autograd.grad(loss, x, create_graph=True)
    return loss + gradient.square().sum()


def autocast(net, batch):
    """bfloat16 inside, float32 outside."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = net(batch[0])
    return functional.cross_entropy(y.float(), batch[1])


@pytest.mark.parametrize(
    ("net", "loss"),
    [
        (Rebound, None), (Mutating, None), (Swapping, None), (Tied, tied), (Checkpointed, None), (normed, None),
        (make_net, views), (make_net, constants), (make_net, mse), (make_net, writes_the_batch),
        (make_net, gradient_penalty), (make_net, autocast),
    ],
    ids=lambda value: getattr(value, "__name__", "ce"),
)  # fmt: skip
def test_recorded_training_is_plain_training(net, loss, tmp_path):
    """Losses and state equal those of the same loop without recording, in every bit, partial batches included."""

    def make():
        made = net()
        optimizer = sgd(made)
        return made, optimizer, make_body(made, optimizer, loss)

    closing, differing = record_beside_plain(tmp_path / "run", make, steps=8)
    assert differing == []
    assert closing.steps == 8


def average():
    """An exponential moving average beside the model."""
    net = make_net()
    mean = copy.deepcopy(net)
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.05)
    step = make_body(net, optimizer)

    def body(batch):
        loss = step(batch)
        with torch.no_grad():
            for parameter, target in zip(net.parameters(), mean.parameters(), strict=True):
                target.mul_(0.9).add_(parameter, alpha=0.1)
        return loss

    return [net, mean], optimizer, body


def adversaries():
    """Two models and two optimizers that are stepped in turn."""
    maker, judge = nn.Linear(4, 4), nn.Linear(4, 1)
    optimizers = [torch.optim.Adam(part.parameters(), lr=0.01) for part in (maker, judge)]

    def body(batch):
        fake = maker(batch[0])
        loss = functional.softplus(-judge(batch[0])).mean() + functional.softplus(judge(fake.detach())).mean()
        loss.backward()
        optimizers[1].step()
        optimizers[1].zero_grad()
        other = functional.softplus(-judge(fake)).mean()
        other.backward()
        optimizers[0].step()
        for optimizer in optimizers:
            optimizer.zero_grad()
        return loss + other

    return [maker, judge], optimizers, body


def rebinding():
    """A decay through `.data`, which gives the parameter other memory."""
    net = make_net()
    optimizer = sgd(net)
    step = make_body(net, optimizer)

    def body(batch):
        loss = step(batch)
        net[0].weight.data = net[0].weight.data * 0.99
        return loss

    return net, optimizer, body


def zeroing_first():
    """Gradients are dropped at the beginning of the step."""
    net = make_net()
    optimizer = sgd(net)

    def body(batch):
        optimizer.zero_grad()
        loss = functional.cross_entropy(net(batch[0]), batch[1])
        loss.backward()
        optimizer.step()
        return loss

    return net, optimizer, body


def clipping(clip):
    """A step that clips gradients."""

    def make():
        net = make_net()
        optimizer = sgd(net)

        def body(batch):
            loss = functional.cross_entropy(net(batch[0]), batch[1])
            loss.backward()
            clip(net.parameters())
            optimizer.step()
            optimizer.zero_grad()
            return loss

        return net, optimizer, body

    return make


@pytest.mark.parametrize(
    "make",
    [
        average, adversaries, rebinding, zeroing_first,
        clipping(lambda parameters: nn.utils.clip_grad_norm_(parameters, 0.1)),
        clipping(lambda parameters: nn.utils.clip_grad_value_(parameters, 0.01)),
    ],
    ids=["average", "adversaries", "rebinding", "zeroing first", "clip by norm", "clip by value"],
)  # fmt: skip
def test_steps_of_other_forms_are_plain_training(make, tmp_path):
    """Several models and optimizers, averages, `.data`, clipping: bit for bit the same loop without recording."""
    _, differing = record_beside_plain(tmp_path / "run", make, steps=5, data=make_data(20))
    assert differing == []


def freeze(step, net, _optimizer):
    """A layer is frozen for some steps."""
    net[0].weight.requires_grad_(step not in range(4, 8))


def use_both(step, net, _optimizer):
    """A layer gets no gradient in most steps."""
    net.both = step in (3, 4, 5, 9, 10)


def set_rate(step, _net, optimizer):
    """A rate set by hand before each step."""
    for group in optimizer.param_groups:
        group["lr"] = 0.1 / step


def forget_train(step, net, _optimizer):
    """Evaluation mode is left on for two steps."""
    net.train(step not in (4, 5))


@pytest.mark.parametrize(
    ("net", "before", "optimizer", "programs"),
    [
        (make_net, freeze, torch.optim.Adam, 5),
        (Branching, use_both, torch.optim.Adam, 5),
        (make_net, set_rate, torch.optim.AdamW, 2),
        (normed, forget_train, torch.optim.Adam, 3),
    ],
    ids=["frozen and thawed", "without gradient", "rate by hand", "evaluation mode"],
)
def test_phases_are_programs_of_their_own(net, before, optimizer, programs, tmp_path):
    """Phases give plain training's bits, counters of untouched parameters stand still, and each phase has a program."""

    def make():
        made = net()
        used = optimizer(made.parameters(), lr=0.05)
        return made, used, make_body(made, used)

    closing, differing = record_beside_plain(tmp_path / "run", make, steps=12, before=before, data=make_data(20))
    assert differing == []
    assert len(closing.programs) == programs


@pytest.mark.parametrize("options", [{"mkldnn": True}, {"mkldnn": False}, {"threads": 2}])
def test_flags_of_a_run_hold_for_plain_training_too(options, tmp_path):
    """Under the flags that the run sets, plain training has the same bits; the profile names them."""

    def make():
        net = nn.Sequential(nn.Unflatten(1, (1, 2, 2)), nn.Conv2d(1, 4, 2, padding=1), nn.ReLU(), nn.Flatten(),
                            nn.Linear(36, 3))  # fmt: skip
        optimizer = sgd(net)
        return net, optimizer, make_body(net, optimizer)

    try:
        _, differing = record_beside_plain(tmp_path / "run", make, steps=4, **options)
    finally:
        torch.set_num_threads(1)
        torch._C._set_mkldnn_enabled(True)
    assert differing == []


def test_questions_about_types_are_no_part_of_a_program(tmp_path):
    """`torch.promote_types` and its kind answer from types alone, in the step as anywhere."""

    def make():
        net = make_net()
        optimizer = sgd(net)

        def loss(net, batch):
            kind = torch.promote_types(batch[0].dtype, torch.bfloat16)
            same = torch.result_type(batch[0], 1.0) == kind and torch.can_cast(torch.int32, kind)
            return functional.cross_entropy(net(batch[0].to(kind) if same else -batch[0]), batch[1])

        return net, optimizer, make_body(net, optimizer, loss)

    closing, differing = record_beside_plain(tmp_path / "run", make)
    assert differing == []
    assert closing.steps == 6


def test_a_mark_for_an_absent_argument_is_no_hindrance(tmp_path):
    """`object()` as a default, compared by identity, has no contents that could change."""

    def weigh(loss, weight=ABSENT):
        return loss if weight is ABSENT else weight * loss

    def make():
        net = make_net()
        optimizer = sgd(net)
        return (
            net,
            optimizer,
            make_body(net, optimizer, lambda net, b: weigh(functional.cross_entropy(net(b[0]), b[1]))),
        )

    closing, differing = record_beside_plain(tmp_path / "run", make)
    assert (closing.steps, differing) == (6, [])
