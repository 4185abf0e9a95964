"""Objects and functions of Python that a step must not use, because a graph cannot repeat what they do.

Source: `docs/explanation/recording.md`.
"""

from __future__ import annotations

import argparse
import contextvars
import ctypes
import datetime as dt
import decimal
import fractions
import importlib
import inspect
import logging
import os
import random
import re
import sys
import threading
import time
import uuid
import weakref
from collections import deque
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path, PurePath
from types import (
    CellType,
    CodeType,
    FunctionType,
    GetSetDescriptorType,
    MemberDescriptorType,
    ModuleType,
    SimpleNamespace,
)
from typing import Any, ClassVar

import numpy as np
import torch

from assay.errors import CaptureRefused

RANDOM_CURE = (
    "draw with torch operators (torch.rand, torch.randn, dropout), which are recorded, or pass the values in the batch"
)
UNWATCHED_CURE = (
    "keep the values that the step needs in attributes, in a short list, in a buffer of the model or in the batch"
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


def _peek(value: Any, name: str) -> Any:
    """Return an attribute, None if there is none; the user's `__getattr__` may raise anything."""
    try:
        return getattr(value, name, None)
    except Exception:  # noqa: BLE001 - of the user's own code
        return None


def _get_owner(value: Any) -> Any:
    return _peek(value, "__self__") if callable(value) and not isinstance(value, type) else None


_GLOBAL_GENERATORS = (_get_owner(random.random), _get_owner(np.random.rand))
_SEVERAL_DEVICES = ("torch.nn.parallel", "torch.distributed")
_OPEN_IN_TORCH = ("torch.distributions", "torch.optim.lr_scheduler")
_BAGS = (SimpleNamespace, argparse.Namespace, threading.local)
_C_DATA = ctypes.c_int.__mro__[-2]
_CONTAINERS = (Mapping, AbstractSet, list, tuple, deque, BaseException)
_UNCHANGING = (
    bool, int, float, complex, str, bytes, range, slice, type(None), type(...), type(NotImplemented), re.Pattern,
    dt.date, dt.time, dt.timedelta, dt.tzinfo, decimal.Decimal, fractions.Fraction, uuid.UUID, PurePath, property,
    staticmethod, classmethod, CodeType, CellType, weakref.ref, ModuleType, MemberDescriptorType,
    GetSetDescriptorType, type(threading.Lock()), type(threading.RLock()),
    logging.Logger, contextvars.ContextVar, inspect.Signature, inspect.Parameter,
    type(inspect.FullArgSpec.args),
)  # fmt: skip


Objection = tuple[str, str]
"""What is wrong, and the cure."""


class StepRefused(CaptureRefused):
    """A step whose Python side cannot be replaced by a graph."""

    code: ClassVar[str] = "capture.python"


def is_foreign(name: str | None) -> bool:
    """True if a module of this name belongs to torch, numpy, the standard library or assay: it is not followed."""
    return name is None or name.partition(".")[0] in _SKIPPED_ROOTS


def is_installed(file: str) -> bool:
    """True if code of this file belongs to an installed package."""
    return "site-packages" in file or "dist-packages" in file


def is_own_code(code: CodeType) -> bool:
    """True if code is assay's own."""
    return code.co_filename.startswith(_OWN_FOLDER)


def get_objection(value: Any) -> Objection | None:
    """Return (what is wrong, cure) if a step must not use `value`, else None."""
    owner = _get_owner(value)
    if isinstance(value, GENERATORS) or isinstance(owner, GENERATORS):
        return f"draws from a {type(owner if isinstance(owner, GENERATORS) else value).__name__}", RANDOM_CURE
    if _is_hashable_function(value) and value in _CLOCK_FUNCTIONS:
        return f"reads a clock (time.{value.__name__})", CLOCK_CURE
    if owner in (dt.datetime, dt.date) and value.__name__ in ("now", "utcnow", "today"):
        return f"reads a clock (datetime.{value.__name__})", CLOCK_CURE
    name, module = _peek(value, "__name__"), _peek(value, "__module__")
    seeds_torch = module == "torch.random" and name in _TORCH_SEEDING  # torch puts wrappers in their place at times
    if seeds_torch or any(value is function for function in _SEEDING):
        return f"calls {name}", "seed nothing in the step: the run's seed decides every draw"
    if value is sys.modules or value is importlib.import_module:
        return "fetches a module by its name", "import it at the top of the script, where its settings are watched"
    if module in ("secrets", "uuid") and callable(value):
        return f"draws from {module}", RANDOM_CURE
    if _is_opaque(value):
        return f"reads a {type(value).__name__}, whose contents cannot be watched", UNWATCHED_CURE
    if type(value).__name__ == "Run" and type(value).__module__.startswith("assay."):
        return "asks the run itself", "pass what depends on the step in the batch, or keep a counter in a buffer"
    return _get_torch_objection(value)


def is_often_mentioned(value: Any) -> bool:
    """True for what code of packages mentions for options that are off, or for parts that are not installed.

    Functions of `random` and `np.random` are of this kind: the states of their generators are compared whenever a step
    is recorded. So are modules that are fetched by their names.
    """
    is_generator = any(_get_owner(value) is generator for generator in _GLOBAL_GENERATORS)
    return is_generator or value is sys.modules or value is importlib.import_module


def has_open_attributes(value: Any) -> bool:
    """True for objects of the standard library and of torch whose attributes are watched like those of user classes."""
    module = type(value).__module__
    is_open = module.partition(".")[0] in sys.stdlib_module_names or module.startswith(_OPEN_IN_TORCH)
    return is_open and hasattr(value, "__dict__") and not callable(value) and not isinstance(value, _UNCHANGING)


def computes_its_elements(value: Any) -> bool:
    """True for a mapping of a package's or the user's class that gives its elements by code of its own."""
    kind = type(value)
    if not isinstance(value, Mapping) or is_foreign(kind.__module__):
        return False
    return not isinstance(value, dict) or kind.values is not dict.values or kind.items is not dict.items


def reads_its_own(value: Any) -> bool:
    """True for an object of another's class, whose methods may read any attribute of it."""
    return is_foreign(type(value).__module__) and not isinstance(value, _BAGS)


def _is_opaque(value: Any) -> bool:
    """True for objects of the standard library whose contents can change and are neither attributes nor elements."""
    if isinstance(value, _C_DATA):
        return True
    if type(value) is object:  # a mark that is compared by identity
        return False
    if type(value).__module__.partition(".")[0] not in sys.stdlib_module_names or isinstance(value, _CONTAINERS):
        return False
    is_readable = callable(value) or hasattr(value, "__dict__") or hasattr(type(value), "__next__")
    return not is_readable and not isinstance(value, _UNCHANGING)


def _is_hashable_function(value: Any) -> bool:
    return type(value) is type(time.time)


def _get_torch_objection(value: Any) -> Objection | None:
    if isinstance(value, torch.nn.Module):
        return get_module_objection(value)
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


def get_module_objection(module: torch.nn.Module) -> Objection | None:
    """Return (what is wrong, cure) if a module is compiled or wraps one for several devices or processes, else None."""
    kind = type(module)
    if kind.__name__ == "OptimizedModule" and kind.__module__.startswith("torch._dynamo"):
        return "uses a module made by torch.compile", "pass the module itself (compiled._orig_mod)"
    if module._compiled_call_impl is not None:
        return "uses a module that was compiled in place (module.compile())", "leave out the call of module.compile()"
    wrappers = (base.__name__ for base in kind.__mro__ if base.__module__.startswith(_SEVERAL_DEVICES))
    wrapper = next(wrappers, None)
    if wrapper is not None:
        return (
            f"uses {wrapper}",
            "pass the module itself; training on several devices or in several processes is not recorded",
        )
    return None


def get_attribute_objection(owner: Any, name: str) -> Objection | None:
    """Return (what is wrong, cure) if a step must not use an attribute of this name of an object of a package."""
    kinds = {base.__name__ for base in type(owner).__mro__ if base.__module__.startswith("accelerate.")}
    if name == "accumulate" and "Accelerator" in kinds:
        return (
            "uses Accelerator.accumulate, which counts its calls and lets the optimizer step at every k-th alone",
            "leave gradient_accumulation_steps out, pass accumulate=k to run.step, go through its list of batches",
        )
    return None


def is_hidden_iterator(value: Any) -> bool:
    """True for iterators and generators: their position cannot be read without moving it."""
    return hasattr(type(value), "__next__") and not isinstance(value, torch.Tensor)


def get_import_objection(name: str) -> Objection | None:
    """Return (what is wrong, cure) if a step must not import the module `name` itself."""
    if name in _RANDOM_MODULES:
        return f"imports {name} in the step", RANDOM_CURE
    return ("imports time in the step", CLOCK_CURE) if name == "time" else None
