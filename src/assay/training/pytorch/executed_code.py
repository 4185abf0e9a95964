"""Which code a step runs: for models of large packages, whose code mentions far more than a step uses.

Source: `docs/explanation/recording.md`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import CodeType, FrameType, MethodType
from typing import Any

from torch import nn

from assay.training.pytorch.forbidden import is_foreign, is_installed
from assay.training.pytorch.outside_calls import put_back


def uses_packages(models: Sequence[nn.Module], body: Callable[..., Any]) -> bool:
    """True if a class of an installed package other than torch takes part in a step, or one that inherits from it.

    Args:
        models: whose modules' classes are asked for.
        body: the step; where it is a partial call, as for another package's trainer, so are the owners of the methods
            that it is given.
    """
    owners: set[type] = {type(module) for model in models for module in model.modules()}
    owners |= {type(value.__self__) for value in getattr(body, "args", ()) if isinstance(value, MethodType)}
    names = {kind.__module__ for owner in owners for kind in owner.__mro__}
    files = [getattr(sys.modules.get(name), "__file__", None) for name in names if not is_foreign(name)]
    return any(file is not None and is_installed(file) for file in files)


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
