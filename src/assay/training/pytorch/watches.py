"""What is watched while a step is recorded: random numbers, clocks, and changes that the body makes to Python objects.

Source: `docs/explanation/recording.md`.
"""

from __future__ import annotations

import random
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from assay.training.pytorch.forbidden import CLOCK_CURE, CLOCKS, RANDOM_CURE, StepRefused
from assay.training.pytorch.guards import Guards
from assay.training.pytorch.outside_calls import watch_outside_calls
from assay.training.pytorch.scopes import MEMOISED, Items, describe_changes

_OWN_FOLDER = str(Path(__file__).resolve().parents[2])
_LIBRARIES = (
    str(Path(torch.__file__).resolve().parent),
    str(Path(np.__file__).resolve().parent),
    str(Path(threading.__file__).resolve().parent) + "/",
    "<frozen",
)
_SEED_CURE = "seed nothing in the step: the run's seed decides every draw"
_RANDOM_NAMES = ("random", "uniform", "randint", "randrange", "choice", "choices", "sample", "shuffle", "gauss", "seed")
_NUMPY_NAMES = ("rand", "randn", "random", "randint", "uniform", "normal", "choice", "permutation", "shuffle", "seed")
_TARGETS: tuple[tuple[Any, str, tuple[str, ...], str], ...] = (
    (time, "reads a clock (time.{})", CLOCKS, CLOCK_CURE),
    (random, "draws from Python's generator (random.{})", _RANDOM_NAMES, RANDOM_CURE),
    (np.random, "draws from NumPy's generator (np.random.{})", _NUMPY_NAMES, RANDOM_CURE),
    (np.random, "makes a generator (np.random.{})", ("default_rng", "Generator", "RandomState"), RANDOM_CURE),
    (torch, "calls torch.{}", ("manual_seed", "seed", "set_rng_state"), _SEED_CURE),
    (torch.random, "calls torch.random.{}", ("manual_seed", "seed", "set_rng_state"), _SEED_CURE),
    (torch.cuda, "calls torch.cuda.{}", ("manual_seed", "manual_seed_all", "seed", "set_rng_state"), _SEED_CURE),
)
_CHANGE_CURE = "move it out of the step (schedulers too), or log with run.log"
_LEGACY_NORMS = (SpectralNorm, WeightNorm)


def _is_user_file(name: str) -> bool:
    return (
        not name.startswith(_OWN_FOLDER)
        and ("site-packages" in name or not name.startswith(_LIBRARIES[2:]))
        and not (name.startswith(_LIBRARIES[:2]))
    )


def _guard_call(original: Callable[..., Any], reason: str, cure: str, thread: int) -> Callable[..., Any]:
    """Return a function that refuses calls from the user's code in the recording thread and passes on all others."""

    def guarded(*args: Any, **kwargs: Any) -> Any:
        frame = sys._getframe(1)
        if threading.get_ident() == thread and _is_user_file(frame.f_code.co_filename):
            raise StepRefused(f"{frame.f_code.co_filename}:{frame.f_lineno}: the step {reason}", next_step=cure)
        return original(*args, **kwargs)

    return guarded


def _get_generator_states() -> list[tuple[str, Any]]:
    numpy_state = np.random.get_state(legacy=False)  # noqa: NPY002 - it is read, not drawn from
    return [
        ("Python's generator (random)", random.getstate()),
        ("NumPy's generator (np.random)", [str(numpy_state), numpy_state["state"]["key"].tobytes()]),
        ("torch's default generator", torch.default_generator.get_state().numpy().tobytes()),
    ]


@contextmanager
def watch_python_randomness(watched: Sequence[object] = ()) -> Iterator[None]:
    """Refuse random numbers and clocks of Python, and what `outside_calls` names, inside the block.

    Functions of `time`, `random`, `np.random` and torch's seeding raise when the user's code calls them through their
    module in this thread. Draws by other ways (names imported before, generator objects made before) are found by the
    states of the three global generators; explicit generator objects are refused by `guards`.

    Args:
        watched: context variables whose values are guarded.

    Raises:
        StepRefused: with file and line of the call, or with the generator whose state has changed.
    """
    thread, originals = threading.get_ident(), []
    before = _get_generator_states()
    try:
        for module, reason, names, cure in _TARGETS:
            for name in names:
                original = getattr(module, name)
                originals.append((module, name, original))
                setattr(module, name, _guard_call(original, reason.format(name), cure, thread))
        with watch_outside_calls(watched):
            yield
    finally:
        for module, name, original in reversed(originals):
            setattr(module, name, original)
    for (name, old), (_, new) in zip(before, _get_generator_states(), strict=True):
        if old != new:
            raise StepRefused(f"the step draws from {name}, or seeds it", next_step=RANDOM_CURE)


@contextmanager
def watch_side_effects(guards: Guards) -> Iterator[None]:
    """Refuse a body that changes what the guards watch: a graph would not repeat the change.

    Entering takes everything as it is; leaving compares, and takes what is there then as expected (but for the global
    modes). Tensors of the models and optimizers may change. So may the attribute that the older weight and spectral
    norm of torch set at each call.

    Raises:
        StepRefused: names each attribute, global, element or closure variable with its old and new value, and the line
            in which the step stores, or else reads, something of that name.
    """
    modes = guards.modes
    guards.refresh()
    rates = _get_rates(guards)
    try:
        yield
        exempt = _get_exempt_lines(guards)
        lines = [line for line in guards.describe_change() if not line.startswith((*exempt, MEMOISED))]
        lines += describe_changes("{}", rates, _get_rates(guards))
    finally:
        guards.refresh()
        guards.modes = modes
    if lines:
        changed = lines[0].partition(": ")[0]
        where = guards.find_line(changed)
        raise StepRefused(
            f"{where}: the step changes Python objects, which a graph would not repeat: {changed}",
            expected="a step that changes tensors of its models and nothing else",
            actual="; ".join(lines[:10]),
            next_step=_CHANGE_CURE,
        )


def _get_rates(guards: Guards) -> Items:
    """Return every setting of every group: a scheduler that is stepped in the body changes them."""
    return [
        (f"{label}.param_groups[{index}]['{name}']", value)
        for label, optimizer in guards.found.optimizers
        for index, group in enumerate(optimizer.param_groups)
        for name, value in group.items()
        if name != "params"
    ]


def _get_exempt_lines(guards: Guards) -> tuple[str, ...]:
    """Return how lines about attributes begin that torch's older weight and spectral norm set at every call."""
    exempt = [
        f"{label.replace('{}', hook.name)}:"
        for label, module in guards.found.modules
        for hook in module._forward_pre_hooks.values()
        if isinstance(hook, _LEGACY_NORMS)
    ]
    return tuple(exempt) or ("\0",)
