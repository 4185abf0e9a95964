"""Source lines of a program's nodes, stored beside the program: declared, never proven, and free to be missing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from assay.protocol.decoders import get_json_decoder
from assay.storage.run_directory import RunDirectory
from assay.training.events import ObjectHome

MAX_LINE: Final = 512
_decoder = get_json_decoder(list[str])


def _name(program: bytes) -> str:
    return f"programs/{program.hex()}.lines.json"


def store_lines(run: RunDirectory, program: bytes, lines: Sequence[str]) -> None:
    """Store the lines of a program's nodes, unless there are some already."""
    name = _name(program)
    if any(lines) and not run.has_object(name):
        run.write_object(name, msgspec.json.encode([line[:MAX_LINE] for line in lines]))


def read_line(run: ObjectHome, program: bytes, node: int) -> str:
    """Return the line of a node, or an empty text if none is stored or the file is not what it should be."""
    if not run.has_object(_name(program)):
        return ""
    try:
        lines = _decoder.decode(run.read_object(_name(program)))
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return ""
    return lines[node][:MAX_LINE] if 0 <= node < len(lines) else ""
