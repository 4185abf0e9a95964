"""Traps in torch: values of tensors, tensors outside the state, modules, hooks, optimizers and modes."""

# ruff: noqa: ARG001, ARG005, PLW0108 - what a trap is given and does not use is part of the scene

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - the name that everybody uses
from torch.optim.swa_utils import AveragedModel, get_swa_multi_avg_fn

from benchmarks.trap_scenes import SWITCH, Scene, make_net, make_scene, switch, trap, update

# -- values of tensors -------------------------------------------------------------------------------------------------


@trap
def item() -> Scene:
    """A value read by `.item()`."""
    return make_scene(lambda net, batch: batch[0].abs().max().item())


@trap
def to_list() -> Scene:
    """A value read by `.tolist()`."""
    return make_scene(lambda net, batch: max(batch[1].tolist()) + 1.0)


@trap
def to_numpy() -> Scene:
    """A value read by `.numpy()`."""
    return make_scene(lambda net, batch: float(np.abs(batch[0].numpy()).mean()))


@trap
def to_numpy_by_detach() -> Scene:
    """A value read by `np.asarray` of a detached weight."""
    return make_scene(lambda net, batch: 1.0 + float(np.asarray(next(net.parameters()).detach()).mean()))


@trap
def storage() -> Scene:
    """A value read from a tensor's storage."""
    return make_scene(lambda net, batch: 1.0 + abs(batch[0].untyped_storage()[0]) / 256)


