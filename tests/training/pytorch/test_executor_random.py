"""Random steps over a few buffers, full of views, overwrites and swaps: the executor has the interpreter's bits."""

import random

import torch
from torch import nn

from assay.training.pytorch.capture import StepCapture
from assay.training.pytorch.executor import Executor
from assay.training.pytorch.guards import collect_guards
from assay.training.pytorch.home import StateHome
from assay.training.pytorch.interpreter import interpret
from assay.training.pytorch.scalars import ScalarReader
from tests.training.pytorch.small_cases import rebuild

NAMES = ("a", "b", "c", "d")
SIZE = 4

UNARY = (
    torch.neg, torch.tanh, torch.relu, torch.sigmoid, lambda x: x.t(), lambda x: x.clone(), lambda x: x * 0.5 + 1,
    lambda x: x.flip(0), lambda x: x[:, :1].expand(SIZE, SIZE), lambda x: x.clamp(-1, 1), lambda x: x.roll(1, 1),
    lambda x: torch.softmax(x, 1), lambda x: x.view(2, -1).t().reshape(SIZE, SIZE), lambda x: x.abs().sqrt(),
)  # fmt: skip
BINARY = (
    torch.add, torch.mul, torch.sub, torch.maximum, lambda x, y: torch.addcmul(x, y, x, value=0.5),
    lambda x, y: x.lerp(y, 0.25), lambda x, y: torch.where(x > y, x, y), lambda x, y: x @ y * 0.1,
    lambda x, y: torch.cat([x[:2], y[2:]]),
)  # fmt: skip


def overwrite(x, y):
    """Add in place."""
    x.add_(y, alpha=0.5)


def write_column(x, y):
    """Write a column."""
    x[:, 1] = y[:, 2]


def write_rows(x, y):
    """Write rows through a transposed view."""
    x.t()[1:3].mul_(0.5).add_(y[0])


def put(x, y):
    """Write by indices."""
    x.index_put_((torch.tensor([0, 3]), torch.tensor([1, 1])), y[0, :2])


WRITES = (overwrite, write_column, write_rows, put)


class Buffers(nn.Module):
    """Four square buffers, and a parameter that nothing trains."""

    def __init__(self, seed):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        for name in NAMES:
            self.register_buffer(name, torch.randn(SIZE, SIZE, generator=generator))
        self.unused = nn.Parameter(torch.zeros(1))


def make_body(net, seed):
    """Draw a step: values from buffers, batch and earlier values; buffers are overwritten, rebound and swapped."""
    rng = random.Random(seed)
    plan = [(rng.randrange(5), rng.random(), rng.random(), rng.random()) for _ in range(rng.randrange(4, 16))]

    def choose(items, share):
        return items[int(share * len(items))]

    @torch.no_grad()
    def body(batch):
        values = [batch[0]]
        for kind, one, two, three in plan:
            name = choose(NAMES, one)
            pool = [*(getattr(net, other) for other in NAMES), *values]
            x, y = choose(pool, two), choose(pool, three)
            if kind == 0:
                values.append(choose(UNARY, one)(x))
            elif kind == 1:
                values.append(choose(BINARY, one)(x, y))
            elif kind == 2:
                choose(WRITES, two)(getattr(net, name), y.clone())
            elif kind == 3:
                setattr(net, name, x.tanh())
            else:
                other = choose(NAMES, two)
                first, second = getattr(net, name), getattr(net, other)
                setattr(net, name, second)
                setattr(net, other, first)
        return [value.sum() for value in values], values[-1]

    return body


def capture(seed):
    """Capture a random step; return program and state."""
    net = Buffers(seed)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    home = StateHome([net], [optimizer])
    body = make_body(net, seed)
    state = [tensor.detach().clone() for tensor in home.tensors]
    batch = [torch.randn(SIZE, SIZE, generator=torch.Generator().manual_seed(seed + 1))]
    captured, _ = StepCapture(body, [net], [optimizer]).capture(
        batch, rebuild, (1, 2), ScalarReader([optimizer]), collect_guards(body, [net], [optimizer])
    )
    return captured.program, state


def test_random_steps_have_the_interpreters_bits(rounds):
    """Three steps of each program: state, results and an untouched batch agree in every bit."""
    written = 0
    for seed in range(rounds(40, 2000)):
        program, naive = capture(seed)
        places = {(entry.namespace, entry.name): place for place, entry in enumerate(program.state)}
        fast = [tensor.clone() for tensor in naive]
        executor = None
        for step in range(3):
            batch = [torch.randn(SIZE, SIZE, generator=torch.Generator().manual_seed(step))]
            executor = executor or Executor(program, fast, batch)
            kept = batch[0].clone()
            changed, expected = interpret(program, naive, batch, [0.1] * program.scalars, (1, 2))
            for output, tensor in zip(program.state_outputs, changed, strict=True):
                naive[places[output.namespace, output.name]] = tensor.clone()
            actual = executor.run(batch, [0.1] * program.scalars, (1, 2))
            assert torch.equal(batch[0], kept)
            for one, other in zip([*naive, *expected], [*fast, *actual], strict=True):
                assert one.numpy().tobytes() == other.numpy().tobytes(), f"seed {seed}, step {step}"
        written += len(program.state_outputs)
    assert written > 25
