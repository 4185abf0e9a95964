"""Ways in which a step depends on something that a graph does not see: each would be baked in if nobody looked.

A scene is a small model, its optimizer, a step and what happens outside between the steps. The docstring of its maker
says what the trap is. Everything that decides a number changes after the first steps, when nobody runs eager beside.
"""

# ruff: noqa: ARG005 - what a trap is given and does not use is part of the scene

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - the name that everybody uses

SWITCH = 7
"""The step before which the traps that wait change something."""

Body = Callable[[Any], torch.Tensor]


@dataclass
class Scene:
    """A step and what surrounds it.

    Attributes:
        net: the model.
        optimizer: its optimizer.
        body: the step.
        before: is called with the number of each step before it.
        steps: how many.
    """

    net: nn.Module
    optimizer: torch.optim.Optimizer
    body: Body
    before: Callable[[int], None] = field(default=lambda step: None)
    steps: int = 12


TRAPS: list[Callable[[], Scene]] = []
"""All traps, in the order of this file."""


def trap(maker: Callable[[], Scene]) -> Callable[[], Scene]:
    """List a trap."""
    TRAPS.append(maker)
    return maker


def make_net() -> nn.Sequential:
    """Return a small classifier."""
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Dropout(0.2), nn.Linear(5, 3))


def make_sgd(parameters: Any) -> torch.optim.Optimizer:
    """Return gradient descent with momentum."""
    return torch.optim.SGD(parameters, lr=0.1, momentum=0.9)


def update(loss: torch.Tensor, optimizer: torch.optim.Optimizer) -> torch.Tensor:
    """Go down the gradient of a loss; return the loss."""
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    return loss


def make_scene(
    factor: Callable[[nn.Module, Any], Any] = lambda net, batch: 1.0,
    before: Callable[[Scene, int], None] = lambda scene, step: None,
    net: nn.Module | None = None,
    make_optimizer: Callable[[Any], torch.optim.Optimizer] = make_sgd,
    **options: Any,
) -> Scene:
    """Return the usual step, its loss multiplied by what `factor` gives."""
    model = make_net() if net is None else net
    optimizer = make_optimizer(model.parameters())

    def body(batch: Any) -> torch.Tensor:
        return update(F.cross_entropy(model(batch[0]), batch[1]) * factor(model, batch), optimizer)

    scene = Scene(model, optimizer, body, **options)
    scene.before = functools.partial(before, scene)
    return scene


def switch(change: Callable[[Scene], Any]) -> Callable[[Scene, int], None]:
    """Return what calls `change` once, before the step `SWITCH`."""

    def before(scene: Scene, step: int) -> None:
        if step == SWITCH:
            change(scene)

    return before