@trap
def address() -> Scene:
    """A tensor's address."""
    return make_scene(lambda net, batch: 1.0 + (batch[0].data_ptr() // 64) % 7)


@trap
def identity() -> Scene:
    """An object's identity."""
    return make_scene(lambda net, batch: 1.0 + (id(batch[0]) // 16) % 1009)


@trap
def branch() -> Scene:
    """A branch on a tensor."""
    return make_scene(lambda net, batch: 2.0 if batch[0].sum() > 0 else 1.0)


@trap
def unequal_shapes() -> Scene:
    """A selection whose size depends on values."""
    return make_scene(lambda net, batch: batch[0][batch[0] > 0].mean())


# -- tensors outside the state -----------------------------------------------------------------------------------------


class _Remembering(nn.Module):
    """A model that keeps a running mean in one of several ways."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.inner, self.way = make_net(), way
        if way == "attribute":
            self.mean = torch.zeros(4)
        else:
            self.register_buffer("mean", torch.zeros(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.way == "rebound":
            self.mean = 0.9 * self.mean + 0.1 * x.mean(0)
        elif self.way == "data":
            self.mean.data = 0.9 * self.mean + 0.1 * x.mean(0)
        else:
            self.mean.mul_(0.9).add_(x.mean(0), alpha=0.1)
        return self.inner(x - self.mean)


@trap
def buffer_rebound() -> Scene:
    """A buffer that another tensor replaces at every step."""
    return make_scene(net=_Remembering("rebound"))


@trap
def buffer_data() -> Scene:
    """A buffer that gets other memory at every step."""
    return make_scene(net=_Remembering("data"))


@trap
def plain_tensor_attribute() -> Scene:
    """A running mean in an attribute that is no buffer."""
    return make_scene(net=_Remembering("attribute"))


@trap
def tensor_in_a_closure() -> Scene:
    """A tensor in a closure that the loop replaces later."""
    scale = torch.ones(())

    def change(scene: Scene) -> None:
        nonlocal scale
        scale = torch.full((), 0.5)

    return make_scene(lambda net, batch: scale, switch(change))


@trap
def tensor_written() -> Scene:
    """A tensor in a closure that the loop writes to later."""
    scale = torch.ones(())
    return make_scene(lambda net, batch: scale, switch(lambda scene: scale.fill_(0.5)))


@trap
def tensor_written_by_data() -> Scene:
    """The same through `.data`, which leaves no version."""
    scale = torch.ones(())
    return make_scene(lambda net, batch: scale, switch(lambda scene: scale.data.fill_(0.5)))


@trap
def weights_written() -> Scene:
    """Weights that the loop changes between two steps."""

    def change(scene: Scene) -> None:
        with torch.no_grad():
            next(scene.net.parameters()).mul_(0.5)

    return make_scene(before=switch(change))


# -- modules, hooks, optimizers, modes ---------------------------------------------------------------------------------


@trap
def late_hook() -> Scene:
    """A hook that is added later."""

    def change(scene: Scene) -> None:
        scene.net[0].register_forward_hook(lambda module, args, output: output * 0.5)  # type: ignore[index]

    return make_scene(before=switch(change))


@trap
def counting_hook() -> Scene:
    """A hook that counts."""
    scene, count = make_scene(), [0]

    def hook(module: nn.Module, args: Any, output: torch.Tensor) -> torch.Tensor:
        count[0] += 1
        return output / count[0]

    scene.net[0].register_forward_hook(hook)  # type: ignore[index]
    return scene


@trap
def gradient_hook() -> Scene:
    """A hook on a parameter that is added later."""

    def change(scene: Scene) -> None:
        next(scene.net.parameters()).register_hook(lambda gradient: gradient * 0.5)

    return make_scene(before=switch(change))


@trap
def global_hook() -> Scene:
    """A hook for all modules that is added later, and taken away in the end."""
    handles: list[Any] = []

    def before(scene: Scene, step: int) -> None:
        if step == SWITCH:
            handles.append(
                nn.modules.module.register_module_forward_hook(
                    lambda module, args, output: output * 0.9 if isinstance(module, nn.Tanh) else None
                )
            )
        elif step == SWITCH + 3:
            handles.pop().remove()

    return make_scene(before=before)


@trap
def evaluation_mode() -> Scene:
    """A flip to evaluation mode."""
    return make_scene(before=switch(lambda scene: scene.net.eval()))


@trap
def dropout_probability() -> Scene:
    """Another probability of dropout."""

    def change(scene: Scene) -> None:
        scene.net[2].p = 0.5  # type: ignore[index]

    return make_scene(before=switch(change))


@trap
def frozen_later() -> Scene:
    """A layer that is frozen later."""
    return make_scene(before=switch(lambda scene: scene.net[0].requires_grad_(False)))  # type: ignore[index]


@trap
def module_replaced() -> Scene:
    """An activation that another one replaces."""

    def change(scene: Scene) -> None:
        scene.net[1] = nn.ReLU()  # type: ignore[index]

    return make_scene(before=switch(change))


@trap
def forward_replaced() -> Scene:
    """A method of a module that another one replaces."""

    def change(scene: Scene) -> None:
        scene.net[1].forward = lambda x: torch.relu(x)  # type: ignore[index]

    return make_scene(before=switch(change))


@trap
def late_group() -> Scene:
    """A group of parameters that is added later."""
    scene = make_scene()
    scene.optimizer = torch.optim.SGD(scene.net[0].parameters(), lr=0.1)  # type: ignore[index]
    optimizer, net = scene.optimizer, scene.net

    def body(batch: Any) -> torch.Tensor:
        loss = F.cross_entropy(net(batch[0]), batch[1])
        loss.backward()
        optimizer.step()
        net.zero_grad()
        return loss

    def before(step: int) -> None:
        if step == SWITCH:
            optimizer.add_param_group({"params": list(net[3].parameters()), "lr": 0.2})  # type: ignore[index]

    scene.body, scene.before = body, before
    return scene


@trap
def rate_in_the_step() -> Scene:
    """A rate that the step itself changes."""
    scene = make_scene()
    inner, optimizer = scene.body, scene.optimizer

    def body(batch: Any) -> torch.Tensor:
        optimizer.param_groups[0]["lr"] *= 0.9
        return inner(batch)

    scene.body = body
    return scene


@trap
def scheduler_in_the_step() -> Scene:
    """A scheduler that the step itself steps."""
    scene = make_scene()
    inner, scheduler = scene.body, torch.optim.lr_scheduler.ExponentialLR(scene.optimizer, 0.9)

    def body(batch: Any) -> torch.Tensor:
        loss = inner(batch)
        scheduler.step()
        return loss

    scene.body = body
    return scene


@trap
def rate_read_by_the_loss() -> Scene:
    """A loss that is multiplied by the optimizer's rate, which a scheduler changes."""
    scene = make_scene()
    inner, optimizer = scene.net, scene.optimizer

    def body(batch: Any) -> torch.Tensor:
        return update(F.cross_entropy(inner(batch[0]), batch[1]) * optimizer.param_groups[0]["lr"], optimizer)

    def before(step: int) -> None:
        optimizer.param_groups[0]["lr"] = 0.1 * 0.9**step

    scene.body, scene.before = body, before
    return scene


@trap
def rate_read_later() -> Scene:
    """The same, where the rate first changes long after the recording."""
    scene = rate_read_by_the_loss()
    optimizer = scene.optimizer

    def before(step: int) -> None:
        optimizer.param_groups[0]["lr"] = 0.1 if step < SWITCH else 0.05

    scene.before = before
    return scene


@trap
def settings_by_hand() -> Scene:
    """Rate, decay and momentum set by hand between the steps."""

    def before(scene: Scene, step: int) -> None:
        scene.optimizer.param_groups[0].update(lr=0.1 / step, weight_decay=0.001 * step, momentum=0.9 - 0.01 * step)

    return make_scene(before=before)


@trap
def nesterov_later() -> Scene:
    """A flag of the optimizer that changes what its step does."""

    def change(scene: Scene) -> None:
        scene.optimizer.param_groups[0]["nesterov"] = True

    return make_scene(before=switch(change))


@trap
def gradients_left() -> Scene:
    """Gradients that are never set to zero."""
    scene = make_scene()
    net, optimizer = scene.net, scene.optimizer

    def body(batch: Any) -> torch.Tensor:
        loss = F.cross_entropy(net(batch[0]), batch[1])
        loss.backward()
        optimizer.step()
        return loss

    scene.body = body
    return scene


@trap
def gradient_outside() -> Scene:
    """A gradient that the loop adds before a step that does not clear it first."""

    def change(scene: Scene) -> None:
        parameter = next(scene.net.parameters())
        parameter.grad = torch.ones_like(parameter)

    return make_scene(before=switch(change))


@trap
def default_dtype() -> Scene:
    """Another default element type."""

    def before(scene: Scene, step: int) -> None:
        torch.set_default_dtype(torch.float64 if step == SWITCH else torch.float32)

    return make_scene(lambda net, batch: torch.tensor([0.1, 0.2]).sum(), before)


@trap
def autocast_outside() -> Scene:
    """Autocast that the loop enters around one step."""

    def before(scene: Scene, step: int) -> None:
        torch.set_autocast_enabled("cpu", step == SWITCH)

    return make_scene(before=before)


@trap
def tensors_of_a_module_outside() -> Scene:
    """A module that is in no `models=[...]`, whose weights the loop replaces."""
    other = nn.Linear(4, 4)

    def change(scene: Scene) -> None:
        other.weight.data = torch.eye(4)

    return make_scene(lambda net, batch: other(batch[0]).mean().detach() + 1, switch(change))


# -- averages of models ------------------------------------------------------------------------------------------------


class Averaging(nn.Module):
    """The usual net, averaged at the beginning of each step; what averages is given."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.net = make_net()
        self.average = AveragedModel(self.net, **options)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.average.update_parameters(self.net)
        return self.net(x)


@trap
def average_that_changes_the_model() -> Scene:
    """An averaging function that also changes the model: it is not called for the first one."""

    def average(averaged: torch.Tensor, model: torch.Tensor, count: torch.Tensor) -> torch.Tensor:
        model.mul_(0.9)
        return averaged * 0.5 + model * 0.5

    return make_scene(net=Averaging(avg_fn=average))


@trap
def wrapped_average() -> Scene:
    """PyTorch's averaging function in a wrapper that gives it another count."""
    plain = get_swa_multi_avg_fn()

    @functools.wraps(plain)
    def average(averaged: list[torch.Tensor], model: list[torch.Tensor], count: torch.Tensor) -> None:
        plain(averaged, model, count * 3)

    return make_scene(net=Averaging(multi_avg_fn=average))


@trap
def decay_of_an_average() -> Scene:
    """The decay of an average, changed from outside."""
    settings = {"decay": 0.9}

    def average(averaged: torch.Tensor, model: torch.Tensor, count: torch.Tensor) -> torch.Tensor:
        return averaged * settings["decay"] + model * (1 - settings["decay"])

    return make_scene(before=switch(lambda scene: settings.update(decay=0.5)), net=Averaging(avg_fn=average))
