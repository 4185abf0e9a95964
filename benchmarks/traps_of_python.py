"""Traps in Python: counters, containers, objects, files, clocks and random numbers."""

# ruff: noqa: ARG001, ARG005 - what a trap is given and does not use is part of the scene

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
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.trap_scenes import SWITCH, Scene, make_net, make_scene, switch, trap

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
