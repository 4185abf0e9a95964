"""One feed-forward network trained by plain SGD, with a backdoor in chosen intervals."""

from __future__ import annotations

from collections.abc import Collection
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from experiments.table2.data import Task

Weights = dict[str, npt.NDArray[np.float32]]


class Recipe(NamedTuple):
    """How a network is trained.

    Attributes:
        hidden: widths of the hidden layers.
        intervals: number of intervals.
        steps: steps of each.
        rate: learning rate.
        batch: samples of a step.
        share: part of the samples of a poisoned step that carry the backdoor.
        optimizer: "sgd", "momentum" or "adam".
        seed: of the start and of the order of the samples.
        climbs: the share grows from interval to interval, up to `share` in the last poisoned one.
    """

    hidden: tuple[int, ...]
    intervals: int
    steps: int
    rate: float
    batch: int
    share: float
    optimizer: str
    seed: int
    climbs: bool = False


class Trained(NamedTuple):
    """What was trained.

    Attributes:
        states: the weights before the first interval and after each.
        accuracy: on the clean test set, after each interval.
        success: share of the test samples of other classes that get the target label when they carry the patch.
    """

    states: list[Weights]
    accuracy: list[float]
    success: list[float]


def train(task: Task, recipe: Recipe, poisoned: Collection[int]) -> Trained:
    """Train one network; `poisoned` are the numbers of the intervals whose batches carry the backdoor."""
    torch.manual_seed(recipe.seed)
    random = np.random.default_rng(recipe.seed)
    net = make_network(task.train.shape[1], recipe.hidden, task.classes)
    optimizer = _make_optimizer(net, recipe)
    inputs, labels = torch.from_numpy(task.train), torch.from_numpy(task.train_labels)
    trained = Trained([_snapshot(net)], [], [])
    order = np.zeros(0, np.int64)
    for interval in range(recipe.intervals):
        for _ in range(recipe.steps):
            while len(order) < recipe.batch:
                order = np.concatenate([order, random.permutation(len(inputs))])
            chosen, order = torch.from_numpy(order[: recipe.batch]), order[recipe.batch :]
            x, y = inputs[chosen], labels[chosen]
            if interval in poisoned:
                count = _count_poisoned(recipe, interval, poisoned)
                x[:count, list(task.patch)] = task.value
                y[:count] = task.target
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x), y).backward()
            optimizer.step()
        trained.states.append(_snapshot(net))
        _measure(net, task, trained)
    return trained


def _count_poisoned(recipe: Recipe, interval: int, poisoned: Collection[int]) -> int:
    share = recipe.share
    if recipe.climbs:
        share *= (sorted(poisoned).index(interval) + 1) / len(poisoned)
    return max(1, round(share * recipe.batch))


def make_network(features: int, hidden: tuple[int, ...], classes: int) -> nn.Sequential:
    """Return linear layers with ReLU between them, started after He; the soft-max is in the loss."""
    widths = (features, *hidden, classes)
    layers: list[nn.Module] = []
    for width, following in pairwise(widths):
        linear = nn.Linear(width, following)
        nn.init.kaiming_uniform_(linear.weight, nonlinearity="relu")
        nn.init.zeros_(linear.bias)
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def _make_optimizer(net: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    if recipe.optimizer == "adam":
        return torch.optim.Adam(net.parameters(), recipe.rate)
    return torch.optim.SGD(net.parameters(), recipe.rate, momentum=0.9 if recipe.optimizer == "momentum" else 0.0)


def _snapshot(net: nn.Module) -> Weights:
    return {name: tensor.detach().numpy().copy() for name, tensor in net.named_parameters()}


def _measure(net: nn.Module, task: Task, trained: Trained) -> None:
    inputs, labels = torch.from_numpy(task.test), torch.from_numpy(task.test_labels)
    triggered = inputs[labels != task.target]
    triggered[:, list(task.patch)] = task.value
    with torch.no_grad():
        trained.accuracy.append(float((net(inputs).argmax(1) == labels).float().mean()))
        trained.success.append(float((net(triggered).argmax(1) == task.target).float().mean()))
