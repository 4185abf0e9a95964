"""Which code a step runs: for models of large packages, whose code mentions far more than a step uses.

Source: `docs/explanation/recording.md`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import CodeType, FrameType, FunctionType, MethodType, ModuleType
from typing import Any

from torch import nn

from assay.training.pytorch.forbidden import is_foreign, is_installed
from assay.training.pytorch.outside_calls import put_back


def uses_packages(models: Sequence[nn.Module], body: Callable[..., Any]) -> bool:
    """True if an installed package other than torch takes part in a step: classes, what inherits from them, or calls.

    Args:
        models: whose modules' classes are asked for.
        body: the step; so is what it reads by name: modules, functions, classes, objects. Where it is a partial call,
            as for another package's trainer, so are the owners of the methods that it is given.
    """
    given = [value.__self__ for value in getattr(body, "args", ()) if isinstance(value, MethodType)]
    parts = [module for model in models for module in model.modules()]
    names = {name for value in (*parts, *given, *_list_read(body)) for name in _list_modules(value)}
    files = [getattr(sys.modules.get(name), "__file__", None) for name in names if not is_foreign(name)]
    return any(file is not None and is_installed(file) for file in files)


def _list_modules(value: Any) -> list[str]:
    """Return the names of the modules to which a module, a function or the classes of an object belong."""
    if isinstance(value, ModuleType):
        return [value.__name__]
    if isinstance(value, (type, FunctionType)):
        return [value.__module__]
    return [kind.__module__ for kind in type(value).__mro__]


def _list_read(body: Callable[..., Any]) -> list[Any]:
    """Return what the step itself reads by name: globals and variables of functions around it."""
    if not isinstance(body, FunctionType):
        return []
    found = [body.__globals__[name] for name in body.__code__.co_names if name in body.__globals__]
    for cell in body.__closure__ or ():
        with suppress(ValueError):  # a variable that has no value yet
            found.append(cell.cell_contents)
    return found


@contextmanager
def note_code() -> Iterator[set[CodeType]]:
    """Collect the code objects that this thread runs inside the block."""
    executed: set[CodeType] = set()

    def note(frame: FrameType, event: str, _argument: Any) -> None:
        if event == "call":
            executed.add(frame.f_code)

    previous = sys.getprofile()
    sys.setprofile(note)
    try:
        yield executed
    finally:
        put_back(previous)
