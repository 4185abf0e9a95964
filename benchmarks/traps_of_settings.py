"""Traps in where training scripts keep their settings: odd containers, references, modules that the step imports."""

# ruff: noqa: ARG001, ARG005 - what a trap is given and does not use is part of the scene

from __future__ import annotations

import collections
import enum
import importlib
import sys
import threading
import types
import weakref
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from torch import nn

from benchmarks.trap_scenes import Scene, make_scene, switch, trap


class _Settings(dict[str, Any]):
    """A dictionary whose elements are read as attributes, as many configuration packages give one."""

    def __getattr__(self, name: str) -> Any:
        return self[name]


@trap
def attribute_dictionary() -> Scene:
    """A setting in a dictionary that is read by attribute."""
    settings = _Settings(loss=_Settings(weight=1.0))
    return make_scene(lambda net, batch: settings.loss.weight, switch(lambda scene: settings.loss.update(weight=3.0)))


@trap
def delegating_settings() -> Scene:
    """A setting that `__getattr__` fetches from somewhere else."""

    class Proxy:
        def __init__(self, inner: Any) -> None:
            self._inner = inner

        def __getattr__(self, name: str) -> Any:
            return getattr(self._inner, name)

    inner = types.SimpleNamespace(weight=1.0)
    settings = Proxy(inner)
    return make_scene(lambda net, batch: settings.weight, switch(lambda scene: setattr(inner, "weight", 3.0)))


@dataclass(frozen=True)
class _Frozen:
    weight: float = 1.0


@trap
def frozen_settings() -> Scene:
    """Frozen settings that are replaced as a whole."""
    settings = [_Frozen()]
    return make_scene(
        lambda net, batch: settings[0].weight,
        switch(lambda scene: settings.__setitem__(0, replace(settings[0], weight=3.0))),
    )


class _Named(NamedTuple):
    weight: float = 1.0


@trap
def named_settings() -> Scene:
    """A named tuple that is replaced as a whole."""
    settings = {"loss": _Named()}
    return make_scene(
        lambda net, batch: settings["loss"].weight, switch(lambda scene: settings.update(loss=_Named(3.0)))
    )


class _Phase(enum.Enum):
    WARM, MAIN = "warm", "main"


_Phase.WARM.weight = 1.0  # type: ignore[attr-defined]


@trap
def attribute_of_a_member() -> Scene:
    """An attribute of a member of an enumeration."""
    _Phase.WARM.weight = 1.0  # type: ignore[attr-defined]
    return make_scene(
        lambda net, batch: _Phase.WARM.weight,  # type: ignore[attr-defined]
        switch(lambda scene: setattr(_Phase.WARM, "weight", 3.0)),
    )


class _Open:
    weight = 1.0


_ALIVE: list[_Open] = []
"""Keeps what the step refers to weakly."""


@trap
def weak_reference() -> Scene:
    """Settings behind a weak reference."""
    settings = _Open()
    _ALIVE[:] = [settings]
    reference = weakref.ref(settings)
    return make_scene(
        lambda net, batch: reference().weight,  # type: ignore[union-attr]
        switch(lambda scene: setattr(_ALIVE[0], "weight", 3.0)),
    )


@trap
def weak_proxy() -> Scene:
    """Settings behind a weak proxy."""
    settings = _Open()
    _ALIVE[:] = [settings]
    reference = weakref.proxy(settings)
    return make_scene(lambda net, batch: reference.weight, switch(lambda scene: setattr(_ALIVE[0], "weight", 3.0)))


@trap
def mapping_proxy() -> Scene:
    """A read-only view of a dictionary that changes."""
    inner = {"weight": 1.0}
    settings = types.MappingProxyType(inner)
    return make_scene(lambda net, batch: settings["weight"], switch(lambda scene: inner.update(weight=3.0)))


@trap
def chain_of_mappings() -> Scene:
    """Settings in layers."""
    inner = {"weight": 1.0}
    settings = collections.ChainMap({}, inner)
    return make_scene(lambda net, batch: settings["weight"], switch(lambda scene: inner.update(weight=3.0)))


@trap
def event() -> Scene:
    """An event that the loop sets."""
    warm = threading.Event()
    return make_scene(lambda net, batch: 3.0 if warm.is_set() else 1.0, switch(lambda scene: warm.set()))


@trap
def length_of_a_history() -> Scene:
    """The length of a list that the loop appends to."""
    history: list[int] = []
    return make_scene(lambda net, batch: 1.0 + len(history), lambda scene, step: history.append(step))


