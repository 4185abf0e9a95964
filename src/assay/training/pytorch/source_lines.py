"""Which line of the user's source each node of a program comes from: kept beside the program, for people.

A program is lowered from a tape whose calls know their lines; between them stand rewrites that know nothing of lines.
So nodes and calls are matched afterwards: both are in the order in which things happened, a node has the name of its
call but for a few normal forms, and its outputs have the shapes of the call's. What has no match has no line. Nothing
that is proven depends on it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from assay.protocol.evidence import program as ir
from assay.training.pytorch.lower import DTYPE_NAMES
from assay.training.pytorch.tape import Call, Location, TensorRef

_NORMAL = {"t": "permute", "transpose": "permute", "_unsafe_view": "view", "reshape": "view", "_to_copy": "to"}

_REACH = 200
"""Calls of one name that are looked at for a node: whoever is farther away is another one."""

Shape = tuple[str, tuple[int, ...]]


def match_lines(program: ir.Program, calls: Sequence[Call]) -> tuple[str, ...]:
    """Return `file:line` for each node of a program, or an empty text.

    Args:
        program: lowered from the calls.
        calls: of the tape, in their order.
    """
    places: dict[str, list[int]] = {}
    for number, call in enumerate(calls):
        places.setdefault(_normalise(str(call.operator._opname)), []).append(number)
    shapes = [_list_shapes(call.outputs) for call in calls]
    lines, place = [], 0
    for node in program.nodes:
        name = _normalise(node.operator.split(".")[1])
        wanted = [(kind.dtype, kind.shape) for kind in node.outputs if kind is not None]
        found = _find(places.get(name, []), shapes, wanted, place)
        if found is None:
            lines.append("")
            continue
        lines.append(show_location(calls[found].location))
        place = found + 1
    return tuple(lines)


def _find(places: Sequence[int], shapes: Sequence[list[Shape]], wanted: list[Shape], first: int) -> int | None:
    for place in places[bisect_left(places, first) :][:_REACH]:
        if shapes[place][: len(wanted)] == wanted[: len(shapes[place])]:
            return place
    return None


def _normalise(name: str) -> str:
    name = name.removesuffix("_") if not name.endswith("__") else name
    return _NORMAL.get(name, name)


def _list_shapes(outputs: Any) -> list[Shape]:
    """Return element type and shape of the tensors among a call's outputs."""
    items = outputs if isinstance(outputs, (list, tuple)) else [outputs]
    return [
        (DTYPE_NAMES.get(item.geometry[4], ""), tuple(item.geometry[2]))
        for item in items
        if isinstance(item, TensorRef)
    ]


def show_location(location: Location) -> str:
    """Return a location as a path below the working directory, or as the mere name of a file outside it.

    A run is handed to others, and the folders of its maker are nobody's business.
    """
    path = Path(location.file)
    try:
        shown = path.resolve().relative_to(Path.cwd())
    except (ValueError, OSError):
        shown = Path(path.name)
    return f"{shown}:{location.line}"
