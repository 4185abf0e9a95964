"""What stands, while a step is recorded, in the place of a trainer's own objects: using it is refused.

A trainer hands its step a batch number, an epoch, itself. A program has none of these, and a number that the body reads
from them would be a constant of it. So the recorded body gets this object instead, and whatever is done with it raises,
with the user's line.

Source: `docs/how-to/trainers.md`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, NoReturn

from assay.training.pytorch.forbidden import StepRefused, is_installed

_NAMES = (
    "abs add and bool bytes call ceil complex contains delitem divmod enter eq exit float floor floordiv format ge "
    "getitem gt hash iadd index int invert iter le len lshift lt matmul mod mul ne neg next or pos pow radd rand "
    "rdivmod repr reversed rfloordiv rlshift rmatmul rmod rmul ror round rpow rrshift rshift rsub rtruediv rxor "
    "setitem str sub truediv trunc xor fspath"
)


class Unreadable:
    """An object whose every use is refused.

    Args:
        what: it stands for, in the words of the message: "the batch number".
        cure: what the user can do instead.

    Attributes:
        refused: the refusals so far: the body may have caught them, and must not go on as if nothing was.
    """

    __slots__ = ("_cure", "_what", "refused")

    def __init__(self, what: str, cure: str) -> None:
        self._what, self._cure = what, cure
        self.refused: list[StepRefused] = []

    def __getattr__(self, name: str) -> Any:
        _refuse(self, f" (.{name})")


def _refuse(value: Unreadable, how: str) -> NoReturn:
    frame, asked = _find_user(sys._getframe(2))
    refusal = StepRefused(
        f"{frame.f_code.co_filename}:{frame.f_lineno}: the step reads {value._what}{asked or how}",
        next_step=value._cure,
    )
    value.refused.append(refusal)
    raise refusal


def _find_user(frame: FrameType) -> tuple[FrameType, str]:
    """Return the nearest frame outside of installed packages, and what it asked the package for."""
    found: FrameType | None = frame
    asked = ""
    while found is not None and is_installed(found.f_code.co_filename):
        asked = f" (.{found.f_code.co_name})"
        found = found.f_back
    return (found, asked) if found is not None else (frame, "")


def _make_operation(name: str) -> Callable[..., NoReturn]:
    def operation(self: Unreadable, *_arguments: object, **_named: object) -> NoReturn:
        _refuse(self, "")

    operation.__name__ = name
    return operation


for _name in _NAMES.split():
    setattr(Unreadable, f"__{_name}__", _make_operation(f"__{_name}__"))
