"""What makes a folder a run: its folders, its format line, its lock."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from assay.errors import StorageError, UsageError
from assay.storage.files import TEMPORARY, FileMissing, Files, FileTaken, OpenFile, UnsafePath, read_file

FORMAT: Final = "assay-run"
VERSION: Final = 0
LOCK: Final = "LOCK"
STEPS: Final = "steps.log"
LOG: Final = "log.jsonl"
FOLDERS: Final = ("programs", "checkpoints", "packs", "blobs", "data", "audit")
_FORMAT_LINE = re.compile(rb"assay-run ([0-9]{1,9})\n")


class NotARun(UsageError):
    """The path holds no run."""

    code = "storage.not-a-run"


class RunExists(UsageError):
    """The path cannot become a new run: something is there."""

    code = "storage.run-exists"


class NewerFormat(UsageError):
    """The run was written by a later version of Assay."""

    code = "storage.newer-format"


class RunLocked(StorageError):
    """Another process, or another part of this one, writes to the run."""

    code = "storage.locked"


def take_lock(files: Files, path: Path) -> OpenFile:
    """Take the lock of the run in `path`; raises `RunLocked`."""
    try:
        return files.lock(path / LOCK)
    except FileTaken as error:
        holder = "this process" if error.pid == os.getpid() else f"process {error.pid or 'unknown'}"
        raise RunLocked(
            f"{path} is being written by another session",
            expected="one writer",
            actual=f"held by {holder}",
            next_step="wait for it, stop it, or open the run for reading",
        ) from None


def make_folders(files: Files, path: Path) -> None:
    """Make `path` and its missing parents, each durable."""
    missing = []
    current = path.absolute()
    while files.get_kind(current) == "missing":
        missing.append(current)
        current = current.parent
    for folder in reversed(missing):
        files.mkdir(folder)
        files.fsync_dir(folder.parent)


def is_own(files: Files, path: Path) -> bool:
    """Return whether a creation that did not finish may have left this file or folder."""
    if path.name in FOLDERS:
        return files.get_kind(path) == "folder" and not files.list_names(path)
    return path.name in {LOCK, STEPS} or path.name.startswith(TEMPORARY)


def check_format(files: Files, path: Path) -> None:
    """Raise unless `path` holds a run that this version can read: `NotARun`, `NewerFormat`, `UnsafePath`."""
    kind = files.get_kind(path)
    if kind == "missing":
        raise NotARun(f"{path} does not exist", expected="the folder of a run", next_step="check the path")
    try:
        line = read_file(files, path / FORMAT, 100)
    except FileMissing:
        raise NotARun(
            f"{path} is not a run",
            expected=f"a folder with the file {FORMAT}",
            actual=f"a {kind}",
            next_step="check the path",
        ) from None
    match = _FORMAT_LINE.fullmatch(line)
    if not match:
        raise NotARun(f"{path} is not a run", expected=f"'{FORMAT} {VERSION}' in {FORMAT}", actual=ascii(line))
    if int(match[1]) > VERSION:
        raise NewerFormat(
            f"{path} was written by a later version of Assay",
            expected=f"format {VERSION} or older",
            actual=f"format {int(match[1])}",
            next_step="install a later version",
        )
    for folder in FOLDERS:
        if files.get_kind(path / folder) != "folder":
            raise UnsafePath(
                f"{path / folder} is not a folder", expected="a folder", next_step="restore the run from a copy"
            )
    if files.get_kind(path / STEPS) != "file":
        raise UnsafePath(f"{path / STEPS} is not a file", expected="a file", next_step="restore the run from a copy")
