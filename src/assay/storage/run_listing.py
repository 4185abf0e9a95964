"""Finding runs below a folder, and what they take on the disk."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from assay.errors import UsageError
from assay.storage.files import Files, naming
from assay.storage.run_layout import FORMAT

MAX_DEPTH = 4
"""How many folders below the given one are looked into."""


class NotAFolder(UsageError):
    """There is no folder of this name."""

    code: ClassVar[str] = "storage.not-a-folder"


def find_runs(folder: Path) -> list[Path]:
    """Return the runs below a folder, itself included, sorted; symbolic links and the insides of runs are left out.

    Raises:
        NotAFolder: it is none.
        StorageError: a folder cannot be read.
    """
    if Files().get_kind(Path(os.path.realpath(folder))) != "folder":
        raise NotAFolder(f"{folder} is not a folder", expected="a folder that holds runs", next_step="check the path")
    return sorted(_walk(folder, 0))


def _walk(folder: Path, depth: int) -> Iterator[Path]:
    files = Files()
    if files.get_kind(folder / FORMAT) == "file":
        yield folder
        return
    if depth < MAX_DEPTH:
        for name in files.list_names(folder):
            if files.get_kind(folder / name) == "folder":
                yield from _walk(folder / name, depth + 1)


def measure_disk(run: Path) -> dict[str, int]:
    """Return the bytes that a run takes, by the first part of each path inside it: a file, or a folder with a slash."""
    sizes: dict[str, int] = {}
    with naming(run):
        for root, folders, names in os.walk(run):
            inside = Path(root).relative_to(run).parts
            folders.sort()
            for name in sorted(names):
                part = f"{inside[0]}/" if inside else name
                sizes[part] = sizes.get(part, 0) + Path(root, name).lstat().st_size
    return sizes
