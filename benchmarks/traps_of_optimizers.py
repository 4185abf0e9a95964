"""Traps in optimizers that a script drives, hooks, wraps or writes itself."""

# ruff: noqa: ARG005 - what a trap is given and does not use is part of the scene

from __future__ import annotations

import math
from typing import Any

import torch
from torch.nn import functional as F  # noqa: N812 - the name that everybody uses

from benchmarks.trap_scenes import SWITCH, Scene, make_net, make_scene, switch, trap, update


@trap
def rate_by_hand_in_the_step() -> Scene:
    """A cosine rate with warm-up that the step computes from its own counter."""
    net = make_net()
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.01)
    iteration = 0

    def body(batch: Any) -> torch.Tensor:
        nonlocal iteration
        iteration += 1
        for group in optimizer.param_groups:
            group["lr"] = 0.01 * min(iteration / 4, 0.5 * (1 + math.cos(math.pi * iteration / 12)))
        return update(F.cross_entropy(net(batch[0]), batch[1]), optimizer)

    return Scene(net, optimizer, body)


@trap
def rate_by_hand_in_the_loop() -> Scene:
    """The same rate, set by the loop before each step."""

    def before(scene: Scene, step: int) -> None:
        for group in scene.optimizer.param_groups:
            group["lr"] = 0.01 * min(step / 4, 0.5 * (1 + math.cos(math.pi * step / 12)))

    return make_scene(before=before)


