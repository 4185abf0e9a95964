"""Ways in which a step depends on something that a graph does not see: each would be baked in if nobody looked.

A scene is a small model, its optimizer, a step and what happens outside between the steps. The docstring of its maker
says what the trap is. Everything that decides a number changes after the first steps, when nobody runs eager beside.
"""

# ruff: noqa: ARG001, ARG005, PLW0108 - what a trap is given and does not use is part of the scene

from __future__ import annotations

import array
import collections
import contextvars
import ctypes
import datetime as dt
import functools
import itertools
import operator
import os
import random
import tempfile
import threading
import time
import types
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
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


def make_scene(
    factor: Callable[[nn.Module, Any], Any] = lambda net, batch: 1.0,
    before: Callable[[Scene, int], None] = lambda scene, step: None,
    net: nn.Module | None = None,
    **options: Any,
) -> Scene:
    """Return the usual step, its loss multiplied by what `factor` gives."""
    model = make_net() if net is None else net
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

    def body(batch: Any) -> torch.Tensor:
        loss = F.cross_entropy(model(batch[0]), batch[1]) * factor(model, batch)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    scene = Scene(model, optimizer, body, **options)
    scene.before = functools.partial(before, scene)
    return scene


def switch(change: Callable[[Scene], Any]) -> Callable[[Scene, int], None]:
    """Return what calls `change` once, before the step `SWITCH`."""

    def before(scene: Scene, step: int) -> None:
        if step == SWITCH:
            change(scene)

    return before


# -- counters and values of Python -------------------------------------------------------------------------------------


@trap
def closure_counter() -> Scene:
    """A counter in a closure that the step moves."""
    count = 0

    def factor(net: nn.Module, batch: Any) -> float:
        nonlocal count
        count += 1
        return 1.0 + 0.1 * count

    return make_scene(factor)


@trap
def counter_of_a_module() -> Scene:
    """A counter that the model moves in its forward."""

    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.calls = make_net(), 0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.calls += 1
            return self.inner(x) * (0.5 if self.calls > SWITCH else 1.0)

    return make_scene(net=Counting())


@trap
def annealed_attribute() -> Scene:
    """An attribute of the model that the loop anneals at every step."""

    def before(scene: Scene, step: int) -> None:
        scene.net.beta = 0.1 * step

    return make_scene(lambda net, batch: net.beta, before)


@trap
def closure_rate() -> Scene:
    """A number in a closure that the loop changes later."""
    rate = 1.0

    def set_rate(scene: Scene) -> None:
        nonlocal rate
        rate = 0.25

    return make_scene(lambda net, batch: rate, switch(set_rate))


_weight = 1.0


def _set_weight(value: float) -> None:
    global _weight  # noqa: PLW0603 - that is the trap
    _weight = value


@trap
def late_global() -> Scene:
    """A global that first changes at step 1,000."""
    _set_weight(1.0)

    def before(scene: Scene, step: int) -> None:
        if step == 1000:
            _set_weight(0.5)

    return make_scene(lambda net, batch: _weight, before, steps=1004)


_cache: dict[str, Any] = {}


@trap
def global_cache() -> Scene:
    """A global dictionary that the step fills and reads."""
    _cache.clear()

    def factor(net: nn.Module, batch: Any) -> Any:
        if "scale" not in _cache:
            _cache["scale"] = batch[0].abs().mean().detach()
        return _cache["scale"]

    return make_scene(factor)


@trap
def step_number_in_a_global() -> Scene:
    """A branch on a step number that the loop keeps: `if step > 3`."""

    def before(scene: Scene, step: int) -> None:
        _set_weight(float(step))

    return make_scene(lambda net, batch: 0.5 if _weight > 3 else 1.0, before)


@trap
def memoised_function() -> Scene:
    """A memoised function whose result the loop forgets and changes."""
    scale = [1.0]

    @functools.lru_cache
    def get_scale() -> float:
        return scale[0]

    def change(scene: Scene) -> None:
        scale[0] = 0.5
        get_scale.cache_clear()

    return make_scene(lambda net, batch: get_scale(), switch(change))


@trap
def iterator() -> Scene:
    """A number from an endless iterator."""
    numbers = itertools.count(1)
    return make_scene(lambda net, batch: 0.1 * next(numbers))


@trap
def generator_function() -> Scene:
    """A number from a generator."""
    numbers = (1 / n for n in itertools.count(1))
    return make_scene(lambda net, batch: next(numbers))


