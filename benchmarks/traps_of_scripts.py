"""Traps that well-known training scripts contain: what they carry from step to step, anneal, ramp up and count."""

# ruff: noqa: ARG001, ARG005, PLW0108 - what a trap is given and does not use is part of the scene

from __future__ import annotations

import collections
import functools
import math
import random
import types
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - the name that everybody uses

from benchmarks.trap_scenes import SWITCH, Scene, make_net, make_scene, switch, trap, update

# -- what a script carries from batch to batch -------------------------------------------------------------------------


class _Language(nn.Module):
    """A recurrent model in the style of word-language examples: it takes and gives a hidden state."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.decoder = nn.GRUCell(4, 5), nn.Linear(5, 3)

    def forward(self, x: torch.Tensor, hidden: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        hidden = self.cell(x, hidden)
        return self.decoder(hidden), hidden


def _make_language_scene(get: Any, put: Any) -> Scene:
    net = _Language()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)

    def body(batch: Any) -> torch.Tensor:
        output, hidden = net(batch[0], get())
        put(hidden.detach())
        return update(F.cross_entropy(output, batch[1]), optimizer)

    return Scene(net, optimizer, body)


@trap
def hidden_state_in_a_closure() -> Scene:
    """A language model's hidden state, carried from batch to batch in a variable."""
    hidden = torch.zeros(4, 5)

    def put(value: torch.Tensor) -> None:
        nonlocal hidden
        hidden = value

    return _make_language_scene(lambda: hidden, put)


@trap
def hidden_state_in_a_dictionary() -> Scene:
    """A language model's hidden state in a dictionary."""
    carried = {"hidden": torch.zeros(4, 5)}
    return _make_language_scene(lambda: carried["hidden"], functools.partial(carried.__setitem__, "hidden"))


@trap
def hidden_state_written_in_place() -> Scene:
    """A language model's hidden state, written into a tensor that is no buffer."""
    hidden = torch.zeros(4, 5)
    return _make_language_scene(lambda: hidden.clone(), lambda value: hidden.copy_(value))


@trap
def running_baseline() -> Scene:
    """A moving average of the loss that the next loss is compared with."""
    baseline = torch.zeros(())

    def factor(net: nn.Module, batch: Any) -> torch.Tensor:
        nonlocal baseline
        mean = batch[0].mean().detach()
        baseline = 0.9 * baseline + 0.1 * mean
        return 1.0 + mean - baseline

    return make_scene(factor)


@trap
def replay_buffer() -> Scene:
    """Batches of the past, kept in a deque and trained on again."""
    past: collections.deque[torch.Tensor] = collections.deque(maxlen=3)

    def factor(net: nn.Module, batch: Any) -> torch.Tensor:
        past.append(batch[0].detach().clone())
        return 1.0 + torch.stack(list(past)).mean().abs()

    return make_scene(factor)


@trap
def average_by_hand() -> Scene:
    """An exponential average of the weights whose decay is ramped up by a counter."""
    ema, updates = make_net(), [0]

    def factor(net: nn.Module, batch: Any) -> torch.Tensor:
        updates[0] += 1
        decay = min(0.99, (1 + updates[0]) / (10 + updates[0]))
        with torch.no_grad():
            for average, parameter in zip(ema.parameters(), net.parameters(), strict=True):
                average.mul_(decay).add_(parameter, alpha=1 - decay)
        return 1.0 + F.mse_loss(net(batch[0]), ema(batch[0]).detach())

    return make_scene(factor)


@trap
def meter() -> Scene:
    """A meter that the step updates and reads."""

    class Meter:
        def __init__(self) -> None:
            self.total, self.count = 0.0, 0

        def update(self, value: float) -> None:
            self.total += value
            self.count += 1

    losses = Meter()

    def factor(net: nn.Module, batch: Any) -> float:
        losses.update(0.5)
        return 1.0 + losses.total / 10

    return make_scene(factor)


@trap
def policy_gradient() -> Scene:
    """REINFORCE: an action is drawn, and its reward comes from Python."""
    saved: list[torch.Tensor] = []

    def factor(net: nn.Module, batch: Any) -> torch.Tensor:
        choice = torch.distributions.Categorical(logits=net(batch[0]))
        action = choice.sample()
        saved.append(choice.log_prob(action))
        reward = 1.0 if action[0].item() == 1 else 0.0
        return 1.0 - saved[-1].mean() * reward

    return make_scene(factor)


# -- what a script anneals ---------------------------------------------------------------------------------------------


class _Trainer:
    """A trainer whose method is the step and who counts it, as many public scripts have one."""

    def __init__(self) -> None:
        self.net, self.global_step, self.warmup = make_net(), 0, 8
        self.optimizer = torch.optim.AdamW(self.net.parameters(), lr=0.01)

    def get_weight(self) -> float:
        return min(1.0, self.global_step / self.warmup)

    def train_step(self, batch: Any) -> torch.Tensor:
        loss = F.cross_entropy(self.net(batch[0]), batch[1]) * (1.0 + self.get_weight())
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss


@trap
def trainer_that_the_loop_counts() -> Scene:
    """A trainer's method as the step; the loop counts `global_step` up, and a weight is ramped by it."""
    trainer = _Trainer()

    def before(step: int) -> None:
        trainer.global_step = step

    return Scene(trainer.net, trainer.optimizer, trainer.train_step, before)


@trap
def schedule_object() -> Scene:
    """A schedule that is called in the step and moves on by itself."""

    class Schedule:
        def __init__(self) -> None:
            self.calls = 0

        def __call__(self) -> float:
            self.calls += 1
            return 1.0 / self.calls

    schedule = Schedule()
    return make_scene(lambda net, batch: schedule())


@trap
def cyclical_weight() -> Scene:
    """A weight of the divergence that rises and falls by a counter of the loop, read through a function."""
    step_now = {"value": 0}

    def get_beta() -> float:
        return 0.5 + 0.5 * math.sin(step_now["value"])

    def before(scene: Scene, step: int) -> None:
        step_now["value"] = step

    return make_scene(lambda net, batch: 2.0 + get_beta(), before)


@trap
def temperature_of_gumbel() -> Scene:
    """The temperature of a Gumbel softmax, annealed in an attribute."""
    net = make_net()
    net.temperature = 1.0  # type: ignore[assignment]

    def factor(net: Any, batch: Any) -> torch.Tensor:
        return 1.0 + F.gumbel_softmax(net(batch[0]), tau=net.temperature).square().mean()

    def before(scene: Scene, step: int) -> None:
        scene.net.temperature = 0.9**step  # type: ignore[assignment]

    return make_scene(factor, before, net)


@trap
def scheduled_sampling() -> Scene:
    """Teacher forcing by Python's generator with a ratio that decays."""
    ratio = [1.0]

    def factor(net: nn.Module, batch: Any) -> torch.Tensor:
        forced = batch[0] if random.random() < ratio[0] else torch.zeros_like(batch[0])  # noqa: S311 - the trap
        return 1.0 + net(forced).square().mean()

    def before(scene: Scene, step: int) -> None:
        ratio[0] = 0.8**step

    return make_scene(factor, before)


@trap
def sampling_by_a_mask() -> Scene:
    """Teacher forcing by a mask that torch draws, with a ratio that decays."""
    ratio = [1.0]

    def factor(net: nn.Module, batch: Any) -> torch.Tensor:
        forced = torch.where(torch.rand(4, 1) < ratio[0], batch[0], torch.zeros(()))
        return 1.0 + net(forced).square().mean()

    def before(scene: Scene, step: int) -> None:
        if step >= SWITCH:
            ratio[0] = 0.25

    return make_scene(factor, before)


@trap
def curriculum() -> Scene:
    """A curriculum: how much of each sample is shown depends on the phase."""
    shown = {"width": 2}

    def factor(net: nn.Module, batch: Any) -> torch.Tensor:
        return 1.0 + F.pad(batch[0][:, : shown["width"]], (0, 4 - shown["width"])).square().mean()

    return make_scene(factor, switch(lambda scene: shown.update(width=4)))


@trap
def mixing_coefficient() -> Scene:
    """Mixup with a coefficient that NumPy draws outside the step at each batch."""
    drawn, generator = {"lam": 1.0}, np.random.default_rng(0)

    def factor(net: nn.Module, batch: Any) -> torch.Tensor:
        mixed = drawn["lam"] * batch[0] + (1 - drawn["lam"]) * batch[0].flip(0)
        return 1.0 + net(mixed).square().mean()

    def before(scene: Scene, step: int) -> None:
        drawn["lam"] = float(generator.beta(0.4, 0.4))

    return make_scene(factor, before)


@trap
def mixing_in_the_step() -> Scene:
    """Mixup with a coefficient that NumPy draws in the step."""

    def factor(net: nn.Module, batch: Any) -> torch.Tensor:
        lam = float(np.random.beta(0.4, 0.4))  # noqa: NPY002 - the trap
        return 1.0 + net(lam * batch[0] + (1 - lam) * batch[0].flip(0)).square().mean()

    return make_scene(factor)


@trap
def label_smoothing_later() -> Scene:
    """A loss module whose label smoothing is turned on later."""
    criterion = nn.CrossEntropyLoss()

    def change(scene: Scene) -> None:
        criterion.label_smoothing = 0.1

    return make_scene(lambda net, batch: 1.0 + criterion(net(batch[0]), batch[1]), switch(change))


@trap
def consistency_ramp() -> Scene:
    """A mean teacher's consistency weight, by the epoch in a settings object."""
    settings = types.SimpleNamespace(epoch=0, ramp=5.0)

    def factor(net: nn.Module, batch: Any) -> float:
        return 1.0 + math.exp(-5.0 * (1.0 - min(settings.epoch / settings.ramp, 1.0)) ** 2)

    def before(scene: Scene, step: int) -> None:
        settings.epoch = step // 3

    return make_scene(factor, before)


@trap
def critic_more_often() -> Scene:
    """A part of the loss that counts only at each third step."""
    iteration = 0

    def factor(net: nn.Module, batch: Any) -> float:
        nonlocal iteration
        iteration += 1
        return 2.0 if iteration % 3 == 0 else 1.0

    return make_scene(factor)