@trap
def rate_by_a_hook() -> Scene:
    """A hook of the optimizer's step that sets the rate from a counter of the loop."""
    now = {"step": 0}
    scene = make_scene(before=lambda scene, step: now.update(step=step))

    def hook(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        for group in optimizer.param_groups:
            group["lr"] = 0.1 / (1 + now["step"])

    scene.optimizer.register_step_pre_hook(hook)
    return scene


@trap
def accumulation_by_hand() -> Scene:
    """Gradients of several batches, by a counter in the step."""
    net = make_net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    seen = 0

    def body(batch: Any) -> torch.Tensor:
        nonlocal seen
        seen += 1
        loss = F.cross_entropy(net(batch[0]), batch[1]) / 4
        loss.backward()
        if seen % 4 == 0:
            optimizer.step()
            optimizer.zero_grad()
        return loss

    return Scene(net, optimizer, body)


@trap
def scale_of_gradients() -> Scene:
    """A hook of each parameter that scales its gradient by a number of the loop."""
    scale = {"value": 1.0}
    scene = make_scene(before=lambda scene, step: scale.update(value=1.0 if step < SWITCH else 0.5))
    for parameter in scene.net.parameters():
        parameter.register_hook(lambda gradient: gradient * scale["value"])
    return scene


@trap
def second_hook_of_a_gradient() -> Scene:
    """A hook of a parameter that has one already."""
    scene = make_scene(
        before=switch(lambda scene: next(scene.net.parameters()).register_hook(lambda gradient: 2 * gradient))
    )
    next(scene.net.parameters()).register_hook(lambda gradient: 0.5 * gradient)
    return scene


@trap
def gradient_after_it_is_whole() -> Scene:
    """A hook that scales the whole gradient of a parameter by a number of the loop."""
    scale = {"value": 1.0}
    scene = make_scene(before=switch(lambda scene: scale.update(value=0.5)))

    def hook(whole: torch.Tensor) -> None:
        whole.grad.mul_(scale["value"])  # type: ignore[union-attr]

    for parameter in scene.net.parameters():
        parameter.register_post_accumulate_grad_hook(hook)
    return scene


@trap
def gradients_by_a_hook_of_the_optimizer() -> Scene:
    """A hook of the optimizer's step that scales the gradients by a number of the loop."""
    scale = {"value": 1.0}
    scene = make_scene(before=switch(lambda scene: scale.update(value=0.5)))

    def hook(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad.mul_(scale["value"])

    scene.optimizer.register_step_pre_hook(hook)
    return scene


@trap
def late_hook_of_the_optimizer() -> Scene:
    """A hook of the optimizer's step that is registered later."""

    def hook(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        for parameter in optimizer.param_groups[0]["params"]:
            parameter.grad.mul_(0.5)

    return make_scene(before=switch(lambda scene: scene.optimizer.register_step_pre_hook(hook)))


@trap
def step_of_the_optimizer_replaced() -> Scene:
    """An optimizer whose `step` the script wraps, with a number of the loop."""
    scale = {"value": 1.0}
    scene = make_scene(before=switch(lambda scene: scale.update(value=0.5)))
    step = scene.optimizer.step

    def scaled() -> None:
        for parameter in scene.net.parameters():
            parameter.grad.mul_(scale["value"])
        step()

    scene.optimizer.step = scaled  # type: ignore[method-assign, assignment]
    return scene


@trap
def counter_of_the_optimizer() -> Scene:
    """The step that Adam counts, read in the loss."""
    net = make_net()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    first = next(net.parameters())

    def body(batch: Any) -> torch.Tensor:
        count = optimizer.state[first]["step"] if optimizer.state else torch.zeros(())
        return update(F.cross_entropy(net(batch[0]), batch[1]) * (1.0 + count), optimizer)

    return Scene(net, optimizer, body)


@trap
def epoch_of_a_scheduler() -> Scene:
    """A scheduler's `last_epoch`, read in the loss."""
    scene = make_scene()
    schedule = torch.optim.lr_scheduler.StepLR(scene.optimizer, 100)
    other = make_scene(lambda net, batch: 1.0 + schedule.last_epoch, net=scene.net)
    scene.optimizer.step()  # the order that schedulers ask for
    scene.before = lambda step: schedule.step() if step > 1 else None
    return Scene(other.net, other.optimizer, other.body, scene.before)


# -- optimizers that a script has of its own ---------------------------------------------------------------------------


class _Own(torch.optim.Optimizer):
    """Gradient descent with something of its own in how it weighs or takes the gradient."""

    count, factor, takes_signs = 0, 1.0, False

    def __init__(self, parameters: Any) -> None:
        super().__init__(parameters, {"lr": 0.1})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # noqa: ARG002 - the signature of every optimizer
        """Go down the gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.add_(self.take(parameter.grad), alpha=-group["lr"])

    def take(self, gradient: torch.Tensor) -> torch.Tensor:
        """Return the direction."""
        return gradient


class _Counting(_Own):
    def take(self, gradient: torch.Tensor) -> torch.Tensor:
        self.count += 1
        return gradient / self.count


class _Scaling(_Own):
    def take(self, gradient: torch.Tensor) -> torch.Tensor:
        return gradient * self.factor


class _Choosing(_Own):
    def take(self, gradient: torch.Tensor) -> torch.Tensor:
        return gradient.sign() if self.takes_signs else gradient


_SCALE = {"value": 1.0}


class _Reading(_Own):
    def take(self, gradient: torch.Tensor) -> torch.Tensor:
        return gradient * _SCALE["value"]


@trap
def optimizer_that_counts() -> Scene:
    """An optimizer of the script that counts in an attribute."""
    return make_scene(make_optimizer=_Counting)


@trap
def factor_of_an_optimizer() -> Scene:
    """An optimizer of the script with a factor that the loop changes."""
    return make_scene(before=switch(lambda scene: setattr(scene.optimizer, "factor", 0.5)), make_optimizer=_Scaling)


@trap
def choice_of_an_optimizer() -> Scene:
    """An optimizer of the script with a flag that the loop sets."""
    return make_scene(
        before=switch(lambda scene: setattr(scene.optimizer, "takes_signs", True)), make_optimizer=_Choosing
    )


@trap
def global_of_an_optimizer() -> Scene:
    """An optimizer of the script that reads a global which the loop changes."""
    _SCALE["value"] = 1.0
    return make_scene(before=switch(lambda scene: _SCALE.update(value=0.5)), make_optimizer=_Reading)


def _scale(gradient: torch.Tensor) -> torch.Tensor:
    return gradient * _SCALE["value"]


def _halve(gradient: torch.Tensor) -> torch.Tensor:
    return gradient / 2


class _Holding(_Own):
    def __init__(self, parameters: Any) -> None:
        super().__init__(parameters)
        self.direction = _scale

    def take(self, gradient: torch.Tensor) -> torch.Tensor:
        return self.direction(gradient)


@trap
def function_of_an_optimizer() -> Scene:
    """An optimizer of the script that holds a function, which reads a global that the loop changes."""
    _SCALE["value"] = 1.0
    return make_scene(before=switch(lambda scene: _SCALE.update(value=0.5)), make_optimizer=_Holding)


@trap
def other_function_of_an_optimizer() -> Scene:
    """An optimizer of the script that holds a function, in whose place the loop puts another."""
    _SCALE["value"] = 1.0
    return make_scene(
        before=switch(lambda scene: setattr(scene.optimizer, "direction", _halve)), make_optimizer=_Holding
    )


@trap
def closure_of_an_optimizer() -> Scene:
    """An optimizer of the script that holds a function with a counter of its own."""
    count = 0

    def count_up(gradient: torch.Tensor) -> torch.Tensor:
        nonlocal count
        count += 1
        return gradient / count

    scene = make_scene(make_optimizer=_Holding)
    scene.optimizer.direction = count_up  # type: ignore[attr-defined]
    return scene
