"""Training scripts in the style of well-known public examples, for `benchmarks/foreign.py`: their steps, unchanged.

Each follows one script of `pytorch/examples`, of PyTorch's tutorials or of a widely read repository, in tiny sizes: how
it names things, where it keeps its settings, what its step prints, counts and reads. What is changed is the data, and
that the step is a function. Some of them cannot be recorded, and must be refused clearly.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn, optim
from torch.utils.data import Dataset, TensorDataset

Batch = Sequence[torch.Tensor]


@dataclass
class Script:
    """What a script has before its loop.

    Attributes:
        models: all of them.
        optimizers: all of them.
        body: the step.
        data: what it trains on; in batches of four.
        before: what its loop does before a step, given the step's number.
    """

    models: list[nn.Module]
    optimizers: list[optim.Optimizer]
    body: Callable[[Any], Any]
    data: Dataset[Any]
    before: Callable[[int], Any] = field(default=lambda _: None)


SCRIPTS: dict[str, Callable[[], Script]] = {}
"""Name and maker; two calls with torch seeded alike make the same."""


def script(name: str) -> Callable[[Callable[[], Script]], Callable[[], Script]]:
    """List a script."""

    def add(make: Callable[[], Script]) -> Callable[[], Script]:
        SCRIPTS[name] = make
        return make

    return add


def draw(*shapes: tuple[int, ...], classes: int = 10, words: int = 0) -> TensorDataset:
    """Return twelve samples of fields of these shapes, numbers or words, and a label."""
    generator = torch.Generator().manual_seed(11)
    fields = [
        torch.randint(1, words, (12, *shape), generator=generator)
        if words
        else torch.randn(12, *shape, generator=generator)
        for shape in shapes
    ]
    return TensorDataset(*fields, torch.randint(0, classes, (12,), generator=generator))


def every(count: int, scheduler: Any) -> Callable[[int], None]:
    """Step a scheduler after every so many steps."""
    return lambda step: scheduler.step() if step > 1 and (step - 1) % count == 0 else None
