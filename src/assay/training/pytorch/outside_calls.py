"""Calls of the user's code that read the world outside: files, the environment, clocks, identities of objects.

What they give would be a constant of the program. Python reports every call to a profile function; it is installed
while a step is recorded, and only then.

Source: `docs/explanation/recording.md`.
"""

from __future__ import annotations

import contextvars
import datetime as dt
import gc
import io
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import BuiltinFunctionType, CodeType, FrameType, ModuleType
from typing import Any

import numpy as np
import torch

from assay.training.pytorch.forbidden import CLOCK_CURE, RANDOM_CURE, Objection, StepRefused

_OWN_FOLDER = str(Path(__file__).resolve().parents[2])
_TORCH = (str(Path(torch.__file__).resolve().parent), str(Path(np.__file__).resolve().parent))
_STANDARD = (str(Path(threading.__file__).resolve().parent) + "/", "<frozen")
_HARMLESS = frozenset(
    {"warnings", "linecache", "traceback", "logging", "inspect", "tokenize", "importlib", "threading"}
)
"""Modules of the standard library that open files of their own accord: to show a line, to import."""

_USER, _LIBRARY, _OTHER = range(3)
_CURE = "read it before the loop and pass it in the batch, or keep it in an attribute or a buffer of the model"
_FILES = frozenset({io.open, os.open, *(f for f in vars(os).values() if getattr(f, "__module__", "") == "posix")})
_PURE = frozenset({os.fspath})
_IDENTITIES = frozenset({id, hash})
_EVALUATION = frozenset({eval, exec, compile})
_READS = frozenset({"read", "readline", "readlines", "readinto", "recv", "getvalue"})
_NOW = frozenset({"now", "utcnow", "today"})
_MODULES = {"time": ("reads a clock", CLOCK_CURE), "_random": ("draws from Python's generator", RANDOM_CURE)}
_GET_ENVIRONMENT = frozenset({os.getenv.__code__})


def _classify(code: CodeType, known: dict[str, int]) -> int:
    name = code.co_filename
    kind = known.get(name)
    if kind is None:
        if name.startswith((_OWN_FOLDER, *_TORCH)):
            kind = _OTHER
        elif name.startswith(_STANDARD) and "site-packages" not in name:
            kind = _LIBRARY
        else:
            kind = _USER
        known[name] = kind
    return kind


def _object_to_builtin(function: Any) -> Objection | None:
    """Return (what is wrong, cure) of a function written in C that user code calls itself."""
    if function in _IDENTITIES:
        return f"asks for the {function.__name__}() of an object, which is another one in every process", _CURE
    if function in _EVALUATION:
        return f"runs code from a text ({function.__name__})", "write the code itself in the step"
    if function is __import__:
        return "fetches a module by its name (__import__)", "import it at the top of the script"
    owner, name = getattr(function, "__self__", None), function.__name__
    if isinstance(owner, ModuleType):
        reason = _MODULES.get(owner.__name__)
        if reason is not None and name != "sleep":
            return f"{reason[0]} ({name})", reason[1]
        if owner is gc or (owner is sys and name == "getrefcount"):
            return f"asks Python's memory management ({name})", _CURE
        return None
    if isinstance(owner, torch.Tensor) and name == "data_ptr":
        return "asks for the address of a tensor", "compare tensors by `is`"
    if isinstance(owner, (contextvars.ContextVar, contextvars.Context)):
        return "reads a context variable", _CURE
    if isinstance(owner, type) and issubclass(owner, dt.date) and name in _NOW:
        return f"reads a clock ({owner.__name__}.{name})", CLOCK_CURE
    if isinstance(owner, io.IOBase) and name in _READS:
        return f"reads a file ({name})", _CURE
    return None


def _object_to_call(function: Any, kind: int) -> Objection | None:
    if type(function) is not BuiltinFunctionType:
        return None
    if function in _FILES and function not in _PURE:
        return f"asks the operating system ({function.__name__})", _CURE
    return _object_to_builtin(function) if kind == _USER else None


def _find_user_frame(frame: FrameType | None, known: dict[str, int]) -> FrameType | None:
    """Return the user's frame that stands behind a call inside the standard library, or None.

    Callbacks of the garbage collector run wherever it happens to collect: the step did not call them.
    """
    while frame is not None:
        kind = _classify(frame.f_code, known)
        if kind == _USER:
            return None if any(getattr(call, "__code__", None) is frame.f_code for call in gc.callbacks) else frame
        if kind == _OTHER or str(frame.f_globals.get("__name__", "")).partition(".")[0] in _HARMLESS:
            return None
        frame = frame.f_back
    return None


def _make_profile(found: list[tuple[str, Objection]], watched: frozenset[int]) -> Callable[[FrameType, str, Any], None]:
    known: dict[str, int] = {}

    def profile(frame: FrameType, event: str, function: Any) -> None:
        if found or event not in ("c_call", "call"):
            return
        kind = _classify(frame.f_code, known)
        if kind == _OTHER:
            return
        if event == "call":
            if frame.f_code not in _GET_ENVIRONMENT:
                return
            objection: Objection | None = ("reads the environment (os.getenv)", _CURE)
        else:
            objection = _object_to_call(function, kind)
            if objection is not None and id(getattr(function, "__self__", None)) in watched:
                return
        user = _find_user_frame(frame, known) if objection is not None else None
        if objection is not None and user is not None:
            found.append((f"{user.f_code.co_filename}:{user.f_lineno}", objection))

    return profile


def put_back(previous: Any) -> None:
    """Give the profile function back that was there; the profiler of cProfile is an object that is enabled."""
    enable = getattr(previous, "enable", None)
    sys.setprofile(None if enable is not None else previous)
    if enable is not None:
        enable()


@contextmanager
def watch_outside_calls(watched: Sequence[object] = ()) -> Iterator[None]:
    """Refuse, when the block ends, what the user's code in it read of files, clocks, the environment or identities.

    Args:
        watched: context variables whose values are guarded.

    Raises:
        StepRefused: with file and line of the first such call.
    """
    found: list[tuple[str, Objection]] = []
    previous = sys.getprofile()
    sys.setprofile(_make_profile(found, frozenset(map(id, watched))))
    try:
        yield
    finally:
        put_back(previous)
        if found:
            where, (reason, cure) = found[0]
            raise StepRefused(f"{where}: the step {reason}", next_step=cure)
