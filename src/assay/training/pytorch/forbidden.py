"""Objects and functions of Python that a step must not use, because a graph cannot repeat what they do.

Source: `docs/explanation/recording.md`.
"""

from __future__ import annotations

import datetime as dt
import os
import random
import sys
import time
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any, ClassVar

import numpy as np
import torch

from assay.errors import CaptureRefused

RANDOM_CURE = (
    "draw with torch operators (torch.rand, torch.randn, dropout), which are recorded, or pass the values in the batch"
)
CLOCK_CURE = "read the clock outside the step"
CLOCKS = ("time", "time_ns", "perf_counter", "perf_counter_ns", "monotonic", "monotonic_ns", "process_time")
GENERATORS = (random.Random, np.random.Generator, np.random.RandomState, np.random.BitGenerator, torch.Generator)

_OWN_FOLDER = str(Path(__file__).resolve().parents[2])
_SKIPPED_ROOTS = frozenset({"torch", "numpy", "assay", *sys.stdlib_module_names}) - {"__main__"}
_CLOCK_FUNCTIONS = frozenset(getattr(time, name) for name in CLOCKS)
_SEEDING = (torch.seed, torch.set_rng_state, np.random.default_rng, os.urandom)
_TORCH_SEEDING = frozenset({"manual_seed", "seed", "set_rng_state"})
_RANDOM_MODULES = frozenset({"random", "secrets", "uuid", "numpy.random"})


class StepRefused(CaptureRefused):
    """A step whose Python side cannot be replaced by a graph."""

    code: ClassVar[str] = "capture.python"


def is_foreign(name: str | None) -> bool:
    """True if a module of this name belongs to torch, numpy, the standard library or assay: it is not followed."""
    return name is None or name.partition(".")[0] in _SKIPPED_ROOTS


def is_own_code(code: CodeType) -> bool:
    """True if code is assay's own."""
    return code.co_filename.startswith(_OWN_FOLDER)


def _get_owner(value: Any) -> Any:
    return getattr(value, "__self__", None) if callable(value) and not isinstance(value, type) else None


def get_objection(value: Any) -> tuple[str, str] | None:
    """Return (what is wrong, cure) if a step must not use `value`, else None."""
    owner = _get_owner(value)
    if isinstance(value, GENERATORS) or isinstance(owner, GENERATORS):
        return f"draws from a {type(owner if isinstance(owner, GENERATORS) else value).__name__}", RANDOM_CURE
    if _is_hashable_function(value) and value in _CLOCK_FUNCTIONS:
        return f"reads a clock (time.{value.__name__})", CLOCK_CURE
    if owner in (dt.datetime, dt.date) and value.__name__ in ("now", "utcnow", "today"):
        return f"reads a clock (datetime.{value.__name__})", CLOCK_CURE
    name, module = getattr(value, "__name__", None), getattr(value, "__module__", None)
    seeds_torch = module == "torch.random" and name in _TORCH_SEEDING  # torch puts wrappers in their place at times
    if seeds_torch or any(value is function for function in _SEEDING):
        return f"calls {name}", "seed nothing in the step: the run's seed decides every draw"
    if module in ("secrets", "uuid") and callable(value):
        return f"draws from {module}", RANDOM_CURE
    return _get_torch_objection(value)


def _is_hashable_function(value: Any) -> bool:
    return type(value) is type(time.time)


def _get_torch_objection(value: Any) -> tuple[str, str] | None:
    kind = type(value)
    if isinstance(value, torch.nn.DataParallel | torch.nn.parallel.DistributedDataParallel):
        return f"uses {kind.__name__}", "pass the module itself; training on several devices is not recorded"
    if kind.__name__ == "OptimizedModule" and kind.__module__.startswith("torch._dynamo"):
        return "uses a module made by torch.compile", "pass the module itself (compiled._orig_mod)"
    if isinstance(value, FunctionType) and hasattr(value, "_torchdynamo_orig_callable"):
        if not hasattr(value, "_torchdynamo_disable"):
            return "uses a function made by torch.compile", "pass the function itself"
    elif isinstance(value, torch.amp.GradScaler) and value.is_enabled():
        return (
            "uses a GradScaler, which skips steps by the values of gradients",
            "use bfloat16 autocast without a scaler",
        )
    elif isinstance(value, torch.optim.LBFGS):
        return "uses LBFGS, which evaluates the model several times in one step", "use SGD, Adam or AdamW"
    return None


def is_hidden_iterator(value: Any) -> bool:
    """True for iterators and generators: their position cannot be read without moving it."""
    return hasattr(type(value), "__next__") and not isinstance(value, torch.Tensor)


def get_import_objection(name: str) -> tuple[str, str] | None:
    """Return (what is wrong, cure) if a step must not import the module `name` itself."""
    if name in _RANDOM_MODULES:
        return f"imports {name} in the step", RANDOM_CURE
    return ("imports time in the step", CLOCK_CURE) if name == "time" else None