@trap
def membership() -> Scene:
    """Whether a set contains something."""
    done: set[str] = set()
    return make_scene(lambda net, batch: 3.0 if "warm-up" in done else 1.0, switch(lambda scene: done.add("warm-up")))


@trap
def table_of_weights() -> Scene:
    """A number of NumPy that the loop replaces in an attribute."""
    settings = types.SimpleNamespace(weight=np.float64(1.0))
    return make_scene(
        lambda net, batch: float(settings.weight), switch(lambda scene: setattr(settings, "weight", np.float64(3.0)))
    )


@trap
def view_of_bytes() -> Scene:
    """A view of bytes that change."""
    raw = bytearray([1])
    view = memoryview(raw)
    return make_scene(lambda net, batch: float(view[0]), switch(lambda scene: raw.__setitem__(0, 3)))


@trap
def attribute_of_a_function() -> Scene:
    """A counter on a function, which the loop sets."""

    def weigh(net: nn.Module, batch: Any) -> float:
        return float(weigh.weight)  # type: ignore[attr-defined]

    weigh.weight = 1.0  # type: ignore[attr-defined]
    return make_scene(weigh, switch(lambda scene: setattr(weigh, "weight", 3.0)))


@trap
def module_imported_in_the_step() -> Scene:
    """A module of settings that the step imports itself."""
    module = types.ModuleType("settings_of_a_script")
    module.weight = 1.0  # type: ignore[attr-defined]
    sys.modules["settings_of_a_script"] = module

    def factor(net: nn.Module, batch: Any) -> float:
        import settings_of_a_script  # type: ignore[import-not-found]

        return float(settings_of_a_script.weight)

    return make_scene(factor, switch(lambda scene: setattr(module, "weight", 3.0)))


@trap
def name_imported_in_the_step() -> Scene:
    """A number of a module of settings that the step imports itself."""
    module = types.ModuleType("settings_of_a_script")
    module.weight = 1.0  # type: ignore[attr-defined]
    sys.modules["settings_of_a_script"] = module

    def factor(net: nn.Module, batch: Any) -> float:
        from settings_of_a_script import weight  # type: ignore[import-not-found]

        return float(weight)

    return make_scene(factor, switch(lambda scene: setattr(module, "weight", 3.0)))


@trap
def module_by_import_module() -> Scene:
    """A module of settings that `importlib` fetches in the step."""
    module = types.ModuleType("settings_of_a_script")
    module.weight = 1.0  # type: ignore[attr-defined]
    sys.modules["settings_of_a_script"] = module
    return make_scene(
        lambda net, batch: float(importlib.import_module("settings_of_a_script").weight),
        switch(lambda scene: setattr(module, "weight", 3.0)),
    )


@trap
def module_by_dunder_import() -> Scene:
    """A module of settings that `__import__` fetches in the step."""
    module = types.ModuleType("settings_of_a_script")
    module.weight = 1.0  # type: ignore[attr-defined]
    sys.modules["settings_of_a_script"] = module
    return make_scene(
        lambda net, batch: float(__import__("settings_of_a_script").weight),
        switch(lambda scene: setattr(module, "weight", 3.0)),
    )


@trap
def module_by_its_name() -> Scene:
    """A module of settings that the step fetches from `sys.modules`."""
    module = types.ModuleType("settings_of_a_script")
    module.weight = 1.0  # type: ignore[attr-defined]
    sys.modules["settings_of_a_script"] = module
    return make_scene(
        lambda net, batch: float(sys.modules["settings_of_a_script"].weight),
        switch(lambda scene: setattr(module, "weight", 3.0)),
    )


def _import_settings() -> types.ModuleType:
    module = types.ModuleType("settings_of_a_script")
    module.weight = 1.0  # type: ignore[attr-defined]
    return module


@trap
def module_in_an_attribute() -> Scene:
    """A module of settings that an object holds."""
    holder = types.SimpleNamespace(settings=_import_settings())
    return make_scene(
        lambda net, batch: float(holder.settings.weight),
        switch(lambda scene: setattr(holder.settings, "weight", 3.0)),
    )


@trap
def module_handed_on() -> Scene:
    """A module of settings that the step hands to a function."""
    settings = _import_settings()

    def weigh(config: Any) -> float:
        return float(config.weight)

    return make_scene(lambda net, batch: weigh(settings), switch(lambda scene: setattr(settings, "weight", 3.0)))