@trap
def queue() -> Scene:
    """Numbers taken from a deque."""
    waiting = collections.deque(1.0 / n for n in range(1, 400))
    return make_scene(lambda net, batch: waiting.popleft())


@trap
def growing_list() -> Scene:
    """A list that the step appends to and whose length it uses."""
    seen: list[int] = []

    def factor(net: nn.Module, batch: Any) -> float:
        seen.append(1)
        return 1.0 / len(seen)

    return make_scene(factor)


@trap
def long_list() -> Scene:
    """One of 10,000 numbers in a list, changed later."""
    numbers = [1.0] * 10_000

    def change(scene: Scene) -> None:
        numbers[5000] = 0.5

    return make_scene(lambda net, batch: numbers[5000], switch(change))


@trap
def large_array() -> Scene:
    """One of 10,000 numbers in a NumPy array, changed later."""
    numbers = np.ones(10_000)

    def change(scene: Scene) -> None:
        numbers[5000] = 0.5

    return make_scene(lambda net, batch: float(numbers[5000]), switch(change))


@trap
def typed_array() -> Scene:
    """A number in an `array.array`, changed later."""
    numbers = array.array("d", [1.0])

    def change(scene: Scene) -> None:
        numbers[0] = 0.5

    return make_scene(lambda net, batch: numbers[0], switch(change))


@trap
def bytes_that_change() -> Scene:
    """A number in a bytearray, changed later."""
    numbers = bytearray(b"\x02")

    def change(scene: Scene) -> None:
        numbers[0] = 1

    return make_scene(lambda net, batch: 0.5 * numbers[0], switch(change))


@trap
def deep_settings() -> Scene:
    """A number nested seven dictionaries deep, changed later."""
    settings: dict[str, Any] = {"value": 1.0}
    innermost = settings
    for _ in range(7):
        settings = {"next": settings}

    def factor(net: nn.Module, batch: Any) -> float:
        found = settings
        while "next" in found:
            found = found["next"]
        return found["value"]

    def change(scene: Scene) -> None:
        innermost["value"] = 0.5

    return make_scene(factor, switch(change))


@trap
def context_variable() -> Scene:
    """A context variable that the loop sets."""
    scale: contextvars.ContextVar[float] = contextvars.ContextVar("scale", default=1.0)
    return make_scene(lambda net, batch: scale.get(), switch(lambda scene: scale.set(0.5)))


@trap
def environment() -> Scene:
    """A number in an environment variable that the loop sets."""
    os.environ["TRAP_SCALE"] = "1.0"

    def change(scene: Scene) -> None:
        os.environ["TRAP_SCALE"] = "0.5"

    return make_scene(lambda net, batch: float(os.environ["TRAP_SCALE"]), switch(change))


@trap
def environment_by_getenv() -> Scene:
    """The same by `os.getenv`."""
    os.environ["TRAP_SCALE"] = "1.0"

    def change(scene: Scene) -> None:
        os.environ["TRAP_SCALE"] = "0.5"

    return make_scene(lambda net, batch: float(os.getenv("TRAP_SCALE", "1")), switch(change))


@trap
def file_on_the_disk() -> Scene:
    """A number in a file that the loop writes."""
    path = Path(tempfile.gettempdir()) / f"assay-trap-{os.getpid()}"
    path.write_text("1.0", encoding="utf-8")
    return make_scene(
        lambda net, batch: float(path.read_text(encoding="utf-8")),
        switch(lambda scene: path.write_text("0.5", encoding="utf-8")),
    )


@trap
def file_by_open() -> Scene:
    """The same by `open`."""
    path = str(Path(tempfile.gettempdir()) / f"assay-trap-{os.getpid()}")
    Path(path).write_text("1.0", encoding="utf-8")

    def factor(net: nn.Module, batch: Any) -> float:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123 - the trap
            return float(file.read())

    return make_scene(factor, switch(lambda scene: Path(path).write_text("0.5", encoding="utf-8")))


@trap
def property_of_an_object() -> Scene:
    """An object whose property computes a number from a private attribute."""

    class Schedule:
        def __init__(self) -> None:
            self._step = 0

        @property
        def value(self) -> float:
            return 1.0 if self._step < SWITCH else 0.5

    schedule = Schedule()

    def before(scene: Scene, step: int) -> None:
        schedule._step = step

    return make_scene(lambda net, batch: schedule.value, before)


@trap
def class_attribute() -> Scene:
    """An attribute of the model's class."""

    class Scaled(nn.Module):
        scale = 1.0

        def __init__(self) -> None:
            super().__init__()
            self.inner = make_net()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.inner(x) * self.scale

    def change(scene: Scene) -> None:
        Scaled.scale = 0.5

    return make_scene(net=Scaled(), before=switch(change))


@trap
def default_argument() -> Scene:
    """A mutable default argument."""

    def factor(net: nn.Module, batch: Any, seen: list[int] = []) -> float:  # noqa: B006 - the trap
        seen.append(1)
        return 1.0 / len(seen)

    factor.__defaults__[0].clear()  # type: ignore[index]
    return make_scene(factor)


@trap
def thread_local() -> Scene:
    """A number in a thread-local object, changed later."""
    local = threading.local()
    local.scale = 1.0

    def change(scene: Scene) -> None:
        local.scale = 0.5

    return make_scene(lambda net, batch: local.scale, switch(change))


@trap
def c_number() -> Scene:
    """A number of ctypes, changed later."""
    scale = ctypes.c_double(1.0)

    def change(scene: Scene) -> None:
        scale.value = 0.5

    return make_scene(lambda net, batch: scale.value, switch(change))


@trap
def computed_name() -> Scene:
    """An attribute that the step reads by a computed name."""
    settings = types.SimpleNamespace(scale=1.0)
    read = operator.attrgetter("sca" + "le")

    def change(scene: Scene) -> None:
        settings.scale = 0.5

    return make_scene(
        lambda net, batch: operator.attrgetter("sca" + "le")(settings) + 0 * read(settings), switch(change)
    )


@trap
def code_in_a_text() -> Scene:
    """A global that the step reads by `eval`."""
    _set_weight(1.0)
    return make_scene(lambda net, batch: eval("_weight"), switch(lambda scene: _set_weight(0.5)))  # noqa: S307


@trap
def distribution_outside() -> Scene:
    """The scale of a distribution of torch, changed later."""
    noise = torch.distributions.Normal(torch.zeros(()), torch.ones(()))

    def change(scene: Scene) -> None:
        noise.scale = torch.full((), 0.5)

    return make_scene(lambda net, batch: 1.0 + 0.1 * noise.rsample(), switch(change))


# -- clocks and random numbers -----------------------------------------------------------------------------------------


@trap
def clock() -> Scene:
    """The time of day."""
    return make_scene(lambda net, batch: time.time() % 2)


@trap
def clock_of_datetime() -> Scene:
    """The time of day by datetime."""
    return make_scene(lambda net, batch: 1.0 + dt.datetime.now().microsecond)  # noqa: DTZ005 - the trap


@trap
def generator_object() -> Scene:
    """A NumPy generator made before."""
    generator = np.random.default_rng(0)
    return make_scene(lambda net, batch: generator.random())


@trap
def numpy_global() -> Scene:
    """NumPy's global generator."""
    return make_scene(lambda net, batch: np.random.rand())  # noqa: NPY002 - the trap


@trap
def python_global() -> Scene:
    """Python's global generator."""
    return make_scene(lambda net, batch: random.random())  # noqa: S311 - the trap


@trap
def bound_random() -> Scene:
    """Python's global generator by a name taken before."""
    draw = random.random
    return make_scene(lambda net, batch: draw())


@trap
def operating_system() -> Scene:
    """Bytes of the operating system's generator."""
    return make_scene(lambda net, batch: 1.0 + os.urandom(1)[0] / 256)


@trap
def torch_generator() -> Scene:
    """A generator of torch."""
    generator = torch.Generator()
    return make_scene(lambda net, batch: torch.rand((), generator=generator))


@trap
def reseeding() -> Scene:
    """A seed set in the step."""

    def factor(net: nn.Module, batch: Any) -> torch.Tensor:
        torch.manual_seed(0)
        return torch.rand(())

    return make_scene(factor)


@trap
def draw_by_torch() -> Scene:
    """Noise by torch's own generator, which counter-based draws replace."""
    return make_scene(lambda net, batch: 1.0 + 0.1 * torch.rand(()))


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
        loss = F.cross_entropy(inner(batch[0]), batch[1]) * optimizer.param_groups[0]["lr"]
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

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
